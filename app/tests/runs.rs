//! A long run as the training tab reads it: 200,000 steps and 20,000 rollouts, in time and memory that a window can afford; and
//! what is read of it on demand.

#![expect(clippy::unwrap_used, reason = "tests panic where something is wrong")]

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reinpath::runs::RunKey;
use reinpath::runs::column::{BLOCK, Block, Column};
use reinpath::runs::follower::{Followed, RunFollower};
use reinpath::runs::told::{RunTold, series};
use reinpath::runs::{list, log, rollouts};
use reinpath_model::event::Stop;
use reinpath_training::event::{RunEvent, Step, measure};
use reinpath_training::rollout_record::{AnswerRecord, RolloutRecord};

const CONFIG: &str =
    "name = \"long\"\nseed = 1\nbase = \"/b\"\n[grpo]\ndata = [{ folder = \"/d\" }]\noptimisation = {}\n";

/// Steps of each stage.
const STAGES: [(&str, usize); 3] = [("alignment", 80_000), ("cold_start", 80_000), ("grpo", 40_000)];
/// One in so many steps of GRPO has rollouts.
const ROLLOUTS_EVERY: usize = 2;
/// And one in so many has its rollouts there as a file.
const FILES_EVERY: usize = 2_000;

/// What a step of GRPO measures.
const MEASURES: [&str; 17] = [
    measure::TOKENS,
    measure::REWARD,
    measure::REWARD_FORMAT,
    measure::REWARD_ACCURACY,
    measure::REWARD_SEMANTIC,
    measure::REWARD_REPETITION,
    measure::REWARD_OVERLONG,
    measure::REWARD_SPREAD,
    measure::NO_SPREAD,
    measure::ACCURACY,
    measure::KL,
    measure::ENTROPY,
    measure::CLIPPED,
    measure::LENGTH,
    measure::CUT_OFF,
    measure::ROLLOUT_SECS,
    measure::UPDATE_SECS,
];

/// A figure that changes with the step.
fn figure(step: usize, n: usize) -> f64 {
    ((step * (n + 3)) as f64 * 0.001).sin()
}

fn step(stage: &str, step: usize) -> RunEvent {
    let measured = if stage == "grpo" { &MEASURES[..] } else { &MEASURES[..1] };
    RunEvent::Step(Step {
        stage: stage.to_owned(),
        step,
        loss: figure(step, 100),
        learning_rate: 1e-4,
        gradient_norm: figure(step, 101).abs(),
        secs: step as f64 * 1.5,
        measures: measured
            .iter()
            .enumerate()
            .map(|(n, name)| ((*name).to_owned(), figure(step, n)))
            .collect(),
    })
}

fn record(step: usize, row: &str) -> RolloutRecord {
    let answer = AnswerRecord {
        text: format!("[Observation]\nStep {step}.\n[Conclusion]\nA) it"),
        tokens: 12,
        stop: Stop::End,
        logprob: -3.0,
        rewards: [("format".to_owned(), 1.0)].into(),
        reward: figure(step, 1),
        advantage: 0.5,
        is_right: true,
    };
    RolloutRecord {
        stage: "grpo".to_owned(),
        step,
        row: row.to_owned(),
        images: vec!["img/1.png".to_owned()],
        question: "What is it?".to_owned(),
        reference: "A) it".to_owned(),
        answers: vec![answer; 4],
        ..RolloutRecord::default()
    }
}

/// Writes the folder of a run that has finished.
fn write_long_run(folder: &Path) {
    fs::create_dir_all(folder.join("rollouts")).unwrap();
    fs::write(folder.join("config.toml"), CONFIG).unwrap();
    let mut events = BufWriter::new(fs::File::create(folder.join("events.jsonl")).unwrap());
    let mut tell = |event: &RunEvent| {
        serde_json::to_writer(&mut events, event).unwrap();
        events.write_all(b"\n").unwrap();
    };
    for (stage, steps) in STAGES {
        tell(&RunEvent::Stage { stage: stage.to_owned(), steps });
        for number in 1..=steps {
            if stage == "grpo" && number % ROLLOUTS_EVERY == 0 {
                let file = format!("rollouts/grpo-{number}.jsonl");
                if number % FILES_EVERY == 0 {
                    let rows = ["r1", "r2"].map(|row| serde_json::to_string(&record(number, row)).unwrap());
                    fs::write(folder.join(&file), rows.join("\n")).unwrap();
                }
                let (stage, file) = (stage.to_owned(), file.into());
                tell(&RunEvent::Rollout { stage, step: number, file, questions: 2 });
            }
            tell(&step(stage, number));
        }
    }
    tell(&RunEvent::Finished { package: folder.join("package"), secs: 1000.0 });
    events.flush().unwrap();
    let lines: Vec<String> = (0..50_000).map(|n| format!("2026-01-01T00:00:00Z  INFO line {n}\n")).collect();
    fs::write(folder.join("log.txt"), lines.concat()).unwrap();
}

