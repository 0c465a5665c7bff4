//! Wishes and news, on a state alone.

use std::path::PathBuf;

use reinpath_model::event::{AskEvent, Stop};
use reinpath_model::request::MapMethod;

use super::super::super::answer_view::tests::{finished, token};
use super::super::super::answer_view::{AnswerView, QuestionText, Subject};
use super::super::super::update::Effect;
use super::super::{ReviewEffect, cases};
use super::reading::Reading;
use super::*;
use crate::case::Question;
use crate::chain::{Chain, Source};

const OBSERVATION: [&str; 3] = ["Glands lie ", "back to back. ", "No mitoses."];

/// A state with an answer of two sentences, one and one; over if `is_over`.
fn state(is_over: bool) -> AppState {
    let mut view = AnswerView::new(1, QuestionText::default(), Subject::default());
    view.record.id = Id("answer".to_owned());
    for (stage, pieces) in [
        (AnswerStage::Observation, &OBSERVATION[..]),
        (AnswerStage::Analysis, &["The glands are crowded."][..]),
        (AnswerStage::Conclusion, &["Fat."][..]),
    ] {
        view.receive(AskEvent::Stage { stage });
        for piece in pieces {
            view.receive(token(stage, piece));
        }
    }
    if is_over {
        view.receive(finished(Stop::End));
    }
    let mut state = AppState { answer: Some(view), ..AppState::default() };
    state.review.cases.live = Some(Arc::new(Question::default()));
    state
}

fn map(sentence: &str, first_token: usize) -> (SentenceMap, Vec<f32>) {
    let head = SentenceMap {
        stage: AnswerStage::Observation,
        sentence: sentence.to_owned(),
        first_token,
        tokens: 1,
        patch: 0,
        rows: 1,
        cols: 1,
        crop: [0.0, 0.0, 8.0, 8.0],
        method: MapMethod::Tam,
        fall: 2.0,
        random_fall: 0.5,
    };
    (head, vec![1.0])
}

#[test]
fn steps_go_through_all_sentences_and_open_their_stages() {
    use AnswerStage::{Analysis, Conclusion, Observation};
    let mut state = state(true);
    assert_eq!(focus(&state), None);
    let mut places = Vec::new();
    for _ in 0..5 {
        command(&mut state, ChainCommand::Step(1));
        let (stage, index) = focus(&state).unwrap();
        assert!(state.answer.as_ref().unwrap().is_open(stage), "{stage:?}");
        places.push((stage, index));
    }
    let all = [(Observation, 0), (Observation, 1), (Analysis, 0), (Conclusion, 0), (Conclusion, 0)];
    assert_eq!(places, all, "the last one stays");
    command(&mut state, ChainCommand::Step(-9));
    assert_eq!(focus(&state), Some((Observation, 0)));
    command(&mut state, ChainCommand::Focus(None));
    command(&mut state, ChainCommand::Step(-1));
    assert_eq!(focus(&state), Some((Conclusion, 0)), "from none backwards to the last");
    // Of another answer keys know nothing.
    state.answer.as_mut().unwrap().record.id = Id("another".to_owned());
    assert_eq!(focus(&state), None);
}

#[test]
fn what_the_user_folds_stays_folded() {
    let mut state = state(true);
    assert!(!is_open(&state, cases::shown(&state).unwrap(), AnswerStage::Observation));
    command(&mut state, ChainCommand::Fold(AnswerStage::Observation));
    assert!(is_open(&state, cases::shown(&state).unwrap(), AnswerStage::Observation));
    command(&mut state, ChainCommand::Fold(AnswerStage::Observation));
    assert!(!is_open(&state, cases::shown(&state).unwrap(), AnswerStage::Observation));
}

#[test]
fn a_map_is_wanted_once_it_is_shown_and_drawn_when_its_picture_is_there() {
    let mut state = state(true);
    let id = Id("answer".to_owned());
    let maps: Maps = Arc::new(vec![map("No mitoses.", 2), map("Glands lie back to back.", 0)]);
    state.review.chain.maps.insert(id, Arc::clone(&maps));
    assert!(command(&mut state, ChainCommand::ToggleMap).is_empty(), "there are maps: nothing is asked");
    assert_eq!(
        focus(&state),
        Some((AnswerStage::Observation, 0)),
        "the first sentence, where keys were about none"
    );
    let answer = state.answer.as_ref().unwrap().record.clone();
    let key = wanted(&state, &answer).unwrap();
    let effects = command(&mut state, ChainCommand::Want(Some(key.clone())));
    let draw = ChainEffect::Draw { key: key.clone(), maps, which: vec![1] };
    assert_eq!(effects, [Effect::Review(ReviewEffect::Chain(draw))]);
    event(&mut state, ChainEvent::Drawn { key: MapKey { index: 1, ..key.clone() }, layers: Vec::new() });
    assert!(state.review.chain.drawn.is_none(), "of a sentence that is not wanted any more");
    event(&mut state, ChainEvent::Drawn { key: key.clone(), layers: Vec::new() });
    assert_eq!(state.review.chain.drawn.as_ref().map(|(drawn, _)| drawn), Some(&key));
    // The pointer comes before the keys.
    command(&mut state, ChainCommand::LookAt(Some((AnswerStage::Observation, 1))));
    assert_eq!(wanted(&state, &answer).map(|key| key.index), Some(1));
    command(&mut state, ChainCommand::LookAt(None));
    command(&mut state, ChainCommand::ToggleMap);
    assert_eq!(wanted(&state, &answer), None);
    command(&mut state, ChainCommand::Want(None));
    assert!(state.review.chain.drawn.is_none());
}

