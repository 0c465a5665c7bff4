//! The list of cases with its search.

use std::time::{Duration, Instant};

use egui::{
    CornerRadius, RichText, ScrollArea, Sense, TextEdit, TextWrapMode, Ui, UiBuilder, WidgetInfo, vec2,
};

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::theme;
use super::super::super::widgets::{caption, tick_box, title, warning};
use super::panel::{CasesPanel, send};
use super::{CasesCommand, update};
use crate::case::{Case, Listed, utc};

/// How long nothing is typed before the search begins.
const PAUSE: Duration = Duration::from_millis(200);
/// The height of a row in points: title, facts, and what the search found.
const ROW: f32 = 62.0;

/// What is being typed.
#[derive(Default)]
pub(super) struct ListInput {
    search: String,
    /// When the search was changed last, where it was not begun since.
    typed: Option<Instant>,
    /// The name of the open case while it is changed.
    name: Option<String>,
    /// Whether the list was asked for since the window was opened.
    is_asked_for: bool,
}

impl CasesPanel {
    /// The list with its search.
    pub(in crate::window) fn list_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let cases = &state.review.cases;
        self.list.refresh(state, commands);
        if let Some(sentence) = &cases.not_kept {
            warning(ui, sentence);
        } else if state.read.places.store.is_none() {
            caption(ui, "Nothing is saved here: cases live as long as the window.");
        }
        if let Some(open) = &cases.open {
            self.list.name_ui(ui, &open.case, commands);
        }
        title(ui, "Cases");
        self.list.search_ui(ui, state, commands);
        let Some(list) = &cases.list else {
            caption(ui, "Reading the cases.");
            return;
        };
        if list.is_empty() {
            let is_searched = !cases.search.trim().is_empty() || cases.is_of_slide;
            let nothing = if is_searched { "None found." } else { "None yet: ask a question about a slide." };
            caption(ui, nothing);
            return;
        }
        let open = cases.open.as_ref().map(|open| &open.case.id);
        let scroll = ScrollArea::vertical().id_salt("list of cases").auto_shrink([false, false]);
        scroll.show_rows(ui, ROW, list.len(), |ui, range| {
            for listed in list.get(range).unwrap_or_default() {
                row_ui(ui, state, listed, open == Some(&listed.case.id), commands);
            }
        });
    }
}

impl ListInput {
    /// Has the list read where what is known of it is not what is wanted.
    fn refresh(&mut self, state: &AppState, commands: &CommandSender) {
        let cases = &state.review.cases;
        let is_other_slide = cases.list.is_some() && cases.listed_slide != update::wanted_slide(state);
        if !self.is_asked_for || cases.is_list_old || is_other_slide {
            self.is_asked_for = true;
            send(commands, CasesCommand::Refresh);
        }
    }

    fn search_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let field = TextEdit::singleline(&mut self.search)
            .hint_text("Search questions and answers")
            .desired_width(f32::INFINITY);
        let now = Instant::now();
        if ui.add(field).accessible_name("Search cases").changed() {
            self.typed = Some(now);
        }
        if let Some(typed) = self.typed {
            let waited = now.duration_since(typed);
            if waited >= PAUSE {
                self.typed = None;
                send(commands, CasesCommand::Search(self.search.clone()));
            } else {
                ui.ctx().request_repaint_after(PAUSE.saturating_sub(waited));
            }
        }
        let mut is_of_slide = state.review.cases.is_of_slide;
        if ui.add(tick_box(&mut is_of_slide, "Only the slide in view")).changed() {
            send(commands, CasesCommand::OfSlide(is_of_slide));
        }
    }

    /// What the open case is called.
    fn name_ui(&mut self, ui: &mut Ui, case: &Case, commands: &CommandSender) {
        let mut name = self.name.clone().unwrap_or_else(|| case.title.clone());
        let label = caption(ui, "The open case is called");
        let field = ui.add(TextEdit::singleline(&mut name).desired_width(f32::INFINITY));
        let field = field.labelled_by(label.id);
        if field.changed() {
            self.name = Some(name);
        }
        if field.lost_focus()
            && let Some(name) = self.name.take()
            && name != case.title
        {
            send(commands, CasesCommand::Rename(case.id.clone(), name));
        }
    }
}

