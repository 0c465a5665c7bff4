//! The real answerer: a thread that cuts the patches of a question, sends them to the model's process and passes its events on.
//!
//! The package is read at once, because the patch tool needs its size; the model is loaded at the first need, or when another package
//! is chosen. What the process is, and what happens when it dies, is `crate::worker`'s.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use reinpath_model::event::{AskEvent, Finished};
use reinpath_model::package::Package;
use reinpath_model::request::{Load, SentenceMap};

use super::answerer::Answerer;
use super::event::Event;
use super::review::ReviewEvent;
use super::review::cases::CasesEvent;
use super::state::{Eyes, ModelInfo, WorkerState};
use super::update::AskOrder;
use super::workers::EventSender;
use crate::ask::{self, CutPatch};
use crate::places;
use crate::slide::{SlideHandle, SlideInfo};
use crate::worker::{Worker, WorkerEvent};

mod question;

/// Wishes that wait while patches are cut.
const MOST_WISHES: usize = 16;

enum Wish {
    WarmUp,
    Use { folder: PathBuf },
    CancelLoad,
    Release,
    Ask { order: Box<AskOrder>, slide: SlideHandle, model: Arc<ModelInfo> },
    Stop { id: u64 },
}

/// The window's end of the thread, which ends with it.
pub(super) struct ModelWorker {
    wishes: Sender<Wish>,
    events: EventSender,
}

impl ModelWorker {
    /// Starts the thread, which first reads the package that was used last, or the demo's.
    pub(super) fn start(events: &EventSender, last: Option<PathBuf>) -> Self {
        let (wishes, receiver) = bounded(MOST_WISHES);
        let thread_events = events.clone();
        let started = Builder::new().name("model-client".to_owned()).spawn(move || {
            if let Err(sentence) = serve(&receiver, &thread_events, last) {
                thread_events.send(Event::Package(Err(sentence)));
            }
        });
        if let Err(error) = started {
            tracing::error!("cannot start the thread model-client: {error}");
        }
        Self { wishes, events: events.clone() }
    }

    fn wish(&self, wish: Wish) {
        let Err(TrySendError::Full(wish) | TrySendError::Disconnected(wish)) = self.wishes.try_send(wish)
        else {
            return;
        };
        let event = match wish {
            Wish::Ask { order, .. } => {
                let error = "The model takes no questions; start the program again.".to_owned();
                Event::Ask { id: order.id, event: AskEvent::Failed { error } }
            }
            Wish::Use { folder } => {
                let sentence = "No other model can be taken now; start the program again.".to_owned();
                Event::PackageRefused { folder, sentence }
            }
            Wish::WarmUp | Wish::CancelLoad | Wish::Release | Wish::Stop { .. } => return,
        };
        let events = self.events.clone();
        // Not from the window thread: the channel of events may be full.
        drop(Builder::new().name("wish-refused".to_owned()).spawn(move || events.send(event)));
    }
}

impl Answerer for ModelWorker {
    fn warm_up(&mut self) {
        self.wish(Wish::WarmUp);
    }

    fn use_package(&mut self, folder: PathBuf) {
        self.wish(Wish::Use { folder });
    }

    fn cancel_load(&mut self) {
        self.wish(Wish::CancelLoad);
    }

    fn release(&mut self) {
        self.wish(Wish::Release);
    }

    fn ask(&mut self, order: AskOrder, slide: SlideHandle, model: Arc<ModelInfo>) {
        self.wish(Wish::Ask { order: Box::new(order), slide, model });
    }

    fn stop(&mut self, id: u64) {
        self.wish(Wish::Stop { id });
    }
}

