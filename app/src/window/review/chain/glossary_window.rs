//! The glossary's own window: all terms, to be searched, changed and added.

use egui::{Button, ScrollArea, TextEdit, Ui};

use super::super::super::command::CommandSender;
use super::super::super::state::AppState;
use super::super::super::widgets::{caption, dialog, hairline, main_button, toggle, warning};
use super::super::ReviewCommand;
use super::{ChainCommand, OwnTerms};
use crate::chain::glossary::{Term, is_same, is_shipped};

/// Points.
const WIDTH: f32 = 480.0;
const LIST: f32 = 180.0;
const ROW: f32 = 24.0;
/// Between the forms of a term where they are typed.
const COMMA: char = ',';

/// What is typed and chosen in it.
#[derive(Default)]
pub(super) struct GlossaryWindow {
    is_open: bool,
    search: String,
    draft: Draft,
}

#[derive(Default)]
struct Draft {
    name: String,
    also: String,
    meaning: String,
}

impl Draft {
    fn of(term: &Term) -> Self {
        Self { name: term.name.clone(), also: term.also.join(", "), meaning: term.meaning.clone() }
    }

    fn save(&self) -> ChainCommand {
        let also = self.also.split(COMMA).map(|form| form.trim().to_owned());
        ChainCommand::SaveTerm {
            name: self.name.trim().to_owned(),
            also: also.filter(|form| !form.is_empty()).collect(),
            meaning: self.meaning.trim().to_owned(),
        }
    }
}

impl GlossaryWindow {
    /// Shows it, with a term to be changed.
    pub(super) fn open(&mut self, term: Option<&Term>) {
        self.is_open = true;
        if let Some(term) = term {
            self.draft = Draft::of(term);
            self.search.clear();
        }
    }

    pub(super) fn ui(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) {
        if !self.is_open {
            return;
        }
        let mut is_open = true;
        let window = dialog(ui, "Glossary", "glossary", &mut is_open);
        window.collapsible(false).resizable(false).show(ui.ctx(), |ui| {
            ui.set_width(WIDTH);
            if let OwnTerms::Broken(sentence) = &state.review.chain.own {
                warning(ui, sentence);
            }
            self.list_ui(ui, state);
            hairline(ui);
            self.draft_ui(ui, state, commands);
        });
        self.is_open = is_open;
    }

    fn list_ui(&mut self, ui: &mut Ui, state: &AppState) {
        ui.horizontal(|ui| {
            let search =
                TextEdit::singleline(&mut self.search).hint_text("Search").desired_width(WIDTH - 110.0);
            ui.add(search).accessible_name("Search the glossary");
            if ui.button("New term").clicked() {
                self.draft = Draft { name: self.search.trim().to_owned(), ..Draft::default() };
            }
        });
        let wanted = self.search.trim().to_lowercase();
        let holds = |term: &&Term| {
            std::iter::once(&term.name).chain(&term.also).any(|form| form.to_lowercase().contains(&wanted))
        };
        let mut found: Vec<&Term> = state.review.chain.glossary.terms().iter().filter(holds).collect();
        found.sort_by_cached_key(|term| term.name.to_lowercase());
        if found.is_empty() {
            caption(ui, "No term has these letters.");
        }
        let list = ScrollArea::vertical().id_salt("terms").max_height(LIST).auto_shrink(false);
        list.show_rows(ui, ROW, found.len(), |ui, rows| {
            for term in &found[rows] {
                let is_chosen = is_same(&term.name, &self.draft.name);
                if toggle(ui, is_chosen, term.name.as_str()).clicked() {
                    self.draft = Draft::of(term);
                }
            }
        });
    }

    fn draft_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let draft = &mut self.draft;
        let label = ui.label("Term");
        ui.add(TextEdit::singleline(&mut draft.name).desired_width(f32::INFINITY)).labelled_by(label.id);
        let label = ui.label("Other words for it, with plurals, separated by commas");
        let also = TextEdit::multiline(&mut draft.also).desired_rows(2).desired_width(f32::INFINITY);
        ui.add(also).labelled_by(label.id);
        let label = ui.label("Meaning");
        let meaning = TextEdit::multiline(&mut draft.meaning).desired_rows(3).desired_width(f32::INFINITY);
        ui.add(meaning).labelled_by(label.id);
        let chain = &state.review.chain;
        let known = chain.glossary.terms().iter().find(|term| is_same(&term.name, &draft.name));
        if let Some(source) = known.and_then(|term| term.source.as_deref()) {
            caption(ui, format!("Source: {source}"));
        }
        let own = match &chain.own {
            OwnTerms::Known(own) => own.iter().any(|term| is_same(&term.name, &draft.name)),
            OwnTerms::Unread | OwnTerms::Broken(_) => false,
        };
        let can_save = !draft.name.trim().is_empty() && !draft.meaning.trim().is_empty();
        ui.horizontal(|ui| {
            let save = main_button(ui, "Save term");
            if ui.add_enabled(can_save, save).clicked() {
                commands.review(ReviewCommand::Chain(draft.save()));
            }
            if own {
                let words = if is_shipped(&draft.name) { "As shipped" } else { "Remove term" };
                if ui.add(Button::new(words)).clicked() {
                    commands.review(ReviewCommand::Chain(ChainCommand::RemoveTerm(draft.name.clone())));
                    *draft = Draft::default();
                }
            }
        });
        if state.read.places.glossary.is_none() {
            caption(ui, "Changes last until the window is closed.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_typed_with_commas_between_them() {
        let draft = Draft {
            name: " zebra body ".to_owned(),
            also: "zebras, ,stripes ".to_owned(),
            meaning: "X.\n".to_owned(),
        };
        let (name, also, meaning) =
            ("zebra body".to_owned(), vec!["zebras".to_owned(), "stripes".to_owned()], "X.".to_owned());
        assert_eq!(draft.save(), ChainCommand::SaveTerm { name, also, meaning });
    }
}
