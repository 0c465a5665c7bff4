//! What each event of a run changes in what is known of it.

use std::path::Path;
use std::sync::Arc;

use reinpath_training::event::{RunEvent, Step};

use crate::runs::column::Column;
use crate::runs::rollouts::{RolloutIndex, RolloutStep};
use crate::runs::told::{CheckpointTold, EvaluationTold, Progress, RunTold, StageTold, WarningTold, series};

/// Warnings that are kept, the latest.
const MOST_WARNINGS: usize = 100;
/// Letters that are kept of a line that is no event.
const MOST_LETTERS: usize = 300;
/// Measures of a stage: far more than any run has, so that rubbish does not fill the memory.
const MOST_MEASURES: usize = 128;
/// Stages of a run, for the same reason.
const MOST_STAGES: usize = 32;

impl RunTold {
    /// Forgets what came from events, as they are told anew.
    pub(super) fn forget_events(&mut self) {
        self.waits_for = None;
        self.stages.clear();
        self.progress = None;
        self.checkpoints.clear();
        self.warnings.clear();
        self.rollouts = Arc::default();
        self.strange = None;
        self.secs = None;
    }

    /// Takes in an event of the run in this folder.
    pub(super) fn take(&mut self, event: RunEvent, folder: &Path) {
        if !matches!(event, RunEvent::Warning { .. }) {
            self.waits_for = None;
        }
        match event {
            RunEvent::Waiting { run } => self.waits_for = Some(run),
            RunEvent::Progress { what, done, total } => {
                self.progress = Some(Progress { what, done, total });
            }
            RunEvent::Resumed { stage, step } => self.cut(&stage, step.saturating_add(1)),
            RunEvent::Stage { stage, steps } => self.begin_stage(stage, steps),
            RunEvent::Step(step) => self.take_step(&step),
            RunEvent::Rollout { stage, step, file, questions } => {
                let rollouts = Arc::make_mut(&mut self.rollouts);
                drop_rollouts_from(rollouts, &stage, step);
                rollouts.steps.push(RolloutStep { stage, step, file: folder.join(file), questions });
            }
            RunEvent::Evaluation { stage, step, figures } => {
                if let Some(stage) = self.stage_mut(&stage) {
                    stage.evaluations.retain(|known| known.step < step);
                    stage.evaluations.push(EvaluationTold { step, figures });
                }
            }
            RunEvent::Checkpoint { stage, step, path } => {
                let path = folder.join(path);
                self.checkpoints.retain(|known| known.path != path);
                self.checkpoints.push(CheckpointTold { stage, step, path });
            }
            RunEvent::Warning { warning, count } => self.warn(warning, count),
            RunEvent::Finished { secs, .. } => {
                self.progress = None;
                self.secs = Some(secs);
            }
            // How it ended is its state, which is read from its folder.
            RunEvent::Stopped { .. } | RunEvent::Failed { .. } => self.progress = None,
            // The configuration is read from its file, and the rest is told of other programs' work.
            RunEvent::Started { .. }
            | RunEvent::Measured { .. }
            | RunEvent::Finding(_)
            | RunEvent::Rehearsal(_) => {}
        }
    }

    /// Takes note of a line that is no event.
    pub(super) fn note_strange(&mut self, line: &str) {
        let mut shown: String = line.chars().take(MOST_LETTERS).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        let count = self.strange.as_ref().map_or(0, |(count, _)| *count);
        self.strange = Some((count + 1, shown));
    }

    /// A stage begins, or does so again.
    fn begin_stage(&mut self, name: String, planned: usize) {
        self.progress = None;
        self.stages.retain(|stage| stage.name != name);
        drop_rollouts_from(Arc::make_mut(&mut self.rollouts), &name, 0);
        if self.stages.len() < MOST_STAGES {
            self.stages.push(StageTold { name, planned, ..StageTold::default() });
        }
    }

    fn take_step(&mut self, step: &Step) {
        self.progress = None;
        let number = step.step;
        if let Some(stage) = self.stage_mut(&step.stage) {
            // A step's rollouts come before it, so that they are not cut here.
            if number <= stage.step() {
                stage.cut(number);
            }
            stage.push(step);
        }
    }

    /// The stage of a name, which is begun where it is not known: its begin may have been no line that could be read.
    fn stage_mut(&mut self, name: &str) -> Option<&mut StageTold> {
        if self.stage(name).is_none() {
            self.begin_stage(name.to_owned(), 0);
        }
        self.stages.iter_mut().find(|stage| stage.name == name)
    }

    /// Forgets the steps of a stage from this one on.
    fn cut(&mut self, stage: &str, from: usize) {
        drop_rollouts_from(Arc::make_mut(&mut self.rollouts), stage, from);
        if let Some(stage) = self.stages.iter_mut().find(|known| known.name == stage) {
            stage.cut(from);
        }
    }

    fn warn(&mut self, sentence: String, count: usize) {
        self.warnings.retain(|known| known.sentence != sentence);
        self.warnings.push(WarningTold { sentence, count });
        if self.warnings.len() > MOST_WARNINGS {
            self.warnings.remove(0);
        }
    }
}

impl StageTold {
    /// Adds a row to all columns.
    fn push(&mut self, step: &Step) {
        self.steps.push(step.step as f32);
        let rows = self.steps.len();
        let of_all = [
            (series::LOSS, step.loss),
            (series::LEARNING_RATE, step.learning_rate),
            (series::GRADIENT_NORM, step.gradient_norm),
            (series::SECS, step.secs),
        ];
        let of_some = step.measures.iter().map(|(name, value)| (name.as_str(), *value));
        for (name, value) in of_all.into_iter().chain(of_some) {
            self.put(name, kept(value), rows);
        }
        for column in self.measures.values_mut().filter(|column| column.len() < rows) {
            column.push(f32::NAN);
        }
    }

    /// Puts a value into the last of `rows` rows.
    fn put(&mut self, name: &str, value: f32, rows: usize) {
        if let Some(column) = self.measures.get_mut(name) {
            // A measure that is named as one of those that all steps have is not that one.
            if column.len() < rows {
                column.push(value);
            }
        } else if self.measures.len() < MOST_MEASURES {
            let mut column = Column::missing(rows - 1);
            column.push(value);
            self.measures.insert(name.to_owned(), column);
        }
    }

    fn cut(&mut self, from: usize) {
        self.evaluations.retain(|evaluation| evaluation.step < from);
        // Nearly always nothing, or a few of the last.
        let mut rows = self.steps.len();
        while rows > 0 && self.steps.get(rows - 1).is_some_and(|step| step as usize >= from) {
            rows -= 1;
        }
        self.steps.truncate(rows);
        for column in self.measures.values_mut() {
            column.truncate(rows);
        }
    }
}

/// A value as a column keeps it: infinite where it is no finite number, as NaN stands for one that is missing.
fn kept(value: f64) -> f32 {
    let value = value as f32;
    if value.is_finite() { value } else { f32::INFINITY }
}

fn drop_rollouts_from(rollouts: &mut RolloutIndex, stage: &str, from: usize) {
    // They are in order, so that most often the last one tells that there is nothing to do.
    let is_kept = |known: &RolloutStep| known.stage != stage || known.step < from;
    if from == 0 || rollouts.steps.last().is_some_and(|known| !is_kept(known)) {
        rollouts.steps.retain(is_kept);
    }
}
