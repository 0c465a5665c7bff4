//! A run of the three stages (paper, section 2.3): from its configuration and the package that it starts from to the
//! package that it makes; begun, or gone on with after a stop or a kill.
//!
//! All stages are made ready before the first begins, so that what is wrong with the third one's data is not found after
//! hours. A stage enters with the policy that the one before left.

mod export;
mod held_out;
mod result;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use reinpath_model::device::{self, Precision};
use reinpath_model::package::{MANIFEST, Package};
use reinpath_model::reinpath::{self, ReinPath};

pub use self::export::export;
use self::held_out::HeldOutRows;
use self::result::{Known, write_package};
use self::turn::wait_for_turn;
use crate::alignment::Alignment;
use crate::checkpoint::{Checkpoints, Loaded, State};
use crate::cold_start::ColdStart;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::event::{EventSink, RunEvent};
use crate::grpo::Grpo;
use crate::machine;
use crate::policy::Policy;
use crate::run_folder::{RunFolder, RunState, StopSignal};
use crate::trainer::{Context, Events, HeldOut, Learner, Run, train};

const CHANGED: &str =
    "The file config.toml has changed since the checkpoint; the run goes on with what it says now.";

/// Begins a run in a folder, which is made; returns the folder of the package that it makes. `asked` is set when a
/// signal asks it to stop.
///
/// # Errors
/// [`Error::RunExists`] where another run has come to a checkpoint, [`Error::Stopped`] when it was asked to stop.
pub fn run(config: RunConfig, folder: &RunFolder, asked: &Arc<AtomicBool>) -> Result<PathBuf> {
    run_after(config, folder, &[], asked)
}

/// The same, once the runs in the folders `after` have ended, each however it does.
pub fn run_after(
    config: RunConfig,
    folder: &RunFolder,
    after: &[PathBuf],
    asked: &Arc<AtomicBool>,
) -> Result<PathBuf> {
    let config = config.absolute()?;
    let first = first_stage(&config)?;
    folder.create()?;
    let _lock = folder.lock()?;
    if has_begun(folder)? {
        return Err(Error::RunExists(folder.path().to_owned()));
    }
    folder.forget_stop()?;
    folder.write_config(&config)?;
    let sink = EventSink::create(folder.path())?;
    let events = Arc::new(Events::new(sink, BTreeMap::new()));
    events.send(&started(&config, folder)?)?;
    let stop = stop(folder, asked);
    wait_for_turn(folder, after, &events, &stop, (first, 0))?;
    Job { config, folder, events, stop }.told(None)
}

/// Goes on with a run that was stopped or killed, or that failed, to the numbers of a run that never was. A run that is
/// finished is left as it is.
pub fn resume(folder: &RunFolder, asked: &Arc<AtomicBool>) -> Result<PathBuf> {
    resume_after(folder, &[], asked)
}

/// The same, once the runs in the folders `after` have ended, each however it does.
pub fn resume_after(folder: &RunFolder, after: &[PathBuf], asked: &Arc<AtomicBool>) -> Result<PathBuf> {
    let config = folder.config()?;
    let package = folder.package();
    if matches!(folder.state()?, RunState::Finished(_)) && package.join(MANIFEST).is_file() {
        return Ok(package);
    }
    let _lock = folder.lock()?;
    folder.forget_stop()?;
    let (loaded, damaged) = Checkpoints::open(folder.checkpoints())?.latest()?;
    let events = match &loaded {
        None => {
            let events = Events::new(EventSink::create(folder.path())?, BTreeMap::new());
            events.send(&started(&config, folder)?)?;
            events
        }
        Some(Loaded { state, .. }) => {
            let sink = EventSink::reopen(folder.path(), state.events)?;
            Events::new(sink, state.warnings.clone())
        }
    };
    let events = Arc::new(events);
    let stop = stop(folder, asked);
    let stands = match &loaded {
        Some(Loaded { state, .. }) => (state.stage.as_str(), state.step),
        None => (first_stage(&config)?, 0),
    };
    wait_for_turn(folder, after, &events, &stop, stands)?;
    let job = Job { config, folder, events, stop };
    if let Some(Loaded { state, .. }) = &loaded {
        job.tell_that_it_goes_on(state)?;
    }
    for sentence in damaged {
        job.events.warn(&sentence)?;
    }
    job.told(loaded.as_ref())
}

