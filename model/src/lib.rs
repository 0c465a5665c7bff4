//! The ReinPath model: packages, patches, prompts, encoders, projector, language model, generation, worker.
//!
//! In reading order: what is said between programs (`frame`, `request`, `event`), what an answer is made of (`stage`),
//! what a model is made of (`package`), what it sees (`patch`); then, behind the feature `inference`, the arithmetic.
//! This crate knows no slide, no window and no command line but its worker's.

pub mod event;
pub mod frame;
pub mod package;
pub mod patch;
pub mod prose;
pub mod request;
mod resample;
pub mod stage;

#[cfg(feature = "inference")]
mod adapter;
#[cfg(feature = "inference")]
pub mod answer;
#[cfg(feature = "inference")]
pub mod assembly;
#[cfg(feature = "inference")]
pub mod attribution;
#[cfg(feature = "inference")]
pub mod check;
#[cfg(feature = "inference")]
pub mod conch;
#[cfg(feature = "inference")]
pub mod convert;
#[cfg(feature = "inference")]
pub mod detokeniser;
#[cfg(feature = "inference")]
pub mod device;
#[cfg(feature = "inference")]
pub mod fixture;
#[cfg(feature = "inference")]
pub mod generate;
#[cfg(feature = "inference")]
pub mod images;
#[cfg(feature = "inference")]
pub mod known;
#[cfg(feature = "inference")]
mod language;
#[cfg(feature = "inference")]
pub mod layers;
#[cfg(feature = "inference")]
pub mod llama;
#[cfg(feature = "inference")]
pub mod ops;
#[cfg(feature = "inference")]
mod options;
#[cfg(feature = "inference")]
pub mod projector;
#[cfg(feature = "inference")]
pub mod prompt;
#[cfg(feature = "inference")]
pub mod quantised;
#[cfg(feature = "inference")]
pub mod qwen;
#[cfg(feature = "inference")]
mod recent;
#[cfg(feature = "inference")]
pub mod reinpath;
#[cfg(feature = "inference")]
mod room;
#[cfg(feature = "inference")]
pub mod sampler;
#[cfg(feature = "inference")]
pub mod sentence;
#[cfg(feature = "inference")]
pub mod template;
#[cfg(feature = "inference")]
pub mod tensors;
#[cfg(feature = "inference")]
pub mod tokenizer;
#[cfg(feature = "inference")]
pub mod vit;
#[cfg(feature = "inference")]
pub mod weights;
#[cfg(feature = "inference")]
pub mod worker;
