//! The worker's side of the conversation (`design/formats.md`, framing): hello, load, ask, cancel, quit over two pipes.
//!
//! A reader thread takes requests in, so that a cancel arrives while an answer is being written; the thread that called
//! [`serve`] owns the model and does everything else, one request after another. It knows no window and no slide.

mod stamp;

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use serde::Serialize;

use self::stamp::{inputs, stamp};
use crate::answer::{Prepared, Question};
use crate::attribution::Trace;
use crate::device::{self, Precision};
use crate::event::{AskEvent, Finished, Stop};
use crate::frame::{self, Frame, Incoming};
use crate::package::Package;
use crate::patch::Patch;
use crate::reinpath::{self, ReinPath};
use crate::request::{Ask, Cancel, Hello, Load, Loaded, PROTOCOL, Progress, SentenceMap};

/// Requests that wait while one is served.
const WAITING_REQUESTS: usize = 16;
/// How long maps may take that point better than the usual ones: whoever asks for maps waits for them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one program until it says quit or closes `input`.
pub fn serve(
    input: impl Read + Send + 'static,
    output: impl Write,
    default_device: &str,
) -> Result<(), frame::Error> {
    let mut worker = Worker { output, default_device: default_device.to_owned(), model: None };
    let hello =
        Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), devices: device::list() };
    worker.send(0, "hello", &hello)?;
    let pending = Arc::new(Pending::default());
    let (sender, requests) = bounded(WAITING_REQUESTS);
    let reader = {
        let pending = Arc::clone(&pending);
        std::thread::Builder::new().name("requests".to_owned()).spawn(move || {
            let ended = read_requests(input, &sender, &pending);
            pending.cancel_all();
            ended
        })?
    };
    for Request { frame, cancel } in requests {
        worker.serve(&frame, &cancel)?;
        pending.remove(frame.id);
    }
    reader.join().unwrap_or_else(|_panic| Err(std::io::Error::other("the reader failed").into()))
}

/// A request and the flag that ends it early.
struct Request {
    frame: Frame,
    cancel: Arc<AtomicBool>,
}

/// Flags of the requests that were read and not answered to the end.
#[derive(Default)]
struct Pending(Mutex<BTreeMap<u64, Arc<AtomicBool>>>);

impl Pending {
    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<AtomicBool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: u64) -> Arc<AtomicBool> {
        Arc::clone(self.map().entry(id).or_default())
    }

    fn remove(&self, id: u64) {
        self.map().remove(&id);
    }

    fn cancel(&self, id: u64) {
        if let Some(flag) = self.map().get(&id) {
            flag.store(true, Ordering::Relaxed);
        }
    }

    fn cancel_all(&self) {
        self.map().values().for_each(|flag| flag.store(true, Ordering::Relaxed));
    }
}

