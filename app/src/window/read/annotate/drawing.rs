//! What is being drawn or measured: places so far, and what they come to. No window here, so that all of it is tested.

use crate::annotation::{Annotation, Form, Geometry, Place, edit, measure};
use crate::slide::Mpp;
use crate::viewer::tile_cache::SlideKey;
use crate::window::state::Mark;

/// How exactly a line drawn by hand is kept, in points of the screen.
const FREEHAND_POINTS: f64 = 0.75;

/// A shape that is not finished.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Drawing {
    pub slide: SlideKey,
    pub mark: Mark,
    /// Level-0 pixels, in the order in which they were given.
    pub places: Vec<Place>,
    /// Whether the button is held, so that its release ends it.
    pub is_dragged: bool,
}

/// What a drawing came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finished {
    Annotation(Box<Annotation>),
    /// Only looked at: what was measured, and where.
    Measured(Mark, Vec<Place>),
    Nothing,
}

/// Whether a tool takes one place after the other, by clicks.
pub(super) fn is_by_clicks(mark: Mark) -> bool {
    matches!(mark, Mark::Polygon | Mark::Line | Mark::Ruler | Mark::Area | Mark::Angle)
}

/// Whether a tool draws from where the button is pressed to where it is released.
pub(super) fn is_by_drag(mark: Mark) -> bool {
    matches!(mark, Mark::Rectangle | Mark::Ellipse | Mark::Freehand | Mark::Line | Mark::Ruler)
}

impl Drawing {
    /// The pointer's place as Shift would have it.
    pub(super) fn kept_to(&self, place: Place, is_shifted: bool) -> Place {
        match (self.places.last(), self.mark) {
            (Some(first), Mark::Rectangle | Mark::Ellipse) if is_shifted => edit::squared(*first, place),
            (Some(last), mark) if is_shifted && is_by_clicks(mark) => edit::snapped(*last, place),
            _ => place,
        }
    }

    /// The places with the pointer's as the last one.
    pub(super) fn with(&self, pointer: Place) -> Vec<Place> {
        let mut places = self.places.clone();
        places.push(pointer);
        places
    }

    /// Whether so many places are all that it can have.
    pub(super) fn is_full(&self) -> bool {
        match self.mark {
            Mark::Ruler => self.places.len() >= 2,
            Mark::Angle => self.places.len() >= 3,
            _ => false,
        }
    }

    /// What it is, at a scale of level-0 pixels a point.
    pub(super) fn finished(mut self, slide_per_point: f64) -> Finished {
        self.places.dedup();
        let (count, places) = (self.places.len(), self.places);
        match self.mark {
            Mark::Rectangle | Mark::Ellipse if count >= 2 => {
                let (a, b) = (places[0], places[count - 1]);
                // As good as a line: the button slipped.
                if (a[0] - b[0]).abs() < slide_per_point || (a[1] - b[1]).abs() < slide_per_point {
                    return Finished::Nothing;
                }
                let annotation = if self.mark == Mark::Ellipse {
                    Annotation::new(edit::ellipse(a, b), Form::Ellipse)
                } else {
                    Annotation::new(edit::rectangle(a, b), Form::Rectangle)
                };
                Finished::Annotation(Box::new(annotation))
            }
            Mark::Polygon if count >= 3 => area(places.into_iter().map(edit::rounded).collect()),
            Mark::Freehand => {
                let ring = edit::simplified(&places, FREEHAND_POINTS * slide_per_point);
                if ring.len() >= 3 { area(ring) } else { Finished::Nothing }
            }
            Mark::Line if count >= 2 => {
                let line = places.into_iter().map(edit::rounded).collect();
                Finished::Annotation(Box::new(Annotation::new(Geometry::Lines(vec![line]), Form::Plain)))
            }
            Mark::Ruler if count >= 2 => Finished::Measured(self.mark, places),
            Mark::Area | Mark::Angle if count >= 3 => Finished::Measured(self.mark, places),
            _ => Finished::Nothing,
        }
    }
}

fn area(ring: Vec<Place>) -> Finished {
    Finished::Annotation(Box::new(Annotation::new(edit::of_ring(ring), Form::Plain)))
}

/// The numbers that stand beside the pointer; `None` while there is nothing to say.
pub(super) fn in_words(mark: Mark, places: &[Place], mpp: Option<Mpp>) -> Option<String> {
    let (first, last) = (places.first()?, places.last()?);
    if places.len() < 2 {
        return None;
    }
    let sides = || {
        let across = measure::length_in_words(&[*first, [last[0], first[1]]], mpp);
        let down = measure::length_in_words(&[*first, [first[0], last[1]]], mpp);
        format!("{across} × {down}")
    };
    Some(match mark {
        Mark::Rectangle => {
            let square_px = (last[0] - first[0]).abs() * (last[1] - first[1]).abs();
            format!("{}, {}", sides(), measure::area_in_words(square_px, mpp))
        }
        Mark::Ellipse => {
            let square_px =
                (last[0] - first[0]).abs() * (last[1] - first[1]).abs() * std::f64::consts::PI / 4.0;
            format!("{}, {}", sides(), measure::area_in_words(square_px, mpp))
        }
        Mark::Polygon | Mark::Freehand | Mark::Area if places.len() >= 3 => {
            let ring = crate::annotation::Polygon { rings: vec![places.to_vec()] };
            let mut around = places.to_vec();
            around.push(*first);
            let outline = measure::length_in_words(&around, mpp);
            format!("{}, around {outline}", measure::area_in_words(ring.area(), mpp))
        }
        Mark::Line | Mark::Ruler | Mark::Polygon | Mark::Freehand | Mark::Area => {
            measure::length_in_words(places, mpp)
        }
        Mark::Angle => match places {
            [a, middle, b, ..] => measure::angle_in_words(measure::angle(*a, *middle, *b, mpp)),
            _ => measure::length_in_words(places, mpp),
        },
        Mark::Point | Mark::Field | Mark::Square | Mark::Counter => return None,
    })
}

