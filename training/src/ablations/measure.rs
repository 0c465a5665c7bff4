//! What a trained arm reaches on the held-out rows, and how that is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use reinpath_model::package::{Manifest, Package};
use reinpath_model::patch::Patch;
use reinpath_model::reinpath::ReinPath;
use serde::{Deserialize, Serialize};

use super::settings::Measure;
use crate::dataset::ROWS;
use crate::error::{Error, Result};
use crate::evaluate::answerer::Answerer;
use crate::evaluate::rows::{AnsweredRow, answer, asked, by_likelihood, figures, likeliest, patches};
use crate::event::RowFigures;
use crate::phantom::Tally;
use crate::rows::{Row, Split, read_rows};
use crate::run_folder::write_whole;

/// Patches that go through the encoders at once.
const PATCHES: usize = 16;

/// What became of one arm with one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) arm: String,
    pub(super) seed: u64,
    /// Time of the training, or of its last part where it was broken off.
    pub(super) training_secs: f64,
    pub(super) measured: Option<Measured>,
}

/// What an arm reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) figures: RowFigures,
    pub(super) by_likelihood: Tally,
    pub(super) secs: f64,
    /// In the order of the held-out rows.
    pub(super) outcomes: Vec<Outcome>,
}

/// What became of one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) row: String,
    /// The image that it is about: questions about one are drawn together.
    pub(super) image: String,
    /// `None` where no answer was asked for.
    pub(super) is_right: Option<bool>,
    /// `None` where there are no options.
    pub(super) is_likeliest_right: Option<bool>,
    pub(super) tokens: usize,
}

/// The held-out rows, with the features of their images as long as the program runs: encoders are frozen.
pub(super) struct HeldOut {
    folder: PathBuf,
    rows: Vec<Row>,
    /// By the encoders' files, and in the order of the rows: (images, image tokens, fused).
    features: BTreeMap<String, Vec<Tensor>>,
}

impl HeldOut {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let rows = read_rows(&folder.join(ROWS)).map_err(|e| Error::Benchmark(e.to_string()))?;
        let rows = asked(&rows, Some(Split::Test)).into_iter().cloned().collect();
        Ok(Self { folder: folder.to_owned(), rows, features: BTreeMap::new() })
    }

    /// Asks a package; `goes_on` is looked at after each batch.
    pub(super) fn measure(
        &mut self,
        package: &Path,
        measure: Measure,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Measured>> {
        if measure == Measure::Nothing {
            return Ok(None);
        }
        let begin = Instant::now();
        let package = Package::open(package)?;
        let model = ReinPath::load(&package, &Device::Cpu, &mut |_, _| true)?;
        let features = self.features(&model)?;
        let place: BTreeMap<&str, usize> = (self.rows.iter().map(|row| row.id.as_str())).zip(0..).collect();
        let images = |rows: &[&Row]| -> Result<Vec<Tensor>> {
            rows.iter().map(|row| Ok(model.embeddings(&features[place[row.id.as_str()]])?)).collect()
        };
        let rows: Vec<&Row> = self.rows.iter().collect();
        let answerer = Answerer::of_package(&model, &images);
        let mut each = |_: &AnsweredRow| goes_on();
        let answered = match measure {
            Measure::Likelihoods => likeliest(&answerer, &rows, &mut each)?,
            Measure::Answers | Measure::Nothing => answer(&answerer, &rows, true, &mut each)?,
        };
        Ok(Some(Measured {
            figures: figures(&rows, &answered),
            by_likelihood: by_likelihood(&answered),
            secs: begin.elapsed().as_secs_f64(),
            outcomes: rows.iter().zip(&answered).map(|(row, answer)| Outcome::new(row, answer)).collect(),
        }))
    }

    /// The features of the rows' images; clones of tensors share their values.
    fn features(&mut self, model: &ReinPath) -> Result<Vec<Tensor>> {
        let key = encoders(model.manifest());
        if let Some(features) = self.features.get(&key) {
            return Ok(features.clone());
        }
        let of_rows = |rows: &[Row]| -> Result<Vec<Tensor>> {
            let patches = rows.iter().map(|row| patches(&self.folder, row)).collect::<Result<Vec<_>>>()?;
            let features = model.features(&patches.concat())?;
            let mut at = 0;
            let of_row = |patches: Vec<Patch>| {
                at += patches.len();
                Ok(features.narrow(0, at - patches.len(), patches.len())?)
            };
            patches.into_iter().map(of_row).collect()
        };
        let parts: Vec<Vec<Tensor>> = self.rows.par_chunks(PATCHES).map(of_rows).collect::<Result<_>>()?;
        let features = parts.concat();
        self.features.insert(key, features.clone());
        Ok(features)
    }
}

/// Names the encoders by what is in their files.
fn encoders(manifest: &Manifest) -> String {
    let weights = manifest.encoders.iter().flat_map(|encoder| &encoder.weights);
    let hashes = weights.map(|name| manifest.files.get(name).map_or(name, |record| &record.sha256).as_str());
    hashes.collect::<Vec<_>>().join(" ")
}

impl Outcome {
    fn new(row: &Row, answer: &AnsweredRow) -> Self {
        Self {
            row: row.id.clone(),
            image: row.images.first().cloned().unwrap_or_default(),
            is_right: answer.is_right,
            is_likeliest_right: answer.is_likeliest_right(),
            tokens: answer.tokens,
        }
    }
}

impl Record {
    /// Reads a record; `None` where there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let record = serde_json::from_str(&text).map_err(|e| {
            Error::Benchmark(format!(
                "the record is damaged ({e}); remove it to measure again: {}",
                path.display()
            ))
        })?;
        Ok(Some(record))
    }

    /// Writes it whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|e| Error::Benchmark(e.to_string()))?;
        write_whole(path, text.as_bytes())
    }
}
