//! Which annotations lie where: an R*-tree (crate `rstar`) of their bounds.

use rstar::{AABB, RTree, RTreeObject};

use super::{Annotation, Geometry, Place};
use crate::viewer::viewport::SlideRect;

/// Further out the tree's arithmetic would no longer be finite, and no slide is that large.
const FURTHEST: f64 = 1e9;

/// The bounds of one annotation.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    min: Place,
    max: Place,
    /// Its place in the set.
    place: u64,
}

impl RTreeObject for Bounds {
    type Envelope = AABB<Place>;

    fn envelope(&self) -> Self::Envelope {
        AABB::from_corners(self.min, self.max)
    }
}

impl Bounds {
    /// `None` for what has no place, or none on any slide.
    fn of(place: u64, annotation: &Annotation) -> Option<Self> {
        let bounds = annotation.geometry.bounds()?;
        let (min, max) = ([bounds.x0, bounds.y0], [bounds.x1, bounds.y1]);
        let is_near = min.iter().chain(&max).all(|number| number.abs() <= FURTHEST);
        is_near.then_some(Self { min, max, place })
    }
}

/// The tree.
#[derive(Debug, Default)]
pub struct Index {
    tree: RTree<Bounds>,
}

impl Index {
    /// Of many at once, which is faster than one after the other and gives a better tree.
    pub fn of<'a>(annotations: impl Iterator<Item = (u64, &'a Annotation)>) -> Self {
        let all = annotations.filter_map(|(place, annotation)| Bounds::of(place, annotation)).collect();
        Self { tree: RTree::bulk_load(all) }
    }

    pub fn insert(&mut self, place: u64, annotation: &Annotation) {
        if let Some(bounds) = Bounds::of(place, annotation) {
            self.tree.insert(bounds);
        }
    }

    /// The annotation as it was when it was put in.
    pub fn remove(&mut self, place: u64, annotation: &Annotation) {
        if let Some(bounds) = Bounds::of(place, annotation) {
            self.tree.remove(&bounds);
        }
    }

    /// The places in the set of what may touch a rectangle, in no order.
    pub fn around(&self, rect: SlideRect) -> impl Iterator<Item = u64> + '_ {
        let envelope = AABB::from_corners([rect.x0, rect.y0], [rect.x1, rect.y1]);
        self.tree.locate_in_envelope_intersecting(&envelope).map(|bounds| bounds.place)
    }
}

/// How far a place is from a geometry, in level-0 pixels: 0 inside an area; `None` where the geometry has no place.
pub fn distance(geometry: &Geometry, place: Place) -> Option<f64> {
    match geometry {
        Geometry::Points(places) => places.iter().map(|point| between(*point, place)).min_by(f64::total_cmp),
        Geometry::Lines(lines) => {
            lines.iter().filter_map(|line| to_line(line, place, false)).min_by(f64::total_cmp)
        }
        Geometry::Polygons(polygons) => {
            if polygons.iter().any(|polygon| polygon.contains(place)) {
                return Some(0.0);
            }
            let rings = polygons.iter().flat_map(|polygon| &polygon.rings);
            rings.filter_map(|ring| to_line(ring, place, true)).min_by(f64::total_cmp)
        }
        Geometry::Other(_) => None,
    }
}

/// To the nearest of a line's pieces.
pub fn to_line(line: &[Place], place: Place, is_closed: bool) -> Option<f64> {
    let pieces = line.windows(2).map(|ends| to_piece(ends[0], ends[1], place));
    let closing = line.last().zip(line.first()).filter(|_| is_closed || line.len() == 1);
    pieces.chain(closing.map(|(last, first)| to_piece(*last, *first, place))).min_by(f64::total_cmp)
}

/// To a straight piece.
pub fn to_piece(a: Place, b: Place, place: Place) -> f64 {
    between(nearest_on(a, b, place), place)
}

/// The place of a straight piece that is nearest to another.
pub fn nearest_on(a: Place, b: Place, [x, y]: Place) -> Place {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let squared = dx * dx + dy * dy;
    let along =
        if squared > 0.0 { (((x - a[0]) * dx + (y - a[1]) * dy) / squared).clamp(0.0, 1.0) } else { 0.0 };
    [a[0] + along * dx, a[1] + along * dy]
}

/// Level-0 pixels between two places.
pub fn between(a: Place, b: Place) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

#[cfg(test)]
mod tests {
    use super::super::{Form, Polygon};
    use super::*;

    fn at(x: f64, y: f64) -> Annotation {
        Annotation::new(Geometry::Points(vec![[x, y]]), Form::Plain)
    }

    #[test]
    fn what_was_put_in_is_found_and_what_was_taken_out_is_not() {
        let (near, far) = (at(10.0, 10.0), at(500.0, 500.0));
        let mut index = Index::of([(1, &near)].into_iter());
        index.insert(2, &far);
        index.insert(3, &at(1e12, 0.0));
        let rect = SlideRect { x0: 0.0, y0: 0.0, x1: 20.0, y1: 20.0 };
        assert_eq!(index.around(rect).collect::<Vec<_>>(), [1]);
        index.remove(1, &near);
        assert_eq!(index.around(rect).count(), 0);
        assert_eq!(index.around(SlideRect::of_size(1e9, 1e9)).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn distances_are_to_the_nearest_part() {
        let line = Geometry::Lines(vec![vec![[0.0, 0.0], [10.0, 0.0]]]);
        assert_eq!(distance(&line, [5.0, 3.0]), Some(3.0));
        assert_eq!(distance(&line, [13.0, 4.0]), Some(5.0));
        let ring = vec![[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]];
        let area = Geometry::Polygons(vec![Polygon { rings: vec![ring] }]);
        assert_eq!(distance(&area, [5.0, 5.0]), Some(0.0));
        assert_eq!(distance(&area, [-2.0, 5.0]), Some(2.0), "the closing side counts too");
        assert_eq!(distance(&Geometry::Points(vec![]), [0.0, 0.0]), None);
    }
}
