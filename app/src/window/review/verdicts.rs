//! Verdicts by keyboard: accept, edit or reject sentences and stages of the answer in view, each with a reason and a comment; undo; what
//! an edit changed.
//!
//! A verdict holds at once and is sent to the store; it is acknowledged when the log has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egui::{Key, Ui};

use super::super::command::{Command, CommandSender, Named, key, named, shift};
use super::super::read::ReadPlaces;
use super::super::state::AppState;
use super::super::update::Effect;
use super::super::workers::{EventSender, Workers};
use super::{ReviewCommand, Shown};
use crate::case::Id;
use crate::review::verdict::{self, Decision, Draft, Entry, Reason, Standing, Target};

mod panel;
mod sentence;
mod update;
mod waiting;

pub(in crate::window) use sentence::difference_job;

/// What of it is shown.
#[derive(Debug, Default)]
pub struct VerdictsState {
    /// What the log has, by answer, in its order.
    pub entries: BTreeMap<Id, Vec<Entry>>,
    /// What was decided and the log does not have yet, in order.
    pub waiting: Vec<Draft>,
    /// What is being edited.
    pub editing: Option<Target>,
    /// What is being commented on.
    pub commenting: Option<Target>,
    /// What reasons and comments are about: what was decided last.
    pub last: Option<(Id, Target)>,
    /// Why something is not kept yet, as a sentence.
    pub not_kept: Option<String>,
    /// The answer whose sentence is edited or whose verdict is commented on.
    pub typing_of: Option<Id>,
    /// Which of `waiting`, by their place, are taken back as soon as the log has them: before that they have no number.
    pub taken_back: BTreeSet<usize>,
    /// Counts every change, so that panels read verdicts anew only then.
    pub revision: u64,
}

/// Wishes about it, of the answer in view.
#[derive(Clone, Debug, PartialEq)]
pub enum VerdictsCommand {
    Decide(Target, Decision),
    /// Of the sentence that keys are about.
    Sentence(Decision),
    /// Of all of its stage.
    Stage(Decision),
    /// Accepts every sentence without a verdict.
    AcceptRest,
    /// Why, of what was decided last.
    Reason(Reason),
    BeginEdit,
    BeginComment,
    /// Ends editing with this text, or as it was.
    EndEdit(Option<String>),
    EndComment(Option<String>),
    /// Takes back what was decided last about this answer.
    Undo,
    Reviewer(String),
}

/// What happened to it.
#[derive(Debug)]
pub enum VerdictsEvent {
    /// The log has it.
    Appended(Entry),
    /// It cannot be kept, as a sentence: it waits and is tried again by the thread that keeps it.
    NotKept(String),
    /// The oldest of those that wait will never be kept, as a sentence.
    Refused(String),
}

/// What is to be done by threads. (Appending is `CaseJob::Append`.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VerdictsEffect {}

fn wish(wish: VerdictsCommand) -> Command {
    Command::Review(ReviewCommand::Verdicts(wish))
}

fn because(reason: Reason) -> Command {
    wish(VerdictsCommand::Reason(reason))
}

/// Its commands with names and keys.
pub const NAMED: &[Named] = &[
    named("Accept the rest", &[shift(Key::Y)], false, || wish(VerdictsCommand::AcceptRest)),
    named("Reject stage", &[shift(Key::X)], false, || wish(VerdictsCommand::Stage(Decision::Reject))),
    named("Take back verdict", &[shift(Key::Z)], false, || wish(VerdictsCommand::Undo)),
    named("Accept sentence", &[key(Key::Y)], false, || wish(VerdictsCommand::Sentence(Decision::Accept))),
    named("Reject sentence", &[key(Key::X)], false, || wish(VerdictsCommand::Sentence(Decision::Reject))),
    named("Accept stage", &[key(Key::T)], false, || wish(VerdictsCommand::Stage(Decision::Accept))),
    named("Edit sentence", &[key(Key::E)], false, || wish(VerdictsCommand::BeginEdit)),
    named("Comment on verdict", &[key(Key::C)], false, || wish(VerdictsCommand::BeginComment)),
    named("Reason: not visible", &[key(Key::Num1)], false, || because(Reason::NotVisible)),
    named("Reason: wrong feature", &[key(Key::Num2)], false, || because(Reason::WrongFeature)),
    named("Reason: wrong place", &[key(Key::Num3)], false, || because(Reason::WrongPlace)),
    named("Reason: wrong inference", &[key(Key::Num4)], false, || because(Reason::WrongInference)),
    named("Reason: unsupported conclusion", &[key(Key::Num5)], false, || {
        because(Reason::UnsupportedConclusion)
    }),
    named("Reason: wording", &[key(Key::Num6)], false, || because(Reason::Wording)),
];

