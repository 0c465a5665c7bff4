//! A model that is none: streams the same word, so that an answer is written while tiles load.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;

use reinpath_model::event::{AskEvent, Finished, Stop};
use reinpath_model::package::Generation;
use reinpath_model::stage::{AnswerStage, StagedAnswer};

use crate::slide::SlideHandle;
use crate::window::answerer::Answerer;
use crate::window::event::Event;
use crate::window::state::ModelInfo;
use crate::window::update::AskOrder;
use crate::window::workers::EventSender;

/// Tokens of the answer, and the time between two.
const TOKENS: usize = 400;
const TOKEN_PACE: Duration = Duration::from_millis(20);

/// It.
pub(super) struct Script {
    events: EventSender,
    stop: Arc<AtomicBool>,
}

impl Script {
    /// Ends its answer when `stop` is set.
    pub(super) fn new(events: EventSender, stop: Arc<AtomicBool>) -> Self {
        let package = Event::Package(Ok(Arc::new(patch_of_the_demo())));
        // Not from the window thread, which takes the events.
        let told = events.clone();
        drop(Builder::new().name("script-package".to_owned()).spawn(move || told.send(package)));
        Self { events, stop }
    }
}

impl Answerer for Script {
    fn warm_up(&mut self) {}

    fn use_package(&mut self, _folder: PathBuf) {}

    fn cancel_load(&mut self) {}

    fn ask(&mut self, order: AskOrder, _slide: SlideHandle, _model: Arc<ModelInfo>) {
        let (events, stop) = (self.events.clone(), Arc::clone(&self.stop));
        let stream = move || {
            let send = |event| events.send(Event::Ask { id: order.id, event });
            send(AskEvent::Started { stamp: Box::default() });
            for index in 0..TOKENS {
                let stage = AnswerStage::ALL[index * 3 / TOKENS];
                if index % TOKENS.div_ceil(3) == 0 {
                    send(AskEvent::Stage { stage });
                }
                let token =
                    AskEvent::Token { index, stage: Some(stage), text: "glands ".to_owned(), logprob: 0.0 };
                if stop.load(Ordering::Relaxed) || !send(token) {
                    return;
                }
                std::thread::sleep(TOKEN_PACE);
            }
            send(AskEvent::Finished(Finished {
                answer: StagedAnswer::default(),
                choice: None,
                format_ok: true,
                tokens: TOKENS,
                prefill_secs: 0.0,
                decode_secs: TOKEN_PACE.as_secs_f64() * TOKENS as f64,
                stop: Stop::End,
                raw: String::new(),
                options: Vec::new(),
            }));
        };
        drop(Builder::new().name("script-answer".to_owned()).spawn(stream));
    }

    fn stop(&mut self, _id: u64) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Patches as the demo model takes them; no package is needed to measure the window.
fn patch_of_the_demo() -> ModelInfo {
    let generation = Generation { max_tokens: TOKENS, ..Generation::default() };
    ModelInfo { folder: PathBuf::new(), generation, ..ModelInfo::scripted("none (self-test)") }
}
