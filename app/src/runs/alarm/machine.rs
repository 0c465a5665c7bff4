//! Alarms of the machine that a run has: nothing is written, a GPU has nothing to do, the disk is nearly full.

use reinpath_training::machine::MachineSample;
use serde_json::json;

use super::stretch::{mean, median};
use super::{Alarm, AlarmKind, Sight};
use crate::runs::told::{RunTold, StageTold, series};

/// Nothing was written for so many seconds. Loading a large model takes minutes.
const SILENT: f32 = 120.0;
/// And for so many times a step: checkpoints and evaluations take as long as several.
const SILENT_STEPS: f32 = 20.0;
/// Steps of which the usual length is taken.
const STEPS: usize = 20;
/// A GPU that computes in less of the time than this is not what the run waits for.
const IDLE: f32 = 0.1;
const IDLE_SECS: u64 = 60;
/// Looks at the machine in that time; fewer may all have met the same pause.
const LOOKS: usize = 10;
/// A checkpoint of a large model's adapters takes as much.
const DISK_FULL: u64 = 2_000_000_000;

/// The process lives and says nothing.
pub(super) fn silent(told: &RunTold, now: u64) -> Option<Alarm> {
    if !told.is_running() || told.waits_for.is_some() {
        return None;
    }
    let (step, step_secs) = match Sight::of(told) {
        Some(sight) => (sight.stage.step(), usual_step(&sight)),
        None => (0, None),
    };
    let patience = step_secs.map_or(SILENT, |secs| SILENT.max(SILENT_STEPS * secs));
    let silence = now.saturating_sub(told.changed);
    if silence as f32 <= patience {
        return None;
    }
    let usual = step_secs.map_or_else(String::new, |secs| format!(", and a step takes about {secs:.1} s"));
    Some(Alarm {
        kind: AlarmKind::Silent,
        stage: told.current_stage().map(|stage| stage.name.clone()).unwrap_or_default(),
        since: step,
        sentence: format!("The run has told nothing for {}{usual}.", in_words(silence)),
        cure:
            "See the end of its log; an evaluation can take as long. If it hangs, stop or kill it and resume."
                .to_owned(),
        setting: None,
    })
}

/// The median length of the last steps in seconds.
fn usual_step(sight: &Sight<'_>) -> Option<f32> {
    let secs = sight.last(series::SECS, STEPS + 1)?.values;
    let lengths: Vec<f32> = secs.windows(2).map(|pair| pair[1] - pair[0]).collect();
    Some(median(&lengths)).filter(|secs| secs.is_finite() && *secs > 0.0)
}

/// The GPU that the run computes on has nothing to do, though a stage is at work.
pub(super) fn gpu_idle(sight: &Sight<'_>, told: &RunTold, now: u64) -> Option<Alarm> {
    let device = &sight.config?.compute.device;
    let index = cuda_index(device)?;
    if !told.is_running() || told.waits_for.is_some() || sight.stage.steps.is_empty() {
        return None;
    }
    let of_gpu =
        |sample: &MachineSample| sample.gpus.iter().find(|gpu| gpu.index == index).and_then(|gpu| gpu.load);
    let newest = told.machine.iter().rev().take_while(|sample| now.saturating_sub(sample.at) <= IDLE_SECS);
    let loads: Vec<f32> = newest.filter_map(of_gpu).collect();
    let is_idle = loads.len() >= LOOKS && loads.iter().all(|load| *load < IDLE);
    let micro_batch = sight.optimisation().map(|optimisation| optimisation.micro_batch);
    is_idle.then(|| {
        let share = 100.0 * mean(&loads);
        // 0 is the whole batch: nothing larger goes through at once.
        let setting = micro_batch
            .filter(|size| *size > 0)
            .map(|size| sight.of_optimisation("micro_batch", json!(2 * size)));
        sight.alarm(
            AlarmKind::GpuIdle,
            sight.stage.step(),
            format!("{device} computed in {share:.0} % of the last {IDLE_SECS} s."),
            "Give it more at once; see whether the processors or the disk are busy instead.",
            setting,
        )
    })
}

/// The number of a GPU as in `cuda:1`; `cuda` is the first.
fn cuda_index(device: &str) -> Option<u32> {
    match device.strip_prefix("cuda")? {
        "" => Some(0),
        rest => rest.strip_prefix(':')?.parse().ok(),
    }
}

/// Of a run whose disk has so many bytes free.
pub fn disk_full(told: &RunTold, free: u64) -> Option<Alarm> {
    if !told.is_running() || free >= DISK_FULL {
        return None;
    }
    let stage = told.current_stage();
    let keeps_more = told.config.as_ref().is_some_and(|config| config.checkpoints.keep_last > 1);
    Some(Alarm {
        kind: AlarmKind::DiskFull,
        stage: stage.map(|stage| stage.name.clone()).unwrap_or_default(),
        since: stage.map_or(0, StageTold::step),
        sentence: format!("The run's disk has {:.1} GB left.", free as f64 / 1e9),
        cure: "Make room; a run whose disk is full stops at its last checkpoint and can be resumed."
            .to_owned(),
        setting: keeps_more.then(|| ("checkpoints.keep_last".to_owned(), json!(1))),
    })
}

/// `4 min`
fn in_words(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / 60),
        _ => format!("{} h", secs / 3600),
    }
}
