//! Geometries as GeoJSON writes them: type, coordinates, and QuPath's `isEllipse` and `plane` beside them.
//!
//! What comes third in a place (z) is kept under the key `coordinates` of the geometry's rest, a key that cannot be there otherwise:
//! one list for all places, or one for each. It is written again as long as it fits the number of places.

use serde_json::{Map, Number, Value};

use super::super::{Form, Geometry, Place, Polygon};

/// No slide is that large: what lies further out is kept as it was written, and not drawn.
const FURTHEST: f64 = 1e9;
const TAILS: &str = "coordinates";

/// A geometry, how it was written, and what else its object held.
pub(super) fn read(value: Value) -> (Geometry, Form, Map<String, Value>) {
    let Value::Object(mut object) = value else { return (Geometry::Other(value), Form::Plain, Map::new()) };
    let mut tails = Tails::default();
    let understood = object
        .get("type")
        .and_then(Value::as_str)
        .zip(object.get("coordinates"))
        .and_then(|(kind, coordinates)| understand(kind, coordinates, &mut tails));
    let Some((geometry, form)) = understood else {
        return (Geometry::Other(Value::Object(object)), Form::Plain, Map::new());
    };
    object.remove("type");
    object.remove("coordinates");
    let is_ellipse = object.get("isEllipse").and_then(Value::as_bool) == Some(true);
    let is_one_ring = match &geometry {
        Geometry::Polygons(polygons) => matches!(polygons.as_slice(), [polygon] if polygon.rings.len() == 1),
        _ => false,
    };
    let form = if is_ellipse && is_one_ring && form != Form::Multi {
        object.remove("isEllipse");
        Form::Ellipse
    } else {
        form
    };
    if let Some(tails) = tails.kept() {
        object.insert(TAILS.to_owned(), tails);
    }
    (geometry, form, object)
}

/// Back to an object; `rest` is what [`read`] gave.
pub(super) fn write(geometry: &Geometry, form: Form, rest: Option<&Map<String, Value>>) -> Value {
    if let Geometry::Other(value) = geometry {
        return value.clone();
    }
    let mut writer = Writer::new(rest.and_then(|rest| rest.get(TAILS)), geometry.places().count());
    let is_multi = form == Form::Multi;
    let (kind, coordinates) = match geometry {
        Geometry::Points(places) if places.len() == 1 && !is_multi => ("Point", writer.place(places[0])),
        Geometry::Points(places) => ("MultiPoint", writer.line(places)),
        Geometry::Lines(lines) if lines.len() == 1 && !is_multi => ("LineString", writer.line(&lines[0])),
        Geometry::Lines(lines) => {
            ("MultiLineString", Value::Array(lines.iter().map(|line| writer.line(line)).collect()))
        }
        Geometry::Polygons(polygons) if polygons.len() == 1 && !is_multi => {
            ("Polygon", writer.polygon(&polygons[0]))
        }
        Geometry::Polygons(polygons) => {
            let all = polygons.iter().map(|polygon| writer.polygon(polygon)).collect();
            ("MultiPolygon", Value::Array(all))
        }
        Geometry::Other(value) => ("", value.clone()),
    };
    let mut object = Map::new();
    object.insert("type".to_owned(), kind.into());
    object.insert("coordinates".to_owned(), coordinates);
    if form == Form::Ellipse {
        object.insert("isEllipse".to_owned(), true.into());
    }
    for (key, value) in rest.into_iter().flatten() {
        if key != TAILS {
            object.insert(key.clone(), value.clone());
        }
    }
    Value::Object(object)
}

/// `None` where the coordinates are not those of the type, or there are none.
fn understand(kind: &str, coordinates: &Value, tails: &mut Tails) -> Option<(Geometry, Form)> {
    let of_parts = |count: usize| if count == 1 { Form::Multi } else { Form::Plain };
    match kind {
        "Point" => Some((Geometry::Points(vec![tails.place(coordinates)?]), Form::Plain)),
        "MultiPoint" => {
            let places = tails.places(coordinates)?;
            let form = of_parts(places.len());
            Some((Geometry::Points(places), form))
        }
        "LineString" => Some((Geometry::Lines(vec![tails.places(coordinates)?]), Form::Plain)),
        "MultiLineString" => {
            let lines: Option<Vec<_>> =
                coordinates.as_array()?.iter().map(|line| tails.places(line)).collect();
            let lines = lines.filter(|lines| !lines.is_empty())?;
            let form = of_parts(lines.len());
            Some((Geometry::Lines(lines), form))
        }
        "Polygon" => {
            let polygon = tails.polygon(coordinates)?;
            let form = if is_rectangle(&polygon) { Form::Rectangle } else { Form::Plain };
            Some((Geometry::Polygons(vec![polygon]), form))
        }
        "MultiPolygon" => {
            let all: Option<Vec<_>> = coordinates.as_array()?.iter().map(|one| tails.polygon(one)).collect();
            let polygons = all.filter(|polygons| !polygons.is_empty())?;
            let form = of_parts(polygons.len());
            Some((Geometry::Polygons(polygons), form))
        }
        _ => None,
    }
}

