//! From reviews to a better model, all of it from the window and with the real programs: asked, corrected by keys, taught, used.
//!
//! The model's process is looked for where the environment says, which belongs to the whole process of a test: each of these runs
//! once more alone in a process of its own. One takes the whole way with a model that has never met a concept
//! (`packaging/demo-withheld`; it skips where there is none), the other goes the same way in a few steps with the demo model, to
//! see that every part of it holds. `REINPATH_SCREENSHOTS` names a folder for pictures of the way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use egui::{Event, Key, Modifiers, vec2};
use egui_kittest::Harness;
use image::{RgbImage, imageops};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use reinpath::case::Id;
use reinpath::runs::told::Listed;
use reinpath::slide::SlideHandle;
use reinpath::window::answer_view::QuestionText;
use reinpath::window::command::{AskCommand, ModelCommand, PatchCommand};
use reinpath::window::read::ReadPlaces;
use reinpath::window::review::ReviewCommand;
use reinpath::window::review::cases::CasesCommand;
use reinpath::window::review::chain::ChainCommand;
use reinpath::window::state::Mode;
use reinpath::window::train::TrainCommand;
use reinpath::window::train::look::LookCommand;
use reinpath::window::train::setup::SetupCommand;
use reinpath::window::{App, Parts};
use reinpath_model::prose;
use reinpath_model::stage::{AnswerStage, StagedAnswer};
use reinpath_training::phantom::{Claim, Limits, QuestionItem, draw, limited_set};
use reinpath_training::phantom_set::{self, PhantomPlan};
use reinpath_training::rows::{Row, RowAnswer, Split, read_rows};
use reinpath_training::run_folder::{RunFolder, RunState};
use serde_json::{Value, json};

use super::support::pass_notice;
use super::training_run::{answers, assets, built, picture, press, state_of, until, wish};

/// Names the folder of a test that runs in a process of its own.
const HOME: &str = "REINPATH_TEACHING_HOME";
/// What is taught.
const CLAIM: &str = "pattern.mucin";
/// Side of a field in pixels: the demo model's.
const SIDE: u32 = 224;
/// Fields in a row of the slide.
const ACROSS: u32 = 8;
/// Of the fields that are corrected; neither a training's nor the benchmark's.
const SEED: u64 = 700_107;

/// A field of the slide, with a question about it and the right answer.
struct Field {
    item: QuestionItem,
    centre: (f64, f64),
}

/// The home of a test in its own process; elsewhere runs the test there and is `None`.
fn alone(test: &str) -> Option<PathBuf> {
    if let Some(home) = std::env::var_os(HOME) {
        return Some(home.into());
    }
    let (program, _worker) = (built("reinpath-train")?, built("reinpath-worker")?);
    let home = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .arg(format!("teaching::{test}"))
        .args(["--exact", "--nocapture"])
        .env(HOME, home.path())
        .env("REINPATH_HOME", home.path())
        .env("REINPATH_ASSETS", assets())
        .env("REINPATH_BIN_DIR", program.parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its own process, as is said above");
    None
}

/// A package that has never met what is taught.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn withheld() -> Option<PathBuf> {
    let made = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../runs/demo-withheld/package");
    let package = std::env::var_os("REINPATH_WITHHELD").map_or_else(made, PathBuf::from);
    if package.is_dir() {
        return Some(package.canonicalize().unwrap());
    }
    eprintln!("skipped: there is no {}; run packaging/demo-withheld first", package.display());
    None
}

/// A slide of fields that all show the concept, one beside the other.
fn draw_slide(folder: &Path, count: usize) -> (PathBuf, Vec<Field>) {
    let limits = Limits { only: Claim::from_name(CLAIM), without: None };
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let rows = (count as u32).div_ceil(ACROSS);
    let mut slide = RgbImage::new(ACROSS * SIDE, rows * SIDE);
    let mut fields = Vec::new();
    for (at, (truth, item)) in (0..).zip(limited_set(&mut rng, count, limits)) {
        let (x, y) = (at % ACROSS * SIDE, at / ACROSS * SIDE);
        imageops::replace(&mut slide, &draw(&truth, SIDE, rng.random()).rgb, x.into(), y.into());
        let middle = f64::from(SIDE) / 2.0;
        fields.push(Field { item, centre: (f64::from(x) + middle, f64::from(y) + middle) });
    }
    let path = folder.join("fields.png");
    slide.save(&path).unwrap();
    (path, fields)
}

