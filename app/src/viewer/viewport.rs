//! What part of a slide the screen shows: a centre in level-0 pixels and a scale, and the transforms between the two spaces.
//!
//! Screen means points of the window (not physical pixels); slide means level-0 pixels. Nothing here knows levels or tiles.

use egui::{Pos2, Rect, Vec2, pos2};

/// Screen points per level-0 pixel at the most.
const LARGEST_ZOOM: f64 = 16.0;
/// How much smaller than fitting the slide may become.
const SMALLEST_OF_FIT: f64 = 0.5;
/// The part of the screen that stays empty around a slide that was fitted.
const FIT_MARGIN: f64 = 0.04;

/// A rectangle in level-0 pixels with a fractional place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlideRect {
    pub x0: f64,
    pub y0: f64,
    pub x1: f64,
    pub y1: f64,
}

impl SlideRect {
    /// The whole of a slide with this level-0 size.
    pub fn of_size(width: f64, height: f64) -> Self {
        Self { x0: 0.0, y0: 0.0, x1: width, y1: height }
    }

    /// Level-0 pixels.
    pub fn width(&self) -> f64 {
        self.x1 - self.x0
    }

    /// Level-0 pixels.
    pub fn height(&self) -> f64 {
        self.y1 - self.y0
    }

    /// What both have in common; `None` when that has no area.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let both = Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        };
        (both.x0 < both.x1 && both.y0 < both.y1).then_some(both)
    }

    /// Whether a point lies inside.
    pub fn contains(&self, (x, y): (f64, f64)) -> bool {
        self.x0 <= x && x < self.x1 && self.y0 <= y && y < self.y1
    }
}

/// Where the middle of the screen lies on the slide, and how large the slide is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewport {
    /// Level-0 pixels.
    pub centre: (f64, f64),
    /// Level-0 pixels per screen point.
    pub slide_per_point: f64,
    /// Level-0 width and height of the slide.
    slide_size: (f64, f64),
}

impl Viewport {
    /// The whole slide in the middle of `screen`.
    pub fn fitted(slide_width: u32, slide_height: u32, screen: Vec2) -> Self {
        let mut viewport = Self {
            centre: (0.0, 0.0),
            slide_per_point: 1.0,
            slide_size: (f64::from(slide_width.max(1)), f64::from(slide_height.max(1))),
        };
        viewport.fit(screen);
        viewport
    }

    /// Whether it was made for a slide of this size.
    pub fn is_of(&self, slide_width: u32, slide_height: u32) -> bool {
        self.slide_size == (f64::from(slide_width.max(1)), f64::from(slide_height.max(1)))
    }

    /// Shows the whole slide.
    pub fn fit(&mut self, screen: Vec2) {
        self.centre = (self.slide_size.0 / 2.0, self.slide_size.1 / 2.0);
        self.slide_per_point = self.fitting_scale(screen);
    }

    fn fitting_scale(&self, screen: Vec2) -> f64 {
        let room = 1.0 - FIT_MARGIN;
        let across = self.slide_size.0 / (f64::from(screen.x.max(1.0)) * room);
        let down = self.slide_size.1 / (f64::from(screen.y.max(1.0)) * room);
        across.max(down)
    }

    /// The screen position of a place on the slide.
    pub fn screen_from_slide(&self, screen: Rect, (x, y): (f64, f64)) -> Pos2 {
        let middle = screen.center();
        pos2(
            middle.x + ((x - self.centre.0) / self.slide_per_point) as f32,
            middle.y + ((y - self.centre.1) / self.slide_per_point) as f32,
        )
    }

    /// The place on the slide under a screen position.
    pub fn slide_from_screen(&self, screen: Rect, position: Pos2) -> (f64, f64) {
        let from_middle = position - screen.center();
        (
            self.centre.0 + f64::from(from_middle.x) * self.slide_per_point,
            self.centre.1 + f64::from(from_middle.y) * self.slide_per_point,
        )
    }

    /// The rectangle on screen that a rectangle on the slide covers.
    pub fn screen_rect(&self, screen: Rect, rect: SlideRect) -> Rect {
        Rect::from_min_max(
            self.screen_from_slide(screen, (rect.x0, rect.y0)),
            self.screen_from_slide(screen, (rect.x1, rect.y1)),
        )
    }

    /// What `screen` shows of the plane that the slide lies in; it may reach past the slide.
    pub fn visible(&self, screen: Rect) -> SlideRect {
        let (x0, y0) = self.slide_from_screen(screen, screen.min);
        let (x1, y1) = self.slide_from_screen(screen, screen.max);
        SlideRect { x0, y0, x1, y1 }
    }