/// Reads the package and answers until the window is gone; an error says why nothing can be asked.
fn serve(wishes: &Receiver<Wish>, events: &EventSender, last: Option<PathBuf>) -> Result<(), String> {
    let opened = open_first(last, events).map_err(|reason| as_sentence(&reason));
    let folder = opened.as_ref().ok().map(|info| info.folder.clone());
    // Without a package, one can still be chosen.
    events.send(Event::Package(opened.map(Arc::new)));
    let worker = Worker::start(None, || {}).map_err(|error| as_sentence(&error.to_string()))?;
    let answers = worker.events().clone();
    let mut client = Client::new(worker, events, folder);
    loop {
        let goes_on = select! {
            recv(wishes) -> wish => match wish {
                Ok(wish) => client.fulfil(wish),
                Err(_closed) => return Ok(()),
            },
            recv(answers) -> event => match event {
                Ok(event) => client.hear(event),
                Err(_closed) => return Err("The model's process cannot be reached any more.".to_owned()),
            },
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// The package that was used last; where it cannot be used any more, the demo's, and that is said.
fn open_first(last: Option<PathBuf>, events: &EventSender) -> Result<ModelInfo, String> {
    if let Some(folder) = last {
        match open(&folder) {
            Ok(info) => return Ok(info),
            Err(reason) => {
                let sentence = format!(
                    "The demo model takes the place of the one used last, which cannot be used: {reason}"
                );
                events.send(Event::Problem(sentence));
            }
        }
    }
    open(&places::demo_package().map_err(|error| error.to_string())?)
}

/// Reads a package; an error is a reason in lower case.
fn open(folder: &Path) -> Result<ModelInfo, String> {
    let package = Package::open(folder).map_err(|error| error.to_string())?;
    let manifest = &package.manifest;
    let eyes = match (&manifest.vision, manifest.encoders.first()) {
        (Some(vision), _) => Eyes::Vision(vision.clone()),
        (None, Some(encoder)) => Eyes::Encoder(encoder.clone()),
        (None, None) => return Err(format!("the model package names no encoder: {}", folder.display())),
    };
    Ok(ModelInfo {
        name: manifest.name.clone(),
        folder: folder.to_owned(),
        patch: manifest.patch,
        eyes,
        generation: manifest.generation.clone(),
    })
}

/// A question that the worker has.
struct Current {
    /// The window's number.
    order: u64,
    /// The worker's.
    request: u64,
    /// Whether an answer is only read again, for its maps: nobody waits for it.
    is_read: bool,
    slide: SlideInfo,
    patches: Vec<CutPatch>,
}

/// A load that goes on.
struct RunningLoad {
    /// The worker's number.
    request: u64,
    /// When it began: what is left is reckoned from its whole time.
    since: Instant,
}

struct Client<'a> {
    worker: Worker,
    events: &'a EventSender,
    /// Of the package in use; `None` when there is none.
    folder: Option<PathBuf>,
    /// Whether the worker has that package's model, or is loading it.
    is_load_asked_for: bool,
    /// Whether only a question loads the model: after a load that was cancelled or came to nothing, and after the worker died.
    waits_for_question: bool,
    load: Option<RunningLoad>,
    /// The last load that was wanted no more, by its number: news of it, and of loads before it, is late.
    given_up: u64,
    /// That load, where it was cancelled and nothing was loaded since: it may have come to its end before.
    cancelled: Option<u64>,
    current: Option<Current>,
    /// Whether the model gives up its memory once the answer that is being written has ended.
    is_release_due: bool,
}

impl<'a> Client<'a> {
    fn new(worker: Worker, events: &'a EventSender, folder: Option<PathBuf>) -> Self {
        Self {
            worker,
            events,
            folder,
            is_load_asked_for: false,
            waits_for_question: false,
            load: None,
            given_up: 0,
            cancelled: None,
            current: None,
            is_release_due: false,
        }
    }

    /// False when the window is gone; the same holds for the other functions.
    fn fulfil(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::WarmUp => self.waits_for_question || self.load(),
            Wish::Use { folder } => self.use_package(folder),
            Wish::CancelLoad => self.cancel_load(),
            Wish::Release => {
                self.is_release_due = true;
                self.give_up_reading() && self.release_if_due()
            }
            Wish::Ask { order, slide, model } => {
                let id = order.id;
                match self.ask(*order, &slide, &model) {
                    Ok(()) => true,
                    Err(error) => self.tell(id, AskEvent::Failed { error }),
                }
            }
            Wish::Stop { id } => {
                let request = self.current.as_ref().filter(|current| current.order == id);
                match request.map(|current| self.worker.cancel(current.request)) {
                    // The answer goes on, and can be stopped again.
                    Some(Err(error)) => self.events.send(Event::Problem(as_sentence(&error.to_string()))),
                    _ => true,
                }
            }
        }
    }

    /// Puts another package in the place of the one in use, which stays where the other cannot be read.
    fn use_package(&mut self, folder: PathBuf) -> bool {
        if !self.give_up_reading() {
            return false;
        }
        let opened = match self.current {
            Some(_) => Err("an answer is being written".to_owned()),
            None => open(&folder),
        };
        let info = match opened {
            Ok(info) => info,
            Err(reason) => {
                return self.events.send(Event::PackageRefused { folder, sentence: as_sentence(&reason) });
            }
        };
        if let Some(load) = self.load.take() {
            self.given_up = self.given_up.max(load.request);
            if let Err(error) = self.worker.cancel_load(load.request) {
                // It goes on for nothing, and the new one follows.
                tracing::warn!("{error}");
            }
        }
        self.cancelled = None;
        self.folder = Some(folder);
        self.is_load_asked_for = false;
        self.events.send(Event::Package(Ok(Arc::new(info)))) && self.load()
    }

    fn load(&mut self) -> bool {
        let Some(folder) = self.folder.as_ref().filter(|_| !self.is_load_asked_for) else { return true };
        let package = folder.to_string_lossy().into_owned();
        let state = match self.worker.load(Load { package, ..Load::default() }) {
            Ok(request) => {
                (self.is_load_asked_for, self.waits_for_question, self.cancelled) = (true, false, None);
                let since = Instant::now();
                self.load = Some(RunningLoad { request, since });
                loading("starting", None, since)
            }
            Err(error) => WorkerState::Ended(as_sentence(&error.to_string())),
        };
        self.events.send(Event::Worker(state))
    }

    /// Ends the load that goes on, with the question that waits for it.
    fn cancel_load(&mut self) -> bool {
        let Some(load) = self.load.take() else { return true };
        if let Err(error) = self.worker.cancel_load(load.request) {
            self.load = Some(load);
            return self.events.send(Event::Problem(as_sentence(&error.to_string())));
        }
        self.forget_load();
        (self.given_up, self.cancelled) = (self.given_up.max(load.request), Some(load.request));
        let told = match self.current.take() {
            Some(current) => {
                // Where the load came to its end first, the worker is at the question by now, and would write for nobody.
                if let Err(error) = self.worker.cancel(current.request) {
                    tracing::warn!("{error}");
                }
                let error = "Loading the model was cancelled.".to_owned();
                self.tell(current.order, AskEvent::Failed { error })
            }
            None => true,
        };
        told && self.events.send(Event::Worker(WorkerState::Idle))
    }

    /// Ends the process, so that a run can have its memory: a load that goes on, or a model that is there. Not while a question
    /// is at work: it is called again at the question's end.
    fn release_if_due(&mut self) -> bool {
        if !self.is_release_due || self.current.is_some() {
            return true;
        }
        self.is_release_due = false;
        if !self.is_load_asked_for {
            return true;
        }
        if let Err(error) = self.worker.release() {
            return self.events.send(Event::Problem(as_sentence(&error.to_string())));
        }
        if let Some(load) = &self.load {
            self.given_up = self.given_up.max(load.request);
        }
        self.cancelled = None;
        self.forget_load();
        self.events.send(Event::Worker(WorkerState::Idle))
    }

    /// The worker has no model, and the next question is to load it.
    fn forget_load(&mut self) {
        (self.is_load_asked_for, self.waits_for_question, self.load) = (false, true, None);
    }

    /// When the load began that news with this id is of; `None` where that load is wanted no more. A load that is repeated after
    /// the worker died is told under its question's id, and begins with its first news, also when that question was stopped by
    /// then: no further question needs to load again.
    fn begin_of_load(&mut self, id: u64) -> Option<Instant> {
        let is_of_question = self.current.as_ref().is_some_and(|current| current.request == id);
        let is_repeated = is_of_question || !self.is_load_asked_for && id > self.given_up;
        if is_repeated && self.load.is_none() {
            self.load = Some(RunningLoad { request: id, since: Instant::now() });
            (self.is_load_asked_for, self.waits_for_question) = (true, false);
        }
        self.load.as_ref().filter(|load| load.request == id).map(|load| load.since)
    }

    fn ask(&mut self, order: AskOrder, slide: &SlideHandle, model: &ModelInfo) -> Result<(), String> {
        self.give_up_reading();
        self.load();
        let (id, is_read) = (order.id, order.how.written.is_some());
        let patches = question::cut(&order, slide, model)?;
        let (request, pixels) = question::request(order, model, &patches)?;
        let request = self.worker.ask(request, pixels).map_err(|error| as_sentence(&error.to_string()))?;
        self.current = Some(Current { order: id, request, is_read, slide: slide.info().clone(), patches });
        Ok(())
    }

    /// Ends the reading of an answer for its maps, if there is one: whatever else the model is wanted for comes first.
    fn give_up_reading(&mut self) -> bool {
        let Some(current) = self.current.take_if(|current| current.is_read) else { return true };
        if let Err(error) = self.worker.cancel(current.request) {
            // It goes on for nothing, and what is wanted follows.
            tracing::warn!("{error}");
        }
        self.tell(current.order, AskEvent::Finished(Finished::cancelled_before_it_began()))
    }

    fn tell(&self, id: u64, event: AskEvent) -> bool {
        self.events.send(Event::Ask { id, event })
    }

    fn hear(&mut self, event: WorkerEvent) -> bool {
        self.take_in(event) && self.release_if_due()
    }

    fn take_in(&mut self, event: WorkerEvent) -> bool {
        match event {
            WorkerEvent::Progress { id, progress } => {
                let Some(since) = self.begin_of_load(id) else { return true };
                self.events.send(Event::Worker(loading(&progress.what, Some(progress.fraction), since)))
            }
            WorkerEvent::Loaded { id, loaded } => {
                // Too late to be cancelled, and the model of the package in use all the same: it need not be loaded again.
                let is_too_late = self.cancelled == Some(id);
                if !is_too_late && self.begin_of_load(id).is_none() {
                    return true;
                }
                (self.load, self.cancelled) = (None, None);
                (self.is_load_asked_for, self.waits_for_question) = (true, false);
                let state = WorkerState::Ready { device: loaded.device, memory: loaded.memory };
                self.events.send(Event::Worker(state))
            }
            WorkerEvent::LoadFailed { id, error } => {
                self.begin_of_load(id).is_none() || self.load_failed(as_sentence(&error))
            }
            // What a process was loading has failed before it ended: this load is the next one's.
            WorkerEvent::Ended(_) if self.load.is_some() => true,
            WorkerEvent::Ended(reason) => {
                self.forget_load();
                self.events.send(Event::Worker(WorkerState::Ended(as_sentence(&reason))))
            }
            WorkerEvent::Warning(sentence) => {
                tracing::warn!("{sentence}");
                true
            }
            WorkerEvent::Inputs { .. } => true,
            WorkerEvent::Maps { id, maps } => self.maps(id, maps),
            WorkerEvent::Answer { id, event } => self.answer(id, event),
        }
    }

    /// The question that waits is told why; the worker would answer it later that no model is loaded.
    fn load_failed(&mut self, sentence: String) -> bool {
        self.forget_load();
        let told = match self.current.take() {
            Some(current) => self.tell(current.order, AskEvent::Failed { error: sentence.clone() }),
            None => self.events.send(Event::Problem(sentence.clone())),
        };
        told && self.events.send(Event::Worker(WorkerState::Ended(sentence)))
    }

    fn maps(&self, request: u64, maps: Vec<(SentenceMap, Vec<f32>)>) -> bool {
        let Some(current) = self.current.as_ref().filter(|current| current.request == request) else {
            return true;
        };
        let news = CasesEvent::Maps { id: current.order, maps: Arc::new(maps) };
        self.events.send(Event::Review(ReviewEvent::Cases(news)))
    }

    fn answer(&mut self, request: u64, mut event: AskEvent) -> bool {
        let Some(current) = self.current.as_ref().filter(|current| current.request == request) else {
            return true;
        };
        let order = current.order;
        match &mut event {
            AskEvent::Started { stamp } => ask::complete_stamp(stamp, &current.slide, &current.patches),
            AskEvent::Failed { error } => *error = as_sentence(error),
            AskEvent::Finished(_) | AskEvent::Stage { .. } | AskEvent::Token { .. } => {}
        }
        if event.is_end() {
            self.current = None;
        }
        self.tell(order, event)
    }
}

fn loading(what: &str, fraction: Option<f32>, since: Instant) -> WorkerState {
    WorkerState::Loading { what: what.to_owned(), fraction, since }
}

/// Errors are written for the middle of a line on the command line; in the window they begin one.
pub(super) fn as_sentence(error: &str) -> String {
    let mut characters = error.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests;
