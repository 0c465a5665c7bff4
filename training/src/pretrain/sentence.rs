//! The text encoder that a package brings for the semantic reward (paper, section 2.3): a small BERT that learns which
//! observations mean the same.
//!
//! Two observations of one field, in different words, are to lie nearer to each other than to an observation that says
//! something false of the field (InfoNCE over the batch, with the temperature of SimCSE, Gao et al. 2021). Fields come
//! in families of one pattern that are asked the same question, so that the negatives differ in what matters. Where there
//! are real patches, some families are of patches that are asked the same question.
//!
//! The layers are those that `reinpath_model::sentence` reads with candle-transformers, whose own layer normalisation
//! drops the gradient silently; so they stand here once more, and a test holds one against the other.

use std::sync::Arc;

use candle_core::{D, DType, Device, Result as ComputeResult, Tensor};
use candle_nn::{Init, VarBuilder, VarMap};
use rand::SeedableRng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::layers::{LayerNorm, Linear};
use reinpath_model::ops::{self, Attention};
use reinpath_model::package::PackageWriter;
use reinpath_model::prompt::ChatTokenizer;
use tokenizers::processors::template::TemplateProcessing;

use crate::config::SentenceConfig;
use crate::error::{Error, Result};
use crate::event::{EventSink, RunEvent};
use crate::init;
use crate::package_writer::write_vars;
use crate::parallel::PARTS;
use crate::phantom::{Truth, ask, ask_any, claims};
use crate::pretrain::subjects::Subjects;
use crate::stage::{StagePlan, train as train_stage};
use crate::subtask::QuestionKind;
use crate::tissue::{self, Described, Lexicon};

/// The folder of the text encoder in a package.
pub const TEXT_ENCODER: &str = "text-encoder";

const STAGE: &str = "text encoder";
/// Added to the seed of stage 0.
pub(super) const SEED: u64 = 20;
/// What stands around a text, as BERT's `[CLS]` and `[SEP]` do.
const BEGIN: &str = "<|begin_of_text|>";
const END: &str = "<|end_of_text|>";
/// Tokens of a text at most, those two included.
const LONGEST: usize = 128;
/// What cosines are multiplied by: SimCSE's temperature of 0.05.
const SHARPNESS: f64 = 20.0;
/// Fields of one pattern that are asked the same question.
const FAMILY: usize = 4;
/// Families that are measured and never trained on.
const HELD_OUT: usize = 150;
const EPS: f64 = 1e-12;
/// Added to a similarity that is left out.
const HIDDEN: f32 = -1e4;

/// The trained text encoder.
pub(super) struct TextEncoder {
    vars: VarMap,
    config: SentenceConfig,
    vocabulary: usize,
}

/// What can be observed.
#[derive(Clone, Debug)]
enum Subject {
    Field(Truth),
    Patch(Described),
}

/// Something, and two observations of it.
struct Pair {
    subject: Subject,
    texts: [String; 2],
}

/// Texts as token ids, padded on the left.
struct Texts {
    /// (rows · longest)
    ids: Tensor,
    /// (rows · longest), from 0 where each text begins.
    positions: Tensor,
    /// (rows, longest, 1): each token's share of its text's mean, 0 at padding.
    shares: Tensor,
    /// Of each row.
    padding: Arc<Vec<usize>>,
    longest: usize,
}

/// A part of a batch.
struct Part {
    /// The first texts of all pairs, then the second ones.
    texts: Texts,
    /// (pairs, pairs): what is added to the similarities of first and second texts.
    hidden: Tensor,
}

