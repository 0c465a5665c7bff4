//! The log of a run: its newest lines, and a search through all of it.

/// Lines of a run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// Lines of the whole log that match, where something is searched for.
    pub found: Option<usize>,
    /// Bytes of the log that come before the first line and were not read.
    pub bytes_before: u64,
}

/// A line, and how grave it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub text: String,
    pub level: LogLevel,
}

/// How grave a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warning,
    #[default]
    Other,
}
