//! What becomes of the runs that this window started when it is closed: they go on, they stop first, or the window stays.

use super::{Closing, ControlEffect, effect};
use crate::window::state::AppState;
use crate::window::update::Effect;

/// The window is to be closed.
pub(super) fn ask(state: &mut AppState) -> Vec<Effect> {
    let control = &mut state.train.control;
    if control.started.is_empty() {
        return now(state);
    }
    // A second wish to close does not take back that the runs are stopping.
    if control.closing != Closing::Stopping {
        control.closing = Closing::Asking;
    }
    Vec::new()
}

/// Closes it; runs go on, or go on to stop.
pub(super) fn now(state: &mut AppState) -> Vec<Effect> {
    state.train.control.closing = Closing::Now;
    vec![Effect::Quit]
}

/// Asks all runs to stop; the window closes once they have.
pub(super) fn stop_all(state: &mut AppState) -> Vec<Effect> {
    let control = &mut state.train.control;
    if control.started.is_empty() {
        return now(state);
    }
    control.closing = Closing::Stopping;
    control.stopping.extend(control.started.iter().cloned());
    control.started.iter().map(|run| effect(ControlEffect::Stop(run.clone()))).collect()
}

/// The window stays. Runs that were asked to stop do so all the same.
pub(super) fn stay(state: &mut AppState) -> Vec<Effect> {
    state.train.control.closing = Closing::No;
    Vec::new()
}

/// A run is over: nothing may be left to wait for, or to ask about.
pub(super) fn is_over(state: &mut AppState) -> Vec<Effect> {
    let control = &state.train.control;
    let is_closing = matches!(control.closing, Closing::Asking | Closing::Stopping);
    if is_closing && control.started.is_empty() { now(state) } else { Vec::new() }
}
