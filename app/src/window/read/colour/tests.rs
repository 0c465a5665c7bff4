//! Wishes about colours and what came of them: the state alone, without threads and drawing.

use std::path::PathBuf;

use super::super::super::state::SlideStatus;
use super::*;
use crate::slide::{Level, MppOrigin, SlideInfo};

const KEY: SlideKey = SlideKey(7);

fn info(hash: &str, icc_profile: bool) -> SlideInfo {
    SlideInfo {
        path: PathBuf::from("slide.svs"),
        format: "test".to_owned(),
        vendor: None,
        levels: vec![Level { width: 1000, height: 800, downsample: 1.0 }],
        mpp: None,
        mpp_origin: MppOrigin::Missing,
        mpp_source: String::new(),
        objective_power: None,
        background: [255; 3],
        properties: BTreeMap::new(),
        associated: Vec::new(),
        icc_profile,
        hash: hash.to_owned(),
        notes: Vec::new(),
    }
}

/// A window whose slide in view has just been opened, and what that asked for.
fn with_slide(icc_profile: bool) -> (AppState, Vec<Effect>) {
    let mut state = AppState::default();
    let mut slide = SlideTab::new(KEY, "slide.svs".into());
    slide.status = SlideStatus::Open { info: Arc::new(info("abc", icc_profile)) };
    state.slides.push(slide);
    state.shown = Some(KEY);
    let effects = opened(&mut state, KEY);
    (state, effects)
}

fn swapped() -> Arc<ColourTable> {
    Arc::new(ColourTable::from_fn(|[red, green, blue]| [blue, green, red]))
}

fn id_of(effects: &[Effect]) -> u64 {
    match effects {
        [
            Effect::Read(ReadEffect::Colour(
                ColourEffect::ReadIcc { id, .. }
                | ColourEffect::ReadWhite { id, .. }
                | ColourEffect::EstimateStains { id, .. },
            )),
        ] => *id,
        other => panic!("{other:?}"),
    }
}

fn know_profile(state: &mut AppState, id: u64) {
    let profile = IccProfile { description: "scanner".to_owned(), table: Some(swapped()) };
    event(state, ColourEvent::Icc { key: KEY, id, profile: Ok(Some(profile)) });
}

#[test]
fn a_slide_without_a_profile_asks_for_nothing_and_looks_as_it_is() {
    let (state, effects) = with_slide(false);
    assert!(effects.is_empty());
    assert!(look_of(&state, KEY).is_neutral());
    assert!(look_of(&state, SlideKey(99)).is_neutral(), "also one that is not known");
}

#[test]
fn a_profile_is_on_by_default_and_can_be_switched_off_for_good() {
    let (mut state, effects) = with_slide(true);
    know_profile(&mut state, id_of(&effects) + 1);
    assert!(look_of(&state, KEY).is_neutral(), "the answer to another wish");
    know_profile(&mut state, id_of(&effects));
    assert_eq!(look_of(&state, KEY).apply([200, 100, 0]), [0, 100, 200]);
    let saved = command(&mut state, ColourCommand::SwitchIcc);
    assert!(matches!(&saved[..], [Effect::SaveSettings(settings)] if settings.read.is_icc_off));
    assert!(look_of(&state, KEY).is_neutral());
}

#[test]
fn a_broken_profile_leaves_the_slide_as_it_is_and_says_why() {
    let (mut state, effects) = with_slide(true);
    let failure = Failure { sentence: "It is damaged: /slides/slide.svs".to_owned(), names_file: true };
    let broken = ColourEvent::Icc { key: KEY, id: id_of(&effects), profile: Err(failure.clone()) };
    event(&mut state, broken);
    assert!(look_of(&state, KEY).is_neutral());
    assert_eq!(state.read.colour.slides[&KEY].icc, Icc::Broken(failure.clone()));
    assert!(failure.said(false).contains("slide.svs") && !failure.said(true).contains("slide.svs"));
}

