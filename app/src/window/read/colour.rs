//! How slides look: brightness to stain view, as data for the shader. What the user chose is kept for each slide while it is open, and for
//! the next time it is opened; the model's pixels are never touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use egui::{Key, KeyboardShortcut, Modifiers};

use super::super::command::{Command, Named, named};
use super::super::state::{AppState, SlideTab, Tool};
use super::super::update::{Effect, complain};
use super::{ReadCommand, ReadEffect, Side};
use crate::viewer::colour::icc::IccProfile;
use crate::viewer::colour::macenko::USUAL_GROUND;
use crate::viewer::colour::{ColourLook, ColourTable, StainChannel, StainVectors};
use crate::viewer::tile_cache::SlideKey;

mod choices;
mod desk;
mod panel;

pub use choices::{Choices, Icc, SlideColour, StainPair};
pub(super) use desk::ColourDesk;
pub(in crate::window) use panel::ColourPanel;

/// Closed slides whose colours are remembered.
const MOST_REMEMBERED: usize = 50;
/// Glass is brighter than this in every channel.
const DARKEST_GLASS: u8 = 60;
/// Said instead of a sentence that names a file, while names are hidden.
const UNREADABLE: &str = "The slide could not be read there.";

/// What of it is shown.
#[derive(Debug, Default)]
pub struct ColourState {
    /// Slides that are open.
    pub slides: BTreeMap<SlideKey, SlideColour>,
    /// Choices for slides that were closed, by their hash, newest last.
    remembered: Vec<(String, Choices)>,
}

/// Wishes about the slide in view, if they name none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColourCommand {
    /// Shows the panel, or the questions again.
    SwitchPanel,
    /// -1 to 1.
    Brightness(f32),
    /// 0.2 to 5.
    Contrast(f32),
    /// 0.2 to 5.
    Gamma(f32),
    /// Everything but the ICC profile as the slide has it.
    Reset,
    /// All other open slides get what this one has.
    ApplyToAll,
    /// For all slides, and remembered.
    SwitchIcc,
    /// The next click chooses the background; once more: it does not.
    PickWhite,
    /// The background is at this place, in level-0 pixels.
    WhiteAt(SlideKey, (f64, f64)),
    ResetWhite,
    /// One stain alone; `None`: all of them, as it is.
    Show(Option<StainChannel>),
    /// Which stains there are.
    Stains(StainPair),
}

/// What came of a wish, with the wish's id: only the newest counts.
#[derive(Debug)]
pub enum ColourEvent {
    Icc { key: SlideKey, id: u64, profile: Result<Option<IccProfile>, Failure> },
    White { key: SlideKey, id: u64, white: Result<[u8; 3], Failure> },
    Stains { key: SlideKey, id: u64, vectors: Result<StainVectors, Failure> },
}

/// Why nothing came of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub sentence: String,
    /// Whether the sentence names the file.
    pub names_file: bool,
}

/// What is to be done by threads.
#[derive(Clone, Debug, PartialEq)]
pub enum ColourEffect {
    ReadIcc {
        key: SlideKey,
        id: u64,
    },
    /// The colour around a place in level-0 pixels.
    ReadWhite {
        key: SlideKey,
        id: u64,
        place: (f64, f64),
    },
    /// The stains of what is seen through `table`, on glass of this colour.
    EstimateStains {
        key: SlideKey,
        id: u64,
        table: Option<Arc<ColourTable>>,
        ground: [f32; 3],
    },
}

const fn shift(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::SHIFT, key)
}

const fn alt(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::ALT, key)
}

fn wish(wish: ColourCommand) -> Command {
    Command::Read(ReadCommand::Colour(wish))
}

/// Its commands with names and keys.
pub const NAMED: &[Named] = &[
    named("Colour panel", &[shift(Key::C)], false, || wish(ColourCommand::SwitchPanel)),
    named("Pick white background", &[shift(Key::W)], false, || wish(ColourCommand::PickWhite)),
    named("Show first stain alone", &[alt(Key::Num1)], false, || {
        wish(ColourCommand::Show(Some(StainChannel::First)))
    }),
    named("Show second stain alone", &[alt(Key::Num2)], false, || {
        wish(ColourCommand::Show(Some(StainChannel::Second)))
    }),
    named("Show residual stain alone", &[alt(Key::Num3)], false, || {
        wish(ColourCommand::Show(Some(StainChannel::Residual)))
    }),
    named("Show all stains", &[alt(Key::Num0)], false, || wish(ColourCommand::Show(None))),
    named("Estimate stains from slide", &[], false, || wish(ColourCommand::Stains(StainPair::Estimated))),
    named("Switch ICC profiles", &[], false, || wish(ColourCommand::SwitchIcc)),
    named("Reset colours", &[], false, || wish(ColourCommand::Reset)),
];

/// Carries out a wish.
pub(super) fn command(state: &mut AppState, wish: ColourCommand) -> Vec<Effect> {
    match wish {
        ColourCommand::SwitchPanel => {
            state.read.side = if state.read.side == Side::Colour { Side::Ask } else { Side::Colour };
        }
        ColourCommand::SwitchIcc => {
            state.settings.read.is_icc_off = !state.settings.read.is_icc_off;
            return vec![Effect::SaveSettings(state.settings.clone())];
        }
        ColourCommand::PickWhite => {
            state.tool = if state.tool == Tool::White { Tool::Pan } else { Tool::White };
        }
        ColourCommand::WhiteAt(key, place) => return read_white(state, key, place),
        ColourCommand::Stains(StainPair::Estimated) => return estimate_stains(state),
        ColourCommand::ApplyToAll => {
            if let Some(choices) = shown(state).map(|slide| slide.choices.clone()) {
                for slide in state.read.colour.slides.values_mut() {
                    slide.choices = choices.clone();
                }
            }
        }
        wish => {
            if let Some(slide) = shown(state) {
                slide.choose(wish);
            }
        }
    }
    Vec::new()
}

