//! Judging answers by keys alone: edits, reasons, taking back, what is there after a restart; and whether an answer is stable.

use std::path::Path;
use std::time::Duration;

use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use image::RgbImage;
use image::imageops::rotate90;
use reinpath::ask::{self, cut_patch, cut_turned};
use reinpath::case::Id;
use reinpath::review::verdict::{Action, Decision, Entry, Reason, Target};
use reinpath::slide::{Region, SlideHandle};
use reinpath::window::App;
use reinpath::window::read::ReadPlaces;
use reinpath::window::review::ReviewCommand;
use reinpath::window::review::cases::CasesCommand;
use reinpath::window::review::chain::ChainCommand;
use reinpath::window::review::stability::StabilityCommand;
use reinpath::window::state::Tool;
use reinpath::window::update::AskOrder;
use reinpath_model::event::Stop;
use reinpath_model::stage::AnswerStage;

use super::support::{Script, ask_about_the_middle, draw_slide, until, until_drawn, window_from};

/// Six sentences.
const STAGES: [&str; 3] = [
    "Glands are seen. Nuclei are large. Necrosis is absent.",
    "Large nuclei speak for a tumour. Glands speak for its kind.",
    "An adenocarcinoma is likely.",
];
const EDITED: &str = "Nuclei are small.";

/// Counts what a reader presses.
struct Keys<'a> {
    harness: &'a mut Harness<'static, App>,
    presses: usize,
}

impl Keys<'_> {
    fn press(&mut self, modifiers: Modifiers, key: Key) {
        self.harness.key_press_modifiers(modifiers, key);
        self.presses += 1;
        self.harness.run_ok();
    }

    fn plain(&mut self, key: Key) {
        self.press(Modifiers::NONE, key);
    }
}

/// The window of a reader who may have been here before: what is judged is kept below the folder.
fn kept(folder: &Path, script: &Script) -> Harness<'static, App> {
    let slide = folder.join("quarters.png");
    let slide = if slide.exists() { slide } else { draw_slide(folder) };
    let places = ReadPlaces { store: Some(folder.join("data/store.sqlite")), ..ReadPlaces::default() };
    let mut harness = window_from(vec![slide], script, None, places);
    harness.step();
    harness.get_by_label("Accept and continue").click();
    // Answers are not read again for their maps: the script answers only what is asked.
    wish(&mut harness, ReviewCommand::Chain(ChainCommand::MakesMaps(false)));
    until_drawn(&mut harness);
    harness
}

fn wish(harness: &mut Harness<'static, App>, wish: ReviewCommand) {
    harness.state().commands().review(wish);
    harness.step();
    harness.step();
}

/// A window in which a patch was asked about.
fn asked(folder: &Path, script: &Script) -> Harness<'static, App> {
    let mut harness = kept(folder, script);
    ask_about_the_middle(&mut harness);
    harness
}

/// The model writes an answer to the last order.
fn write(harness: &mut Harness<'static, App>, script: &Script, stages: [&str; 3]) {
    for (stage, text) in AnswerStage::ALL.into_iter().zip(stages) {
        script.write(stage, text);
    }
    let id = script.orders().last().unwrap().id;
    script.finish(Stop::End);
    until(harness, "the end", |app| {
        app.state().answer.as_ref().is_none_or(|answer| answer.id != id || !answer.is_running())
    });
}

/// A window with an answer of six sentences that is over.
fn answered(folder: &Path, script: &Script) -> Harness<'static, App> {
    let mut harness = asked(folder, script);
    write(&mut harness, script, STAGES);
    harness.run_ok();
    harness.get_by_label_contains("0 of 6 judged");
    harness
}

/// The answer in view, and what the log says of it.
fn entries(app: &App) -> (Id, Vec<Entry>) {
    let state = app.state();
    let live = state.answer.as_ref().map(|answer| answer.record.id.clone());
    let id = state.review.cases.shown.clone().or(live).unwrap();
    let entries = state.review.verdicts.entries.get(&id).cloned().unwrap_or_default();
    (id, entries)
}

fn until_kept(harness: &mut Harness<'static, App>, count: usize) {
    until(harness, "the log to have the verdicts", |app| {
        app.state().review.verdicts.waiting.is_empty() && entries(app).1.len() == count
    });
    harness.run_ok();
}

/// Judges the six sentences with one edit and one rejection; how many keys that took, apart from the edit's words.
fn judge(harness: &mut Harness<'static, App>) -> usize {
    let mut keys = Keys { harness, presses: 0 };
    keys.plain(Key::N);
    keys.plain(Key::N);
    keys.plain(Key::E);
    keys.harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    keys.harness.step();
    keys.harness.get_by_label("Edited sentence").type_text(EDITED);
    keys.harness.run_ok();
    keys.plain(Key::Enter);
    keys.plain(Key::X);
    keys.plain(Key::Num1);
    keys.press(Modifiers::SHIFT, Key::Y);
    keys.presses
}

