//! The Llama language model, from embeddings to logits (`modeling_llama.py`, transformers; Hugging Face's names).
//!
//! One forward serves training, prompts and single steps: embeddings in, hidden states of all positions out, an
//! optional preallocated cache, and padding on the left told by where each sequence begins.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::layers::{Linear, LoraConfig, RmsNorm};
use crate::ops::{self, Attention, Rotary};

/// `config.json` of a Llama.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub vocab_size: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub max_position_embeddings: usize,
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

impl LlamaConfig {
    /// Size of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The rotation of its positions.
    pub fn rotary(&self) -> Rotary {
        let head_dim = self.head_dim() as f64;
        let frequencies: Vec<f64> =
            (0..self.head_dim() / 2).map(|i| self.rope_theta.powf(-2.0 * i as f64 / head_dim)).collect();
        Rotary::new(&frequencies, self.max_position_embeddings)
    }
}

/// A Llama.
#[derive(Clone, Debug)]
pub struct Llama {
    /// (vocabulary, hidden)
    embed_tokens: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Linear,
    rotary: Rotary,
    pub config: LlamaConfig,
}

/// Where the tokens of a batch stand.
#[derive(Clone, Debug)]
pub struct Positions {
    /// Position of every token, (batch · seq).
    positions: Arc<Vec<u32>>,
    key_starts: Option<Arc<Vec<usize>>>,
}

impl Positions {
    /// `seq` tokens that follow `past` cached ones, in `batch` sequences without padding on the left.
    pub fn after(past: usize, batch: usize, seq: usize) -> Self {
        let positions = (0..batch).flat_map(|_| (past..past + seq).map(|p| p as u32)).collect();
        Self { positions: Arc::new(positions), key_starts: None }
    }

    /// The same for sequences whose first `padding[b]` keys are padding; their positions begin after it.
    pub fn padded(past: usize, seq: usize, padding: &Arc<Vec<usize>>) -> Self {
        let of = |pad: usize| (past..past + seq).map(move |p| p.saturating_sub(pad) as u32);
        let positions = padding.iter().flat_map(|&pad| of(pad)).collect();
        Self { positions: Arc::new(positions), key_starts: Some(Arc::clone(padding)) }
    }
}

/// Keys and values of what was read so far, in buffers of a fixed capacity.
#[derive(Debug)]
pub struct KvCache {
    /// Per layer, keys and values (batch, capacity, kv_heads, head_dim).
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
}

impl KvCache {
    /// An empty cache for `batch` sequences of at most `capacity` tokens.
    pub fn new(
        config: &LlamaConfig,
        batch: usize,
        capacity: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let shape = (batch, capacity, config.num_key_value_heads, config.head_dim());
        let layer = || Ok((Tensor::zeros(shape, dtype, device)?, Tensor::zeros(shape, dtype, device)?));
        Ok(Self { layers: (0..config.num_hidden_layers).map(|_| layer()).collect::<Result<_>>()?, len: 0 })
    }

    /// Tokens held per sequence.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Forgets all sequences but these (indices into the batch), in this order.
    pub fn keep(&mut self, sequences: &[usize]) -> Result<()> {
        let ids: Vec<u32> = sequences.iter().map(|&i| i as u32).collect();
        for (keys, values) in &mut self.layers {
            let ids = Tensor::from_slice(&ids, ids.len(), keys.device())?;
            (*keys, *values) = (keys.index_select(&ids, 0)?, values.index_select(&ids, 0)?);
        }
        Ok(())
    }

    /// Adds keys and values of a layer and returns all of that layer's.
    fn append(&self, layer: usize, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let (keys, values) = &self.layers[layer];
        let seq = k.dim(1)?;
        if self.len + seq > keys.dim(1)? {
            candle_core::bail!("{} tokens do not fit into a cache of {}", self.len + seq, keys.dim(1)?);
        }
        keys.slice_set(&k.contiguous()?, 1, self.len)?;
        values.slice_set(&v.contiguous()?, 1, self.len)?;
        Ok((keys.narrow(1, 0, self.len + seq)?, values.narrow(1, 0, self.len + seq)?))
    }
}

impl Llama {
    /// Reads the tensors that `config` implies, with Hugging Face's names (`model.layers.0.…`).
    pub fn load(vb: &VarBuilder<'_>, config: &LlamaConfig) -> Result<Self> {
        let model = vb.pp("model");
        let shape = (config.vocab_size, config.hidden_size);
        let embed_tokens = model.pp("embed_tokens").get_with_hints(
            shape,
            "weight",
            Init::Randn { mean: 0.0, stdev: 0.02 },
        )?;
        let lm_head = if config.tie_word_embeddings {
            Linear::from_weight(embed_tokens.clone())
        } else {
            Linear::load(&vb.pp("lm_head"), config.hidden_size, config.vocab_size)?
        };
        Ok(Self {
            embed_tokens,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::load(&model.pp(format!("layers.{i}")), config))
                .collect::<Result<_>>()?,
            norm: RmsNorm::load(&model.pp("norm"), config.hidden_size, config.rms_norm_eps)?,
            lm_head,
            rotary: config.rotary(),
            config: config.clone(),
        })
    }

    /// Puts LoRA adapters on every linear layer but the head; `vb` stands at PEFT's `base_model.model`.
    pub fn adapt(&mut self, vb: &VarBuilder<'_>, lora: &LoraConfig) -> Result<()> {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let vb = vb.pp(format!("model.layers.{i}"));
            for (name, linear) in layer.linears() {
                linear.adapt(&vb.pp(name), lora)?;
            }
        }
        Ok(())
    }

    /// Adds the adapters to the weights.
    pub fn merge(&mut self) -> Result<()> {
        self.layers.iter_mut().flat_map(Layer::linears).try_for_each(|(_, linear)| linear.merge())
    }

    /// Embeddings of token ids: (batch, seq) to (batch, seq, hidden).
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, seq) = ids.dims2()?;
        self.embed_tokens.index_select(&ids.flatten_all()?, 0)?.reshape((batch, seq, self.config.hidden_size))
    }

    /// Hidden states after the final norm, (batch, seq, hidden), of embeddings of that shape.
    ///
    /// With a cache, the tokens follow those already in it and are added to it.
    pub fn forward(&self, x: &Tensor, at: &Positions, mut cache: Option<&mut KvCache>) -> Result<Tensor> {
        let seq = x.dim(1)?;
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, at, &self.rotary, cache.as_deref().map(|c| (c, i)))?;
        }
        if let Some(cache) = &mut cache {
            cache.len += seq;
        }
        self.norm.forward(&x)
    }

    /// Logits of hidden states: (…, hidden) to (…, vocabulary).
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.lm_head.forward(hidden)
    }
}

