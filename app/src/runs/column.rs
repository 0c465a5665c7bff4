//! Figures over the steps of a stage: a column that grows at its end, that clones in next to no time, and that a plot reads in
//! as many places as it has pixels.

use std::sync::Arc;

/// Values of a block.
pub const BLOCK: usize = 64;

/// Values of one measure, one a step; NaN where a step did not measure it. Clones share all blocks but the last one.
#[derive(Clone, Debug, Default)]
pub struct Column {
    pub(super) blocks: Arc<Vec<Arc<Block>>>,
    /// Fewer than [`BLOCK`] values.
    pub(super) tail: Vec<f32>,
}

/// [`BLOCK`] values, and what is drawn of them from far away.
#[derive(Clone, Debug)]
pub struct Block {
    pub values: [f32; BLOCK],
    pub summary: Bin,
}

/// What a stretch of a column holds; NaN where it holds nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Index of the first value.
    pub at: usize,
    pub low: f32,
    pub high: f32,
    pub mean: f32,
}

impl Column {
    /// How many values there are, the missing ones too.
    pub fn len(&self) -> usize {
        self.blocks.len() * BLOCK + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at an index; `None` where it was not measured.
    pub fn get(&self, at: usize) -> Option<f32> {
        let value = match self.blocks.get(at / BLOCK) {
            Some(block) => block.values[at % BLOCK],
            None => *self.tail.get(at - self.blocks.len() * BLOCK)?,
        };
        (!value.is_nan()).then_some(value)
    }
}