#[test]
fn an_answer_is_judged_by_fewer_than_ten_keys() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = answered(folder.path(), &script);
    let presses = judge(&mut harness);
    assert!(presses <= 9, "{presses} keys");
    until_kept(&mut harness, 7);
    harness.get_by_label_contains("6 of 6 judged · kept");
    let (_, entries) = entries(harness.state());
    let decided = |target: Target| {
        let of = |entry: &Entry| match &entry.action {
            Action::Decide(verdict) if verdict.target == target => {
                Some((verdict.decision.clone(), verdict.reason))
            }
            _ => None,
        };
        entries.iter().rev().find_map(of)
    };
    let of = |index: usize| decided(Target::Sentence(AnswerStage::Observation, index));
    assert_eq!(of(0), Some((Decision::Accept, None)));
    assert_eq!(of(1), Some((Decision::Edit(EDITED.to_owned()), None)));
    assert_eq!(of(2), Some((Decision::Reject, Some(Reason::NotVisible))));
    assert_eq!(decided(Target::Sentence(AnswerStage::Conclusion, 0)), Some((Decision::Accept, None)));
    assert!(script.stopped().is_empty());
}

#[test]
fn verdicts_are_taken_back_one_by_one_and_there_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let (case, judged) = {
        let mut harness = answered(folder.path(), &script);
        judge(&mut harness);
        until_kept(&mut harness, 7);
        let mut keys = Keys { harness: &mut harness, presses: 0 };
        keys.press(Modifiers::SHIFT, Key::Z);
        keys.press(Modifiers::SHIFT, Key::Z);
        until_kept(&mut harness, 9);
        harness.get_by_label_contains("4 of 6 judged · kept");
        // Judged again and closed at once: what was decided is kept on the way out.
        harness.key_press_modifiers(Modifiers::SHIFT, Key::Y);
        harness.step();
        harness.step();
        let open = harness.state().state().review.cases.open.as_ref().unwrap();
        (open.case.id.clone(), entries(harness.state()).0)
    };
    let mut harness = kept(folder.path(), &Script::default());
    wish(&mut harness, ReviewCommand::Cases(CasesCommand::Open(case, None)));
    until(&mut harness, "the case to be opened", |app| {
        let cases = &app.state().review.cases;
        cases.open.is_some() && cases.shown.is_some()
    });
    harness.run_ok();
    let (shown, found) = entries(harness.state());
    assert_eq!((shown, found.len()), (judged, 11));
    harness.get_by_label_contains("6 of 6 judged · kept");
    let second = Some((AnswerStage::Observation, 1));
    wish(&mut harness, ReviewCommand::Chain(ChainCommand::Focus(second)));
    harness.run_ok();
    harness.get_by_label("rejected: not visible");
    harness.get_by_label("edited");
    harness.get_by_label(EDITED);
    harness.get_by_label("As generated").click_accesskit();
    harness.run_ok();
    until_kept(&mut harness, 12);
    assert!(harness.query_by_label(EDITED).is_none(), "it is as the model wrote it");
}

#[test]
fn escape_in_the_editor_leaves_the_sentence_and_the_tool() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = answered(folder.path(), &script);
    assert_eq!(harness.state().state().tool, Tool::Patch);
    let mut keys = Keys { harness: &mut harness, presses: 0 };
    keys.plain(Key::N);
    keys.plain(Key::E);
    keys.harness.get_by_label("Edited sentence").type_text(" Really. 1 Y");
    keys.harness.run_ok();
    keys.plain(Key::Escape);
    assert!(keys.harness.query_by_label("Edited sentence").is_none());
    let state = harness.state().state();
    assert_eq!((state.review.verdicts.editing, state.tool), (None, Tool::Patch));
    assert!(state.review.verdicts.waiting.is_empty() && entries(harness.state()).1.is_empty());
    // A comment is left in the same way, and kept by Enter.
    let mut keys = Keys { harness: &mut harness, presses: 0 };
    keys.plain(Key::X);
    keys.plain(Key::C);
    keys.harness.get_by_label("Comment").type_text("no");
    keys.plain(Key::Escape);
    keys.plain(Key::C);
    keys.harness.get_by_label("Comment").type_text("Out of focus.");
    keys.plain(Key::Enter);
    until_kept(&mut harness, 2);
    let (_, found) = entries(harness.state());
    let Action::Decide(verdict) = &found[1].action else { panic!("no decision") };
    assert_eq!((verdict.comment.as_str(), &verdict.decision), ("Out of focus.", &Decision::Reject));
    assert_eq!(harness.state().state().tool, Tool::Patch);
}

