//! The text-only base decoder: next-token prediction on plain notes and quizzes with bare answers.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::llama::{Llama, LlamaConfig, Positions};
use reinpath_model::ops;
use reinpath_model::prompt::ChatTokenizer;

use crate::config::{Optimisation, PretrainConfig};
use crate::error::Result;
use crate::event::{EventSink, RunEvent};
use crate::init;
use crate::parallel::PARTS;
use crate::phantom::{Decision, PlainText};
use crate::pretrain::decoder_start;
use crate::pretrain::subjects::Subjects;
use crate::stage::{Shuffle, StagePlan, train as train_stage};

const STAGE: &str = "base decoder";
const DRILLS: &str = "letter drills";
/// Weight of a token that follows from what stands before it; other words, of which many would do, weigh 1.
const DECIDED_WEIGHT: f32 = 10.0;
/// Learning rate of queries and keys, as a share of the others': at the full rate the habits that they begin with
/// (`decoder_start.rs`) are gone before anything has come to rely on them.
const DRILL_LOOKS: f64 = 0.1;
const TEXT_LOOKS: f64 = 0.25;
/// Texts at the end of the list that are measured and never trained on.
const HELD_OUT: usize = 600;

/// The trained decoder.
pub(super) struct Language {
    pub(super) vars: VarMap,
    pub(super) config: LlamaConfig,
}

struct Text {
    ids: Vec<u32>,
    /// What is decided, and the positions in `ids` that say it.
    decided: Vec<(Decision, Range<usize>)>,
}

impl Text {
    /// The text between the tokens of its begin and end.
    fn new(plain: &PlainText, tokenizer: &ChatTokenizer, [begin, end]: [u32; 2]) -> Result<Self> {
        let (tokens, bytes) = tokenizer.encode_with_bytes(&plain.text)?;
        let decided = plain.decided.iter().map(|decided| {
            let inside =
                |token: &Range<usize>| token.start < decided.bytes.end && decided.bytes.start < token.end;
            let first = bytes.iter().position(inside).unwrap_or(bytes.len());
            let last = bytes.iter().rposition(inside).map_or(first, |last| last + 1);
            (decided.what, first + 1..last + 1)
        });
        let decided = decided.collect();
        Ok(Self { ids: [&[begin], tokens.as_slice(), &[end]].concat(), decided })
    }

    /// Weights of the predictions of every token but the first.
    fn weights(&self) -> impl Iterator<Item = f32> {
        (1..self.ids.len()).map(|token| {
            let is_decided = self.decided.iter().any(|(_, tokens)| tokens.contains(&token));
            if is_decided { DECIDED_WEIGHT } else { 1.0 }
        })
    }
}

/// Token ids of a part of a batch, padded on the right.
struct Texts {
    ids: Vec<u32>,
    rows: usize,
    /// Share of the batch's whole weight where a token is predicted, 0 at padding.
    weights: Vec<f32>,
}

/// Trains the decoder.
pub(super) fn train(
    config: &PretrainConfig,
    tokenizer: &ChatTokenizer,
    subjects: &Subjects,
    sink: &mut EventSink,
) -> Result<Language> {
    let shape = &config.language;
    let llama_config = LlamaConfig {
        hidden_size: shape.hidden_size,
        intermediate_size: shape.intermediate_size,
        num_hidden_layers: shape.num_hidden_layers,
        num_attention_heads: shape.num_attention_heads,
        num_key_value_heads: shape.num_key_value_heads,
        head_dim: shape.hidden_size / shape.num_attention_heads,
        vocab_size: tokenizer.tokenizer().get_vocab_size(true),
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        rope_factors: None,
        attention_bias: false,
        mrope_section: None,
        max_position_embeddings: shape.max_position_embeddings,
        tie_word_embeddings: true,
    };
    let vars = VarMap::new();
    let llama = Llama::load(&VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu), &llama_config)?;
    let all = |looks: f64| {
        let rate = |name: &str| if init::is_look(name) { looks } else { 1.0 };
        init::sorted_vars(&vars).into_iter().map(|(name, var)| (var, rate(&name))).collect()
    };
    decoder_start::seed(&vars, &llama_config, config.seed + 10)?;
    train_on_drills(config, &llama, (tokenizer, subjects), all(DRILL_LOOKS), sink)?;

    let texts = encode_texts(config, tokenizer, subjects)?;
    let trained_on = texts.len() - HELD_OUT.min(texts.len() / 10);
    let mut shuffle = Shuffle::new(trained_on, config.seed + 2);
    let plan = StagePlan { name: STAGE, optimisation: &config.text, seed: config.seed };
    let batch = |_| Ok(parts(&texts, shuffle.take(config.text.batch)));
    train_stage(&plan, all(TEXT_LOOKS), sink, batch, |part: &Texts| loss(&llama, part))?;
    measure(STAGE, &llama, &texts[trained_on..], sink)?;
    Ok(Language { vars, config: llama_config })
}

