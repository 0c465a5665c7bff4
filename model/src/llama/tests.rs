//! The model in small: with a cache, padding, adapters, and places of three numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Course, KvCache, Llama, LlamaConfig, LoraConfig, Positions, Stretch};
use crate::package::Grid;

pub(super) fn tiny() -> LlamaConfig {
    LlamaConfig {
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        vocab_size: 30,
        rms_norm_eps: 1e-5,
        rope_theta: 10000.0,
        rope_scaling: None,
        rope_factors: None,
        attention_bias: false,
        mrope_section: None,
        max_position_embeddings: 64,
        tie_word_embeddings: true,
    }
}

/// The same weights on every run: rounding differs with them.
pub(super) fn seed(map: &VarMap, seed: u64) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let vars: BTreeMap<_, _> = map.data().lock().unwrap().clone().into_iter().collect();
    for var in vars.values() {
        let values: Vec<f32> = (0..var.elem_count()).map(|_| rng.random_range(-0.5..0.5)).collect();
        var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu)?)?;
    }
    Ok(())
}

pub(crate) fn ids(rows: &[&[u32]]) -> Result<Tensor> {
    Tensor::from_vec(rows.concat(), (rows.len(), rows[0].len()), &Device::Cpu)
}

pub(super) fn difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar()
}

#[test]
fn steps_with_a_cache_and_padding_agree_with_one_pass() -> Result<()> {
    let (map, config) = (VarMap::new(), tiny());
    let llama = Llama::load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu), &config)?;
    seed(&map, 1)?;
    let whole =
        llama.forward(&llama.embed(&ids(&[&[3, 9, 27, 4, 8]])?)?, &Positions::after(0, 1, 5), None)?;
    let mut cache = KvCache::new(&config, 1, 8, DType::F32, &Device::Cpu)?;
    llama.forward(&llama.embed(&ids(&[&[3, 9, 27]])?)?, &Positions::after(0, 1, 3), Some(&mut cache))?;
    llama.forward(&llama.embed(&ids(&[&[4]])?)?, &Positions::after(3, 1, 1), Some(&mut cache))?;
    let last = llama.forward(&llama.embed(&ids(&[&[8]])?)?, &Positions::after(4, 1, 1), Some(&mut cache))?;
    assert!(difference(&last, &whole.narrow(1, 4, 1)?)? < 1e-5);
    let padding = Arc::new(vec![2, 0]);
    let rows = ids(&[&[0, 0, 3, 9, 27, 4, 8], &[1, 2, 3, 4, 5, 6, 7]])?;
    let padded = llama.forward(&llama.embed(&rows)?, &Positions::padded(0, 7, &padding), None)?;
    assert!(difference(&padded.narrow(0, 0, 1)?.narrow(1, 2, 5)?, &whole)? < 1e-5);
    Ok(())
}

#[test]
fn an_adapter_merges_into_the_same_model() -> Result<()> {
    let (map, config) = (VarMap::new(), tiny());
    let mut llama = Llama::load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu), &config)?;
    seed(&map, 1)?;
    let x = llama.embed(&ids(&[&[3, 9, 27, 4, 8]])?)?;
    let at = Positions::after(0, 1, 5);
    let base = llama.forward(&x, &at, None)?;
    let adapters = VarMap::new();
    let lora = LoraConfig { rank: 3, alpha: 6.0 };
    llama.adapt(&VarBuilder::from_varmap(&adapters, DType::F32, &Device::Cpu), &lora)?;
    assert_eq!(difference(&llama.forward(&x, &at, None)?, &base)?, 0.0, "B is zero at first");
    seed(&adapters, 2)?;
    let adapted = llama.forward(&x, &at, None)?;
    let change = difference(&adapted, &base)?;
    assert!(change > 1e-2);
    llama.merge()?;
    // The sums are the same, in another order: what differs is rounding, in proportion to what the adapter does.
    assert!(difference(&llama.forward(&x, &at, None)?, &adapted)? < 1e-5 * change);
    Ok(())
}

/// The same in the way of a Qwen2.5-VL: biases, and planes that turn with time, row and column.
pub(super) fn tiny_qwen() -> LlamaConfig {
    LlamaConfig { attention_bias: true, mrope_section: Some([1, 1, 2]), head_dim: 8, ..tiny() }
}

/// Words, two images of different grids, and a word after them: 2 + 6 + 1 + 2 + 1 tokens.
pub(crate) fn with_two_images() -> Course {
    let image = |rows, cols| Stretch::Image(Grid { rows, cols });
    Course::of([Stretch::Words(2), image(2, 3), Stretch::Words(1), image(2, 1), Stretch::Words(1)])
}

