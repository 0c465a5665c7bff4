//! The right side: what is asked, and the conversation with its answers as they are written.
//!
//! The panel owns what is being typed. Ask and Stop are one place at the bottom, which no text moves.

use egui::{
    Align, Button, Key, KeyboardShortcut, Layout, Modifiers, Panel, RichText, ScrollArea, TextEdit, Ui,
};
use reinpath_training::subtask::{QuestionKind, Subtasks};

use super::answer_view::{AnswerView, Phase, QuestionText};
use super::command::{AskCommand, Command, CommandSender};
use super::model_picker;
use super::pixel_limit::PixelLimit;
use super::review::cases::{self, CasesCommand};
use super::review::{ReviewCommand, ReviewPanels};
use super::slides_panel::thumbnail_ui;
use super::state::{AppState, PackageState, Tool};
use super::theme;
use super::update::{NO_PATCH_TICKED, obstacle};
use super::widgets::{caption, main_button, tick_box, title};
use crate::case::Id;

/// What a true/false wording leaves to be filled in.
const STATEMENT: &str = "{statement}";
/// What stands in its place until it is.
const BLANK: &str = "[statement]";
/// Options of a choice.
const MOST_CHOICES: usize = 8;
/// The side of a patch's picture here.
const SMALL_THUMBNAIL: f32 = 44.0;

const ASK_KEYS: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Enter);

/// The panel.
pub(super) struct AskPanel {
    draft: QuestionText,
    subtasks: Subtasks,
    /// The question whose text was put into the draft to be edited.
    editing: Option<Id>,
    /// Whether a question that follows up is asked with the conversation before it.
    has_history: bool,
    /// Said when Ask was pressed and could not be carried out.
    refused: Option<String>,
    limit: PixelLimit,
}

impl Default for AskPanel {
    fn default() -> Self {
        Self {
            draft: QuestionText::default(),
            subtasks: Subtasks::shipped(),
            editing: None,
            has_history: false,
            refused: None,
            limit: PixelLimit::default(),
        }
    }
}