#[test]
fn the_picked_background_is_white_also_through_a_profile() {
    let (mut state, effects) = with_slide(true);
    know_profile(&mut state, id_of(&effects));
    state.tool = Tool::White;
    let first = id_of(&command(&mut state, ColourCommand::WhiteAt(KEY, (10.0, 20.0))));
    assert_eq!(state.tool, Tool::Pan);
    let second = id_of(&command(&mut state, ColourCommand::WhiteAt(KEY, (30.0, 20.0))));
    event(&mut state, ColourEvent::White { key: KEY, id: first, white: Ok([99; 3]) });
    assert_eq!(state.read.colour.slides[&KEY].choices.white, None, "the newest click counts");
    event(&mut state, ColourEvent::White { key: KEY, id: second, white: Ok([240, 230, 220]) });
    let shown = look_of(&state, KEY).apply([240, 230, 220]);
    assert!(shown.iter().all(|value| *value >= 254), "{shown:?}");
    command(&mut state, ColourCommand::ResetWhite);
    assert_eq!(look_of(&state, KEY).white, [1.0; 3]);
}

#[test]
fn tissue_is_no_background() {
    let (mut state, _) = with_slide(false);
    let id = id_of(&command(&mut state, ColourCommand::WhiteAt(KEY, (10.0, 20.0))));
    event(&mut state, ColourEvent::White { key: KEY, id, white: Ok([200, 50, 120]) });
    assert_eq!(state.problems.len(), 1);
    assert!(look_of(&state, KEY).is_neutral());
}

#[test]
fn numbers_stay_within_their_limits() {
    let (mut state, _) = with_slide(false);
    for wish in [
        ColourCommand::Brightness(7.0),
        ColourCommand::Contrast(0.0),
        ColourCommand::Gamma(1e9),
        ColourCommand::Gamma(f32::NAN),
    ] {
        command(&mut state, wish);
    }
    let look = look_of(&state, KEY);
    assert_eq!((look.brightness, look.contrast, look.gamma), (1.0, 0.2, 5.0));
}

#[test]
fn an_estimate_comes_with_its_vectors_and_a_failed_one_with_a_sentence() {
    let (mut state, _) = with_slide(false);
    command(&mut state, ColourCommand::Show(Some(StainChannel::Second)));
    let id = id_of(&command(&mut state, ColourCommand::Stains(StainPair::Estimated)));
    let found = StainVectors::from_two([0.6, 0.7, 0.4], [0.2, 0.9, 0.3]).unwrap();
    event(&mut state, ColourEvent::Stains { key: KEY, id, vectors: Ok(found) });
    let stain = look_of(&state, KEY).stain.unwrap();
    assert_eq!((stain.vectors, stain.shown), (found, StainChannel::Second));
    let id = id_of(&command(&mut state, ColourCommand::Stains(StainPair::Estimated)));
    let failure = Failure { sentence: "too little".to_owned(), names_file: false };
    event(&mut state, ColourEvent::Stains { key: KEY, id, vectors: Err(failure) });
    let slide = &state.read.colour.slides[&KEY];
    assert!(slide.stain_fault.is_some() && slide.choices.vectors == found, "the last one stays");
    command(&mut state, ColourCommand::Stains(StainPair::HaematoxylinDab));
    assert!(state.read.colour.slides[&KEY].stain_fault.is_none());
    assert_eq!(look_of(&state, KEY).stain.unwrap().vectors, StainVectors::haematoxylin_dab());
}

#[test]
fn colours_are_there_again_when_the_same_slide_is_opened_again() {
    let (mut state, _) = with_slide(false);
    command(&mut state, ColourCommand::Gamma(2.0));
    closed(&mut state, KEY);
    assert!(look_of(&state, KEY).is_neutral());
    let again = SlideKey(8);
    let mut slide = SlideTab::new(again, "moved.svs".into());
    slide.status = SlideStatus::Open { info: Arc::new(info("abc", false)) };
    state.slides.push(slide);
    opened(&mut state, again);
    assert_eq!(look_of(&state, again).gamma, 2.0);
}

#[test]
fn what_one_slide_has_can_be_given_to_all() {
    let (mut state, _) = with_slide(false);
    let other = SlideKey(8);
    let mut slide = SlideTab::new(other, "other.svs".into());
    slide.status = SlideStatus::Open { info: Arc::new(info("def", false)) };
    state.slides.push(slide);
    opened(&mut state, other);
    command(&mut state, ColourCommand::Contrast(1.5));
    assert!(look_of(&state, other).is_neutral());
    command(&mut state, ColourCommand::ApplyToAll);
    assert_eq!(look_of(&state, other).contrast, 1.5);
    command(&mut state, ColourCommand::Reset);
    assert!(look_of(&state, KEY).is_neutral());
    assert_eq!(look_of(&state, other).contrast, 1.5);
}
