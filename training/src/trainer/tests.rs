//! The loop with a stage that computes almost nothing: what a kill, a stop, a broken number or a bad batch do to it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reinpath_model::fixture::{Speech, write_package};

use super::*;
use crate::config::RunConfig;
use crate::event::EventSink;
use crate::parallel::Gradients;
use crate::run_folder::{RunFolder, StopSignal};
use crate::three_stages::{load, policy};

const STEPS: usize = 7;

/// What happens in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// The disk as a kill at this moment would leave it is kept.
    Kill,
    Fail,
    NotANumber,
    AskToStop,
}

/// Gradients that follow from the step and the values.
struct Toy {
    optimisation: Optimisation,
    /// Steps between which it may pause.
    pause: usize,
    at: usize,
    trouble: Trouble,
    folder: PathBuf,
    entered_with: Vec<Vec<f32>>,
}

impl Toy {
    fn new(folder: &Path, trouble: Trouble, at: usize) -> Self {
        let text = format!("steps = {STEPS}\nlearning_rate = 0.01\nwarm_up = 0.3\nclip = 1.0");
        let optimisation = toml::from_str(&text).unwrap();
        Self { optimisation, pause: 1, at, trouble, folder: folder.to_owned(), entered_with: Vec::new() }
    }
}

impl Learner for Toy {
    fn name(&self) -> &'static str {
        "cold_start"
    }

    fn optimisation(&self) -> &Optimisation {
        &self.optimisation
    }

    fn learning(&self, policy: &Policy) -> Vec<(Var, f64)> {
        let rate = |name: &str| if name.ends_with("bias") { 0.5 } else { 1.0 };
        policy.learning(true, false).map(|(name, var)| (var.clone(), rate(name))).collect()
    }

    fn enter(&mut self, policy: &Policy) -> Result<()> {
        self.entered_with = values(policy);
        Ok(())
    }

    fn step(&mut self, step: usize, policy: &Policy, _watch: &Watch<'_>) -> Result<StepResult> {
        let is_now = |trouble| self.trouble == trouble && step == self.at;
        if is_now(Trouble::Kill) {
            copy(&self.folder, &self.folder.with_extension("killed"));
        }
        if is_now(Trouble::Fail) {
            return Err(Error::Features("the image x.png is missing".to_owned()));
        }
        if is_now(Trouble::AskToStop) {
            RunFolder::new(&self.folder).ask_to_stop()?;
        }
        let gradient = |values: Vec<f32>| -> Vec<f32> {
            values.iter().zip(0..).map(|(v, i)| 0.1 * v + ((step * 31 + i) as f32).sin()).collect()
        };
        let values = policy.learning(true, false).map(|(_, var)| {
            let values = var.flatten_all()?.to_vec1::<f32>()?;
            Ok(Some(gradient(values)))
        });
        let values: Vec<_> = values.collect::<Result<_>>()?;
        let mut loss = values.iter().flatten().flatten().map(|&g| f64::from(g)).sum();
        if is_now(Trouble::NotANumber) {
            loss = f64::NAN;
        }
        let (measures, rollouts, warnings) = (Measures::new(), Vec::new(), Vec::new());
        Ok(StepResult { gradients: Gradients { values, loss }, measures, rollouts, warnings })
    }

    fn may_pause_after(&self, step: usize) -> bool {
        (step + 1).is_multiple_of(self.pause)
    }

    fn images(&self) -> &[PathBuf] {
        &[]
    }

    fn outlook(&self) -> Outlook {
        Outlook::default()
    }
}

/// Accuracies by the number of the evaluation.
struct Figures {
    accuracies: Vec<f64>,
    next: Cell<usize>,
    /// The evaluation that is broken off because the run is asked to stop.
    stops_at: Option<usize>,
}

impl HeldOut for Figures {
    fn figures(&self, _policy: &Policy, _watch: &Watch<'_>) -> Result<RowFigures> {
        let at = self.next.get();
        if self.stops_at == Some(at) {
            return Err(Error::Stopped);
        }
        self.next.set(at + 1);
        Ok(RowFigures { n: 10, accuracy: self.accuracies[at], ..RowFigures::default() })
    }
}

fn values(policy: &Policy) -> Vec<Vec<f32>> {
    policy.vars.iter().map(|(_, var)| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(drop).unwrap() }
    }
}

/// A run with a tiny package.
struct Place {
    _parent: tempfile::TempDir,
    config: RunConfig,
    folder: RunFolder,
}

/// What a process left of a run.
struct Left {
    ended: Result<()>,
    state: State,
    values: Vec<Vec<f32>>,
    entered_with: Vec<Vec<f32>>,
    /// Names of the variables whose values it changed.
    changed: Vec<String>,
}

