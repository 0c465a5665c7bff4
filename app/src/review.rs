//! What people think of answers: verdicts sentence by sentence, the log that keeps them, and what is made of them.
//!
//! In reading order: [`verdict`] (what can be said, and what holds of all that was said), [`log`] (entries chained by their hashes),
//! [`verify`] (whether the log is whole), [`replay`] (whether the same comes out again), [`export`] (what leaves the store).

use std::sync::Arc;

use crate::case::{Answer, Case, Id, Maps, Question};

pub mod difference;
pub mod export;
pub mod log;
pub mod replay;
pub mod stability;
pub mod verdict;
pub mod verify;

/// An answer with all that is known of it, for exports and stability.
#[derive(Clone, Debug)]
pub struct Reviewed {
    pub case: Case,
    pub question: Arc<Question>,
    pub answer: Arc<Answer>,
    /// BLAKE3 of the answer as it is stored.
    pub hash: String,
    /// What the log says of it, in order.
    pub entries: Vec<verdict::Entry>,
    /// `None` where none were made.
    pub maps: Option<Maps>,
}

/// Which answers are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    Answers(Vec<Id>),
    Case(Id),
    /// All with a verdict, of all cases.
    Reviewed,
}

/// What was read for an export.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    pub reviewed: Vec<Reviewed>,
    /// The log's head when it was read.
    pub head: log::Head,
}
