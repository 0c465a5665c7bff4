//! Conversations as commands, events and effects: no threads, no store.

use egui::{Rect, pos2, vec2};
use reinpath_model::event::{AskEvent, Finished, PatchSource, PatchStamp, Stamp, Stop};
use reinpath_model::stage::AnswerStage;

use super::super::super::answer_view::tests::token;
use super::super::super::command::{AskCommand, PatchCommand};
use super::super::super::event::Event;
use super::super::super::state::tests_support::model;
use super::super::super::state::{PackageState, SlideStatus};
use super::super::super::update::{self, AskOrder};
use super::super::ReviewEvent;
use super::CasesEffect::Keeper;
use super::*;
use crate::slide::SlideInfo;
use crate::viewer::tile_plan::tests::slide;

mod opening;

/// A window with the slide a.svs, of which two patches are ticked.
fn window() -> (AppState, SlideKey) {
    let viewer = Rect::from_min_size(pos2(220.0, 36.0), vec2(800.0, 600.0));
    let mut state = AppState { viewer: Some(viewer), ..AppState::default() };
    state.model.package = PackageState::Known(Arc::new(model()));
    let key = open_slide(&mut state, "a.svs", "a");
    for x in [500.0, 1500.0] {
        update::command(&mut state, Command::Patch(PatchCommand::PlaceSquare((x, 700.0))));
    }
    (state, key)
}

fn open_slide(state: &mut AppState, path: &str, hash: &str) -> SlideKey {
    update::command(state, Command::Open(path.into()));
    let key = state.shown.unwrap();
    arrive(state, key, hash);
    key
}

/// The slide that is being opened is there.
fn arrive(state: &mut AppState, key: SlideKey, hash: &str) {
    let info = SlideInfo { hash: hash.to_owned(), ..slide() };
    state.slide_mut(key).unwrap().status = SlideStatus::Open { info: Arc::new(info) };
}

fn text(question: &str) -> QuestionText {
    QuestionText { question: question.to_owned(), ..QuestionText::default() }
}

fn ask(state: &mut AppState, question: &str) -> Vec<Effect> {
    update::command(state, Command::Ask(AskCommand::Ask(Box::new(text(question)))))
}

fn wish_for(state: &mut AppState, wanted: CasesCommand) -> Vec<Effect> {
    update::command(state, wish(wanted))
}

fn tell(state: &mut AppState, news: CasesEvent) -> Vec<Effect> {
    update::event(state, Event::Review(ReviewEvent::Cases(news)))
}

/// The order that went to the model.
fn order(effects: &[Effect]) -> AskOrder {
    let order = effects.iter().find_map(|effect| match effect {
        Effect::Ask(order) => Some((**order).clone()),
        _ => None,
    });
    order.unwrap_or_else(|| panic!("nothing was asked: {effects:?}"))
}

fn kept(effects: &[Effect]) -> Vec<&CasesEffect> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Review(ReviewEffect::Cases(effect)) => Some(effect),
            _ => None,
        })
        .collect()
}

/// How the model was asked, as it says itself.
fn started(order: &AskOrder) -> AskEvent {
    let source = |region: &Region| {
        let region = [region.x, region.y, region.w.into(), region.h.into()];
        PatchStamp { source: Some(PatchSource { region, ..PatchSource::default() }), ..PatchStamp::default() }
    };
    let stamp = Stamp {
        package: "test".to_owned(),
        patches: order.regions.iter().map(source).collect(),
        question: order.text.question.clone(),
        sampling: order.how.sampling.clone().unwrap_or_default(),
        max_pixels: order.how.max_pixels,
        ..Stamp::default()
    };
    AskEvent::Started { stamp: Box::new(stamp) }
}

fn finished(stop: Stop) -> AskEvent {
    AskEvent::Finished(Finished { stop, format_ok: true, ..Finished::cancelled_before_it_began() })
}

fn say(state: &mut AppState, id: u64, event: AskEvent) -> Vec<Effect> {
    update::event(state, Event::Ask { id, event })
}

