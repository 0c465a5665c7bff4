//! `config.json` of a Llama, as Hugging Face writes it (`configuration_llama.py`, transformers 4 and 5).

mod qwen;

use serde::{Deserialize, Serialize};

use crate::ops::Rotary;

/// A larger size than this is not believed: tensors and tables of this length are allocated.
const LARGEST: usize = 1 << 20;

/// What a Llama is made of; read from `config.json`, and only where it makes sense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HuggingFace")]
pub struct LlamaConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    /// Size of one head; `hidden_size / num_attention_heads` in all published Llamas.
    pub head_dim: usize,
    pub vocab_size: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    /// How the slow frequencies are stretched (Llama 3.1 and 3.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// What each frequency is divided by, where a file says that instead (GGUF).
    #[serde(skip)]
    pub rope_factors: Option<Vec<f32>>,
    pub max_position_embeddings: usize,
    pub tie_word_embeddings: bool,
    /// Whether queries, keys and values have biases (Qwen2.5; the result of attention has none).
    #[serde(skip)]
    pub attention_bias: bool,
    /// How many planes of rotation turn with a token's time, row and column, in this order (Qwen2.5-VL); `None`: all with
    /// its one position.
    #[serde(skip)]
    pub mrope_section: Option<[usize; 3]>,
}

/// Llama 3.1's scaling of rotary frequencies for contexts that are longer than those of the first training
/// (`_compute_llama3_parameters`, transformers; `apply_scaling`, meta-llama/llama-models).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename = "llama3")]
pub struct RopeScaling {
    /// By how much waves are stretched that are longer than the first context.
    pub factor: f64,
    /// Waves longer than the first context divided by this are stretched in part.
    pub low_freq_factor: f64,
    /// Waves shorter than the first context divided by this are left alone.
    pub high_freq_factor: f64,
    /// Tokens of the first context.
    pub original_max_position_embeddings: usize,
}

impl RopeScaling {
    /// The scaled frequency.
    fn apply(&self, frequency: f64) -> f64 {
        let context = self.original_max_position_embeddings as f64;
        let waves = context * frequency / (2.0 * std::f64::consts::PI);
        let (low, high) = (self.low_freq_factor, self.high_freq_factor);
        if waves < low {
            frequency / self.factor
        } else if waves > high {
            frequency
        } else {
            let smooth = (waves - low) / (high - low);
            (1.0 - smooth) * frequency / self.factor + smooth * frequency
        }
    }
}

impl LlamaConfig {
    /// The rotation of its positions.
    pub fn rotary(&self) -> Rotary {
        let plain = self.frequencies();
        let frequencies: Vec<f64> = match (&self.rope_scaling, &self.rope_factors) {
            (None, None) => plain.collect(),
            (Some(scaling), _) => plain.map(|frequency| scaling.apply(frequency)).collect(),
            (None, Some(factors)) => plain.zip(factors).map(|(f, factor)| f / f64::from(*factor)).collect(),
        };
        let rotary = Rotary::new(&frequencies, self.max_position_embeddings);
        match &self.mrope_section {
            None => rotary,
            Some(sections) => rotary.in_sections(sections),
        }
    }

    /// What each frequency is divided by; `None` where they are not scaled.
    pub fn rope_divisors(&self) -> Option<Vec<f32>> {
        let Some(scaling) = &self.rope_scaling else { return self.rope_factors.clone() };
        let divisor = |frequency: f64| (frequency / scaling.apply(frequency)) as f32;
        Some(self.frequencies().map(divisor).collect())
    }

    /// Frequencies of the planes of rotation, before they are scaled.
    fn frequencies(&self) -> impl Iterator<Item = f64> {
        let head_dim = self.head_dim as f64;
        (0..self.head_dim / 2).map(move |i| self.rope_theta.powf(-2.0 * i as f64 / head_dim))
    }

