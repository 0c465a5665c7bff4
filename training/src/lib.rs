//! Training of ReinPath models: phantom tissue, data sets, stages, evaluation and runs.

pub mod phantom;
pub mod rows;
pub mod subtask;
