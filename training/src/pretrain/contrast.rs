//! The encoder of CONCH's kind: images and captions in one space (CLIP's symmetric loss).
//!
//! The image side is the mean over the grid, not the class token, so that every cell learns to carry meaning; the text
//! tower is a small decoder read at the caption's last token, and is not kept.

use candle_core::{D, DType, Device, Result as ComputeResult, Tensor};
use candle_nn::{Init, VarBuilder, VarMap};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::layers::Linear;
use reinpath_model::llama::{Llama, LlamaConfig, Positions};
use reinpath_model::ops;
use reinpath_model::vit::Vit;

use super::Base;
use crate::error::Result;
use crate::event::EventSink;
use crate::fields::{Symmetry, pixels};
use crate::init;
use crate::parallel::PARTS;
use crate::phantom::caption;
use crate::stage::{Shuffle, StagePlan, train as train_stage};

struct Pairs {
    /// Examples, turned; their pixels are prepared in the part's own thread.
    examples: Vec<(usize, Symmetry)>,
    /// (pairs, longest) padded with 0 on the right.
    ids: Tensor,
    /// Index of each caption's last token in the flattened ids.
    ends: Vec<u32>,
}

struct Towers {
    vit: Vit,
    image: Linear,
    text: Llama,
    words: Linear,
    /// Logarithm of what similarities are multiplied by.
    log_scale: Tensor,
}

/// Trains the first encoder; its tensors stand below `encoder.`.
pub(super) fn train(base: &Base<'_>, sink: &mut EventSink) -> Result<VarMap> {
    let (config, vars) = (base.config, VarMap::new());
    let towers = towers(base, &vars)?;
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed + 3);
    let mut shuffle = Shuffle::new(base.examples.len(), config.seed + 4);
    let optimisation = &config.contrast.optimisation;
    let plan = StagePlan { name: "contrastive encoder", optimisation, seed: config.seed };
    let batch = |_| {
        let picked = shuffle.take(optimisation.batch);
        let mut part = |i: usize| pairs(base, &picked, i, &mut rng);
        Ok([part(0)?, part(1)?])
    };
    let all = init::sorted_vars(&vars).into_iter().map(|(_, v)| (v, 1.0)).collect();
    init::seed(&vars, config.seed + 11)?;
    train_stage(&plan, all, sink, batch, |part: &Pairs| loss(base, &towers, part))?;
    Ok(vars)
}

fn towers(base: &Base<'_>, vars: &VarMap) -> Result<Towers> {
    let (config, vb) = (base.config, VarBuilder::from_varmap(vars, DType::F32, &Device::Cpu));
    let width = config.contrast.width;
    let text = LlamaConfig {
        hidden_size: width,
        intermediate_size: 2 * width,
        num_hidden_layers: config.contrast.text_layers,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        head_dim: width / 4,
        vocab_size: base.tokenizer.tokenizer().get_vocab_size(true),
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        rope_factors: None,
        attention_bias: false,
        mrope_section: None,
        max_position_embeddings: 256,
        tie_word_embeddings: true,
    };
    Ok(Towers {
        vit: Vit::load(&vb.pp("encoder"), &config.encoders[0])?,
        image: Linear::load(&vb.pp("image"), config.encoders[0].width, width)?,
        text: Llama::load(&vb.pp("text"), &text)?,
        words: Linear::load(&vb.pp("words"), width, width)?,
        log_scale: vb.get_with_hints(1, "log_scale", Init::Const(10f64.ln()))?,
    })
}

fn pairs(base: &Base<'_>, picked: &[usize], part: usize, rng: &mut ChaCha8Rng) -> Result<Pairs> {
    let mine: Vec<usize> = picked.iter().skip(part).step_by(PARTS).copied().collect();
    let examples = mine.iter().map(|&i| (i, Symmetry::sample(rng))).collect();
    let captions = mine
        .iter()
        .map(|&i| Ok(base.tokenizer.encode(&caption(&base.plans[i].truth, rng))?))
        .collect::<Result<Vec<_>>>()?;
    let longest = captions.iter().map(Vec::len).max().unwrap_or(1);
    let ends = captions.iter().enumerate().map(|(row, c)| (row * longest + c.len() - 1) as u32).collect();
    let ids: Vec<u32> =
        captions.iter().flat_map(|c| c.iter().copied().chain(vec![0; longest - c.len()])).collect();
    Ok(Pairs { examples, ids: Tensor::from_vec(ids, (mine.len(), longest), &Device::Cpu)?, ends })
}

fn loss(base: &Base<'_>, towers: &Towers, part: &Pairs) -> ComputeResult<Tensor> {
    let examples: Vec<_> = part.examples.iter().map(|&(i, turned)| (&base.examples[i], turned)).collect();
    let features = towers.vit.forward(&pixels(&examples, 0, &base.config.encoders[0])?)?;
    let cells = features.narrow(1, 1, features.dim(1)? - 1)?.mean(1)?;
    let images = normalised(&towers.image.forward(&cells)?)?;
    let (count, longest) = part.ids.dims2()?;
    let hidden =
        towers.text.forward(&towers.text.embed(&part.ids)?, &Positions::after(0, count, longest), None)?;
    let ends = Tensor::from_slice(&part.ends, count, &Device::Cpu)?;
    let texts = normalised(&towers.words.forward(&hidden.flatten_to(1)?.index_select(&ends, 0)?)?)?;
    let similarities = images.matmul(&texts.t()?)?.broadcast_mul(&towers.log_scale.exp()?)?;
    let diagonal: Vec<u32> = (0..count as u32).collect();
    // Two directions, and this part's share of the batch.
    let weights = vec![0.5 / (PARTS * count) as f32; count];
    ops::cross_entropy(&similarities, &diagonal, &weights)?
        + ops::cross_entropy(&similarities.t()?.contiguous()?, &diagonal, &weights)?
}

fn normalised(x: &Tensor) -> ComputeResult<Tensor> {
    x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + 1e-8)?.sqrt()?)
}
