//! What part of a slide the screen shows: a centre in level-0 pixels and a scale, and the transforms between the two spaces.
//!
//! Screen means points of the window (not physical pixels); slide means level-0 pixels. Nothing here knows levels or tiles.

use egui::{Pos2, Rect, Vec2, vec2};

/// Screen points per level-0 pixel at the most.
const LARGEST_ZOOM: f64 = 16.0;
/// How much smaller than fitting the slide may become.
const SMALLEST_OF_FIT: f64 = 0.5;
/// The part of the screen that stays empty around a slide that was fitted.
const FIT_MARGIN: f64 = 0.04;
/// A quarter of a turn.
const QUARTER: f64 = std::f64::consts::FRAC_PI_2;
/// How far from a quarter turn a free turn still ends at it: 2°.
const SNAP: f64 = std::f64::consts::PI / 90.0;

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
    /// How far the slide is turned clockwise on screen, in radians.
    pub rotation: f64,
    /// Whether left and right are exchanged, before it is turned.
    pub is_mirrored: bool,
    /// Level-0 width and height of the slide.
    slide_size: (f64, f64),
}

impl Viewport {
    /// The whole slide in the middle of `screen`.
    pub fn fitted(slide_width: u32, slide_height: u32, screen: Vec2) -> Self {
        let mut viewport = Self {
            centre: (0.0, 0.0),
            slide_per_point: 1.0,
            rotation: 0.0,
            is_mirrored: false,
            slide_size: (f64::from(slide_width.max(1)), f64::from(slide_height.max(1))),
        };
        viewport.fit(screen);
        viewport
    }

    /// Whether it was made for a slide of this size.
    pub fn is_of(&self, slide_width: u32, slide_height: u32) -> bool {
        self.slide_size == (f64::from(slide_width.max(1)), f64::from(slide_height.max(1)))
    }

    /// Shows the whole slide, turned as it is.
    pub fn fit(&mut self, screen: Vec2) {
        self.centre = (self.slide_size.0 / 2.0, self.slide_size.1 / 2.0);
        self.slide_per_point = self.scale_that_fits(screen, self.slide_size);
    }

    /// Shows all of a rectangle on the slide, as large as it can be within the limits.
    pub fn show_all(&mut self, screen: Vec2, rect: SlideRect) {
        let scale = self.scale_that_fits(screen, (rect.width(), rect.height()));
        self.set_scale(screen, scale);
        self.look_at((f64::midpoint(rect.x0, rect.x1), f64::midpoint(rect.y0, rect.y1)));
    }

    /// The scale at which the upright box around a turned rectangle of this size just fits, with a margin.
    fn scale_that_fits(&self, screen: Vec2, (width, height): (f64, f64)) -> f64 {
        let room = 1.0 - FIT_MARGIN;
        let (sin, cos) = (self.rotation.sin().abs(), self.rotation.cos().abs());
        let (box_width, box_height) = (cos * width + sin * height, sin * width + cos * height);
        let across = box_width / (f64::from(screen.x.max(1.0)) * room);
        let down = box_height / (f64::from(screen.y.max(1.0)) * room);
        across.max(down)
    }

    /// Level-0 width and height of the slide.
    pub fn slide_size(&self) -> (f64, f64) {
        self.slide_size
    }

    /// Whether the slide's rows are rows of the screen, left to right.
    pub fn is_upright(&self) -> bool {
        self.rotation == 0.0 && !self.is_mirrored
    }

    /// A direction on the slide, in level-0 pixels, as points of the screen.
    pub fn screen_vector(&self, (x, y): (f64, f64)) -> Vec2 {
        let x = if self.is_mirrored { -x } else { x };
        let (sin, cos) = self.rotation.sin_cos();
        let scale = self.slide_per_point;
        vec2(((cos * x - sin * y) / scale) as f32, ((sin * x + cos * y) / scale) as f32)
    }

    /// A direction on the screen as level-0 pixels of the slide.
    pub fn slide_vector(&self, points: Vec2) -> (f64, f64) {
        let (sin, cos) = self.rotation.sin_cos();
        let (across, down) = (f64::from(points.x), f64::from(points.y));
        let x = (cos * across + sin * down) * self.slide_per_point;
        let y = (cos * down - sin * across) * self.slide_per_point;
        (if self.is_mirrored { -x } else { x }, y)
    }

    /// The screen position of a place on the slide.
    pub fn screen_from_slide(&self, screen: Rect, (x, y): (f64, f64)) -> Pos2 {
        screen.center() + self.screen_vector((x - self.centre.0, y - self.centre.1))
    }

