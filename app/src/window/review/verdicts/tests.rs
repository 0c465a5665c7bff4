//! Judging by commands alone, and what becomes of verdicts on their way into the log.

use std::collections::BTreeMap;

use reinpath_model::event::{Finished, Stop};
use reinpath_model::stage::AnswerStage::{Analysis, Conclusion, Observation};

use super::super::super::read::Side;
use super::super::cases::{self, CasesEffect};
use super::super::{ReviewEffect, chain};
use super::*;
use crate::case::{Answer, Case, OpenCase, Purpose, Question, Token};
use crate::review::verdict::Action;
use crate::store::SlideId;
use crate::store::case_keeper::CaseJob;

const STAGES: [&str; 3] = [
    "Glands are seen. Nuclei are large. Necrosis is absent.",
    "Large nuclei say tumour. So it is.",
    "B) tumour",
];

/// A window with an answer of six sentences in view.
fn state() -> AppState {
    let question = Question { id: Id("question".to_owned()), ..Question::default() };
    let mut answer = Answer::begun(question.id.clone(), Purpose::Answer);
    answer.id = Id("answer".to_owned());
    for (stage, text) in [Observation, Analysis, Conclusion].into_iter().zip(STAGES) {
        answer.tokens.push(Token { stage: Some(stage), text: text.to_owned(), logprob: -0.1 });
    }
    answer.finished = Some(Finished { stop: Stop::End, ..Finished::cancelled_before_it_began() });
    let slide = SlideId { hash: "hash".to_owned(), name: String::new() };
    let case =
        Case { id: Id("case".to_owned()), slide, path: None, title: String::new(), created: 0, changed: 0 };
    let mut state = AppState::default();
    state.settings.review.reviewer = "Ada".to_owned();
    let cases = &mut state.review.cases;
    cases.shown = Some(answer.id.clone());
    cases.open = Some(OpenCase {
        case,
        questions: BTreeMap::from([(question.id.clone(), Arc::new(question))]),
        answers: BTreeMap::from([(answer.id.clone(), Arc::new(answer))]),
    });
    state
}

/// Carries out a wish; what is handed over to be kept.
fn give(state: &mut AppState, wish: VerdictsCommand) -> Vec<Draft> {
    let appended = |effect| match effect {
        Effect::Review(ReviewEffect::Cases(CasesEffect::Keeper(CaseJob::Append(draft)))) => Some(draft),
        _ => None,
    };
    command(state, wish).into_iter().filter_map(appended).collect()
}

/// The log takes a draft.
fn keep(state: &mut AppState, number: u64, draft: Draft) -> Vec<Effect> {
    let Draft { answer, reviewer, action } = draft;
    let entry = Entry { number, at: 0, answer, answer_hash: String::new(), reviewer, action };
    event(state, VerdictsEvent::Appended(entry))
}

fn focus_on(state: &mut AppState, stage: reinpath_model::stage::AnswerStage, index: usize) {
    state.review.chain.focus = Some((Id("answer".to_owned()), stage, index));
}

fn decision(state: &AppState, target: Target) -> Option<Decision> {
    standing(state, &Id("answer".to_owned())).at(target).map(|verdict| verdict.decision.clone())
}

fn text(words: &str) -> Decision {
    Decision::Edit(words.to_owned())
}

const SECOND: Target = Target::Sentence(Observation, 1);
const THIRD: Target = Target::Sentence(Observation, 2);

