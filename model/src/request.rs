//! What a worker is asked to do (`design/formats.md`, framing): the data of its requests and of its own events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::AnswerStage;

/// Version of the protocol between programs; another number ends the conversation.
pub const PROTOCOL: u32 = 1;

/// The first event of every child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub version: String,
    /// A worker's devices; empty for other children.
    #[serde(default)]
    pub devices: Vec<DeviceInfo>,
}

/// A device that a worker can compute on. Memory in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// As given to `--device`: `cpu`, `cuda:0`, `metal`.
    pub name: String,
    pub kind: String,
    pub memory_total: u64,
    pub memory_free: u64,
}

/// Request `load`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Folder of the package, on the machine where the worker runs.
    pub package: String,
    /// `cpu`, `cuda`, `cuda:N` or `metal`; `None`: the worker's own choice.
    #[serde(default)]
    pub device: Option<String>,
    /// Precision of the arithmetic; `None`: what suits the device.
    #[serde(default)]
    pub precision: Option<String>,
    /// Which of the package's alternative adapters is active; `None`: the first, if there are any. Where the package is
    /// loaded already, naming one costs no loading.
    #[serde(default)]
    pub adapter: Option<String>,
}

/// Event `progress` of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, in words.
    pub what: String,
    /// 0 to 1.
    pub fraction: f32,
}

/// Event `loaded`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// Bytes that the weights take.
    pub memory: u64,
    pub parameters: u64,
    pub device: String,
    pub precision: String,
}

/// Request `ask`; the pixels of all patches follow as the frame's bytes, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    pub patches: Vec<PatchHeader>,
    pub question: String,
    #[serde(default)]
    pub choices: Vec<String>,
    /// Clinical context: organ, stain, age, history. Empty when there is none.
    #[serde(default)]
    pub context: String,
    #[serde(default)]
    pub sampling: Sampling,
    /// Also return the pixels exactly as each encoder receives them: one `inputs` event (before `started`) whose data
    /// is a list of [`InputImage`] and whose bytes are their RGB rows.
    #[serde(default)]
    pub save_inputs: bool,
    /// Also return where each sentence of the answer looks: one `maps` event (after the last token, before `finished`)
    /// whose data is a list of [`SentenceMap`] and whose bytes are their grids, row by row in little-endian f32 from 0
    /// to 1.
    #[serde(default)]
    pub save_maps: bool,
    /// Earlier questions and answers of the conversation, in words; the model reads them before the question. Empty: the
    /// question stands alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Exchange>,
    /// An answer that is written already (headings included): it is read instead of generated, and the same events tell of
    /// it, log-probabilities, options and maps as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// The most pixels of a patch that the model is given, where its patches have any size; `None`: the package's own
    /// limit. It can only be lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
}

/// A question of a conversation with its answer, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exchange {
    pub question: String,
    #[serde(default)]
    pub choices: Vec<String>,
    /// As it was generated: headings included.
    pub answer: String,
}

/// Request `cancel`: ends another request, which answers with `finished` and stop `cancelled` (or `failed`, for a load).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The request to end.
    pub id: u64,
}

/// One patch of a request: its pixels are `width * height * 3` bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchHeader {
    pub width: u32,
    pub height: u32,
    /// Microns per pixel; `None` when unknown.
    #[serde(default)]
    pub mpp: Option<f64>,
}

/// Header of one picture in an `inputs` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputImage {
    pub patch: usize,
    pub encoder: String,
    pub width: u32,
    pub height: u32,
}

/// Header of one grid in a `maps` event: where in one patch a sentence of the answer looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SentenceMap {
    pub stage: AnswerStage,
    pub sentence: String,
    /// Index of its first token among those generated.
    pub first_token: usize,
    pub tokens: usize,
    pub patch: usize,
    pub rows: usize,
    pub cols: usize,
    /// What the grid covers: x, y, width, height in pixels of the patch.
    pub crop: [f64; 4],
    pub method: MapMethod,
    /// By how much the probabilities of the sentence's tokens, together, fall when the fifth of the cells with the highest
    /// values is masked: of 7 × 7 cells of the picture where the map is one of occlusion, else of the image tokens. 0.3
    /// may be one token that is less probable by 30 points.
    pub fall: f32,
    /// The mean of the same over random masks of as many cells.
    pub random_fall: f32,
}

impl SentenceMap {
    /// The number beside a map: how much more its cells matter to the sentence than as many random ones.
    pub fn difference(&self) -> f32 {
        self.fall - self.random_fall
    }
}

/// How a map was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MapMethod {
    /// Token activation map, the mean over the sentence's content words.
    Tam,
    /// Attention of the question's end relative to that of a general question: one map for all sentences of an answer,
    /// to compare with.
    RelativeAttention,
    /// What the sentence loses where pixels are hidden: the one that takes the longest.
    Occlusion,
}

impl MapMethod {
    /// The name as in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tam => "tam",
            Self::RelativeAttention => "relative_attention",
            Self::Occlusion => "occlusion",
        }
    }
}

/// How the next token is drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    /// Only this many of the likeliest tokens; 0 is all.
    #[serde(default)]
    pub top_k: usize,
    /// Smallest set of tokens with at least this probability; 1 is all.
    pub top_p: f64,
    /// What was written already becomes less likely: its logits are divided by this where positive, else multiplied
    /// (transformers' `repetition_penalty`, over the answer alone). 1 changes nothing.
    #[serde(default = "one")]
    pub repetition_penalty: f64,
    pub seed: u64,
    pub max_tokens: usize,
}

fn one() -> f64 {
    1.0
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0, seed: 0, max_tokens: 256 }
    }
}
