//! The loop over the steps of a stage, the same for all three: update, events, evaluation, checkpoint, stop.
//!
//! What a step computes is the stage's own ([`Learner`]). A step is counted only when its update is done, and a
//! checkpoint is written only between updates, so that what is on the disk never lies between two.

mod context;
mod learner;
mod streaks;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use candle_core::Var;

use crate::checkpoint::{Best, Checkpoints, Loaded, Snapshot, State};
use crate::config::{OnTrouble, Optimisation};
use crate::error::{Error, Result};
use crate::event::{RowFigures, RunEvent, Step};
use crate::optimiser::AdamW;
use crate::policy::Policy;
use crate::rollout_record::RolloutRecord;

pub use self::context::{Context, Events, Watch};
pub use self::learner::{Learner, Outlook, Rehearsed, StepResult};

/// Answers held-out rows with a policy.
pub trait HeldOut {
    fn figures(&self, policy: &Policy, watch: &Watch<'_>) -> Result<RowFigures>;
}

/// What all stages of a run share.
pub struct Run<'a> {
    pub context: &'a Context,
    pub checkpoints: &'a Checkpoints,
    /// `None` where the configuration names no rows to evaluate.
    pub held_out: Option<&'a dyn HeldOut>,
}

/// Takes a stage to its end, from where `state` stands. `policy` is the one that entered the stage; `resumed` is the
/// checkpoint to go on from, where there is one within the stage.
///
/// At the end there is a checkpoint of the whole stage. An error leaves one of the last step, where it can.
///
/// # Errors
/// [`Error::Stopped`] when it was asked to stop.
pub fn train(
    run: &Run<'_>,
    learner: &mut dyn Learner,
    policy: &Policy,
    state: &mut State,
    resumed: Option<&Loaded>,
) -> Result<()> {
    learner.enter(policy)?;
    let mut stage = Stage::begin(run, learner, policy, state, resumed)?;
    let ended = stage.go();
    if ended.is_err() {
        stage.rescue();
    }
    ended
}

/// A stage on its way.
struct Stage<'a> {
    run: &'a Run<'a>,
    learner: &'a mut dyn Learner,
    policy: &'a Policy,
    state: &'a mut State,
    optimisation: Optimisation,
    optimiser: AdamW,
    /// Names of the variables that learn, in the optimiser's order.
    names: Vec<String>,
    begin: Instant,
    /// Seconds that the stage had taken before.
    secs_before: f64,
    /// The step of the latest checkpoint within the stage.
    saved: Option<usize>,
    is_checkpoint_due: bool,
    /// Whether variables, moments and events are those of `state.step`, which they are not in the midst of an update.
    is_whole: bool,
}

impl<'a> Stage<'a> {
    fn begin(
        run: &'a Run<'a>,
        learner: &'a mut dyn Learner,
        policy: &'a Policy,
        state: &'a mut State,
        resumed: Option<&Loaded>,
    ) -> Result<Self> {
        let optimisation = learner.optimisation().clone();
        let learning = learner.learning(policy);
        let name = |(var, _): &(Var, f64)| {
            let own = policy.vars.iter().find(|(_, own)| own.id() == var.id());
            own.map(|(name, _)| name.clone()).ok_or_else(|| {
                Error::Features(format!("a variable that {} trains is none of the policy's", learner.name()))
            })
        };
        let names = learning.iter().map(name).collect::<Result<_>>()?;
        let mut stage = Self {
            optimiser: AdamW::new(learning, &optimisation),
            begin: Instant::now(),
            secs_before: state.secs,
            saved: None,
            is_checkpoint_due: false,
            is_whole: true,
            run,
            learner,
            policy,
            state,
            optimisation,
            names,
        };
        match resumed {
            Some(loaded) => stage.restore(loaded)?,
            None => run.context.send(&RunEvent::Stage {
                stage: stage.state.stage.clone(),
                steps: stage.optimisation.steps,
            })?,
        }
        Ok(stage)
    }

