//! First values of the decoder that make it look at neighbours and at equal words from the first step on.
//!
//! To answer with a letter the decoder must carry each letter to the words of its option, and find those words again
//! when it has written them. Small decoders learn that late: from plain random values, none was learnt in 90,000
//! texts. So heads begin with the two habits that the task is made of, in the spirit of *mimetic initialization*
//! (Trockman and Kolter, 2023), and learn on from there:
//!
//! - Neighbours: attention that depends on the distance alone and is highest one, two or three tokens back. Every
//!   embedding has the same first channel; queries and keys begin with that channel alone, and the angles of rotation
//!   do the rest.
//! - Equal words: keys that begin as the queries of their group, so that a word attends to where it stood before.

use candle_core::{Result, Tensor, Var};
use candle_nn::VarMap;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use reinpath_model::llama::LlamaConfig;

use crate::init;

/// Deviation of embeddings. With a fifth of it, what the first block adds at random drowns the words.
const EMBEDDING: f32 = 0.1;
/// The first channel of every embedding.
const CONSTANT: f32 = 1.0;
/// Size of a neighbour's query and key in each plane of rotation.
const SHARPNESS: f32 = 5.0;
/// How much larger than other weights those are that match equal words.
const GAIN: f32 = 3.5;
/// Size of what keeps those heads from a word itself, in each fast plane of rotation.
const ALOOFNESS: f32 = 3.2;

/// Share of its usual size that what attention adds begins with; what the other half of a block adds begins at zero.
const ADDED: f64 = 0.3;

/// Draws the decoder's weights.
pub(super) fn seed(vars: &VarMap, config: &LlamaConfig, seed: u64) -> Result<()> {
    init::seed(vars, seed)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let all = init::sorted_vars(vars);
    let find = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, var)| var);
    for (name, var) in &all {
        if name.ends_with("embed_tokens.weight") {
            set(var, |_, column| match column {
                0 => CONSTANT,
                _ => rng.random_range(-1.0..1.0) * 3f32.sqrt() * EMBEDDING,
            })?;
        } else if name.ends_with("o_proj.weight") {
            var.set(&(var.as_tensor() * ADDED)?)?;
        } else if name.ends_with("down_proj.weight") {
            var.set(&var.zeros_like()?)?;
        }
    }
    for layer in 0..config.num_hidden_layers {
        let attention = format!("model.layers.{layer}.self_attn");
        let (query, key) =
            (find(&format!("{attention}.q_proj.weight")), find(&format!("{attention}.k_proj.weight")));
        if let (Some(query), Some(key)) = (query, key) {
            habits(query, key, config, layer)?;
        }
    }
    Ok(())
}

/// Neighbours in every group of the first layer and in the first group of the others; equal words in the rest.
fn habits(query: &Var, key: &Var, config: &LlamaConfig, layer: usize) -> Result<()> {
    let head_dim = config.head_dim;
    let half = head_dim / 2;
    let group_rows = config.num_attention_heads / config.num_key_value_heads * head_dim;
    let q: Vec<Vec<f32>> = query.to_vec2()?;
    let constant = CONSTANT / (EMBEDDING.powi(2) + CONSTANT.powi(2) / config.hidden_size as f32).sqrt();
    let neighbour = |group: usize| match (layer, group) {
        (0, _) => Some(group + 1),
        (_, 0) => Some(1 + (layer + 1) % 2),
        _ => None,
    };
    let turned = |row: usize, distance: usize| {
        let row = row % head_dim;
        let angle = distance as f32 * config.rope_theta.powf(-((row % half) as f64) / half as f64) as f32;
        SHARPNESS / constant * if row < half { angle.cos() } else { angle.sin() }
    };
    // Equal words are matched in the slow planes of rotation, in which a word at a distance is still the same; the fast
    // planes keep a word from itself and its neighbours.
    let is_slow = |row: usize| row % half >= half / 2;
    let content = |row: usize, column: usize| match (column, is_slow(row)) {
        (0, false) => turned(row, 0) / SHARPNESS * ALOOFNESS,
        (0, true) | (_, false) => 0.0,
        (_, true) => GAIN * q[row][column],
    };
    let matched = |group: usize, row: usize| group * group_rows + row % head_dim;
    set(query, |row, column| match neighbour(row / group_rows) {
        Some(_) if column == 0 => turned(row % head_dim, 0),
        Some(_) => 0.0,
        None => content(matched(row / group_rows, row), column),
    })?;
    set(key, |row, column| match neighbour(row / head_dim) {
        Some(distance) if column == 0 => turned(row % head_dim, distance),
        Some(_) => 0.0,
        None if column == 0 => -content(matched(row / head_dim, row), column),
        None => content(matched(row / head_dim, row), column),
    })
}

