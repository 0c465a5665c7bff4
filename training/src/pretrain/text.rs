//! The text-only base decoder: next-token prediction on plain notes and quizzes with bare answers.

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::llama::{Llama, LlamaConfig, Positions};
use reinpath_model::ops;
use reinpath_model::prompt::ChatTokenizer;

use crate::config::PretrainConfig;
use crate::error::Result;
use crate::event::{EventSink, RunEvent};
use crate::init;
use crate::parallel::PARTS;
use crate::phantom::{Truth, describe};
use crate::stage::{Shuffle, StagePlan, train as train_stage};

const STAGE: &str = "base decoder";
/// Weight of a token of a quiz's answer; the words of a note, of which many would do, weigh 1.
const ANSWER_WEIGHT: f32 = 10.0;
/// Texts at the end of the list that are measured and never trained on.
const HELD_OUT: usize = 600;

/// The trained decoder.
pub(super) struct Language {
    pub(super) vars: VarMap,
    pub(super) config: LlamaConfig,
}

struct Text {
    ids: Vec<u32>,
    /// Where the answer of a quiz begins in `ids`; their end in a note.
    answer_at: usize,
}

impl Text {
    /// Weight of the prediction of the token after `at`.
    fn weight(&self, at: usize) -> f32 {
        if at + 1 >= self.answer_at { ANSWER_WEIGHT } else { 1.0 }
    }

    fn weights(&self) -> impl Iterator<Item = f32> {
        (0..self.ids.len() - 1).map(|at| self.weight(at))
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
    sink: &mut EventSink,
) -> Result<Language> {
    let shape = &config.language;
    let llama_config = LlamaConfig {
        hidden_size: shape.hidden_size,
        intermediate_size: shape.intermediate_size,
        num_hidden_layers: shape.num_hidden_layers,
        num_attention_heads: shape.num_attention_heads,
        num_key_value_heads: shape.num_key_value_heads,
        vocab_size: tokenizer.tokenizer().get_vocab_size(true),
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        max_position_embeddings: shape.max_position_embeddings,
        tie_word_embeddings: true,
    };
    let vars = VarMap::new();
    let llama = Llama::load(&VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu), &llama_config)?;
    let texts = encode_texts(config, tokenizer)?;
    let trained_on = texts.len() - HELD_OUT.min(texts.len() / 10);
    let mut shuffle = Shuffle::new(trained_on, config.seed + 2);
    let plan = StagePlan { name: STAGE, optimisation: &config.text, seed: config.seed };
    let all = init::sorted_vars(&vars).into_iter().map(|(_, v)| (v, 1.0)).collect();
    init::seed(&vars, config.seed + 10)?;
    let batch = |_| Ok(parts(&texts, shuffle.take(config.text.batch)));
    train_stage(&plan, all, sink, batch, |part: &Texts| loss(&llama, part))?;
    measure(&llama, &texts[trained_on..], sink)?;
    Ok(Language { vars, config: llama_config })
}

fn encode_texts(config: &PretrainConfig, tokenizer: &ChatTokenizer) -> Result<Vec<Text>> {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed + 1);
    let (begin, end) = (tokenizer.token("<|begin_of_text|>")?, tokenizer.token("<|end_of_text|>")?);
    (0..config.texts)
        .map(|_| {
            let truth = Truth::sample(&mut rng);
            let text = describe(&truth, &mut rng);
            let answer = text.rfind('\n').map_or(text.len(), |newline| newline + 1);
            let mut ids = vec![begin];
            ids.extend(tokenizer.encode(&text[..answer])?);
            let answer_at = ids.len();
            ids.extend(tokenizer.encode(&text[answer..])?);
            ids.push(end);
            // A note alone has no answer but its end.
            Ok(Text { ids, answer_at })
        })
        .collect()
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

/// How many quizzes that were not trained on get an answer that is right in its first word: the letter, the truth
/// value or the first word of the finding.
fn measure(llama: &Llama, texts: &[Text], sink: &mut EventSink) -> Result<()> {
    let quizzes: Vec<&Text> = texts.iter().filter(|text| text.answer_at + 1 < text.ids.len()).collect();
    let mut right = 0;
    for chunk in quizzes.chunks(50) {
        let batch = padded(chunk, 1.0);
        let width = batch.ids.len() / batch.rows;
        let logits = logits(llama, &batch)?;
        let at: Vec<u32> =
            chunk.iter().enumerate().map(|(row, text)| (row * width + text.answer_at - 1) as u32).collect();
        let said = logits.index_select(&Tensor::from_slice(&at, at.len(), &Device::Cpu)?, 0)?.argmax(1)?;
        let said = said.to_vec1::<u32>()?;
        right += chunk.iter().zip(said).filter(|(text, said)| text.ids[text.answer_at] == *said).count();
    }
    let (stage, measure) = (STAGE.to_owned(), "first word of a quiz's answer".to_owned());
    sink.send(&RunEvent::Measured { stage, measure, right, total: quizzes.len() })
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
