//! What is drawn over the slide: scale bar, magnification, overview, patches. Microns where the slide says its scale, else pixels.
//!
//! The numbers are functions of their own, so that they can be tested without a screen.

use egui::{
    Align2, Color32, CornerRadius, FontId, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, Vec2, pos2, vec2,
};

use super::viewport::{SlideRect, Viewport};
use crate::slide::{Mpp, Region};
use crate::window::theme;

/// A scale bar is between half of this and this long, in points.
const LONGEST_BAR: f64 = 160.0;
const PLATE_PADDING: Vec2 = vec2(6.0, 3.0);

/// A round length and how long it is on screen.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleBar {
    /// Points.
    pub length: f64,
    pub label: String,
}

impl ScaleBar {
    /// For a scale of `slide_per_point` level-0 pixels a point.
    pub fn new(mpp: Option<Mpp>, slide_per_point: f64) -> Self {
        let unit_per_point = mpp.map_or(1.0, |mpp| mpp.x) * slide_per_point;
        let longest = LONGEST_BAR * unit_per_point;
        let power = 10_f64.powf(longest.log10().floor());
        let round = [5.0, 2.0, 1.0].into_iter().map(|n| n * power).find(|length| *length <= longest);
        let length = round.unwrap_or(power);
        let label = match mpp {
            Some(_) if length >= 1000.0 => format!("{} mm", trimmed(length / 1000.0)),
            Some(_) => format!("{} µm", trimmed(length)),
            None => format!("{} px", trimmed(length)),
        };
        Self { length: length / unit_per_point, label }
    }
}

