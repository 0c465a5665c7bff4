//! The configurations of training, as TOML files: each setting once, with its meaning.

mod absolute;
mod changes;
mod run;
mod schema;
mod tissue;

use std::path::{Path, PathBuf};

use reinpath_model::package::{EncoderSpec, PatchSpec};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::changes::{changed, read_changed, read_table};
pub use self::run::{
    Aggregation, AlignmentConfig, CheckpointRule, ColdStartConfig, Compute, DataSource, EvaluationConfig,
    GamingChecks, GrpoConfig, KlEstimator, OnTrouble, Overlong, RatioLevel, RewardConfig, RunConfig, Scaling,
    TroubleRule,
};
pub use self::schema::schema;
pub use self::tissue::TissueConfig;
use crate::error::{Error, Result};
use crate::phantom::{Claim, named_claim};

/// Reads a configuration; unknown keys are errors, so that a misspelt setting is not silently ignored.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    toml::from_str(&text).map_err(|e| Error::Config { reason: e.message().to_owned(), path: path.to_owned() })
}

/// Stage 0: a package made from nothing, on phantom tissue and, where there is a folder of it, on real tissue. Not part of
/// the paper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Name of the package.
    pub name: String,
    pub seed: u64,
    pub patch: PatchSpec,
    /// The first is trained on image-text pairs (CONCH's kind), the second on what each cell shows (UNI's kind).
    pub encoders: Vec<EncoderSpec>,
    /// Side of the squares of cells that become one image token.
    pub pool: usize,
    pub contrast: Contrast,
    pub attributes: Optimisation,
    pub tokenizer: TokenizerConfig,
    pub language: LanguageConfig,
    /// Phantom fields that the encoders are trained on.
    pub fields: usize,
    /// Drills on letters, which the decoder is trained on before anything else.
    pub drills: Optimisation,
    /// Plain texts that the decoder is trained on.
    pub texts: usize,
    pub text: Optimisation,
    /// A package that a run with the same settings of tokenizer and decoder made: its decoder is taken, and none trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder_from: Option<PathBuf>,
    /// The text encoder of the semantic reward; none: the package brings none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<SentenceConfig>,
    /// A claim, such as `pattern.mucin`, that no field shows and no text of the decoder's states. The tokenizer and the
    /// text encoder know its words all the same: without them it could not be named later.
    #[serde(default, with = "named_claim", skip_serializing_if = "Option::is_none")]
    pub without: Option<Claim>,
    /// Real tissue beside the phantom fields; none: phantom tissue alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tissue: Option<TissueConfig>,
}

/// A text encoder of BERT's kind, trained on two observations of each field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentenceConfig {
    /// Hidden size; the MLP's is four times it.
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// `batch` is the number of fields.
    pub optimisation: Optimisation,
}

/// Contrastive training of images and captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    pub optimisation: Optimisation,
    /// Size of the common space and of the text tower.
    pub width: usize,
    /// Layers of the text tower, which is not kept.
    pub text_layers: usize,
}

/// The byte-level BPE tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerConfig {
    /// Largest vocabulary, special tokens included.
    pub vocabulary: usize,
}

/// The decoder's shape (Hugging Face's names).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub max_position_embeddings: usize,
}

/// How long and how fast something is trained: AdamW, linear warm-up, cosine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Optimisation {
    /// Updates; 0: as many as `epochs` take.
    #[serde(default)]
    pub steps: usize,
    /// Passes over the data, where `steps` does not say it.
    #[serde(default = "one")]
    pub epochs: f64,
    /// Examples of an update.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Examples that go through the model at once, their gradients added up; 0: the whole batch.
    #[serde(default)]
    pub micro_batch: usize,
    /// Highest learning rate.
    #[serde(default = "default_rate")]
    pub learning_rate: f64,
    /// Share of the steps over which the learning rate rises.
    #[serde(default = "default_warm_up")]
    pub warm_up: f64,
    /// The learning rate at the end, as a share of the highest.
    #[serde(default)]
    pub floor: f64,
    #[serde(default)]
    pub weight_decay: f64,
    /// How long AdamW remembers gradients.
    #[serde(default = "default_beta1")]
    pub beta1: f64,
    /// How long it remembers their squares.
    #[serde(default = "default_beta2")]
    pub beta2: f64,
    /// Largest norm of the whole gradient; 0: no limit.
    #[serde(default = "default_clip")]
    pub clip: f64,
}

fn default_batch() -> usize {
    32
}

fn default_rate() -> f64 {
    2e-4
}

fn default_beta1() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.999
}

fn default_warm_up() -> f64 {
    0.03
}

fn default_clip() -> f64 {
    1.0
}

