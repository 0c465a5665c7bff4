//! `reinpath ask`: a question about regions of a slide, its answer as it is written. Asking once more what an answer's stamp says is
//! `replay.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::anyhow;
use clap::{ArgGroup, Args};
use crossbeam_channel::{Receiver, select};
use reinpath_model::event::{AskEvent, Finished, Stop};
use reinpath_model::package::{Manifest, Package, USUAL_PIXELS};
use reinpath_model::request::{Load, Sampling};

use self::printer::{Form, warn};
pub(super) use self::printer::{Printer, write, write_json};
use super::slide_commands::RegionArgument;
use super::{Failure, interrupts, replay};
use crate::ask::{self, CutPatch, Question};
use crate::case::{Answer, Id, Purpose};
use crate::maps;
use crate::places;
use crate::review::replay::hear;
use crate::slide::{SlideHandle, SlideInfo};
use crate::worker::{Worker, WorkerEvent};

mod printer;

/// Arguments of `reinpath ask`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["question", "template", "replay"])))]
pub(super) struct AskArguments {
    /// The slide [default with --replay: the one that was asked about]
    #[arg(required_unless_present = "replay")]
    pub(super) slide: Option<PathBuf>,
    /// A patch in level-0 pixels, up to several times; may reach past the slide
    #[arg(
        long = "region",
        value_name = "X,Y,W,H",
        required_unless_present = "replay",
        conflicts_with = "replay",
        allow_hyphen_values = true
    )]
    regions: Vec<RegionArgument>,
    /// Ask again what the stamp in this file says, and compare: lines of `ask --json`, an export's JSON, or a stamp. Says
    /// “the same text”, or the first difference and its cause with exit code 1
    #[arg(long, value_name = "FILE")]
    pub(super) replay: Option<PathBuf>,
    /// Which answer of the file is asked again, by its id [default: the first]
    // `requires` alone says nothing beside an argument that excludes `--replay`.
    #[arg(long, value_name = "ID", requires = "replay", conflicts_with_all = ["question", "template", "regions"])]
    pub(super) answer: Option<String>,
    /// Wanted microns per pixel of the patch [default: the package's]
    #[arg(long, value_name = "M", conflicts_with = "replay")]
    mpp: Option<f64>,
    /// The question in your words
    #[arg(long, value_name = "TEXT")]
    question: Option<String>,
    /// The question of a template: a sub-task, or "describe"
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// An option to choose from, up to several times
    #[arg(long = "choice", value_name = "TEXT", conflicts_with = "replay")]
    choices: Vec<String>,
    /// Folder of the model package [default: the demo model; with --replay the one that answered]
    #[arg(long, value_name = "PACKAGE")]
    pub(super) model: Option<PathBuf>,
    /// Which of the package's adapters answers, where it has several to choose from [default: the first]
    #[arg(long, value_name = "NAME", conflicts_with = "replay")]
    adapter: Option<String>,
    /// Where to compute: cpu, cuda, cuda:N or metal [default: the worker's choice]
    #[arg(long)]
    pub(super) device: Option<String>,
    /// Command line that starts the worker, split into words without a shell, such as "ssh server reinpath-worker"
    #[arg(long, value_name = "COMMAND")]
    pub(super) worker: Option<String>,
    /// Longest answer in tokens [default: the package's]
    #[arg(long, value_name = "N", conflicts_with = "replay")]
    max_tokens: Option<usize>,
    /// 0 always takes the likeliest token [default: the package's]
    #[arg(long, value_name = "T", conflicts_with = "replay")]
    temperature: Option<f64>,
    /// Draw from this many of the likeliest tokens, 0 from all [default: the package's]
    #[arg(long, value_name = "K", conflicts_with = "replay")]
    top_k: Option<usize>,
    /// Draw from the smallest set of tokens with this probability [default: the package's]
    #[arg(long, value_name = "P", conflicts_with = "replay")]
    top_p: Option<f64>,
    /// Make what was written already less likely; 1 changes nothing [default: the package's]
    #[arg(long, value_name = "R", conflicts_with = "replay")]
    repetition_penalty: Option<f64>,
    /// The same seed gives the same answer
    #[arg(long, value_name = "S", default_value_t = 0, conflicts_with = "replay")]
    seed: u64,
    /// Clinical context: organ, stain, age, history
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        conflicts_with = "replay"
    )]
    context: String,
    /// Most pixels of a patch that the model is given, where it takes patches of any size: 784 of them are a token [default: 1003520,
    /// or the package's limit where that is lower]
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "replay",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    max_pixels: Option<u64>,
    /// Write the pixels exactly as each encoder receives them, as PNGs into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) save_inputs: Option<PathBuf>,
    /// Write where each sentence of the answer looks into this folder: a picture for each sentence and patch, and
    /// maps.json with how much the sentence depends on it; takes longer than the answer itself
    #[arg(long, value_name = "DIR")]
    pub(super) save_maps: Option<PathBuf>,
    /// One JSON object a line: started, stage, token, finished or failed; with --replay a last one, replayed
    #[arg(long)]
    pub(super) json: bool,
    /// Print the whole text as the model generated it, headings or tags included, once it has ended
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// Asks and prints the answer.
pub(super) fn ask(arguments: &AskArguments) -> Result<(), Failure> {
    let form = match (arguments.json, arguments.raw) {
        (true, _) => Form::Json,
        (false, true) => Form::Raw,
        (false, false) => Form::Headings,
    };
    let mut printer = Printer::new(form);
    let result = match &arguments.replay {
        Some(file) => replay::replay(arguments, file, &mut printer),
        None => try_ask(arguments, &mut printer),
    };
    if let Err(Failure::Failed(error)) = &result
        && arguments.json
    {
        // The reader of the stream learns of the end there, whatever it was.
        write_json(&AskEvent::Failed { error: format!("{error:#}") })?;
    }
    result
}

