//! Annotations: geometry on a slide with a class, a name and whatever another program wrote beside it. No window, no threads.
//!
//! The words and the JSON are QuPath's (its GeoJSON is the only exchange format): annotation, detection, cell, class, measurements. Geometry
//! is in level-0 pixels. What is not understood in a file is kept as it was and written again.
//!
//! In reading order: the types below, [`geojson`] and [`asap`] (files), [`set`] (all of a slide's, with undo), [`index`] (which lie
//! where), [`edit`] (changing a shape), [`measure`] (lengths and areas).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::viewer::viewport::SlideRect;

pub mod asap;
pub mod edit;
mod error;
pub mod geojson;
pub mod index;
pub mod measure;
pub mod set;

pub use error::Error;

/// A place: x and y in level-0 pixels.
pub type Place = [f64; 2];

/// A ring around an area, and the holes in it. A ring's last place is not its first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Polygon {
    /// The outer ring first, then holes.
    pub rings: Vec<Vec<Place>>,
}

/// Where an annotation lies.
#[derive(Clone, Debug, PartialEq)]
pub enum Geometry {
    Points(Vec<Place>),
    /// Open lines; usually one.
    Lines(Vec<Vec<Place>>),
    /// Areas; usually one.
    Polygons(Vec<Polygon>),
    /// GeoJSON that is none of these (a collection, an empty geometry): kept, not drawn.
    Other(Value),
}

/// How a geometry was written, so that it is written the same way again, and how it is edited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As its type says: Point, LineString, Polygon.
    #[default]
    Plain,
    /// A single part that is written as MultiPoint, MultiLineString or MultiPolygon.
    Multi,
    /// A polygon of four corners that is edited as a rectangle.
    Rectangle,
    /// A polygon that stands for an ellipse (`isEllipse` of QuPath): edited by its axes.
    Ellipse,
}

/// QuPath's kind of object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObjectKind {
    #[default]
    Annotation,
    Detection,
    Cell,
    Tile,
    /// Another word of `objectType`, kept as it was; `None`: the file had none.
    Other(Option<String>),
}

/// A class, shared by all annotations that have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    pub name: String,
    pub rgb: [u8; 3],
}

/// One object on a slide.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// A UUID as text, as QuPath writes it; of another program's file any text.
    pub id: String,
    pub kind: ObjectKind,
    pub geometry: Geometry,
    pub form: Form,
    pub class: Option<Arc<Class>>,
    pub name: Option<String>,
    pub notes: String,
    /// A colour of its own; else its class's.
    pub rgb: Option<[u8; 3]>,
    pub is_locked: bool,
    /// Measurements of another program, by name, in their order.
    pub measurements: Map<String, Value>,
    /// Everything else of the feature (`nucleusGeometry`, `bbox`, unknown properties) by its place: keys of the feature, and below
    /// `properties` those of its properties.
    pub rest: Map<String, Value>,
}

impl Polygon {
    /// Whether a place lies inside the outer ring and in none of the holes (the even-odd rule, so that rings may cross).
    pub fn contains(&self, place: Place) -> bool {
        self.rings.iter().filter(|ring| is_inside(ring, place)).count() % 2 == 1
    }

    /// Square level-0 pixels, without the holes; never negative.
    pub fn area(&self) -> f64 {
        let mut rings = self.rings.iter().map(|ring| ring_area(ring));
        let outer = rings.next().unwrap_or_default();
        (outer - rings.sum::<f64>()).max(0.0)
    }
}

