//! Models that are known by name: what they take, under which licence they come, and what it allows.
//!
//! Data about published models, none of which ships with the program. Sizes follow from the models' dimensions.

use serde::{Deserialize, Serialize};

use super::{Architecture, Error, Package};

/// What a licence says about using a model here, kept in its package and in every package made from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What it allows, as a sentence.
    pub allows: String,
    /// What is said where somebody is about to train on the model or on its answers, as a sentence; `None`: both are
    /// allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuses_training: Option<String>,
}

/// A published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// `Patho-R1-3B`
    pub name: &'static str,
    /// On the Hugging Face Hub, `WenchuanZhang/Patho-R1-3B`.
    pub repository: &'static str,
    pub licence: &'static str,
    pub allows: &'static str,
    /// As [`Terms::refuses_training`].
    pub refuses_training: Option<&'static str>,
    /// Whether access has to be asked for.
    pub is_gated: bool,
    /// Whether it was trained to answer in `<think>` and `<answer>`.
    pub thinks: bool,
    /// The language model's dimensions, by which its size in each precision is reckoned.
    pub dimensions: Dimensions,
}

/// Of a known model's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    pub hidden: u64,
    pub layers: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub mlp: u64,
    pub vocabulary: u64,
    pub is_tied: bool,
    /// Values of the vision tower with its merger, which stay in full precision.
    pub vision: u64,
}

/// Qwen2.5-VL of 3.75 and of 8.29 billion values in all (`config.json` of each repository).
const SMALLER: Dimensions = Dimensions {
    hidden: 2048,
    layers: 36,
    heads: 16,
    kv_heads: 2,
    mlp: 11_008,
    vocabulary: 151_936,
    is_tied: true,
    vision: 668_684_288,
};
const LARGER: Dimensions = Dimensions {
    hidden: 3584,
    layers: 28,
    heads: 28,
    kv_heads: 4,
    mlp: 18_944,
    vocabulary: 152_064,
    is_tied: false,
    vision: 676_550_144,
};

/// Of both sizes (model card of each).
const PATHO_R1: Known = Known {
    name: "Patho-R1-3B",
    repository: "WenchuanZhang/Patho-R1-3B",
    licence: "CC-BY-NC-ND-4.0",
    allows: "Use that is not commercial, of the model as it is; no training of it, and none on its answers.",
    refuses_training: Some(
        "Patho-R1 comes under CC-BY-NC-ND-4.0, and its authors allow no training, neither of the model nor on its answers",
    ),
    is_gated: true,
    thinks: true,
    dimensions: SMALLER,
};

/// All that are known.
pub const KNOWN: &[Known] = &[
    Known {
        name: "Qwen2.5-VL-3B-Instruct",
        repository: "Qwen/Qwen2.5-VL-3B-Instruct",
        licence: "Qwen Research License",
        allows: "Research and evaluation, not commercial use.",
        refuses_training: None,
        is_gated: false,
        thinks: false,
        dimensions: SMALLER,
    },
    Known {
        name: "Qwen2.5-VL-7B-Instruct",
        repository: "Qwen/Qwen2.5-VL-7B-Instruct",
        licence: "Apache-2.0",
        allows: "Any use, with the licence's notices kept.",
        refuses_training: None,
        is_gated: false,
        thinks: false,
        dimensions: LARGER,
    },
    PATHO_R1,
    Known { name: "Patho-R1-7B", repository: "WenchuanZhang/Patho-R1-7B", dimensions: LARGER, ..PATHO_R1 },
];

impl Known {
    /// The model that a repository's name, a folder's name or a model card's heading names, alone or with something added
    /// (`Patho-R1-3B-GGUF`); capital letters do not matter. Where two are named it is the one with the stricter terms.
    pub fn named(text: &str) -> Option<&'static Self> {
        let said = words(text);
        Self::strictest(KNOWN.iter().filter(|known| said.contains(&words(known.name))))
    }

    /// The one with the stricter terms of several that a model may be made from; the first of those that are alike.
    pub(crate) fn strictest(models: impl IntoIterator<Item = &'static Self>) -> Option<&'static Self> {
        models.into_iter().min_by_key(|known| known.refuses_training.is_none())
    }

    /// Bytes in main memory where its language model is stored in this precision (`f32`, `q8_0`, `q4_k_m`), its vision
    /// tower included.
    pub fn memory(&self, precision: &str) -> Option<u64> {
        let of: fn(u64, bool) -> u64 = match precision {
            "f32" => |values: u64, _more: bool| 4 * values,
            "q8_0" => |values: u64, _more: bool| values / 32 * 34,
            // Six bits where it matters most, four elsewhere; every row is a multiple of a block of 256.
            "q4_k_m" => |values: u64, more: bool| values / 256 * if more { 210 } else { 144 },
            _ => return None,
        };
        let Dimensions { hidden, layers, heads, kv_heads, mlp, vocabulary, is_tied, vision } =
            self.dimensions;
        let keys = kv_heads * (hidden / heads);
        let layer = |i: u64| {
            let telling = of(keys * hidden + mlp * hidden, more_bits(i, layers));
            let others = of(2 * hidden * hidden + keys * hidden + 2 * mlp * hidden, false);
            // Norms and biases.
            telling + others + 4 * (2 * hidden + hidden + 2 * keys)
        };
        let head = of(vocabulary * hidden, true);
        let embeddings = if is_tied { 0 } else { of(vocabulary * hidden, false) };
        Some((0..layers).map(layer).sum::<u64>() + head + embeddings + 4 * (hidden + vision))
    }

    /// As a package keeps them.
    pub fn terms(&self) -> Terms {
        Terms { allows: self.allows.to_owned(), refuses_training: self.refuses_training.map(str::to_owned) }
    }
}

