//! What is going wrong in a run: pure functions of what it told, each alarm a sentence with the setting that would help.
//!
//! An alarm looks at a stretch of the newest steps and at the newest one of all, so that one whose reason is gone goes too. What
//! each looks at has a bound: the window thread asks after every change of a run of any length. Where a threshold comes from is
//! said beside it; all are rules of thumb.

use reinpath_training::config::{Optimisation, RunConfig};
use reinpath_training::rollout_record::RolloutRecord;
use serde_json::{Value, json};

use super::told::{RunTold, StageTold};

mod learning;
mod machine;
mod stretch;
mod text;

pub use self::machine::disk_full;

/// Something that deserves attention.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    pub kind: AlarmKind,
    /// `alignment`, `cold_start` or `grpo`.
    pub stage: String,
    /// The first step of the stretch in which it holds.
    pub since: usize,
    /// What is seen, with its number.
    pub sentence: String,
    /// What would help, as a sentence.
    pub cure: String,
    /// The setting that the cure names, as in `grpo.max_tokens`, and a value to try; the form can take both.
    pub setting: Option<(String, serde_json::Value)>,
}

/// What can go wrong, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// No event for long, though the process lives.
    Silent,
    /// A step whose loss or gradient was no finite number. `reinpath-train` tells of no such step: it ends before the update, or
    /// leaves it out and warns (`trouble.not_a_number`). Events of other programs may, with `null` in the place of the number.
    NotANumber,
    AllCutOff,
    NoSpread,
    KlRunsAway,
    EntropyCollapses,
    EntropyExplodes,
    Degenerate,
    Gaming,
    LossRises,
    GpuIdle,
    DiskFull,
}

/// All alarms of a run now (`now` in seconds since 1970), the worst first. `records` are the newest rollouts; empty where they are
/// not read.
pub fn alarms(told: &RunTold, records: &[RolloutRecord], now: u64) -> Vec<Alarm> {
    let mut found: Vec<Alarm> = machine::silent(told, now).into_iter().collect();
    if let Some(sight) = Sight::of(told) {
        found.extend(learning::alarms(&sight));
        found.extend(text::degenerate(&sight, records));
        found.extend(machine::gpu_idle(&sight, told, now));
    }
    found.sort_by_key(|alarm| alarm.kind);
    found
}

/// The stage at work, or the last one that was, with the settings of the run.
struct Sight<'a> {
    stage: &'a StageTold,
    config: Option<&'a RunConfig>,
}

/// A setting and a value to try.
type Setting = Option<(String, Value)>;

impl<'a> Sight<'a> {
    /// `None` before the first stage.
    fn of(told: &'a RunTold) -> Option<Self> {
        Some(Self { stage: told.current_stage()?, config: told.config.as_deref() })
    }

    fn alarm(
        &self,
        kind: AlarmKind,
        since: usize,
        sentence: String,
        cure: impl Into<String>,
        setting: Setting,
    ) -> Alarm {
        Alarm { kind, stage: self.stage.name.clone(), since, sentence, cure: cure.into(), setting }
    }

    fn optimisation(&self) -> Option<&Optimisation> {
        let config = self.config?;
        match self.stage.name.as_str() {
            "alignment" => config.alignment.as_ref().map(|stage| &stage.optimisation),
            "cold_start" => config.cold_start.as_ref().map(|stage| &stage.optimisation),
            "grpo" => config.grpo.as_ref().map(|stage| &stage.optimisation),
            _ => None,
        }
    }

    /// A setting of the stage's optimisation.
    fn of_optimisation(&self, key: &str, value: Value) -> (String, Value) {
        (format!("{}.optimisation.{key}", self.stage.name), value)
    }

    /// The stage's learning rate, so many times smaller.
    fn slower(&self, times: f64) -> Setting {
        let rate = short(self.optimisation()?.learning_rate / times);
        Some(self.of_optimisation("learning_rate", json!(rate)))
    }
}

/// A number with two digits, as a person would choose it.
fn short(value: f64) -> f64 {
    format!("{value:.1e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests;
