//! What a run keeps of its rollouts: a line for each question, for people and for the training tab.

use std::collections::BTreeMap;

use reinpath_model::event::Stop;
use serde::{Deserialize, Serialize};

/// A question of a batch, with the answers that were drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutRecord {
    pub stage: String,
    /// Update that the answers were drawn for, from 1.
    pub step: usize,
    /// Id of the row.
    pub row: String,
    /// Paths of the row's images, as they can be opened from where the run was started.
    pub images: Vec<String>,
    pub question: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The reference answer's text; empty where the row has none.
    pub reference: String,
    pub answers: Vec<AnswerRecord>,
}

/// One answer of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerRecord {
    pub text: String,
    pub tokens: usize,
    pub stop: Stop,
    /// Sum of the tokens' log-probabilities when they were drawn.
    pub logprob: f64,
    /// Each part of the reward by name, unweighted; a part that could not be scored is absent.
    pub rewards: BTreeMap<String, f64>,
    /// The weighted sum.
    pub reward: f64,
    pub advantage: f64,
    pub is_right: bool,
}