#[test]
fn a_stage_is_judged_by_one_key_and_the_reviewer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = answered(folder.path(), &script);
    harness.get_by_label("Reviewer").focus();
    harness.step();
    harness.get_by_label("Reviewer").type_text("Ada");
    harness.run_ok();
    harness.key_press(Key::Escape);
    harness.run_ok();
    assert_eq!(harness.state().state().settings.review.reviewer, "Ada");
    let mut keys = Keys { harness: &mut harness, presses: 0 };
    keys.plain(Key::T);
    keys.press(Modifiers::SHIFT, Key::X);
    until_kept(&mut harness, 2);
    harness.get_by_label_contains("5 of 6 judged");
    let (_, found) = entries(harness.state());
    let decided = found.iter().map(|entry| match &entry.action {
        Action::Decide(verdict) => (entry.reviewer.as_str(), verdict.target, verdict.decision.clone()),
        Action::Undo(_) => panic!("nothing was taken back"),
    });
    let expected = [
        ("Ada", Target::Stage(AnswerStage::Observation), Decision::Accept),
        ("Ada", Target::Stage(AnswerStage::Analysis), Decision::Reject),
    ];
    assert_eq!(decided.collect::<Vec<_>>(), expected);
}

/// What was asked to be written, not to be read again.
fn orders(script: &Script) -> Vec<AskOrder> {
    script.orders().into_iter().filter(|order| order.how.written.is_none()).collect()
}

#[test]
fn an_answer_is_asked_again_with_one_thing_changed_and_agreement_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = answered(folder.path(), &script);
    let first = entries(harness.state()).0;
    wish(&mut harness, ReviewCommand::Stability(StabilityCommand::Repeats(1)));
    harness.key_press_modifiers(Modifiers::SHIFT, Key::S);
    harness.run_ok();
    let base = orders(&script).remove(0);
    let mut turned = 0;
    for asked in 2..=4 {
        until(&mut harness, "the next order", |_| orders(&script).len() == asked);
        let order = orders(&script).pop().unwrap();
        turned += usize::from(order.how.turned.abs() == 5.0);
        let is_moved = order.regions != base.regions;
        let observation = if is_moved { "Sheets of cells with mucin." } else { STAGES[0] };
        write(&mut harness, &script, [observation, STAGES[1], STAGES[2]]);
    }
    until(&mut harness, "the check to end", |app| app.state().review.stability.running.is_none());
    harness.run_ok();
    assert_eq!(turned, 1);
    assert_eq!(entries(harness.state()).0, first, "the answer stays in view");
    harness.get_by_label("Agreement: Observation 2 of 3 · Analysis 3 of 3 · Conclusion 3 of 3");
    harness.get_by_label("1 that differ").click_accesskit();
    harness.run_ok();
    harness.get_by_label_contains("Patches shifted by");
}

#[test]
fn a_patch_of_a_slide_is_turned_as_a_picture_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = draw_slide(folder.path());
    let program = env!("CARGO_BIN_EXE_reinpath");
    let slide =
        SlideHandle::open_with_command(program, &["slide-server".into()], path, Duration::from_secs(20))
            .unwrap();
    // Over the middle, where four colours meet.
    let region = Region { x: 560, y: 400, w: 64, h: 64 };
    let upright = cut_patch(&slide, region, 0.5).unwrap();
    assert_eq!(cut_turned(&slide, region, 0.5, 0.0).unwrap(), upright);
    let turned = cut_turned(&slide, region, 0.5, 90.0).unwrap();
    let picture = RgbImage::from_raw(64, 64, upright.patch.rgb.clone()).unwrap();
    assert_eq!(turned.patch.rgb, rotate90(&picture).into_raw());
    assert_eq!((turned.source.turned, turned.source.region), (90.0, upright.source.region));
    assert_eq!((turned.patch.mpp, turned.is_padded), (upright.patch.mpp, false));
    // Past the corner of the slide there is its background.
    let corner = cut_turned(&slide, Region { x: 0, y: 0, w: 64, h: 64 }, 0.5, 45.0).unwrap();
    assert!(corner.is_padded);
    assert_eq!(corner.patch.rgb[..3], slide.info().background);
    let nowhere = Region { x: 5000, y: 0, w: 64, h: 64 };
    assert!(matches!(cut_turned(&slide, nowhere, 0.5, 5.0), Err(ask::Error::Outside { .. })));
    assert!(matches!(cut_turned(&slide, region, 0.5, f64::NAN), Err(ask::Error::Turned { .. })));
}