impl AskPanel {
    /// Draws the panel.
    pub(super) fn ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        review: &mut ReviewPanels,
        commands: &CommandSender,
    ) {
        self.take_edited(state);
        let by_keys = ui.input_mut(|input| input.consume_shortcut(&ASK_KEYS));
        Panel::bottom("ask actions").frame(egui::Frame::new()).resizable(false).show(ui, |ui| {
            self.actions_ui(ui, state, commands, by_keys);
        });
        // Above what scrolls, so that the picker has its place also while a long answer is read.
        ui.horizontal(|ui| {
            title(ui, "Ask");
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| model_picker::ui(ui, state, commands));
        });
        ScrollArea::vertical().id_salt("ask").auto_shrink(false).stick_to_bottom(state.is_asking()).show(
            ui,
            |ui| {
                if self.editing.is_some() {
                    caption(ui, "The edited question is asked about the same patches.");
                } else {
                    patches_ui(ui, state, commands);
                }
                self.limit.ui(ui, state, commands);
                self.question_ui(ui);
                self.choices_ui(ui);
                self.context_ui(ui);
                self.history_ui(ui, state);
                review.conversation_ui(ui, state, commands);
            },
        );
    }

    /// Puts a question that is to be edited into the draft.
    fn take_edited(&mut self, state: &AppState) {
        let editing = &state.review.cases.editing;
        if *editing == self.editing {
            return;
        }
        self.editing.clone_from(editing);
        if let Some(question) = editing.as_ref().and_then(|id| cases::question(state, id)) {
            self.draft = cases::text_of(&question);
            self.refused = None;
        }
    }

    fn question_ui(&mut self, ui: &mut Ui) {
        let label = ui.horizontal(|ui| {
            let label = ui.label("Question");
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.menu_button("Templates", |ui| self.templates_ui(ui));
            });
            label
        });
        let edit = TextEdit::multiline(&mut self.draft.question)
            .hint_text("Type a question, or choose a template")
            .desired_rows(2)
            .desired_width(f32::INFINITY);
        if ui.add(edit).labelled_by(label.inner.id).changed() {
            self.refused = None;
        }
    }

    fn templates_ui(&mut self, ui: &mut Ui) {
        let mut chosen: Option<(String, QuestionKind)> = None;
        ui.menu_button("General", |ui| {
            ScrollArea::vertical().max_height(420.0).show(ui, |ui| {
                for template in &self.subtasks.general {
                    if ui.button(template).clicked() {
                        chosen = Some((template.clone(), QuestionKind::Open));
                    }
                }
            });
        });
        for domain in &self.subtasks.domains {
            ui.menu_button(capitalised(&domain.name), |ui| {
                for subtask in &domain.subtasks {
                    ui.menu_button(capitalised(&subtask.name), |ui| {
                        for &kind in &subtask.kinds {
                            caption(ui, kind_in_words(kind));
                            for template in subtask.templates(kind) {
                                let words = template.replace(STATEMENT, BLANK);
                                if ui.button(&words).clicked() {
                                    chosen = Some((words, kind));
                                }
                            }
                        }
                    });
                }
            });
        }
        if let Some((question, kind)) = chosen {
            self.draft.question = question;
            match kind {
                QuestionKind::Choice if self.draft.choices.len() < 2 => {
                    self.draft.choices.resize(4, String::new());
                }
                QuestionKind::Choice => {}
                QuestionKind::Open | QuestionKind::TrueFalse => self.draft.choices.clear(),
            }
            self.refused = None;
            ui.close();
        }
    }

    fn choices_ui(&mut self, ui: &mut Ui) {
        let mut removed = None;
        for (n, choice) in self.draft.choices.iter_mut().enumerate() {
            let letter = char::from(b'A' + n as u8);
            ui.horizontal(|ui| {
                ui.label(format!("{letter})"));
                let width = ui.available_width() - 34.0;
                let edit = TextEdit::singleline(choice).desired_width(width).hint_text("Option");
                if ui.add(edit).accessible_name(format!("Option {letter}")).changed() {
                    self.refused = None;
                }
                let remove = ui.add(Button::new("×").frame_when_inactive(false));
                if remove.accessible_name(format!("Remove option {letter}")).clicked() {
                    removed = Some(n);
                }
            });
        }
        if let Some(n) = removed {
            self.draft.choices.remove(n);
            self.refused = None;
        }
        if self.draft.choices.len() < MOST_CHOICES && ui.small_button("Add option").clicked() {
            let wanted = if self.draft.choices.is_empty() { 2 } else { self.draft.choices.len() + 1 };
            self.draft.choices.resize(wanted, String::new());
        }
    }

    fn context_ui(&mut self, ui: &mut Ui) {
        let label = ui.label("Clinical context");
        let edit = TextEdit::singleline(&mut self.draft.context)
            .hint_text("Organ, stain, age, history (may be empty)")
            .desired_width(f32::INFINITY);
        ui.add(edit).labelled_by(label.id);
    }

    /// What a question that follows up is asked with.
    fn history_ui(&mut self, ui: &mut Ui, state: &AppState) {
        if self.editing.is_some() || !cases::shown(state).is_some_and(|shown| shown.answer.is_over()) {
            return;
        }
        ui.add(tick_box(&mut self.has_history, "Give the model the conversation so far"));
        // Those of the other family were made for conversations.
        let is_of_reinpath = state.model.info().is_none_or(|model| model.vision().is_none());
        let remark = if is_of_reinpath { " This model was trained on single questions." } else { "" };
        caption(ui, format!("For questions that follow up.{remark}"));
    }

    fn actions_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender, by_keys: bool) {
        ui.add_space(4.0);
        if let Some(sentence) = &self.refused {
            ui.label(RichText::new(sentence).color(theme::of(ui).warning));
        } else if let PackageState::Failed(sentence) = &state.model.package {
            ui.label(RichText::new(sentence).color(theme::of(ui).error));
            if ui.small_button("Copy message").clicked() {
                commands.send(Command::Copy(sentence.clone()));
            }
        }
        ui.horizontal_wrapped(|ui| {
            if state.is_asking() {
                stop_ui(ui, state, commands);
            } else if self.editing.is_some() {
                self.edited_ui(ui, commands, by_keys);
            } else {
                self.ask_ui(ui, state, commands, by_keys);
            }
        });
        ui.add_space(4.0);
    }

    fn ask_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender, by_keys: bool) {
        let button = main_button(ui, "Ask").min_size(main_size());
        let keys = ui.ctx().format_shortcut(&ASK_KEYS);
        if ui.add(button).on_hover_text(keys).clicked() || by_keys {
            self.ask(state, |text| commands.ask(AskCommand::Ask(text)));
            self.leave_fields(ui);
        }
        if cases::shown(state).is_some() {
            let button = ui.button("Follow up").on_hover_text("Ask after the answer in view");
            if button.clicked() {
                let has_history = self.has_history;
                self.ask(state, |text| send(commands, CasesCommand::FollowUp { text, has_history }));
                self.leave_fields(ui);
            }
        }
        let is_unfinished = |answer: &AnswerView| !matches!(answer.phase, Phase::Finished(_));
        if state.answer.as_ref().is_some_and(is_unfinished)
            && ui.button("Again").on_hover_text("Ask the last question once more").clicked()
        {
            commands.ask(AskCommand::Again);
        }
        if state.review.cases.open.is_some() || state.answer.is_some() {
            let button = ui.button("New case").on_hover_text("The next question begins a case of its own");
            if button.clicked() {
                send(commands, CasesCommand::Begin);
            }
        }
    }

    /// A question was asked: keys are about its answer from now on, not about the field it was typed in.
    fn leave_fields(&self, ui: &Ui) {
        if self.refused.is_none() {
            ui.memory_mut(egui::Memory::stop_text_input);
        }
    }

    /// A question of the conversation is in the field.
    fn edited_ui(&mut self, ui: &mut Ui, commands: &CommandSender, by_keys: bool) {
        let button = main_button(ui, "Ask edited").min_size(main_size());
        let keys = ui.ctx().format_shortcut(&ASK_KEYS);
        if ui.add(button).on_hover_text(keys).clicked() || by_keys {
            self.refused = match filled_in(&self.draft) {
                Ok(text) if text.question.is_empty() => Some("Type a question first.".to_owned()),
                Ok(text) => {
                    send(commands, CasesCommand::AskEdited(Box::new(text)));
                    None
                }
                Err(sentence) => Some(sentence),
            };
            self.leave_fields(ui);
        }
        if ui.button("Leave as it was").clicked() {
            self.refused = None;
            send(commands, CasesCommand::Edit(None));
        }
    }

    /// Sends the draft, or says what is in the way.
    fn ask(&mut self, state: &AppState, send: impl FnOnce(Box<QuestionText>)) {
        let text = filled_in(&self.draft).and_then(|text| match obstacle(state, &text) {
            Some(sentence) => Err(sentence),
            None => Ok(text),
        });
        self.refused = match text {
            Ok(text) => {
                send(Box::new(text));
                None
            }
            Err(sentence) => Some(sentence),
        };
    }
}