/// The window as it is started by a user, with this slide and this package.
fn opened(slide: &Path, package: &Path) -> Harness<'static, App> {
    let usual = Parts::usual(vec![slide.to_owned()]);
    let parts = Parts {
        // This process is a test, which serves no slides.
        opener: Arc::new(|path| {
            let program = env!("CARGO_BIN_EXE_reinpath");
            SlideHandle::open_with_command(program, &["slide-server".into()], path, Duration::from_secs(20))
        }),
        reading: ReadPlaces { has_gamepad: false, ..usual.reading },
        ..usual
    };
    let mut harness = Harness::builder()
        .with_size(vec2(1440.0, 900.0))
        .wgpu()
        .build_eframe(|cc| App::new(&cc.egui_ctx, cc.wgpu_render_state.as_ref(), parts));
    pass_notice(&mut harness);
    until(&mut harness, "a model", |app| app.state().model.info().is_some());
    harness.state().commands().model(ModelCommand::Use(package.to_owned()));
    until(&mut harness, "the model", |app| app.state().model.folder() == Some(package));
    // Maps take longer than all the rest, and nobody looks at them here.
    harness.state().commands().review(ReviewCommand::Chain(ChainCommand::MakesMaps(false)));
    harness.step();
    harness
}

/// Asks about a field in a case of its own; the answer is kept when this returns.
fn ask(harness: &mut Harness<'_, App>, field: &Field) -> (Id, StagedAnswer) {
    let before = harness.state().state().answer.as_ref().map(|answer| answer.record.id.clone());
    let commands = harness.state().commands();
    commands.review(ReviewCommand::Cases(CasesCommand::Begin));
    commands.patch(PatchCommand::PlaceSquare(field.centre));
    until(harness, "the patch", |app| app.state().shown_slide().unwrap().patches.places().len() == 1);
    let text = QuestionText {
        question: field.item.question.clone(),
        choices: field.item.choices.clone(),
        context: field.item.context.clone().unwrap_or_default(),
    };
    harness.state().commands().ask(AskCommand::Ask(Box::new(text)));
    until(harness, "the answer", |app| {
        let Some(answer) = &app.state().answer else { return false };
        let is_kept = |open: &reinpath::case::OpenCase| open.answers.contains_key(&answer.record.id);
        Some(&answer.record.id) != before.as_ref()
            && answer.record.is_over()
            && app.state().review.cases.open.as_ref().is_some_and(is_kept)
    });
    let state = harness.state().state();
    let record = &state.answer.as_ref().unwrap().record;
    assert_eq!(record.failed, None);
    let said = (record.id.clone(), record.text());
    let patch = state.shown_slide().unwrap().patches.places()[0].id;
    harness.state().commands().patch(PatchCommand::Remove(patch));
    harness.step();
    harness.step();
    said
}

fn sentences(text: &str) -> Vec<&str> {
    prose::split(text).into_iter().map(|range| &text[range]).collect()
}