/// The model answers with an observation, without saying how it was asked.
fn answer(state: &mut AppState, effects: &[Effect], words: &str) -> Vec<Effect> {
    let id = order(effects).id;
    say(state, id, AskEvent::Stage { stage: AnswerStage::Observation });
    say(state, id, token(AnswerStage::Observation, words));
    say(state, id, finished(Stop::End))
}

/// The observation of the answer in view.
fn in_view(state: &AppState) -> String {
    shown(state).unwrap().answer.text().observation
}

fn questions(state: &AppState) -> Vec<Arc<Question>> {
    let mut all: Vec<_> = state.review.cases.open.as_ref().unwrap().questions.values().cloned().collect();
    all.sort_by_key(|question| question.asked);
    all
}

#[test]
fn a_question_begins_a_case_which_is_kept_with_it_and_then_its_answer() {
    let (mut state, key) = window();
    let first = ask(&mut state, "What is seen?");
    let told = kept(&first);
    let [Keeper(CaseJob::KeepCase(case)), Keeper(CaseJob::KeepQuestion(question))] = told[..] else {
        panic!("{first:?}")
    };
    assert_eq!((case.title.as_str(), case.slide.hash.as_str()), ("What is seen?", "a"));
    assert_eq!(case.slide.name, "a.svs");
    assert!(case.path.as_ref().is_some_and(|path| path.is_absolute() && path.ends_with("a.svs")));
    assert_eq!((&question.case, question.words.as_str()), (&case.id, "a.svs, patches 1, 2"));
    assert_eq!(question.patches.iter().map(|patch| patch.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(question.patches[0].region(), order(&first).regions[0]);
    assert_eq!(order(&first).slide, key);
    let last = answer(&mut state, &first, "Glands");
    let told = kept(&last);
    let [Keeper(CaseJob::KeepAnswer { case: of, answer }), Keeper(CaseJob::KeepCase(_))] = told[..] else {
        panic!("{last:?}")
    };
    assert_eq!((of, &answer.question), (&case.id, &question.id));
    assert_eq!(in_view(&state), "Glands");
    assert!(state.review.cases.open.as_ref().unwrap().answers.contains_key(&answer.id));
}

#[test]
fn a_long_question_is_cut_to_a_title() {
    let long = "Are the glands irregular? ".repeat(9);
    let title = queue::title_of(&long);
    assert!(title.chars().count() <= 80 && title.ends_with('…') && title.starts_with("Are the glands"));
    assert_eq!(queue::title_of(" Why?\nSecond line"), "Why?");
}

#[test]
fn a_conversation_of_three_is_followed_and_given_to_the_model_where_wanted() {
    let (mut state, _) = window();
    let effects = ask(&mut state, "First?");
    answer(&mut state, &effects, "One.");
    let follow =
        |question: &str, has_history| CasesCommand::FollowUp { text: Box::new(text(question)), has_history };
    let effects = wish_for(&mut state, follow("Second?", false));
    assert!(order(&effects).how.history.is_empty());
    answer(&mut state, &effects, "Two.");
    let effects = wish_for(&mut state, follow("Third?", true));
    let history = order(&effects).how.history;
    let told: Vec<_> = history.iter().map(|one| (one.question.as_str(), one.answer.as_str())).collect();
    assert_eq!(told, [("First?", "[Observation]\nOne."), ("Second?", "[Observation]\nTwo.")]);
    answer(&mut state, &effects, "Three.");
    // Walked by the keys of "Previous question" and "Next question".
    for (by, seen) in [(-1, "Two."), (-1, "One."), (-1, "One."), (1, "Two."), (1, "Three."), (1, "Three.")] {
        wish_for(&mut state, CasesCommand::Along(by));
        assert_eq!(in_view(&state), seen);
    }
    // What is asked from the middle goes on at the end; what follows up, where one is.
    wish_for(&mut state, CasesCommand::Along(-2));
    assert_eq!(in_view(&state), "One.");
    let effects = ask(&mut state, "Fourth?");
    answer(&mut state, &effects, "Four.");
    wish_for(&mut state, CasesCommand::Along(-1));
    assert_eq!(in_view(&state), "Three.");
    assert_eq!(state.review.cases.open.as_ref().unwrap().questions.len(), 4);
}

#[test]
fn an_answer_without_a_word_is_shown_and_not_kept() {
    let (mut state, _) = window();
    let effects = ask(&mut state, "First?");
    let failed = AskEvent::Failed { error: "The model cannot be loaded.".to_owned() };
    let effects = say(&mut state, order(&effects).id, failed);
    assert!(kept(&effects).is_empty());
    assert!(shown(&state).unwrap().answer.failed.is_some());
    let effects = ask(&mut state, "Second?");
    assert!(questions(&state).iter().all(|question| question.follows.is_none()));
    // What was written before it was stopped is kept.
    let id = order(&effects).id;
    say(&mut state, id, token(AnswerStage::Observation, "Glands"));
    let effects = say(&mut state, id, finished(Stop::Cancelled));
    assert!(matches!(kept(&effects)[0], Keeper(CaseJob::KeepAnswer { .. })));
}

#[test]
fn an_edited_question_and_one_asked_once_more_are_branches_that_are_walked() {
    let (mut state, _) = window();
    let effects = ask(&mut state, "First?");
    answer(&mut state, &effects, "One.");
    let again = wish_for(&mut state, CasesCommand::Regenerate);
    let sampling = order(&again).how.sampling.unwrap();
    // The package always takes the likeliest word, which would be the same again.
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (0.7, 0.95, 1));
    assert!(kept(&again).is_empty(), "the question is kept already");
    answer(&mut state, &again, "Two.");
    let first = questions(&state)[0].clone();
    wish_for(&mut state, CasesCommand::Edit(Some(first.id.clone())));
    let edited = wish_for(&mut state, CasesCommand::AskEdited(Box::new(text("Otherwise?"))));
    assert_eq!(order(&edited).regions.len(), 2);
    assert_eq!(state.review.cases.editing, None);
    answer(&mut state, &edited, "Three.");
    let of_edited = shown(&state).unwrap().question.clone();
    assert_eq!((of_edited.edited_from, of_edited.follows), (Some(first.id.clone()), None));
    for (by, seen) in [(-1, "Two."), (-1, "One."), (-1, "One."), (2, "Three."), (1, "Three.")] {
        wish_for(&mut state, CasesCommand::Branch(by));
        assert_eq!(in_view(&state), seen);
    }
    let (branches, at) = update_branches(&state);
    assert_eq!((branches.len(), at), (3, 2));
}

fn update_branches(state: &AppState) -> (Vec<Id>, usize) {
    super::update::branches(state).unwrap()
}

#[test]
fn samples_are_asked_one_after_the_other_and_laid_side_by_side() {
    let (mut state, _) = window();
    let effects = ask(&mut state, "First?");
    answer(&mut state, &effects, "One.");
    let mut effects = wish_for(&mut state, CasesCommand::Samples(3));
    let mut seeds = Vec::new();
    for words in ["A.", "B.", "C."] {
        seeds.push(order(&effects).how.sampling.unwrap().seed);
        assert_eq!(in_view(&state), "One.", "what is in view stays");
        effects = answer(&mut state, &effects, words);
    }
    assert_eq!(seeds, [1, 2, 3]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ask(_))));
    let cases = &state.review.cases;
    let open = cases.open.as_ref().unwrap();
    let compared: Vec<_> =
        cases.compared.iter().map(|id| open.answers[id].text().observation.clone()).collect();
    assert_eq!(compared, ["A.", "B.", "C."]);
    wish_for(&mut state, CasesCommand::Compare(Vec::new()));
    assert!(state.review.cases.compared.is_empty());
}

