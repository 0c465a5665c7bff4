//! The log of verdicts: entries chained by their hashes, so that a change or a gap is found, and a head that exports carry, so that a cut
//! tail is found against any of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What stands before a head in the text of every export.
pub const MARK: &str = "reinpath-log:";

/// The last entry of a log: how many there are, and its hash; no entries: 64 zeros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    pub entries: u64,
    /// In hexadecimal.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self { entries: 0, hash: "0".repeat(64) }
    }
}

/// As exports carry it: `reinpath-log:17:2c26…`.
impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{MARK}{}:{}", self.entries, self.hash)
    }
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub number: u64,
    /// Milliseconds since 1970.
    pub at: i64,
    /// The id of the answer that it is about.
    pub answer: String,
    /// The hash of the entry before it.
    pub previous: String,
    /// The entry as JSON.
    pub body: String,
    pub hash: String,
}

impl Link {
    /// The hash that it must have: BLAKE3 over number, time, answer, the hash before it and its body, a line each.
    pub fn right_hash(&self) -> String {
        let Self { number, at, answer, previous, body, .. } = self;
        let text = format!("reinpath log 1\n{number}\n{at}\n{answer}\n{previous}\n{body}");
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }
}
