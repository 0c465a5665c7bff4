//! Held-out rows, answered by the policy as a user would be answered.

use std::path::PathBuf;

use candle_core::Tensor;
use reinpath_model::request::Sampling;

use crate::dataset::{Purpose, SourceRow, read_sources};
use crate::error::{Error, Result};
use crate::evaluate::answerer::Answerer;
use crate::evaluate::rows::{answer, figures};
use crate::event::RowFigures;
use crate::features_cache::Features;
use crate::policy::Policy;
use crate::rows::Row;
use crate::trainer::{Context, HeldOut, Watch};

/// Answers written at once by a thread.
const BATCH: usize = 32;

/// The rows that a run is evaluated on.
pub(super) struct HeldOutRows<'a> {
    context: &'a Context,
    /// With a number for each image, by which its features are found, in place of its path.
    rows: Vec<Row>,
    features: Features,
}

impl<'a> HeldOutRows<'a> {
    /// Reads the rows that the configuration names; `None` where it names none.
    pub(super) fn new(context: &'a Context) -> Result<Option<Self>> {
        let sources = &context.config.evaluation.data;
        if sources.is_empty() {
            return Ok(None);
        }
        let read = read_sources(sources, Purpose::Evaluation, context.config.seed)?;
        let mut images: Vec<PathBuf> = read.rows.iter().flat_map(|row| row.images.iter().cloned()).collect();
        images.sort();
        images.dedup();
        let features = context.features(&images, &read.rows)?;
        let place = |image: &PathBuf| images.binary_search(image).ok().filter(|&place| features.has(place));
        let numbered = |SourceRow { row, images, .. }: &SourceRow| {
            let places = images.iter().map(|image| Some(place(image)?.to_string()));
            Some(Row { images: places.collect::<Option<_>>()?, ..row.clone() })
        };
        let rows = read.rows.iter().filter_map(numbered).collect();
        Ok(Some(Self { context, rows, features }))
    }
}

impl HeldOut for HeldOutRows<'_> {
    fn figures(&self, policy: &Policy, watch: &Watch<'_>) -> Result<RowFigures> {
        let (policy, model) = (policy.merged()?, &self.context.model);
        let images = |rows: &[&Row]| -> Result<Vec<Tensor>> {
            let of_row = |row: &&Row| -> Result<Tensor> {
                let places = row.images.iter().map(|place| place.parse::<usize>());
                let places: Vec<usize> =
                    places.collect::<std::result::Result<_, _>>().map_err(|_no_number| {
                        Error::Features(format!("the images of the row {} are not known", row.id))
                    })?;
                let features = self.features.tensor(&places)?.to_device(&policy.device)?;
                Ok(policy.projector.forward(&features)?)
            };
            rows.iter().map(of_row).collect()
        };
        let max_tokens = match self.context.config.evaluation.max_tokens {
            0 => model.manifest().generation.max_tokens,
            tokens => tokens,
        };
        let answerer = Answerer {
            llama: &policy.llama,
            tokenizer: &model.tokenizer,
            stop: &model.stop,
            sampling: Sampling { max_tokens, ..Sampling::default() },
            images: &images,
            batch: BATCH,
            workers: if model.device().is_cpu() { rayon::current_num_threads() } else { 1 },
        };
        let rows: Vec<&Row> = self.rows.iter().collect();
        let answered = answer(&answerer, &rows, false, &mut |_| !watch.is_stopped())?;
        Ok(figures(&rows, &answered))
    }
}