impl Place {
    fn new(more: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let package = place.path().join("package");
        std::fs::create_dir(&package).unwrap();
        write_package(&package, Speech::Babble(1)).unwrap();
        let base = toml::Value::from(package.to_str().unwrap());
        let text = format!(
            "name = \"toy\"\nseed = 4\nbase = {base}\nlora = {{ rank = 2, alpha = 4.0 }}\n\
             [cold_start]\ndata = []\noptimisation = {{}}\n{more}"
        );
        let config = toml::from_str(&text).unwrap();
        let folder = RunFolder::new(place.path().join("run"));
        folder.create().unwrap();
        Self { _parent: place, config, folder }
    }

    /// One process on a folder: it begins, or goes on from the latest checkpoint.
    fn work(&self, folder: &RunFolder, mut toy: Toy, held_out: Option<&dyn HeldOut>) -> Left {
        let checkpoints = Checkpoints::open(folder.checkpoints()).unwrap();
        let (loaded, damaged) = checkpoints.latest().unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        let length = loaded.as_ref().map_or(0, |loaded| loaded.state.events);
        let sink = EventSink::reopen(folder.path(), length).unwrap();
        let warnings = loaded.as_ref().map_or(BTreeMap::new(), |loaded| loaded.state.warnings.clone());
        folder.forget_stop().unwrap();
        let stop = StopSignal::new(Arc::new(AtomicBool::new(false)), folder.stop_file());
        let events = Arc::new(Events::new(sink, warnings));
        let context = load(self.config.clone(), folder, events, stop).unwrap();
        let policy = policy(&context).unwrap();
        let before = values(&policy);
        let mut state = State::new(String::new(), String::new());
        state.enter("cold_start", None);
        if let Some(loaded) = &loaded {
            state = loaded.state.clone();
        }
        let run = Run { context: &context, checkpoints: &checkpoints, held_out };
        let ended = train(&run, &mut toy, &policy, &mut state, loaded.as_ref());
        let values = values(&policy);
        let differs = |at: &usize| before[*at] != values[*at];
        let changed = (0..values.len()).filter(differs).map(|at| policy.vars[at].0.clone()).collect();
        Left { ended, state, values, entered_with: toy.entered_with, changed }
    }

    fn whole(&self) -> Left {
        let folder = RunFolder::new(self.folder.path().with_extension("whole"));
        folder.create().unwrap();
        let left = self.work(&folder, Toy::new(folder.path(), Trouble::None, 0), None);
        assert!(left.ended.is_ok());
        left
    }

    fn toy(&self, trouble: Trouble, at: usize) -> Toy {
        Toy::new(self.folder.path(), trouble, at)
    }
}