    /// A reason why this can be no Llama.
    pub(super) fn check(&self) -> Result<(), String> {
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        let sizes = [
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
            self.vocab_size,
            heads,
            kv_heads,
            self.head_dim,
        ];
        if sizes.contains(&0) || sizes.iter().any(|&size| size > LARGEST) {
            return Err(format!("the language model's sizes {sizes:?} make no sense"));
        }
        if heads % kv_heads != 0 || !self.head_dim.is_multiple_of(2) {
            let (hidden, dim) = (self.hidden_size, self.head_dim);
            return Err(format!(
                "{hidden} channels cannot be shared by {heads} heads of {dim} and {kv_heads} for keys"
            ));
        }
        if let Some(sections) = self.mrope_section
            && sections.iter().try_fold(0usize, |sum, &planes| sum.checked_add(planes))
                != Some(self.head_dim / 2)
        {
            let planes = self.head_dim / 2;
            return Err(format!("the sections {sections:?} do not share {planes} planes of rotation"));
        }
        let context = self.max_position_embeddings;
        if context == 0 || context > LARGEST {
            return Err(format!("a context of {context} tokens makes no sense"));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(self.rope_theta) || !positive(self.rms_norm_eps) {
            return Err("rope_theta and rms_norm_eps must be positive".to_owned());
        }
        match &self.rope_scaling {
            Some(s)
                if !positive(s.factor)
                    || !positive(s.low_freq_factor)
                    || !s.high_freq_factor.is_finite()
                    || s.high_freq_factor <= s.low_freq_factor
                    || s.original_max_position_embeddings == 0 =>
            {
                Err(format!("the scaling of positions makes no sense: {s:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// The file's fields, of which transformers leaves out some.
#[derive(Deserialize)]
struct HuggingFace {
    #[serde(default)]
    model_type: Option<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    /// Where transformers 5 has put base and scaling.
    rope_parameters: Option<Rope>,
    max_position_embeddings: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
}

#[derive(Deserialize)]
struct Rope {
    #[serde(rename = "rope_type")]
    kind: Option<String>,
    /// What older files call it; some have both.
    #[serde(rename = "type")]
    older_type: Option<String>,
    #[serde(rename = "rope_theta")]
    theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

impl Rope {
    fn scaling(&self) -> Result<Option<RopeScaling>, String> {
        match self.kind.as_deref().or(self.older_type.as_deref()) {
            None if self.factor.is_some() => {
                Err("the scaling of positions does not say of which kind it is (rope_type)".to_owned())
            }
            None | Some("default") => Ok(None),
            Some("llama3") => {
                let missing = |name: &str| format!("{name} is missing from the scaling of positions");
                Ok(Some(RopeScaling {
                    factor: self.factor.ok_or_else(|| missing("factor"))?,
                    low_freq_factor: self.low_freq_factor.ok_or_else(|| missing("low_freq_factor"))?,
                    high_freq_factor: self.high_freq_factor.ok_or_else(|| missing("high_freq_factor"))?,
                    original_max_position_embeddings: self
                        .original_max_position_embeddings
                        .ok_or_else(|| missing("original_max_position_embeddings"))?,
                }))
            }
            Some(other) => Err(format!(
                "the language model scales its positions in the way '{other}', which is not supported"
            )),
        }
    }
}

impl TryFrom<HuggingFace> for LlamaConfig {
    type Error = String;

    fn try_from(file: HuggingFace) -> Result<Self, String> {
        if let Some(other) = file.model_type.as_deref().filter(|&kind| kind != "llama") {
            return Err(format!("this is a model of the kind '{other}', not a Llama"));
        }
        if file.attention_bias || file.mlp_bias {
            return Err("a Llama with biases is not supported".to_owned());
        }
        if let Some(other) = file.hidden_act.as_deref().filter(|&act| act != "silu") {
            return Err(format!("a Llama with the activation '{other}' is not supported"));
        }
        let heads = file.num_attention_heads;
        let head_dim = match file.head_dim {
            Some(head_dim) => head_dim,
            None if heads > 0 && file.hidden_size.is_multiple_of(heads) => file.hidden_size / heads,
            None => return Err(format!("{} channels cannot be shared by {heads} heads", file.hidden_size)),
        };
        let rope = file.rope_scaling.as_ref().or(file.rope_parameters.as_ref());
        let config = Self {
            hidden_size: file.hidden_size,
            intermediate_size: file.intermediate_size,
            num_hidden_layers: file.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: file.num_key_value_heads.unwrap_or(heads),
            head_dim,
            vocab_size: file.vocab_size,
            rms_norm_eps: file.rms_norm_eps,
            rope_theta: file
                .rope_theta
                .or(file.rope_parameters.as_ref().and_then(|rope| rope.theta))
                .unwrap_or(10_000.0),
            rope_scaling: rope.map_or(Ok(None), Rope::scaling)?,
            rope_factors: None,
            attention_bias: false,
            mrope_section: None,
            max_position_embeddings: file.max_position_embeddings,
            tie_word_embeddings: file.tie_word_embeddings,
        };
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = r#""hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 128, "rms_norm_eps": 1e-5, "max_position_embeddings": 131072"#;

    fn read(more: &str) -> Result<LlamaConfig, String> {
        serde_json::from_str(&format!("{{{TINY}, {more}}}")).map_err(|e| e.to_string())
    }

    #[test]
    fn old_and_new_files_say_the_same() {
        let scaling = r#""rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192"#;
        let old = read(&format!(r#""rope_theta": 500000.0, "rope_scaling": {{{scaling}}}"#)).unwrap();
        let new = read(&format!(r#""rope_parameters": {{"rope_theta": 500000.0, {scaling}}}"#)).unwrap();
        assert_eq!(old, new);
        assert_eq!((old.num_key_value_heads, old.head_dim, old.rope_theta), (4, 16, 500_000.0));
        let written = serde_json::to_string(&old).unwrap();
        assert_eq!(serde_json::from_str::<LlamaConfig>(&written).unwrap(), old);
        let plain = read(r#""rope_parameters": {"rope_type": "default", "rope_theta": 5e5}"#).unwrap();
        assert_eq!(plain, LlamaConfig { rope_scaling: None, ..old });
    }

    #[test]
    fn slow_frequencies_are_stretched_and_fast_ones_left() {
        let scaling = RopeScaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let of_wave = |tokens: f64| 2.0 * std::f64::consts::PI / tokens;
        assert_eq!(scaling.apply(of_wave(100.0)), of_wave(100.0));
        assert_eq!(scaling.apply(of_wave(10_000.0)), of_wave(80_000.0));
        // Half way between: 8192 / λ = 2.5.
        let between = of_wave(8192.0 / 2.5);
        assert!((scaling.apply(between) / between - (0.5 + 0.5 / 8.0)).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_reason() {
        for (more, reason) in [
            (r#""head_dim": 15"#, "64 channels cannot be shared by 4 heads of 15"),
            (r#""num_key_value_heads": 3"#, "4 heads of 16 and 3 for keys"),
            (r#""num_key_value_heads": 0"#, "make no sense"),
            (r#""attention_bias": true"#, "biases"),
            (r#""hidden_act": "gelu""#, "'gelu'"),
            (r#""model_type": "mistral""#, "'mistral'"),
            (r#""rope_theta": 0.0"#, "must be positive"),
            (r#""rope_scaling": {"type": "dynamic", "factor": 2.0}"#, "'dynamic'"),
            (r#""rope_scaling": {"rope_type": "llama3", "factor": 2.0}"#, "low_freq_factor is missing"),
        ] {
            let error = read(more).unwrap_err();
            assert!(error.contains(reason), "{more}: {error}");
        }
    }
}
