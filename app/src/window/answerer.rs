//! Who answers questions: the seam between the window and the model, and the real one behind it.
//!
//! The window sends an [`AskOrder`] and hears events with the order's id; it neither waits nor knows what a worker is. Tests put a
//! scripted answerer in its place.

use std::path::PathBuf;
use std::sync::Arc;

use super::state::ModelInfo;
use super::update::AskOrder;
use super::workers::EventSender;
use crate::slide::SlideHandle;

/// Answers questions; none of these wait.
pub trait Answerer: Send {
    /// The model will be needed soon.
    fn warm_up(&mut self);
    /// Takes another package, tells `Event::Package` and loads its model at once; or tells `Event::PackageRefused` and keeps
    /// the package in use.
    fn use_package(&mut self, folder: PathBuf);
    /// Ends the loading of the model, which the next question loads again; a question that waits for it fails.
    fn cancel_load(&mut self);
    /// Gives up the memory that the model takes, as when a run needs it, and tells `Event::Worker(Idle)`; the next question loads it
    /// again. An answer that is being written is finished first. Nothing to do for who holds no model.
    fn release(&mut self) {}
    /// Answers with events of the order's id, ending with `Finished` or `Failed`; where maps are wanted, `CasesEvent::Maps` comes before
    /// the end. An answer that is only read again, for its maps, gives way to any other.
    fn ask(&mut self, order: AskOrder, slide: SlideHandle, model: Arc<ModelInfo>);
    /// Ends an answer early; it still ends with `Finished` or `Failed`.
    fn stop(&mut self, id: u64);
}

/// Makes the answerer once there is somewhere to send events.
pub type AnswererMaker = Box<dyn FnOnce(EventSender) -> Box<dyn Answerer> + Send>;
