//! The answer in view as a chain: stages that fold, sentences with their terms, doubts and reasons, and where the sentence in view looks, over
//! the slide.

use std::collections::BTreeMap;
use std::sync::Arc;

use egui::{Key, Ui};
use reinpath_model::request::SentenceMap;
use reinpath_model::stage::AnswerStage;

use super::super::command::{Command, CommandSender, Named, key, named, shift};
use super::super::picture::Picture;
use super::super::state::AppState;
use super::super::viewer_panel::PaneFrame;
use super::verdicts::VerdictsPanel;
use super::{ReviewCommand, Shown};
use crate::case::{Answer, Id, Maps};
use crate::chain::glossary::{Glossary, Term};

mod cards;
mod desk;
mod glossary_window;
mod places;
mod reading;
mod row;
#[cfg(test)]
mod tests;
mod update;

pub(in crate::window) use desk::ChainDesk;
pub(in crate::window) use update::focus;
pub(super) use update::{command, event};

/// What of it is shown.
#[derive(Debug, Default)]
pub struct ChainState {
    /// The sentence that keys are about: of which answer, its stage and its place in it.
    pub focus: Option<(Id, AnswerStage, usize)>,
    /// Whether the map of that sentence lies over the slide.
    pub is_map_shown: bool,
    /// Maps by answer, as far as they were made or read.
    pub maps: BTreeMap<Id, Maps>,
    /// The sentence that the pointer rests on, of which answer.
    pub looked_at: Option<(Id, AnswerStage, usize)>,
    /// The sentence whose maps are drawn, or are being made into pictures.
    pub wanted: Option<MapKey>,
    /// Its maps as pictures.
    pub drawn: Option<(MapKey, Vec<Layer>)>,
    /// The shipped glossary with the user's terms.
    pub glossary: Arc<Glossary>,
    /// Counts its changes.
    pub revision: u64,
    /// The user's terms.
    pub own: OwnTerms,
    /// Stages of answers that ended which the user opened or folded.
    pub opened: BTreeMap<(Id, AnswerStage), bool>,
}

/// The terms of the user's own glossary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OwnTerms {
    /// The file was not read yet.
    #[default]
    Unread,
    Known(Vec<Term>),
    /// The file cannot be used, as a sentence: it is left as it is, and the shipped glossary is in use.
    Broken(String),
}

/// Names the maps of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapKey {
    pub answer: Id,
    pub stage: AnswerStage,
    /// Of the sentence in its stage.
    pub index: usize,
    /// Tells maps that were made anew from those before: where the list of them lies in memory.
    pub list: usize,
}