/// A text in so many pieces: its sentences where there are as many, else runs of its words.
fn pieces(text: &str, count: usize) -> Vec<String> {
    let whole = sentences(text);
    if whole.len() == count {
        return whole.into_iter().map(str::to_owned).collect();
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let end = |piece: usize| words.len() * piece / count;
    (0..count).map(|piece| words[end(piece)..end(piece + 1)].join(" ")).collect()
}

/// Judges the answer in view by keys, so that it says what is right: each sentence that says something else is edited, the
/// rest accepted. Returns how many were edited.
fn correct(harness: &mut Harness<'_, App>, id: &Id, said: &StagedAnswer, right: &StagedAnswer) -> usize {
    let mut edited = 0;
    let mut all = 0;
    for stage in AnswerStage::ALL {
        let was = sentences(said.stage(stage));
        assert!(!was.is_empty(), "there is no {} to correct: {said:?}", stage.name());
        all += was.len();
        for (index, wanted) in pieces(right.stage(stage), was.len()).into_iter().enumerate() {
            if was[index] == wanted {
                continue;
            }
            assert!(!wanted.is_empty(), "more sentences than words: {said:?}");
            edited += 1;
            look_at(harness, stage, index);
            harness.key_press(Key::E);
            until(harness, "the editor", |app| app.state().review.verdicts.editing.is_some());
            harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
            harness.event(Event::Text(wanted));
            harness.key_press(Key::Enter);
            until(harness, "the edit", |app| app.state().review.verdicts.editing.is_none());
        }
    }
    harness.key_press_modifiers(Modifiers::SHIFT, Key::Y);
    until(harness, "the log", |app| {
        let verdicts = &app.state().review.verdicts;
        verdicts.waiting.is_empty() && verdicts.entries.get(id).is_some_and(|entries| entries.len() >= all)
    });
    edited
}

/// Steps by key until a sentence is the one that keys are about.
fn look_at(harness: &mut Harness<'_, App>, stage: AnswerStage, index: usize) {
    for _ in 0..40 {
        let focus = &harness.state().state().review.chain.focus;
        if focus.as_ref().is_some_and(|(_, of, at)| (*of, *at) == (stage, index)) {
            return;
        }
        harness.key_press(Key::N);
        harness.step();
        harness.step();
    }
    panic!("sentence {index} of {} is not reached", stage.name());
}

/// From the reviews to the training mode, by one key; returns the rows that were made of them.
fn teach(harness: &mut Harness<'_, App>, package: &Path) -> Vec<Row> {
    harness.key_press_modifiers(Modifiers::COMMAND.plus(Modifiers::ALT), Key::T);
    until(harness, "the training mode with the package", |app| {
        let base = app.state().train.setup.draft.pointer("/base").and_then(Value::as_str);
        app.state().mode == Mode::Train && base.map(Path::new) == Some(package)
    });
    let draft = &harness.state().state().train.setup.draft;
    let folder = draft.pointer("/cold_start/data/0/folder").and_then(Value::as_str).unwrap();
    read_rows(&Path::new(folder).join("rows.jsonl")).unwrap()
}

/// Changes settings, looks them through, runs them to the end and takes the new model.
fn run(harness: &mut Harness<'_, App>, changes: &[(&str, Value)]) -> RunFolder {
    for (key, value) in changes {
        wish(harness, TrainCommand::Setup(SetupCommand::Change((*key).to_owned(), value.clone())));
        let place = format!("/{}", key.replace('.', "/"));
        until(harness, key, |app| app.state().train.setup.draft.pointer(&place) == Some(value));
    }
    assert_eq!(harness.state().state().train.setup.fault, None);
    wish(harness, TrainCommand::Look(LookCommand::Preflight));
    until(harness, "the preflight", |app| {
        let (preflight, draft) = (&app.state().train.look.preflight, &app.state().train.setup.draft);
        preflight.of.as_ref() == Some(draft) && !preflight.is_running
    });
    let train = &harness.state().state().train;
    assert!(train.look.preflight.allows(&train.setup.draft), "{:?}", train.look.preflight);
    picture(harness, "teach-3-looked-through");
    press(harness, "Start run");
    until(harness, "the end of the run", |app| matches!(state_of(app), Some(RunState::Finished(_))));
    picture(harness, "teach-4-finished");
    let shown = harness.state().state().train.runs.shown_run().unwrap();
    assert!(matches!(shown.listed, Listed::Known(_)) && shown.strange.is_none());
    let folder = RunFolder::new(harness.state().state().train.runs.shown.clone().unwrap().folder());
    press(harness, "Use this model");
    let made = folder.package();
    until(harness, "the new model", |app| {
        app.state().mode == Mode::Read && app.state().model.folder() == Some(made.as_path())
    });
    folder
}

/// What a package reaches, by the command that measures it: accuracy and its interval.
fn accuracy(package: &Path, arguments: &[&str]) -> (f64, [f64; 2]) {
    let output = Command::new(built("reinpath-train").unwrap())
        .args(["evaluate", "--benchmark", "phantom", "--json", "--model"])
        .arg(package)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "finished");
    let interval = [0, 1].map(|end| last["data"]["interval_95"][end].as_f64().unwrap());
    (last["data"]["accuracy"].as_f64().unwrap(), interval)
}

/// What a row says is right.
fn answer_of(row: &Row) -> &StagedAnswer {
    match &row.answer {
        Some(RowAnswer::Staged(answer)) => answer,
        other => panic!("{} has no stages: {other:?}", row.id),
    }
}