    fn restore(&mut self, loaded: &Loaded) -> Result<()> {
        loaded.restore(&self.policy.vars)?;
        let moments = self.names.iter().map(|name| {
            let missing = || Error::Checkpoint {
                reason: format!("it has no moments of {name}"),
                path: loaded.path.clone(),
            };
            loaded.moments.get(name).cloned().ok_or_else(missing)
        });
        self.optimiser.restore(loaded.state.updates, moments.collect::<Result<_>>()?)?;
        self.saved = Some(self.state.step);
        Ok(())
    }

    fn go(&mut self) -> Result<()> {
        // What an earlier process was stopped before.
        self.take_care()?;
        while self.state.step < self.optimisation.steps {
            if self.may_pause() && self.watch().is_stopped() {
                return Err(Error::Stopped);
            }
            self.step()?;
            self.take_care()?;
        }
        if self.saved != Some(self.state.step) {
            self.is_checkpoint_due = true;
            self.take_care()?;
        }
        Ok(())
    }

    fn watch(&self) -> Watch<'a> {
        self.run.context.watch()
    }

    /// Whether a run could go on from here: not in the midst of several updates from the same answers.
    fn may_pause(&self) -> bool {
        let step = self.state.step;
        step == 0 || step >= self.optimisation.steps || self.learner.may_pause_after(step - 1)
    }

    /// One step with its events.
    fn step(&mut self) -> Result<()> {
        let (step, watch) = (self.state.step, self.watch());
        let StepResult { gradients, measures, rollouts, warnings } =
            self.learner.step(step, self.policy, &watch)?;
        let loss = gradients.loss;
        for warning in warnings {
            self.run.context.warn(&warning)?;
        }
        let learning_rate = self.optimisation.rate(step);
        let mut gradient_norm = f64::NAN;
        if loss.is_finite() {
            self.is_whole = false;
            // Changes nothing when the norm is no number.
            gradient_norm = self.optimiser.update(&gradients, learning_rate)?;
            self.is_whole = !gradient_norm.is_finite();
        }
        if !gradient_norm.is_finite() {
            self.not_a_number()?;
        }
        self.is_whole = false;
        self.state.step += 1;
        self.state.updates = self.optimiser.step();
        self.write_rollouts(&rollouts)?;
        if gradient_norm.is_finite() {
            let secs = self.secs();
            let stage = self.state.stage.clone();
            let step = step + 1;
            let step = Step { stage, step, loss, learning_rate, gradient_norm, secs, measures };
            self.run.context.send(&RunEvent::Step(step))?;
        }
        self.note_what_is_due();
        self.is_whole = true;
        self.watch_rewards(&rollouts)
    }

    fn secs(&self) -> f64 {
        self.secs_before + self.begin.elapsed().as_secs_f64()
    }

    /// A loss or gradient that is no number: the run stops before the update, or leaves it out.
    fn not_a_number(&self) -> Result<()> {
        let (stage, step) = (self.state.stage.clone(), self.state.step + 1);
        match self.run.context.config.trouble.not_a_number {
            OnTrouble::Stop => Err(Error::NotANumber { stage, step }),
            OnTrouble::Warn => self.run.context.warn(
                "The loss or its gradient was not a number; the update was left out. A smaller learning rate helps.",
            ),
        }
    }

    fn write_rollouts(&self, rollouts: &[RolloutRecord]) -> Result<()> {
        if rollouts.is_empty() {
            return Ok(());
        }
        let folder = self.run.context.folder.rollouts();
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let (stage, step) = (self.state.stage.clone(), self.state.step);
        let path = folder.join(format!("{}.jsonl", self.state.name()));
        let write = || -> std::io::Result<()> {
            let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
            for rollout in rollouts {
                serde_json::to_writer(&mut file, rollout)?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        write().map_err(Error::io(&path))?;
        let file = path.strip_prefix(self.run.context.folder.path()).unwrap_or(&path).to_owned();
        self.run.context.send(&RunEvent::Rollout { stage, step, file, questions: rollouts.len() })
    }

    /// Notes that an evaluation or a checkpoint is due after this step; they wait until the run may pause.
    fn note_what_is_due(&mut self) {
        let (step, config) = (self.state.step, &self.run.context.config);
        let is_end = step >= self.optimisation.steps;
        let is_due = |every: usize| is_end || (every > 0 && step.is_multiple_of(every));
        self.state.is_evaluation_due |= self.run.held_out.is_some() && is_due(config.evaluation.every);
        self.is_checkpoint_due |= is_due(config.checkpoints.every);
    }

    /// All answers of a batch without reward, or cut off, too often in a row.
    fn watch_rewards(&mut self, rollouts: &[RolloutRecord]) -> Result<()> {
        let rule = &self.run.context.config.trouble;
        for trouble in streaks::observe(&mut self.state.streaks, rollouts, rule.patience) {
            if trouble.rule(rule) == OnTrouble::Stop {
                let (stage, step) = (self.state.stage.clone(), self.state.step);
                let setting = trouble.setting();
                return Err(Error::Trouble { trouble: trouble.to_string(), setting, stage, step });
            }
            self.run.context.warn(&format!("{trouble}."))?;
        }
        Ok(())
    }

    /// Does what is due, where the run may pause: held-out rows are answered, then a checkpoint is written.
    fn take_care(&mut self) -> Result<()> {
        if !self.may_pause() {
            return Ok(());
        }
        if let Some(held_out) = self.run.held_out.filter(|_| self.state.is_evaluation_due) {
            let figures = held_out.figures(self.policy, &self.watch())?;
            self.state.is_evaluation_due = false;
            let is_kept = self.note_the_best(&figures) && self.run.context.config.checkpoints.keep_best;
            // One that is there already says that rows are to be answered: a run that goes on from it does so again.
            self.is_checkpoint_due |= is_kept && self.saved != Some(self.state.step);
            let (stage, step) = (self.state.stage.clone(), self.state.step);
            self.run.context.send(&RunEvent::Evaluation { stage, step, figures })?;
        }
        if self.is_checkpoint_due {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Whether it is the best so far.
    fn note_the_best(&mut self, figures: &RowFigures) -> bool {
        let is_best = self.state.best.as_ref().is_none_or(|best| figures.accuracy > best.accuracy);
        if is_best && figures.n > 0 {
            self.state.best = Some(Best { checkpoint: self.state.name(), accuracy: figures.accuracy });
        }
        is_best && figures.n > 0
    }

    fn checkpoint(&mut self) -> Result<()> {
        let context = self.run.context;
        self.state.secs = self.secs();
        self.state.warnings = context.warnings();
        self.state.events = context.sync_events()?;
        let snapshot = Snapshot {
            vars: &self.policy.vars,
            lora: &context.config.lora,
            learning: &self.names,
            moments: self.optimiser.moments(),
        };
        self.run.checkpoints.write(self.state, &snapshot)?;
        self.saved = Some(self.state.step);
        self.is_checkpoint_due = false;
        context.send_checkpoint(self.state)?;
        self.run.checkpoints.keep(&context.config.checkpoints, self.state)
    }

    /// A checkpoint before the end of a run that stops or fails, where there is something to save and it can be saved.
    fn rescue(&mut self) {
        let is_new = self.state.step > 0 && self.saved != Some(self.state.step);
        if !(is_new && self.is_whole && self.may_pause()) {
            return;
        }
        if let Err(error) = self.checkpoint() {
            tracing::error!("the last steps are lost: {error}");
        }
    }
}

/// Measures by name.
pub type Measures = BTreeMap<String, f64>;

#[cfg(test)]
mod tests;
