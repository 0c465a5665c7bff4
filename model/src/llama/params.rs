//! `params.json` of a Llama, as Meta writes it (`ModelArgs`, meta-llama/llama-models `models/llama3/args.py`).

use serde::Deserialize;

use super::config::{LlamaConfig, RopeScaling};

/// Tokens of a Llama's context before its frequencies were scaled, and after; `params.json` does not tell.
const CONTEXT: usize = 8192;
const SCALED_CONTEXT: usize = 131_072;
/// How many channels the smallest Llama has whose frequencies are stretched by 8; the smaller ones of Llama 3.2 have
/// theirs stretched by 32. That is not in the file either, but in Hugging Face's configurations.
const STRETCHED_BY_8: usize = 4096;

/// The file's fields.
#[derive(Clone, Debug, Deserialize)]
pub struct Params {
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: Option<usize>,
    /// -1 before Llama 3.
    vocab_size: i64,
    #[serde(default = "default_multiple")]
    multiple_of: usize,
    ffn_dim_multiplier: Option<f64>,
    norm_eps: f64,
    rope_theta: Option<f64>,
    #[serde(default)]
    use_scaled_rope: bool,
    rope_scaling_factor: Option<f64>,
}

fn default_multiple() -> usize {
    256
}

impl Params {
    /// Channels inside the MLP (`FeedForward`, meta-llama/llama-models).
    fn inner(&self) -> Option<usize> {
        let inner = self.dim.checked_mul(8)? / 3;
        let inner = (self.ffn_dim_multiplier.unwrap_or(1.0) * inner as f64) as usize;
        inner.checked_next_multiple_of(self.multiple_of)
    }
}

impl TryFrom<Params> for LlamaConfig {
    type Error = String;

    fn try_from(params: Params) -> Result<Self, String> {
        let vocab_size = usize::try_from(params.vocab_size)
            .map_err(|_unknown| "it does not tell the size of the vocabulary, as Llama 3 does".to_owned())?;
        let (hidden, heads) = (params.dim, params.n_heads);
        if heads == 0 || !hidden.is_multiple_of(heads) {
            return Err(format!("{hidden} channels cannot be shared by {heads} heads"));
        }
        let inner = params.inner().ok_or("the language model's sizes make no sense")?;
        let by_size = if hidden < STRETCHED_BY_8 { 32.0 } else { 8.0 };
        let scaling = RopeScaling {
            factor: params.rope_scaling_factor.unwrap_or(by_size),
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: CONTEXT,
        };
        let config = Self {
            hidden_size: hidden,
            intermediate_size: inner,
            num_hidden_layers: params.n_layers,
            num_attention_heads: heads,
            num_key_value_heads: params.n_kv_heads.unwrap_or(heads),
            head_dim: hidden / heads,
            vocab_size,
            rms_norm_eps: params.norm_eps,
            rope_theta: params.rope_theta.unwrap_or(10_000.0),
            rope_scaling: params.use_scaled_rope.then_some(scaling),
            rope_factors: None,
            attention_bias: false,
            mrope_section: None,
            max_position_embeddings: if params.use_scaled_rope { SCALED_CONTEXT } else { CONTEXT },
            tie_word_embeddings: false,
        };
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LlamaConfig, String> {
        serde_json::from_str::<Params>(text).map_err(|e| e.to_string())?.try_into()
    }

    #[test]
    fn published_files_give_the_published_shapes() {
        let eight = read(
            r#"{"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256,
                "multiple_of": 1024, "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0}"#,
        )
        .unwrap();
        assert_eq!((eight.intermediate_size, eight.head_dim, eight.rope_theta), (14336, 128, 500_000.0));
        assert_eq!((&eight.rope_scaling, eight.max_position_embeddings), (&None, 8192));
        let one = read(
            r#"{"dim": 2048, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 256,
                "ffn_dim_multiplier": 1.5, "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": true}"#,
        )
        .unwrap();
        assert_eq!((one.intermediate_size, one.head_dim), (8192, 64));
        assert_eq!(one.rope_scaling.unwrap().factor, 32.0);
        assert_eq!(one.max_position_embeddings, 131_072);
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_reason() {
        let with = |change: &str| {
            let own = r#""dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 128, "norm_eps": 1e-5"#;
            let key = change.split(':').next().unwrap();
            let kept: Vec<&str> = own.split(", ").filter(|field| !field.starts_with(key)).collect();
            read(&format!("{{{}, {change}}}", kept.join(", ")))
        };
        assert!(with(r#""multiple_of": 32"#).is_ok());
        for (change, reason) in [
            (r#""vocab_size": -1"#, "vocabulary"),
            (r#""n_heads": 0"#, "0 heads"),
            (r#""n_heads": 5"#, "5 heads"),
            (r#""multiple_of": 0"#, "make no sense"),
            (r#""dim": 4611686018427387904"#, "make no sense"),
            (r#""ffn_dim_multiplier": 1e300"#, "make no sense"),
            (r#""norm_eps": 0.0"#, "must be positive"),
        ] {
            let error = with(change).unwrap_err();
            assert!(error.contains(reason), "{change}: {error}");
        }
    }
}
