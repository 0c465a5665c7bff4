//! Making and changing shapes: pure functions from a geometry and a place to a geometry.
//!
//! What is made here has places on hundredths of a pixel, as QuPath writes them.

use serde_json::Value;

use super::index::{between, nearest_on};
use super::{Annotation, Form, Geometry, Place, Polygon};
use crate::viewer::viewport::SlideRect;

/// Corners of a polygon that stands for an ellipse: at most 0.1 % of its radius from the curve.
const ELLIPSE_CORNERS: usize = 72;
/// What Shift keeps lines to.
const SNAP_DEGREES: f64 = 15.0;

/// What can be taken hold of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grip {
    /// A corner of the shape: part (of several polygons, lines), ring, and which one in it.
    Corner { part: usize, ring: usize, at: usize },
    /// A corner or the middle of a side of what surrounds a rectangle or an ellipse: clockwise from the left top.
    Frame(u8),
}

/// A hundredth of a pixel is finer than any pointer, and short to write.
pub fn rounded([x, y]: Place) -> Place {
    [(x * 100.0).round() / 100.0, (y * 100.0).round() / 100.0]
}

/// An upright rectangle between two opposite corners.
pub fn rectangle(a: Place, b: Place) -> Geometry {
    let ([x0, y0], [x1, y1]) =
        (rounded([a[0].min(b[0]), a[1].min(b[1])]), rounded([a[0].max(b[0]), a[1].max(b[1])]));
    of_ring(vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
}

/// The ellipse inside an upright rectangle.
pub fn ellipse(a: Place, b: Place) -> Geometry {
    let centre = [f64::midpoint(a[0], b[0]), f64::midpoint(a[1], b[1])];
    let radius = [(a[0] - b[0]).abs() / 2.0, (a[1] - b[1]).abs() / 2.0];
    let corner = |n: usize| {
        let (sin, cos) = (std::f64::consts::TAU * n as f64 / ELLIPSE_CORNERS as f64).sin_cos();
        rounded([centre[0] + radius[0] * cos, centre[1] + radius[1] * sin])
    };
    of_ring((0..ELLIPSE_CORNERS).map(corner).collect())
}

/// An area of one ring.
pub fn of_ring(ring: Vec<Place>) -> Geometry {
    Geometry::Polygons(vec![Polygon { rings: vec![ring] }])
}

/// `to`, moved so that it and `from` are opposite corners of a square.
pub fn squared(from: Place, to: Place) -> Place {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let side = dx.abs().max(dy.abs());
    [from[0] + side.copysign(dx), from[1] + side.copysign(dy)]
}

/// `to`, turned around `from` to the nearest multiple of 15°.
pub fn snapped(from: Place, to: Place) -> Place {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let step = SNAP_DEGREES.to_radians();
    let (sin, cos) = ((dy.atan2(dx) / step).round() * step).sin_cos();
    let length = dx.hypot(dy);
    [from[0] + length * cos, from[1] + length * sin]
}

/// A line drawn by hand without the places that say little: none is further than `tolerance` from what is left (Douglas and Peucker 1973).
pub fn simplified(line: &[Place], tolerance: f64) -> Vec<Place> {
    let mut is_kept = vec![false; line.len()];
    let mut spans = vec![(0, line.len().saturating_sub(1))];
    while let Some((first, last)) = spans.pop() {
        let Some((&a, &b)) = line.get(first).zip(line.get(last)) else { continue };
        (is_kept[first], is_kept[last]) = (true, true);
        let between_them = (first + 1..last).map(|n| (super::index::to_piece(a, b, line[n]), n));
        if let Some((far, n)) = between_them.max_by(|a, b| a.0.total_cmp(&b.0))
            && far > tolerance
        {
            spans.extend([(first, n), (n, last)]);
        }
    }
    line.iter().zip(is_kept).filter(|(_, is_kept)| *is_kept).map(|(place, _)| rounded(*place)).collect()
}

/// Every place of a geometry through a function; z and the order stay.
fn mapped(geometry: &Geometry, map: impl Fn(Place) -> Place) -> Geometry {
    let line = |line: &Vec<Place>| line.iter().map(|place| map(*place)).collect::<Vec<_>>();
    match geometry {
        Geometry::Points(places) => Geometry::Points(line(places)),
        Geometry::Lines(lines) => Geometry::Lines(lines.iter().map(line).collect()),
        Geometry::Polygons(polygons) => Geometry::Polygons(
            polygons
                .iter()
                .map(|polygon| Polygon { rings: polygon.rings.iter().map(line).collect() })
                .collect(),
        ),
        Geometry::Other(value) => Geometry::Other(value.clone()),
    }
}

/// The whole of it moved by level-0 pixels.
pub fn moved(annotation: &Annotation, [dx, dy]: Place) -> Annotation {
    let geometry = mapped(&annotation.geometry, |[x, y]| rounded([x + dx, y + dy]));
    Annotation { geometry, ..annotation.clone() }
}

/// The places that can be taken hold of.
pub fn grips(annotation: &Annotation) -> Vec<(Grip, Place)> {
    if matches!(annotation.form, Form::Rectangle | Form::Ellipse) {
        return annotation.geometry.bounds().map(frame_grips).unwrap_or_default();
    }
    let of_line = |part: usize, ring: usize, line: &[Place]| {
        let grip = move |(at, place): (usize, &Place)| (Grip::Corner { part, ring, at }, *place);
        line.iter().enumerate().map(grip).collect::<Vec<_>>()
    };
    match &annotation.geometry {
        Geometry::Points(places) => of_line(0, 0, places),
        Geometry::Lines(lines) => {
            lines.iter().enumerate().flat_map(|(n, line)| of_line(n, 0, line)).collect()
        }
        Geometry::Polygons(polygons) => {
            let mut all = Vec::new();
            for (part, polygon) in polygons.iter().enumerate() {
                for (ring, line) in polygon.rings.iter().enumerate() {
                    all.extend(of_line(part, ring, line));
                }
            }
            all
        }
        Geometry::Other(_) => Vec::new(),
    }
}

fn frame_grips(bounds: SlideRect) -> Vec<(Grip, Place)> {
    let SlideRect { x0, y0, x1, y1 } = bounds;
    let (x, y) = (f64::midpoint(x0, x1), f64::midpoint(y0, y1));
    let places = [[x0, y0], [x, y0], [x1, y0], [x1, y], [x1, y1], [x, y1], [x0, y1], [x0, y]];
    (0..).map(Grip::Frame).zip(places).collect()
}

/// The grip nearest to a place, at most `tolerance` level-0 pixels away.
pub fn grip_at(annotation: &Annotation, place: Place, tolerance: f64) -> Option<Grip> {
    let near = grips(annotation).into_iter().map(|(grip, at)| (between(at, place), grip));
    let near = near.filter(|(far, _)| *far <= tolerance).min_by(|a, b| a.0.total_cmp(&b.0));
    near.map(|(_, grip)| grip)
}

/// A grip moved to a place.
pub fn with_grip_at(annotation: &Annotation, grip: Grip, to: Place) -> Annotation {
    let mut changed = annotation.clone();
    match grip {
        Grip::Corner { part, ring, at } => {
            if let Some(place) = line_mut(&mut changed.geometry, part, ring).and_then(|line| line.get_mut(at))
            {
                *place = rounded(to);
            }
        }
        Grip::Frame(n) => {
            let Some(SlideRect { x0, y0, x1, y1 }) = annotation.geometry.bounds() else { return changed };
            let mut sides = [x0, y0, x1, y1];
            // Which sides each grip moves, clockwise from the left top.
            let across = [Some(0), None, Some(2), Some(2), Some(2), None, Some(0), Some(0)];
            let down = [Some(1), Some(1), Some(1), None, Some(3), Some(3), Some(3), None];
            let n = usize::from(n) % across.len();
            if let Some(side) = across[n] {
                sides[side] = to[0];
            }
            if let Some(side) = down[n] {
                sides[side] = to[1];
            }
            let (a, b) = ([sides[0], sides[1]], [sides[2], sides[3]]);
            changed.geometry = if changed.form == Form::Ellipse { ellipse(a, b) } else { rectangle(a, b) };
        }
    }
    changed
}

/// Without a corner; `None` where too few would be left.
pub fn without_corner(annotation: &Annotation, grip: Grip) -> Option<Annotation> {
    let Grip::Corner { part, ring, at } = grip else { return None };
    let least = match &annotation.geometry {
        Geometry::Points(_) => 1,
        Geometry::Lines(_) => 2,
        _ => 3,
    };
    let mut changed = annotation.clone();
    let line = line_mut(&mut changed.geometry, part, ring)?;
    if line.len() <= least || at >= line.len() {
        return None;
    }
    line.remove(at);
    Some(plain(changed))
}

/// A new corner on the side nearest to a place, and its grip; `None` where no side is that near, or the shape is held by its frame.
pub fn with_corner(annotation: &Annotation, place: Place, tolerance: f64) -> Option<(Annotation, Grip)> {
    if matches!(annotation.form, Form::Rectangle | Form::Ellipse) {
        return None;
    }
    let mut best: Option<(f64, Grip, Place)> = None;
    let mut look = |part: usize, ring: usize, line: &[Place], is_closed: bool| {
        let pieces = if is_closed { line.len() } else { line.len().saturating_sub(1) };
        for n in 0..pieces {
            let on = nearest_on(line[n], line[(n + 1) % line.len()], place);
            let far = between(on, place);
            if far <= tolerance && best.as_ref().is_none_or(|(least, ..)| far < *least) {
                best = Some((far, Grip::Corner { part, ring, at: n + 1 }, on));
            }
        }
    };
    match &annotation.geometry {
        Geometry::Lines(lines) => {
            lines.iter().enumerate().for_each(|(part, line)| look(part, 0, line, false));
        }
        Geometry::Polygons(polygons) => {
            for (part, polygon) in polygons.iter().enumerate() {
                polygon.rings.iter().enumerate().for_each(|(ring, line)| look(part, ring, line, true));
            }
        }
        Geometry::Points(_) | Geometry::Other(_) => {}
    }
    let (_, grip, on) = best?;
    let Grip::Corner { part, ring, at } = grip else { return None };
    let mut changed = annotation.clone();
    line_mut(&mut changed.geometry, part, ring)?.insert(at, rounded(on));
    Some((plain(changed), grip))
}

fn line_mut(geometry: &mut Geometry, part: usize, ring: usize) -> Option<&mut Vec<Place>> {
    match geometry {
        Geometry::Points(places) => Some(places),
        Geometry::Lines(lines) => lines.get_mut(part),
        Geometry::Polygons(polygons) => polygons.get_mut(part)?.rings.get_mut(ring),
        Geometry::Other(_) => None,
    }
}

/// No rectangle and no ellipse any more.
fn plain(mut annotation: Annotation) -> Annotation {
    if matches!(annotation.form, Form::Rectangle | Form::Ellipse) {
        annotation.form = Form::Plain;
    }
    annotation
}

/// Another class, or none. How a file wrote the old one is forgotten with it.
pub fn with_class(annotation: &Annotation, class: Option<std::sync::Arc<super::Class>>) -> Annotation {
    let mut changed = Annotation { class, ..annotation.clone() };
    if let Some(Value::Object(properties)) = changed.rest.get_mut("properties") {
        properties.remove("classification");
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(form: Form, geometry: Geometry) -> Annotation {
        Annotation::new(geometry, form)
    }

    #[test]
    fn shapes_between_two_corners_fill_them() {
        let bounds = Some(SlideRect { x0: 10.0, y0: 20.0, x1: 50.0, y1: 40.0 });
        assert_eq!(rectangle([50.0, 20.0], [10.0, 40.0]).bounds(), bounds);
        let ellipse = ellipse([50.0, 20.0], [10.0, 40.0]);
        assert_eq!(ellipse.bounds(), bounds);
        let Geometry::Polygons(polygons) = &ellipse else { panic!("no area") };
        let exact = std::f64::consts::PI * 20.0 * 10.0;
        assert!((polygons[0].area() / exact - 1.0).abs() < 0.002, "{}", polygons[0].area());
    }

    #[test]
    fn shift_keeps_to_squares_and_to_steps_of_fifteen_degrees() {
        assert_eq!(squared([0.0, 0.0], [3.0, -7.0]), [7.0, -7.0]);
        let [x, y] = snapped([0.0, 0.0], [10.0, 0.8]);
        assert!(y.abs() < 1e-9 && (x - 10.0_f64.hypot(0.8)).abs() < 1e-9);
        let [x, y] = snapped([1.0, 1.0], [11.0, 10.5]);
        assert!((x - y).abs() < 1e-9, "45°");
    }

    #[test]
    fn a_frame_is_pulled_by_its_corners_and_sides() {
        let annotation = area(Form::Ellipse, ellipse([0.0, 0.0], [40.0, 20.0]));
        assert_eq!(grips(&annotation).len(), 8);
        assert_eq!(grip_at(&annotation, [40.5, 19.0], 2.0), Some(Grip::Frame(4)));
        let pulled = with_grip_at(&annotation, Grip::Frame(4), [60.0, 30.0]);
        assert_eq!(pulled.geometry.bounds(), Some(SlideRect { x0: 0.0, y0: 0.0, x1: 60.0, y1: 30.0 }));
        let side = with_grip_at(&annotation, Grip::Frame(3), [50.0, 99.0]);
        assert_eq!(side.geometry.bounds(), Some(SlideRect { x0: 0.0, y0: 0.0, x1: 50.0, y1: 20.0 }));
        assert_eq!((side.form, side.id), (Form::Ellipse, annotation.id));
    }

    #[test]
    fn corners_are_moved_added_and_removed() {
        let triangle = area(Form::Plain, of_ring(vec![[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]));
        let (more, grip) = with_corner(&triangle, [5.0, 0.4], 1.0).unwrap();
        assert_eq!(more.geometry, of_ring(vec![[0.0, 0.0], [5.0, 0.0], [10.0, 0.0], [0.0, 10.0]]));
        let pulled = with_grip_at(&more, grip, [5.0, -3.0]);
        assert_eq!(pulled.geometry, of_ring(vec![[0.0, 0.0], [5.0, -3.0], [10.0, 0.0], [0.0, 10.0]]));
        assert_eq!(without_corner(&pulled, grip).unwrap().geometry, triangle.geometry);
        assert_eq!(without_corner(&triangle, grip), None, "a triangle stays one");
        let (closing, _) = with_corner(&triangle, [-0.5, 5.0], 1.0).unwrap();
        assert_eq!(closing.geometry, of_ring(vec![[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [0.0, 5.0]]));
        assert_eq!(with_corner(&triangle, [50.0, 50.0], 1.0), None);
        let strange = Grip::Corner { part: 7, ring: 7, at: 7 };
        assert_eq!(with_grip_at(&triangle, strange, [0.0, 0.0]), triangle);
    }

    #[test]
    fn a_line_drawn_by_hand_keeps_its_corners() {
        let mut line: Vec<Place> = (0..=100).map(|n| [f64::from(n), 0.001 * f64::from(n % 2)]).collect();
        line.extend((1..=50).map(|n| [100.0, f64::from(n)]));
        assert_eq!(simplified(&line, 0.5), [[0.0, 0.0], [100.0, 0.0], [100.0, 50.0]]);
        assert_eq!(simplified(&[], 1.0), Vec::<Place>::new());
        assert_eq!(simplified(&[[1.0, 2.0]], 1.0), [[1.0, 2.0]]);
    }

    #[test]
    fn moving_moves_holes_too_and_nothing_else() {
        let ring = |x: f64| vec![[x, 0.0], [x + 1.0, 0.0], [x, 1.0]];
        let holed = Geometry::Polygons(vec![Polygon { rings: vec![ring(0.0), ring(0.1)] }]);
        let annotation = Annotation { name: Some("a".to_owned()), ..Annotation::new(holed, Form::Plain) };
        let there = moved(&annotation, [5.0, -2.0]);
        assert_eq!(there.geometry.bounds(), Some(SlideRect { x0: 5.0, y0: -2.0, x1: 6.1, y1: -1.0 }));
        assert_eq!(moved(&there, [-5.0, 2.0]), annotation);
    }
}
