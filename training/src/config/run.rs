//! The settings of a three-stage run (paper, section 2.3). Where the paper gives a value, it is the default.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LoraSettings, Optimisation};
use crate::rows::{RowKind, Split};

/// A run: a package to start from, and the stages to take it through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the run and of the package that it makes.
    pub name: String,
    /// Description in the package's card.
    #[serde(default)]
    pub description: String,
    /// What all random numbers of the run come from.
    pub seed: u64,
    /// Folder of the package to start from, relative to the working folder.
    pub base: PathBuf,
    /// Rank and scale of the adapters on the language model.
    #[serde(default)]
    pub lora: LoraSettings,
    #[serde(default)]
    pub compute: Compute,
    /// Stage 1: the projector learns from captions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<AlignmentConfig>,
    /// Stage 2: projector and adapters learn from staged answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<ColdStartConfig>,
    /// Stage 3: projector and adapters learn from rewards of their own answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpo: Option<GrpoConfig>,
    /// Held-out rows that are answered during the run.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    #[serde(default)]
    pub checkpoints: CheckpointRule,
    #[serde(default)]
    pub trouble: TroubleRule,
}

/// Where and in what precision a run computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compute {
    /// `cpu`, `cuda`, `cuda:N` or `metal`.
    pub device: String,
    /// Precision of the frozen language model and of what goes through it: `f32`, `bf16` or `f16`. Projector and
    /// adapters, their gradients and the optimiser are always in f32.
    pub precision: String,
    /// Computes each layer's activations again on the way back instead of keeping them: about a third more time, much
    /// less memory.
    pub recompute: bool,
    /// Threads that each take a part of a batch through the whole model (CPU only). More than one pays where the model
    /// is so small that its products cannot be shared between threads; each holds activations of its own.
    pub workers: usize,
}

impl Default for Compute {
    fn default() -> Self {
        Self { device: "cpu".to_owned(), precision: "f32".to_owned(), recompute: false, workers: 1 }
    }
}

/// Rows of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// Folder with `rows.jsonl` and the images, or another file of rows (`.jsonl`) beside them; relative to the working
    /// folder.
    pub folder: PathBuf,
    /// Part of the data set. A row that names no part belongs to `train`.
    #[serde(default = "train_split")]
    pub split: Split,
    /// Kinds of rows; empty: all that the stage can use.
    #[serde(default)]
    pub kinds: Vec<RowKind>,
    /// Sub-tasks; empty: all.
    #[serde(default)]
    pub subtasks: Vec<String>,
    /// Largest number of rows, drawn by the run's seed; 0: all.
    #[serde(default)]
    pub limit: usize,
    /// How often each row comes in one pass over the data.
    #[serde(default = "once")]
    pub repeat: usize,
    /// Whether the cold start also learns answers that lack some of the three stages, or all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_stages: bool,
}

fn train_split() -> Split {
    Split::Train
}

fn once() -> usize {
    1
}

/// Stage 1, feature alignment: a question from a predefined set, the loss on the caption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlignmentConfig {
    pub data: Vec<DataSource>,
    pub optimisation: Optimisation,
    /// File of questions, one a line, from which each caption gets one; none: the program's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions: Option<PathBuf>,
    /// Whether the adapters learn too. In the paper the projector learns alone; a language model too small to read what
    /// the projector says follows it only with its adapters.
    #[serde(default)]
    pub adapters: bool,
    /// The adapters' learning rate as a multiple of the projector's, where they learn.
    #[serde(default = "equal")]
    pub adapter_rate: f64,
    /// The learning rate of the adapters of queries and keys as a multiple of the other adapters'.
    #[serde(default = "equal")]
    pub looks_rate: f64,
}