/// Whether a polygon is an upright rectangle.
fn is_rectangle(polygon: &Polygon) -> bool {
    let [ring] = polygon.rings.as_slice() else { return false };
    let [a, b, c, d] = ring.as_slice() else { return false };
    let first_across = a[1] == b[1] && b[0] == c[0] && c[1] == d[1] && d[0] == a[0];
    let first_down = a[0] == b[0] && b[1] == c[1] && c[0] == d[0] && d[1] == a[1];
    a != c && b != d && (first_across || first_down)
}

/// What comes after x and y in the places that were read.
#[derive(Default)]
struct Tails {
    all: Vec<Vec<Value>>,
}

impl Tails {
    fn place(&mut self, value: &Value) -> Option<Place> {
        let [x, y, tail @ ..] = value.as_array()?.as_slice() else { return None };
        let place = [x.as_f64()?, y.as_f64()?];
        if place.iter().any(|number| number.abs() > FURTHEST) {
            return None;
        }
        self.all.push(tail.to_vec());
        Some(place)
    }

    /// One place at least.
    fn places(&mut self, value: &Value) -> Option<Vec<Place>> {
        let places: Option<Vec<_>> = value.as_array()?.iter().map(|place| self.place(place)).collect();
        places.filter(|places| !places.is_empty())
    }

    /// Without the last place where it repeats the first.
    fn ring(&mut self, value: &Value) -> Option<Vec<Place>> {
        let mut ring = self.places(value)?;
        if ring.len() > 1 && ring.first() == ring.last() {
            ring.pop();
            self.all.pop();
        }
        Some(ring)
    }

    fn polygon(&mut self, value: &Value) -> Option<Polygon> {
        let rings: Option<Vec<_>> = value.as_array()?.iter().map(|ring| self.ring(ring)).collect();
        rings.filter(|rings| !rings.is_empty()).map(|rings| Polygon { rings })
    }

    /// `None` when no place had more than x and y.
    fn kept(self) -> Option<Value> {
        let first = self.all.first()?;
        if self.all.iter().all(Vec::is_empty) {
            return None;
        }
        let kept = if self.all.iter().all(|tail| tail == first) { vec![first.clone()] } else { self.all };
        Some(Value::Array(kept.into_iter().map(Value::Array).collect()))
    }
}

/// Writes places with what came third in them.
struct Writer<'a> {
    tails: &'a [Value],
    at: usize,
}

impl<'a> Writer<'a> {
    fn new(tails: Option<&'a Value>, places: usize) -> Self {
        let tails = tails.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let fits = tails.len() == 1 || tails.len() == places;
        Self { tails: if fits { tails } else { &[] }, at: 0 }
    }

    fn place(&mut self, [x, y]: Place) -> Value {
        let tail = if self.tails.len() == 1 { self.tails.first() } else { self.tails.get(self.at) };
        self.at += 1;
        let mut place = vec![number(x), number(y)];
        place.extend(tail.and_then(Value::as_array).into_iter().flatten().cloned());
        Value::Array(place)
    }

    fn line(&mut self, places: &[Place]) -> Value {
        Value::Array(places.iter().map(|place| self.place(*place)).collect())
    }

    fn polygon(&mut self, polygon: &Polygon) -> Value {
        let ring = |ring: &Vec<Place>| {
            let mut places: Vec<Value> = ring.iter().map(|place| self.place(*place)).collect();
            // GeoJSON repeats the first place.
            places.extend(places.first().cloned());
            Value::Array(places)
        };
        Value::Array(polygon.rings.iter().map(ring).collect())
    }
}

/// Whole numbers without a point, as they were most likely read.
fn number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