/// Whether a layer gets more bits by llama.cpp's recipes (`use_more_bits`): the first and the last eighth do, and every third
/// between.
pub(crate) fn more_bits(layer: u64, layers: u64) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// A text's words in small letters, each between two dashes.
fn words(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.fold("-".to_owned(), |joined, word| joined + &word.to_lowercase() + "-")
}

impl Package {
    /// Refuses a package that must not or cannot be trained: its licence forbids it, or its family is not ReinPath's.
    pub fn may_train(&self) -> Result<(), Error> {
        let refused =
            |sentence: &str| Err(Error::Terms { sentence: sentence.to_owned(), path: self.folder.clone() });
        let terms = self.manifest.terms.as_ref();
        match (terms.and_then(|terms| terms.refuses_training.as_deref()), self.manifest.architecture) {
            (Some(sentence), _) => refused(sentence),
            (None, Architecture::Qwen25Vl) => {
                refused("a Qwen2.5-VL is asked with this program, but not trained or measured")
            }
            (None, Architecture::ReinPath) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_their_names_wherever_they_stand() {
        let named = |text: &str| Known::named(text).map(|known| known.name);
        for (text, name) in [
            ("Qwen/Qwen2.5-VL-3B-Instruct at 6628549", "Qwen2.5-VL-3B-Instruct"),
            ("models--WenchuanZhang--Patho-R1-7B", "Patho-R1-7B"),
            ("# patho-r1-3b", "Patho-R1-3B"),
            ("Qwen2.5 VL 7B Instruct", "Qwen2.5-VL-7B-Instruct"),
            ("Qwen2.5-VL-7B-Instruct.Q4_K_M.gguf", "Qwen2.5-VL-7B-Instruct"),
            ("patho_r1_3b-gguf", "Patho-R1-3B"),
            ("Qwen2.5-VL-3B-Instruct and Patho-R1-3B", "Patho-R1-3B"),
        ] {
            assert_eq!(named(text), Some(name), "{text}");
        }
        for text in ["", "Patho-R1", "Patho-R1-30B", "Qwen2.5-VL-72B-Instruct", "Qwen2-VL-7B-Instruct", "-"] {
            assert_eq!(named(text), None, "{text}");
        }
        let forbidding: Vec<&str> =
            KNOWN.iter().filter(|known| known.terms().refuses_training.is_some()).map(|k| k.name).collect();
        assert_eq!(forbidding, ["Patho-R1-3B", "Patho-R1-7B"]);
    }

    #[test]
    fn values_are_as_many_as_are_published() {
        // "total_parameters" of the repositories' safetensors.
        for (name, values) in
            [("Qwen2.5-VL-3B-Instruct", 3_754_622_976), ("Qwen2.5-VL-7B-Instruct", 8_292_166_656)]
        {
            assert_eq!(Known::named(name).unwrap().memory("f32"), Some(4 * values), "{name}");
        }
        assert_eq!(KNOWN[0].memory("q3_k"), None);
    }

    #[cfg(feature = "inference")]
    #[test]
    fn what_is_reckoned_is_what_a_recipe_takes() {
        use crate::llama::LlamaConfig;
        use crate::weights::quantise::Recipe;

        for known in KNOWN {
            let d = known.dimensions;
            let config = LlamaConfig {
                hidden_size: d.hidden as usize,
                intermediate_size: d.mlp as usize,
                num_hidden_layers: d.layers as usize,
                num_attention_heads: d.heads as usize,
                num_key_value_heads: d.kv_heads as usize,
                head_dim: (d.hidden / d.heads) as usize,
                vocab_size: d.vocabulary as usize,
                rms_norm_eps: 1e-6,
                rope_theta: 1e6,
                rope_scaling: None,
                rope_factors: None,
                attention_bias: true,
                mrope_section: Some([16, 24, 24]),
                max_position_embeddings: 128_000,
                tie_word_embeddings: d.is_tied,
            };
            for recipe in Recipe::ALL {
                let bytes = recipe.bytes(&config) + 4 * d.vision;
                assert_eq!(known.memory(recipe.name()), Some(bytes), "{} {}", known.name, recipe.name());
            }
        }
    }
}
