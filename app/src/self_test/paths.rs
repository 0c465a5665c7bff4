//! The fixed paths over a slide: from field to unseen neighbouring field, and from the whole slide to its finest pixels and back.

use std::ops::Range;
use std::time::Instant;

use egui::Vec2;

use super::offscreen::Offscreen;
use crate::slide::SlideInfo;
use crate::window::App;
use crate::window::command::{AskCommand, ViewCommand};

/// Steps of a zoom from end to end.
const ZOOM_STEPS: u32 = 40;
/// Places of the zooms, as fractions of the slide: steps are waited for at the first three.
const ZOOM_PLACES: [(f64, f64); 6] =
    [(0.3, 0.3), (0.7, 0.4), (0.45, 0.7), (0.6, 0.25), (0.25, 0.6), (0.8, 0.75)];

/// Goes over a slide and remembers what was seen.
pub(super) struct Walk<'a> {
    pub window: &'a mut Offscreen,
    pub info: &'a SlideInfo,
    /// Points on which the slide is shown.
    pub view: Vec2,
    /// Whether the last question is asked again whenever its answer is written.
    pub keeps_answering: bool,
    /// Scale and middle of every field that was looked at.
    seen: Vec<(f64, (f64, f64))>,
}

/// What a zoom gave.
pub(super) struct Zoomed {
    /// Seconds of each step that was waited for.
    pub times: Vec<f64>,
    /// The frames of the zooms that did not wait.
    pub flowing: Range<usize>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        window: &'a mut Offscreen,
        info: &'a SlideInfo,
        view: Vec2,
        keeps_answering: bool,
    ) -> Self {
        Self { window, info, view, keeps_answering, seen: Vec::new() }
    }

    /// Seconds until each of `count` unseen fields around a place (fractions of the slide) was complete, each beside one before; fewer
    /// where the slide ends.
    pub(super) fn jumps(&mut self, scale: f64, around: (f64, f64), count: usize) -> anyhow::Result<Vec<f64>> {
        let (width, height) = (f64::from(self.info.width()), f64::from(self.info.height()));
        let (across, down) = (f64::from(self.view.x) * scale, f64::from(self.view.y) * scale);
        let start = (width * around.0, height * around.1);
        // All of the slide lies within so many rings.
        let rings = (width / across).max(height / down).ceil() as usize + 1;
        let mut times = Vec::with_capacity(count);
        let places = spiral((2 * rings + 1).pow(2));
        let places = places.map(|(x, y)| (start.0 + f64::from(x) * across, start.1 + f64::from(y) * down));
        for (index, place) in places.enumerate() {
            let is_on_slide = (0.0..width).contains(&place.0) && (0.0..height).contains(&place.1);
            if !is_on_slide || self.has_seen(scale, place, (across, down)) {
                continue;
            }
            let secs = self.look_at(scale, place)?;
            // The first field is beside none.
            if index > 0 {
                times.push(secs);
            }
            if times.len() >= count {
                break;
            }
        }
        Ok(times)
    }

    fn has_seen(&self, scale: f64, place: (f64, f64), size: (f64, f64)) -> bool {
        self.seen.iter().any(|&(seen_scale, seen)| {
            seen_scale == scale
                && (seen.0 - place.0).abs() < size.0 - 1.0
                && (seen.1 - place.1).abs() < size.1 - 1.0
        })
    }

    fn look_at(&mut self, scale: f64, place: (f64, f64)) -> anyhow::Result<f64> {
        self.seen.push((scale, place));
        if self.keeps_answering && !self.window.app.state().is_asking() {
            self.window.app.commands().ask(AskCommand::Again);
        }
        self.complete(scale, place)
    }

    /// Seconds from the wish, which a window at rest is given, until all of the place is drawn from its own tiles.
    fn complete(&mut self, scale: f64, place: (f64, f64)) -> anyhow::Result<f64> {
        self.window.rest();
        let wished = Instant::now();
        self.wish(scale, place)?;
        if !self.window.app.is_view_complete() {
            self.window.until("a field of view", App::is_view_complete)?;
        }
        Ok(wished.elapsed().as_secs_f64())
    }

    /// With the frame in which the wish is carried out: before it, the old place is complete.
    fn wish(&mut self, scale: f64, place: (f64, f64)) -> anyhow::Result<()> {
        self.window.app.commands().view(ViewCommand::Scale(scale, 1.0));
        self.window.app.commands().view(ViewCommand::LookAt(place));
        self.window.frame()
    }

    /// From the whole slide to its finest pixels and back, at three places with waiting for each step, and at three without.
    pub(super) fn zoom(&mut self) -> anyhow::Result<Zoomed> {
        self.window.app.commands().view(ViewCommand::Fit);
        self.window.frame()?;
        self.window.until("the whole slide", App::is_view_complete)?;
        let shown = self.window.app.state().shown_slide().and_then(|slide| slide.viewport);
        let whole = shown.map_or(1.0, |viewport| viewport.slide_per_point);
        let (width, height) = (f64::from(self.info.width()), f64::from(self.info.height()));
        let places = ZOOM_PLACES.map(|(x, y)| (x * width, y * height));
        let (waited, flown) = places.split_at(ZOOM_PLACES.len() / 2);
        let mut times = Vec::new();
        for &place in waited {
            for scale in zoom_scales(whole) {
                times.push(self.complete(scale, place)?);
            }
        }
        let first = self.window.frames().len();
        for &place in flown {
            for scale in zoom_scales(whole) {
                self.wish(scale, place)?;
            }
        }
        let flowing = first..self.window.frames().len();
        self.window.until("the end of the zoom", App::is_view_complete)?;
        Ok(Zoomed { times, flowing })
    }
}