/// The first stage that a configuration names.
pub(crate) fn first_stage(config: &RunConfig) -> Result<&'static str> {
    let stages = [
        (config.alignment.is_some(), "alignment"),
        (config.cold_start.is_some(), "cold_start"),
        (config.grpo.is_some(), "grpo"),
    ];
    let first = stages.into_iter().find_map(|(is_there, name)| is_there.then_some(name));
    first.ok_or_else(|| {
        Error::Setting(
            "the configuration names no stage: it needs [alignment], [cold_start] or [grpo]".to_owned(),
        )
    })
}

/// Whether there is something in a folder that a new run would destroy.
pub(crate) fn has_begun(folder: &RunFolder) -> Result<bool> {
    if folder.package().join(MANIFEST).is_file() {
        return Ok(true);
    }
    let checkpoints = folder.checkpoints();
    Ok(checkpoints.is_dir() && !Checkpoints::open(checkpoints)?.states()?.is_empty())
}

/// The first event: the resolved configuration.
pub(crate) fn started(config: &RunConfig, folder: &RunFolder) -> Result<RunEvent> {
    let config = serde_json::to_value(config)
        .map_err(|e| Error::Config { reason: e.to_string(), path: folder.config_file() })?;
    Ok(RunEvent::Started { config })
}

/// The wish to stop, from both of its sources.
pub(crate) fn stop(folder: &RunFolder, asked: &Arc<AtomicBool>) -> StopSignal {
    StopSignal::new(Arc::clone(asked), folder.stop_file())
}

/// A run that this process holds the lock of.
struct Job<'a> {
    config: RunConfig,
    folder: &'a RunFolder,
    events: Arc<Events>,
    stop: StopSignal,
}

impl Job<'_> {
    fn tell_that_it_goes_on(&self, state: &State) -> Result<()> {
        let path = PathBuf::from("checkpoints").join(state.name());
        let (stage, step) = (state.stage.clone(), state.step);
        // The checkpoint's own event came after what it says of the events, and was cut off with them.
        self.events.send(&RunEvent::Checkpoint { stage: stage.clone(), step, path })?;
        self.events.send(&RunEvent::Resumed { stage, step })?;
        if state.config != self.folder.config_hash()? {
            self.events.warn(CHANGED)?;
        }
        if state.program != env!("CARGO_PKG_VERSION") {
            self.events.warn(&format!(
                "The run was begun with version {} of the program; this one may not give the same numbers.",
                state.program
            ))?;
        }
        Ok(())
    }

    /// Works, and tells how it ended.
    fn told(self, loaded: Option<&Loaded>) -> Result<PathBuf> {
        let begin = Instant::now();
        let events = Arc::clone(&self.events);
        let mut state = State::new(self.folder.config_hash()?, String::new());
        match loaded {
            None => state.enter(first_stage(&self.config)?, None),
            Some(loaded) => {
                let State { config, program, .. } = state;
                state = State { program, config, ..loaded.state.clone() };
            }
        }
        let result = self.work(&mut state, loaded);
        let last = match &result {
            Ok(package) => {
                RunEvent::Finished { package: package.clone(), secs: begin.elapsed().as_secs_f64() }
            }
            Err(Error::Stopped) => RunEvent::Stopped { stage: state.stage.clone(), step: state.step },
            Err(error) => RunEvent::Failed { error: error.to_string() },
        };
        match (events.send(&last), result) {
            (Err(error), Ok(_)) => Err(error),
            (Err(error), result) => {
                tracing::error!("the run's last event is lost: {error}");
                result
            }
            (Ok(()), result) => result,
        }
    }

    fn work(self, state: &mut State, loaded: Option<&Loaded>) -> Result<PathBuf> {
        let folder = self.folder;
        // Until the run ends; the lock of its folder is held.
        let _machine = machine::Recorder::start(&folder.machine_file())?;
        let context = load(self.config, folder, self.events, self.stop)?;
        if loaded.is_some() && state.base != context.package.hash {
            return Err(Error::AnotherBase(context.package.folder));
        }
        state.base.clone_from(&context.package.hash);
        let checkpoints = Checkpoints::open(folder.checkpoints())?;
        let policy = policy(&context)?;
        let mut learners = learners(&context)?;
        let held_out = HeldOutRows::new(&context)?;
        let held_out = held_out.as_ref().map(|rows| rows as &dyn HeldOut);
        let run = Run { context: &context, checkpoints: &checkpoints, held_out };
        let first = learners.iter().position(|learner| learner.name() == state.stage).ok_or_else(|| {
            let stage = &state.stage;
            Error::Setting(format!(
                "the run stands in the stage {stage}, which its configuration does not name"
            ))
        })?;
        let mut known = Known::new(&context, &learners);
        let mut resumed = loaded;
        for at in first..learners.len() {
            let is_last = at + 1 == learners.len();
            let learner = learners[at].as_mut();
            if at > first {
                let entry = state.name();
                state.enter(learner.name(), Some(entry));
            } else if let Some(entry) = &state.entry {
                checkpoints.load(entry)?.restore(&policy.vars)?;
            }
            train(&run, learner, &policy, state, resumed.take())?;
            let package = if is_last { folder.package() } else { folder.stage_package(learner.name()) };
            write_package(&context, &policy.vars, &mut known, None, &package)?;
        }
        Ok(folder.package())
    }
}

