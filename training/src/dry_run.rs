//! A run looked through before its first step: whether its data are there and fit, what a step will be, the memory and
//! disk it needs against what is free, and rewards on real rows: of the reference answers, and of answers that the policy
//! writes. Each finding is a sentence, with what to do about it.
//!
//! The numbers of memory are estimates, from the formulas of `need.rs`; the model itself is loaded, so that its share is
//! measured. Nothing is written but the features of images, which the run uses too.

mod need;
mod rehearsal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reinpath_model::device;
use reinpath_model::package;

use self::need::Shape;
use crate::config::RunConfig;
use crate::disk;
use crate::error::{Error, Result};
use crate::event::{EventSink, Finding, RunEvent};
use crate::policy::Policy;
use crate::run_folder::{RunFolder, RunState};
use crate::three_stages::{first_stage, has_begun, images, learners, load, policy, started, stop};
use crate::trainer::{Context, Events, Learner, Outlook};

/// Looks through a run and tells its findings on stdout; returns whether the run could begin.
///
/// # Errors
/// [`Error::Stopped`] when it was asked to stop; everything else that is wrong is a finding.
pub fn dry_run(config: RunConfig, folder: &RunFolder, asked: &Arc<AtomicBool>) -> Result<bool> {
    let events = Arc::new(Events::new(EventSink::to_stdout(), BTreeMap::new()));
    let config = config.absolute()?;
    events.send(&started(&config, folder)?)?;
    let mut report = Report { events: Arc::clone(&events), is_good: true };
    report.folder(folder)?;
    let looked = first_stage(&config).and_then(|_| {
        let context = load(config, folder, events, stop(folder, asked))?;
        report.run(&context)
    });
    match looked {
        Err(Error::Stopped) => return Err(Error::Stopped),
        Err(error) => report.fatal(&error)?,
        Ok(()) => {}
    }
    Ok(report.is_good)
}

/// What was found so far.
struct Report {
    events: Arc<Events>,
    /// Whether the run could begin.
    is_good: bool,
}

impl Report {
    fn tell(&mut self, finding: Finding) -> Result<()> {
        self.is_good &= !finding.is_fatal;
        self.events.send(&RunEvent::Finding(finding))
    }

    /// Nothing is wrong.
    fn good(&mut self, finding: String) -> Result<()> {
        self.tell(Finding { finding, cure: None, is_fatal: false })
    }

    /// The run may fail, or not do what is expected of it.
    fn doubtful(&mut self, finding: String, cure: &str) -> Result<()> {
        self.tell(Finding { finding, cure: Some(cure.to_owned()), is_fatal: false })
    }

    /// The run would fail.
    fn fatal(&mut self, error: &Error) -> Result<()> {
        let cure = cure(error).map(str::to_owned);
        self.tell(Finding { finding: error.to_string(), cure, is_fatal: true })
    }

    fn folder(&mut self, folder: &RunFolder) -> Result<()> {
        if let Ok(RunState::Running(holder)) = folder.state() {
            let by = holder.pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
            return self.fatal(&Error::Locked { by, path: folder.path().to_owned() });
        }
        match has_begun(folder) {
            Ok(true) => self.fatal(&Error::RunExists(folder.path().to_owned())),
            Ok(false) => self.good(format!("The run folder is free: {}", folder.path().display())),
            Err(error) => self.fatal(&error),
        }
    }

    fn run(&mut self, context: &Context) -> Result<()> {
        let policy = policy(context)?;
        self.model(context, &policy)?;
        let mut learners = learners(context)?;
        for learner in &learners {
            let outlook = learner.outlook();
            self.stage(context, learner.as_ref(), &outlook)?;
            self.memory(context, learner.as_ref(), &policy, &outlook)?;
        }
        self.disk(context, &policy, images(&learners).len(), learners.len())?;
        // Last, as it takes longest.
        for (before, learner) in learners.iter_mut().enumerate() {
            self.rehearsal(context, learner.as_mut(), &policy, before)?;
        }
        Ok(())
    }

    /// Tells what came out when a stage was rehearsed; so many stages come before it.
    fn rehearsal(
        &mut self,
        context: &Context,
        learner: &mut dyn Learner,
        policy: &Policy,
        before: usize,
    ) -> Result<()> {
        let rehearsed = learner.rehearse(policy, &context.watch())?;
        let findings = rehearsal::findings(learner.name(), &rehearsed, before > 0);
        for sentence in rehearsed.sentences {
            self.good(sentence)?;
        }
        for record in rehearsed.records {
            self.events.send(&RunEvent::Rehearsal(record))?;
        }
        findings.into_iter().try_for_each(|finding| self.tell(finding))
    }

    fn model(&mut self, context: &Context, policy: &Policy) -> Result<()> {
        let (model, compute) = (&context.model, &context.config.compute);
        let learning: usize = policy.vars.iter().map(|(_, var)| var.elem_count()).sum();
        let manifest = model.manifest();
        self.good(format!(
            "{} is loaded: {} million parameters on {} in {}, of which projector and adapters, {:.1} million, can learn; \
             an image is {} tokens of {} channels.",
            manifest.name,
            model.size.parameters / 1_000_000,
            compute.device,
            model.precision(),
            learning as f64 / 1e6,
            manifest.image_tokens(),
            manifest.fused_width(),
        ))
    }

