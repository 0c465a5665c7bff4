//! The model that is trained: a package's, frozen but for its projector and new adapters on its language model.
//!
//! Projector and adapters are variables in f32 whatever the precision of the rest, by LLaVA's and PEFT's names. What
//! leaves here for elsewhere is a copy: the policy that a stage began with (the reference of the third), and the one that
//! writes answers.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use reinpath_model::layers::LoraConfig;
use reinpath_model::llama::{Llama, Pass};
use reinpath_model::ops::{self, Predictions};
use reinpath_model::projector::Projector;
use reinpath_model::prompt::Segment;
use reinpath_model::reinpath::ReinPath;

use crate::batch::{Batch, ImageShape};
use crate::config::LoraSettings;
use crate::error::{Error, Result};
use crate::init;

/// Before the names of the adapters' tensors (PEFT).
pub const ADAPTERS: &str = "base_model.model";
/// Before the names of the projector's tensors (LLaVA).
pub const PROJECTOR: &str = "model.mm_projector";

/// Language model and projector, and what they read.
#[derive(Clone, Debug)]
pub struct Model {
    pub llama: Llama,
    pub projector: Projector,
    pub shape: ImageShape,
    pub device: Device,
}

/// The model that is trained.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its projector and adapters change with the variables.
    pub model: Model,
    /// Everything that can learn, by name, in the order of the names.
    pub vars: Vec<(String, Var)>,
}

impl Policy {
    /// A policy that answers as the package does: its projector, and new adapters that change nothing yet. `seed` is that
    /// of their first values. Adapters that belong to the package for good are part of what is frozen.
    ///
    /// # Errors
    /// Of a package that lets one choose between adapters: what is trained would go with one of them only.
    pub fn new(base: &ReinPath, lora: &LoraSettings, seed: u64) -> Result<Self> {
        if let Some(name) = base.adapter() {
            return Err(Error::Features(format!(
                "the package lets one choose between adapters ('{name}' is one), and new ones cannot be trained beside \
                 such a choice: start from a package without it"
            )));
        }
        let (spec, device) = (base.manifest(), base.device());
        let mut llama = base.llama.clone();
        let (adapters, projector) = (VarMap::new(), VarMap::new());
        let lora = LoraConfig { rank: lora.rank, alpha: lora.alpha };
        llama.adapt(&VarBuilder::from_varmap(&adapters, DType::F32, device).pp(ADAPTERS), &lora)?;
        init::seed(&adapters, seed)?;
        let vb = VarBuilder::from_varmap(&projector, DType::F32, device).pp(PROJECTOR);
        let (inner, hidden) = (spec.projector.hidden, llama.config.hidden_size);
        let own = Projector::load(&vb, spec.fused_width(), inner, hidden)?;
        let values: HashMap<String, Tensor> = base.projector()?.tensors()?.into_iter().collect();
        let mut vars = init::sorted_vars(&projector);
        for (name, var) in &vars {
            let value =
                name.strip_prefix(PROJECTOR).and_then(|name| values.get(name.trim_start_matches('.')));
            let Some(value) = value else {
                return Err(Error::Features(format!("the package's projector has no tensor {name}")));
            };
            var.set(&value.to_dtype(DType::F32)?)?;
        }
        vars.extend(init::sorted_vars(&adapters));
        vars.sort_by(|a, b| a.0.cmp(&b.0));
        let shape = ImageShape { tokens: spec.image_tokens(), channels: spec.fused_width() };
        Ok(Self { model: Model { llama, projector: own, shape, device: device.clone() }, vars })
    }

    /// Those that learn where the projector or the adapters do.
    pub fn learning(&self, projector: bool, adapters: bool) -> impl Iterator<Item = &(String, Var)> {
        self.vars.iter().filter(move |(name, _)| {
            (projector && name.starts_with(PROJECTOR)) || (adapters && name.starts_with(ADAPTERS))
        })
    }

    /// The policy as it is now, whatever it learns later: the frozen weights are shared, the values of projector and
    /// adapters copied.
    pub fn freeze(&self) -> Result<Model> {
        let mut llama = self.model.llama.clone();
        let adapter = llama.adapter().map(|adapter| adapter.copied(None)).transpose()?;
        llama.put_adapter(adapter.as_ref());
        Ok(Model { llama, projector: self.model.projector.copied()?, ..self.model.clone() })
    }

    /// The policy as it is now, to write answers with. In f32 the adapters are added to a copy of the weights, so that
    /// they cost nothing; else they stay beside weights that would round them away.
    pub fn merged(&self) -> Result<Model> {
        let mut model = self.freeze()?;
        if model.llama.dtype() == DType::F32 {
            model.llama.merge()?;
        } else {
            // Converted once, not at every token.
            let dtype = model.llama.dtype();
            let adapter = model.llama.adapter().map(|adapter| adapter.copied(Some(dtype))).transpose()?;
            model.llama.put_adapter(adapter.as_ref());
        }
        Ok(model)
    }
}