/// A supervised run on staged answers about phantom tissue: projector and LoRA, everything else frozen (the paper's
/// second stage, section 2.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisedConfig {
    pub seed: u64,
    /// Folder of the package to start from, relative to the working folder.
    pub base: PathBuf,
    /// Description in the package's card.
    pub description: String,
    /// Phantom fields to draw.
    pub fields: usize,
    /// Questions about each field.
    pub questions_per_field: usize,
    /// Captions of each field.
    #[serde(default)]
    pub captions_per_field: usize,
    /// Training on captions before that on staged answers.
    #[serde(default)]
    pub captions: Option<Optimisation>,
    pub lora: LoraSettings,
    pub optimisation: Optimisation,
    /// The projector's learning rate as a multiple of the adapters'.
    #[serde(default = "one")]
    pub projector_rate: f64,
    /// The learning rate of the adapters of queries and keys as a multiple of the other adapters'.
    #[serde(default = "one")]
    pub looks_rate: f64,
    /// Weight of a conclusion's token in the loss; the tokens of the other stages weigh 1.
    #[serde(default = "equal")]
    pub conclusion_weight: f32,
    /// Weight of a token of Observation or Analysis that could be wrong, such as a finding or an option's letter.
    #[serde(default = "equal")]
    pub decisive_weight: f32,
    /// A claim, such as `pattern.mucin`, that no field shows and nothing states.
    #[serde(default, with = "named_claim", skip_serializing_if = "Option::is_none")]
    pub without: Option<Claim>,
}

fn one() -> f64 {
    1.0
}

fn equal() -> f32 {
    1.0
}

/// Rank and scale of the adapters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraSettings {
    pub rank: usize,
    /// What the adapters add is multiplied by `alpha / rank`.
    pub alpha: f64,
}

impl Default for LoraSettings {
    /// The paper's rank; LLaVA's alpha, since the paper gives none.
    fn default() -> Self {
        Self { rank: 128, alpha: 256.0 }
    }
}

impl Optimisation {
    /// Learning rate at a step, counted from 0 (transformers' schedule `cosine_warmup_with_min_lr`).
    pub fn rate(&self, step: usize) -> f64 {
        let warm_up = (self.steps as f64 * self.warm_up).ceil();
        let step = step as f64 + 1.0;
        if step <= warm_up {
            return self.learning_rate * step / warm_up.max(1.0);
        }
        let done = ((step - warm_up) / (self.steps as f64 - warm_up).max(1.0)).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.learning_rate * (cosine * (1.0 - self.floor) + self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::{Optimisation, RunConfig};

    fn supervised(without: &str) -> String {
        format!(
            "seed = 1\nbase = \"b\"\ndescription = \"\"\nfields = 1\nquestions_per_field = 1\nwithout = \"{without}\"\n\
             [lora]\nrank = 1\nalpha = 1\n[optimisation]\nsteps = 1\n"
        )
    }

    #[test]
    fn the_rate_rises_then_falls_to_its_floor() {
        let text = "steps = 100\nlearning_rate = 1.0\nwarm_up = 0.1\nfloor = 0.1";
        let o: Optimisation = toml::from_str(text).unwrap();
        assert!((o.rate(0) - 0.1).abs() < 1e-9 && (o.rate(9) - 1.0).abs() < 1e-9);
        assert!(o.rate(50) < 1.0 && o.rate(50) > 0.1);
        assert!((o.rate(99) - 0.1).abs() < 1e-9 && (o.rate(100) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn the_runs_that_ship_are_valid() {
        for name in ["demo.toml", "demo-withheld.toml"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
            let run: RunConfig = super::read(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(run.alignment.is_some() && run.cold_start.is_some(), "{name}");
        }
    }

    #[test]
    fn a_run_that_says_nothing_more_has_the_papers_values() {
        let text = r#"
            name = "paper"
            seed = 1
            base = "package"
            [alignment]
            data = [{ folder = "captions" }]
            optimisation = {}
            [cold_start]
            data = [{ folder = "answers" }]
            optimisation = {}
            [grpo]
            data = [{ folder = "questions" }]
            optimisation = {}
        "#;
        let run: RunConfig = toml::from_str(text).unwrap();
        assert_eq!(run.lora.rank, 128);
        let alignment = run.alignment.unwrap();
        assert!(!alignment.adapters && alignment.optimisation.batch == 32);
        assert_eq!(alignment.optimisation.learning_rate, 2e-4);
        let grpo = run.grpo.unwrap();
        assert_eq!((grpo.samples, grpo.updates), (4, 1));
        assert_eq!((grpo.reward.format, grpo.reward.accuracy, grpo.reward.semantic), (0.5, 2.0, 1.0));
        let withheld: super::SupervisedConfig = toml::from_str(&supervised("pattern.mucin")).unwrap();
        assert_eq!(withheld.without.map(crate::phantom::Claim::name).as_deref(), Some("pattern.mucin"));
        let again = toml::to_string(&withheld).unwrap();
        assert_eq!(toml::from_str::<super::SupervisedConfig>(&again).unwrap(), withheld);
        for wrong in ["pattern.bone", "quality.blank"] {
            let error =
                toml::from_str::<super::SupervisedConfig>(&supervised(wrong)).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        let misspelt = text.replace("seed", "sead");
        assert!(toml::from_str::<RunConfig>(&misspelt).unwrap_err().to_string().contains("sead"));
    }
}
