//! The Llama language model, from embeddings to logits (`modeling_llama.py`, transformers; Hugging Face's names); that of a
//! Qwen2.5-VL is one with biases and places of three numbers (`modeling_qwen2_5_vl.py`).
//!
//! One forward serves training, prompts and single steps: embeddings in, hidden states of all positions out, an
//! optional preallocated cache, and padding on the left told by where each sequence begins.

mod cache;
mod config;
mod course;
mod params;
mod pass;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Result, Tensor, TensorId};
use candle_nn::{Init, VarBuilder};

pub use self::cache::KvCache;
pub use self::config::{LlamaConfig, RopeScaling};
pub use self::course::{Course, Stretch};
pub use self::params::Params;
pub use self::pass::{Kept, Pass};
use crate::layers::{Linear, LoraConfig, LoraPair, RmsNorm};
use crate::ops::{self, Attention, Rotary, Rotation, RowCount};
use crate::tensors::{Matrix, Tensors};

/// A Llama.
#[derive(Clone, Debug)]
pub struct Llama {
    /// (vocabulary, hidden)
    embed_tokens: Matrix,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Linear,
    rotary: Rotary,
    pub config: LlamaConfig,
}

/// The linear layers of each layer that adapters can change, in the order of [`Layer::linears`].
const LINEARS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// An adapter of all layers that is not on the model; a clone shares its values.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Of each linear layer, in order.
    pairs: Vec<Option<LoraPair>>,
}

impl Adapter {
    /// The same values, which do not change when those of the adapter do, in another precision where one is named.
    pub fn copied(&self, dtype: Option<DType>) -> Result<Self> {
        let copied = |pair: &Option<LoraPair>| pair.as_ref().map(|pair| pair.copied(dtype)).transpose();
        Ok(Self { pairs: self.pairs.iter().map(copied).collect::<Result<_>>()? })
    }
}

/// Where the tokens of a batch stand.
#[derive(Clone, Debug)]
pub struct Positions {
    /// Time, row and column of every token, (batch · seq); one number for words.
    places: Arc<Vec<[u32; 3]>>,
    key_starts: Option<Arc<Vec<usize>>>,
}

impl Positions {
    /// `seq` tokens that follow `past` cached ones, in `batch` sequences without padding on the left.
    pub fn after(past: usize, batch: usize, seq: usize) -> Self {
        let places = (0..batch).flat_map(|_| (past..past + seq).map(|p| [p as u32; 3])).collect();
        Self { places: Arc::new(places), key_starts: None }
    }

    /// The same for sequences whose first `padding[b]` keys are padding; their positions begin after it.
    pub fn padded(past: usize, seq: usize, padding: &Arc<Vec<usize>>) -> Self {
        let of = |pad: usize| (past..past + seq).map(move |p| [p.saturating_sub(pad) as u32; 3]);
        let places = padding.iter().flat_map(|&pad| of(pad)).collect();
        Self { places: Arc::new(places), key_starts: Some(Arc::clone(padding)) }
    }

    /// `seq` tokens that follow `past` cached ones, in one sequence with this course.
    pub fn along(course: &Course, past: usize, seq: usize) -> Self {
        Self { places: Arc::new(course.places(past, seq).collect()), key_starts: None }
    }

    /// The same for sequences with a course each, whose first `padding[b]` keys are padding.
    pub fn along_padded(courses: &[Course], past: usize, seq: usize, padding: &Arc<Vec<usize>>) -> Self {
        let of = |(course, &pad): (&Course, &usize)| {
            // Padding stands anywhere: nobody looks at it.
            let course = course.clone();
            (past..past + seq).map(move |p| course.place(p.saturating_sub(pad)))
        };
        let places = courses.iter().zip(padding.iter()).flat_map(of).collect();
        Self { places: Arc::new(places), key_starts: Some(Arc::clone(padding)) }
    }
}

