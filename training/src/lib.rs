//! Training of ReinPath models: phantom tissue, data sets, stages, evaluation and runs.
//!
//! In reading order: what is trained on (`phantom`, `tissue`, `rows`, `dataset`, `subtask`), what a run is told and tells
//! (`config`, `event`, `run_folder`) and what answers earn (`reward`); then, behind the feature `engine`, what all
//! training shares (`policy`, `batch`, `gradients`, `objective`, `optimiser`, `trainer`, …), one file for each stage
//! (`alignment`, `cold_start`, `grpo`) and what takes a package through them (`three_stages`). This crate knows no slide
//! and no window.

pub mod config;
pub mod dataset;
pub mod disk;
pub mod error;
pub mod event;
pub mod machine;
pub mod phantom;
pub mod phantom_set;
pub mod reward;
pub mod rollout_record;
pub mod rows;
pub mod run_folder;
pub mod seed;
pub mod statistics;
pub mod subtask;
pub mod tensorboard;
pub mod tissue;
pub mod tissue_cli;

#[cfg(feature = "engine")]
pub mod ablations;
#[cfg(feature = "engine")]
pub(crate) mod alignment;
#[cfg(feature = "engine")]
pub mod batch;
#[cfg(feature = "engine")]
pub mod checkpoint;
#[cfg(feature = "engine")]
pub(crate) mod cold_start;
#[cfg(feature = "engine")]
pub mod dataset_cli;
#[cfg(feature = "engine")]
pub mod dry_run;
#[cfg(feature = "engine")]
pub mod evaluate;
#[cfg(feature = "engine")]
pub mod evaluate_cli;
#[cfg(feature = "engine")]
pub(crate) mod example;
#[cfg(feature = "engine")]
pub mod features;
#[cfg(feature = "engine")]
pub mod features_cache;
#[cfg(feature = "engine")]
pub mod fields;
#[cfg(feature = "engine")]
pub mod gradients;
#[cfg(feature = "engine")]
pub(crate) mod grpo;
#[cfg(feature = "engine")]
pub mod init;
#[cfg(feature = "engine")]
pub mod objective;
#[cfg(feature = "engine")]
pub mod optimiser;
#[cfg(feature = "engine")]
pub(crate) mod package_writer;
#[cfg(feature = "engine")]
pub mod parallel;
#[cfg(feature = "engine")]
pub mod policy;
#[cfg(feature = "engine")]
pub mod pretrain;
#[cfg(feature = "engine")]
pub mod rollout;
#[cfg(feature = "engine")]
pub mod run_cli;
#[cfg(feature = "engine")]
pub mod stage;
#[cfg(feature = "engine")]
pub mod supervised;
#[cfg(feature = "engine")]
pub mod three_stages;
#[cfg(feature = "engine")]
pub mod trainer;