/// Trains the text encoder on observations of phantom fields, and of patches where there are any.
pub(super) fn train(
    config: &SentenceConfig,
    seed: u64,
    tokenizer: &ChatTokenizer,
    subjects: &Subjects,
    sink: &mut EventSink,
) -> Result<TextEncoder> {
    let vars = VarMap::new();
    let vocabulary = tokenizer.tokenizer().get_vocab_size(true);
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let bert = Bert::load(&vb, config, vocabulary)?;
    init::seed(&vars, seed)?;
    let ends = [tokenizer.token(BEGIN)?, tokenizer.token(END)?];
    let mut rng = ChaCha8Rng::seed_from_u64(seed + 1);
    let plan = StagePlan { name: STAGE, optimisation: &config.optimisation, seed };
    let of_a_part = config.optimisation.batch.div_ceil(PARTS);
    let mut part = || {
        let pairs: Vec<Pair> = (0..of_a_part.div_ceil(FAMILY))
            .flat_map(|_| family(subjects, &mut rng))
            .take(of_a_part)
            .collect();
        Part::new(&pairs, tokenizer, ends)
    };
    let batch = |_| Ok([part()?, part()?]);
    let all = init::sorted_vars(&vars).into_iter().map(|(_, var)| (var, 1.0)).collect();
    train_stage(&plan, all, sink, batch, |part: &Part| loss(&bert, part))?;
    measure(&bert, seed + 2, subjects, (tokenizer, ends), sink)?;
    Ok(TextEncoder { vars, config: config.clone(), vocabulary })
}

/// Observations of fields of one pattern, or of patches, that are asked the same question, two of each.
fn family(subjects: &Subjects, rng: &mut ChaCha8Rng) -> Vec<Pair> {
    if let Some(patches) = subjects.patches(rng) {
        return family_of_patches(patches, rng);
    }
    let first = Truth::sample(rng);
    let kind = QuestionKind::ALL.choose(rng).copied().unwrap_or(QuestionKind::Open);
    let topic = ask_any(&first, kind, rng).topic;
    (0..FAMILY)
        .map(|i| {
            let truth = if i == 0 { first } else { Truth::sample_with(first.pattern, first.quality, rng) };
            let observation = |rng: &mut ChaCha8Rng| {
                let item = ask(&truth, topic, kind, rng);
                item.unwrap_or_else(|| ask_any(&truth, kind, rng)).answer.observation
            };
            Pair { subject: Subject::Field(truth), texts: [observation(rng), observation(rng)] }
        })
        .collect()
}

/// The same of patches; one that nothing clear is known of to answer with is described as a whole.
fn family_of_patches(patches: &[Described], rng: &mut ChaCha8Rng) -> Vec<Pair> {
    let kind = QuestionKind::ALL.choose(rng).copied().unwrap_or(QuestionKind::Open);
    let attribute = Lexicon::shipped().attributes.choose(rng).map_or("", |attribute| attribute.name.as_str());
    let chosen: Vec<&Described> = (0..FAMILY).filter_map(|_| patches.choose(rng)).collect();
    let pair = |patch: &Described| {
        let mut observation = || match tissue::ask(patch, attribute, kind, rng) {
            Some(item) => item.answer.observation,
            None => tissue::caption(patch, rng),
        };
        let texts = [observation(), observation()];
        Pair { subject: Subject::Patch(patch.clone()), texts }
    };
    chosen.into_iter().map(pair).collect()
}

/// Whether nothing that a text states is false of something.
fn is_true_of(text: &str, subject: &Subject) -> bool {
    match subject {
        Subject::Field(truth) => claims(text).into_iter().all(|claim| claim.holds(truth)),
        Subject::Patch(patch) => {
            Lexicon::shipped().statements(text).into_iter().all(|(finding, _)| patch.holds(finding))
        }
    }
}

impl Part {
    fn new(pairs: &[Pair], tokenizer: &ChatTokenizer, ends: [u32; 2]) -> Result<Self> {
        let texts: Vec<&str> = (0..2).flat_map(|i| pairs.iter().map(move |p| p.texts[i].as_str())).collect();
        // What is true of a field in other words is no wrong answer to it.
        let is_hidden = |i: usize, j: usize| {
            i != j
                && (is_true_of(&pairs[j].texts[1], &pairs[i].subject)
                    || is_true_of(&pairs[i].texts[0], &pairs[j].subject))
        };
        let n = pairs.len();
        let hidden: Vec<f32> =
            (0..n * n).map(|at| if is_hidden(at / n, at % n) { HIDDEN } else { 0.0 }).collect();
        Ok(Self {
            texts: Texts::new(&texts, tokenizer, ends)?,
            hidden: Tensor::from_vec(hidden, (n, n), &Device::Cpu)?,
        })
    }
}