/// Stage 2, cold start: the loss on the staged answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColdStartConfig {
    pub data: Vec<DataSource>,
    pub optimisation: Optimisation,
    /// Takes only part of the rows, as the paper does: long chains of reasoning, sub-tasks evenly covered (5,400 of
    /// 13,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<usize>,
    /// The projector's learning rate as a multiple of the adapters' (LLaVA: 0.1).
    #[serde(default = "equal")]
    pub projector_rate: f64,
    /// The learning rate of the adapters of queries and keys as a multiple of the other adapters'.
    #[serde(default = "equal")]
    pub looks_rate: f64,
    /// Weight of a conclusion's token in the loss; the tokens of the other stages weigh 1.
    #[serde(default = "equal_weight")]
    pub conclusion_weight: f32,
    /// Weight of the tokens that a row names in `emphasis`, such as a finding.
    #[serde(default = "equal_weight")]
    pub emphasis_weight: f32,
}

fn equal() -> f64 {
    1.0
}

fn equal_weight() -> f32 {
    1.0
}

/// Stage 3, group relative policy optimisation (paper, equations 5 to 8).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpoConfig {
    pub data: Vec<DataSource>,
    /// `batch` is the number of questions of an update; its `micro_batch` counts answers.
    pub optimisation: Optimisation,
    /// Answers to each question, N in the paper.
    #[serde(default = "four")]
    pub samples: usize,
    #[serde(default = "equal")]
    pub temperature: f64,
    #[serde(default = "equal")]
    pub top_p: f64,
    /// Longest answer in tokens.
    #[serde(default = "answer_tokens")]
    pub max_tokens: usize,
    /// Updates from the answers to one batch of questions. With 1 the ratio is 1 and clipping never acts.
    #[serde(default = "once")]
    pub updates: usize,
    #[serde(default)]
    pub ratio: RatioLevel,
    #[serde(default)]
    pub aggregation: Aggregation,
    /// How far the ratio may fall below 1 before its gradient ends.
    #[serde(default = "clip")]
    pub clip_low: f64,
    /// How far it may rise above 1.
    #[serde(default = "clip")]
    pub clip_high: f64,
    #[serde(default)]
    pub kl: KlEstimator,
    /// β, the weight of the distance to the policy that entered the stage; 0: the distance is not computed.
    #[serde(default = "kl_weight")]
    pub kl_weight: f64,
    #[serde(default)]
    pub scaling: Scaling,
    /// The standard deviation that rewards are divided by is at least this. The semantic reward is never equal twice, so
    /// that a group that is all right or all wrong has a tiny spread, which becomes a full advantage without a floor.
    #[serde(default)]
    pub spread_floor: f64,
    /// Draws other questions in place of those whose answers are all right or all wrong (DAPO), at most so many times
    /// the batch; 0: keeps every question.
    #[serde(default)]
    pub resample: usize,
    /// Leaves answers that were cut off out of the loss.
    #[serde(default)]
    pub mask_cut_off: bool,
    /// The projector's learning rate as a multiple of the adapters'.
    #[serde(default = "equal")]
    pub projector_rate: f64,
    /// The learning rate of the adapters of queries and keys as a multiple of the other adapters'.
    #[serde(default = "equal")]
    pub looks_rate: f64,
    #[serde(default)]
    pub reward: RewardConfig,
}

fn four() -> usize {
    4
}

fn answer_tokens() -> usize {
    256
}

fn clip() -> f64 {
    0.2
}

fn kl_weight() -> f64 {
    0.04
}

/// What the ratio of new to old probability is taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    /// Each token (DeepSeekMath, TRL's default).
    Token,
    /// The whole answer, the product over its tokens (the paper's equation 7). It leaves its bounds at once where an
    /// answer is long and the policy has moved.
    #[default]
    Sequence,
    /// The whole answer, the geometric mean over its tokens (GSPO).
    SequenceMean,
}

/// How the tokens' losses become one (TRL's names).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The mean over each answer's tokens, then over answers (the paper's equation 8).
    #[default]
    Grpo,
    /// The mean over all tokens of a micro-batch.
    Bnpo,
    /// The sum over all tokens, divided by answers times the longest answer allowed: no bias by length.
    DrGrpo,
    /// The mean over all tokens of the whole batch.
    Dapo,
}

/// How the distance to the reference policy is estimated at each token (Schulman 2020).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// log π − log π_ref: unbiased, wide.
    K1,
    /// Half its square.
    K2,
    /// π_ref/π − 1 − log(π_ref/π): unbiased, never negative (DeepSeekMath, TRL).
    #[default]
    K3,
}

