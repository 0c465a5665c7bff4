//! What is compared: arms, each a run with changes, and tables of arms. A TOML file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use reinpath_model::package::EncoderKind;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::{self, RunConfig};
use crate::error::{Error, Result};
use crate::phantom::Topic;

/// Stands for the ablation's own data in the `folder` of a data source.
const OWN_DATA: &str = "data";

/// An ablation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AblationsConfig {
    /// Package that the arms start from, relative to the working folder. Its encoders, tokenizer, decoder and text encoder
    /// are taken, its adapters and the values of its projector are not: arms differ in what they have learned.
    pub base: PathBuf,
    /// Each arm is trained once with each.
    pub seeds: Vec<u64>,
    pub data: PhantomData,
    /// Decoders other than the package's, by name.
    #[serde(default)]
    pub decoders: BTreeMap<String, PretrainSource>,
    /// The semantic reward's text encoder where the package brings none and `run` names none.
    #[serde(default)]
    pub text_encoder: Option<PretrainSource>,
    /// The settings of a run that all arms share, without `name`, `seed` and `base`. In it the folder `data` is the
    /// ablation's own data.
    pub run: Table,
    /// In an order in which each comes after the one that it goes on from.
    #[serde(rename = "arm")]
    pub arms: Vec<Arm>,
    #[serde(rename = "table")]
    pub tables: Vec<Comparison>,
}

/// Phantom fields that the arms learn from and are measured on; no field of one kind is one of the other.
///
/// Of the training rows, those with captions have the sub-task `full caption` or `short caption`, and each question comes
/// twice: with its staged answer, and with its conclusion alone under the sub-task `conclusion only`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhantomData {
    pub seed: u64,
    /// Fields to learn from.
    pub fields: usize,
    pub questions_per_field: usize,
    /// Captions of each kind.
    pub captions_per_field: usize,
    /// Fields with a question each that are held out, as rows of the split `test`.
    pub held_out: usize,
    /// Sub-tasks that questions belong to.
    pub subtasks: Vec<String>,
}

/// A part made by stage 0 for the ablation alone, with the package's tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainSource {
    /// A configuration of stage 0, relative to the working folder, of which that part's settings are used.
    pub pretrain: PathBuf,
    /// Changes to it, as after `--set`.
    #[serde(default)]
    pub changes: Vec<String>,
}

/// A stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Alignment,
    ColdStart,
    Grpo,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Alignment, Self::ColdStart, Self::Grpo];

    fn name(self) -> &'static str {
        match self {
            Self::Alignment => "alignment",
            Self::ColdStart => "cold_start",
            Self::Grpo => "grpo",
        }
    }
}

/// What is asked of an arm when it is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Generated conclusions, and the likelihoods of options.
    #[default]
    Answers,
    /// The likelihoods alone, for arms that cannot answer yet.
    Likelihoods,
    /// Nothing: others go on from it.
    Nothing,
}

/// One way to train.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Letters, digits and hyphens: folders are called by it.
    pub name: String,
    /// In words, for tables.
    pub title: String,
    /// The arm whose package this one goes on from, trained with the same seed; none: the base.
    #[serde(default)]
    pub after: Option<String>,
    /// Encoders that are kept of the base; none named: all.
    #[serde(default)]
    pub encoders: Vec<EncoderKind>,
    /// One of the `decoders`; none: the base's.
    #[serde(default)]
    pub decoder: Option<String>,
    /// Stages that it runs; none: it is what it starts from.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// Changes to the settings of the run, as after `--set`.
    #[serde(default)]
    pub changes: Vec<String>,
    #[serde(default)]
    pub measure: Measure,
}

/// Arms that stand in one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    pub title: String,
    /// A sentence or two below the title.
    #[serde(default)]
    pub note: String,
    pub arms: Vec<String>,
    /// The arm that the others are compared with; none: each with the one above it.
    #[serde(default)]
    pub baseline: Option<String>,
}

impl AblationsConfig {
    /// The arm of that name.
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// Checks what can be checked before anything is trained, every arm's settings included.
    pub fn check(&self) -> Result<()> {
        self.fault()
            .map_or(Ok(()), |fault| Err(Error::Benchmark(format!("the ablation is not valid: {fault}"))))?;
        for arm in self.arms.iter().filter(|arm| !arm.stages.is_empty()) {
            self.run_config(arm, 0, Path::new("base"), Path::new("data"))?;
        }
        Ok(())
    }