/// From `whole` to 1 in equal ratios, and back.
fn zoom_scales(whole: f64) -> impl Iterator<Item = f64> {
    let steps = (1..=ZOOM_STEPS).chain((0..ZOOM_STEPS).rev());
    steps.map(move |step| whole.powf(1.0 - f64::from(step) / f64::from(ZOOM_STEPS)))
}

/// The cells of a grid from its middle outwards, each beside the one before.
fn spiral(count: usize) -> impl Iterator<Item = (i32, i32)> {
    const TURNS: [(i32, i32); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];
    // Sides of 1, 1, 2, 2, 3, 3 … cells.
    let steps = (0_usize..).flat_map(|side| std::iter::repeat_n(TURNS[side % 4], side / 2 + 1));
    let cells = steps.scan((0, 0), |at, (right, down)| {
        let here = *at;
        *at = (here.0 + right, here.1 + down);
        Some(here)
    });
    cells.take(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spiral_visits_every_cell_once_and_each_beside_the_one_before() {
        let cells: Vec<(i32, i32)> = spiral(25).collect();
        assert_eq!(cells[..5], [(0, 0), (1, 0), (1, 1), (0, 1), (-1, 1)]);
        for pair in cells.windows(2) {
            assert_eq!((pair[0].0 - pair[1].0).abs() + (pair[0].1 - pair[1].1).abs(), 1, "{pair:?}");
        }
        let mut sorted = cells.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 25);
        assert!(cells.iter().all(|(x, y)| x.abs() <= 2 && y.abs() <= 2), "{cells:?}");
    }

    #[test]
    fn the_zoom_goes_to_the_finest_pixels_and_back_in_equal_steps() {
        let scales: Vec<f64> = zoom_scales(64.0).collect();
        assert_eq!(scales.len(), 80);
        assert!((scales[39] - 1.0).abs() < 1e-12 && (scales[79] - 64.0).abs() < 1e-9);
        let ratio = 64.0_f64.powf(1.0 / 40.0);
        assert!(scales[..40].windows(2).all(|pair| (pair[0] / pair[1] - ratio).abs() < 1e-9));
        assert!(scales[40..].windows(2).all(|pair| (pair[1] / pair[0] - ratio).abs() < 1e-9));
    }
}