#[derive(Clone, Debug)]
struct Layer {
    input_norm: RmsNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    post_attention_norm: RmsNorm,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Layer {
    fn load(vb: &VarBuilder<'_>, config: &LlamaConfig) -> Result<Self> {
        let (hidden, inner, head_dim) = (config.hidden_size, config.intermediate_size, config.head_dim());
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let (attention, mlp) = (vb.pp("self_attn"), vb.pp("mlp"));
        let norm = |name: &str| RmsNorm::load(&vb.pp(name), hidden, config.rms_norm_eps);
        Ok(Self {
            input_norm: norm("input_layernorm")?,
            q_proj: Linear::load(&attention.pp("q_proj"), hidden, heads * head_dim)?,
            k_proj: Linear::load(&attention.pp("k_proj"), hidden, kv_heads * head_dim)?,
            v_proj: Linear::load(&attention.pp("v_proj"), hidden, kv_heads * head_dim)?,
            o_proj: Linear::load(&attention.pp("o_proj"), heads * head_dim, hidden)?,
            post_attention_norm: norm("post_attention_layernorm")?,
            gate_proj: Linear::load(&mlp.pp("gate_proj"), hidden, inner)?,
            up_proj: Linear::load(&mlp.pp("up_proj"), hidden, inner)?,
            down_proj: Linear::load(&mlp.pp("down_proj"), inner, hidden)?,
            heads,
            kv_heads,
            head_dim,
        })
    }

    fn linears(&mut self) -> [(&'static str, &mut Linear); 7] {
        [
            ("self_attn.q_proj", &mut self.q_proj),
            ("self_attn.k_proj", &mut self.k_proj),
            ("self_attn.v_proj", &mut self.v_proj),
            ("self_attn.o_proj", &mut self.o_proj),
            ("mlp.gate_proj", &mut self.gate_proj),
            ("mlp.up_proj", &mut self.up_proj),
            ("mlp.down_proj", &mut self.down_proj),
        ]
    }

    fn forward(
        &self,
        x: &Tensor,
        at: &Positions,
        rotary: &Rotary,
        cache: Option<(&KvCache, usize)>,
    ) -> Result<Tensor> {
        let (batch, seq, _) = x.dims3()?;
        let y = self.input_norm.forward(x)?;
        let heads = |layer: &Linear, n: usize| layer.forward(&y)?.reshape((batch, seq, n, self.head_dim));
        let q = ops::rope(&heads(&self.q_proj, self.heads)?, rotary, &at.positions)?;
        let k = ops::rope(&heads(&self.k_proj, self.kv_heads)?, rotary, &at.positions)?;
        let v = heads(&self.v_proj, self.kv_heads)?;
        let (k, v) = match cache {
            Some((cache, layer)) => cache.append(layer, &k, &v)?,
            None => (k, v),
        };
        let mask = Attention { causal: true, key_starts: at.key_starts.clone() };
        let x = (x + self.o_proj.forward(&ops::attention(&q, &k, &v, &mask)?)?)?;
        let y = self.post_attention_norm.forward(&x)?;
        let y = ops::silu_mul(&self.gate_proj.forward(&y)?, &self.up_proj.forward(&y)?)?;
        &x + self.down_proj.forward(&y)?
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use candle_core::{DType, Device, Result, Tensor};
    use candle_nn::{VarBuilder, VarMap};
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::{KvCache, Llama, LlamaConfig, LoraConfig, Positions};

    fn tiny() -> LlamaConfig {
        LlamaConfig {
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            vocab_size: 30,
            rms_norm_eps: 1e-5,
            rope_theta: 10000.0,
            max_position_embeddings: 64,
            tie_word_embeddings: true,
        }
    }

    /// The same weights on every run: rounding differs with them.
    fn seed(map: &VarMap, seed: u64) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let vars: BTreeMap<_, _> = map.data().lock().unwrap().clone().into_iter().collect();
        for var in vars.values() {
            let values: Vec<f32> = (0..var.elem_count()).map(|_| rng.random_range(-0.5..0.5)).collect();
            var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu)?)?;
        }
        Ok(())
    }

    fn ids(rows: &[&[u32]]) -> Result<Tensor> {
        Tensor::from_vec(rows.concat(), (rows.len(), rows[0].len()), &Device::Cpu)
    }

    fn difference(a: &Tensor, b: &Tensor) -> Result<f32> {
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
        let last =
            llama.forward(&llama.embed(&ids(&[&[8]])?)?, &Positions::after(4, 1, 1), Some(&mut cache))?;
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
}