fn try_ask(arguments: &AskArguments, printer: &mut Printer) -> Result<(), Failure> {
    let Some(slide) = &arguments.slide else {
        return Err(Failure::Usage("a slide is needed".to_owned()));
    };
    let is_asked = Arc::new(AtomicBool::new(false));
    let interrupted = interrupts(Arc::clone(&is_asked))?;
    let text = match (&arguments.question, &arguments.template) {
        (Some(text), _) => text.clone(),
        (None, Some(name)) => ask::template(name, !arguments.choices.is_empty())
            .map_err(|error| Failure::Usage(error.to_string()))?,
        (None, None) => String::new(),
    };
    if text.trim().is_empty() {
        return Err(Failure::Failed(ask::Error::NoQuestion.into()));
    }
    let folder = match &arguments.model {
        Some(folder) => folder.clone(),
        None => places::demo_package().map_err(anyhow::Error::from)?,
    };
    let manifest = local_manifest(&folder, arguments)?;
    let mpp = wanted_mpp(arguments, manifest.as_ref())?;
    let max_pixels = max_pixels(arguments, manifest.as_ref())?;
    let worker = Worker::start(arguments.worker.as_deref(), || {}).map_err(anyhow::Error::from)?;
    // The model loads while the slide is read.
    let load = Load {
        package: folder.to_string_lossy().into_owned(),
        device: arguments.device.clone(),
        precision: None,
        adapter: arguments.adapter.clone(),
    };
    worker.load(load).map_err(anyhow::Error::from)?;
    let slide = SlideHandle::open(slide)?;
    let patches = arguments
        .regions
        .iter()
        .map(|region| ask::cut_patch(&slide, region.0, mpp))
        .collect::<Result<Vec<_>, _>>()
        .map_err(anyhow::Error::from)?;
    let question = Question {
        text,
        choices: arguments.choices.clone(),
        context: arguments.context.clone(),
        sampling: sampling(arguments, manifest.as_ref()),
        save_inputs: arguments.save_inputs.is_some(),
        save_maps: arguments.save_maps.is_some(),
        max_pixels,
        ..Question::default()
    };
    let (request, pixels) = ask::request(&question, &patches).map_err(anyhow::Error::from)?;
    let id = worker.ask(request, pixels).map_err(anyhow::Error::from)?;
    is_asked.store(true, Ordering::Relaxed);
    let mut follower = Follower::new(printer, slide.info(), &patches, arguments);
    converse(&worker, id, &mut follower, &interrupted)
}

/// Follows an answer to its end; Ctrl-C stops it, and keeps what was written of it.
pub(super) fn converse(
    worker: &Worker,
    id: u64,
    follower: &mut Follower<'_>,
    interrupted: &Receiver<()>,
) -> Result<(), Failure> {
    let mut stops = 0;
    loop {
        select! {
            recv(worker.events()) -> event => {
                let event = event.map_err(|_closed| anyhow!("the thread of the model's process ended"))?;
                if let Some(finished) = follower.follow(event)? {
                    return match finished.stop {
                        Stop::Cancelled => Err(Failure::Interrupted),
                        Stop::End | Stop::MaxTokens => Ok(()),
                    };
                }
            }
            recv(interrupted) -> _ => {
                stops += 1;
                // Before the answer begins there is nothing to keep.
                if stops > 1 || !follower.printer.has_begun {
                    return Err(Failure::Interrupted);
                }
                worker.cancel(id).map_err(anyhow::Error::from)?;
            }
        }
    }
}

/// The manifest of a package on this machine; `None` when a worker elsewhere is to find it.
fn local_manifest(folder: &Path, arguments: &AskArguments) -> Result<Option<Manifest>, Failure> {
    match Package::open(folder) {
        Ok(package) => Ok(Some(package.manifest)),
        Err(_not_here) if arguments.worker.is_some() && arguments.model.is_some() => Ok(None),
        Err(error) => Err(Failure::Failed(error.into())),
    }
}

