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
use crate::event::EventSink;
use crate::init;
use crate::parallel::PARTS;
use crate::phantom::{Truth, describe};
use crate::stage::{Shuffle, StagePlan, train as train_stage};

/// The trained decoder.
pub(super) struct Language {
    pub(super) vars: VarMap,
    pub(super) config: LlamaConfig,
}

/// Token ids of a part of a batch, padded on the right.
struct Texts {
    ids: Vec<u32>,
    rows: usize,
    /// 1 / tokens of the whole batch where a token is predicted, 0 at padding.
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
    let mut shuffle = Shuffle::new(texts.len(), config.seed + 2);
    let plan = StagePlan { name: "base decoder", optimisation: &config.text, seed: config.seed };
    let all = init::sorted_vars(&vars).into_iter().map(|(_, v)| (v, 1.0)).collect();
    init::seed(&vars, config.seed + 10)?;
    let batch = |_| Ok(parts(&texts, shuffle.take(config.text.batch)));
    train_stage(&plan, all, sink, batch, |part: &Texts| loss(&llama, part))?;
    Ok(Language { vars, config: llama_config })
}

fn encode_texts(config: &PretrainConfig, tokenizer: &ChatTokenizer) -> Result<Vec<Vec<u32>>> {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed + 1);
    let (begin, end) = (tokenizer.token("<|begin_of_text|>")?, tokenizer.token("<|end_of_text|>")?);
    (0..config.texts)
        .map(|_| {
            let truth = Truth::sample(&mut rng);
            let mut ids = vec![begin];
            ids.extend(tokenizer.encode(&describe(&truth, &mut rng))?);
            ids.push(end);
            Ok(ids)
        })
        .collect()
}

/// Splits a batch into parts of like length, so that little is padding.
fn parts(texts: &[Vec<u32>], mut batch: Vec<usize>) -> [Texts; PARTS] {
    batch.sort_by_key(|&i| texts[i].len());
    let predicted: usize = batch.iter().map(|&i| texts[i].len() - 1).sum();
    let weight = 1.0 / predicted as f32;
    std::array::from_fn(|part| {
        let mine: Vec<&Vec<u32>> = batch.iter().skip(part).step_by(PARTS).map(|&i| &texts[i]).collect();
        let width = mine.iter().map(|t| t.len()).max().unwrap_or(1);
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        for text in &mine {
            ids.extend_from_slice(text);
            ids.resize(ids.len() + width - text.len(), 0);
            weights.resize(weights.len() + text.len() - 1, weight);
            weights.resize(weights.len() + width - text.len() + 1, 0.0);
        }
        Texts { ids, rows: mine.len(), weights }
    })
}

fn loss(llama: &Llama, part: &Texts) -> candle_core::Result<Tensor> {
    let width = part.ids.len() / part.rows;
    let ids = Tensor::from_slice(&part.ids, (part.rows, width), &Device::Cpu)?;
    let hidden = llama.forward(&llama.embed(&ids)?, &Positions::after(0, part.rows, width), None)?;
    let logits = llama.logits(&hidden)?.flatten_to(1)?;
    // Position i predicts token i + 1; the last of each row predicts nothing.
    let mut targets = part.ids[1..].to_vec();
    targets.push(0);
    ops::cross_entropy(&logits, &targets, &part.weights)
}
