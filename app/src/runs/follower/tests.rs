//! What a follower makes of a run's folder: whole, cut off and begun again, damaged, gone.

use std::path::Path;

use reinpath_training::event::{RowFigures, RunEvent, Step};
use reinpath_training::run_folder::RunState;

use super::super::list::tests::{CONFIG, lines};
use super::*;
use crate::runs::told::{CheckpointTold, Progress, StageTold, series};

/// A folder with a configuration, and its follower.
fn run() -> (tempfile::TempDir, RunFollower) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), CONFIG).unwrap();
    let follower = RunFollower::new(RunKey::new(folder.path().to_owned()));
    (folder, follower)
}

fn write(folder: &Path, events: &[RunEvent]) {
    std::fs::write(folder.join("events.jsonl"), lines(events)).unwrap();
}

fn add(folder: &Path, text: impl AsRef<[u8]>) {
    use std::io::Write as _;
    let path = folder.join("events.jsonl");
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}

fn told(follower: &mut RunFollower) -> Arc<RunTold> {
    let mut told = None;
    loop {
        let followed = follower.poll();
        told = followed.told.or(told);
        if !followed.has_more {
            return told.expect("there is something new");
        }
    }
}

fn stage(name: &str) -> RunEvent {
    RunEvent::Stage { stage: name.to_owned(), steps: 100 }
}

fn step_with(stage: &str, step: usize, measures: &[(&str, f64)]) -> RunEvent {
    RunEvent::Step(Step {
        stage: stage.to_owned(),
        step,
        loss: 10.0 / step as f64,
        learning_rate: 1e-4,
        gradient_norm: 1.0,
        secs: step as f64,
        measures: measures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
    })
}

fn step(stage: &str, step: usize) -> RunEvent {
    step_with(stage, step, &[])
}

fn rollout(step: usize) -> RunEvent {
    let file = format!("rollouts/grpo-{step}.jsonl").into();
    RunEvent::Rollout { stage: "grpo".to_owned(), step, file, questions: 2 }
}

fn values(stage: &StageTold, measure: &str) -> Vec<Option<f32>> {
    let column = stage.measure(measure).unwrap();
    (0..column.len()).map(|at| column.get(at)).collect()
}

#[test]
fn all_that_a_run_tells_is_known() {
    let (folder, mut follower) = run();
    let kept = folder.path().join("checkpoints/grpo-2");
    std::fs::create_dir_all(&kept).unwrap();
    let figures = RowFigures { n: 10, accuracy: 0.5, ..RowFigures::default() };
    let checkpoint = |step: usize| RunEvent::Checkpoint {
        stage: "grpo".to_owned(),
        step,
        path: format!("checkpoints/grpo-{step}").into(),
    };
    write(
        folder.path(),
        &[
            stage("alignment"),
            step("alignment", 1),
            stage("grpo"),
            rollout(1),
            step_with("grpo", 1, &[("reward", 0.5)]),
            checkpoint(1),
            rollout(2),
            step_with("grpo", 2, &[("reward", 0.75), ("kl", 0.01)]),
            RunEvent::Evaluation { stage: "grpo".to_owned(), step: 2, figures: figures.clone() },
            checkpoint(2),
            RunEvent::Warning { warning: "hot".to_owned(), count: 1 },
            RunEvent::Warning { warning: "hot".to_owned(), count: 2 },
            RunEvent::Finished { package: "/p".into(), secs: 7.0 },
        ],
    );
    let told = told(&mut follower);
    assert_eq!(told.listed, Listed::Known(RunState::Finished("/p".into())));
    assert_eq!(told.config.as_ref().unwrap().name, "a");
    let names: Vec<&str> = told.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["alignment", "grpo"]);
    let grpo = told.stage("grpo").unwrap();
    assert_eq!((grpo.planned, grpo.step(), grpo.latest("reward")), (100, 2, Some(0.75)));
    assert_eq!(values(grpo, "kl"), [None, Some(0.01)], "what was not measured is missing, not zero");
    assert_eq!(values(grpo, series::LOSS), [Some(10.0), Some(5.0)]);
    assert!(grpo.measures.values().all(|column| column.len() == 2));
    assert_eq!((grpo.evaluations[0].step, &grpo.evaluations[0].figures), (2, &figures));
    let checkpoint = CheckpointTold { stage: "grpo".to_owned(), step: 2, path: kept };
    assert_eq!(told.checkpoints, [checkpoint], "the run has removed the other one");
    assert_eq!((told.warnings.len(), told.warnings[0].count, told.secs), (1, 2, Some(7.0)));
    assert_eq!(told.rollouts.steps.len(), 2);
    assert!(told.rollouts.steps[0].file.is_absolute() && told.changed > 1_600_000_000);
    assert!(follower.poll().told.is_none(), "nothing is new");
}

