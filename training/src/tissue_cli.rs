//! The arguments of `reinpath-train dataset lung`, and what it does.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::tissue::{SetOptions, write_set};

/// Writes a folder of labelled lung patches (LC25000) as rows, described from what is measured in each patch
#[derive(Args, Clone, Debug)]
pub struct LungArgs {
    /// Folder with manifest.csv and a folder of images for each class
    pub folder: PathBuf,
    /// Folder to write to
    #[arg(short, long)]
    pub out: PathBuf,
    /// Seed of the split, the wordings and the views
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Questions about each image
    #[arg(long, default_value_t = 6)]
    pub questions: usize,
    /// Captions of each image
    #[arg(long, default_value_t = 2)]
    pub captions: usize,
    /// Turned, mirrored and recoloured views of each image to train on
    #[arg(long, default_value_t = 3)]
    pub views: usize,
}

impl LungArgs {
    /// Writes the rows, then one JSON line with what was written.
    pub fn run(&self, out: &mut impl std::io::Write) -> anyhow::Result<()> {
        let options = SetOptions {
            seed: self.seed,
            questions: self.questions,
            captions: self.captions,
            views: self.views,
        };
        let summary = write_set(&self.folder, &self.out, &options)?;
        let line = serde_json::json!({"type": "finished", "data": summary});
        writeln!(out, "{line}").context("the summary cannot be written to stdout")
    }
}
