//! LoRA adapters of the language model, in PEFT's layout: a folder with `adapter_config.json` and
//! `adapter_model.safetensors` (`.bin` before PEFT 0.6).
//!
//! Tensors of a Qwen2.5-VL are named in either of its two layouts. Only plain LoRA of linear layers is read. What an adapter
//! has beyond that is refused by name: leaving it out would give another model.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Device;
use candle_nn::VarBuilder;
use serde::Deserialize;
use serde_json::Value;

use crate::layers::LoraConfig;
use crate::llama::Llama;
use crate::package::{ADAPTER_CONFIG, AdapterSpec, LanguageKind, Package};
use crate::reinpath::{Error, read_json};
use crate::weights::{Size, Weights, keys};

/// What stands before the model's own names in an adapter's file.
const PREFIX: &str = "base_model.model";

/// PEFT's `adapter_config.json`, as far as it matters here.
#[derive(Deserialize)]
struct PeftConfig {
    peft_type: Option<String>,
    r: Option<usize>,
    lora_alpha: Option<f64>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    rank_pattern: Option<BTreeMap<String, Value>>,
    alpha_pattern: Option<BTreeMap<String, Value>>,
    /// Names of layers, or a pattern of them.
    target_modules: Option<Value>,
    exclude_modules: Option<Value>,
    layers_to_transform: Option<Value>,
    /// Where it names a method, that may have changed the base model, too (PiSSA, OLoRA, CorDA, LoftQ).
    init_lora_weights: Option<Value>,
}

impl PeftConfig {
    fn lora(&self) -> Result<LoraConfig, String> {
        let is_lora = self.peft_type.as_deref().is_none_or(|kind| kind == "LORA");
        let has = |pattern: &Option<BTreeMap<String, Value>>| pattern.as_ref().is_some_and(|p| !p.is_empty());
        let is_plain = !self.use_rslora && !self.use_dora && !self.fan_in_fan_out;
        let keeps_base = match &self.init_lora_weights {
            Some(Value::String(how)) => ["gaussian", "eva", "orthogonal"].contains(&how.as_str()),
            _ => true,
        };
        if !keeps_base {
            return Err(
                "it was made by a way of starting that changes the base model, too, which is not supported: \
                        convert it to a plain LoRA when saving it"
                    .to_owned(),
            );
        }
        match (self.r, self.lora_alpha) {
            (Some(rank @ 1..), Some(alpha))
                if is_lora
                    && is_plain
                    && alpha.is_finite()
                    && !has(&self.rank_pattern)
                    && !has(&self.alpha_pattern) =>
            {
                Ok(LoraConfig { rank, alpha })
            }
            _ => Err("only plain LoRA adapters with one rank of at least 1 are supported".to_owned()),
        }
    }

    /// Whether the configuration says by name that a layer is adapted. Where it says so in another way, the file tells.
    fn names(&self, linear: &str) -> bool {
        if self.exclude_modules.as_ref().is_some_and(|value| !value.is_null())
            || self.layers_to_transform.as_ref().is_some_and(|value| !value.is_null())
        {
            return false;
        }
        let Some(Value::Array(names)) = &self.target_modules else { return false };
        names.iter().filter_map(Value::as_str).any(|name| {
            linear == name || linear.strip_suffix(name).is_some_and(|before| before.ends_with('.'))
        })
    }
}

/// An adapter's files, of which every tensor belongs to a layer that can be adapted.
pub(crate) struct AdapterFiles {
    lora: LoraConfig,
    weights: Weights,
    /// The layers that it adapts.
    linears: BTreeSet<String>,
}

impl AdapterFiles {
    /// Opens the files of an adapter of `llama`.
    pub(crate) fn open(package: &Package, spec: &AdapterSpec, llama: &Llama) -> Result<Self, Error> {
        let path = package.file(&spec.folder).join(ADAPTER_CONFIG);
        let config: PeftConfig = read_json(&path)?;
        let lora = config.lora().map_err(|reason| Error::Config { reason, path: path.clone() })?;
        let file = package.file(&package.adapter_weights(spec));
        let mut weights = Weights::open(std::slice::from_ref(&file))?;
        if package.manifest.language.kind == LanguageKind::Qwen25Vl {
            weights = weights.renamed(|name| Some(as_of_a_llama(name)));
        }
        let mut unused: BTreeSet<&str> = weights.shapes().map(|(name, _)| name).collect();
        let mut linears = BTreeSet::new();
        for linear in llama.linear_names() {
            let pair = ["lora_A", "lora_B"].map(|part| format!("{PREFIX}.{linear}.{part}.weight"));
            let is_there = pair.iter().filter(|name| unused.remove(name.as_str())).count() > 0;
            if is_there || config.names(&linear) {
                linears.insert(linear);
            }
        }
        if let Some(name) = unused.first() {
            let reason = format!("the tensor {name} belongs to no layer that can be adapted here");
            return Err(Error::Config { reason, path: file });
        }
        if linears.is_empty() {
            let reason = "the adapter changes no layer of the language model".to_owned();
            return Err(Error::Config { reason, path: file });
        }
        Ok(Self { lora, weights, linears })
    }

