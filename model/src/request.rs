//! What a worker is asked to do (`design/formats.md`, framing): the data of its requests and of its own events.

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Folder of the package, on the machine where the worker runs.
    pub package: String,
    /// `cpu`, `cuda`, `cuda:N` or `metal`; `None`: the worker's own choice.
    #[serde(default)]
    pub device: Option<String>,
    /// Precision of the arithmetic; `None`: what suits the device.
    #[serde(default)]
    pub precision: Option<String>,
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

/// How the next token is drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    /// Smallest set of tokens with at least this probability; 1 is all.
    pub top_p: f64,
    pub seed: u64,
    pub max_tokens: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, seed: 0, max_tokens: 256 }
    }
}
