//! Lengths, areas and angles on a slide: in µm and mm² where the slide says its scale, else in pixels, never invented.

use reinpath_training::dataset::grouped;

use super::{Annotation, Geometry, Place};
use crate::slide::Mpp;

/// The area of a field of a microscope with 10× eyepieces of field number 22 at 40×, as in counts of mitoses: ⌀ 553 µm.
pub const FIELD_MM2: f64 = 0.24;
/// The side of the square that counts are given for.
pub const SQUARE_UM: f64 = 1000.0;

/// The diameter of the field's ring.
pub fn field_um() -> f64 {
    (FIELD_MM2 * 4.0 / std::f64::consts::PI).sqrt() * 1000.0
}

/// The length of a line in µm; without mpp in pixels.
pub fn length(line: &[Place], mpp: Option<Mpp>) -> f64 {
    let (x, y) = scale(mpp);
    let parts = line.windows(2).map(|ends| [ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]]);
    // Not `sum`, which is -0 of nothing.
    parts.fold(0.0, |length, [dx, dy]| length + (dx * x).hypot(dy * y))
}

/// Square µm; without mpp square pixels.
pub fn area(square_px: f64, mpp: Option<Mpp>) -> f64 {
    let (x, y) = scale(mpp);
    square_px * x * y
}

/// The angle at the middle one of three places, in degrees from 0 to 180; 0 where two of them are the same.
pub fn angle(a: Place, middle: Place, b: Place, mpp: Option<Mpp>) -> f64 {
    let (x, y) = scale(mpp);
    let leg = |to: Place| ((to[0] - middle[0]) * x, (to[1] - middle[1]) * y);
    let ((ax, ay), (bx, by)) = (leg(a), leg(b));
    let (cross, dot) = (ax * by - ay * bx, ax * bx + ay * by);
    cross.abs().atan2(dot).to_degrees()
}

fn scale(mpp: Option<Mpp>) -> (f64, f64) {
    mpp.map_or((1.0, 1.0), |mpp| (mpp.x, mpp.y))
}

/// `123 µm`, `1.25 mm`, `310 px`.
pub fn length_in_words(line: &[Place], mpp: Option<Mpp>) -> String {
    let length = length(line, mpp);
    match mpp {
        Some(_) if length >= 1000.0 => format!("{} mm", digits(length / 1000.0)),
        Some(_) => format!("{} µm", digits(length)),
        None => format!("{} px", digits(length)),
    }
}

/// `0.12 mm²`, `850 µm²`, `310 px²`.
pub fn area_in_words(square_px: f64, mpp: Option<Mpp>) -> String {
    let area = area(square_px, mpp);
    match mpp {
        // From the size on at which three decimals of a square millimetre say something.
        Some(_) if area >= 10_000.0 => format!("{} mm²", digits(area / 1e6)),
        Some(_) => format!("{} µm²", digits(area)),
        None => format!("{} px²", digits(area)),
    }
}

/// `45.0°`.
pub fn angle_in_words(degrees: f64) -> String {
    format!("{degrees:.1}°")
}

/// `3 in 0.24 mm², 12.5/mm²`; without mpp the count alone.
pub fn count_in_words(count: usize, square_px: f64, mpp: Option<Mpp>) -> String {
    let mm2 = area(square_px, mpp) / 1e6;
    if mpp.is_none() || mm2 <= 0.0 {
        return count.to_string();
    }
    format!("{count} in {} mm², {}/mm²", digits(mm2), digits(count as f64 / mm2))
}

/// Three digits that say something, no more decimals than they need.
fn digits(number: f64) -> String {
    let decimals = match number.abs() {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 1.0 => 2,
        _ => 3,
    };
    if decimals == 0 {
        return grouped(number.abs().round() as usize);
    }
    let text = format!("{number:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The area of all parts of a geometry in square level-0 pixels; `None` for what has none.
pub fn area_of(geometry: &Geometry) -> Option<f64> {
    match geometry {
        Geometry::Polygons(polygons) => Some(polygons.iter().map(super::Polygon::area).sum()),
        _ => None,
    }
}

/// What can be measured of an annotation, as words for a list: area and outline, length, or number of points.
pub fn in_words(annotation: &Annotation, mpp: Option<Mpp>) -> String {
    match &annotation.geometry {
        Geometry::Points(places) if places.len() == 1 => "1 point".to_owned(),
        Geometry::Points(places) => format!("{} points", places.len()),
        Geometry::Lines(lines) => {
            lines.iter().map(|line| length_in_words(line, mpp)).collect::<Vec<_>>().join(" + ")
        }
        Geometry::Polygons(_) => area_in_words(area_of(&annotation.geometry).unwrap_or_default(), mpp),
        Geometry::Other(_) => "a geometry that is kept, not drawn".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, Polygon};
    use super::*;

    const MPP: Option<Mpp> = Some(Mpp { x: 0.5, y: 0.25 });

    #[test]
    fn lengths_follow_both_scales_and_stay_pixels_without_one() {
        let line = [[0.0, 0.0], [6.0, 0.0], [6.0, 16.0]];
        assert_eq!(length(&line, MPP), 7.0);
        assert_eq!(length_in_words(&line, MPP), "7 µm");
        assert_eq!(length_in_words(&line, None), "22 px");
        assert_eq!(length_in_words(&[[0.0, 0.0], [2500.0, 0.0]], MPP), "1.25 mm");
        assert_eq!(length_in_words(&[[0.0, 0.0]], MPP), "0 µm");
    }

    #[test]
    fn areas_have_their_units() {
        assert_eq!(area_in_words(1000.0, MPP), "125 µm²");
        assert_eq!(area_in_words(1.92e6, MPP), "0.24 mm²");
        assert_eq!(area_in_words(12.0, None), "12 px²");
        assert_eq!(area_in_words(1_080_000.0, None), "1,080,000 px²");
    }

    #[test]
    fn a_right_angle_is_one_where_the_scales_differ_too() {
        assert!((angle([3.0, 0.0], [0.0, 0.0], [0.0, 8.0], MPP) - 90.0).abs() < 1e-9);
        assert!((angle([1.0, 0.0], [0.0, 0.0], [-1.0, 1e-9], None) - 180.0).abs() < 1e-6);
        assert_eq!(angle([0.0, 0.0], [0.0, 0.0], [1.0, 1.0], None), 0.0);
        assert_eq!(angle_in_words(45.0), "45.0°");
    }

    #[test]
    fn the_field_is_as_large_as_it_is_called() {
        assert!((field_um() - 553.0).abs() < 0.5, "{}", field_um());
        let count = count_in_words(3, 0.24e6 / (0.5 * 0.25), MPP);
        assert_eq!(count, "3 in 0.24 mm², 12.5/mm²");
        assert_eq!(count_in_words(3, 100.0, None), "3");
    }

    #[test]
    fn each_kind_says_what_can_be_measured_of_it() {
        let ring = |x: f64, side: f64| vec![[x, x], [x + side, x], [x + side, x + side], [x, x + side]];
        let area = Geometry::Polygons(vec![Polygon { rings: vec![ring(0.0, 40.0), ring(1.0, 20.0)] }]);
        assert_eq!(in_words(&Annotation::new(area, Form::Plain), MPP), "150 µm²");
        let line = Geometry::Lines(vec![vec![[0.0, 0.0], [4.0, 0.0]]]);
        assert_eq!(in_words(&Annotation::new(line, Form::Plain), None), "4 px");
        let points = Geometry::Points(vec![[0.0, 0.0]; 3]);
        assert_eq!(in_words(&Annotation::new(points, Form::Plain), None), "3 points");
    }
}
