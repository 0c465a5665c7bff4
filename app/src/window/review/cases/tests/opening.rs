//! Cases that are opened again, pixels of patches, and answers that are read again for their maps.

use super::super::super::super::command::ViewCommand;
use super::super::super::super::state::ModelInfo;
use super::*;
use crate::case::{Answer, Case, PatchKept, Token, View, now};
use crate::store::SlideId;

/// A case of two questions about a slide: about patch 1, and about patch 3 where one looked closer.
fn stored(hash: &str, path: Option<&str>) -> OpenCase {
    let case = Case {
        id: Id("c".to_owned()),
        slide: SlideId { hash: hash.to_owned(), name: String::new() },
        path: path.map(Into::into),
        title: "First?".to_owned(),
        created: 1,
        changed: 2,
    };
    let patch = |number: usize, x| PatchKept::new(number, Region { x, y: 300, w: 224, h: 224 });
    let view = View { centre: [1000.0, 900.0], slide_per_point: 1.5, rotation: 0.5, is_mirrored: true };
    let first = Question {
        id: Id("q1".to_owned()),
        case: case.id.clone(),
        patches: vec![patch(1, 100)],
        asked: 1,
        ..Question::default()
    };
    let second = Question {
        id: Id("q2".to_owned()),
        follows: Some(Id("a1".to_owned())),
        patches: vec![patch(3, 900)],
        view: Some(view),
        asked: 3,
        ..first.clone()
    };
    let answer = |id: &str, question: &str, began| {
        let token = Token { stage: Some(AnswerStage::Observation), text: format!("{id}."), logprob: -0.1 };
        let (id, question) = (Id(id.to_owned()), Id(question.to_owned()));
        Answer { id, question, tokens: vec![token], began, ended: Some(now()), ..Answer::default() }
    };
    let answers = [answer("a1", "q1", 2), answer("a2", "q2", 4)];
    OpenCase {
        case,
        questions: [first, second].into_iter().map(|of| (of.id.clone(), Arc::new(of))).collect(),
        answers: answers.into_iter().map(|of| (of.id.clone(), Arc::new(of))).collect(),
    }
}

fn opened(state: &mut AppState, case: OpenCase, at: Option<&str>) -> Vec<Effect> {
    let at = at.map(|id| Id(id.to_owned()));
    tell(state, CasesEvent::Opened { case: Box::new(case), entries: Vec::new(), maps: Vec::new(), at })
}

fn ticked(state: &AppState) -> Vec<i64> {
    let slide = state.shown_slide().unwrap();
    slide.patches.in_question().map(|(_, place)| place.region.x).collect()
}

#[test]
fn a_case_is_opened_with_its_slide_its_patches_and_its_view() {
    let mut state = AppState::default();
    state.model.package = PackageState::Known(Arc::new(model()));
    let effects = wish_for(&mut state, CasesCommand::Open(Id("c".to_owned()), None));
    assert!(matches!(kept(&effects)[..], [Keeper(CaseJob::Open { .. })]));
    let effects = opened(&mut state, stored("a", Some("/slides/a.svs")), None);
    let key = state.shown.unwrap();
    assert_eq!(effects, [Effect::OpenSlide { key, path: "/slides/a.svs".into() }]);
    assert!(!reopen::is_due(&state), "the slide is being opened");
    arrive(&mut state, key, "a");
    assert!(reopen::is_due(&state));
    let effects = wish_for(&mut state, CasesCommand::Settle);
    assert_eq!(effects.len(), 3, "two patches are read, and its name becomes known: {effects:?}");
    assert!(!reopen::is_due(&state) && state.review.cases.reopening.is_none());
    assert_eq!(in_view(&state), "a2.");
    assert_eq!(ticked(&state), [900]);
    assert_eq!(state.shown_slide().unwrap().patches.places().len(), 2);
    let viewport = state.shown_slide().unwrap().viewport.unwrap();
    assert_eq!((viewport.centre, viewport.is_mirrored), ((1000.0, 900.0), true));
    assert!((viewport.slide_per_point - 1.5).abs() < 1e-9 && (viewport.rotation - 0.5).abs() < 1e-9);
}