    /// The place on the slide under a screen position.
    pub fn slide_from_screen(&self, screen: Rect, position: Pos2) -> (f64, f64) {
        let (x, y) = self.slide_vector(position - screen.center());
        (self.centre.0 + x, self.centre.1 + y)
    }

    /// The corners on screen of a rectangle on the slide: its left top, right top, right bottom, left bottom.
    pub fn screen_quad(&self, screen: Rect, rect: SlideRect) -> [Pos2; 4] {
        [(rect.x0, rect.y0), (rect.x1, rect.y0), (rect.x1, rect.y1), (rect.x0, rect.y1)]
            .map(|corner| self.screen_from_slide(screen, corner))
    }

    /// The smallest upright rectangle on screen around a rectangle on the slide; the same as that while the slide is upright.
    pub fn screen_rect(&self, screen: Rect, rect: SlideRect) -> Rect {
        Rect::from_points(&self.screen_quad(screen, rect))
    }

    /// The smallest rectangle of the slide's plane around what `screen` shows of it; it may reach past the slide.
    pub fn visible(&self, screen: Rect) -> SlideRect {
        let corners = [screen.left_top(), screen.right_top(), screen.right_bottom(), screen.left_bottom()]
            .map(|corner| self.slide_from_screen(screen, corner));
        let nothing =
            SlideRect { x0: f64::INFINITY, y0: f64::INFINITY, x1: f64::NEG_INFINITY, y1: f64::NEG_INFINITY };
        corners.iter().fold(nothing, |around, &(x, y)| SlideRect {
            x0: around.x0.min(x),
            y0: around.y0.min(y),
            x1: around.x1.max(x),
            y1: around.y1.max(y),
        })
    }

    /// Moves the slide with the pointer by `delta` points.
    pub fn pan(&mut self, delta: Vec2) {
        let (x, y) = self.slide_vector(delta);
        self.look_at((self.centre.0 - x, self.centre.1 - y));
    }

    /// Puts a place into the middle of the screen; places beside the slide become its edge.
    pub fn look_at(&mut self, (x, y): (f64, f64)) {
        self.centre = (x.clamp(0.0, self.slide_size.0), y.clamp(0.0, self.slide_size.1));
    }

    /// Turns the slide clockwise by `angle` radians around the middle of the screen.
    pub fn turn(&mut self, angle: f64) {
        self.turn_to(self.rotation + angle);
    }

    /// Turns the slide to `angle` radians clockwise, around the middle of the screen.
    pub fn turn_to(&mut self, angle: f64) {
        if !angle.is_finite() {
            return;
        }
        // Twenty-four steps of 15° are upright again, not nearly so.
        let quarters = (angle / QUARTER).round();
        let angle = if (angle - quarters * QUARTER).abs() < 1e-9 { quarters * QUARTER } else { angle };
        let turned = angle.rem_euclid(std::f64::consts::TAU);
        self.rotation = if std::f64::consts::TAU - turned < 1e-9 { 0.0 } else { turned };
    }

    /// Exchanges left and right of the screen, around its middle.
    pub fn mirror(&mut self) {
        self.is_mirrored = !self.is_mirrored;
        // What was turned clockwise is seen turned the other way.
        self.turn_to(-self.rotation);
    }

    /// Magnifies by `factor`, with what is under `pointer` staying there.
    pub fn zoom_at(&mut self, screen: Rect, pointer: Pos2, factor: f64) {
        if !factor.is_finite() || factor <= 0.0 {
            return;
        }
        let under = self.slide_from_screen(screen, pointer);
        self.set_scale(screen.size(), self.slide_per_point / factor);
        let (x, y) = self.slide_vector(pointer - screen.center());
        self.look_at((under.0 - x, under.1 - y));
    }

    /// Sets the scale within its limits, around the middle of the screen.
    pub fn set_scale(&mut self, screen: Vec2, slide_per_point: f64) {
        let fitting = self.scale_that_fits(screen, self.slide_size);
        let coarsest = (fitting / SMALLEST_OF_FIT).max(1.0);
        self.slide_per_point = slide_per_point.clamp(1.0 / LARGEST_ZOOM, coarsest);
    }
}

/// The angle, in radians, at which a free turn to `angle` ends: quarter turns draw it to themselves.
pub fn snapped_angle(angle: f64) -> f64 {
    let nearest = (angle / QUARTER).round() * QUARTER;
    if (angle - nearest).abs() <= SNAP { nearest } else { angle }
}

#[cfg(test)]
mod tests {
    use egui::{pos2, vec2};

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

