//! Whether the answer in view holds when it is asked again, with its options in another order, and with its patches shifted and turned a
//! little: agreement stage by stage, with the answers that differ.

use egui::{Key, Ui};

use super::super::command::{Command, CommandSender, Named, named, shift};
use super::super::read::ReadPlaces;
use super::super::state::AppState;
use super::super::update::Effect;
use super::super::workers::{EventSender, Workers};
use super::{ReviewCommand, Shown};
use crate::case::Id;

mod panel;
mod stamp;
mod update;

/// Variations of each kind at the most.
const MOST_REPEATS: u32 = 10;

/// What of it is shown.
#[derive(Debug)]
pub struct StabilityState {
    /// How often it is asked again with another seed.
    pub repeats: u32,
    /// Whether options are put into other orders, patches shifted, and turned.
    pub is_shuffled: bool,
    pub is_shifted: bool,
    pub is_turned: bool,
    /// The answer that is being looked at, and how many answers are still to come.
    pub running: Option<(Id, usize)>,
    /// How many answers there were to come when it began.
    pub asked: usize,
}

impl Default for StabilityState {
    fn default() -> Self {
        Self { repeats: 3, is_shuffled: true, is_shifted: true, is_turned: true, running: None, asked: 0 }
    }
}

/// Wishes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StabilityCommand {
    /// Of the answer in view.
    Begin,
    End,
    Repeats(u32),
    Shuffled(bool),
    Shifted(bool),
    Turned(bool),
    /// The answer in view once more with everything as its stamp has it.
    Replay,
}

/// What happened to it.
#[derive(Clone, Copy, Debug)]
pub enum StabilityEvent {}

/// What is to be done by threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StabilityEffect {}

/// Its commands with names and keys.
pub const NAMED: &[Named] = &[named("Check stability", &[shift(Key::S)], false, || {
    Command::Review(ReviewCommand::Stability(StabilityCommand::Begin))
})];

/// Carries out a wish.
pub(super) fn command(state: &mut AppState, wish: StabilityCommand) -> Vec<Effect> {
    let stability = &mut state.review.stability;
    match wish {
        StabilityCommand::Begin => return update::begin(state),
        StabilityCommand::End => return update::end(state),
        StabilityCommand::Replay => return update::replay(state),
        StabilityCommand::Repeats(repeats) => stability.repeats = repeats.clamp(1, MOST_REPEATS),
        StabilityCommand::Shuffled(on) => stability.is_shuffled = on,
        StabilityCommand::Shifted(on) => stability.is_shifted = on,
        StabilityCommand::Turned(on) => stability.is_turned = on,
    }
    Vec::new()
}

/// Takes in what happened.
pub(super) fn event(_state: &mut AppState, news: StabilityEvent) -> Vec<Effect> {
    match news {}
}

/// An order has ended, and its answer is part of the open case.
pub(super) fn ended(state: &mut AppState, _id: u64) -> Vec<Effect> {
    update::count(state);
    Vec::new()
}

/// No threads of its own.
pub(in crate::window) struct StabilityDesk {}

impl StabilityDesk {
    pub(in crate::window) fn new(_events: EventSender, _places: &ReadPlaces) -> Self {
        Self {}
    }

    #[expect(clippy::unused_self, reason = "the desks of all parts are alike")]
    pub(in crate::window) fn carry_out(&mut self, effect: StabilityEffect, _workers: &Workers) {
        match effect {}
    }
}

/// What was compared last.
#[derive(Default)]
pub(in crate::window) struct StabilityPanel {
    compared: panel::Compared,
    stamp: stamp::Compared,
}

impl StabilityPanel {
    /// Agreement beside the answer, and its stamp.
    pub(in crate::window) fn ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        shown: Shown<'_>,
        commands: &CommandSender,
    ) {
        if shown.answer.is_over() {
            self.compared.ui(ui, state, shown, commands);
            stamp::ui(&mut self.stamp, ui, state, shown, commands);
        }
    }
}

#[cfg(test)]
mod tests;
