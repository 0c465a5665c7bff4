//! What was decided and is on its way into the log. It is handed over at once and in order; the thread that keeps it tries again what it
//! cannot keep now, and answers in the same order.

use super::super::super::state::AppState;
use super::super::super::update::{Effect, complain};
use super::super::cases;
use super::VerdictsState;
use crate::case::Id;
use crate::review::verdict::{Action, Draft, Entry};
use crate::store::case_keeper::CaseJob;

/// Hands something over that is to be appended about an answer.
pub(super) fn append(state: &mut AppState, answer: Id, action: Action) -> Effect {
    let draft = Draft { answer, reviewer: state.settings.review.reviewer.clone(), action };
    let verdicts = &mut state.review.verdicts;
    verdicts.waiting.push(draft.clone());
    verdicts.revision += 1;
    cases::keeper(CaseJob::Append(draft))
}

/// The log has a draft.
pub(super) fn appended(state: &mut AppState, entry: Entry) -> Vec<Effect> {
    let is_it = |draft: &Draft| {
        draft.answer == entry.answer && draft.reviewer == entry.reviewer && draft.action == entry.action
    };
    let verdicts = &mut state.review.verdicts;
    let found = verdicts.waiting.iter().position(is_it);
    let is_taken_back = found.is_some_and(|at| verdicts.taken_back.contains(&at));
    // What was handed over before it and was not answered will not be.
    let lost = found.unwrap_or(0);
    drop_first(verdicts, found.map_or(0, |at| at + 1));
    verdicts.not_kept = None;
    let (answer, number) = (entry.answer.clone(), entry.number);
    keep(verdicts, entry);
    if lost > 0 {
        complain(state, format!("The store did not take {lost} of the last verdicts: judge these again."));
    }
    if is_taken_back { vec![append(state, answer, Action::Undo(number))] } else { Vec::new() }
}

/// The oldest draft will never be in the log.
pub(super) fn refused(state: &mut AppState, sentence: String) {
    drop_first(&mut state.review.verdicts, 1);
    complain(state, sentence);
}

/// An entry of the log, in its place among the others about its answer.
pub(super) fn keep(verdicts: &mut VerdictsState, entry: Entry) {
    let entries = verdicts.entries.entry(entry.answer.clone()).or_default();
    if let Err(place) = entries.binary_search_by_key(&entry.number, |entry| entry.number) {
        entries.insert(place, entry);
    }
    verdicts.revision += 1;
}

/// So many of those that wait do not any more.
fn drop_first(verdicts: &mut VerdictsState, count: usize) {
    let count = count.min(verdicts.waiting.len());
    verdicts.waiting.drain(..count);
    verdicts.taken_back = verdicts.taken_back.iter().filter_map(|at| at.checked_sub(count)).collect();
    verdicts.revision += 1;
}