impl Llama {
    /// Reads the tensors that `config` implies, with Hugging Face's names (`model.layers.0.…`).
    pub fn load<'a>(tensors: impl Into<Tensors<'a>>, config: &LlamaConfig) -> Result<Self> {
        Self::load_watched(tensors, config, &mut |_| Ok(()))
    }

    /// The same; `watch` gets the share that is done before each layer, and an error from it ends the loading.
    pub fn load_watched<'a>(
        tensors: impl Into<Tensors<'a>>,
        config: &LlamaConfig,
        watch: &mut dyn FnMut(f32) -> Result<()>,
    ) -> Result<Self> {
        let tensors = tensors.into();
        let model = tensors.pp("model");
        let small = Init::Randn { mean: 0.0, stdev: 0.02 };
        let embed_tokens =
            model.pp("embed_tokens").matrix(config.vocab_size, config.hidden_size, "weight", small)?;
        let lm_head = if config.tie_word_embeddings {
            Linear::new(embed_tokens.clone(), None)
        } else {
            Linear::load(tensors.pp("lm_head"), config.hidden_size, config.vocab_size)?
        };
        Ok(Self {
            embed_tokens,
            layers: (0..config.num_hidden_layers)
                .map(|i| {
                    watch(i as f32 / config.num_hidden_layers as f32)?;
                    Layer::load(&model.pp(format!("layers.{i}")), config)
                })
                .collect::<Result<_>>()?,
            norm: RmsNorm::load(model.pp("norm").full(), config.hidden_size, config.rms_norm_eps)?,
            lm_head,
            rotary: config.rotary(),
            config: config.clone(),
        })
    }

    /// Puts LoRA adapters on every linear layer but the head; `vb` stands at PEFT's `base_model.model`.
    pub fn adapt(&mut self, vb: &VarBuilder<'_>, lora: &LoraConfig) -> Result<()> {
        self.adapt_some(vb, lora, |_| true)
    }

    /// The same on those linear layers that are `wanted` by name, such as `model.layers.0.self_attn.q_proj`.
    pub fn adapt_some(
        &mut self,
        vb: &VarBuilder<'_>,
        lora: &LoraConfig,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            for (name, linear) in LINEARS.into_iter().zip(layer.linears()) {
                let name = format!("model.layers.{i}.{name}");
                if wanted(&name) {
                    linear.adapt(&vb.pp(name), lora)?;
                }
            }
        }
        Ok(())
    }

    /// Names of the linear layers that adapters can change.
    pub fn linear_names(&self) -> impl Iterator<Item = String> {
        let of = |i: usize| LINEARS.map(|name| format!("model.layers.{i}.{name}"));
        (0..self.layers.len()).flat_map(of)
    }

    /// The adapter that is on the model, if one is.
    pub fn adapter(&self) -> Option<Adapter> {
        let pairs: Vec<Option<LoraPair>> =
            self.layers.iter().flat_map(Layer::linears_ref).map(|linear| linear.adapter().cloned()).collect();
        pairs.iter().any(Option::is_some).then_some(Adapter { pairs })
    }

    /// Ids of the tensors of the adapter that is on the model, by which [`Self::layer_back`] names their gradients.
    pub fn adapter_ids(&self) -> Vec<TensorId> {
        let linears = self.layers.iter().flat_map(Layer::linears_ref);
        linears.filter_map(Linear::adapter).flat_map(LoraPair::ids).collect()
    }

    /// Takes the adapter off that was put on last.
    pub fn take_adapter(&mut self) -> Adapter {
        Adapter { pairs: self.linears().map(Linear::take_adapter).collect() }
    }

    /// Puts an adapter on in place of the one that is there; `None`: none.
    pub fn put_adapter(&mut self, adapter: Option<&Adapter>) {
        let pairs = adapter.into_iter().flat_map(|adapter| adapter.pairs.iter().cloned());
        let pairs = pairs.chain(std::iter::repeat(None));
        self.linears().zip(pairs).for_each(|(linear, pair)| linear.put_adapter(pair));
    }

    fn linears(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.layers.iter_mut().flat_map(Layer::linears)
    }

    /// Takes an adapter that was merged out of the weights again, up to rounding, and puts it on beside them.
    pub fn unmerge(&mut self, adapter: &Adapter) -> Result<()> {
        let pairs = adapter.pairs.iter().cloned();
        self.linears().zip(pairs).try_for_each(|(linear, pair)| match pair {
            Some(pair) => linear.unmerge(pair),
            None => Ok(()),
        })
    }

    /// Adds the adapters to the weights.
    pub fn merge(&mut self) -> Result<()> {
        self.linears().try_for_each(Linear::merge)
    }

    /// Lays the weights of its layers out for products, where there is a kernel for it: for a model that is trained no
    /// further. Embeddings and head stay plain, of which few rows are used at a time, and adapters stay beside: merge them
    /// first.
    pub fn pack(&mut self) -> Result<()> {
        self.linears().try_for_each(|layer| layer.pack(RowCount::Few))
    }

    /// Embeddings of token ids: (batch, seq) to (batch, seq, hidden).
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, seq) = ids.dims2()?;
        self.embed_tokens.rows(&ids.flatten_all()?)?.reshape((batch, seq, self.config.hidden_size))
    }

    /// Hidden states after the final norm, (batch, seq, hidden), of embeddings of that shape.
    ///
    /// With a cache, the tokens follow those already in it and are added to it.
    pub fn forward(&self, x: &Tensor, at: &Positions, cache: Option<&mut KvCache>) -> Result<Tensor> {
        self.forward_unless(x, at, cache, &AtomicBool::new(false))
    }

    /// The same; `cancel` is looked at before each layer, and ends it with an error when it is set. The cache then holds
    /// what it held.
    pub fn forward_unless(
        &self,
        x: &Tensor,
        at: &Positions,
        cache: Option<&mut KvCache>,
        cancel: &AtomicBool,
    ) -> Result<Tensor> {
        // A step is a hundred products and more, each of them short.
        ops::as_a_worker(|| self.read(x, at, cache, cancel))
    }

    fn read(
        &self,
        x: &Tensor,
        at: &Positions,
        mut cache: Option<&mut KvCache>,
        cancel: &AtomicBool,
    ) -> Result<Tensor> {
        let seq = x.dim(1)?;
        let rotation = self.rotary.at_places(&at.places)?;
        let mask = Attention { causal: true, key_starts: at.key_starts.clone() };
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            go_on(cancel)?;
            x = layer.forward(&x, &mask, &rotation, cache.as_deref().map(|c| (c, i)))?;
        }
        if let Some(cache) = &mut cache {
            cache.len += seq;
        }
        self.norm.forward(&x)
    }

    /// Logits of hidden states, in f32: (…, hidden) to (…, vocabulary).
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.lm_head.forward(hidden)?.to_dtype(DType::F32)
    }

    /// Logits of these tokens alone, in f32: hidden states (rows, hidden) to (rows, ids). Adapters leave the head alone
    /// (see [`Self::adapt`]), so its rows are all there is.
    pub fn logits_of(&self, hidden: &Tensor, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::from_slice(ids, ids.len(), hidden.device())?;
        let rows = self.lm_head.weight_rows(&ids)?.to_dtype(hidden.dtype())?;
        ops::linear(hidden, &rows, None)?.to_dtype(DType::F32)
    }

    /// How much the last token of `x` (batch, seq, hidden) attends to each token at one layer: probabilities (batch,
    /// heads, keys) in f32.
    ///
    /// The layers above are not computed. With a cache the tokens follow those in it, as in [`Self::forward`], but they
    /// are not added to it; its places after its length are overwritten. `cancel` is as in [`Self::forward_unless`].
    pub fn attention_at(
        &self,
        layer: usize,
        x: &Tensor,
        at: &Positions,
        cache: Option<&KvCache>,
        cancel: &AtomicBool,
    ) -> Result<Tensor> {
        let Some((last, below)) = self.layers.get(..=layer).and_then(<[Layer]>::split_last) else {
            candle_core::bail!("there is no layer {layer}: the language model has {}", self.layers.len());
        };
        let rotation = self.rotary.at_places(&at.places)?;
        let mask = Attention { causal: true, key_starts: at.key_starts.clone() };
        let mut x = x.clone();
        for (i, layer) in below.iter().enumerate() {
            go_on(cancel)?;
            x = layer.forward(&x, &mask, &rotation, cache.map(|cache| (cache, i)))?;
        }
        go_on(cancel)?;
        let (q, k, _) = last.projections(&x, &rotation, cache.map(|cache| (cache, layer)))?;
        let q = q.narrow(1, q.dim(1)? - 1, 1)?;
        ops::attention_probabilities(&q, &k, &mask)?.squeeze(2)
    }

    /// Whether its matrices are.
    pub fn is_quantised(&self) -> bool {
        matches!(self.embed_tokens, Matrix::Quantised(_))
    }

    /// Where its embeddings are.
    pub fn device(&self) -> Device {
        match &self.embed_tokens {
            Matrix::Full(weight) => weight.device().clone(),
            Matrix::Quantised(weight) => weight.device(),
            Matrix::Packed(_) => Device::Cpu,
        }
    }

    /// Precision of embeddings, hidden states and cache.
    pub fn dtype(&self) -> DType {
        match &self.embed_tokens {
            Matrix::Full(weight) => weight.dtype(),
            Matrix::Quantised(_) | Matrix::Packed(_) => DType::F32,
        }
    }
}