/// Seeded tensors for whatever `load` asks for, without variables: what is packed must need no gradients.
fn frozen(
    seed_of: u64,
    load: impl FnOnce(&VarBuilder<'_>) -> Result<()>,
) -> Result<BTreeMap<String, Tensor>> {
    let map = VarMap::new();
    load(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
    seed(&map, seed_of)?;
    let data = map.data().lock().unwrap();
    Ok(data.iter().map(|(name, var)| (name.clone(), var.as_tensor().detach())).collect())
}

fn from(tensors: &BTreeMap<String, Tensor>) -> VarBuilder<'static> {
    VarBuilder::from_tensors(tensors.clone().into_iter().collect(), DType::F32, &Device::Cpu)
}

fn qwen_tensors() -> Result<BTreeMap<String, Tensor>> {
    frozen(5, |vb| Llama::load(vb, &tiny_qwen()).map(drop))
}

pub(crate) fn qwen() -> Result<Llama> {
    Llama::load(&from(&qwen_tensors()?), &tiny_qwen())
}

#[test]
fn steps_and_padding_follow_the_course_of_a_prompt_with_images() -> Result<()> {
    let (llama, course) = (qwen()?, with_two_images());
    // Three tokens are written after the prompt's twelve, which stand at 9, 10 and 11.
    let tokens: Vec<u32> = (0..15).map(|i| (i * 7 + 3) % 30).collect();
    assert_eq!(course.place(12), [9; 3]);
    let x = llama.embed(&ids(&[tokens.as_slice()])?)?;
    let whole = llama.forward(&x, &Positions::along(&course, 0, 15), None)?;
    let plain = llama.forward(&x, &Positions::after(0, 1, 15), None)?;
    assert!(difference(&whole, &plain)? > 1e-3, "places matter");
    let mut cache = KvCache::new(&llama.config, 1, 15, DType::F32, &Device::Cpu)?;
    for (from, count) in [(0, 5), (5, 7), (12, 1), (13, 1), (14, 1)] {
        let at = Positions::along(&course, cache.len(), count);
        let part = llama.forward(&x.narrow(1, from, count)?.contiguous()?, &at, Some(&mut cache))?;
        assert!(difference(&part, &whole.narrow(1, from, count)?)? < 1e-5, "{count} from {from}");
    }
    // Beside a longer sequence of words, with three keys of padding.
    let other: Vec<u32> = (0..18).map(|i| (i * 5 + 1) % 30).collect();
    let alone = llama.forward(
        &llama.embed(&ids(&[other.as_slice()])?)?,
        &Positions::along(&Course::default(), 0, 18),
        None,
    )?;
    let row = [&[0; 3][..], tokens.as_slice()].concat();
    let both = llama.embed(&ids(&[row.as_slice(), other.as_slice()])?)?;
    let at = Positions::along_padded(&[course, Course::default()], 0, 18, &Arc::new(vec![3, 0]));
    let both = llama.forward(&both, &at, None)?;
    assert!(difference(&both.narrow(0, 0, 1)?.narrow(1, 3, 15)?, &whole)? < 1e-5);
    assert!(difference(&both.narrow(0, 1, 1)?, &alone)? < 1e-5);
    Ok(())
}

#[test]
fn attention_is_seen_where_tokens_stand() -> Result<()> {
    let (llama, course) = (qwen()?, with_two_images());
    let tokens: Vec<u32> = (0..12).map(|i| (i * 11 + 2) % 30).collect();
    let x = llama.embed(&ids(&[tokens.as_slice()])?)?;
    let never = std::sync::atomic::AtomicBool::new(false);
    let seen = |course: &Course| {
        llama.attention_at(1, &x, &Positions::along(course, 0, 12), None, &never)?.squeeze(0)
    };
    let (own, plain) = (seen(&course)?, seen(&Course::default())?);
    assert_eq!(own.dims(), [4, 12]);
    assert!(difference(&own, &plain)? > 1e-4);
    let mut cache = KvCache::new(&llama.config, 1, 12, DType::F32, &Device::Cpu)?;
    let first = x.narrow(1, 0, 7)?.contiguous()?;
    llama.forward(&first, &Positions::along(&course, 0, 7), Some(&mut cache))?;
    let at = Positions::along(&course, 7, 5);
    let rest = x.narrow(1, 7, 5)?.contiguous()?;
    let after = llama.attention_at(1, &rest, &at, Some(&cache), &never)?.squeeze(0)?;
    assert!(difference(&after, &own)? < 1e-5);
    Ok(())
}

#[test]
fn biases_are_added() -> Result<()> {
    let mut tensors = qwen_tensors()?;
    let config = tiny_qwen();
    let hidden = |tensors: &BTreeMap<String, Tensor>, config: &LlamaConfig| {
        let llama = Llama::load(&from(tensors), config)?;
        llama.forward(&llama.embed(&ids(&[&[3, 9, 27, 4, 8]])?)?, &Positions::after(0, 1, 5), None)
    };
    let biased = hidden(&tensors, &config)?;
    let biases = tensors.iter_mut().filter(|(name, _)| name.rsplit('.').next() == Some("bias"));
    let mut count = 0;
    for (_, bias) in biases {
        *bias = bias.zeros_like()?;
        count += 1;
    }
    assert_eq!(count, 2 * 3, "of queries, keys and values of each layer");
    let zero = hidden(&tensors, &config)?;
    let none = hidden(&tensors, &LlamaConfig { attention_bias: false, ..config })?;
    assert!(difference(&zero, &none)? < 1e-6);
    assert!(difference(&biased, &none)? > 1e-2);
    Ok(())
}

#[test]
fn packed_layers_give_what_plain_ones_give_also_with_an_adapter_beside() -> Result<()> {
    let mut llama = qwen()?;
    let x = llama.embed(&ids(&[&[3, 9, 27, 4, 8]])?)?;
    let at = Positions::after(0, 1, 5);
    let lora = LoraConfig { rank: 2, alpha: 4.0 };
    let adapter = frozen(6, |vb| qwen()?.adapt(vb, &lora))?;
    let plain = llama.forward(&x, &at, None)?;
    llama.adapt(&from(&adapter), &lora)?;
    let adapted = llama.forward(&x, &at, None)?;
    assert!(difference(&adapted, &plain)? > 1e-2);
    llama.pack()?;
    assert!(difference(&llama.forward(&x, &at, None)?, &adapted)? < 1e-5);
    let one = x.narrow(1, 0, 1)?.contiguous()?;
    let step = llama.forward(&one, &Positions::after(0, 1, 1), None)?;
    assert!(difference(&step, &adapted.narrow(1, 0, 1)?)? < 1e-5, "one row");
    llama.take_adapter();
    assert!(difference(&llama.forward(&x, &at, None)?, &plain)? < 1e-5);
    Ok(())
}