fn events(folder: &RunFolder) -> Vec<RunEvent> {
    let text = std::fs::read_to_string(folder.events_file()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Steps and losses as they are told.
fn losses(folder: &RunFolder) -> Vec<(usize, f64)> {
    let loss = |event| match event {
        RunEvent::Step(step) => Some((step.step, step.loss)),
        _ => None,
    };
    events(folder).into_iter().filter_map(loss).collect()
}

const EVERY_THREE: &str = "[checkpoints]\nevery = 3\nkeep_last = 2\n";

#[test]
fn only_what_learns_changes() {
    let place = Place::new(EVERY_THREE);
    let left = place.work(&place.folder, place.toy(Trouble::None, 0), None);
    left.ended.unwrap();
    assert_eq!((left.state.step, left.state.updates), (STEPS, STEPS as u64));
    assert!(!left.changed.is_empty());
    assert!(left.changed.iter().all(|name| name.starts_with("model.mm_projector")), "{:?}", left.changed);
    assert_eq!(left.entered_with.len(), left.values.len());
    let steps: Vec<usize> = losses(&place.folder).into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, (1..=STEPS).collect::<Vec<_>>());
    let states = Checkpoints::open(place.folder.checkpoints()).unwrap().states().unwrap();
    let steps: Vec<usize> = states.iter().map(|state| state.step).collect();
    assert_eq!(steps, [6, 7], "the last two of 3, 6 and the stage's end");
}

#[test]
fn a_run_that_is_killed_at_any_step_goes_on_to_the_same_numbers() {
    for at in 0..STEPS {
        let place = Place::new(EVERY_THREE);
        let whole = place.work(&place.folder, place.toy(Trouble::Kill, at), None);
        whole.ended.unwrap();
        let killed = RunFolder::new(place.folder.path().with_extension("killed"));
        let left = place.work(&killed, place.toy(Trouble::None, 0), None);
        left.ended.unwrap();
        assert_eq!(left.values, whole.values, "killed in step {at}");
        assert_eq!(left.entered_with, whole.entered_with, "a reference policy is made of the same values");
        assert_eq!(losses(&killed), losses(&place.folder), "killed in step {at}");
        let of = |folder: &RunFolder| {
            let (loaded, _) = Checkpoints::open(folder.checkpoints()).unwrap().latest().unwrap();
            loaded.unwrap().moments
        };
        assert_eq!(of(&killed), of(&place.folder));
    }
}

#[test]
fn an_error_leaves_a_checkpoint_of_the_last_step() {
    let place = Place::new(EVERY_THREE);
    let whole = place.whole();
    let left = place.work(&place.folder, place.toy(Trouble::Fail, 5), None);
    assert!(left.ended.unwrap_err().to_string().contains("x.png is missing"));
    assert_eq!(left.state.step, 5);
    let left = place.work(&place.folder, place.toy(Trouble::Fail, 4), None);
    left.ended.expect("it goes on after step 4");
    assert_eq!(left.values, whole.values);
}

#[test]
fn a_run_stops_where_it_can_go_on_from() {
    let place = Place::new("");
    let whole = place.whole();
    let toy = Toy { pause: 3, ..place.toy(Trouble::AskToStop, 3) };
    let left = place.work(&place.folder, toy, None);
    assert!(matches!(left.ended, Err(Error::Stopped)));
    assert_eq!(left.state.step, 6, "asked in the fourth step, it went on to the end of its answers' updates");
    let toy = Toy { pause: 3, ..place.toy(Trouble::None, 0) };
    let left = place.work(&place.folder, toy, None);
    left.ended.unwrap();
    assert_eq!(left.values, whole.values);
    assert_eq!(losses(&place.folder).len(), STEPS);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_before_its_update() {
    let place = Place::new("");
    let left = place.work(&place.folder, place.toy(Trouble::NotANumber, 2), None);
    let error = left.ended.unwrap_err();
    assert_eq!(error.to_string(), "the loss is not a number at step 3 of cold_start");
    let (loaded, _) = Checkpoints::open(place.folder.checkpoints()).unwrap().latest().unwrap();
    assert_eq!(loaded.unwrap().state.step, 2);
    assert_eq!(losses(&place.folder).len(), 2);
}

#[test]
fn a_loss_that_is_no_number_costs_one_update_where_it_may() {
    let place = Place::new("[trouble]\nnot_a_number = \"warn\"\n");
    let left = place.work(&place.folder, place.toy(Trouble::NotANumber, 2), None);
    left.ended.unwrap();
    assert_eq!((left.state.step, left.state.updates), (STEPS, STEPS as u64 - 1));
    let steps: Vec<usize> = losses(&place.folder).into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, [1, 2, 4, 5, 6, 7]);
    let warnings =
        events(&place.folder).into_iter().filter(|e| matches!(e, RunEvent::Warning { count: 1, .. }));
    assert_eq!(warnings.count(), 1);
}

#[test]
fn the_best_evaluation_keeps_its_checkpoint() {
    let place = Place::new("[evaluation]\nevery = 2\n[checkpoints]\nevery = 0\nkeep_last = 1\n");
    // After steps 2, 4, 6 and 7.
    let accuracies = vec![0.3, 0.8, 0.8, 0.5];
    let held_out = Figures { accuracies, next: Cell::new(0), stops_at: None };
    place.work(&place.folder, place.toy(Trouble::None, 0), Some(&held_out)).ended.unwrap();
    let states = Checkpoints::open(place.folder.checkpoints()).unwrap().states().unwrap();
    let names: Vec<String> = states.iter().map(State::name).collect();
    assert_eq!(names, ["cold_start-000004", "cold_start-000007"]);
    assert_eq!(states[1].best, Some(Best { checkpoint: names[0].clone(), accuracy: 0.8 }));
}

#[test]
fn an_evaluation_that_was_broken_off_is_made_when_the_run_goes_on() {
    let place = Place::new("[evaluation]\nevery = 4\n");
    let held_out = |stops_at| Figures { accuracies: vec![0.3, 0.4], next: Cell::new(0), stops_at };
    let left = place.work(&place.folder, place.toy(Trouble::None, 0), Some(&held_out(Some(0))));
    assert!(matches!(left.ended, Err(Error::Stopped)));
    let left = place.work(&place.folder, place.toy(Trouble::None, 0), Some(&held_out(None)));
    left.ended.unwrap();
    let told = |event| match event {
        RunEvent::Evaluation { step, figures, .. } => Some((step, figures.accuracy)),
        _ => None,
    };
    let told: Vec<_> = events(&place.folder).into_iter().filter_map(told).collect();
    assert_eq!(told, [(4, 0.3), (7, 0.4)]);
}
