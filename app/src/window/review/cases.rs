//! Cases: the conversation in view, the list of all of them, several answers at a time, and the owner of the store's thread.
//!
//! An answer that is being written is `state.answer`; once it has ended it is part of the open case, where it stays in view.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use egui::Key;

use super::super::answer_view::QuestionText;
use super::super::command::{Command, Named, alt, ctrl, ctrl_shift, key, named};
use super::super::state::AppState;
use super::super::update::{Effect, How};
use super::{ReviewCommand, ReviewEffect, Shown};
use crate::case::{Id, Listed, Maps, OpenCase, Purpose, Question};
use crate::review::verdict::Entry;
use crate::slide::Region;
use crate::store::case_keeper::CaseJob;
use crate::viewer::tile_cache::SlideKey;

mod conversation;
mod desk;
mod labels;
mod list;
mod panel;
mod patch_files;
mod questions;
mod queue;
mod reopen;
mod side_by_side;
mod update;

pub(in crate::window) use desk::CasesDesk;
pub(in crate::window) use panel::{CasesPanel, waiting};
pub(in crate::window) use questions::{ask, order_of, text_of};
pub(in crate::window) use queue::{STILL_READING, clear_queue, enqueue, no_model, send};
pub(super) use queue::{asked, ended, heard};
pub(super) use update::{command, event};

/// What of it is shown.
#[derive(Debug, Default)]
pub struct CasesState {
    /// What the search found, newest first; `None` before it was first read.
    pub list: Option<Arc<Vec<Listed>>>,
    pub search: String,
    /// Whether only the cases of the slide in view are listed.
    pub is_of_slide: bool,
    /// The case that questions belong to; `None`: the next question begins one.
    pub open: Option<OpenCase>,
    /// The answer in view; `None`: `state.answer`.
    pub shown: Option<Id>,
    /// Answers that are laid side by side.
    pub compared: Vec<Id>,
    /// What is asked once the model is free.
    pub queue: VecDeque<Wanted>,
    /// The order that reads an answer again for its maps, and that answer.
    pub explaining: Option<(u64, Id)>,
    /// The question that `state.answer` is the answer to.
    pub live: Option<Arc<Question>>,
    /// Why something is not kept yet, as a sentence.
    pub not_kept: Option<String>,
    /// What `state.answer` was asked for as.
    pub asked: Option<Wanted>,
    /// The question whose text was put into the field to be edited.
    pub editing: Option<Id>,
    /// The answer that is read again for its maps once the model is free, and whether the user asked for it.
    pub to_explain: Option<(Id, bool)>,
    /// Whether the reading that goes on was asked for by the user, who is told where it fails.
    pub is_explaining_wanted: bool,
    /// Questions whose patches are being cut to be kept.
    pub keeping: BTreeMap<Id, Arc<Question>>,
    /// Whether something was kept since the list was read.
    pub is_list_old: bool,
    /// The hash of the slide that the list is of, where it is of one.
    pub listed_slide: Option<String>,
    /// The slide of a case that is being opened.
    pub reopening: Option<Reopening>,
}

/// The slide of a case that is being opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopening {
    /// Of the case's slide.
    pub hash: String,
    pub step: Step,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This tab is being opened.
    Opening(SlideKey),
    /// The user is asked where it is; these slides were open before.
    Picking(Vec<SlideKey>),
    /// It is not there, as a sentence.
    Missing(String),
}

/// An answer that is to be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub slide: SlideKey,
    pub question: Arc<Question>,
    pub purpose: Purpose,
    /// Where they differ from the question's: options in another order, patches elsewhere.
    pub text: QuestionText,
    pub regions: Vec<Region>,
    pub how: How,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum CasesCommand {
    Search(String),
    OfSlide(bool),
    /// Opens a case, with its slide, its patches and its view, at this answer or at its last.
    Open(Id, Option<Id>),
    /// The next question begins a case.
    Begin,
    /// Puts an answer of the open case into view.
    Show(Id),
    /// The answer this many further among those to the same question and to what it was edited from.
    Branch(i32),
    /// The question this many further along the conversation.
    Along(i32),
    /// The question in view once more, with another seed.
    Regenerate,
    /// An edited question, beside the one in view.
    AskEdited(Box<QuestionText>),
    /// A question after the answer in view, on the patches that are ticked.
    FollowUp {
        text: Box<QuestionText>,
        has_history: bool,
    },
    /// So many samples of the question in view, side by side.
    Samples(u32),
    /// The question for each ticked patch apart, side by side.
    ComparePatches(Box<QuestionText>),
    Compare(Vec<Id>),
    /// Reads an answer again for the maps of its sentences.
    Explain(Id),
    Rename(Id, String),
    /// Takes back what waits for the model.
    ClearQueue,
    /// Puts the text of a question of the open case into the field, where it is edited; `None`: as it was.
    Edit(Option<Id>),
    /// Reads the list anew.
    Refresh,
    /// Asks by a dialog where the slide of the case is.
    FindSlide,
    /// Goes on with what waited for a slide or for the model.
    Settle,
}

