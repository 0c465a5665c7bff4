//! In which settings runs differ, key by key.

/// A setting in which runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As in `grpo.kl_weight`.
    pub key: String,
    /// Of each run, in their order; `None` where it has none.
    pub values: Vec<Option<String>>,
}