fn send(commands: &CommandSender, wish: CasesCommand) {
    commands.review(ReviewCommand::Cases(wish));
}

/// While an answer is written: how to end it, and how many wait for its end.
fn stop_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let is_stopping = state.answer.as_ref().is_some_and(|answer| answer.phase == Phase::Stopping);
    let stop = Button::new(if is_stopping { "Stopping" } else { "Stop" }).min_size(main_size());
    if ui.add_enabled(!is_stopping, stop).on_hover_text("Esc").clicked() {
        commands.ask(AskCommand::Stop);
    }
    let waiting = state.review.cases.queue.len();
    if waiting > 0 {
        caption(ui, cases::waiting(waiting));
    }
}

/// The draft as it is asked; an error says what is still to be filled in.
fn filled_in(draft: &QuestionText) -> Result<QuestionText, String> {
    let mut text = QuestionText {
        question: draft.question.trim().to_owned(),
        choices: draft.choices.clone(),
        context: draft.context.trim().to_owned(),
    };
    text.choices.retain(|choice| !choice.trim().is_empty());
    if text.question.contains(BLANK) {
        return Err(format!("Put the statement to be judged in the place of {BLANK}."));
    }
    if !draft.choices.is_empty() && text.choices.len() < 2 {
        return Err("Fill in at least two options, or remove them.".to_owned());
    }
    Ok(text)
}

fn main_size() -> egui::Vec2 {
    egui::vec2(96.0, 32.0)
}

fn kind_in_words(kind: QuestionKind) -> &'static str {
    match kind {
        QuestionKind::Open => "Open",
        QuestionKind::Choice => "With options",
        QuestionKind::TrueFalse => "True or false",
    }
}

fn capitalised(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// The patches that the question is about.
fn patches_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let Some(slide) = state.shown_slide().filter(|slide| slide.info().is_some()) else {
        caption(ui, "Questions are about patches of a slide: open one first.");
        return;
    };
    let asked: Vec<_> = slide.patches.in_question().collect();
    if asked.is_empty() && !slide.patches.places().is_empty() {
        caption(ui, NO_PATCH_TICKED);
        return;
    }
    if asked.is_empty() {
        ui.horizontal(|ui| {
            caption(ui, "No patch yet.");
            if state.tool != Tool::Patch && ui.small_button("Patch tool").clicked() {
                commands.send(Command::Tool(Tool::Patch));
            }
        });
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = egui::vec2(4.0, 4.0);
        for (number, place) in asked {
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 1.0;
                thumbnail_ui(ui, slide.patches.picture(place.id), SMALL_THUMBNAIL);
                caption(ui, number.to_string());
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_leaves_open_is_filled_in_before_it_is_asked() {
        let draft = |question: &str, choices: &[&str]| QuestionText {
            question: question.to_owned(),
            choices: choices.iter().map(ToString::to_string).collect(),
            context: " colon ".to_owned(),
        };
        for blank in [&["", " ", "", ""][..], &["necrosis", ""]] {
            let refused = filled_in(&draft("What is seen?", blank));
            assert_eq!(refused.unwrap_err(), "Fill in at least two options, or remove them.");
        }
        let text = filled_in(&draft(" What is seen? ", &["necrosis", "", "mucin"])).unwrap();
        assert_eq!((text.question.as_str(), text.context.as_str()), ("What is seen?", "colon"));
        assert_eq!(text.choices, ["necrosis", "mucin"]);
        assert!(filled_in(&draft("What is seen?", &[])).is_ok());
        assert!(filled_in(&draft("Is it true that [statement]?", &[])).is_err());
    }
}
