//! llama.cpp's names of architectures and tensors (`gguf-py/gguf/constants.py`), and how it stores the latter.

use crate::llama::LlamaConfig;

/// An architecture whose language model is read and written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) enum Architecture {
    Llama,
    /// Qwen2-VL and Qwen2.5-VL: their language models are alike, their towers are not.
    Qwen2Vl,
}

impl Architecture {
    /// The one of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Llama, Self::Qwen2Vl].into_iter().find(|architecture| architecture.name() == name)
    }

    /// That of a configuration.
    pub(in crate::weights) fn of(config: &LlamaConfig) -> Self {
        if config.mrope_section.is_some() { Self::Qwen2Vl } else { Self::Llama }
    }

    /// The name, which begins the keys of its metadata.
    pub(in crate::weights) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2Vl => "qwen2vl",
        }
    }
}

/// Heads in whose rows a tensor, by Hugging Face's name, is stored in pairs: those of a Llama's queries and keys.
pub(in crate::weights) fn paired(name: &str, config: &LlamaConfig) -> Option<usize> {
    match (Architecture::of(config), name) {
        (Architecture::Llama, name) if name.ends_with("self_attn.q_proj.weight") => {
            Some(config.num_attention_heads)
        }
        (Architecture::Llama, name) if name.ends_with("self_attn.k_proj.weight") => {
            Some(config.num_key_value_heads)
        }
        _ => None,
    }
}

/// The tensor of factors that frequencies are divided by.
pub(in crate::weights) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// `blk.0.attn_q.weight` for `model.layers.0.self_attn.q_proj.weight`; a name that is none of a language model's as it is.
pub(in crate::weights) fn stored_name(name: &str) -> String {
    translated(name).unwrap_or_else(|| name.to_owned())
}

fn translated(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = part.rsplit_once('.')?;
    let stored = match (part, kind) {
        ("input_layernorm", "weight") => "attn_norm",
        ("self_attn.q_proj", "weight" | "bias") => "attn_q",
        ("self_attn.k_proj", "weight" | "bias") => "attn_k",
        ("self_attn.v_proj", "weight" | "bias") => "attn_v",
        ("self_attn.o_proj", "weight") => "attn_output",
        ("post_attention_layernorm", "weight") => "ffn_norm",
        ("mlp.gate_proj", "weight") => "ffn_gate",
        ("mlp.up_proj", "weight") => "ffn_up",
        ("mlp.down_proj", "weight") => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{stored}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_and_others_kept() {
        assert_eq!(stored_name("model.layers.12.mlp.down_proj.weight"), "blk.12.ffn_down.weight");
        assert_eq!(stored_name("model.layers.3.self_attn.k_proj.bias"), "blk.3.attn_k.bias");
        assert_eq!(stored_name("lm_head.weight"), "output.weight");
        for other in
            [ROPE_FACTORS, "v.blk.0.attn_q.weight", "model.layers.0.mlp.up_proj.bias", "model.layers"]
        {
            assert_eq!(stored_name(other), other);
        }
    }
}