/// An error when `cancel` is set.
fn go_on(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) {
        candle_core::bail!("cancelled");
    }
    Ok(())
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
    fn load(tensors: &Tensors<'_>, config: &LlamaConfig) -> Result<Self> {
        let (hidden, inner, head_dim) = (config.hidden_size, config.intermediate_size, config.head_dim);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let (attention, mlp) = (tensors.pp("self_attn"), tensors.pp("mlp"));
        let norm = |name: &str| RmsNorm::load(tensors.pp(name).full(), hidden, config.rms_norm_eps);
        let projection = |name: &str, heads: usize| {
            let tensors = attention.pp(name);
            if config.attention_bias {
                Linear::load_biased(&tensors, hidden, heads * head_dim)
            } else {
                Linear::load(tensors, hidden, heads * head_dim)
            }
        };
        Ok(Self {
            input_norm: norm("input_layernorm")?,
            q_proj: projection("q_proj", heads)?,
            k_proj: projection("k_proj", kv_heads)?,
            v_proj: projection("v_proj", kv_heads)?,
            o_proj: Linear::load(attention.pp("o_proj"), heads * head_dim, hidden)?,
            post_attention_norm: norm("post_attention_layernorm")?,
            gate_proj: Linear::load(mlp.pp("gate_proj"), hidden, inner)?,
            up_proj: Linear::load(mlp.pp("up_proj"), hidden, inner)?,
            down_proj: Linear::load(mlp.pp("down_proj"), inner, hidden)?,
            heads,
            kv_heads,
            head_dim,
        })
    }

    /// In the order of [`LINEARS`].
    fn linears(&mut self) -> [&mut Linear; 7] {
        [
            &mut self.q_proj,
            &mut self.k_proj,
            &mut self.v_proj,
            &mut self.o_proj,
            &mut self.gate_proj,
            &mut self.up_proj,
            &mut self.down_proj,
        ]
    }

    /// The same, to look at.
    fn linears_ref(&self) -> [&Linear; 7] {
        [
            &self.q_proj,
            &self.k_proj,
            &self.v_proj,
            &self.o_proj,
            &self.gate_proj,
            &self.up_proj,
            &self.down_proj,
        ]
    }

    /// Queries of `x`, and keys and values of it and of what the cache holds.
    fn projections(
        &self,
        x: &Tensor,
        rotation: &Rotation,
        cache: Option<(&KvCache, usize)>,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let (batch, seq, _) = x.dims3()?;
        let y = self.input_norm.forward(x)?;
        let heads = |layer: &Linear, n: usize| layer.forward(&y)?.reshape((batch, seq, n, self.head_dim));
        let q = ops::rope(&heads(&self.q_proj, self.heads)?, rotation)?;
        let k = ops::rope(&heads(&self.k_proj, self.kv_heads)?, rotation)?;
        let v = heads(&self.v_proj, self.kv_heads)?;
        let (k, v) = match cache {
            Some((cache, layer)) => cache.append(layer, &k, &v)?,
            None => (k, v),
        };
        Ok((q, k, v))
    }

    fn forward(
        &self,
        x: &Tensor,
        mask: &Attention,
        rotation: &Rotation,
        cache: Option<(&KvCache, usize)>,
    ) -> Result<Tensor> {
        let (q, k, v) = self.projections(x, rotation, cache)?;
        let x = (x + self.o_proj.forward(&ops::attention(&q, &k, &v, mask)?)?)?;
        let y = self.post_attention_norm.forward(&x)?;
        let y = ops::silu_mul(&self.gate_proj.forward(&y)?, &self.up_proj.forward(&y)?)?;
        &x + self.down_proj.forward(&y)?
    }
}

#[cfg(test)]
pub(crate) mod tests;
