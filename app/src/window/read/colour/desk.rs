//! The threads that read what the colours of a slide need: its profile, its background, its stains. One a wish, each with a name.

use std::thread::Builder;

use super::super::super::event::Event;
use super::super::super::workers::{EventSender, Workers};
use super::super::{ReadEvent, ReadPlaces};
use super::{ColourEffect, ColourEvent, Failure};
use crate::slide::{self, SlideHandle};
use crate::viewer::colour::icc::{self, IccProfile};
use crate::viewer::colour::{ColourLook, macenko, white};

/// Pixels that stains are estimated from, before glass is left out.
const MOST_SOURCE: u64 = 4 << 20;
/// Where even the coarsest level is larger than that, so many squares along each side are read of it, of this many pixels.
const SQUARES: u32 = 6;
const SQUARE_PX: u32 = 256;
/// What is darker than this in all channels is no tissue but a hole in the slide.
const BLACK: u8 = 12;

/// Its threads.
pub(in crate::window::read) struct ColourDesk {
    events: EventSender,
}

impl ColourDesk {
    pub(in crate::window::read) fn new(events: EventSender, _places: &ReadPlaces) -> Self {
        Self { events }
    }

    pub(in crate::window::read) fn carry_out(&mut self, effect: ColourEffect, workers: &Workers) {
        match effect {
            ColourEffect::ReadIcc { key, id } => {
                let Some(slide) = workers.handle(key) else { return };
                self.spawn("icc-table", move || ColourEvent::Icc { key, id, profile: profile(&slide) });
            }
            ColourEffect::ReadWhite { key, id, place } => {
                let Some(slide) = workers.handle(key) else { return };
                self.spawn("white", move || ColourEvent::White { key, id, white: background(&slide, place) });
            }
            ColourEffect::EstimateStains { key, id, table, ground } => {
                let Some(slide) = workers.handle(key) else { return };
                let look = ColourLook { table, ..ColourLook::default() };
                self.spawn("stain", move || {
                    let pixels = sample(&slide);
                    let seen = pixels.map(|pixels| pixels.into_iter().map(move |rgb| look.apply(rgb)));
                    let vectors = seen.map_err(Failure::from).and_then(|seen| {
                        macenko::estimate(seen, ground).map_err(|error| Failure::of(&error))
                    });
                    ColourEvent::Stains { key, id, vectors }
                });
            }
        }
    }

    fn spawn(&self, name: &str, work: impl FnOnce() -> ColourEvent + Send + 'static) {
        let events = self.events.clone();
        let started = Builder::new().name(name.to_owned()).spawn(move || {
            events.send(Event::Read(ReadEvent::Colour(work())));
        });
        if let Err(error) = started {
            // The user can only free resources and try again.
            tracing::error!("cannot start the thread {name}: {error}");
        }
    }
}

impl Failure {
    /// Of something that knows no file.
    fn of(error: &impl std::fmt::Display) -> Self {
        Self { sentence: error.to_string(), names_file: false }
    }
}

impl From<slide::Error> for Failure {
    fn from(error: slide::Error) -> Self {
        Self { sentence: error.to_string(), names_file: true }
    }
}

/// `None`: the slide has none after all.
fn profile(slide: &SlideHandle) -> Result<Option<IccProfile>, Failure> {
    let bytes = slide.icc_profile()?;
    bytes.map(|bytes| icc::read(&bytes).map_err(|error| Failure::of(&error))).transpose()
}

fn background(slide: &SlideHandle, (x, y): (f64, f64)) -> Result<[u8; 3], Failure> {
    let corner = |place: f64| place.floor() as i64 - i64::from(white::SIDE / 2);
    let pixels = slide.read_region(0, corner(x), corner(y), white::SIDE, white::SIDE)?;
    white::median(&pixels.image).ok_or_else(|| Failure::of(&"There are no pixels at that place."))
}

/// The finest level that is small enough, or squares of the coarsest.
fn sample(slide: &SlideHandle) -> Result<Vec<[u8; 3]>, slide::Error> {
    let info = slide.info();
    let mut levels = info.levels.iter().zip(0_u32..);
    let small = levels.find(|(level, _)| u64::from(level.width) * u64::from(level.height) <= MOST_SOURCE);
    let mut pixels = Vec::new();
    let mut add = |image: &image::RgbImage| {
        let bright = image.pixels().map(|pixel| pixel.0).filter(|rgb| rgb.iter().any(|value| *value > BLACK));
        pixels.extend(bright);
    };
    if let Some((level, number)) = small {
        add(&slide.read_region(number, 0, 0, level.width, level.height)?.image);
        return Ok(pixels);
    }
    let coarsest = info.levels.len().saturating_sub(1) as u32;
    let along = |length: u32, n: u32| i64::from(length) * (2 * i64::from(n) + 1) / (2 * i64::from(SQUARES));
    for row in 0..SQUARES {
        for column in 0..SQUARES {
            let (x, y) = (along(info.width(), column), along(info.height(), row));
            add(&slide.read_region(coarsest, x, y, SQUARE_PX, SQUARE_PX)?.image);
        }
    }
    Ok(pixels)
}