/// The ring of a field, or the square, around a place; `None` for other tools and without a scale.
pub(super) fn field(mark: Mark, [x, y]: Place, mpp: Option<Mpp>) -> Option<Annotation> {
    let mpp = mpp?;
    let (side_um, name) = match mark {
        Mark::Field => (measure::field_um(), "Field of 0.24 mm²"),
        Mark::Square => (measure::SQUARE_UM, "Square of 1 mm²"),
        _ => return None,
    };
    let (half_x, half_y) = (side_um / mpp.x / 2.0, side_um / mpp.y / 2.0);
    let (a, b) = ([x - half_x, y - half_y], [x + half_x, y + half_y]);
    let mut annotation = if mark == Mark::Field {
        Annotation::new(edit::ellipse(a, b), Form::Ellipse)
    } else {
        Annotation::new(edit::rectangle(a, b), Form::Rectangle)
    };
    annotation.name = Some(name.to_owned());
    Some(annotation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MPP: Option<Mpp> = Some(Mpp { x: 0.5, y: 0.5 });

    fn drawing(mark: Mark, places: &[Place]) -> Drawing {
        Drawing { slide: SlideKey(1), mark, places: places.to_vec(), is_dragged: false }
    }

    #[test]
    fn each_tool_finishes_as_what_it_is_called() {
        let corners = [[0.0, 0.0], [40.0, 0.0], [40.0, 30.0]];
        for (mark, form) in [
            (Mark::Rectangle, Form::Rectangle),
            (Mark::Ellipse, Form::Ellipse),
            (Mark::Polygon, Form::Plain),
            (Mark::Freehand, Form::Plain),
        ] {
            let Finished::Annotation(annotation) = drawing(mark, &corners).finished(1.0) else {
                panic!("{mark:?}")
            };
            assert_eq!(annotation.form, form);
            assert!(matches!(annotation.geometry, Geometry::Polygons(_)));
        }
        let Finished::Annotation(line) = drawing(Mark::Line, &corners).finished(1.0) else {
            panic!("no line")
        };
        assert_eq!(line.geometry, Geometry::Lines(vec![corners.to_vec()]));
        let ruler = drawing(Mark::Ruler, &corners[..2]).finished(1.0);
        assert_eq!(ruler, Finished::Measured(Mark::Ruler, corners[..2].to_vec()));
    }

    #[test]
    fn what_slipped_or_has_too_few_places_is_nothing() {
        for (mark, places) in [
            (Mark::Rectangle, vec![[0.0, 0.0], [0.4, 30.0]]),
            (Mark::Polygon, vec![[0.0, 0.0], [5.0, 5.0], [5.0, 5.0]]),
            (Mark::Line, vec![[0.0, 0.0], [0.0, 0.0]]),
            (Mark::Freehand, vec![[0.0, 0.0], [9.0, 0.0]]),
            (Mark::Angle, vec![[0.0, 0.0], [9.0, 0.0]]),
            (Mark::Point, vec![[0.0, 0.0]]),
        ] {
            assert_eq!(drawing(mark, &places).finished(1.0), Finished::Nothing, "{mark:?}");
        }
    }

    #[test]
    fn numbers_have_units_and_are_pixels_without_a_scale() {
        let places = [[0.0, 0.0], [400.0, 300.0]];
        assert_eq!(in_words(Mark::Ruler, &places, MPP).unwrap(), "250 µm");
        assert_eq!(in_words(Mark::Ruler, &places, None).unwrap(), "500 px");
        assert_eq!(in_words(Mark::Rectangle, &places, MPP).unwrap(), "200 µm × 150 µm, 0.03 mm²");
        let angle = [[10.0, 0.0], [0.0, 0.0], [0.0, 10.0]];
        assert_eq!(in_words(Mark::Angle, &angle, None).unwrap(), "90.0°");
        assert_eq!(in_words(Mark::Ruler, &places[..1], MPP), None);
    }

    #[test]
    fn fields_are_as_large_as_they_are_called_and_need_a_scale() {
        let ring = field(Mark::Field, [5000.0, 5000.0], MPP).unwrap();
        let mm2 = measure::area(measure::area_of(&ring.geometry).unwrap(), MPP) / 1e6;
        assert!((mm2 - 0.24).abs() < 0.001, "{mm2}");
        let square = field(Mark::Square, [5000.0, 5000.0], MPP).unwrap();
        assert_eq!(measure::area(measure::area_of(&square.geometry).unwrap(), MPP), 1e6);
        assert_eq!(field(Mark::Field, [0.0, 0.0], None), None);
    }

    #[test]
    fn shift_squares_boxes_and_turns_lines_by_steps() {
        let first = drawing(Mark::Rectangle, &[[0.0, 0.0]]);
        assert_eq!(first.kept_to([10.0, 4.0], true), [10.0, 10.0]);
        assert_eq!(first.kept_to([10.0, 4.0], false), [10.0, 4.0]);
        let [_, y] = drawing(Mark::Ruler, &[[0.0, 0.0]]).kept_to([10.0, 0.5], true);
        assert!(y.abs() < 1e-9);
    }
}