fn set(var: &Var, mut value: impl FnMut(usize, usize) -> f32) -> Result<()> {
    let (rows, columns) = var.dims2()?;
    let mut values = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        values.extend((0..columns).map(|column| value(row, column)));
    }
    var.set(&Tensor::from_vec(values, (rows, columns), var.device())?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::VarBuilder;
    use reinpath_model::llama::Llama;
    use reinpath_model::ops;

    use super::*;

    /// Scores of each head before the mask, (heads, words, words), of a layer that sees bare embeddings.
    fn scores(layer: usize, ids: &[u32]) -> Vec<Vec<Vec<f32>>> {
        let config = LlamaConfig {
            hidden_size: 192,
            intermediate_size: 64,
            num_hidden_layers: 2,
            num_attention_heads: 6,
            num_key_value_heads: 3,
            head_dim: 32,
            vocab_size: 100,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            rope_factors: None,
            attention_bias: false,
            mrope_section: None,
            max_position_embeddings: 128,
            tie_word_embeddings: true,
        };
        let vars = VarMap::new();
        let llama = Llama::load(&VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu), &config).unwrap();
        seed(&vars, &config, 7).unwrap();
        let words = llama.embed(&Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap()).unwrap();
        let size = words.sqr().unwrap().mean_keepdim(2).unwrap().sqrt().unwrap();
        let words = words.broadcast_div(&size).unwrap().squeeze(0).unwrap();
        let weights: std::collections::BTreeMap<_, _> = init::sorted_vars(&vars).into_iter().collect();
        let rotation = config.rotary().at(&(0..ids.len() as u32).collect::<Vec<_>>()).unwrap();
        let heads = |which: &str, n: usize| {
            let weight = &weights[&format!("model.layers.{layer}.self_attn.{which}.weight")];
            let x = words.matmul(&weight.t().unwrap()).unwrap().reshape((1, ids.len(), n, 32)).unwrap();
            let x = ops::rope(&x, &rotation).unwrap();
            x.squeeze(0).unwrap().transpose(0, 1).unwrap().contiguous().unwrap()
        };
        let keys = heads("k_proj", 3).unsqueeze(1).unwrap().repeat((1, 2, 1, 1)).unwrap();
        let keys = keys.reshape((6, ids.len(), 32)).unwrap();
        heads("q_proj", 6).matmul(&keys.t().unwrap()).unwrap().to_vec3().unwrap()
    }

    fn highest(scores: &[f32]) -> usize {
        (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap()
    }

    #[test]
    fn heads_begin_by_looking_at_neighbours_and_at_equal_words() {
        // The words of the first half come again in the second.
        let ids: Vec<u32> = (0..60).map(|at| at % 30).collect();
        for (head, scores) in scores(0, &ids).iter().enumerate() {
            let distance = head / 2 + 1;
            let right = (3..60).filter(|&at| highest(&scores[at][..=at]) == at - distance).count();
            // Not always: lengths of embeddings differ a little, and with them the size of keys.
            assert!(right > 40, "head {head} looks {distance} back from {right} of 57 words");
        }
        for (head, scores) in scores(1, &ids).iter().enumerate().skip(2) {
            let before = |at: usize| (0..at).filter(|&i| scores[at][i] > scores[at][at - 30]).count();
            let first = (30..60).filter(|&at| before(at) == 0).count();
            let ranks: Vec<usize> = (30..60).map(before).collect();
            assert!(first > 20, "head {head} finds {first} of 30 words: {ranks:?}");
        }
    }
}