#[test]
fn news_come_with_a_higher_version_and_leave_what_was_handed_over_as_it_was() {
    let (folder, mut follower) = run();
    write(folder.path(), &[stage("grpo"), step("grpo", 1)]);
    let first = told(&mut follower);
    add(folder.path(), lines(&[step("grpo", 2)]));
    let second = told(&mut follower);
    assert!(second.version > first.version);
    assert_eq!((first.stages[0].step(), second.stages[0].step()), (1, 2));
    let half = lines(&[step("grpo", 3)]);
    add(folder.path(), &half[..20]);
    // The time of the file may have changed, its events have not.
    let steps = follower.poll().told.map_or(2, |told| told.stages[0].step());
    assert_eq!(steps, 2, "half a line waits");
    add(folder.path(), &half[20..]);
    assert_eq!(told(&mut follower).stages[0].step(), 3);
}

#[test]
fn a_run_that_goes_on_from_a_checkpoint_has_each_step_once() {
    let (folder, mut follower) = run();
    let begin =
        [stage("grpo"), rollout(1), step("grpo", 1), rollout(2), step_with("grpo", 2, &[("kl", 1.0)])];
    let late = [rollout(3), step("grpo", 3), rollout(4), step("grpo", 4)];
    write(folder.path(), &[&begin[..], &late[..]].concat());
    assert_eq!(told(&mut follower).stages[0].step(), 4);
    // As the program does it: what came after the checkpoint is cut off.
    let resumed = RunEvent::Resumed { stage: "grpo".to_owned(), step: 2 };
    write(folder.path(), &[&begin[..], std::slice::from_ref(&resumed)].concat());
    let cut = told(&mut follower);
    assert_eq!((cut.stages[0].step(), cut.rollouts.steps.len()), (2, 2));
    // And where the file was not cut, steps that are told again take the place of the old ones.
    let again = [rollout(3), step_with("grpo", 3, &[("kl", 3.0)])];
    write(folder.path(), &[&begin[..], &late[..], &[resumed], &again[..]].concat());
    let twice = told(&mut follower);
    let grpo = &twice.stages[0];
    assert_eq!((grpo.step(), grpo.steps.len(), twice.rollouts.steps.len()), (3, 3, 3));
    assert_eq!(values(grpo, "kl"), [None, Some(1.0), Some(3.0)]);
    // Even without a word about it.
    add(folder.path(), lines(&[rollout(2), step_with("grpo", 2, &[("kl", 2.0)])]));
    let back = told(&mut follower);
    assert_eq!(values(&back.stages[0], "kl"), [None, Some(2.0)]);
    assert_eq!(back.rollouts.steps.iter().map(|known| known.step).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_loss_that_was_no_number_is_told_from_one_that_is_missing() {
    let (folder, mut follower) = run();
    let RunEvent::Step(good) = step_with("grpo", 1, &[("kl", f64::NAN)]) else { panic!("it is a step") };
    let bad = Step { loss: f64::NAN, ..good };
    write(folder.path(), &[stage("grpo"), RunEvent::Step(bad)]);
    let told = told(&mut follower);
    let grpo = told.stage("grpo").unwrap();
    assert_eq!(grpo.latest(series::LOSS), Some(f32::INFINITY));
    assert_eq!(grpo.latest("kl"), Some(f32::INFINITY));
    assert_eq!(grpo.latest("reward"), None);
}

#[test]
fn rubbish_among_the_events_is_counted_and_hides_nothing() {
    let (folder, mut follower) = run();
    write(folder.path(), &[stage("grpo"), step("grpo", 1)]);
    add(folder.path(), b"\xff\xfe\x00 rubbish\n\n{\"type\":\"step\",\"data\":{\"stage\":3}}\n");
    add(folder.path(), format!("{}\n", "ä".repeat(5000)));
    add(folder.path(), lines(&[step("grpo", 2), step("of tomorrow", 7)]));
    let told = told(&mut follower);
    let (count, last) = told.strange.as_ref().unwrap();
    assert_eq!((*count, last.chars().count()), (3, 301));
    assert_eq!(told.stage("grpo").unwrap().step(), 2);
    assert_eq!(told.stage("of tomorrow").map(|stage| (stage.planned, stage.step())), Some((0, 7)));
}

#[test]
fn a_stage_that_begins_again_begins_empty() {
    let (folder, mut follower) = run();
    write(folder.path(), &[stage("grpo"), rollout(1), step("grpo", 1), stage("grpo")]);
    let told = told(&mut follower);
    assert_eq!((told.stages.len(), told.stages[0].step(), told.rollouts.steps.len()), (1, 0, 0));
}

#[test]
fn what_a_run_waits_for_and_prepares_is_known_until_it_works() {
    let (folder, mut follower) = run();
    write(folder.path(), &[RunEvent::Waiting { run: "/other".into() }]);
    assert_eq!(told(&mut follower).waits_for.as_deref(), Some(Path::new("/other")));
    let progress = RunEvent::Progress { what: "features".to_owned(), done: 3, total: 9 };
    write(folder.path(), &[progress]);
    let preparing = told(&mut follower);
    let features = Progress { what: "features".to_owned(), done: 3, total: 9 };
    assert_eq!((preparing.waits_for.as_ref(), preparing.progress.as_ref()), (None, Some(&features)));
    add(folder.path(), lines(&[stage("grpo")]));
    assert_eq!(told(&mut follower).progress, None);
}

#[test]
fn a_run_that_never_began_shows_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("asked.toml"), CONFIG).unwrap();
    let mut follower = RunFollower::new(RunKey::new(folder.path().to_owned()));
    let asked = told(&mut follower);
    assert_eq!((&asked.listed, asked.config.as_ref().unwrap().name.as_str()), (&Listed::NeverBegan, "a"));
    std::fs::write(folder.path().join("config.toml"), CONFIG.replace("\"a\"", "\"resolved\"")).unwrap();
    let begun = told(&mut follower);
    assert_eq!(begun.listed, Listed::Known(RunState::Interrupted));
    assert_eq!(begun.config.as_ref().unwrap().name, "resolved");
    std::fs::remove_file(folder.path().join("asked.toml")).unwrap();
    std::fs::write(folder.path().join("config.toml"), "name = [").unwrap();
    let damaged = told(&mut follower);
    let fault = damaged.fault.as_ref().unwrap();
    assert!(fault.starts_with("The configuration is not valid") && fault.ends_with("config.toml"), "{fault}");
    assert_eq!(damaged.config.as_ref().unwrap().name, "resolved", "what was known is kept");
}