/// Drills of growing difficulty, each met once.
fn train_on_drills(
    config: &PretrainConfig,
    llama: &Llama,
    (tokenizer, subjects): (&ChatTokenizer, &Subjects),
    vars: Vec<(Var, f64)>,
    sink: &mut EventSink,
) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed + 3);
    let ends = [tokenizer.token("<|begin_of_text|>")?, tokenizer.token("<|end_of_text|>")?];
    let Optimisation { steps, batch, .. } = config.drills;
    let mut draw = |practice: f64, n: usize| -> Result<Vec<Text>> {
        (0..n).map(|_| Text::new(&subjects.drill(practice, &mut rng), tokenizer, ends)).collect()
    };
    let plan = StagePlan { name: DRILLS, optimisation: &config.drills, seed: config.seed };
    let next = |step| Ok(parts(&draw(step as f64 / steps as f64, batch)?, (0..batch).collect()));
    train_stage(&plan, vars, sink, next, |part: &Texts| loss(llama, part))?;
    measure(DRILLS, llama, &draw(1.0, HELD_OUT)?, sink)
}

fn encode_texts(
    config: &PretrainConfig,
    tokenizer: &ChatTokenizer,
    subjects: &Subjects,
) -> Result<Vec<Text>> {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed + 1);
    let ends = [tokenizer.token("<|begin_of_text|>")?, tokenizer.token("<|end_of_text|>")?];
    (0..config.texts).map(|_| Text::new(&subjects.text(&mut rng), tokenizer, ends)).collect()
}

/// Splits a batch into parts of like length, so that little is padding.
fn parts(texts: &[Text], mut batch: Vec<usize>) -> [Texts; PARTS] {
    batch.sort_by_key(|&i| texts[i].ids.len());
    let scale = batch.iter().flat_map(|&i| texts[i].weights()).sum::<f32>().recip();
    std::array::from_fn(|part| {
        let mine: Vec<&Text> = batch.iter().skip(part).step_by(PARTS).map(|&i| &texts[i]).collect();
        padded(&mine, scale)
    })
}

fn padded(texts: &[&Text], scale: f32) -> Texts {
    let width = texts.iter().map(|t| t.ids.len()).max().unwrap_or(1);
    let (mut ids, mut weights) = (Vec::new(), Vec::new());
    for text in texts {
        ids.extend_from_slice(&text.ids);
        ids.resize(ids.len() + width - text.ids.len(), 0);
        weights.extend(text.weights().map(|weight| weight * scale));
        weights.resize(ids.len(), 0.0);
    }
    Texts { ids, rows: texts.len(), weights }
}

/// How many of the decisions in texts that were not trained on are right in their first token.
fn measure(stage: &str, llama: &Llama, texts: &[Text], sink: &mut EventSink) -> Result<()> {
    let mut tallies = BTreeMap::<Decision, (usize, usize)>::new();
    for chunk in texts.chunks(50) {
        let batch = padded(&chunk.iter().collect::<Vec<_>>(), 1.0);
        let width = batch.ids.len() / batch.rows;
        let said = logits(llama, &batch)?.argmax(1)?.to_vec1::<u32>()?;
        for (row, text) in chunk.iter().enumerate() {
            for (what, tokens) in text.decided.iter().filter(|(_, tokens)| !tokens.is_empty()) {
                let (right, total) = tallies.entry(*what).or_default();
                *right += usize::from(said[row * width + tokens.start - 1] == text.ids[tokens.start]);
                *total += 1;
            }
        }
    }
    for (what, (right, total)) in tallies {
        let (stage, measure) = (stage.to_owned(), what.name().to_owned());
        sink.send(&RunEvent::Measured { stage, measure, right, total })?;
    }
    Ok(())
}

/// (rows · width, vocabulary)
fn logits(llama: &Llama, part: &Texts) -> candle_core::Result<Tensor> {
    let width = part.ids.len() / part.rows;
    let ids = Tensor::from_slice(&part.ids, (part.rows, width), &Device::Cpu)?;
    let hidden = llama.forward(&llama.embed(&ids)?, &Positions::after(0, part.rows, width), None)?;
    llama.logits(&hidden)?.flatten_to(1)
}

fn loss(llama: &Llama, part: &Texts) -> candle_core::Result<Tensor> {
    let logits = logits(llama, part)?;
    // Position i predicts token i + 1; the last of each row predicts nothing.
    let mut targets = part.ids[1..].to_vec();
    targets.push(0);
    ops::cross_entropy(&logits, &targets, &part.weights)
}

#[cfg(test)]
mod tests {
    use reinpath_model::package::ChatTemplate;

    use super::*;
    use crate::config::TokenizerConfig;
    use crate::phantom::{Truth, describe};
    use crate::pretrain::tokenizer;

    #[test]
    fn decisions_are_found_among_the_tokens() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let tokenizer =
            tokenizer::make(&TokenizerConfig { vocabulary: 600 }, &Subjects::default(), &mut rng).unwrap();
        let tokenizer = ChatTokenizer::new(tokenizer, ChatTemplate::Llama3).unwrap();
        for _ in 0..300 {
            let plain = describe(&Truth::sample(&mut rng), &mut rng);
            let text = Text::new(&plain, &tokenizer, [0, 0]).unwrap();
            assert_eq!(text.decided.len(), plain.decided.len());
            for ((_, tokens), decided) in text.decided.iter().zip(&plain.decided) {
                let said = tokenizer.tokenizer().decode(&text.ids[tokens.clone()], false).unwrap();
                assert_eq!(said.trim_start(), &plain.text[decided.bytes.clone()], "{plain:?}");
            }
            let heavy = text.weights().filter(|weight| *weight > 1.0).count();
            assert_eq!(heavy, text.decided.iter().map(|(_, tokens)| tokens.len()).sum::<usize>());
        }
    }
}