    /// The run that trains an arm: its package to start from, and the ablation's data.
    pub fn run_config(&self, arm: &Arm, seed: u64, base: &Path, data: &Path) -> Result<RunConfig> {
        let refused =
            |reason: &str| Error::Benchmark(format!("the arm “{}” cannot be run: {reason}", arm.name));
        let mut table = self.run.clone();
        for stage in Stage::ALL.into_iter().filter(|stage| !arm.stages.contains(stage)) {
            table.remove(stage.name());
        }
        if let Some(stage) = arm.stages.iter().find(|stage| !table.contains_key(stage.name())) {
            return Err(refused(&format!("[run.{}] is missing", stage.name())));
        }
        let seed = i64::try_from(seed).map_err(|_too_large| refused("its seed is too large"))?;
        table.insert("name".to_owned(), Value::String(arm.name.clone()));
        table.insert("seed".to_owned(), Value::Integer(seed));
        table.insert("base".to_owned(), Value::String(base.to_string_lossy().into_owned()));
        let changed = config::changed(table, &arm.changes)?;
        let mut run: RunConfig = changed.try_into().map_err(|e: toml::de::Error| refused(e.message()))?;
        let stages = [
            run.alignment.as_mut().map(|stage| &mut stage.data),
            run.cold_start.as_mut().map(|stage| &mut stage.data),
            run.grpo.as_mut().map(|stage| &mut stage.data),
            Some(&mut run.evaluation.data),
        ];
        for source in stages.into_iter().flatten().flatten() {
            if source.folder == Path::new(OWN_DATA) {
                data.clone_into(&mut source.folder);
            }
        }
        Ok(run)
    }