impl Texts {
    fn new(texts: &[&str], tokenizer: &ChatTokenizer, [begin, end]: [u32; 2]) -> Result<Self> {
        let rows = texts
            .iter()
            .map(|text| {
                let mut ids = tokenizer.encode(text)?;
                ids.truncate(LONGEST - 2);
                Ok([&[begin], ids.as_slice(), &[end]].concat())
            })
            .collect::<Result<Vec<Vec<u32>>>>()?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(2);
        let padding: Vec<usize> = rows.iter().map(|row| longest - row.len()).collect();
        let (mut ids, mut positions, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for (row, &pad) in rows.iter().zip(&padding) {
            ids.resize(ids.len() + pad, 0);
            ids.extend_from_slice(row);
            positions.extend((0..longest).map(|at| at.saturating_sub(pad) as u32));
            let share = 1.0 / row.len() as f32;
            shares.extend((0..longest).map(|at| if at < pad { 0.0 } else { share }));
        }
        let (count, flat) = (rows.len(), rows.len() * longest);
        Ok(Self {
            ids: Tensor::from_vec(ids, flat, &Device::Cpu)?,
            positions: Tensor::from_vec(positions, flat, &Device::Cpu)?,
            shares: Tensor::from_vec(shares, (count, longest, 1), &Device::Cpu)?,
            padding: Arc::new(padding),
            longest,
        })
    }
}

fn loss(bert: &Bert, part: &Part) -> ComputeResult<Tensor> {
    let n = part.hidden.dim(0)?;
    let vectors = bert.vectors(&part.texts)?;
    let (first, second) = (vectors.narrow(0, 0, n)?, vectors.narrow(0, n, n)?.contiguous()?);
    let similarities = ((first.matmul(&second.t()?)? * SHARPNESS)? + &part.hidden)?;
    let diagonal: Vec<u32> = (0..n as u32).collect();
    // Two directions, and this part's share of the batch.
    let weights = vec![0.5 / (PARTS * n) as f32; n];
    ops::cross_entropy(&similarities, &diagonal, &weights)?
        + ops::cross_entropy(&similarities.t()?.contiguous()?, &diagonal, &weights)?
}

/// How often another observation of the same field is nearer than one that says something false of it.
fn measure(
    bert: &Bert,
    seed: u64,
    subjects: &Subjects,
    (tokenizer, ends): (&ChatTokenizer, [u32; 2]),
    sink: &mut EventSink,
) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut right, mut total) = (0, 0);
    for _ in 0..HELD_OUT {
        let part = Part::new(&family(subjects, &mut rng), tokenizer, ends)?;
        let vectors = bert.vectors(&part.texts)?.to_vec2::<f32>()?;
        let hidden = part.hidden.to_vec2::<f32>()?;
        let (first, second) = vectors.split_at(FAMILY);
        let cosine = |i: usize, j: usize| first[i].iter().zip(&second[j]).map(|(a, b)| a * b).sum::<f32>();
        for (i, hidden) in hidden.iter().enumerate() {
            for j in (0..FAMILY).filter(|&j| j != i && hidden[j] == 0.0) {
                right += usize::from(cosine(i, i) > cosine(i, j));
                total += 1;
            }
        }
    }
    let measure = "nearer than a false observation".to_owned();
    sink.send(&RunEvent::Measured { stage: STAGE.to_owned(), measure, right, total })
}

impl TextEncoder {
    /// Writes the text encoder into a package, in Hugging Face's layout.
    pub(super) fn write(&self, writer: &mut PackageWriter, tokenizer: &ChatTokenizer) -> Result<()> {
        let ends = [(BEGIN, tokenizer.token(BEGIN)?), (END, tokenizer.token(END)?)];
        let template = TemplateProcessing::builder()
            .try_single(format!("{BEGIN} $A {END}"))
            .map_err(Error::Tokenizer)?
            .special_tokens(ends.to_vec())
            .build()
            .map_err(|e| Error::Tokenizer(e.to_string()))?;
        let mut tokenizer = tokenizer.tokenizer().clone();
        tokenizer.with_post_processor(Some(template));
        let path = writer.path(&format!("{TEXT_ENCODER}/tokenizer.json"))?;
        tokenizer.save(&path, false).map_err(|e| Error::Tokenizer(e.to_string()))?;
        let settings = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": LONGEST,
            "cls_token": BEGIN,
            "sep_token": END,
            "pad_token": END,
        });
        writer.text(&format!("{TEXT_ENCODER}/tokenizer_config.json"), &format!("{settings:#}\n"))?;
        let SentenceConfig { width, layers, heads, .. } = self.config;
        let config = serde_json::json!({
            "architectures": ["BertModel"],
            "model_type": "bert",
            "vocab_size": self.vocabulary,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "max_position_embeddings": LONGEST,
            "type_vocab_size": 2,
            "initializer_range": 0.02,
            "layer_norm_eps": EPS,
            "pad_token_id": tokenizer.token_to_id(END),
        });
        writer.text(&format!("{TEXT_ENCODER}/config.json"), &format!("{config:#}\n"))?;
        write_vars(writer, &format!("{TEXT_ENCODER}/model.safetensors"), &self.vars, "")
    }
}