/// What differences of rewards are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// The standard deviation of the question's answers (the paper).
    #[default]
    Group,
    /// The standard deviation of the whole batch.
    Batch,
    /// Nothing (Dr. GRPO).
    None,
}

/// What an answer is rewarded for (paper, section 2.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// For all three headings, once each, in order.
    pub format: f64,
    /// For the right conclusion.
    pub accuracy: f64,
    /// For an observation that means what the reference observation means (cosine of sentence vectors).
    pub semantic: f64,
    /// Folder of the sentence encoder (BERT's kind, Hugging Face layout); none: the one that the package brings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<PathBuf>,
    /// Rescales the cosine so that observations of different questions have 0 in the mean: cosines of sentence vectors
    /// lie in a narrow, high band.
    pub rescale: bool,
    pub overlong: Option<Overlong>,
    pub gaming: GamingChecks,
    /// A program that scores answers, with its arguments; it reads one JSON line an answer and writes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<String>,
    /// Weight of its score.
    pub external_weight: f64,
    /// Time it has for an answer, in seconds.
    pub external_timeout: f64,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            format: 0.5,
            accuracy: 2.0,
            semantic: 1.0,
            text_encoder: None,
            rescale: false,
            overlong: None,
            gaming: GamingChecks::default(),
            external: None,
            external_weight: 1.0,
            external_timeout: 30.0,
        }
    }
}

/// A penalty that grows to 1 over the last tokens that an answer may have (DAPO's soft overlong punishment).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overlong {
    /// Tokens before the longest answer allowed at which it begins.
    pub cache: usize,
    pub weight: f64,
}

/// What takes reward away from answers that please the rules without saying anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GamingChecks {
    /// Fewest words of an observation and of an analysis that earn the format's reward; 0: any.
    pub minimum_words: usize,
    /// The conclusion of a choice earns its reward only when the analysis names the option or its letter.
    pub supported: bool,
    /// Most that repeated runs of words cost.
    pub repetition: f64,
    /// Words of such a run.
    pub repetition_words: usize,
}

impl Default for GamingChecks {
    fn default() -> Self {
        Self { minimum_words: 0, supported: false, repetition: 0.0, repetition_words: 3 }
    }
}

/// Which held-out rows are answered, and when: always at the end of each stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Rows; their `split` should be `validation` or `test`.
    pub data: Vec<DataSource>,
    /// Updates between two evaluations; 0: only at the end of each stage.
    pub every: usize,
    /// Longest answer in tokens; 0: as the package says.
    pub max_tokens: usize,
}

/// When checkpoints are written, and which are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointRule {
    /// Updates between two checkpoints; 0: only at the end of each stage and when the run is stopped.
    pub every: usize,
    /// The last so many are kept.
    pub keep_last: usize,
    /// The one with the best evaluation is kept beside them.
    pub keep_best: bool,
}

impl Default for CheckpointRule {
    fn default() -> Self {
        Self { every: 100, keep_last: 2, keep_best: true }
    }
}

/// What happens when something goes wrong that a run could survive: it stops with a checkpoint, or goes on with a
/// counted warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTrouble {
    #[default]
    Stop,
    Warn,
}

/// What a run does in each kind of trouble.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TroubleRule {
    /// A loss or gradient that is no number; with `warn` the update is left out. A run whose weights have become too large for
    /// a package fails at the end of the stage all the same.
    pub not_a_number: OnTrouble,
    /// A row whose image is missing or cannot be read; with `warn` the row is left out.
    pub image: OnTrouble,
    /// No answer of a whole batch earned anything, `patience` times in a row.
    pub no_reward: OnTrouble,
    /// All answers of a whole batch were cut off, `patience` times in a row.
    pub cut_off: OnTrouble,
    /// Batches in a row.
    pub patience: usize,
}

impl Default for TroubleRule {
    fn default() -> Self {
        Self {
            not_a_number: OnTrouble::Stop,
            image: OnTrouble::Stop,
            no_reward: OnTrouble::Warn,
            cut_off: OnTrouble::Warn,
            patience: 5,
        }
    }
}