fn trimmed(length: f64) -> String {
    let text = format!("{length:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The magnification that a scale corresponds to (0.5 µm a screen pixel is 20×); without mpp, screen pixels per level-0 pixel.
/// Beyond the slide's own pixels it says so.
pub fn magnification(mpp: Option<Mpp>, slide_per_pixel: f64) -> String {
    let words = mpp.map_or_else(
        || format!("{} %", significant(100.0 / slide_per_pixel)),
        |mpp| format!("{}×", significant(10.0 / (mpp.mean() * slide_per_pixel))),
    );
    if slide_per_pixel < 0.99 { format!("{words} digital") } else { words }
}

/// At least two digits, no more decimals than they need.
fn significant(number: f64) -> String {
    let decimals = if number >= 9.95 {
        0
    } else if number >= 0.995 {
        1
    } else {
        2
    };
    let text = format!("{number:.decimals$}");
    if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Objectives that can be chosen on a slide with this scale, with their level-0 pixels per screen pixel; up to the slide's own.
pub fn objectives(mpp: Mpp) -> Vec<(f64, f64)> {
    let native = 10.0 / mpp.mean();
    [1.0, 2.5, 5.0, 10.0, 20.0, 40.0]
        .into_iter()
        .filter(|objective| *objective <= native * 1.15)
        // 0.2533 µm/px is called 40×: within a few percent the slide's own pixels are what is wanted.
        .map(|objective| {
            let scale = native / objective;
            (objective, if (scale - 1.0).abs() < 0.15 { 1.0 } else { scale })
        })
        .collect()
}

/// Words on a dark plate whose `anchor` is at `at`; returns the plate.
pub fn plate(painter: &Painter, at: Pos2, anchor: Align2, words: &str) -> Rect {
    let galley = painter.layout_no_wrap(words.to_owned(), FontId::proportional(theme::CAPTION), theme::MARK);
    let rect = anchor.anchor_size(at, galley.size() + 2.0 * PLATE_PADDING);
    painter.rect_filled(rect, CornerRadius::same(3), theme::PLATE);
    painter.galley(rect.min + PLATE_PADDING, galley, theme::MARK);
    rect
}

/// The scale bar with its lower left corner at `at`.
pub fn draw_scale_bar(painter: &Painter, at: Pos2, bar: &ScaleBar) -> Rect {
    let galley = painter.layout_no_wrap(bar.label.clone(), FontId::proportional(theme::CAPTION), theme::MARK);
    let width = (bar.length as f32).max(galley.size().x);
    let size = vec2(width, galley.size().y + 6.0) + 2.0 * PLATE_PADDING;
    let rect = Align2::LEFT_BOTTOM.anchor_size(at, size);
    painter.rect_filled(rect, CornerRadius::same(3), theme::PLATE);
    let words_at = pos2(rect.center().x - galley.size().x / 2.0, rect.min.y + PLATE_PADDING.y);
    painter.galley(words_at, galley, theme::MARK);
    let y = rect.max.y - PLATE_PADDING.y - 1.0;
    let left = rect.center().x - bar.length as f32 / 2.0;
    let right = left + bar.length as f32;
    let stroke = Stroke::new(1.5, theme::MARK);
    painter.line_segment([pos2(left, y), pos2(right, y)], stroke);
    for x in [left, right] {
        painter.line_segment([pos2(x, y - 4.0), pos2(x, y)], stroke);
    }
    rect
}

/// Where the overview lies: top right in `screen`, with the slide's aspect.
pub fn overview_rect(screen: Rect, slide_width: u32, slide_height: u32) -> Rect {
    let (width, height) = (slide_width.max(1) as f32, slide_height.max(1) as f32);
    let scale = (theme::OVERVIEW / width.max(height)).min(screen.width() * 0.3 / width);
    let size = vec2((width * scale).max(8.0), (height * scale).max(8.0));
    Align2::RIGHT_TOP.anchor_size(screen.right_top() + vec2(-theme::GRID, theme::GRID), size)
}

/// The corners of what is in view, inside the overview at `overview`; they may reach past it.
pub fn seen_in_overview(overview: Rect, viewport: &Viewport, screen: Rect, slide: SlideRect) -> [Pos2; 4] {
    let place = |corner: Pos2| {
        let (x, y) = viewport.slide_from_screen(screen, corner);
        pos2(
            overview.min.x + (x / slide.width()) as f32 * overview.width(),
            overview.min.y + (y / slide.height()) as f32 * overview.height(),
        )
    };
    let corners =
        [screen.left_top(), screen.right_top(), screen.right_bottom(), screen.left_bottom()].map(place);
    // Still to be seen at the highest magnification.
    let longest = (corners[2] - corners[0]).length().max((corners[3] - corners[1]).length());
    let larger = (SMALLEST_SEEN / longest.max(1e-3)).max(1.0);
    let middle = corners[0].lerp(corners[2], 0.5);
    corners.map(|corner| middle + (corner - middle) * larger)
}

/// The diagonal, in points, below which the outline in the overview does not shrink.
const SMALLEST_SEEN: f32 = 6.0;

/// A closed line around four corners that is seen on light and dark tissue.
pub fn outline_quad(painter: &Painter, corners: [Pos2; 4], width: f32, colour: Color32) {
    let casing = Stroke::new(width + 2.0, theme::MARK_CASING);
    painter.add(Shape::closed_line(corners.to_vec(), casing));
    painter.add(Shape::closed_line(corners.to_vec(), Stroke::new(width, colour)));
}

/// An arrow to the slide's own upper edge, and by how much it is turned, on a plate whose `anchor` is at `at`; returns the plate.
pub fn draw_turn(painter: &Painter, at: Pos2, anchor: Align2, viewport: &Viewport) -> Rect {
    let words = turn_in_words(viewport);
    let galley = painter.layout_no_wrap(words, FontId::proportional(theme::CAPTION), theme::MARK);
    let side = galley.size().y + 4.0;
    let size = vec2(side + 4.0 + galley.size().x, side) + 2.0 * PLATE_PADDING;
    let rect = anchor.anchor_size(at, size);
    painter.rect_filled(rect, CornerRadius::same(3), theme::PLATE);
    let middle = rect.min + PLATE_PADDING + Vec2::splat(side / 2.0);
    let up = viewport.screen_vector((0.0, -1.0)).normalized() * (side / 2.0);
    painter.arrow(middle - up, 2.0 * up, Stroke::new(1.5, theme::MARK));
    let words_at = pos2(rect.min.x + PLATE_PADDING.x + side + 4.0, middle.y - galley.size().y / 2.0);
    painter.galley(words_at, galley, theme::MARK);
    rect
}

/// How a slide is turned, such as `15°, mirrored`; empty when it is upright.
pub fn turn_in_words(viewport: &Viewport) -> String {
    let degrees = viewport.rotation.to_degrees();
    let turn = if degrees == 0.0 { String::new() } else { format!("{}°", trimmed_to_tenths(degrees)) };
    match (turn.is_empty(), viewport.is_mirrored) {
        (_, false) => turn,
        (true, true) => "mirrored".to_owned(),
        (false, true) => format!("{turn}, mirrored"),
    }
}

fn trimmed_to_tenths(number: f64) -> String {
    let text = format!("{number:.1}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A line that is seen on light and dark tissue.
pub fn outline(painter: &Painter, rect: Rect, width: f32, colour: Color32) {
    let casing = Stroke::new(width + 2.0, theme::MARK_CASING);
    painter.rect_stroke(rect, CornerRadius::ZERO, casing, StrokeKind::Middle);
    painter.rect_stroke(rect, CornerRadius::ZERO, Stroke::new(width, colour), StrokeKind::Middle);
}

/// A patch with its number.
pub fn draw_patch(painter: &Painter, rect: Rect, number: usize, look: PatchMark) {
    let (width, colour) = match look {
        PatchMark::Selected => (3.0, theme::MARK_SELECTED),
        PatchMark::Asked => (1.5, theme::MARK),
        PatchMark::LeftOut => (1.0, theme::BLANK),
    };
    outline(painter, rect, width, colour);
    plate(painter, rect.left_top(), Align2::LEFT_BOTTOM, &number.to_string());
}

/// How a patch is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchMark {
    Selected,
    /// The next question is about it.
    Asked,
    LeftOut,
}

/// A region as a rectangle of the slide's plane.
pub fn rect_of(region: &Region) -> SlideRect {
    let (x, y) = (region.x as f64, region.y as f64);
    SlideRect { x0: x, y0: y, x1: x + f64::from(region.w), y1: y + f64::from(region.h) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MPP: Option<Mpp> = Some(Mpp { x: 0.5, y: 0.5 });

    #[test]
    fn the_scale_bar_is_round_and_as_long_as_it_says() {
        for (slide_per_point, label) in [(1.0, "50 µm"), (0.1, "5 µm"), (4.0, "200 µm"), (40.0, "2 mm")] {
            let bar = ScaleBar::new(MPP, slide_per_point);
            assert_eq!(bar.label, label);
            assert!(bar.length <= LONGEST_BAR && bar.length >= LONGEST_BAR / 2.6, "{}", bar.length);
        }
        let bar = ScaleBar::new(MPP, 1.0);
        assert!((bar.length - 100.0).abs() < 1e-9, "50 µm are 100 px, a point each");
        assert_eq!(ScaleBar::new(None, 1.0).label, "100 px");
    }

    #[test]
    fn half_a_micron_a_pixel_is_called_twenty_times() {
        assert_eq!(magnification(MPP, 1.0), "20×");
        assert_eq!(magnification(MPP, 8.0), "2.5×");
        assert_eq!(magnification(MPP, 100.0), "0.2×");
        assert_eq!(magnification(MPP, 0.5), "40× digital");
        assert_eq!(magnification(None, 2.0), "50 %");
        assert_eq!(magnification(None, 0.5), "200 % digital");
    }

    #[test]
    fn objectives_end_with_the_slides_own() {
        let of = |mpp: f64| objectives(Mpp { x: mpp, y: mpp });
        let names = |mpp: f64| of(mpp).into_iter().map(|(objective, _)| objective).collect::<Vec<_>>();
        assert_eq!(names(0.5), [1.0, 2.5, 5.0, 10.0, 20.0]);
        assert_eq!(names(0.2533), [1.0, 2.5, 5.0, 10.0, 20.0, 40.0]);
        assert_eq!(of(0.2533).last(), Some(&(40.0, 1.0)));
    }

    #[test]
    fn the_outline_in_the_overview_shows_what_is_in_view() {
        let screen = Rect::from_min_size(pos2(0.0, 0.0), vec2(1000.0, 800.0));
        let whole = SlideRect::of_size(20_000.0, 10_000.0);
        let overview = overview_rect(screen, 20_000, 10_000);
        assert!((overview.width() - theme::OVERVIEW).abs() < 0.01 && screen.contains_rect(overview));
        let mut viewport = Viewport::fitted(20_000, 10_000, screen.size());
        viewport.set_scale(screen.size(), 10.0);
        viewport.look_at((15_000.0, 5_000.0));
        let seen = Rect::from_points(&seen_in_overview(overview, &viewport, screen, whole));
        let fraction = (seen.center().x - overview.min.x) / overview.width();
        assert!((fraction - 0.75).abs() < 0.01);
        assert!((seen.width() / overview.width() - 0.5).abs() < 0.01);

        // Turned by a quarter, what is high on screen is wide on the slide.
        viewport.turn_to(std::f64::consts::FRAC_PI_2);
        let turned = Rect::from_points(&seen_in_overview(overview, &viewport, screen, whole));
        assert!((turned.width() / overview.width() - 0.4).abs() < 0.01, "{turned:?}");

        viewport.set_scale(screen.size(), 0.1);
        let corners = seen_in_overview(overview, &viewport, screen, whole);
        assert!((corners[2] - corners[0]).length() > 5.9, "still to be seen");
    }

    #[test]
    fn a_turn_is_said_in_degrees() {
        let mut viewport = Viewport::fitted(1000, 1000, vec2(100.0, 100.0));
        assert_eq!(turn_in_words(&viewport), "");
        viewport.turn(15.0_f64.to_radians());
        assert_eq!(turn_in_words(&viewport), "15°");
        viewport.is_mirrored = true;
        assert_eq!(turn_in_words(&viewport), "15°, mirrored");
        viewport.turn_to(0.0);
        assert_eq!(turn_in_words(&viewport), "mirrored");
        viewport.is_mirrored = false;
        viewport.turn_to(12.34_f64.to_radians());
        assert_eq!(turn_in_words(&viewport), "12.3°");
    }
}