fn shown(state: &mut AppState) -> Option<&mut SlideColour> {
    let key = state.shown?;
    state.read.colour.slides.get_mut(&key)
}

fn read_white(state: &mut AppState, key: SlideKey, place: (f64, f64)) -> Vec<Effect> {
    let id = state.new_id();
    let Some(slide) = state.read.colour.slides.get_mut(&key) else { return Vec::new() };
    slide.white_wish = Some(id);
    state.tool = Tool::Pan;
    effect(ColourEffect::ReadWhite { key, id, place })
}

fn estimate_stains(state: &mut AppState) -> Vec<Effect> {
    let (id, is_icc_off) = (state.new_id(), state.settings.read.is_icc_off);
    let Some(key) = state.shown else { return Vec::new() };
    let Some(slide) = state.read.colour.slides.get_mut(&key) else { return Vec::new() };
    slide.stain_wish = Some(id);
    slide.stain_fault = None;
    let look = slide.look(is_icc_off);
    let ground = if slide.choices.white.is_some() { look.white } else { USUAL_GROUND };
    effect(ColourEffect::EstimateStains { key, id, table: look.table, ground })
}

fn effect(effect: ColourEffect) -> Vec<Effect> {
    vec![Effect::Read(ReadEffect::Colour(effect))]
}

/// Takes in what happened.
pub(super) fn event(state: &mut AppState, news: ColourEvent) -> Vec<Effect> {
    let is_blinded = state.settings.read.is_blinded;
    let slides = &mut state.read.colour.slides;
    match news {
        ColourEvent::Icc { key, id, profile } => {
            if let Some(slide) = slides.get_mut(&key)
                && slide.icc_wish.take_if(|wish| *wish == id).is_some()
            {
                slide.icc = match profile {
                    Ok(Some(profile)) => Icc::Known(profile),
                    Ok(None) => Icc::None,
                    Err(failure) => Icc::Broken(failure),
                };
            }
        }
        ColourEvent::Stains { key, id, vectors } => {
            if let Some(slide) = slides.get_mut(&key)
                && slide.stain_wish.take_if(|wish| *wish == id).is_some()
            {
                match vectors {
                    Ok(vectors) => {
                        (slide.choices.pair, slide.choices.vectors) = (StainPair::Estimated, vectors);
                    }
                    Err(failure) => slide.stain_fault = Some(failure),
                }
            }
        }
        ColourEvent::White { key, id, white } => {
            let Some(slide) = slides.get_mut(&key) else { return Vec::new() };
            if slide.white_wish.take_if(|wish| *wish == id).is_none() {
                return Vec::new();
            }
            match white {
                Ok(white) if white.iter().all(|value| *value >= DARKEST_GLASS) => {
                    slide.choices.white = Some(white);
                }
                Ok(_) => {
                    let sentence = "That place is too dark to be glass: pick a clear part of the background.";
                    complain(state, sentence.to_owned());
                }
                Err(failure) => complain(state, failure.said(is_blinded).to_owned()),
            }
        }
    }
    Vec::new()
}

impl Failure {
    /// The sentence, without the file's name while names are hidden.
    pub fn said(&self, is_blinded: bool) -> &str {
        if is_blinded && self.names_file { UNREADABLE } else { &self.sentence }
    }
}

/// A slide was opened.
pub(super) fn opened(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let Some(info) = state.slide(key).and_then(SlideTab::info).cloned() else { return Vec::new() };
    let id = state.new_id();
    let colour = &mut state.read.colour;
    let at = colour.remembered.iter().position(|(hash, _)| *hash == info.hash);
    let choices = at.map(|at| colour.remembered.remove(at).1).unwrap_or_default();
    let mut slide = SlideColour::new(info.hash.clone(), choices);
    if !info.icc_profile {
        colour.slides.insert(key, slide);
        return Vec::new();
    }
    (slide.icc, slide.icc_wish) = (Icc::Reading, Some(id));
    colour.slides.insert(key, slide);
    effect(ColourEffect::ReadIcc { key, id })
}

/// A slide was closed: what was chosen for it is there again when it is opened again.
pub(super) fn closed(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let colour = &mut state.read.colour;
    let Some(slide) = colour.slides.remove(&key) else { return Vec::new() };
    colour.remembered.retain(|(hash, _)| *hash != slide.hash);
    if slide.choices != Choices::default() {
        colour.remembered.push((slide.hash, slide.choices));
    }
    if colour.remembered.len() > MOST_REMEMBERED {
        colour.remembered.remove(0);
    }
    Vec::new()
}

/// How a slide is to be drawn.
pub(in crate::window) fn look_of(state: &AppState, key: SlideKey) -> ColourLook {
    let slide = state.read.colour.slides.get(&key);
    slide.map_or_else(ColourLook::default, |slide| slide.look(state.settings.read.is_icc_off))
}

#[cfg(test)]
mod tests;
