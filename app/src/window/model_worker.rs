//! The real answerer: a thread that cuts the patches of a question, sends them to the model's process and passes its events on.
//!
//! The package is read at once, because the patch tool needs its size; the model is loaded at the first need. What the process is, and
//! what happens when it dies, is `crate::worker`'s.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use reinpath_model::event::AskEvent;
use reinpath_model::package::Package;
use reinpath_model::request::{Load, Sampling};

use super::answerer::Answerer;
use super::event::Event;
use super::state::{ModelInfo, WorkerState};
use super::update::AskOrder;
use super::workers::EventSender;
use crate::ask::{self, CutPatch, Question};
use crate::places;
use crate::slide::{SlideHandle, SlideInfo};
use crate::worker::{Worker, WorkerEvent};

/// Wishes that wait while patches are cut.
const MOST_WISHES: usize = 16;

enum Wish {
    WarmUp,
    Ask { order: AskOrder, slide: SlideHandle, model: Arc<ModelInfo> },
    Stop { id: u64 },
}

/// The window's end of the thread, which ends with it.
pub(super) struct ModelWorker {
    wishes: Sender<Wish>,
    events: EventSender,
}

impl ModelWorker {
    /// Starts the thread, which reads the package first.
    pub(super) fn start(events: &EventSender) -> Self {
        let (wishes, receiver) = bounded(MOST_WISHES);
        let thread_events = events.clone();
        let started = Builder::new().name("model-client".to_owned()).spawn(move || {
            if let Err(sentence) = serve(&receiver, &thread_events) {
                thread_events.send(Event::Package(Err(sentence)));
            }
        });
        if let Err(error) = started {
            tracing::error!("cannot start the thread model-client: {error}");
        }
        Self { wishes, events: events.clone() }
    }

    fn wish(&self, wish: Wish) {
        let Err(
            TrySendError::Full(Wish::Ask { order, .. }) | TrySendError::Disconnected(Wish::Ask { order, .. }),
        ) = self.wishes.try_send(wish)
        else {
            return;
        };
        let error = "The model takes no questions; start the program again.".to_owned();
        let events = self.events.clone();
        // Not from the window thread: the channel of events may be full.
        let event = Event::Ask { id: order.id, event: AskEvent::Failed { error } };
        drop(Builder::new().name("ask-refused".to_owned()).spawn(move || events.send(event)));
    }
}

impl Answerer for ModelWorker {
    fn warm_up(&mut self) {
        self.wish(Wish::WarmUp);
    }

    fn ask(&mut self, order: AskOrder, slide: SlideHandle, model: Arc<ModelInfo>) {
        self.wish(Wish::Ask { order, slide, model });
    }

    fn stop(&mut self, id: u64) {
        self.wish(Wish::Stop { id });
    }
}

/// Reads the package and answers until the window is gone; an error is a sentence about the package.
fn serve(wishes: &Receiver<Wish>, events: &EventSender) -> Result<(), String> {
    let folder = places::demo_package().map_err(|error| as_sentence(&error.to_string()))?;
    let package = Package::open(&folder).map_err(|error| as_sentence(&error.to_string()))?;
    let info = model_info(&package)?;
    events.send(Event::Package(Ok(Arc::new(info))));
    let worker = Worker::start(None, || {}).map_err(|error| as_sentence(&error.to_string()))?;
    let answers = worker.events().clone();
    let mut client =
        Client { worker, events, folder, is_load_asked_for: false, load_since: None, current: None };
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

fn model_info(package: &Package) -> Result<ModelInfo, String> {
    let manifest = &package.manifest;
    let encoder = manifest.encoders.first().cloned();
    let encoder =
        encoder.ok_or_else(|| format!("The model package names no encoder: {}", package.folder.display()))?;
    Ok(ModelInfo {
        name: manifest.name.clone(),
        patch: manifest.patch,
        encoder,
        generation: manifest.generation.clone(),
    })
}

/// A question that the worker has.
struct Current {
    /// The window's number.
    order: u64,
    /// The worker's.
    request: u64,
    slide: SlideInfo,
    patches: Vec<CutPatch>,
}

struct Client<'a> {
    worker: Worker,
    events: &'a EventSender,
    folder: PathBuf,
    is_load_asked_for: bool,
    /// When the load that goes on began: what is left is reckoned from its whole time.
    load_since: Option<Instant>,
    current: Option<Current>,
}

