//! Models that are known by name: what they take, under which licence they come, and what it allows.
//!
//! Data about published models, none of which ships with the program. Sizes follow from the models' dimensions.

use serde::{Deserialize, Serialize};

use super::Error;
use super::Package;

/// What a licence says about using a model here, kept in its package and in every package made from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What it allows, as a sentence.
    pub allows: String,
    /// What is said where somebody is about to train on the model or on its answers, as a sentence; `None`: both are
    /// allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuses_training: Option<String>,
}

/// A published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// `Patho-R1-3B`
    pub name: &'static str,
    /// On the Hugging Face Hub, `WenchuanZhang/Patho-R1-3B`.
    pub repository: &'static str,
    pub licence: &'static str,
    pub allows: &'static str,
    /// As [`Terms::refuses_training`].
    pub refuses_training: Option<&'static str>,
    /// Whether access has to be asked for.
    pub is_gated: bool,
    /// The language model's dimensions, by which its size in each precision is reckoned.
    pub dimensions: Dimensions,
}

/// Of a known model's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    pub hidden: u64,
    pub layers: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub mlp: u64,
    pub vocabulary: u64,
    pub is_tied: bool,
    /// Values of the vision tower with its merger, which stay in full precision.
    pub vision: u64,
}

/// All that are known.
pub const KNOWN: &[Known] = &[];

impl Known {
    /// The model that a repository's name, a folder's name or a model card's heading names; capital letters do not matter.
    pub fn named(text: &str) -> Option<&'static Self> {
        let _ = text;
        todo!("share C")
    }

    /// Bytes in main memory where its language model is stored in this precision (`f32`, `q8_0`, `q4_k_m`).
    pub fn memory(&self, precision: &str) -> Option<u64> {
        let _ = precision;
        todo!("share C")
    }

    /// As a package keeps them.
    pub fn terms(&self) -> Terms {
        Terms { allows: self.allows.to_owned(), refuses_training: self.refuses_training.map(str::to_owned) }
    }
}

impl Package {
    /// Refuses a package that must not or cannot be trained: its licence forbids it, or its family is not ReinPath's.
    pub fn may_train(&self) -> Result<(), Error> {
        todo!("share C")
    }
}
