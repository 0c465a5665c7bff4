//! The memory that a step needs beside the loaded model, reckoned from shapes.
//!
//! - To learn: four bytes for a value's gradient on each worker and eight for its two moments; four more where a frozen
//!   copy is kept to compare with.
//! - Between the layers, for each token that goes through the model at once: of a layer, both norms' input and output
//!   (4 × hidden), queries, keys and values before and after their rotation (2 × (heads + 2 × kv_heads) × head_dim), what
//!   attention gives (heads × head_dim), and what the MLP keeps (4 × intermediate). Of every layer; with
//!   recomputation of one layer, and of the others their input alone.
//! - To write answers: keys and values of every token of every answer, and the language model's matrices once more,
//!   with the adapters merged into them, where they are not quantised.
//!
//! Not counted is what comes and goes within an operation.

use crate::trainer::{Context, Outlook};

/// What the need follows from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) layers: u64,
    pub(super) hidden: u64,
    pub(super) intermediate: u64,
    /// heads × head_dim, and the same of keys.
    pub(super) queries: u64,
    pub(super) keys: u64,
    /// Bytes of a value between the layers.
    pub(super) bytes: u64,
    pub(super) is_quantised: bool,
    pub(super) recompute: bool,
    pub(super) workers: u64,
    /// Values that learn.
    pub(super) learning: u64,
    pub(super) has_reference: bool,
    /// Sequences at once, answers at once, and tokens of the longest.
    pub(super) sequences: u64,
    pub(super) answers: u64,
    pub(super) longest: u64,
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) learning: u64,
    pub(super) activations: u64,
    pub(super) answers: u64,
}

impl Need {
    /// At any moment answers are written or gradients computed, never both.
    pub(super) fn total(&self) -> u64 {
        self.learning + self.activations.max(self.answers)
    }
}

impl Shape {
    pub(super) fn new(context: &Context, outlook: &Outlook, learning: u64) -> Self {
        let llama = &context.model.llama;
        let (config, compute) = (&llama.config, &context.config.compute);
        Self {
            layers: config.num_hidden_layers as u64,
            hidden: config.hidden_size as u64,
            intermediate: config.intermediate_size as u64,
            queries: (config.num_attention_heads * config.head_dim) as u64,
            keys: (config.num_key_value_heads * config.head_dim) as u64,
            bytes: llama.dtype().size_in_bytes() as u64,
            is_quantised: llama.is_quantised(),
            recompute: compute.recompute,
            workers: compute.workers.max(1) as u64,
            learning,
            has_reference: outlook.has_reference,
            sequences: outlook.at_once as u64,
            answers: outlook.answers as u64,
            longest: outlook.longest as u64,
        }
    }

    pub(super) fn need(&self) -> Need {
        let values = 4 * (self.workers + 2 + u64::from(self.has_reference));
        let layer = 4 * self.hidden + 3 * self.queries + 4 * self.keys + 4 * self.intermediate;
        let token = if self.recompute { layer + self.layers * self.hidden } else { self.layers * layer };
        let matrices = self.hidden * (2 * self.queries + 2 * self.keys + 3 * self.intermediate);
        let merged = if self.is_quantised || self.answers == 0 { 0 } else { self.layers * matrices };
        let kept = self.answers * self.longest * self.layers * 2 * self.keys;
        Need {
            learning: values * self.learning,
            activations: self.sequences * self.longest * token * self.bytes,
            answers: (merged + kept) * self.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama 3 8B with adapters of rank 128 and the published projector, 4 samples of 1,400 tokens.
    const LLAMA: Shape = Shape {
        layers: 32,
        hidden: 4096,
        intermediate: 14336,
        queries: 4096,
        keys: 1024,
        bytes: 2,
        is_quantised: false,
        recompute: false,
        workers: 1,
        learning: 335_544_320 + 24_125_440,
        has_reference: true,
        sequences: 4,
        answers: 4,
        longest: 1400,
    };

    #[test]
    fn the_need_of_a_large_model_is_of_the_size_that_is_known() {
        let need = LLAMA.need();
        assert_eq!(need.learning, 16 * LLAMA.learning);
        // 7 billion parameters in the layers' matrices, and 5,600 tokens of the cache, 2 bytes a value.
        assert!((14_000_000_000..15_000_000_000).contains(&need.answers), "{}", need.answers);
        assert!(need.activations > 20_000_000_000, "{}", need.activations);
    }

    #[test]
    fn recomputation_and_smaller_batches_need_less_and_workers_more() {
        let recomputed = Shape { recompute: true, ..LLAMA }.need();
        assert!(recomputed.activations * 10 < LLAMA.need().activations);
        assert_eq!(recomputed.learning, LLAMA.need().learning);
        let halved = Shape { sequences: 2, ..LLAMA }.need();
        assert_eq!(2 * halved.activations, LLAMA.need().activations);
        let supervised = Shape { answers: 0, has_reference: false, ..LLAMA }.need();
        assert_eq!((supervised.answers, supervised.learning), (0, 12 * LLAMA.learning));
        assert!(Shape { workers: 2, ..LLAMA }.need().learning > LLAMA.need().learning);
    }
}