#[test]
fn stop_ends_the_answer_and_takes_back_what_waits() {
    let (mut state, _) = window();
    let effects = ask(&mut state, "First?");
    answer(&mut state, &effects, "One.");
    let effects = wish_for(&mut state, CasesCommand::Samples(5));
    let id = order(&effects).id;
    assert_eq!(state.review.cases.queue.len(), 4);
    let effects = update::command(&mut state, Command::Ask(AskCommand::Stop));
    assert_eq!(effects, [Effect::StopAsking { id }]);
    assert!(state.review.cases.queue.is_empty());
    let effects = say(&mut state, id, finished(Stop::Cancelled));
    assert!(effects.is_empty() && !state.is_asking());
}

#[test]
fn each_ticked_patch_is_asked_about_apart_and_compared() {
    let (mut state, _) = window();
    let mut effects = wish_for(&mut state, CasesCommand::ComparePatches(Box::new(text("What is seen?"))));
    for words in ["Glands.", "Stroma."] {
        assert_eq!(order(&effects).regions.len(), 1);
        effects = answer(&mut state, &effects, words);
    }
    let of_patches = questions(&state);
    assert_eq!(of_patches.len(), 2);
    assert!(of_patches[0].group.is_some() && of_patches[0].group == of_patches[1].group);
    let words: Vec<_> = of_patches.iter().map(|question| question.words.as_str()).collect();
    assert_eq!(words, ["a.svs, patch 1", "a.svs, patch 2"]);
    assert_eq!(state.review.cases.compared.len(), 2);
    assert_eq!(update_branches(&state).0.len(), 2, "one steps from patch to patch");
}