/// What the log says of the answers of a case that was opened.
pub(super) fn loaded(state: &mut AppState, entries: Vec<Entry>) {
    for entry in entries {
        waiting::keep(&mut state.review.verdicts, entry);
    }
}

/// What holds of all that was decided about an answer, also of what the log does not have yet.
pub(in crate::window) fn standing(state: &AppState, answer: &Id) -> Standing {
    let verdicts = &state.review.verdicts;
    let entries = verdicts.entries.get(answer).map_or(&[][..], Vec::as_slice);
    let is_meant = |at: usize, draft: &Draft| draft.answer == *answer && !verdicts.taken_back.contains(&at);
    let waiting = verdicts.waiting.iter().enumerate().filter(|(at, draft)| is_meant(*at, draft));
    let waiting: Vec<Draft> = waiting.map(|(_, draft)| draft.clone()).collect();
    Standing::of(entries, &waiting)
}

/// Carries out a wish.
pub(super) fn command(state: &mut AppState, wish: VerdictsCommand) -> Vec<Effect> {
    update::command(state, wish)
}

/// Takes in what happened.
pub(super) fn event(state: &mut AppState, news: VerdictsEvent) -> Vec<Effect> {
    match news {
        VerdictsEvent::Appended(entry) => waiting::appended(state, entry),
        VerdictsEvent::NotKept(sentence) => {
            state.review.verdicts.not_kept = Some(sentence);
            Vec::new()
        }
        VerdictsEvent::Refused(sentence) => {
            waiting::refused(state, sentence);
            Vec::new()
        }
    }
}

/// No threads of its own.
pub(in crate::window) struct VerdictsDesk {}

impl VerdictsDesk {
    pub(in crate::window) fn new(_events: EventSender, _places: &ReadPlaces) -> Self {
        Self {}
    }

    #[expect(clippy::unused_self, reason = "the desks of all parts are alike")]
    pub(in crate::window) fn carry_out(&mut self, effect: VerdictsEffect, _workers: &Workers) {
        match effect {}
    }
}

/// What is being typed, and what was read of the answer in view.
#[derive(Default)]
pub(in crate::window) struct VerdictsPanel {
    judged: Option<Arc<Judged>>,
    editor: sentence::Editor,
    panel: panel::Panel,
}

impl VerdictsPanel {
    /// What is thought of a sentence, a stage or the answer, drawn where the chain draws it: `true` where it drew the text itself (while
    /// it is edited, and where an edit is shown as a difference), so that the chain leaves it out.
    pub(in crate::window) fn target_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        shown: Shown<'_>,
        target: Target,
        commands: &CommandSender,
    ) -> bool {
        if !shown.answer.is_over() {
            return false;
        }
        let judged = self.judged(state, shown);
        sentence::ui(&mut self.editor, ui, state, shown, &judged, target, commands)
    }

    /// Below the chain: the reviewer, keys, reasons, comment, what was decided, and whether it is kept.
    pub(in crate::window) fn ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        shown: Shown<'_>,
        commands: &CommandSender,
    ) {
        if !shown.answer.is_over() {
            return;
        }
        let judged = self.judged(state, shown);
        if !judged.sentences.is_empty() {
            self.panel.ui(ui, state, shown, &judged, commands);
        }
    }

    /// What is thought of the answer, read anew only when something was decided.
    fn judged(&mut self, state: &AppState, shown: Shown<'_>) -> Arc<Judged> {
        let of = (shown.answer.id.clone(), shown.answer.tokens.len(), state.review.verdicts.revision);
        match &self.judged {
            Some(judged) if judged.of == of => Arc::clone(judged),
            _ => Arc::clone(self.judged.insert(Arc::new(Judged::of(state, shown, of)))),
        }
    }
}

/// An answer's sentences, and what is thought of them.
struct Judged {
    /// Answer, number of its tokens, revision of the verdicts.
    of: (Id, usize, u64),
    /// The text of every sentence and of every stage that has one.
    texts: BTreeMap<Target, String>,
    /// In reading order.
    sentences: Vec<Target>,
    standing: Standing,
}

impl Judged {
    fn of(state: &AppState, shown: Shown<'_>, of: (Id, usize, u64)) -> Self {
        let text = shown.answer.text();
        let mut texts = BTreeMap::new();
        let mut sentences = Vec::new();
        for (stage, index, sentence) in verdict::sentences(&text) {
            let target = Target::Sentence(stage, index);
            sentences.push(target);
            texts.insert(target, sentence);
            texts.insert(Target::Stage(stage), text.stage(stage).trim().to_owned());
        }
        Self { standing: standing(state, &of.0), of, texts, sentences }
    }

    /// How many sentences have a verdict.
    fn count(&self) -> usize {
        self.sentences.iter().filter(|target| self.standing.at(**target).is_some()).count()
    }
}

#[cfg(test)]
mod tests;