    /// Whether an arm is rewarded by a text encoder that `run` does not name.
    pub(super) fn needs_text_encoder(&self) -> Result<bool> {
        for arm in self.arms.iter().filter(|arm| arm.stages.contains(&Stage::Grpo)) {
            if is_without_encoder(&self.run_config(arm, 0, Path::new("base"), Path::new("data"))?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn fault(&self) -> Option<String> {
        let seeds: BTreeSet<u64> = self.seeds.iter().copied().collect();
        if seeds.is_empty() || seeds.len() != self.seeds.len() {
            return Some("it needs at least one seed, and each once".to_owned());
        }
        self.data.fault().or_else(|| self.arm_fault()).or_else(|| self.table_fault())
    }

    fn arm_fault(&self) -> Option<String> {
        let mut names = BTreeSet::new();
        for arm in &self.arms {
            let name = &arm.name;
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if name.is_empty() || !name.chars().all(is_plain) {
                return Some(format!("the arm “{name}” needs a name of letters, digits and hyphens"));
            }
            if let Some(after) = arm.after.as_ref().filter(|after| !names.contains(*after)) {
                return Some(format!(
                    "the arm “{name}” goes on from “{after}”, which does not stand before it"
                ));
            }
            if arm.after.is_some() && (arm.decoder.is_some() || !arm.encoders.is_empty()) {
                return Some(format!(
                    "the arm “{name}” goes on from another, whose encoders and decoder it has"
                ));
            }
            if let Some(decoder) = arm.decoder.as_ref().filter(|name| !self.decoders.contains_key(*name)) {
                return Some(format!("the arm “{name}” names a decoder “{decoder}” that is not there"));
            }
            if !names.insert(name) {
                return Some(format!("the arm “{name}” is there twice"));
            }
        }
        names.is_empty().then(|| "it has no arm".to_owned())
    }

    fn table_fault(&self) -> Option<String> {
        self.tables.iter().find_map(|table| {
            let title = &table.title;
            let named = table.arms.iter().chain(&table.baseline);
            for name in named {
                let is_measured = self.arm(name).map(|arm| arm.measure != Measure::Nothing);
                match is_measured {
                    None => {
                        return Some(format!("the table “{title}” names an arm “{name}” that is not there"));
                    }
                    Some(false) => {
                        return Some(format!(
                            "the table “{title}” names the arm “{name}”, which is not measured"
                        ));
                    }
                    Some(true) => {}
                }
            }
            let is_inside = table.baseline.as_ref().is_none_or(|baseline| table.arms.contains(baseline));
            (!is_inside).then(|| format!("the baseline of the table “{title}” is not among its arms"))
        })
    }
}

/// Whether a run asks for the semantic reward and leaves its text encoder to the package.
pub(super) fn is_without_encoder(run: &RunConfig) -> bool {
    run.grpo.as_ref().is_some_and(|grpo| grpo.reward.semantic != 0.0 && grpo.reward.text_encoder.is_none())
}

impl PhantomData {
    fn fault(&self) -> Option<String> {
        if self.subtasks.is_empty() || self.held_out == 0 {
            return Some("its data needs sub-tasks, and held-out fields".to_owned());
        }
        let unknown = self.subtasks.iter().find(|name| Topic::from_name(name).is_none())?;
        Some(format!("phantom tissue has no sub-task “{unknown}”"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An ablation with everything that one can have.
    pub(in crate::ablations) const WHOLE: &str = r#"
        base = "package"
        seeds = [1, 2]
        [data]
        seed = 5
        fields = 6
        questions_per_field = 2
        captions_per_field = 1
        held_out = 9
        subtasks = ["tissue type", "stroma"]
        [decoders.small]
        pretrain = "pretrain.toml"
        changes = ["language.num_hidden_layers=2"]
        [text_encoder]
        pretrain = "pretrain.toml"
        [run.lora]
        rank = 8
        alpha = 8
        [run.alignment]
        data = [{ folder = "data", kinds = ["caption"], subtasks = ["full caption"] }]
        optimisation = { steps = 3 }
        [run.cold_start]
        data = [{ folder = "data", limit = 100 }]
        optimisation = {}
        [run.grpo]
        data = [{ folder = "data" }, { folder = "elsewhere" }]
        optimisation = {}
        [[arm]]
        name = "cold"
        title = "cold start"
        encoders = ["uni"]
        decoder = "small"
        stages = ["alignment", "cold_start"]
        [[arm]]
        name = "grpo-0"
        title = "GRPO without the semantic reward"
        after = "cold"
        stages = ["grpo"]
        changes = ["grpo.reward.semantic=0", "grpo.samples=8"]
        [[table]]
        title = "Training"
        arms = ["cold", "grpo-0"]
        baseline = "cold"
    "#;

    #[test]
    fn an_arm_is_the_shared_run_with_its_stages_and_changes() {
        let config: AblationsConfig = toml::from_str(WHOLE).unwrap();
        config.check().unwrap();
        let cold = config.run_config(&config.arms[0], 7, Path::new("a/b"), Path::new("out/data")).unwrap();
        assert_eq!((cold.name.as_str(), cold.seed, cold.base.as_path()), ("cold", 7, Path::new("a/b")));
        assert!(cold.grpo.is_none() && cold.lora.rank == 8);
        assert_eq!(cold.alignment.unwrap().data[0].folder, Path::new("out/data"));
        let grpo = config.run_config(&config.arms[1], 7, Path::new("a"), Path::new("out/data")).unwrap();
        assert!(grpo.alignment.is_none() && grpo.cold_start.is_none());
        let grpo = grpo.grpo.unwrap();
        assert_eq!((grpo.reward.semantic, grpo.reward.accuracy, grpo.samples), (0.0, 2.0, 8));
        assert_eq!(grpo.data[1].folder, Path::new("elsewhere"));
        assert!(!config.needs_text_encoder().unwrap(), "its semantic reward weighs nothing");
        let with = |change: &str| {
            let text = WHOLE.replace("grpo.reward.semantic=0", change);
            toml::from_str::<AblationsConfig>(&text).unwrap().needs_text_encoder().unwrap()
        };
        assert!(with("grpo.reward.semantic=0.5"));
        assert!(!with("grpo.reward.text_encoder='encoder'"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_trained() {
        let refused = |from: &str, to: &str| {
            assert!(WHOLE.contains(from), "{from}");
            let config: AblationsConfig = toml::from_str(&WHOLE.replace(from, to)).unwrap();
            config.check().unwrap_err().to_string()
        };
        assert!(refused("seeds = [1, 2]", "seeds = [1, 1]").contains("each once"));
        assert!(refused("\"stroma\"]", "\"poetry\"]").contains("“poetry”"));
        assert!(refused("after = \"cold\"", "after = \"warm\"").contains("“warm”"));
        assert!(refused("decoder = \"small\"", "decoder = \"large\"").contains("“large”"));
        assert!(refused("name = \"cold\"", "name = \"../cold\"").contains("letters, digits"));
        assert!(refused("name = \"grpo-0\"", "name = \"cold\"").contains("is there twice"));
        assert!(refused("arms = [\"cold\", ", "arms = [\"hot\", ").contains("“hot”"));
        assert!(refused("baseline = \"cold\"", "baseline = \"grpo-1\"").contains("“grpo-1”"));
        assert!(refused("[run.alignment]", "[run.aligment]").contains("[run.alignment] is missing"));
        assert!(refused("grpo.samples=8", "grpo.sampels=8").contains("sampels"));
        assert!(
            refused("title = \"cold start\"", "title = \"x\"\nmeasure = \"nothing\"")
                .contains("not measured")
        );
    }

    #[test]
    fn the_shipped_ablation_is_valid_and_has_the_arms_of_the_paper() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/ablations.toml");
        let config: AblationsConfig = config::read(&path).unwrap();
        config.check().unwrap();
        assert_eq!((config.seeds.len(), config.data.held_out), (3, 2000));
        let rows = config.data.fields * config.data.questions_per_field;
        for (arm, share) in [("cold-20", 0.2), ("cold-40", 0.4)] {
            let run = config.run_config(config.arm(arm).unwrap(), 1, Path::new("a"), Path::new("b")).unwrap();
            assert_eq!(run.cold_start.unwrap().data[0].limit, (rows as f64 * share) as usize, "{arm}");
        }
    }
}