impl Client<'_> {
    /// False when the window is gone; the same holds for the other functions.
    fn fulfil(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::WarmUp => self.load(),
            Wish::Ask { order, slide, model } => {
                let id = order.id;
                match self.ask(order, &slide, &model) {
                    Ok(()) => true,
                    Err(error) => self.tell(id, AskEvent::Failed { error }),
                }
            }
            Wish::Stop { id } => {
                let request = self.current.as_ref().filter(|current| current.order == id);
                match request.map(|current| self.worker.cancel(current.request)) {
                    Some(Err(error)) => {
                        self.tell(id, AskEvent::Failed { error: as_sentence(&error.to_string()) })
                    }
                    _ => true,
                }
            }
        }
    }

    fn load(&mut self) -> bool {
        if self.is_load_asked_for {
            return true;
        }
        let package = self.folder.to_string_lossy().into_owned();
        let state = match self.worker.load(Load { package, device: None, precision: None }) {
            Ok(_id) => {
                self.is_load_asked_for = true;
                let since = Instant::now();
                self.load_since = Some(since);
                loading("starting", None, since)
            }
            Err(error) => WorkerState::Ended(as_sentence(&error.to_string())),
        };
        self.events.send(Event::Worker(state))
    }

    fn ask(&mut self, order: AskOrder, slide: &SlideHandle, model: &ModelInfo) -> Result<(), String> {
        self.load();
        let in_words = |error: ask::Error| as_sentence(&error.to_string());
        let patches: Vec<CutPatch> = order
            .regions
            .iter()
            .map(|region| ask::cut_patch(slide, *region, model.patch.mpp))
            .collect::<Result<_, _>>()
            .map_err(in_words)?;
        let generation = &model.generation;
        let question = Question {
            text: order.text.question,
            choices: order.text.choices,
            context: order.text.context,
            sampling: Sampling {
                temperature: generation.temperature,
                top_p: generation.top_p,
                max_tokens: generation.max_tokens,
                ..Sampling::default()
            },
            save_inputs: false,
        };
        let (request, pixels) = ask::request(&question, &patches).map_err(in_words)?;
        let request = self.worker.ask(request, pixels).map_err(|error| as_sentence(&error.to_string()))?;
        self.current = Some(Current { order: order.id, request, slide: slide.info().clone(), patches });
        Ok(())
    }

    fn tell(&self, id: u64, event: AskEvent) -> bool {
        self.events.send(Event::Ask { id, event })
    }

    fn hear(&mut self, event: WorkerEvent) -> bool {
        match event {
            WorkerEvent::Progress { progress, .. } => {
                // A load that is repeated after the worker died begins with its first progress.
                let since = *self.load_since.get_or_insert_with(Instant::now);
                self.events.send(Event::Worker(loading(&progress.what, Some(progress.fraction), since)))
            }
            WorkerEvent::Loaded { loaded, .. } => {
                self.load_since = None;
                self.events.send(Event::Worker(WorkerState::Ready { device: loaded.device }))
            }
            WorkerEvent::LoadFailed { error, .. } => self.load_failed(as_sentence(&error)),
            WorkerEvent::Ended(reason) => {
                self.load_since = None;
                self.events.send(Event::Worker(WorkerState::Ended(as_sentence(&reason))))
            }
            WorkerEvent::Warning(sentence) => {
                tracing::warn!("{sentence}");
                true
            }
            WorkerEvent::Inputs { .. } => true,
            WorkerEvent::Answer { id, event } => self.answer(id, event),
        }
    }

    /// The question that waits is told why; the worker would answer it later that no model is loaded.
    fn load_failed(&mut self, sentence: String) -> bool {
        (self.is_load_asked_for, self.load_since) = (false, None);
        let told = match self.current.take() {
            Some(current) => self.tell(current.order, AskEvent::Failed { error: sentence.clone() }),
            None => self.events.send(Event::Problem(sentence.clone())),
        };
        told && self.events.send(Event::Worker(WorkerState::Ended(sentence)))
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
fn as_sentence(error: &str) -> String {
    let mut characters = error.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use reinpath_model::request::Progress;

    use super::*;
    use crate::viewer::tile_plan::tests::slide;

    /// A client whose worker is never started, and what it tells the window.
    fn with_client(test: impl FnOnce(&mut Client<'_>, &Receiver<Event>)) {
        let (events, told) = EventSender::new(egui::Context::default());
        let mut client = Client {
            worker: Worker::start(Some("true"), || {}).unwrap(),
            events: &events,
            folder: PathBuf::new(),
            is_load_asked_for: true,
            load_since: None,
            current: None,
        };
        test(&mut client, &told);
    }

    fn load_failed() -> WorkerEvent {
        WorkerEvent::LoadFailed { id: 1, error: "the tensor a is missing: uni.safetensors".to_owned() }
    }

    #[test]
    fn a_question_whose_model_cannot_be_loaded_is_told_why_and_told_once() {
        with_client(|client, told| {
            client.current = Some(Current { order: 7, request: 2, slide: slide(), patches: Vec::new() });
            assert!(client.hear(load_failed()));
            let no_model = AskEvent::Failed { error: "no model is loaded".to_owned() };
            assert!(client.hear(WorkerEvent::Answer { id: 2, event: no_model }));
            assert!(!client.is_load_asked_for, "the next question tries again");
            let told: Vec<Event> = told.try_iter().collect();
            let [Event::Ask { id: 7, event: AskEvent::Failed { error } }, Event::Worker(state)] =
                told.as_slice()
            else {
                panic!("{told:?}")
            };
            assert_eq!(error, "The tensor a is missing: uni.safetensors");
            assert!(matches!(state, WorkerState::Ended(sentence) if sentence == error));
        });
    }

    #[test]
    fn without_a_question_the_window_says_that_the_model_cannot_be_loaded() {
        with_client(|client, told| {
            client.hear(load_failed());
            assert!(matches!(told.try_recv(), Ok(Event::Problem(sentence)) if sentence.contains("tensor a")));
        });
    }

    #[test]
    fn the_time_of_a_load_counts_from_its_beginning() {
        with_client(|client, told| {
            for fraction in [0.1, 0.2] {
                let progress = Progress { what: "weights".to_owned(), fraction };
                client.hear(WorkerEvent::Progress { id: 1, progress });
            }
            let begun: Vec<Instant> = told
                .try_iter()
                .filter_map(|event| match event {
                    Event::Worker(WorkerState::Loading { since, .. }) => Some(since),
                    _ => None,
                })
                .collect();
            assert!(begun.len() == 2 && begun[0] == begun[1]);
        });
    }
}
