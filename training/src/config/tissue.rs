//! Real tissue in stage 0: from where, how much of it, and how it is shown.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Optimisation;
use crate::error::{Error, Result};
use crate::rows::Split;

/// Labelled patches beside the phantom fields, as `reinpath-train dataset lung` writes them. Both encoders learn their
/// classes and what was measured in them; tokenizer, base decoder and text encoder learn their words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TissueConfig {
    /// Folder of the patches, relative to the working folder; none: phantom tissue alone, and no other setting of this
    /// table has any effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// What the tissue is called in the package's card.
    pub name: String,
    /// Parts of the data set that are learnt from; never `test`.
    #[serde(default = "train_alone")]
    pub splits: Vec<Split>,
    /// Share of the texts, drills and observations that are about patches, from 0 to 1.
    pub texts: f64,
    /// Patches in each batch of the encoders, beside its phantom fields.
    pub batch: usize,
    /// Weight of a patch's class in the loss; an attribute of a phantom field weighs 1.
    pub class_weight: f64,
    /// Weight of each attribute that was measured in a patch.
    pub measured_weight: f64,
    /// Weight of the numbers that describe a view's texture and colours (`pretrain/texture.rs`), together; 0: not asked
    /// for.
    #[serde(default)]
    pub texture_weight: f64,
    /// Weight of what a machine fitted on those numbers says of each class (`pretrain/teacher.rs`), beside or in place of
    /// the class itself; 0: not asked for.
    #[serde(default)]
    pub teacher_weight: f64,
    /// Share of views in which a part of another patch takes the place of a part of the first. Only the texture is asked
    /// for of them.
    #[serde(default)]
    pub joined: f64,
    /// Share of a patch's cells that an encoder is shown, above 0 and up to 1: others are left out, which costs less and
    /// keeps the encoder from knowing the patches by heart.
    pub cells: f64,
    /// For each encoder, the share of views whose channels have any mean and deviation.
    pub recolour: Vec<f64>,
    /// For each encoder, the share of views whose channels have nearly the mean and deviation that all patches have
    /// together. What is left keeps its own colours.
    pub even: Vec<f64>,
    /// From and to which part of a patch's side a view goes: below 1 it is magnified.
    pub zoom: [f64; 2],
    /// Training of the first encoder on phantom fields and patches, after that on image-text pairs; `batch` is the number
    /// of fields. The second one meets patches during its training on attributes.
    pub optimisation: Optimisation,
}

fn train_alone() -> Vec<Split> {
    vec![Split::Train]
}

impl TissueConfig {
    /// Refuses what cannot be done, in a sentence; `encoders` is how many there are.
    pub fn check(&self, encoders: usize) -> Result<()> {
        let is_share = |share: f64| (0.0..=1.0).contains(&share);
        let [near, far] = self.zoom;
        let wrong = if self.splits.contains(&Split::Test) {
            "`tissue.splits` names the test part, which is never learnt from"
        } else if self.splits.is_empty() {
            "`tissue.splits` names no part of the data set"
        } else if self.recolour.len() != encoders || self.even.len() != encoders {
            "`tissue.recolour` and `tissue.even` need a share for each encoder"
        } else if !is_share(self.texts) {
            "`tissue.texts` is a share, from 0 to 1"
        } else if !self
            .recolour
            .iter()
            .zip(&self.even)
            .all(|(&a, &b)| a >= 0.0 && b >= 0.0 && is_share(a + b))
        {
            "the shares of `tissue.recolour` and `tissue.even` may not be below 0 nor come to more than 1"
        } else if !is_share(self.cells) || self.cells == 0.0 {
            "`tissue.cells` must be more than 0 and at most 1"
        } else if !(near > 0.0 && near <= far && far.is_finite()) {
            "`tissue.zoom` must go from a number above 0 to one that is no smaller"
        } else if !(self.texture_weight >= 0.0 && self.texture_weight.is_finite()) {
            "`tissue.texture_weight` may not be below 0"
        } else if !(self.teacher_weight >= 0.0 && self.teacher_weight.is_finite()) {
            "`tissue.teacher_weight` may not be below 0"
        } else if !is_share(self.joined) {
            "`tissue.joined` is a share, from 0 to 1"
        } else if self.batch == 0 {
            "`tissue.batch` must be at least 1"
        } else {
            return Ok(());
        };
        Err(Error::Setting(wrong.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "name = \"lung\"\ntexts = 0.3\nbatch = 8\nclass_weight = 2\nmeasured_weight = 0.5\ncells = 0.5\n\
                         recolour = [0.9, 0.1]\neven = [0.1, 0.2]\nzoom = [0.6, 1.2]\noptimisation = {}\n";

    #[test]
    fn only_the_part_to_train_on_is_learnt_from_unless_it_is_said() {
        let config: TissueConfig = toml::from_str(TABLE).unwrap();
        assert_eq!((config.folder.clone(), config.splits.as_slice()), (None, [Split::Train].as_slice()));
        config.check(2).unwrap();
        let more: TissueConfig =
            toml::from_str(&format!("splits = [\"train\", \"validation\"]\n{TABLE}")).unwrap();
        more.check(2).unwrap();
    }

    #[test]
    fn what_cannot_be_done_is_refused_in_a_sentence() {
        let refused = |old: &str, new: &str| {
            let config: TissueConfig = toml::from_str(&TABLE.replace(old, new)).unwrap();
            config.check(2).unwrap_err().to_string()
        };
        let test = refused("texts", "splits = [\"test\"]\ntexts");
        assert!(test.contains("test part"), "{test}");
        assert!(refused("texts = 0.3", "texts = 1.5").contains("tissue.texts"));
        assert!(refused("[0.9, 0.1]", "[0.9]").contains("each encoder"));
        assert!(refused("[0.9, 0.1]", "[0.95, 0.1]").contains("more than 1"));
        assert!(refused("cells = 0.5", "cells = 0.0").contains("tissue.cells"));
        assert!(refused("[0.6, 1.2]", "[1.2, 0.6]").contains("tissue.zoom"));
        assert!(refused("cells", "texture_weight = -1\ncells").contains("tissue.texture_weight"));
        assert!(refused("cells", "teacher_weight = -1\ncells").contains("tissue.teacher_weight"));
        assert!(refused("cells", "joined = 2\ncells").contains("tissue.joined"));
        assert!(refused("batch = 8", "batch = 0").contains("tissue.batch"));
    }
}