fn wanted_mpp(arguments: &AskArguments, manifest: Option<&Manifest>) -> Result<f64, Failure> {
    match (arguments.mpp, manifest) {
        (Some(mpp), _) if mpp.is_finite() && mpp > 0.0 => Ok(mpp),
        (Some(_), _) => Err(Failure::Usage("--mpp must be more than 0".to_owned())),
        (None, Some(manifest)) => Ok(manifest.patch.mpp),
        (None, None) => {
            Err(Failure::Usage("--mpp is needed when the model package is on another machine".to_owned()))
        }
    }
}

/// Said where a pixel limit is asked for and the model has none.
const NO_LIMIT: &str =
    "--max-pixels is for models that take patches of any size; this one makes a square of each";

/// The pixel limit of each patch; `None` where the package makes a square of it.
fn max_pixels(arguments: &AskArguments, manifest: Option<&Manifest>) -> Result<Option<u64>, Failure> {
    let asked = arguments.max_pixels;
    match manifest {
        Some(Manifest { vision: Some(vision), .. }) => Ok(Some(ask::pixel_limit(vision, asked))),
        Some(_square) if asked.is_some() => Err(Failure::Usage(NO_LIMIT.to_owned())),
        Some(_square) => Ok(None),
        // Whether there is such a limit is known on the machine of the package.
        None => Ok(Some(asked.unwrap_or(USUAL_PIXELS))),
    }
}

fn sampling(arguments: &AskArguments, manifest: Option<&Manifest>) -> Sampling {
    let defaults = match manifest {
        Some(manifest) => manifest.generation.sampling(arguments.seed),
        None => Sampling { seed: arguments.seed, ..Sampling::default() },
    };
    Sampling {
        temperature: arguments.temperature.unwrap_or(defaults.temperature),
        top_k: arguments.top_k.unwrap_or(defaults.top_k),
        top_p: arguments.top_p.unwrap_or(defaults.top_p),
        repetition_penalty: arguments.repetition_penalty.unwrap_or(defaults.repetition_penalty),
        max_tokens: arguments.max_tokens.unwrap_or(defaults.max_tokens),
        ..defaults
    }
}

/// What is done with each event.
pub(super) struct Follower<'a> {
    printer: &'a mut Printer,
    info: &'a SlideInfo,
    patches: &'a [CutPatch],
    inputs: Option<&'a Path>,
    maps: Option<&'a Path>,
    /// Whether a pixel limit was asked for.
    is_limited: bool,
    /// All that came of the answer.
    pub(super) heard: Answer,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        printer: &'a mut Printer,
        info: &'a SlideInfo,
        patches: &'a [CutPatch],
        arguments: &'a AskArguments,
    ) -> Self {
        Self {
            printer,
            info,
            patches,
            inputs: arguments.save_inputs.as_deref(),
            maps: arguments.save_maps.as_deref(),
            is_limited: arguments.max_pixels.is_some(),
            heard: Answer::begun(Id::default(), Purpose::Answer),
        }
    }

    /// Returns how the answer finished once it has.
    fn follow(&mut self, event: WorkerEvent) -> anyhow::Result<Option<Finished>> {
        match event {
            WorkerEvent::Progress { progress, .. } => {
                tracing::info!("{} ({:.0} %)", progress.what, 100.0 * progress.fraction);
            }
            WorkerEvent::Loaded { loaded, .. } => {
                tracing::info!("{} parameters loaded on {}", loaded.parameters, loaded.device);
            }
            WorkerEvent::LoadFailed { error, .. } => return Err(anyhow!(error)),
            WorkerEvent::Warning(sentence) => warn(&sentence)?,
            WorkerEvent::Ended(reason) => return Err(anyhow!(reason)),
            WorkerEvent::Inputs { images, .. } => {
                if let Some(folder) = self.inputs {
                    ask::write_inputs(folder, images)?;
                }
            }
            WorkerEvent::Maps { maps: found, .. } => {
                if let Some(folder) = self.maps {
                    maps::write_maps(folder, &found, self.patches)?;
                    if found.is_empty() {
                        self.printer.end_line()?;
                        warn("the answer has no sentence of its stages to make a map of")?;
                    }
                }
            }
            WorkerEvent::Answer { event: AskEvent::Failed { error }, .. } => {
                self.printer.end_text()?;
                return Err(anyhow!(error));
            }
            WorkerEvent::Answer { mut event, .. } => {
                if let AskEvent::Started { stamp } = &mut event {
                    ask::complete_stamp(stamp, self.info, self.patches);
                    // Of a package on another machine it is known only now.
                    if self.is_limited && stamp.max_pixels.is_none() {
                        warn(NO_LIMIT)?;
                    }
                }
                hear(&mut self.heard, &event);
                self.printer.print(&event)?;
                if let AskEvent::Finished(finished) = event {
                    return Ok(Some(finished));
                }
            }
        }
        Ok(None)
    }
}