/// Passes requests on until the other side quits, closes, or cannot be understood any more.
fn read_requests(input: impl Read, sender: &Sender<Request>, pending: &Pending) -> Result<(), frame::Error> {
    let mut input = BufReader::new(input);
    while let Some(incoming) = frame::read(&mut input)? {
        let frame = match incoming {
            Incoming::Frame(frame) => frame,
            Incoming::Stray(line) => {
                tracing::warn!("a line that is no request: {line}");
                continue;
            }
        };
        match frame.kind.as_str() {
            "quit" => return Ok(()),
            "cancel" => match frame.parse::<Cancel>() {
                Ok(Cancel { id }) => pending.cancel(id),
                Err(error) => tracing::warn!("{error}"),
            },
            _ => {
                let cancel = pending.add(frame.id);
                if sender.send(Request { frame, cancel }).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Why a request was not done.
enum Fault {
    /// Told to the other side; the worker goes on.
    Sentence(String),
    /// Nobody listens any more.
    Output(frame::Error),
}

impl From<frame::Error> for Fault {
    fn from(error: frame::Error) -> Self {
        match error {
            frame::Error::Data { .. } => Self::Sentence(error.to_string()),
            error => Self::Output(error),
        }
    }
}

impl From<reinpath::Error> for Fault {
    fn from(error: reinpath::Error) -> Self {
        Self::Sentence(error.to_string())
    }
}

struct Worker<W> {
    output: W,
    default_device: String,
    model: Option<Model>,
}

struct Model {
    reinpath: ReinPath,
    device: String,
}

impl<W: Write> Worker<W> {
    fn send(&mut self, id: u64, kind: &str, data: &impl Serialize) -> Result<(), frame::Error> {
        frame::write(&mut self.output, &Frame::new(id, kind, data)?)
    }

    /// Does one request; an error means that nobody listens any more.
    fn serve(&mut self, frame: &Frame, cancel: &AtomicBool) -> Result<(), frame::Error> {
        // What panics in here is a mistake of ours or of a library; it must not take the other answers with it.
        let done = catch_unwind(AssertUnwindSafe(|| match frame.kind.as_str() {
            "load" => self.load(frame, cancel),
            "ask" => self.ask(frame, cancel),
            other => Err(Fault::Sentence(format!("the worker knows no request '{other}'"))),
        }));
        let error = match done {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Fault::Output(error))) => return Err(error),
            Ok(Err(Fault::Sentence(sentence))) => sentence,
            Err(_panic) => "the model's program made a mistake and dropped this request".to_owned(),
        };
        frame::write(&mut self.output, &AskEvent::Failed { error }.to_frame(frame.id)?)
    }

    fn load(&mut self, frame: &Frame, cancel: &AtomicBool) -> Result<(), Fault> {
        let request: Load = frame.parse()?;
        let name = request.device.unwrap_or_else(|| self.default_device.clone());
        let device = device::open(&name).map_err(|e| Fault::Sentence(e.to_string()))?;
        let precision = match request.precision.as_deref() {
            None => Precision::of(&device),
            Some(name) => Precision::named(name).ok_or_else(|| {
                Fault::Sentence(format!("the precision {name} is not known: use f32, bf16 or f16"))
            })?,
        };
        if let Some(adapter) = &request.adapter
            && let Some(loaded) = self.loaded_already(&request.package, &name, precision)
        {
            loaded.activate(Some(adapter))?;
            return self.tell_loaded(frame.id);
        }
        let package = Package::open(Path::new(&request.package)).map_err(reinpath::Error::from)?;
        if let Some(name) = &request.adapter
            && !package.manifest.adapters.iter().any(|own| own.alternative && own.name == *name)
        {
            let sentence =
                format!("the model package has no adapter '{name}' to choose: {}", request.package);
            return Err(Fault::Sentence(sentence));
        }
        // Room for the new one first.
        self.model = None;
        let mut unheard = None;
        let loaded = ReinPath::load_in(&package, &device, precision, &mut |what, fraction| {
            let told = self.send(frame.id, "progress", &Progress { what: what.to_owned(), fraction });
            unheard = told.err();
            unheard.is_none() && !cancel.load(Ordering::Relaxed)
        });
        if let Some(error) = unheard {
            return Err(error.into());
        }
        let mut reinpath = loaded?;
        if let Some(adapter) = &request.adapter {
            reinpath.activate(Some(adapter))?;
        }
        self.model = Some(Model { reinpath, device: name });
        self.tell_loaded(frame.id)
    }

    /// The model, if it is the one of this package as it is now, on this device and in this precision.
    fn loaded_already(&mut self, folder: &str, device: &str, precision: Precision) -> Option<&mut ReinPath> {
        let Model { reinpath, device: own } = self.model.as_mut()?;
        let package = Package::open(Path::new(folder)).ok()?;
        let is_same = package.folder == reinpath.package.folder && package.hash == reinpath.package.hash;
        let as_precise = reinpath.llama.is_quantised() || reinpath.precision() == precision.name();
        (is_same && as_precise && own.as_str() == device).then_some(reinpath)
    }

    fn tell_loaded(&mut self, id: u64) -> Result<(), Fault> {
        let Some(Model { reinpath, device }) = &self.model else { return Ok(()) };
        let loaded = Loaded {
            memory: reinpath.size.memory,
            parameters: reinpath.size.parameters,
            device: device.clone(),
            precision: reinpath.precision().to_owned(),
        };
        Ok(self.send(id, "loaded", &loaded)?)
    }

    fn ask(&mut self, frame: &Frame, cancel: &AtomicBool) -> Result<(), Fault> {
        let request: Ask = frame.parse()?;
        let Some(Model { reinpath, device }) = &self.model else {
            return Err(Fault::Sentence("no model is loaded".to_owned()));
        };
        let question = question(&request, &frame.bytes)?;
        if request.save_inputs {
            frame::write(&mut self.output, &inputs(frame.id, reinpath, &question)?)?;
        }
        let prepared = match reinpath.prepare_unless(&question, cancel) {
            Err(reinpath::Error::Cancelled) => {
                let finished = AskEvent::Finished(Finished::cancelled_before_it_began());
                return Ok(frame::write(&mut self.output, &finished.to_frame(frame.id)?)?);
            }
            prepared => prepared?,
        };
        let stamp = Box::new(stamp(reinpath, device, &request, &question, &prepared)?);
        frame::write(&mut self.output, &AskEvent::Started { stamp }.to_frame(frame.id)?)?;
        let asked = Asked {
            id: frame.id,
            reinpath,
            request: &request,
            question: &question,
            prepared: &prepared,
            cancel,
        };
        let mut trace = Trace::default();
        let mut finished = asked.answer(&mut self.output, request.save_maps.then_some(&mut trace))?;
        if request.save_maps && finished.stop != Stop::Cancelled {
            asked.tell_maps(&mut self.output, &trace, &mut finished)?;
        }
        Ok(frame::write(&mut self.output, &AskEvent::Finished(finished).to_frame(frame.id)?)?)
    }
}

/// A question that was made ready, and is now answered.
struct Asked<'a> {
    id: u64,
    reinpath: &'a ReinPath,
    request: &'a Ask,
    question: &'a Question,
    prepared: &'a Prepared,
    cancel: &'a AtomicBool,
}

impl Asked<'_> {
    /// Writes the answer, or reads the one that is written, and tells its events; what maps need is put into `trace`.
    fn answer(&self, output: &mut impl Write, trace: Option<&mut Trace>) -> Result<Finished, Fault> {
        let Self { id, reinpath, request, question, prepared, cancel } = *self;
        let mut unheard = None;
        let mut tell = |event: AskEvent| {
            let told = event.to_frame(id).and_then(|f| frame::write(output, &f));
            if let Err(error) = told {
                cancel.store(true, Ordering::Relaxed);
                unheard = Some(error);
            }
        };
        let finished = match &request.written {
            Some(text) => reinpath.read_traced(question, prepared, text, cancel, trace, &mut tell)?,
            None => {
                reinpath.answer_traced(question, prepared, &request.sampling, cancel, trace, &mut tell)?
            }
        };
        match unheard {
            Some(error) => Err(error.into()),
            None => Ok(finished),
        }
    }

    /// Tells where each sentence of the answer looks; cancelled before that is known, the whole was.
    fn tell_maps(
        &self,
        output: &mut impl Write,
        trace: &Trace,
        finished: &mut Finished,
    ) -> Result<(), Fault> {
        let seed = self.request.sampling.seed;
        let Self { reinpath, question, prepared, cancel, .. } = *self;
        match reinpath.maps(question, prepared, trace, seed, PATIENCE, cancel) {
            Ok(found) => frame::write(output, &maps(self.id, found)?)?,
            // The answer is whole, but what was asked for is not.
            Err(reinpath::Error::Cancelled) => finished.stop = Stop::Cancelled,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// The question of a request, with its patches, if it can be asked.
fn question(request: &Ask, bytes: &[u8]) -> Result<Question, Fault> {
    let question = Question {
        patches: patches(request, bytes)?,
        question: request.question.clone(),
        choices: request.choices.clone(),
        context: request.context.clone(),
        history: request.history.clone(),
        max_pixels: request.max_pixels,
    };
    match question.fault().or_else(|| crate::sampler::fault(&request.sampling)) {
        Some(fault) => Err(Fault::Sentence(fault)),
        None => Ok(question),
    }
}

/// The patches of a request, whose pixels follow each other in `bytes`.
fn patches(request: &Ask, bytes: &[u8]) -> Result<Vec<Patch>, Fault> {
    let size = |w: u32, h: u32| (u64::from(w) * u64::from(h)).saturating_mul(3);
    let announced: u64 = request.patches.iter().fold(0, |sum, p| sum.saturating_add(size(p.width, p.height)));
    if announced != bytes.len() as u64 {
        let sentence =
            format!("the patches should have {announced} bytes of pixels, but {} came", bytes.len());
        return Err(Fault::Sentence(sentence));
    }
    let mut rest = bytes;
    let take = |header: &crate::request::PatchHeader| {
        let (pixels, after) = rest.split_at(size(header.width, header.height) as usize);
        rest = after;
        let mpp = header.mpp.filter(|mpp| mpp.is_finite() && *mpp > 0.0);
        Patch::new(header.width, header.height, mpp, pixels.to_vec())
            .map_err(|e| Fault::Sentence(e.to_string()))
    };
    request.patches.iter().map(take).collect()
}

/// Where each sentence looks.
fn maps(id: u64, maps: Vec<(SentenceMap, Vec<f32>)>) -> Result<Frame, frame::Error> {
    let (heads, grids): (Vec<SentenceMap>, Vec<Vec<f32>>) = maps.into_iter().unzip();
    let bytes = grids.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    Ok(Frame::new(id, "maps", &heads)?.with_bytes(bytes))
}