/// Bytes of all columns.
fn size_of_columns(told: &RunTold) -> usize {
    let columns = told.stages.iter().flat_map(|stage| stage.measures.values().chain([&stage.steps]));
    columns.map(|column: &Column| column.len().div_ceil(BLOCK) * size_of::<Block>()).sum()
}

/// Holds a time against its bound in a release build (`cargo test --release -p reinpath --test runs`): what is not optimised,
/// on a machine that does other things, says nothing about it.
fn is_in_time(what: &str, begin: Instant, bound: Duration) {
    let took = begin.elapsed();
    assert!(cfg!(debug_assertions) || took < bound, "{what} took {took:?}");
}

#[test]
fn a_run_of_200_000_steps_opens_in_time_and_in_little_memory() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("long");
    write_long_run(&folder);

    let begin = Instant::now();
    let listed = list::find(Some(place.path()), &[]);
    assert_eq!(listed.len(), 1);
    is_in_time("listing", begin, Duration::from_millis(50));

    let begin = Instant::now();
    let mut follower = RunFollower::new(RunKey::new(folder));
    let mut told: Option<Arc<RunTold>> = None;
    let mut snapshots = 0;
    loop {
        let Followed { told: news, has_more } = follower.poll();
        if news.is_some() {
            snapshots += 1;
            if snapshots == 1 {
                is_in_time("the first snapshot", begin, Duration::from_millis(200));
            }
            told = news;
        }
        if !has_more {
            break;
        }
    }
    is_in_time("all of it", begin, Duration::from_secs(2));
    assert!(snapshots > 5, "it is shown while it is read: {snapshots}");

    let told = told.unwrap();
    for (stage, steps) in STAGES {
        let stage = told.stage(stage).unwrap();
        assert_eq!((stage.step(), stage.steps.len(), stage.planned), (steps, steps, steps));
        assert!(stage.measures.values().all(|column| column.len() == steps));
        let loss = stage.measure(series::LOSS).unwrap();
        let (found, told) = (loss.get(steps / 2).unwrap(), figure(steps / 2 + 1, 100) as f32);
        assert!((found - told).abs() < 1e-6, "{found} instead of {told}");
    }
    assert_eq!(told.stage("grpo").unwrap().measures.len(), 4 + MEASURES.len());
    assert_eq!(told.rollouts.steps.len(), 20_000);
    let bytes = size_of_columns(&told);
    assert!(bytes < 100 << 20, "{} MiB", bytes >> 20);

    reads_on_demand(&told);
}

/// What a click on a long run reads.
fn reads_on_demand(told: &RunTold) {
    let begin = Instant::now();
    let near = told.rollouts.nearest("grpo", 2_001).unwrap();
    assert_eq!((near.step, told.rollouts.place("grpo", 2_000)), (2_000, Some(999)));
    is_in_time("a place", begin, Duration::from_millis(4));
    let records = rollouts::read(near).unwrap();
    assert_eq!(records.iter().map(|record| record.row.as_str()).collect::<Vec<_>>(), ["r1", "r2"]);

    let there: Vec<rollouts::RolloutStep> =
        told.rollouts.steps.iter().filter(|step| step.step % FILES_EVERY == 0).cloned().collect();
    let history = rollouts::history(&there, "r2", 10).unwrap();
    assert_eq!((history.records.len(), history.left_out), (10, 10));
    assert!(history.records.iter().all(|record| record.row == "r2"));

    let begin = Instant::now();
    let page = log::page(told.key.folder(), "").unwrap();
    is_in_time("the log", begin, Duration::from_millis(20));
    assert_eq!(page.lines.last().map(|line| line.text.ends_with("line 49999")), Some(true));
    assert!(page.bytes_before > 0 && page.lines.len() == 2_000);
    assert_eq!(log::page(told.key.folder(), "line 4999").unwrap().found, Some(11));
}