#[test]
fn an_answer_is_judged_sentence_by_sentence_and_the_focus_steps_on() {
    let mut state = state();
    focus_on(&mut state, Observation, 1);
    give(&mut state, VerdictsCommand::BeginEdit);
    assert_eq!(state.review.verdicts.editing, Some(SECOND));
    give(&mut state, VerdictsCommand::EndEdit(Some(" Nuclei are small. ".to_owned())));
    assert_eq!(decision(&state, SECOND), Some(text("Nuclei are small.")));
    assert_eq!(chain::focus(&state), Some((Observation, 2)));
    give(&mut state, VerdictsCommand::Sentence(Decision::Reject));
    give(&mut state, VerdictsCommand::Reason(Reason::NotVisible));
    assert_eq!(chain::focus(&state), Some((Analysis, 0)), "a reason moves nothing");
    let drafts = give(&mut state, VerdictsCommand::AcceptRest);
    assert_eq!(drafts.len(), 4, "one entry for each sentence");
    let standing = standing(&state, &Id("answer".to_owned()));
    assert_eq!(standing.at(THIRD).unwrap().reason, Some(Reason::NotVisible));
    assert!(
        [Target::Sentence(Observation, 0), Target::Sentence(Conclusion, 0)].iter().all(|target| standing
            .at(*target)
            .unwrap()
            .decision
            == Decision::Accept)
    );
    assert!(give(&mut state, VerdictsCommand::AcceptRest).is_empty());
    // The reason of what was rejected can still be changed.
    give(&mut state, VerdictsCommand::Reason(Reason::Wording));
    assert_eq!(
        super::standing(&state, &Id("answer".to_owned())).at(THIRD).unwrap().reason,
        Some(Reason::Wording)
    );
}

#[test]
fn an_edit_that_changes_nothing_accepts_and_an_empty_one_rejects() {
    let mut state = state();
    for (words, expected) in [("Nuclei are large. ", Decision::Accept), ("  ", Decision::Reject)] {
        focus_on(&mut state, Observation, 1);
        give(&mut state, VerdictsCommand::BeginEdit);
        give(&mut state, VerdictsCommand::EndEdit(Some(words.to_owned())));
        assert_eq!(decision(&state, SECOND), Some(expected));
    }
    focus_on(&mut state, Observation, 1);
    give(&mut state, VerdictsCommand::BeginEdit);
    assert!(give(&mut state, VerdictsCommand::EndEdit(None)).is_empty(), "left as it was");
    assert_eq!(state.review.verdicts.editing, None);
    let nothing = Target::Sentence(Conclusion, 7);
    assert!(give(&mut state, VerdictsCommand::Decide(nothing, Decision::Accept)).is_empty());
    assert!(give(&mut state, VerdictsCommand::Decide(Target::Answer, text("Other."))).is_empty());
}

#[test]
fn a_stage_is_judged_at_once_and_a_comment_keeps_its_decision() {
    let mut state = state();
    focus_on(&mut state, Analysis, 0);
    give(&mut state, VerdictsCommand::Stage(Decision::Reject));
    assert_eq!(decision(&state, Target::Sentence(Analysis, 1)), Some(Decision::Reject));
    assert_eq!(chain::focus(&state), Some((Conclusion, 0)));
    give(&mut state, VerdictsCommand::BeginComment);
    assert_eq!(state.review.verdicts.commenting, Some(Target::Stage(Analysis)));
    let drafts = give(&mut state, VerdictsCommand::EndComment(Some("Circular.".to_owned())));
    let Action::Decide(verdict) = &drafts[0].action else { panic!("no decision") };
    assert_eq!((verdict.comment.as_str(), &verdict.decision), ("Circular.", &Decision::Reject));
    assert_eq!((verdict.target, state.review.verdicts.commenting), (Target::Stage(Analysis), None));
}

#[test]
fn a_key_shows_an_answer_that_another_tab_hides_before_it_judges() {
    let mut state = state();
    state.read.side = Side::Colour;
    assert!(give(&mut state, VerdictsCommand::Sentence(Decision::Accept)).is_empty());
    assert_eq!(state.read.side, Side::Ask);
    assert_eq!(give(&mut state, VerdictsCommand::Sentence(Decision::Accept)).len(), 1);
}