    fn stage(&mut self, context: &Context, learner: &dyn Learner, outlook: &Outlook) -> Result<()> {
        let (name, optimisation) = (learner.name(), learner.optimisation());
        let limit = context.model.llama.config.max_position_embeddings;
        self.good(format!(
            "{name}: {} rows with {} images; {} steps of {}, {} sequences at once; the longest has {} of {limit} tokens \
             (row {}).",
            outlook.rows,
            learner.images().len(),
            optimisation.steps,
            outlook.batch,
            outlook.at_once,
            outlook.longest,
            outlook.longest_row,
        ))?;
        if outlook.too_long > 0 {
            self.doubtful(
                format!("{name}: {} rows are longer than the language model reads.", outlook.too_long),
                "Shorten or remove them; `reinpath-train dataset check` lists them.",
            )?;
        }
        if optimisation.steps == 0 {
            self.doubtful(
                format!("{name}: there is no step to take."),
                "Set `steps` or `epochs` of its optimisation.",
            )?;
        }
        if outlook.rows < outlook.batch {
            self.doubtful(
                format!("{name}: a batch of {} is more than all rows.", outlook.batch),
                "Make `batch` smaller, or give it more rows: the same row will be there several times in each step.",
            )?;
        }
        Ok(())
    }

    fn memory(
        &mut self,
        context: &Context,
        learner: &dyn Learner,
        policy: &Policy,
        outlook: &Outlook,
    ) -> Result<()> {
        let learning = learner.learning(policy).iter().map(|(var, _)| var.elem_count() as u64).sum();
        let need = Shape::new(context, outlook, learning).need();
        let device = &context.config.compute.device;
        let wanted = format!(
            "{}: a step needs about {:.1} GB beside the model ({:.1} to learn, {:.1} between the layers, {:.1} to write \
             answers)",
            learner.name(),
            gigabytes(need.total()),
            gigabytes(need.learning),
            gigabytes(need.activations),
            gigabytes(need.answers),
        );
        let free = device::list().into_iter().find(|info| info.name == *device).map(|info| info.memory_free);
        match free.filter(|&free| free > 0) {
            None => self.good(format!("{wanted}; the free memory of {device} is not known.")),
            Some(free) if need.total() > free => self.doubtful(
                format!("{wanted}, but {device} has {:.1} GB free.", gigabytes(free)),
                "Make `micro_batch`, `workers` or `max_tokens` smaller, or set `compute.recompute`.",
            ),
            Some(free) => self.good(format!("{wanted}; {device} has {:.1} GB free.", gigabytes(free))),
        }
    }

    fn disk(&mut self, context: &Context, policy: &Policy, images: usize, stages: usize) -> Result<()> {
        let values: u64 = policy.vars.iter().map(|(_, var)| var.elem_count() as u64).sum();
        let manifest = context.model.manifest();
        let image = manifest.image_tokens() * manifest.fused_width() * size_of::<f32>();
        let rule = &context.config.checkpoints;
        // Values and two moments in f32. Beside the last ones: the best, the one a stage was entered from, a new one.
        let checkpoints = 12 * values * (rule.keep_last.max(1) as u64 + 3);
        let packages = 2 * values * stages as u64;
        let features = images as u64 * image as u64;
        let wanted = format!(
            "The run needs about {:.1} GB of disk ({:.1} for checkpoints, {:.1} for packages, {:.1} for the features of \
             {images} images)",
            gigabytes(checkpoints + packages + features),
            gigabytes(checkpoints),
            gigabytes(packages),
            gigabytes(features),
        );
        let folder = context.folder.path();
        match disk::free(folder) {
            None => self.good(format!("{wanted}; the free room is not known: {}", folder.display())),
            Some(free) if checkpoints + packages + features > free => self.doubtful(
                format!("{wanted}, but {:.1} GB are free: {}", gigabytes(free), folder.display()),
                "Make room, put the run elsewhere with --run, or keep fewer checkpoints (`checkpoints.keep_last`).",
            ),
            Some(free) => {
                self.good(format!("{wanted}; {:.1} GB are free: {}", gigabytes(free), folder.display()))
            }
        }
    }
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// What to do about an error that a run begins with.
fn cure(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::RunExists(_) => "Go on with that run, or name another folder with --run.",
        Error::Locked { .. } => "Wait for it, or stop it by the file `stop` in its folder.",
        Error::Package(package::Error::Missing(_)) => "Set `base` to the folder of a model package.",
        Error::Package(package::Error::Terms { .. }) => "Set `base` to a package that may be trained.",
        Error::Package(_) => "Look the package through with `reinpath model check`.",
        Error::Device(_) => "Set `compute.device` to a device of this machine.",
        Error::DiskFull { .. } => "Make room on the disk.",
        Error::Config { .. } | Error::Setting(_) => "Mend the configuration.",
        Error::Image { source, .. } => return cure(source),
        Error::Io { .. } => "See that the path is right and can be read.",
        _ => return None,
    })
}