#[test]
fn a_concept_that_was_withheld_is_taught_by_thirty_corrections() {
    let Some(package) = withheld() else { return };
    let Some(home) = alone("a_concept_that_was_withheld_is_taught_by_thirty_corrections") else { return };
    let (slide, fields) = draw_slide(&home, 30);
    let rehearsal = home.join("rehearsal");
    let plan = PhantomPlan {
        count: 200,
        seed: SEED + 1,
        questions: 3,
        captions: 0,
        split: Some(Split::Train),
        without: Claim::from_name(CLAIM),
        only: None,
    };
    phantom_set::write(&plan, &rehearsal).unwrap();
    assert_eq!(read_rows(&rehearsal.join("rows.jsonl")).unwrap().len(), 600);
    let only = ["--only", CLAIM, "--limit", "200"];
    let rest = ["--without", CLAIM, "--limit", "300"];
    let before = (accuracy(&package, &only), accuracy(&package, &rest));

    let mut harness = opened(&slide, &package);
    let mut edits = 0;
    for (at, field) in fields.iter().enumerate() {
        let (id, said) = ask(&mut harness, field);
        edits += correct(&mut harness, &id, &said, &field.item.answer);
        if at == 0 {
            picture(&mut harness, "teach-1-corrected");
        }
    }
    assert!(edits >= 30, "a model that has never met {CLAIM} was right: {edits} edits");
    let rows = teach(&mut harness, &package);
    picture(&mut harness, "teach-2-training-mode");
    assert_eq!(rows.len(), 30);
    let folder = run(&mut harness, &[("cold_start.data.1.folder", json!(rehearsal))]);
    picture(&mut harness, "teach-5-used");
    drop(harness);

    let made = folder.package();
    let after = (accuracy(&made, &only), accuracy(&made, &rest));
    let percent = |share: f64| 100.0 * share;
    for (what, (was, [was_low, was_high]), (is, [low, high])) in
        [(CLAIM, before.0, after.0), ("the rest", before.1, after.1)]
    {
        eprintln!(
            "{what}: {:.1} % ({:.1} to {:.1}) before, {:.1} % ({:.1} to {:.1}) after {edits} edits of 30 answers",
            percent(was),
            percent(was_low),
            percent(was_high),
            percent(is),
            percent(low),
            percent(high)
        );
    }
    assert!(before.0.0 <= 0.3, "{before:?}");
    assert!(after.0.0 >= 0.7, "{after:?}");
    let ([was_low, was_high], [low, high]) = (before.1.1, after.1.1);
    assert!(low <= was_high && was_low <= high, "everything else changed: {before:?} {after:?}");
}

#[test]
fn two_corrections_become_rows_that_a_run_learns_from() {
    let Some(home) = alone("two_corrections_become_rows_that_a_run_learns_from") else { return };
    let package = assets().join("models/demo").canonicalize().unwrap();
    let (slide, fields) = draw_slide(&home, 2);
    let mut harness = opened(&slide, &package);
    // Something that the demo model does not say, in as many sentences as there are stages.
    let right = |at: usize| StagedAnswer {
        observation: format!("Pale pools of mucin are in field {at}."),
        analysis: "Pools without walls are mucin.".to_owned(),
        conclusion: fields[at].item.answer.conclusion.clone(),
    };
    for (at, field) in fields.iter().enumerate() {
        let (id, said) = ask(&mut harness, field);
        assert!(correct(&mut harness, &id, &said, &right(at)) >= 2, "{said:?}");
    }
    picture(&mut harness, "teach-1-two-corrected");
    let mut rows = teach(&mut harness, &package);
    rows.sort_by(|a, b| answer_of(a).observation.cmp(&answer_of(b).observation));
    assert_eq!(rows.len(), 2);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(answer_of(row), &right(at));
        assert_eq!(row.question.as_ref(), Some(&fields[at].item.question));
        assert_eq!((&row.choices, &row.label), (&fields[at].item.choices, &fields[at].item.label));
        assert_eq!((row.split, row.source.as_deref()), (Some(Split::Train), Some("review")));
    }
    let taught_from = harness.state().state().train.setup.draft.clone();
    let data = |draft: &Value| draft.pointer("/cold_start/data/0/folder").cloned();
    let changes = [
        ("cold_start.optimisation.steps", json!(4)),
        ("cold_start.optimisation.batch", json!(2)),
        ("checkpoints.every", json!(2)),
    ];
    let folder = run(&mut harness, &changes);
    let config: Value = serde_json::to_value(folder.config().unwrap()).unwrap();
    assert_eq!(data(&config), data(&taught_from), "the run learnt from the rows that the reviews made");
    assert_eq!(config.pointer("/base").and_then(Value::as_str).map(Path::new), Some(package.as_path()));
    picture(&mut harness, "teach-5-two-used");
    drop(harness);
    answers(&folder.package(), &home);
}
