//! Tiny model packages for tests, of this crate and of those that use it: made in milliseconds, good for nothing else.
//!
//! A random one babbles; a scripted one says a given text whatever it is asked, because each token's embedding leads to
//! the next token of the script and its layers add nothing. There is one of each family, so that a test can be run over
//! [`Family::ALL`].

mod qwen;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{AddedToken, Tokenizer};

use crate::llama::{Llama, LlamaConfig};
use crate::package::{
    Architecture, ChatTemplate, EncoderKind, EncoderSpec, Fusion, Generation, GridRule, Instructions, Knows,
    LanguageKind, LanguageSpec, MANIFEST, Manifest, PatchSpec, ProjectorSpec, ResizeFilter,
};
use crate::projector::Projector;
use crate::prompt::{END_OF_TURN, SPECIAL_TOKENS};
use crate::vit::Vit;

#[cfg(test)]
pub(crate) use self::for_tests::{model, model_of, patch};
pub use self::qwen::{CHATML, Keys, tower_tensors, write_folder, write_qwen_package};

/// Why a fixture could not be made.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a fixture's model says.
#[derive(Clone, Copy, Debug)]
pub enum Speech<'a> {
    /// Random tokens from random weights with this seed; it never ends by itself.
    Babble(u64),
    /// These pieces, one token each, and then it ends.
    Script(&'a [&'a str]),
}

impl<'a> Speech<'a> {
    /// Empty where it babbles.
    fn script(self) -> &'a [&'a str] {
        match self {
            Self::Script(pieces) => pieces,
            Self::Babble(_) => &[],
        }
    }

    fn seed(self) -> u64 {
        match self {
            Self::Babble(seed) => seed,
            Self::Script(_) => 0,
        }
    }
}

/// The families of models that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    ReinPath,
    Qwen,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::ReinPath, Self::Qwen];

    /// The token that ends a turn, by its text.
    pub fn end_of_turn(self) -> &'static str {
        match self {
            Self::ReinPath => END_OF_TURN,
            Self::Qwen => qwen::END_OF_TURN,
        }
    }

    /// Special tokens of its tokenizer.
    fn special_tokens(self) -> &'static [&'static str] {
        match self {
            Self::ReinPath => &SPECIAL_TOKENS,
            Self::Qwen => &qwen::SPECIAL_TOKENS,
        }
    }
}

/// Tokens that a fixture's model can read at most.
pub const CONTEXT: usize = 50_000;

/// A staged answer as a script.
pub const STAGED: [&str; 9] = [
    "[Observation]\n",
    "Glands",
    " are seen.",
    "\n[Analysis]\n",
    "They are",
    " regular.",
    "\n[Conclusion]\n",
    "B)",
    " glands",
];

/// Writes a package of this family into `folder`, which must exist.
pub fn write_package_of(family: Family, folder: &Path, speech: Speech<'_>) -> Result<Manifest, Error> {
    match family {
        Family::ReinPath => write_package(folder, speech),
        Family::Qwen => write_qwen_package(folder, speech),
    }
}

/// Writes a package of ReinPath's family into `folder`, which must exist.
pub fn write_package(folder: &Path, speech: Speech<'_>) -> Result<Manifest, Error> {
    let (script, seed) = (speech.script(), speech.seed());
    let tokenizer = byte_tokenizer(script)?;
    tokenizer.save(folder.join("tokenizer.json"), false)?;
    let mut config = LlamaConfig {
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        vocab_size: tokenizer.get_vocab_size(true),
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        rope_factors: None,
        attention_bias: false,
        mrope_section: None,
        max_position_embeddings: CONTEXT,
        tie_word_embeddings: false,
    };
    if !script.is_empty() {
        config.hidden_size = (script.len() + 2).next_multiple_of(8);
        config.head_dim = config.hidden_size / config.num_attention_heads;
    }
    let manifest = manifest(config.hidden_size);
    std::fs::write(folder.join(MANIFEST), toml::to_string(&manifest)?)?;
    std::fs::write(folder.join("config.json"), serde_json::to_vec(&config)?)?;
    for spec in &manifest.encoders {
        save(&folder.join(&spec.weights[0]), seed, |vb| Vit::load(vb, spec).map(drop), |_, _| Ok(()))?;
    }
    let (fused, inner) = (manifest.fused_width(), manifest.projector.hidden);
    let hidden = config.hidden_size;
    let load = |vb: &VarBuilder<'_>| Projector::load(vb, fused, inner, hidden).map(drop);
    save(&folder.join("projector.safetensors"), seed, load, |_, _| Ok(()))?;
    let load = |vb: &VarBuilder<'_>| Llama::load(vb, &config).map(drop);
    let voice = Voice { tokenizer: &tokenizer, script, stop: &[END_OF_TURN], vocabulary: config.vocab_size };
    save(&folder.join("language.safetensors"), seed, load, |name, values| voice.give(name, values))?;
    Ok(manifest)
}