/// What happened to it.
#[derive(Debug)]
pub enum CasesEvent {
    /// What the search with this text found.
    Listed {
        search: String,
        list: Arc<Vec<Listed>>,
    },
    Opened {
        case: Box<OpenCase>,
        entries: Vec<Entry>,
        maps: Vec<(Id, Maps)>,
        at: Option<Id>,
    },
    /// Maps of an order's answer, from the model.
    Maps {
        id: u64,
        maps: Maps,
    },
    /// The pixels of a question's patches are kept under these names.
    PatchesKept {
        question: Id,
        pixels: Vec<String>,
    },
    /// They cannot be kept, as a sentence.
    PatchesNotKept {
        question: Id,
        sentence: String,
    },
    /// All is safe that was offered so far.
    Saved,
    /// Something could not be kept yet, as a sentence.
    Waiting(String),
    Failed(String),
}

/// What is to be done by threads.
#[derive(Clone, Debug, PartialEq)]
pub enum CasesEffect {
    /// For the thread that owns the store. Appending is answered by `VerdictsEvent`, collecting by `ExportEvent::Collected`.
    Keeper(CaseJob),
    /// Cuts the patches of a question as the model received them and keeps their pixels.
    KeepPatches { slide: SlideKey, question: Arc<Question>, mpp: f64 },
    /// Hands over what there was no room for.
    Flush,
}

fn wish(wish: CasesCommand) -> Command {
    Command::Review(ReviewCommand::Cases(wish))
}

/// Its commands with names and keys.
pub const NAMED: &[Named] = &[
    named("Cases", &[ctrl(Key::F)], true, || {
        Command::Read(super::super::read::ReadCommand::Side(super::super::read::Side::Cases))
    }),
    named("New case", &[ctrl(Key::N)], true, || wish(CasesCommand::Begin)),
    named("Ask once more", &[ctrl(Key::J)], false, || wish(CasesCommand::Regenerate)),
    named("Three samples side by side", &[ctrl_shift(Key::J)], false, || wish(CasesCommand::Samples(3))),
    named("Previous branch", &[key(Key::OpenBracket)], false, || wish(CasesCommand::Branch(-1))),
    named("Next branch", &[key(Key::CloseBracket)], false, || wish(CasesCommand::Branch(1))),
    named("Previous question", &[alt(Key::ArrowUp)], false, || wish(CasesCommand::Along(-1))),
    named("Next question", &[alt(Key::ArrowDown)], false, || wish(CasesCommand::Along(1))),
];

fn effect(effect: CasesEffect) -> Effect {
    Effect::Review(ReviewEffect::Cases(effect))
}

/// Something for the thread that owns the store.
pub(super) fn keeper(job: CaseJob) -> Effect {
    effect(CasesEffect::Keeper(job))
}

/// A question of the open case, or the one that was asked last.
pub(in crate::window) fn question(state: &AppState, id: &Id) -> Option<Arc<Question>> {
    let cases = &state.review.cases;
    let kept = cases.open.as_ref().and_then(|open| open.questions.get(id));
    kept.or(cases.live.as_ref().filter(|live| live.id == *id)).cloned()
}

/// The answer in view: of the open case, or the one that was asked for last.
pub(in crate::window) fn shown(state: &AppState) -> Option<Shown<'_>> {
    let cases = &state.review.cases;
    if let (Some(id), Some(open)) = (&cases.shown, &cases.open) {
        let answer = open.answers.get(id)?;
        let question = open.questions.get(&answer.question)?;
        let live = state.answer.as_ref().filter(|live| live.record.id == *id);
        return Some(Shown { question, answer, live });
    }
    let live = state.answer.as_ref()?;
    Some(Shown { question: cases.live.as_ref()?, answer: &live.record, live: Some(live) })
}

#[cfg(test)]
mod tests;