#[test]
fn a_folder_that_vanishes_leaves_what_was_known_and_a_sentence() {
    let (folder, mut follower) = run();
    write(folder.path(), &[stage("grpo"), step("grpo", 1)]);
    assert!(told(&mut follower).fault.is_none());
    std::fs::remove_dir_all(folder.path()).unwrap();
    let gone = told(&mut follower);
    assert!(matches!(gone.listed, Listed::Unreadable(_)));
    assert!(gone.fault.as_ref().unwrap().contains("is not there"), "{:?}", gone.fault);
    assert_eq!(gone.stages[0].step(), 1);
    assert!(follower.poll().told.is_none(), "it is said once");
    std::fs::create_dir(folder.path()).unwrap();
    std::fs::write(folder.path().join("config.toml"), CONFIG).unwrap();
    let back = told(&mut follower);
    assert!(back.fault.is_none() && back.stages.is_empty(), "another run is there now");
}

#[test]
fn samples_of_the_machine_are_thinned_but_the_newest_are_whole() {
    let (folder, mut follower) = run();
    let samples: Vec<String> = (0..10_000).map(|at| format!("{{\"at\":{at}}}\n")).collect();
    std::fs::write(folder.path().join("machine.jsonl"), samples.concat()).unwrap();
    let told = told(&mut follower);
    let ats: Vec<u64> = told.machine.iter().map(|sample| sample.at).collect();
    assert!(ats.len() <= MOST_SAMPLES && ats.len() > MOST_SAMPLES / 4, "{}", ats.len());
    assert!(ats.is_sorted() && ats[0] == 0);
    assert_eq!(
        ats[ats.len() - RECENT_SAMPLES..],
        (10_000 - RECENT_SAMPLES as u64..10_000).collect::<Vec<_>>()
    );
}