impl Model {
    /// Predictions of the targets of a batch, without slopes: nothing is learnt from them.
    pub fn predictions(&self, batch: &Batch) -> Result<Predictions> {
        ops::as_a_worker(|| {
            let pass = self.pass(batch)?;
            let mut x = self.read(batch, self.images(batch)?.as_ref())?;
            for layer in 0..self.layers() {
                x = self.llama.end_layer(layer, &self.llama.begin_layer(layer, &x, &pass)?)?;
            }
            self.predict(batch, &x, false)
        })
    }

    /// The embeddings of a prompt, (1, tokens, hidden), to write answers to; `features` gives those of its images by
    /// their numbers.
    pub fn prompt(
        &self,
        prompt: &[Segment],
        images: &[usize],
        features: impl Fn(usize) -> Result<Vec<f32>>,
    ) -> Result<Tensor> {
        let embedded = |segment: &Segment| -> Result<Tensor> {
            match segment {
                Segment::Tokens(ids) => {
                    let ids = Tensor::from_slice(ids, (1, ids.len()), &self.device)?;
                    Ok(self.llama.embed(&ids)?)
                }
                Segment::Patch(patch) => {
                    let Some(&image) = images.get(*patch) else {
                        let (places, images) = (patch + 1, images.len());
                        return Err(Error::Features(format!(
                            "a prompt has a place for patch {places}, but its row only {images} images"
                        )));
                    };
                    let shape = (1, self.shape.tokens, self.shape.channels);
                    let features = Tensor::from_vec(features(image)?, shape, &self.device)?;
                    Ok(self.projector.forward(&features)?.detach().to_dtype(self.llama.dtype())?)
                }
            }
        };
        Ok(Tensor::cat(&prompt.iter().map(embedded).collect::<Result<Vec<_>>>()?, 1)?)
    }

    /// How many layers the language model has.
    pub(crate) fn layers(&self) -> usize {
        self.llama.config.num_hidden_layers
    }

    /// Embeddings of the batch's images, (images · image tokens, hidden) in f32, with candle's graph of the projector.
    pub(crate) fn images(&self, batch: &Batch) -> Result<Option<Tensor>> {
        let Some(features) = &batch.features else { return Ok(None) };
        Ok(Some(self.projector.forward(&features.to_device(&self.device)?)?.flatten_to(1)?))
    }

    /// Where the batch's tokens stand.
    pub(crate) fn pass(&self, batch: &Batch) -> Result<Pass> {
        Ok(self.llama.pass(batch.spans.clone(), &batch.positions, &batch.wanted, &self.device)?)
    }

    /// What the first layer reads of the batch, (tokens, hidden).
    pub(crate) fn read(&self, batch: &Batch, images: Option<&Tensor>) -> Result<Tensor> {
        let mut rows = Vec::new();
        if !batch.ids.is_empty() {
            let ids = Tensor::from_slice(&batch.ids, (1, batch.ids.len()), &self.device)?;
            rows.push(self.llama.embed(&ids)?.squeeze(0)?.detach());
        }
        if let Some(images) = images {
            rows.push(images.detach().to_dtype(self.llama.dtype())?);
        }
        Ok(Tensor::cat(&rows, 0)?.index_select(&self.indices(&batch.order)?, 0)?)
    }

    /// Predictions of the batch's targets from the last layer's result, (wanted, hidden).
    pub(crate) fn predict(&self, batch: &Batch, x: &Tensor, with_slopes: bool) -> Result<Predictions> {
        let hidden = self.llama.final_norm(x)?.index_select(&self.indices(&batch.from)?, 0)?;
        Ok(self.llama.log_probabilities(&hidden, &batch.targets, batch.temperature, with_slopes)?)
    }