/// A byte-level tokenizer: a token per byte, those of Llama 3's template, and the given texts as one token each.
pub fn byte_tokenizer(texts: &[&str]) -> Result<Tokenizer, Error> {
    byte_tokenizer_of(Family::ReinPath, texts)
}

/// The same with the special tokens of this family.
pub fn byte_tokenizer_of(family: Family, texts: &[&str]) -> Result<Tokenizer, Error> {
    let mut alphabet: Vec<char> =
        tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let vocab: Vocab = alphabet.iter().map(char::to_string).zip(0..).collect();
    let model = BPE::builder().vocab_and_merges(vocab, Vec::new()).build()?;
    let mut tokenizer = Tokenizer::new(model);
    let bytes = tokenizers::pre_tokenizers::byte_level::ByteLevel::new(false, true, false);
    tokenizer.with_pre_tokenizer(Some(bytes));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.add_special_tokens(family.special_tokens().iter().map(|t| AddedToken::from(*t, true)))?;
    tokenizer.add_tokens(texts.iter().map(|t| AddedToken::from(*t, false).normalized(false)))?;
    Ok(tokenizer)
}

fn manifest(hidden: usize) -> Manifest {
    let encoder = |kind: EncoderKind, width| EncoderSpec {
        kind,
        weights: vec![format!("{}.safetensors", kind.name())],
        image_size: 16,
        trained_size: None,
        resize: ResizeFilter::Bicubic,
        mean: [0.5; 3],
        std: [0.25; 3],
        patch_size: 4,
        width,
        layers: 1,
        heads: 2,
        mlp_width: 16,
        layer_scale: kind == EncoderKind::Uni,
        prefix: String::new(),
    };
    Manifest {
        format: crate::package::FORMAT,
        name: "fixture".to_owned(),
        description: String::new(),
        licence: String::new(),
        languages: Vec::new(),
        created: String::new(),
        provenance: String::new(),
        architecture: Architecture::ReinPath,
        patch: PatchSpec { size_px: 32, mpp: 0.5 },
        encoders: vec![encoder(EncoderKind::Conch, 8), encoder(EncoderKind::Uni, 12)],
        fusion: Fusion { grid: GridRule::Pooled, pool: 2 },
        projector: ProjectorSpec {
            weights: "projector.safetensors".to_owned(),
            hidden,
            prefix: String::new(),
        },
        vision: None,
        instructions: Instructions::default(),
        terms: None,
        language: LanguageSpec {
            kind: LanguageKind::Llama,
            weights: vec!["language.safetensors".to_owned()],
            config: "config.json".to_owned(),
            tokenizer: "tokenizer.json".to_owned(),
            chat_template: ChatTemplate::Llama3,
            template: None,
            precision: "f32".to_owned(),
        },
        adapters: Vec::new(),
        generation: Generation {
            max_tokens: 64,
            stop: vec![END_OF_TURN.to_owned()],
            ..Generation::default()
        },
        knows: Knows::default(),
        files: std::collections::BTreeMap::new(),
    }
}