#[test]
fn maps_are_not_asked_for_before_the_answer_is_over() {
    let mut state = state(false);
    assert!(command(&mut state, ChainCommand::ToggleMap).is_empty());
    assert!(!state.review.chain.is_map_shown);
}

fn save(state: &mut AppState, name: &str, meaning: &str) -> Vec<Effect> {
    let (name, meaning) = (name.to_owned(), meaning.to_owned());
    command(
        state,
        ChainCommand::SaveTerm { name, also: vec![" zebras ".to_owned(), " ".to_owned()], meaning },
    )
}

fn meaning(state: &AppState, name: &str) -> Option<String> {
    let terms = state.review.chain.glossary.terms();
    terms.iter().find(|term| term.name == name).map(|term| term.meaning.clone())
}

#[test]
fn terms_are_changed_added_and_taken_back() {
    let mut state = state(true);
    assert!(save(&mut state, "zebra body", "Striped.").is_empty(), "there is no file");
    assert_eq!(meaning(&state, "zebra body").as_deref(), Some("Striped."));
    assert_eq!(state.review.chain.glossary.found_in("Zebras!").len(), 1);
    let shipped = meaning(&state, "mucin");
    save(&mut state, "mucin", "Slime.");
    assert_eq!((meaning(&state, "mucin").as_deref(), state.review.chain.revision), (Some("Slime."), 2));
    command(&mut state, ChainCommand::RemoveTerm("Mucin".to_owned()));
    command(&mut state, ChainCommand::RemoveTerm("zebra body".to_owned()));
    assert_eq!((meaning(&state, "mucin"), meaning(&state, "zebra body")), (shipped, None));
    save(&mut state, "zebra", " ");
    assert!(state.problems[0].sentence.contains("needs a meaning"), "{:?}", state.problems);
}

#[test]
fn a_glossary_that_cannot_be_read_is_left_as_it_is() {
    let mut state = state(true);
    state.read.places.glossary = Some(PathBuf::from("glossary.toml"));
    assert!(save(&mut state, "zebra", "Striped.").is_empty(), "it was not read yet");
    event(&mut state, ChainEvent::Glossary(Err("The glossary cannot be used.".to_owned())));
    assert!(save(&mut state, "zebra", "Striped.").is_empty());
    assert_eq!(meaning(&state, "zebra"), None);
    assert_eq!(state.problems.len(), 3, "{:?}", state.problems);
    event(&mut state, ChainEvent::Glossary(Ok(Vec::new())));
    let effects = save(&mut state, "zebra", "Striped.");
    let [Effect::Review(ReviewEffect::Chain(ChainEffect::SaveGlossary(terms)))] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!((terms.len(), terms[0].also.as_slice()), (1, ["zebras".to_owned()].as_slice()));
}

#[test]
fn what_is_read_of_a_growing_answer_is_what_is_read_of_it_at_once() {
    let whole = state(true);
    let answer = whole.answer.as_ref().unwrap().record.clone();
    let mut growing = state(false);
    let mut reading = Reading::default();
    for count in 0..=answer.tokens.len() {
        growing.answer.as_mut().unwrap().record.tokens = answer.tokens[..count].to_vec();
        let shown = cases::shown(&growing).unwrap();
        let text = shown.answer.text();
        let source = Source {
            text: &text,
            tokens: &shown.answer.tokens,
            glossary: &growing.review.chain.glossary,
            unsure_below: growing.settings.review.unsure_below,
            choices: &[],
        };
        let read = reading.of(&growing, shown);
        assert_eq!((&read.text, &read.chain), (&text, &Chain::read(&source)));
    }
    // By another glossary all of it is read anew.
    save(&mut growing, "No", "Denies.");
    let shown = cases::shown(&growing).unwrap();
    let read = reading.of(&growing, shown);
    assert!(
        read.chain.sentences[1].terms.iter().any(|(bytes, _)| &read.text.observation[bytes.clone()] == "No")
    );
}