#[test]
fn a_case_whose_slide_is_open_is_shown_at_the_answer_that_was_found() {
    let (mut state, key) = window();
    open_slide(&mut state, "b.svs", "b");
    opened(&mut state, stored("a", None), Some("a1"));
    assert_eq!((state.shown, in_view(&state).as_str()), (Some(key), "a1."));
    assert_eq!(ticked(&state), [100], "what was ticked before is not");
    update::command(&mut state, Command::Patch(PatchCommand::Undo));
    assert_eq!(ticked(&state), [388, 1388], "and can be had back");
    update::command(&mut state, Command::View(ViewCommand::Fit));
    // The next question goes on from the end of the conversation.
    let effects = ask(&mut state, "Third?");
    assert!(matches!(kept(&effects)[1], Keeper(CaseJob::KeepQuestion(question))
        if question.follows == Some(Id("a2".to_owned())) && question.case == Id("c".to_owned())));
}

#[test]
fn a_slide_that_has_moved_is_asked_for_and_another_one_is_refused() {
    let mut state = AppState::default();
    opened(&mut state, stored("a", Some("/gone/a.svs")), None);
    let key = state.shown.unwrap();
    state.slide_mut(key).unwrap().status = SlideStatus::Failed { sentence: "It is gone.".to_owned() };
    assert!(reopen::is_due(&state));
    wish_for(&mut state, CasesCommand::Settle);
    let missing = |state: &AppState| match &state.review.cases.reopening {
        Some(Reopening { step: Step::Missing(sentence), .. }) => sentence.clone(),
        other => panic!("{other:?}"),
    };
    assert!(missing(&state).contains("not where it was"));
    assert_eq!(wish_for(&mut state, CasesCommand::FindSlide), [Effect::PickSlides]);
    assert!(!reopen::is_due(&state), "the dialog is open");
    update::event(&mut state, Event::Picked(vec!["/other/b.svs".into()]));
    let wrong = state.shown.unwrap();
    assert!(!reopen::is_due(&state), "it is being opened");
    arrive(&mut state, wrong, "b");
    wish_for(&mut state, CasesCommand::Settle);
    assert!(missing(&state).contains("another slide"));
    wish_for(&mut state, CasesCommand::FindSlide);
    update::event(&mut state, Event::Picked(vec!["/moved/a.svs".into()]));
    let right = state.shown.unwrap();
    arrive(&mut state, right, "a");
    let effects = wish_for(&mut state, CasesCommand::Settle);
    assert!(kept(&effects).iter().any(|effect| matches!(effect, Keeper(CaseJob::KeepCase(case))
        if case.path.as_ref().is_some_and(|path| path.ends_with("moved/a.svs")))));
    assert_eq!(state.shown, Some(right));
    // A dialog that is closed without a choice says the same again.
    opened(&mut state, stored("c", None), None);
    wish_for(&mut state, CasesCommand::FindSlide);
    update::event(&mut state, Event::Picked(Vec::new()));
    wish_for(&mut state, CasesCommand::Settle);
    assert!(missing(&state).contains("not where it was"));
}

#[test]
fn the_names_of_pixels_become_part_of_their_question() {
    let (mut state, _) = window();
    state.read.places.patches = Some("patches".into());
    let effects = ask(&mut state, "First?");
    let told = kept(&effects);
    let Some(CasesEffect::KeepPatches { question, mpp, .. }) = told.last() else { panic!("{effects:?}") };
    assert_eq!(*mpp, 0.5);
    let pixels = vec!["one".to_owned(), "two".to_owned()];
    let effects = tell(&mut state, CasesEvent::PatchesKept { question: question.id.clone(), pixels });
    let told = kept(&effects);
    let [Keeper(CaseJob::KeepQuestion(kept_now))] = told[..] else { panic!("{effects:?}") };
    assert_eq!(kept_now.patches[1].pixels.as_deref(), Some("two"));
    assert_eq!(questions(&state)[0], *kept_now);
    assert!(state.review.cases.keeping.is_empty());
}

#[test]
fn an_answer_is_read_again_as_it_was_generated_and_within_its_own_pixel_limit() {
    let (mut state, _) = window();
    state.model.package = PackageState::Known(Arc::new(ModelInfo::scripted_vision("test")));
    state.settings.max_pixels = Some(200_704);
    let asked = order(&ask(&mut state, "First?"));
    state.settings.max_pixels = Some(401_408);
    say(&mut state, asked.id, started(&asked));
    say(&mut state, asked.id, AskEvent::Stage { stage: AnswerStage::Conclusion });
    say(&mut state, asked.id, token(AnswerStage::Conclusion, "Glands."));
    let raw = "<answer>Glands.</answer>".to_owned();
    let whole = Finished { stop: Stop::End, raw: raw.clone(), ..Finished::cancelled_before_it_began() };
    let reading = order(&say(&mut state, asked.id, AskEvent::Finished(whole)));
    assert_eq!((reading.how.written, reading.how.max_pixels), (Some(raw), Some(200_704)));
    assert_eq!(order(&ask(&mut state, "Second?")).how.max_pixels, Some(401_408));
}

