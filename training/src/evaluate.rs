//! What a model reaches: benchmarks of a package, and held-out rows during a run. Only what is generated counts, as a user
//! gets it (greedy); what the likelihood of options says stands beside it.
//!
//! In reading order: who answers (`answerer`), what counts as right (`judge`), which option is likeliest (`likelihood`);
//! then the benchmarks: rows of a data set (`rows`), a folder of class folders (`classes`, `class_file`, `class_set`) with
//! what colour alone reaches (`colour`, `svm`), phantom tissue (`phantom`), and where sentences about it look (`pointing`).

pub mod answerer;
pub mod class_file;
pub mod class_set;
pub mod classes;
pub mod colour;
pub mod judge;
mod likelihood;
mod phantom;
pub mod pointing;
pub mod rows;
pub mod svm;

pub use self::phantom::{HELD_OUT_SEED, PhantomFigures, ScoredAnswer, phantom, phantom_limited};