/// Whether a ray to the right crosses a ring an odd number of times.
fn is_inside(ring: &[Place], [x, y]: Place) -> bool {
    let before = ring.iter().cycle().skip(ring.len().saturating_sub(1));
    ring.iter().zip(before).fold(false, |inside, (&[ax, ay], &[bx, by])| {
        let crosses = (ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax;
        inside != crosses
    })
}

/// By the shoelace formula, around the first place so that large coordinates lose nothing.
fn ring_area(ring: &[Place]) -> f64 {
    let Some(&[x0, y0]) = ring.first() else { return 0.0 };
    let next = ring.iter().cycle().skip(1);
    let twice: f64 =
        ring.iter().zip(next).map(|(a, b)| (a[0] - x0) * (b[1] - y0) - (b[0] - x0) * (a[1] - y0)).sum();
    (twice / 2.0).abs()
}

impl Annotation {
    /// A new one of the user's, with an id that nobody else has.
    pub fn new(geometry: Geometry, form: Form) -> Self {
        Self::with_id(new_id(), geometry, form)
    }

    fn with_id(id: String, geometry: Geometry, form: Form) -> Self {
        Self {
            id,
            kind: ObjectKind::Annotation,
            geometry,
            form,
            class: None,
            name: None,
            notes: String::new(),
            rgb: None,
            is_locked: false,
            measurements: Map::new(),
            rest: Map::new(),
        }
    }

    /// What it is drawn in: its own colour, its class's, or that of annotations without one.
    pub fn shown_rgb(&self) -> [u8; 3] {
        self.rgb.or(self.class.as_ref().map(|class| class.rgb)).unwrap_or(NO_CLASS_RGB)
    }

    /// What it is called: its name, its class, or what it is.
    pub fn title(&self) -> &str {
        let name = self.name.as_deref().filter(|name| !name.trim().is_empty());
        name.or(self.class.as_ref().map(|class| class.name.as_str())).unwrap_or(match &self.geometry {
            Geometry::Points(places) if places.len() == 1 => "Point",
            Geometry::Points(_) => "Points",
            Geometry::Lines(_) => "Line",
            Geometry::Polygons(_) => match self.form {
                Form::Rectangle => "Rectangle",
                Form::Ellipse => "Ellipse",
                Form::Plain | Form::Multi => "Area",
            },
            Geometry::Other(_) => "Not drawn",
        })
    }
}

/// A UUID, as QuPath gives them.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Of annotations without a class: QuPath's red is too near to eosin, so a yellow that tissue does not have.
pub const NO_CLASS_RGB: [u8; 3] = [0xff, 0xd4, 0x1f];

impl Geometry {
    /// Every place of it; none of [`Self::Other`].
    pub fn places(&self) -> Box<dyn Iterator<Item = Place> + '_> {
        match self {
            Self::Points(places) => Box::new(places.iter().copied()),
            Self::Lines(lines) => Box::new(lines.iter().flatten().copied()),
            Self::Polygons(polygons) => {
                Box::new(polygons.iter().flat_map(|polygon| polygon.rings.iter().flatten().copied()))
            }
            Self::Other(_) => Box::new(std::iter::empty()),
        }
    }

    /// The smallest rectangle around it; `None` when it has no place.
    pub fn bounds(&self) -> Option<SlideRect> {
        let mut places = self.places();
        let [x, y] = places.next()?;
        let first = SlideRect { x0: x, y0: y, x1: x, y1: y };
        Some(places.fold(first, |around, [x, y]| SlideRect {
            x0: around.x0.min(x),
            y0: around.y0.min(y),
            x1: around.x1.max(x),
            y1: around.y1.max(y),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_hold_every_part_and_nothing_more() {
        let square = |x: f64| Polygon { rings: vec![vec![[x, 1.0], [x + 2.0, 1.0], [x, 4.0]]] };
        let geometry = Geometry::Polygons(vec![square(10.0), square(-3.0)]);
        assert_eq!(geometry.bounds(), Some(SlideRect { x0: -3.0, y0: 1.0, x1: 12.0, y1: 4.0 }));
        assert_eq!(Geometry::Other(Value::Null).bounds(), None);
    }

    fn square(x0: f64, y0: f64, side: f64) -> Vec<Place> {
        vec![[x0, y0], [x0 + side, y0], [x0 + side, y0 + side], [x0, y0 + side]]
    }

    #[test]
    fn a_hole_is_outside_and_takes_its_area_away() {
        let polygon = Polygon { rings: vec![square(1e6, 1e6, 10.0), square(1e6 + 4.0, 1e6 + 4.0, 2.0)] };
        assert_eq!(polygon.area(), 96.0);
        assert!(polygon.contains([1e6 + 1.0, 1e6 + 1.0]));
        assert!(!polygon.contains([1e6 + 5.0, 1e6 + 5.0]), "in the hole");
        assert!(!polygon.contains([1e6 - 1.0, 1e6 + 5.0]));
    }

    #[test]
    fn degenerate_rings_hold_nothing() {
        for rings in [vec![], vec![vec![]], vec![vec![[1.0, 1.0]]], vec![vec![[0.0, 0.0], [2.0, 2.0]]]] {
            let polygon = Polygon { rings };
            assert_eq!(polygon.area(), 0.0);
            assert!(!polygon.contains([1.0, 1.0]), "{polygon:?}");
        }
    }

    #[test]
    fn an_annotation_is_called_by_its_name_then_its_class_then_what_it_is() {
        let mut annotation = Annotation::new(Geometry::Points(vec![[1.0, 2.0]]), Form::Plain);
        assert_eq!((annotation.title(), annotation.shown_rgb()), ("Point", NO_CLASS_RGB));
        annotation.class = Some(Arc::new(Class { name: "Tumor".to_owned(), rgb: [200, 0, 0] }));
        assert_eq!((annotation.title(), annotation.shown_rgb()), ("Tumor", [200, 0, 0]));
        (annotation.name, annotation.rgb) = (Some("first".to_owned()), Some([1, 2, 3]));
        assert_eq!((annotation.title(), annotation.shown_rgb()), ("first", [1, 2, 3]));
    }
}