    /// Puts the adapter on the language model, beside its weights.
    pub(crate) fn load(self, llama: &mut Llama, device: &Device) -> Result<Size, Error> {
        let Self { lora, weights, linears } = self;
        let ((), size) = weights.build_in(llama.dtype(), device, |vb| put_on(llama, &vb, &lora, &linears))?;
        Ok(size)
    }

    /// Looks whether it could be put on.
    pub(crate) fn check(self, llama: &mut Llama) -> Result<Size, Error> {
        let Self { lora, weights, linears } = self;
        let ((), size) = weights.check(|vb| put_on(llama, &vb, &lora, &linears))?;
        Ok(size)
    }
}

/// The name of an adapter's tensor on a Llama, for that on either layout of a Qwen2.5-VL; one of its vision tower's as it is.
fn as_of_a_llama(name: &str) -> String {
    let own = name.strip_prefix(PREFIX).and_then(|rest| keys::decoder(rest.strip_prefix('.')?));
    own.map_or_else(|| name.to_owned(), |own| format!("{PREFIX}.{own}"))
}

fn put_on(
    llama: &mut Llama,
    vb: &VarBuilder<'_>,
    lora: &LoraConfig,
    linears: &BTreeSet<String>,
) -> candle_core::Result<()> {
    llama.adapt_some(&vb.pp(PREFIX), lora, |linear| linears.contains(linear))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_lora_is_read() {
        let read = |text: &str| serde_json::from_str::<PeftConfig>(text).unwrap().lora();
        let plain =
            r#"{"r": 8, "lora_alpha": 16, "peft_type": "LORA", "rank_pattern": {}, "use_dora": false}"#;
        assert_eq!(read(plain).unwrap(), LoraConfig { rank: 8, alpha: 16.0 });
        for other in [
            r#"{"peft_type": "IA3", "feedforward_modules": ["lin0"]}"#,
            r#"{"r": 0, "lora_alpha": 16}"#,
            r#"{"r": 8}"#,
            r#"{"r": 8, "lora_alpha": 16, "use_dora": true}"#,
            r#"{"r": 8, "lora_alpha": 16, "use_rslora": true}"#,
            r#"{"r": 8, "lora_alpha": 16, "fan_in_fan_out": true}"#,
            r#"{"r": 8, "lora_alpha": 16, "rank_pattern": {"q_proj": 4}}"#,
        ] {
            assert!(read(other).unwrap_err().contains("plain LoRA"), "{other}");
        }
    }

    #[test]
    fn both_layouts_of_a_qwen_have_a_llamas_names_and_its_tower_keeps_its_own() {
        let own = "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight";
        assert_eq!(as_of_a_llama(own), own);
        let newer = "base_model.model.model.language_model.layers.3.self_attn.q_proj.lora_A.weight";
        assert_eq!(as_of_a_llama(newer), own);
        for other in ["base_model.model.visual.blocks.0.attn.qkv.lora_A.weight", "base_modelling", "x"] {
            assert_eq!(as_of_a_llama(other), other);
        }
    }

    #[test]
    fn layers_are_named_by_their_last_part_or_in_another_way() {
        let names =
            |text: &str, linear: &str| serde_json::from_str::<PeftConfig>(text).unwrap().names(linear);
        let layer = "model.layers.3.self_attn.q_proj";
        assert!(names(r#"{"target_modules": ["v_proj", "q_proj"]}"#, layer));
        assert!(names(r#"{"target_modules": ["self_attn.q_proj"]}"#, layer));
        assert!(!names(r#"{"target_modules": ["proj", "up_proj"]}"#, layer));
        assert!(!names(r#"{"target_modules": "all-linear"}"#, layer));
        assert!(!names(r#"{"target_modules": ["q_proj"], "layers_to_transform": [1]}"#, layer));
    }
}
