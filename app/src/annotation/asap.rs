//! ASAP's XML: annotations of its types Dot, PointSet, Polygon, Spline, Rectangle, Measurement and None, with their groups as classes.
//!
//! After ASAP's files (its repository: `annotation/XmlRepository.cpp`); Slidescape and many public data sets write the same. Only read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use roxmltree::{Document, Node};

use super::{Annotation, Class, Error, Form, Geometry, Place, Polygon, geojson};

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<Annotation>, Error> {
    let not_understood = |reason: String| Error::NotUnderstood { reason, path: path.to_owned() };
    let bytes = geojson::bytes_of(path)?;
    let text = String::from_utf8(bytes).map_err(|_not| not_understood("it is not text".to_owned()))?;
    parse(&text).map_err(not_understood)
}

/// Reads text; an error is the reason, without a path.
pub fn parse(text: &str) -> Result<Vec<Annotation>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if !root.has_tag_name("ASAP_Annotations") {
        return Err(format!("its root is “{}” and not “ASAP_Annotations”", root.tag_name().name()));
    }
    let mut classes = BTreeMap::new();
    for group in root.descendants().filter(|node| node.has_tag_name("Group")) {
        if let Some(name) = group.attribute("Name") {
            let rgb = group.attribute("Color").and_then(rgb_of).unwrap_or_else(|| geojson::rgb_of_name(name));
            classes.insert(name.to_owned(), Arc::new(Class { name: name.to_owned(), rgb }));
        }
    }
    let annotations = root.descendants().filter(|node| node.has_tag_name("Annotation"));
    annotations.map(|node| annotation(node, &mut classes)).collect()
}

fn annotation(node: Node<'_, '_>, classes: &mut BTreeMap<String, Arc<Class>>) -> Result<Annotation, String> {
    let places = places(node)?;
    let kind = node.attribute("Type").unwrap_or("None");
    let (geometry, form) = match kind {
        "Dot" | "PointSet" => (Geometry::Points(places), Form::Plain),
        "Measurement" => (Geometry::Lines(vec![places]), Form::Plain),
        // What a spline's curve is drawn through is all that its file holds.
        "Polygon" | "Spline" | "None" => (area(places), Form::Plain),
        "Rectangle" => {
            let form = if places.len() == 4 { Form::Rectangle } else { Form::Plain };
            (area(places), form)
        }
        other => return Err(format!("it holds an annotation of the unknown type “{other}”")),
    };
    let mut annotation = Annotation::new(geometry, form);
    annotation.name = node.attribute("Name").filter(|name| !name.is_empty()).map(str::to_owned);
    annotation.rgb = node.attribute("Color").and_then(rgb_of);
    let group = node.attribute("PartOfGroup").filter(|group| !matches!(*group, "" | "None"));
    annotation.class = group.map(|name| {
        let new = || Arc::new(Class { name: name.to_owned(), rgb: geojson::rgb_of_name(name) });
        Arc::clone(classes.entry(name.to_owned()).or_insert_with(new))
    });
    Ok(annotation)
}

fn area(mut ring: Vec<Place>) -> Geometry {
    if ring.len() > 1 && ring.first() == ring.last() {
        ring.pop();
    }
    Geometry::Polygons(vec![Polygon { rings: vec![ring] }])
}

/// In their order, which need not be that of the file.
fn places(node: Node<'_, '_>) -> Result<Vec<Place>, String> {
    let name = node.attribute("Name").unwrap_or_default();
    let mut places = Vec::new();
    for (n, coordinate) in node.descendants().filter(|node| node.has_tag_name("Coordinate")).enumerate() {
        let number = |key: &str| {
            // Some systems write decimals with a comma.
            let text = coordinate.attribute(key)?.trim().replace(',', ".");
            text.parse::<f64>().ok().filter(|number| number.abs() <= 1e9)
        };
        let place = number("X").zip(number("Y"));
        let (x, y) =
            place.ok_or_else(|| format!("a place of its annotation “{name}” is no place on a slide"))?;
        let order = coordinate.attribute("Order").and_then(|order| order.parse::<u64>().ok());
        places.push((order.unwrap_or(n as u64), [x, y]));
    }
    if places.is_empty() {
        return Err(format!("its annotation “{name}” has no place"));
    }
    places.sort_by_key(|(order, _)| *order);
    Ok(places.into_iter().map(|(_, place)| place).collect())
}

/// `#rrggbb`.
fn rgb_of(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    Some([byte(0)?, byte(2)?, byte(4)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(annotations: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><ASAP_Annotations><Annotations>{annotations}</Annotations><AnnotationGroups>\
             <Group Name=\"Tumor\" PartOfGroup=\"None\" Color=\"#64FE2E\"><Attributes/></Group>\
             </AnnotationGroups></ASAP_Annotations>"
        )
    }

    fn of_type(kind: &str) -> String {
        format!(
            "<Annotation Name=\"A {kind}\" Type=\"{kind}\" PartOfGroup=\"Tumor\" Color=\"#F4FA58\"><Coordinates>\
             <Coordinate Order=\"1\" X=\"10.5\" Y=\"0\"/><Coordinate Order=\"0\" X=\"0\" Y=\"0\"/>\
             <Coordinate Order=\"2\" X=\"10,5\" Y=\"4\"/><Coordinate Order=\"3\" X=\"0\" Y=\"4\"/>\
             </Coordinates></Annotation>"
        )
    }

    #[test]
    fn each_type_becomes_its_geometry_with_class_and_colour() {
        let places = vec![[0.0, 0.0], [10.5, 0.0], [10.5, 4.0], [0.0, 4.0]];
        let area = Geometry::Polygons(vec![Polygon { rings: vec![places.clone()] }]);
        for (kind, geometry, form) in [
            ("Dot", Geometry::Points(places.clone()), Form::Plain),
            ("PointSet", Geometry::Points(places.clone()), Form::Plain),
            ("Measurement", Geometry::Lines(vec![places.clone()]), Form::Plain),
            ("Polygon", area.clone(), Form::Plain),
            ("Spline", area.clone(), Form::Plain),
            ("None", area.clone(), Form::Plain),
            ("Rectangle", area.clone(), Form::Rectangle),
        ] {
            let read = parse(&file(&of_type(kind))).unwrap();
            assert_eq!((&read[0].geometry, read[0].form), (&geometry, form), "{kind}");
            assert_eq!(read[0].name, Some(format!("A {kind}")));
            assert_eq!(read[0].rgb, Some([0xf4, 0xfa, 0x58]));
            let class = read[0].class.as_ref().unwrap();
            assert_eq!((class.name.as_str(), class.rgb), ("Tumor", [0x64, 0xfe, 0x2e]));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_its_reason() {
        let no_place = "<Annotation Name=\"x\" Type=\"Dot\"/>";
        let nowhere = of_type("Dot").replace("10.5", "NaN");
        for (text, reason) in [
            ("<a/>".to_owned(), "and not “ASAP_Annotations”"),
            ("nothing".to_owned(), ""),
            (file(&of_type("Cloud")), "unknown type “Cloud”"),
            (file(no_place), "has no place"),
            (file(&nowhere), "is no place on a slide"),
        ] {
            let found = parse(&text).unwrap_err();
            assert!(found.contains(reason), "{found}");
        }
    }
}
