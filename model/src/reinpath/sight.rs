//! The eyes of a loaded model, of either family.

use candle_core::Device;

use super::Error;
use crate::images::{Images, Seen};
use crate::known::Known;
use crate::package::{EncoderSpec, Grid, Package};
use crate::patch::Patch;
use crate::projector::Projector;
use crate::qwen::Tower;
use crate::vit::Vit;
use crate::weights::Size;

/// What turns patches into image embeddings.
#[derive(Debug)]
pub(super) enum Sight {
    Encoders(Box<Encoders>),
    Tower(Box<Tower>),
}

/// ReinPath's two encoders, and what follows them.
#[derive(Debug)]
pub(super) struct Encoders {
    /// With what prepares its pixels.
    pub(super) encoders: Vec<(EncoderSpec, Vit)>,
    pub(super) projector: Projector,
    /// What the package knows, where it says so.
    pub(super) known: Option<Known>,
}

impl Sight {
    /// Loads the eyes of a package, which look for a language model of so many channels; `step` is told what is being
    /// done.
    pub(super) fn load(
        package: &Package,
        hidden: usize,
        device: &Device,
        step: &mut dyn FnMut(&str, f32) -> Result<(), Error>,
    ) -> Result<(Self, Size), Error> {
        let _ = (package, hidden, device, step);
        todo!("share D")
    }

    /// What they see of patches, for as long as `going` says so; `asked` limits the pixels of each patch where patches have
    /// any size.
    pub(super) fn look(
        &self,
        patches: &[Patch],
        asked: Option<u64>,
        device: &Device,
        going: &mut dyn FnMut() -> bool,
    ) -> Result<Seen, Error> {
        let _ = (patches, asked, device, going);
        todo!("share D")
    }

    /// Image embeddings of what was seen; `grid` is that of ReinPath's image tokens.
    pub(super) fn images(&self, seen: &Seen, grid: Grid) -> Result<Images, Error> {
        let _ = (seen, grid);
        todo!("share D")
    }
}
