//! What is going wrong in a run: pure functions of what it told, each alarm a sentence with the setting that would help.

/// Something that deserves attention.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    pub kind: AlarmKind,
    /// `alignment`, `cold_start` or `grpo`.
    pub stage: String,
    /// The first step of the stretch in which it holds.
    pub since: usize,
    /// What is seen, with its number.
    pub sentence: String,
    /// What would help, as a sentence.
    pub cure: String,
    /// The setting that the cure names, as in `grpo.max_tokens`, and a value to try; the form can take both.
    pub setting: Option<(String, serde_json::Value)>,
}

/// What can go wrong, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// No event for long, though the process lives.
    Silent,
    NotANumber,
    AllCutOff,
    NoSpread,
    KlRunsAway,
    EntropyCollapses,
    EntropyExplodes,
    Degenerate,
    Gaming,
    LossRises,
    GpuIdle,
    DiskFull,
}