/// BERT (`modeling_bert.py`, transformers; its names), without dropout.
struct Bert {
    /// (vocabulary, width)
    words: Tensor,
    /// (`LONGEST`, width)
    positions: Tensor,
    /// (2, width), of which the first is of every token here.
    kinds: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    width: usize,
}

impl Bert {
    fn load(vb: &VarBuilder<'_>, config: &SentenceConfig, vocabulary: usize) -> Result<Self> {
        let width = config.width;
        if config.heads == 0 || !width.is_multiple_of(config.heads) || width == 0 {
            let heads = config.heads;
            let reason = format!("the text encoder's {width} channels cannot be shared by {heads} heads");
            return Err(Error::Features(reason));
        }
        let embeddings = vb.pp("embeddings");
        let small = Init::Randn { mean: 0.0, stdev: 0.02 };
        let table =
            |name: &str, rows: usize| embeddings.pp(name).get_with_hints((rows, width), "weight", small);
        Ok(Self {
            words: table("word_embeddings", vocabulary)?,
            positions: table("position_embeddings", LONGEST)?,
            kinds: table("token_type_embeddings", 2)?,
            norm: LayerNorm::load(&embeddings.pp("LayerNorm"), width, EPS)?,
            layers: (0..config.layers)
                .map(|i| Layer::load(&vb.pp(format!("encoder.layer.{i}")), config))
                .collect::<ComputeResult<_>>()?,
            width,
        })
    }

