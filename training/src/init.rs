//! First values of weights, from a seed (candle's own draws on the CPU cannot be seeded).

use candle_core::{Result, Tensor, Var};
use candle_nn::VarMap;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The variables by name, in order.
pub fn sorted_vars(map: &VarMap) -> Vec<(String, Var)> {
    let data = map.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut vars: Vec<_> = data.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    vars.sort_by(|a, b| a.0.cmp(&b.0));
    vars
}

/// Whether a variable decides what attention looks at: weights of queries and keys, or their adapters.
pub fn is_look(name: &str) -> bool {
    name.contains("q_proj") || name.contains("k_proj")
}

/// Draws all weights again from a seed: embeddings and positions uniform with deviation 0.02, products uniform within
/// `1 / sqrt(inputs)` (PyTorch's `nn.Linear`). Scales, biases and LoRA's B keep their constants.
pub fn seed(map: &VarMap, seed: u64) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for (name, var) in sorted_vars(map) {
        if var.rank() < 2 || name.ends_with("lora_B.weight") {
            continue;
        }
        let is_table =
            ["embed_tokens.weight", "pos_embed", "cls_token"].iter().any(|end| name.ends_with(end));
        let inputs: usize = var.dims()[1..].iter().product();
        let bound = if is_table { 0.02 * 3f32.sqrt() } else { (inputs as f32).sqrt().recip() };
        let values: Vec<f32> = (0..var.elem_count()).map(|_| rng.random_range(-bound..bound)).collect();
        var.set(&Tensor::from_vec(values, var.dims(), var.device())?)?;
    }
    Ok(())
}