    /// Moves the slide with the pointer by `delta` points.
    pub fn pan(&mut self, delta: Vec2) {
        let x = self.centre.0 - f64::from(delta.x) * self.slide_per_point;
        let y = self.centre.1 - f64::from(delta.y) * self.slide_per_point;
        self.look_at((x, y));
    }

    /// Puts a place into the middle of the screen; places beside the slide become its edge.
    pub fn look_at(&mut self, (x, y): (f64, f64)) {
        self.centre = (x.clamp(0.0, self.slide_size.0), y.clamp(0.0, self.slide_size.1));
    }

    /// Magnifies by `factor`, with what is under `pointer` staying there.
    pub fn zoom_at(&mut self, screen: Rect, pointer: Pos2, factor: f64) {
        if !factor.is_finite() || factor <= 0.0 {
            return;
        }
        let under = self.slide_from_screen(screen, pointer);
        self.set_scale(screen.size(), self.slide_per_point / factor);
        let from_middle = pointer - screen.center();
        self.look_at((
            under.0 - f64::from(from_middle.x) * self.slide_per_point,
            under.1 - f64::from(from_middle.y) * self.slide_per_point,
        ));
    }

    /// Sets the scale within its limits, around the middle of the screen.
    pub fn set_scale(&mut self, screen: Vec2, slide_per_point: f64) {
        let coarsest = (self.fitting_scale(screen) / SMALLEST_OF_FIT).max(1.0);
        self.slide_per_point = slide_per_point.clamp(1.0 / LARGEST_ZOOM, coarsest);
    }
}

#[cfg(test)]
mod tests {
    use egui::vec2;

    use super::*;

    fn screen() -> Rect {
        Rect::from_min_size(pos2(220.0, 36.0), vec2(800.0, 600.0))
    }

    fn close(a: (f64, f64), b: (f64, f64)) -> bool {
        (a.0 - b.0).abs() < 1e-3 && (a.1 - b.1).abs() < 1e-3
    }

    #[test]
    fn a_fitted_slide_lies_inside_the_screen_with_its_centre_in_the_middle() {
        let viewport = Viewport::fitted(40_000, 10_000, screen().size());
        let shown = viewport.screen_rect(screen(), SlideRect::of_size(40_000.0, 10_000.0));
        assert!(screen().contains_rect(shown), "{shown:?}");
        assert!((shown.center() - screen().center()).length() < 0.1);
        assert!(shown.width() > 0.9 * screen().width());
    }

    #[test]
    fn the_transforms_undo_each_other() {
        let mut viewport = Viewport::fitted(20_000, 15_000, screen().size());
        viewport.zoom_at(screen(), pos2(400.0, 300.0), 7.3);
        let place = (12_345.5, 6_789.25);
        let there = viewport.screen_from_slide(screen(), place);
        assert!(close(viewport.slide_from_screen(screen(), there), place) || viewport.slide_per_point > 1.0);
        let corner = viewport.slide_from_screen(screen(), screen().min);
        assert!(close(corner, (viewport.visible(screen()).x0, viewport.visible(screen()).y0)));
    }

    #[test]
    fn zooming_keeps_what_is_under_the_pointer() {
        let mut viewport = Viewport::fitted(20_000, 15_000, screen().size());
        let pointer = pos2(500.0, 280.0);
        let before = viewport.slide_from_screen(screen(), pointer);
        for factor in [2.0, 1.25, 3.0, 0.8] {
            viewport.zoom_at(screen(), pointer, factor);
            assert!(close(viewport.slide_from_screen(screen(), pointer), before));
        }
    }

    #[test]
    fn scale_and_place_stay_within_limits() {
        let mut viewport = Viewport::fitted(20_000, 15_000, screen().size());
        viewport.zoom_at(screen(), screen().center(), 1e9);
        assert!((viewport.slide_per_point - 1.0 / LARGEST_ZOOM).abs() < 1e-9);
        viewport.zoom_at(screen(), screen().center(), 1e-9);
        assert!(viewport.slide_per_point < 60.0, "half of the fitted size: {}", viewport.slide_per_point);
        viewport.pan(vec2(-1e9, 1e9));
        assert!(close(viewport.centre, (20_000.0, 0.0)));
        let before = viewport;
        viewport.zoom_at(screen(), screen().center(), f64::NAN);
        assert_eq!(viewport, before);
    }

    #[test]
    fn dragging_moves_the_slide_with_the_pointer() {
        let mut viewport = Viewport::fitted(20_000, 15_000, screen().size());
        let grabbed = viewport.slide_from_screen(screen(), pos2(600.0, 300.0));
        viewport.pan(vec2(40.0, -25.0));
        assert!(close(viewport.slide_from_screen(screen(), pos2(640.0, 275.0)), grabbed));
    }
}
