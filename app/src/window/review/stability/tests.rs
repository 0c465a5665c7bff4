//! What is asked for, and when nothing is to come any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use reinpath_model::event::{Finished, PatchSource, PatchStamp, Stamp, Stop};
use reinpath_model::request::Sampling;

use super::*;
use crate::case::{Answer, Case, OpenCase, PatchKept, Purpose, Question, Variation};
use crate::slide::{Level, MppOrigin, Region, SlideInfo};
use crate::store::SlideId;
use crate::viewer::tile_cache::SlideKey;
use crate::window::review::cases::Wanted;
use crate::window::state::{SlideStatus, SlideTab};

const REGION: Region = Region { x: 100, y: 200, w: 448, h: 448 };

fn info() -> SlideInfo {
    SlideInfo {
        path: "drawn.png".into(),
        format: "PNG".to_owned(),
        vendor: None,
        levels: vec![Level { width: 2000, height: 1000, downsample: 1.0 }],
        mpp: None,
        mpp_origin: MppOrigin::Missing,
        mpp_source: String::new(),
        objective_power: None,
        background: [255; 3],
        properties: BTreeMap::new(),
        associated: Vec::new(),
        icc_profile: false,
        hash: "hash".to_owned(),
        notes: Vec::new(),
    }
}

fn stamp(choices: &[String]) -> Stamp {
    let region = [REGION.x, REGION.y, REGION.w.into(), REGION.h.into()];
    let source = PatchSource { region, ..PatchSource::default() };
    Stamp {
        patches: vec![PatchStamp { source: Some(source), ..PatchStamp::default() }],
        question: "What is seen?".to_owned(),
        choices: choices.to_vec(),
        sampling: Sampling { seed: 3, max_tokens: 99, ..Sampling::default() },
        max_pixels: Some(200_704),
        ..Stamp::default()
    }
}

/// A window with an open slide and a finished answer in view; no model is known, so that questions wait.
fn state() -> AppState {
    let case = Id("case".to_owned());
    let question = Question {
        id: Id("question".to_owned()),
        case: case.clone(),
        text: "What is seen?".to_owned(),
        choices: ["glands", "nests", "sheets"].map(str::to_owned).to_vec(),
        patches: vec![PatchKept::new(1, REGION)],
        ..Question::default()
    };
    let mut answer = Answer::begun(question.id.clone(), Purpose::Answer);
    answer.id = Id("answer".to_owned());
    answer.stamp = Some(Box::new(stamp(&question.choices)));
    answer.finished = Some(Finished { stop: Stop::End, ..Finished::cancelled_before_it_began() });
    let slide = SlideId { hash: "hash".to_owned(), name: String::new() };
    let case = Case { id: case, slide, path: None, title: String::new(), created: 0, changed: 0 };
    let mut state = AppState::default();
    let mut tab = SlideTab::new(SlideKey(1), "drawn.png".into());
    tab.status = SlideStatus::Open { info: Arc::new(info()) };
    state.slides.push(tab);
    state.shown = Some(SlideKey(1));
    let cases = &mut state.review.cases;
    cases.shown = Some(answer.id.clone());
    cases.open = Some(OpenCase {
        case,
        questions: BTreeMap::from([(question.id.clone(), Arc::new(question))]),
        answers: BTreeMap::from([(answer.id.clone(), Arc::new(answer))]),
    });
    state
}

fn queue(state: &AppState) -> Vec<&Wanted> {
    state.review.cases.queue.iter().collect()
}

#[test]
fn each_varied_answer_is_asked_for_with_one_thing_changed() {
    let mut state = state();
    command(&mut state, StabilityCommand::Repeats(1));
    command(&mut state, StabilityCommand::Begin);
    assert_eq!(state.review.stability.running, Some((Id("answer".to_owned()), 4)));
    for wanted in queue(&state) {
        let Purpose::Stability(variation) = &wanted.purpose else { panic!("{:?}", wanted.purpose) };
        let sampling = wanted.how.sampling.as_ref().unwrap();
        let is_own_seed = (sampling.seed, sampling.temperature) == (3, 0.0);
        let is_own_order = wanted.text.choices == wanted.question.choices;
        let is_own_place = wanted.regions == [REGION];
        let kept = [is_own_seed, is_own_order, is_own_place, wanted.how.turned == 0.0];
        let expected = match variation {
            Variation::Repeated { .. } => [false, true, true, true],
            Variation::Shuffled { .. } => [true, false, true, true],
            Variation::Shifted { .. } => [true, true, false, true],
            Variation::Turned { .. } => [true, true, true, false],
        };
        assert_eq!((kept, sampling.max_tokens), (expected, 99), "{variation:?}");
        assert_eq!(wanted.how.max_pixels, Some(200_704), "as the answer was asked for");
    }
    assert_eq!(state.review.cases.shown, Some(Id("answer".to_owned())), "the answer stays in view");
    command(&mut state, StabilityCommand::Begin);
    assert_eq!(queue(&state).len(), 4, "one check at a time");
    command(&mut state, StabilityCommand::End);
    assert_eq!((queue(&state).len(), state.review.stability.running.clone()), (0, None));
}

#[test]
fn what_is_not_wanted_is_not_varied() {
    let mut state = state();
    for wish in [
        StabilityCommand::Shuffled(false),
        StabilityCommand::Shifted(false),
        StabilityCommand::Turned(false),
        StabilityCommand::Repeats(0),
    ] {
        command(&mut state, wish);
    }
    command(&mut state, StabilityCommand::Begin);
    assert_eq!(queue(&state).len(), 1, "at least one");
    assert_eq!(state.review.stability.running.as_ref().map(|(_, count)| *count), Some(1));
    state.review.cases.queue.clear();
    ended(&mut state, 1);
    assert_eq!(state.review.stability.running, None);
}

#[test]
fn a_replay_is_asked_as_the_stamp_says_and_found_again() {
    let mut state = state();
    command(&mut state, StabilityCommand::Replay);
    let [wanted] = queue(&state)[..] else { panic!("not one order") };
    assert_eq!((&wanted.purpose, wanted.regions.as_slice()), (&Purpose::Replay, &[REGION][..]));
    assert_eq!(wanted.how.sampling, Some(stamp(&[]).sampling));
    assert_eq!(wanted.how.max_pixels, Some(200_704));
    assert_eq!(wanted.text.question, "What is seen?");
    let open = state.review.cases.open.as_mut().unwrap();
    let base = open.answers.values().next().unwrap().clone();
    let mut again = (*base).clone();
    (again.id, again.purpose) = (Id("again".to_owned()), Purpose::Replay);
    let mut other = again.clone();
    other.id = Id("other".to_owned());
    other.stamp.as_mut().unwrap().sampling.seed = 8;
    for answer in [again, other] {
        open.answers.insert(answer.id.clone(), Arc::new(answer));
    }
    let found = update::replay_of(&state, &base).unwrap();
    assert_eq!(found.id, Id("again".to_owned()), "the other was drawn differently");
}

#[test]
fn an_answer_whose_slide_is_closed_is_told() {
    let mut state = state();
    state.slides.clear();
    command(&mut state, StabilityCommand::Begin);
    assert_eq!((queue(&state).len(), state.problems.len()), (0, 1));
    assert_eq!(state.review.stability.running, None);
}
