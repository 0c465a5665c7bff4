//! What a model sees of patches, on its way to the language model, whichever family it is of.

use candle_core::{Result, Tensor};

use crate::llama::Course;
use crate::package::Grid;

/// What eyes made of patches: computed once, and kept for the next question about the same.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Fused features of ReinPath's encoders, (patches, image_tokens, fused).
    Fused(Tensor),
    /// Image tokens of a Qwen2.5-VL, (tokens, hidden) for each patch.
    Merged(Images),
}

/// Image embeddings of patches, as they stand among words.
#[derive(Clone, Debug)]
pub struct Images {
    /// (tokens, hidden) of each patch, row by row.
    pub embeddings: Vec<Tensor>,
    pub grids: Vec<Grid>,
}

impl Images {
    /// Of patches with equal grids: (patches, tokens, hidden).
    pub fn equal(embeddings: &Tensor, grid: Grid) -> Result<Self> {
        let patches = embeddings.dim(0)?;
        let embeddings = (0..patches).map(|i| embeddings.get(i)).collect::<Result<_>>()?;
        Ok(Self { embeddings, grids: vec![grid; patches] })
    }

    /// Those of `count` patches from `from` on.
    #[must_use]
    pub fn part(&self, from: usize, count: usize) -> Self {
        let end = from + count;
        Self { embeddings: self.embeddings[from..end].to_vec(), grids: self.grids[from..end].to_vec() }
    }
}

/// Embeddings of a prompt, words and images, and where its tokens stand.
#[derive(Clone, Debug)]
pub struct Spliced {
    /// (1, tokens, hidden)
    pub x: Tensor,
    pub course: Course,
}

impl Spliced {
    /// How many there are.
    pub fn tokens(&self) -> Result<usize> {
        self.x.dim(1)
    }

    /// Its first `count` tokens.
    pub fn first(&self, count: usize) -> Result<Self> {
        Ok(Self { x: self.x.narrow(1, 0, count)?, course: self.course.clone() })
    }
}

impl From<Tensor> for Spliced {
    /// Embeddings (1, tokens, hidden) of which token i stands at i: those of a model without multimodal positions.
    fn from(x: Tensor) -> Self {
        Self { x, course: Course::default() }
    }
}