/// Saves the tensors that `load` asks for, random from the seed and then changed by `change` (name, values).
fn save(
    path: &Path,
    seed: u64,
    load: impl Fn(&VarBuilder<'_>) -> candle_core::Result<()>,
    change: impl Fn(&str, &mut [f32]) -> Result<(), Error>,
) -> Result<(), Error> {
    let map = VarMap::new();
    load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
    let data = map.data().lock().map_err(|_poisoned| "a tensor could not be made")?;
    let mut names: Vec<&String> = data.keys().collect();
    names.sort();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tensors = HashMap::new();
    for name in names {
        let var = &data[name];
        let mut values = random(&mut rng, name, var.elem_count());
        change(name, &mut values)?;
        tensors.insert(name.clone(), Tensor::from_vec(values, var.shape(), &Device::Cpu)?);
    }
    Ok(candle_core::safetensors::save(&tensors, path)?)
}

/// Values of a tensor of this name: those of norms near one, all others near zero.
fn random(rng: &mut ChaCha8Rng, name: &str, count: usize) -> Vec<f32> {
    let is_norm = name.contains("norm") || name.contains("ln_q");
    let centre = if is_norm && name.ends_with("weight") { 1.0 } else { 0.0 };
    (0..count).map(|_| centre + rng.random_range(-0.4f32..0.4)).collect()
}

/// What makes a language model say what it is to say.
struct Voice<'a> {
    tokenizer: &'a Tokenizer,
    /// Empty: it babbles.
    script: &'a [&'a str],
    /// Tokens that end an answer; a script ends with the first.
    stop: &'a [&'a str],
    /// Tokens of the language model, which may be more than the tokenizer's.
    vocabulary: usize,
}

impl Voice<'_> {
    /// Changes the random values of the tensor of this name.
    fn give(&self, name: &str, values: &mut [f32]) -> Result<(), Error> {
        if self.script.is_empty() { self.babble(name, values) } else { self.recite(name, values) }
    }

    fn ids<'t>(&self, tokens: impl IntoIterator<Item = &'t &'t str>) -> Result<Vec<usize>, Error> {
        let id = |token: &&str| self.tokenizer.token_to_id(token).map(|id| id as usize);
        let ids = tokens.into_iter().map(|token| id(token).ok_or("a piece of the script is no token"));
        Ok(ids.collect::<Result<Vec<_>, _>>()?)
    }

    /// Random logits, of which those that end an answer, and those of no token, are never the highest.
    fn babble(&self, name: &str, values: &mut [f32]) -> Result<(), Error> {
        if name == "lm_head.weight" {
            let hidden = values.len() / self.vocabulary;
            let beyond = self.tokenizer.get_vocab_size(true)..self.vocabulary;
            for id in self.ids(self.stop)?.into_iter().chain(beyond) {
                values[id * hidden..][..hidden].fill(0.0);
            }
        }
        Ok(())
    }

    /// Weights with which token i of the script leads to token i + 1: channel i stands for "token i is due".
    fn recite(&self, name: &str, values: &mut [f32]) -> Result<(), Error> {
        if name.contains("o_proj") || name.contains("down_proj") {
            values.fill(0.0);
        }
        let hidden = values.len() / self.vocabulary;
        let mut ids = self.ids(self.script.iter().chain(&self.stop[..1]))?;
        match name {
            "model.norm.weight" => values.fill(1.0),
            "lm_head.weight" => {
                values.fill(0.0);
                for (channel, &id) in ids.iter().enumerate() {
                    values[id * hidden + channel] = 10.0;
                }
            }
            "model.embed_tokens.weight" => {
                values.fill(0.0);
                // Every token that is not in the script leads to its beginning.
                values.chunks_exact_mut(hidden).for_each(|row| row[0] = 1.0);
                ids.pop();
                for (channel, &id) in ids.iter().enumerate() {
                    let row = &mut values[id * hidden..][..hidden];
                    row.fill(0.0);
                    row[channel + 1] = 1.0;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod for_tests {
    use super::{Family, Speech, write_package_of};
    use crate::package::Package;
    use crate::patch::Patch;
    use crate::reinpath::ReinPath;

    /// The model of a tiny package of ReinPath's family, loaded.
    pub(crate) fn model(speech: Speech<'_>) -> ReinPath {
        model_of(Family::ReinPath, speech)
    }

    /// The same of any family.
    pub(crate) fn model_of(family: Family, speech: Speech<'_>) -> ReinPath {
        let folder = tempfile::tempdir().unwrap();
        write_package_of(family, folder.path(), speech).unwrap();
        let package = Package::open(folder.path()).unwrap();
        ReinPath::load(&package, &candle_core::Device::Cpu, &mut |_, _| true).unwrap()
    }

    /// The patch of a number: 32 rows of pixels that differ.
    pub(crate) fn patch(number: usize, width: u32) -> Patch {
        let rgb = (0..width as usize * 32 * 3).map(|j| ((number * 31 + j * 7) % 251) as u8).collect();
        Patch::new(width, 32, Some(0.5), rgb).unwrap()
    }
}