/// The map of a sentence over one patch.
#[derive(Debug)]
pub struct Layer {
    pub head: SentenceMap,
    /// Coloured where the map means something, else grey.
    pub picture: Picture,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum ChainCommand {
    /// The sentence that keys are about; `None`: none.
    Focus(Option<(AnswerStage, usize)>),
    /// The sentence this many further, through all stages.
    Step(i32),
    /// Shows the map of the sentence that keys are about, or hides it; made first where there is none.
    ToggleMap,
    /// The pointer rests on a sentence of the answer in view, or on none.
    LookAt(Option<(AnswerStage, usize)>),
    /// These maps are to be drawn; `None`: none.
    Want(Option<MapKey>),
    /// Opens or folds a stage of the answer in view.
    Fold(AnswerStage),
    /// Marks terms, or not.
    ToggleTerms,
    /// Words less likely than this, in per cent, are underlined.
    UnsureBelow(u8),
    MakesMaps(bool),
    /// Changes what the glossary says, or adds it: name, other words for it, meaning.
    SaveTerm {
        name: String,
        also: Vec<String>,
        meaning: String,
    },
    RemoveTerm(String),
}

/// What happened to it.
#[derive(Debug)]
pub enum ChainEvent {
    Failed(String),
    /// The user's glossary was read: its terms, or a sentence about what is wrong with it.
    Glossary(Result<Vec<Term>, String>),
    /// The pictures of a sentence's maps.
    Drawn {
        key: MapKey,
        layers: Vec<Layer>,
    },
}

/// What is to be done by threads.
#[derive(Clone, Debug, PartialEq)]
pub enum ChainEffect {
    /// Makes pictures of these maps of the list.
    Draw { key: MapKey, maps: Maps, which: Vec<usize> },
    /// Writes the user's glossary.
    SaveGlossary(Vec<Term>),
}

fn wish(wish: ChainCommand) -> Command {
    Command::Review(ReviewCommand::Chain(wish))
}

/// Its commands with names and keys.
pub const NAMED: &[Named] = &[
    named("Previous sentence", &[shift(Key::N)], false, || wish(ChainCommand::Step(-1))),
    named("Next sentence", &[key(Key::N)], false, || wish(ChainCommand::Step(1))),
    named("Show where the sentence looks", &[key(Key::W)], false, || wish(ChainCommand::ToggleMap)),
    named("Mark terms", &[key(Key::H)], false, || wish(ChainCommand::ToggleTerms)),
];

/// The sentence that panels point out: the one under the pointer, else the one that keys are about.
fn pointed(state: &AppState, answer: &Answer) -> Option<(AnswerStage, usize)> {
    let chain = &state.review.chain;
    let of_answer = |place: &Option<(Id, AnswerStage, usize)>| {
        place.as_ref().filter(|(id, ..)| *id == answer.id).map(|(_, stage, index)| (*stage, *index))
    };
    of_answer(&chain.looked_at).or_else(|| of_answer(&chain.focus))
}

/// Whether a stage of an answer shows all of its text.
fn is_open(state: &AppState, shown: Shown<'_>, stage: AnswerStage) -> bool {
    match shown.live {
        Some(live) => live.is_open(stage),
        None => state.review.chain.opened.get(&(shown.answer.id.clone(), stage)).copied().unwrap_or(true),
    }
}

/// The maps that are to be drawn now: of the sentence under the pointer, else of the one that keys are about, if they are to be shown.
fn wanted(state: &AppState, answer: &Answer) -> Option<MapKey> {
    let chain = &state.review.chain;
    let focus = chain.focus.as_ref().filter(|_| chain.is_map_shown);
    let (id, stage, index) = chain.looked_at.as_ref().or(focus).filter(|(id, ..)| *id == answer.id)?;
    let list = Arc::as_ptr(chain.maps.get(id)?).addr();
    Some(MapKey { answer: id.clone(), stage: *stage, index: *index, list })
}

/// What is kept from frame to frame.
#[derive(Default)]
pub(in crate::window) struct ChainPanel {
    reading: reading::Reading,
    cards: cards::Cards,
    glossary: glossary_window::GlossaryWindow,
}

impl ChainPanel {
    /// The answer; `verdicts` draws what is thought of each sentence beside it, or the sentence itself while it is edited.
    pub(in crate::window) fn ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        shown: Shown<'_>,
        verdicts: &mut VerdictsPanel,
        commands: &CommandSender,
    ) {
        let view = cards::View { state, shown, read: self.reading.of(state, shown), commands };
        self.cards.ui(ui, view, verdicts, &mut self.glossary);
        let wanted = wanted(state, shown.answer);
        if wanted != state.review.chain.wanted {
            commands.review(ReviewCommand::Chain(ChainCommand::Want(wanted)));
        }
    }

    /// Where the sentence in view looks, over the slide of a pane.
    #[expect(clippy::unused_self, reason = "called as the other parts' panels are")]
    pub(in crate::window) fn draw(&mut self, ui: &Ui, frame: &PaneFrame<'_>) {
        places::draw(ui, frame);
    }

    /// The glossary's own window.
    pub(in crate::window) fn over_all(&mut self, ui: &Ui, state: &AppState, commands: &CommandSender) {
        self.glossary.ui(ui, state, commands);
    }
}