    /// Unit vectors of the texts, (rows, width): the mean over their tokens.
    fn vectors(&self, texts: &Texts) -> ComputeResult<Tensor> {
        let shape = (texts.padding.len(), texts.longest, self.width);
        let words = self.words.index_select(&texts.ids, 0)?;
        let positions = self.positions.index_select(&texts.positions, 0)?;
        let x = (words + positions)?.broadcast_add(&self.kinds.narrow(0, 0, 1)?)?.reshape(shape)?;
        let mask = Attention { causal: false, key_starts: Some(Arc::clone(&texts.padding)) };
        let mut x = self.norm.forward(&x)?;
        for layer in &self.layers {
            x = layer.forward(&x, &mask)?;
        }
        let pooled = x.broadcast_mul(&texts.shares)?.sum(1)?;
        pooled.broadcast_div(&(pooled.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
    }
}

/// One layer, normalised after each of its halves.
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn load(vb: &VarBuilder<'_>, config: &SentenceConfig) -> ComputeResult<Self> {
        let width = config.width;
        let square = |name: &str| Linear::load_with_bias(&vb.pp(name), width, width);
        Ok(Self {
            query: square("attention.self.query")?,
            key: square("attention.self.key")?,
            value: square("attention.self.value")?,
            output: square("attention.output.dense")?,
            attention_norm: LayerNorm::load(&vb.pp("attention.output.LayerNorm"), width, EPS)?,
            up: Linear::load_with_bias(&vb.pp("intermediate.dense"), width, 4 * width)?,
            down: Linear::load_with_bias(&vb.pp("output.dense"), 4 * width, width)?,
            norm: LayerNorm::load(&vb.pp("output.LayerNorm"), width, EPS)?,
            heads: config.heads,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Attention) -> ComputeResult<Tensor> {
        let (rows, tokens, width) = x.dims3()?;
        let heads =
            |layer: &Linear| layer.forward(x)?.reshape((rows, tokens, self.heads, width / self.heads));
        let (q, k, v) = (heads(&self.query)?, heads(&self.key)?, heads(&self.value)?);
        let looked = self.output.forward(&ops::attention(&q, &k, &v, mask)?)?;
        let x = self.attention_norm.forward(&(x + looked)?)?;
        let thought = self.down.forward(&ops::gelu(&self.up.forward(&x)?)?)?;
        self.norm.forward(&(x + thought)?)
    }
}

#[cfg(test)]
mod tests {
    use reinpath_model::package::ChatTemplate;
    use reinpath_model::sentence::SentenceEncoder;

    use super::*;
    use crate::config::TokenizerConfig;
    use crate::pretrain::tokenizer;
    use crate::tissue::{Measure, Measures};

    fn chat_tokenizer() -> ChatTokenizer {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let tokenizer =
            tokenizer::make(&TokenizerConfig { vocabulary: 600 }, &Subjects::default(), &mut rng).unwrap();
        ChatTokenizer::new(tokenizer, ChatTemplate::Llama3).unwrap()
    }

    #[test]
    fn what_was_trained_and_written_is_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let config: SentenceConfig = toml::from_str(
            "width = 32\nlayers = 2\nheads = 4\n[optimisation]\nsteps = 3\nbatch = 16\nlearning_rate = 1e-2\n",
        )
        .unwrap();
        let tokenizer = chat_tokenizer();
        let mut sink = EventSink::create(folder.path()).unwrap();
        let trained = train(&config, 3, &tokenizer, &Subjects::default(), &mut sink).unwrap();
        let mut writer = PackageWriter::create(folder.path()).unwrap();
        trained.write(&mut writer, &tokenizer).unwrap();

        let encoder = SentenceEncoder::load(&folder.path().join(TEXT_ENCODER), &Device::Cpu).unwrap();
        let texts = ["Necrosis.", "Tumour nests with many mitoses. The stroma is scant.", ""];
        let read = encoder.embed(&texts.map(str::to_owned)).unwrap();
        let vb = VarBuilder::from_varmap(&trained.vars, DType::F32, &Device::Cpu);
        let bert = Bert::load(&vb, &config, trained.vocabulary).unwrap();
        let ends = [BEGIN, END].map(|token| tokenizer.token(token).unwrap());
        let made = bert.vectors(&Texts::new(&texts, &tokenizer, ends).unwrap()).unwrap();
        let off = (read - made).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        // The weights are written in half precision.
        assert!(off < 5e-3, "off by {off}");
    }

    #[test]
    fn only_what_is_false_of_a_field_is_held_against_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let tokenizer = chat_tokenizer();
        let (mut hidden, mut shown) = (0, 0);
        for _ in 0..100 {
            let pairs = family(&Subjects::default(), &mut rng);
            assert_eq!(pairs.len(), FAMILY);
            let mut patterns = Vec::new();
            for pair in &pairs {
                assert!(pair.texts.iter().all(|text| is_true_of(text, &pair.subject)), "{:?}", pair.texts);
                let Subject::Field(truth) = &pair.subject else { panic!("there are no patches") };
                patterns.push(truth.pattern);
            }
            assert!(patterns.iter().all(|pattern| *pattern == patterns[0]));
            let part = Part::new(&pairs, &tokenizer, [0, 0]).unwrap();
            for (i, row) in part.hidden.to_vec2::<f32>().unwrap().into_iter().enumerate() {
                assert_eq!(row[i], 0.0, "another observation of the field is the right one");
                let out = row.iter().filter(|x| **x != 0.0).count();
                hidden += out;
                shown += FAMILY - 1 - out;
            }
        }
        assert!(hidden > 20 && shown > 200, "{hidden} left out, {shown} held against");
    }

    #[test]
    fn observations_of_patches_are_true_of_their_own_patch() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let patches = ["lung_n", "lung_aca", "lung_scc"].map(|class| {
            let figures = [(Measure::NuclearShare, 0.4), (Measure::NuclearArea, 100.0)];
            Described::new(class, &Measures::from_iter(figures)).unwrap()
        });
        let subjects = Subjects::new(patches, 1.0);
        for _ in 0..50 {
            let pairs = family(&subjects, &mut rng);
            assert_eq!(pairs.len(), FAMILY);
            for pair in &pairs {
                assert!(matches!(pair.subject, Subject::Patch(_)));
                assert!(pair.texts.iter().all(|text| is_true_of(text, &pair.subject)), "{:?}", pair.texts);
            }
        }
    }
}