#[test]
fn another_slide_begins_another_case_and_is_no_follow_up() {
    let (mut state, _) = window();
    let effects = ask(&mut state, "First?");
    answer(&mut state, &effects, "One.");
    let first = state.review.cases.open.as_ref().unwrap().case.id.clone();
    open_slide(&mut state, "b.svs", "b");
    update::command(&mut state, Command::Patch(PatchCommand::PlaceSquare((500.0, 700.0))));
    let follow = CasesCommand::FollowUp { text: Box::new(text("Second?")), has_history: false };
    assert!(wish_for(&mut state, follow).is_empty());
    assert!(state.problems[0].sentence.contains("another slide"));
    let effects = ask(&mut state, "Second?");
    let case = &state.review.cases.open.as_ref().unwrap().case;
    assert!(case.id != first && case.slide.hash == "b");
    // It is finished while another case is begun: it is kept in its own.
    let of_second = case.id.clone();
    wish_for(&mut state, CasesCommand::Begin);
    let effects = answer(&mut state, &effects, "Two.");
    assert!(matches!(kept(&effects)[0], Keeper(CaseJob::KeepAnswer { case, .. }) if *case == of_second));
    assert!(state.review.cases.open.is_none());
}

#[test]
fn blinded_reading_keeps_no_name_and_no_path() {
    let (mut state, _) = window();
    state.settings.read.is_blinded = true;
    let effects = ask(&mut state, "What is seen?");
    let told = kept(&effects);
    let [Keeper(CaseJob::KeepCase(case)), Keeper(CaseJob::KeepQuestion(question))] = told[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((case.path.as_ref(), case.slide.name.as_str()), (None, ""));
    assert_eq!(question.words, "Slide 1, patches 1, 2");
    assert!(!format!("{case:?}{question:?}").contains("a.svs"));
}

#[test]
fn what_cannot_be_kept_is_said_until_it_is() {
    let (mut state, _) = window();
    let effects = ask(&mut state, "First?");
    answer(&mut state, &effects, "One.");
    tell(&mut state, CasesEvent::Waiting("Another program holds the store.".to_owned()));
    assert_eq!(state.review.cases.not_kept.as_deref(), Some("Another program holds the store."));
    assert_eq!(in_view(&state), "One.", "it is there all the same");
    tell(&mut state, CasesEvent::Saved);
    assert!(state.review.cases.not_kept.is_none() && state.review.cases.is_list_old);
    tell(&mut state, CasesEvent::Failed("The disk is full.".to_owned()));
    assert_eq!(state.problems[0].sentence, "The disk is full.");
}