/// Loads what all stages of a run work with.
pub(crate) fn load(
    config: RunConfig,
    folder: &RunFolder,
    events: Arc<Events>,
    stop: StopSignal,
) -> Result<Context> {
    let package = Package::open(&config.base)?;
    package.may_train()?;
    let device = device::open(&config.compute.device)?;
    let precision = Precision::named(&config.compute.precision).ok_or_else(|| {
        let names = Precision::ALL.map(Precision::name).join(", ");
        Error::Setting(format!("'{}' is no precision: use one of {names}", config.compute.precision))
    })?;
    let mut progress = |what: &str, _done: f32| {
        tracing::info!("{what}");
        !stop.is_asked()
    };
    let model =
        ReinPath::load_in(&package, &device, precision, &mut progress).map_err(|error| match error {
            reinpath::Error::Cancelled => Error::Stopped,
            error => error.into(),
        })?;
    let parent = folder.path().parent().unwrap_or(folder.path());
    let cache = parent.join("features");
    Ok(Context { config, folder: folder.clone(), package, model, cache, events, stop })
}

/// The policy as it enters the first stage.
pub(crate) fn policy(context: &Context) -> Result<Policy> {
    Policy::new(&context.model, &context.config.lora, context.seed(&["policy"], 0))
}

/// The stages that the configuration names, in their order.
pub(crate) fn learners(context: &Context) -> Result<Vec<Box<dyn Learner + '_>>> {
    let RunConfig { alignment, cold_start, grpo, .. } = &context.config;
    let mut learners: Vec<Box<dyn Learner + '_>> = Vec::new();
    if let Some(config) = alignment {
        learners.push(Box::new(Alignment::new(context, config)?));
    }
    if let Some(config) = cold_start {
        learners.push(Box::new(ColdStart::new(context, config)?));
    }
    if let Some(config) = grpo {
        learners.push(Box::new(Grpo::new(context, config)?));
    }
    Ok(learners)
}

/// The images of all stages, each once and sorted.
pub(crate) fn images(learners: &[Box<dyn Learner + '_>]) -> Vec<PathBuf> {
    let images: BTreeSet<&PathBuf> = learners.iter().flat_map(|learner| learner.images()).collect();
    images.into_iter().cloned().collect()
}
