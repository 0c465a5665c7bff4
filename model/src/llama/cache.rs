//! Keys and values of what a language model has read, so that nothing is read twice.

use candle_core::{DType, Device, Result, Tensor};

use super::LlamaConfig;

/// Keys and values of what was read so far, in buffers of a fixed capacity.
#[derive(Debug)]
pub struct KvCache {
    /// Per layer, keys and values (batch, capacity, kv_heads, head_dim).
    layers: Vec<(Tensor, Tensor)>,
    pub(super) len: usize,
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
        let shape = (batch, capacity, config.num_key_value_heads, config.head_dim);
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

    /// Tokens that fit per sequence.
    pub fn capacity(&self) -> Result<usize> {
        self.layers.first().map_or(Ok(0), |(keys, _)| keys.dim(1))
    }

    /// Takes over what another cache of as many sequences holds, in place of its own.
    pub fn begin_with(&mut self, other: &Self) -> Result<()> {
        for ((keys, values), (other_keys, other_values)) in self.layers.iter().zip(&other.layers) {
            keys.slice_set(&other_keys.narrow(1, 0, other.len)?.contiguous()?, 1, 0)?;
            values.slice_set(&other_values.narrow(1, 0, other.len)?.contiguous()?, 1, 0)?;
        }
        self.len = other.len;
        Ok(())
    }

    /// Adds keys and values of a layer and returns all of that layer's.
    pub(super) fn append(&self, layer: usize, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
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