/// How far a case was judged, in words.
fn judged(listed: &Listed) -> String {
    let answers =
        if listed.answers == 1 { "1 answer".to_owned() } else { format!("{} answers", listed.answers) };
    match (listed.reviewed, listed.begun) {
        (0, 0) => answers,
        (reviewed, 0) => format!("{answers}, {reviewed} judged"),
        (0, begun) => format!("{answers}, {begun} judged in part"),
        (reviewed, begun) => format!("{answers}, {reviewed} judged, {begun} in part"),
    }
}

/// What a case's slide is called; in blinded reading nothing of it is told.
fn slide_of(state: &AppState, case: &Case) -> String {
    if state.settings.read.is_blinded {
        "slide hidden".to_owned()
    } else if case.slide.name.is_empty() {
        "slide without a name".to_owned()
    } else {
        case.slide.name.clone()
    }
}

fn row_ui(ui: &mut Ui, state: &AppState, listed: &Listed, is_open: bool, commands: &CommandSender) {
    let case = &listed.case;
    let palette = theme::of(ui);
    let small = |text: String| RichText::new(text).small().color(palette.weak);
    let facts = format!("{} · {} · {}", utc(case.changed), slide_of(state, case), judged(listed));
    let size = vec2(ui.available_width(), ROW);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    response.widget_info(|| {
        WidgetInfo::selected(egui::Role::Button, true, is_open, format!("Case {}, {facts}", case.title))
    });
    let is_lit = is_open || response.hovered() || response.has_focus();
    let fill = if is_lit { palette.hover } else { palette.panel };
    ui.painter().rect_filled(rect, CornerRadius::same(theme::RADIUS), fill);
    let inside = UiBuilder::new().max_rect(rect.shrink2(vec2(6.0, 3.0)));
    ui.scope_builder(inside, |ui| {
        ui.spacing_mut().item_spacing.y = 1.0;
        ui.style_mut().wrap_mode = Some(TextWrapMode::Truncate);
        ui.style_mut().interaction.selectable_labels = false;
        ui.label(RichText::new(&case.title).font(theme::semibold(theme::BODY)));
        ui.label(small(facts.clone()));
        if !listed.found.is_empty() {
            ui.label(small(listed.found.clone()));
        }
    });
    if response.clicked() {
        send(commands, CasesCommand::Open(case.id.clone(), listed.answer.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Id;
    use crate::store::SlideId;

    fn listed(answers: usize, reviewed: usize, begun: usize) -> Listed {
        let slide = SlideId { hash: "h".to_owned(), name: "a.svs".to_owned() };
        let case = Case { id: Id::fresh(), slide, path: None, title: String::new(), created: 0, changed: 0 };
        Listed { case, answers, reviewed, begun, found: String::new(), answer: None }
    }

    #[test]
    fn a_case_says_how_far_it_was_judged() {
        assert_eq!(judged(&listed(1, 0, 0)), "1 answer");
        assert_eq!(judged(&listed(3, 1, 0)), "3 answers, 1 judged");
        assert_eq!(judged(&listed(3, 0, 2)), "3 answers, 2 judged in part");
        assert_eq!(judged(&listed(3, 1, 2)), "3 answers, 1 judged, 2 in part");
    }

    #[test]
    fn blinded_reading_tells_no_name_of_a_slide() {
        let mut state = AppState::default();
        assert_eq!(slide_of(&state, &listed(1, 0, 0).case), "a.svs");
        state.settings.read.is_blinded = true;
        assert_eq!(slide_of(&state, &listed(1, 0, 0).case), "slide hidden");
    }
}
