//! Where there is tissue on a slide, and how good a region of it is: pure functions of pixels.

mod flaws;
mod mask;
mod morphology;

pub use flaws::flaws;
pub use mask::{MaskRule, SaturationMap, TissueMask, otsu};

/// What a region suffers from, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Hardly any tissue.
    Blank,
    /// Out of focus.
    Blurred,
    /// Enlarged from coarser pixels than wanted.
    Upsampled,
}

#[cfg(test)]
mod tests;
