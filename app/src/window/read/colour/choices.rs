//! What the user chose for one slide, and what its profile says.

use super::{ColourCommand, Failure};
use crate::viewer::colour::icc::IccProfile;
use crate::viewer::colour::{ColourLook, StainChannel, StainVectors, StainView};

/// Contrast and gamma are at least one over this, and at most this.
pub(super) const STRONGEST: f32 = 5.0;

/// An open slide's colours.
#[derive(Debug)]
pub struct SlideColour {
    pub(super) hash: String,
    pub choices: Choices,
    pub icc: Icc,
    /// Ids of what threads are asked for.
    pub(super) icc_wish: Option<u64>,
    pub(super) white_wish: Option<u64>,
    pub(super) stain_wish: Option<u64>,
    /// Why the stains could not be estimated.
    pub(super) stain_fault: Option<Failure>,
}

/// What can be chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices {
    pub brightness: f32,
    pub contrast: f32,
    pub gamma: f32,
    /// The slide's own colour of its background, which becomes white.
    pub white: Option<[u8; 3]>,
    pub pair: StainPair,
    pub vectors: StainVectors,
    /// The stain that is shown alone.
    pub shown: Option<StainChannel>,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            brightness: 0.0,
            contrast: 1.0,
            gamma: 1.0,
            white: None,
            pair: StainPair::HaematoxylinEosin,
            vectors: StainVectors::haematoxylin_eosin(),
            shown: None,
        }
    }
}

/// Which stains a slide has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StainPair {
    HaematoxylinEosin,
    HaematoxylinDab,
    /// From the slide's own pixels, after Macenko.
    Estimated,
}

/// A slide's ICC profile.
#[derive(Clone, Debug, PartialEq)]
pub enum Icc {
    None,
    Reading,
    Known(IccProfile),
    Broken(Failure),
}

impl SlideColour {
    pub(super) fn new(hash: String, choices: Choices) -> Self {
        let (icc_wish, white_wish, stain_wish) = (None, None, None);
        Self { hash, choices, icc: Icc::None, icc_wish, white_wish, stain_wish, stain_fault: None }
    }

    /// Carries out a wish that changes a choice; others change nothing.
    pub(super) fn choose(&mut self, wish: ColourCommand) {
        let choices = &mut self.choices;
        match wish {
            ColourCommand::Brightness(value) if value.is_finite() => {
                choices.brightness = value.clamp(-1.0, 1.0);
            }
            ColourCommand::Contrast(value) if value.is_finite() => choices.contrast = factor(value),
            ColourCommand::Gamma(value) if value.is_finite() => choices.gamma = factor(value),
            ColourCommand::Reset => {
                *choices = Choices::default();
                (self.white_wish, self.stain_wish, self.stain_fault) = (None, None, None);
            }
            ColourCommand::ResetWhite => {
                choices.white = None;
                self.white_wish = None;
            }
            ColourCommand::Show(shown) => choices.shown = shown,
            ColourCommand::Stains(pair) => {
                choices.vectors = match pair {
                    StainPair::HaematoxylinEosin => StainVectors::haematoxylin_eosin(),
                    StainPair::HaematoxylinDab => StainVectors::haematoxylin_dab(),
                    StainPair::Estimated => return,
                };
                choices.pair = pair;
                (self.stain_wish, self.stain_fault) = (None, None);
            }
            _ => {}
        }
    }

    /// As the renderer takes it.
    pub(super) fn look(&self, is_icc_off: bool) -> ColourLook {
        let table = match &self.icc {
            Icc::Known(profile) if !is_icc_off => profile.table.clone(),
            _ => None,
        };
        let choices = &self.choices;
        let mut look = ColourLook { table, ..ColourLook::default() };
        // The background was picked in the slide's own colours, and is taken away from those of the table.
        if let Some(white) = choices.white {
            look.white = look.apply(white).map(|value| f32::from(value) / 255.0);
        }
        look.stain = choices.shown.map(|shown| StainView { vectors: choices.vectors, shown });
        (look.brightness, look.contrast, look.gamma) = (choices.brightness, choices.contrast, choices.gamma);
        look
    }
}

fn factor(value: f32) -> f32 {
    value.clamp(1.0 / STRONGEST, STRONGEST)
}