    #[test]
    fn a_turned_and_mirrored_slide_keeps_what_is_under_the_pointer() {
        let mut viewport = Viewport::fitted(20_000, 15_000, screen().size());
        (viewport.rotation, viewport.is_mirrored) = (0.7, true);
        let pointer = pos2(500.0, 280.0);
        let under = viewport.slide_from_screen(screen(), pointer);
        assert!((viewport.screen_from_slide(screen(), under) - pointer).length() < 0.01);
        viewport.zoom_at(screen(), pointer, 2.5);
        assert!(close(viewport.slide_from_screen(screen(), pointer), under));
        viewport.pan(vec2(30.0, -10.0));
        assert!(close(viewport.slide_from_screen(screen(), pointer + vec2(30.0, -10.0)), under));
    }

    #[test]
    fn a_quarter_turn_goes_clockwise() {
        let mut viewport = Viewport::fitted(1000, 1000, screen().size());
        viewport.rotation = std::f64::consts::FRAC_PI_2;
        let right = viewport.screen_vector((viewport.slide_per_point, 0.0));
        assert!((right - vec2(0.0, 1.0)).length() < 1e-6, "{right:?}: right points down");
        let seen = viewport.visible(screen());
        assert!((seen.width() / seen.height() - 0.75).abs() < 1e-6, "800 × 600 points show 3 : 4");
    }

    #[test]
    fn a_turned_slide_is_fitted_by_the_box_around_it() {
        let mut viewport = Viewport::fitted(40_000, 10_000, screen().size());
        for degrees in [0.0_f64, 15.0, 45.0, 90.0, 200.0, 345.0] {
            viewport.turn_to(degrees.to_radians());
            viewport.fit(screen().size());
            let shown = viewport.screen_rect(screen(), SlideRect::of_size(40_000.0, 10_000.0));
            assert!(screen().contains_rect(shown), "{degrees}°: {shown:?}");
            let fills = (shown.width() / screen().width()).max(shown.height() / screen().height());
            assert!(fills > 0.95, "{degrees}°: {fills}");
        }
    }

    #[test]
    fn twenty_four_steps_of_fifteen_degrees_are_upright_again() {
        let mut viewport = Viewport::fitted(20_000, 15_000, screen().size());
        for direction in [1.0, -1.0] {
            for step in 1..=24 {
                viewport.turn(direction * 15.0_f64.to_radians());
                assert_eq!(viewport.is_upright(), step == 24, "step {step}: {}", viewport.rotation);
            }
        }
        viewport.turn_to(f64::NAN);
        assert!(viewport.is_upright());
    }

    #[test]
    fn mirroring_exchanges_left_and_right_of_the_screen_also_when_turned() {
        let mut viewport = Viewport::fitted(20_000, 15_000, screen().size());
        viewport.turn_to(0.6);
        let place = (14_000.0, 3_000.0);
        let before = viewport.screen_from_slide(screen(), place);
        viewport.mirror();
        let after = viewport.screen_from_slide(screen(), place);
        let mirrored = pos2(2.0 * screen().center().x - before.x, before.y);
        assert!((after - mirrored).length() < 0.01, "{after:?} {mirrored:?}");
        viewport.mirror();
        assert!((viewport.screen_from_slide(screen(), place) - before).length() < 0.01);
    }

    #[test]
    fn a_free_turn_ends_at_a_quarter_turn_within_two_degrees() {
        let degrees = |angle: f64| snapped_angle(angle.to_radians()).to_degrees();
        for (angle, ends) in
            [(1.9, 0.0), (-1.5, 0.0), (91.0, 90.0), (179.0, 180.0), (45.0, 45.0), (87.0, 87.0)]
        {
            assert!((degrees(angle) - ends).abs() < 1e-9, "{angle}");
        }
    }

    #[test]
    fn a_region_is_shown_whole() {
        let mut viewport = Viewport::fitted(20_000, 15_000, screen().size());
        let region = SlideRect { x0: 1000.0, y0: 2000.0, x1: 3000.0, y1: 2500.0 };
        viewport.turn_to(0.4);
        viewport.show_all(screen().size(), region);
        let shown = viewport.screen_rect(screen(), region);
        assert!(screen().contains_rect(shown) && shown.width() > 0.9 * screen().width(), "{shown:?}");
        // A point has no size: as large as the limits allow.
        viewport.show_all(screen().size(), SlideRect { x0: 5.0, y0: 5.0, x1: 5.0, y1: 5.0 });
        assert!((viewport.slide_per_point - 1.0 / LARGEST_ZOOM).abs() < 1e-9);
    }
}