#[test]
fn an_answer_that_says_how_it_was_asked_is_read_again_for_its_maps_and_gives_way() {
    let (mut state, _) = window();
    let effects = ask(&mut state, "First?");
    let asked = order(&effects);
    say(&mut state, asked.id, started(&asked));
    let effects = answer(&mut state, &effects, "Glands.");
    let reading = order(&effects);
    assert_eq!(reading.how.written.as_deref(), Some("[Observation]\nGlands."));
    assert!(reading.how.has_maps && !state.is_asking());
    assert_eq!(reading.regions, asked.regions);
    let id = shown(&state).unwrap().answer.id.clone();
    let effects = tell(&mut state, CasesEvent::Maps { id: reading.id, maps: Arc::default() });
    assert!(matches!(kept(&effects)[..], [Keeper(CaseJob::KeepMaps { answer, .. })] if *answer == id));
    assert!(state.review.chain.maps.contains_key(&id));
    assert!(say(&mut state, reading.id, finished(Stop::End)).is_empty());
    assert!(state.review.cases.explaining.is_none());

    // The next question comes first.
    let effects = ask(&mut state, "Second?");
    let asked = order(&effects);
    say(&mut state, asked.id, started(&asked));
    let reading = order(&answer(&mut state, &effects, "Stroma."));
    let effects = ask(&mut state, "Third?");
    let stopped = effects.iter().position(|effect| *effect == Effect::StopAsking { id: reading.id });
    let sent = effects.iter().position(|effect| matches!(effect, Effect::Ask(_)));
    assert!(stopped.is_some() && stopped < sent, "{effects:?}");
    assert!(state.is_asking() && state.review.cases.explaining.is_none());
}

#[test]
fn maps_are_not_made_unasked_where_that_is_switched_off_or_of_another_model() {
    let (mut state, _) = window();
    state.settings.review.makes_maps = false;
    let effects = ask(&mut state, "First?");
    let asked = order(&effects);
    say(&mut state, asked.id, started(&asked));
    let effects = answer(&mut state, &effects, "Glands.");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ask(_))));
    let id = shown(&state).unwrap().answer.id.clone();
    let effects = wish_for(&mut state, CasesCommand::Explain(id.clone()));
    let reading = order(&effects);
    let failed = AskEvent::Failed { error: "The text is too long.".to_owned() };
    say(&mut state, reading.id, failed);
    assert!(state.problems[0].sentence.ends_with("The text is too long."), "who asks is told");
    let other = ModelInfo { name: "other".to_owned(), ..model() };
    state.model.package = PackageState::Known(Arc::new(other));
    assert!(wish_for(&mut state, CasesCommand::Explain(id)).is_empty());
    assert!(state.problems[1].sentence.contains("by the model test"));
}

#[test]
fn the_last_answer_is_read_again_on_request_also_where_it_has_no_stamp() {
    let (mut state, _) = window();
    let effects = ask(&mut state, "First?");
    let asked = order(&effects);
    assert!(!answer(&mut state, &effects, "Glands.").iter().any(|effect| matches!(effect, Effect::Ask(_))));
    let id = shown(&state).unwrap().answer.id.clone();
    let reading = order(&wish_for(&mut state, CasesCommand::Explain(id.clone())));
    assert_eq!((reading.regions, reading.text), (asked.regions, asked.text));
    assert!(wish_for(&mut state, CasesCommand::Explain(id)).is_empty(), "it is being read");
}

#[test]
fn a_search_lists_what_was_last_typed_and_is_of_the_slide_where_wanted() {
    let (mut state, _) = window();
    let effects = wish_for(&mut state, CasesCommand::Search("glands".to_owned()));
    assert!(
        matches!(kept(&effects)[..], [Keeper(CaseJob::List { search, slide: None })] if search == "glands")
    );
    let effects = wish_for(&mut state, CasesCommand::OfSlide(true));
    assert!(matches!(kept(&effects)[..], [Keeper(CaseJob::List { slide: Some(hash), .. })] if hash == "a"));
    tell(&mut state, CasesEvent::Listed { search: "gla".to_owned(), list: Arc::default() });
    assert!(state.review.cases.list.is_none(), "what was typed before is late");
    tell(&mut state, CasesEvent::Listed { search: "glands".to_owned(), list: Arc::default() });
    assert!(state.review.cases.list.is_some());
}