    /// Numbers of rows, on the device.
    pub(crate) fn indices(&self, rows: &[u32]) -> Result<Tensor> {
        Ok(Tensor::from_slice(rows, rows.len(), &self.device)?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use reinpath_model::fixture::{Speech, write_package};
    use reinpath_model::package::Package;

    use super::*;
    use crate::batch::{Answer, Sequence};

    /// The model of a tiny package.
    pub(crate) fn base() -> ReinPath {
        let folder = tempfile::tempdir().unwrap();
        write_package(folder.path(), Speech::Babble(2)).unwrap();
        let package = Package::open(folder.path()).unwrap();
        ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).unwrap()
    }

    /// A policy whose adapters already do something.
    pub(crate) fn policy() -> Policy {
        let policy = Policy::new(&base(), &LoraSettings { rank: 8, alpha: 16.0 }, 5).unwrap();
        let value = |i: usize, from: usize| ((i * 7 + from * 13) as f32 * 0.61).sin() * 0.1;
        for (from, (_, var)) in policy.vars.iter().enumerate() {
            let values: Vec<f32> = (0..var.elem_count()).map(|i| value(i, from)).collect();
            var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu).unwrap()).unwrap();
        }
        policy
    }

    /// Features of an image by its number.
    pub(crate) fn features(image: usize) -> Result<Vec<f32>> {
        let values = (0..4 * 20).map(|i| ((i * 3 + image * 11) as f32 * 0.37).sin());
        let is_there = (image < 10).then(|| values.collect());
        is_there.ok_or_else(|| Error::Features(format!("there is no image {image}")))
    }

    /// A prompt about these images, of a length of its own, with these answers.
    pub(crate) fn sequence(images: &[usize], words: u32, answers: &[&[u32]]) -> Sequence {
        let patches =
            (0..images.len()).flat_map(|i| [Segment::Patch(i), Segment::Tokens(vec![40 + i as u32])]);
        let before = Segment::Tokens((0..words).map(|i| 60 + i).collect());
        Sequence {
            prompt: std::iter::once(before).chain(patches).collect(),
            images: images.to_vec(),
            answers: answers.iter().map(|ids| Answer::new(ids.to_vec())).collect(),
        }
    }

    pub(crate) fn batch(model: &Model, sequences: &[Sequence]) -> Batch {
        Batch::new(sequences, model.shape, features).unwrap()
    }

    pub(crate) fn far(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    fn told(model: &Model, sequences: &[Sequence]) -> Vec<f32> {
        model.predictions(&batch(model, sequences)).unwrap().log_probabilities
    }

    #[test]
    fn a_new_policy_answers_as_its_package_does_and_names_what_can_learn() {
        let base = base();
        let policy = Policy::new(&base, &LoraSettings { rank: 4, alpha: 8.0 }, 5).unwrap();
        assert_eq!(policy.vars.len(), 4 + 2 * 7 * 2);
        assert!(policy.vars.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(policy.learning(true, false).count(), 4);
        assert_eq!(policy.learning(false, true).count(), 28);
        let name = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight";
        assert!(policy.vars.iter().any(|(own, _)| own == name), "PEFT's layout");
        assert!(policy.vars.iter().any(|(own, _)| own == "model.mm_projector.2.bias"), "LLaVA's layout");
        let projector = base.projector().unwrap().clone();
        let bare = Model { llama: base.llama.clone(), projector, ..policy.model.clone() };
        let sequences = [sequence(&[3], 2, &[&[5, 6, 7]])];
        assert!(far(&told(&policy.model, &sequences), &told(&bare, &sequences)) < 1e-6);
        let again = Policy::new(&base, &LoraSettings { rank: 4, alpha: 8.0 }, 5).unwrap();
        for ((_, one), (_, other)) in policy.vars.iter().zip(&again.vars) {
            let values = |var: &Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(one), values(other), "the same seed, the same policy");
        }
    }

    #[test]
    fn what_stands_beside_a_sequence_changes_nothing_of_it() {
        let policy = policy();
        let one = sequence(&[0], 3, &[&[5, 6, 7]]);
        let other = sequence(&[1, 0, 2], 9, &[&[8, 9], &[10, 11, 12, 13]]);
        let both = told(&policy.model, &[one.clone(), other.clone()]);
        let (alone, beside) =
            (told(&policy.model, &[one]), told(&policy.model, std::slice::from_ref(&other)));
        assert!(far(&both[..3], &alone) < 1e-4 && far(&both[3..], &beside) < 1e-4);
        let apart: Vec<f32> = other
            .answers
            .iter()
            .flat_map(|answer| {
                told(&policy.model, &[Sequence { answers: vec![answer.clone()], ..other.clone() }])
            })
            .collect();
        assert!(far(&beside, &apart) < 1e-4, "answers that share a prompt do not see each other");
        let swapped = sequence(&[2, 0, 1], 9, &[&[8, 9], &[10, 11, 12, 13]]);
        assert!(far(&told(&policy.model, &[swapped]), &beside) > 1e-3, "each image has its place");
    }

    #[test]
    fn a_copy_stays_as_it_was_and_a_merged_one_answers_the_same() {
        let policy = policy();
        let sequences = [sequence(&[0], 3, &[&[5, 6, 7], &[1, 2, 3]])];
        let before = told(&policy.model, &sequences);
        let (frozen, merged) = (policy.freeze().unwrap(), policy.merged().unwrap());
        assert_eq!(told(&frozen, &sequences), before);
        assert!(far(&told(&merged, &sequences), &before) < 1e-4);
        for (_, var) in &policy.vars {
            var.set(&(var.as_tensor() * 1.5).unwrap().detach()).unwrap();
        }
        assert!(far(&told(&policy.model, &sequences), &before) > 1e-3);
        assert_eq!(told(&frozen, &sequences), before);
        assert!(far(&told(&merged, &sequences), &before) < 1e-4);
    }
}