#[test]
fn what_is_still_written_is_not_judged() {
    let mut state = state();
    let open = state.review.cases.open.as_mut().unwrap();
    let answer = open.answers.values_mut().next().unwrap();
    Arc::make_mut(answer).finished = None;
    assert!(give(&mut state, VerdictsCommand::AcceptRest).is_empty());
    assert!(give(&mut state, VerdictsCommand::Sentence(Decision::Accept)).is_empty());
    assert!(state.review.verdicts.waiting.is_empty());
}

#[test]
fn taking_back_walks_back_and_waits_for_the_number_of_what_is_not_kept_yet() {
    let mut state = state();
    focus_on(&mut state, Observation, 1);
    let first = give(&mut state, VerdictsCommand::Sentence(Decision::Accept)).remove(0);
    keep(&mut state, 1, first);
    let second = give(&mut state, VerdictsCommand::Sentence(Decision::Reject)).remove(0);
    assert!(give(&mut state, VerdictsCommand::Undo).is_empty(), "it has no number yet");
    assert_eq!((decision(&state, THIRD), chain::focus(&state)), (None, Some((Observation, 2))));
    let undo = keep(&mut state, 2, second);
    let expected =
        Draft { answer: Id("answer".to_owned()), reviewer: "Ada".to_owned(), action: Action::Undo(2) };
    assert_eq!(undo, [cases::keeper(CaseJob::Append(expected.clone()))]);
    assert_eq!(decision(&state, THIRD), None);
    let before = give(&mut state, VerdictsCommand::Undo).remove(0);
    assert_eq!(before.action, Action::Undo(1));
    keep(&mut state, 3, expected);
    keep(&mut state, 4, before);
    assert_eq!(decision(&state, SECOND), None);
    assert!(state.review.verdicts.waiting.is_empty());
    assert!(give(&mut state, VerdictsCommand::Undo).is_empty(), "nothing is left");
}

#[test]
fn nobody_takes_back_what_another_decided() {
    let mut state = state();
    let first = give(&mut state, VerdictsCommand::Sentence(Decision::Accept)).remove(0);
    keep(&mut state, 1, first);
    let saved = command(&mut state, VerdictsCommand::Reviewer(" Ben ".to_owned()));
    assert!(matches!(&saved[..], [Effect::SaveSettings(settings)] if settings.review.reviewer == "Ben"));
    assert!(give(&mut state, VerdictsCommand::Undo).is_empty());
    assert_eq!(decision(&state, Target::Sentence(Observation, 0)), Some(Decision::Accept));
}

#[test]
fn verdicts_wait_for_a_busy_store_and_one_that_is_refused_is_told() {
    let mut state = state();
    let first = give(&mut state, VerdictsCommand::Sentence(Decision::Accept)).remove(0);
    let second = give(&mut state, VerdictsCommand::Sentence(Decision::Accept)).remove(0);
    event(&mut state, VerdictsEvent::NotKept("Another program holds the store.".to_owned()));
    assert_eq!((state.review.verdicts.waiting.len(), state.review.verdicts.not_kept.is_some()), (2, true));
    assert_eq!(decision(&state, SECOND), Some(Decision::Accept), "it holds all the same");
    keep(&mut state, 1, first);
    assert_eq!((state.review.verdicts.waiting.len(), state.review.verdicts.not_kept.is_some()), (1, false));
    event(&mut state, VerdictsEvent::Refused("The answer is not in the store.".to_owned()));
    assert!(state.review.verdicts.waiting.is_empty());
    assert_eq!(decision(&state, SECOND), None);
    assert_eq!(state.problems.len(), 1);
    // What comes twice, as from a case that is opened again, counts once.
    let entries = state.review.verdicts.entries[&Id("answer".to_owned())].clone();
    loaded(&mut state, entries);
    assert_eq!(state.review.verdicts.entries[&Id("answer".to_owned())].len(), 1);
    keep(&mut state, 2, second);
    assert_eq!(decision(&state, SECOND), Some(Decision::Accept), "what the log has holds");
}
