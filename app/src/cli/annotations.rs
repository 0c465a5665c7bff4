//! `reinpath annotations convert` and `check`: files of annotations without a window.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Failure;
use crate::annotation::{Annotation, Geometry, ObjectKind, asap, geojson};

/// Arguments of `reinpath annotations`.
#[derive(Debug, Args)]
pub(super) struct AnnotationsArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read annotations of QuPath (.geojson, .json, both also .gz) or ASAP (.xml) and write them as GeoJSON
    Convert(ConvertArguments),
    /// Say what a file of annotations holds: objects by kind, geometry and class, and where they lie
    Check(CheckArguments),
}

#[derive(Debug, Args)]
struct ConvertArguments {
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where to write them; a name that ends in .gz is compressed
    #[arg(short, long, value_name = "OUT.geojson")]
    output: PathBuf,
    /// One JSON object, {"type": "annotations", "data": {…}}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// One JSON object, {"type": "annotations", "data": {…}}
    #[arg(long)]
    json: bool,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Contents {
    annotations: usize,
    kinds: BTreeMap<String, usize>,
    geometries: BTreeMap<&'static str, usize>,
    /// By name; those without one are not counted.
    classes: BTreeMap<String, usize>,
    without_class: usize,
    holes: usize,
    /// Left, top, right, bottom in level-0 pixels; `None` when nothing has a place.
    bounds: Option<[f64; 4]>,
}

pub(super) fn annotations(arguments: &AnnotationsArguments) -> Result<(), Failure> {
    let (contents, json) = match &arguments.command {
        Command::Convert(arguments) => {
            let annotations = read(&arguments.input)?;
            geojson::write(&arguments.output, &annotations).map_err(anyhow::Error::from)?;
            (Contents::of(&annotations), arguments.json)
        }
        Command::Check(arguments) => (Contents::of(&read(&arguments.input)?), arguments.json),
    };
    let text = if json {
        let json = serde_json::json!({"type": "annotations", "data": contents});
        format!("{json}\n")
    } else {
        contents.in_words()
    };
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
}

/// ASAP's by the name `.xml`, everything else as GeoJSON.
fn read(path: &Path) -> anyhow::Result<Vec<Annotation>> {
    let is_xml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml"));
    let annotations = if is_xml { asap::read(path)? } else { geojson::read(path)? };
    if annotations.is_empty() {
        bail!("There are no annotations in the file: {}", path.display());
    }
    Ok(annotations)
}

impl Contents {
    fn of(annotations: &[Annotation]) -> Self {
        let mut contents = Self { annotations: annotations.len(), ..Self::default() };
        for annotation in annotations {
            *contents.kinds.entry(kind(&annotation.kind)).or_default() += 1;
            *contents.geometries.entry(geometry(&annotation.geometry)).or_default() += 1;
            match &annotation.class {
                Some(class) => *contents.classes.entry(class.name.clone()).or_default() += 1,
                None => contents.without_class += 1,
            }
            if let Geometry::Polygons(polygons) = &annotation.geometry {
                contents.holes +=
                    polygons.iter().map(|polygon| polygon.rings.len().saturating_sub(1)).sum::<usize>();
            }
            if let Some(own) = annotation.geometry.bounds() {
                let [x0, y0, x1, y1] = contents.bounds.unwrap_or([own.x0, own.y0, own.x1, own.y1]);
                contents.bounds = Some([x0.min(own.x0), y0.min(own.y0), x1.max(own.x1), y1.max(own.y1)]);
            }
        }
        contents
    }

    fn in_words(&self) -> String {
        let mut lines = vec![format!("annotations  {}", self.annotations)];
        lines.extend(self.kinds.iter().map(|(kind, count)| format!("kind         {kind}: {count}")));
        lines.extend(self.geometries.iter().map(|(name, count)| format!("geometry     {name}: {count}")));
        lines.extend(self.classes.iter().map(|(class, count)| format!("class        {class}: {count}")));
        if self.without_class > 0 {
            lines.push(format!("class        none: {}", self.without_class));
        }
        lines.push(format!("holes        {}", self.holes));
        if let Some([x0, y0, x1, y1]) = self.bounds {
            lines.push(format!("bounds       {x0},{y0} to {x1},{y1} (level-0 pixels)"));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn kind(kind: &ObjectKind) -> String {
    match kind {
        ObjectKind::Annotation => "annotation".to_owned(),
        ObjectKind::Detection => "detection".to_owned(),
        ObjectKind::Cell => "cell".to_owned(),
        ObjectKind::Tile => "tile".to_owned(),
        ObjectKind::Other(word) => word.clone().unwrap_or_else(|| "unnamed".to_owned()),
    }
}

fn geometry(geometry: &Geometry) -> &'static str {
    match geometry {
        Geometry::Points(_) => "points",
        Geometry::Lines(_) => "lines",
        Geometry::Polygons(_) => "areas",
        Geometry::Other(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::annotation::{Class, Form, Polygon};

    fn annotation(geometry: Geometry, class: Option<&str>) -> Annotation {
        let class = class.map(|name| Arc::new(Class { name: name.to_owned(), rgb: [200, 0, 0] }));
        Annotation {
            id: "a".to_owned(),
            kind: ObjectKind::Annotation,
            geometry,
            form: Form::Plain,
            class,
            name: None,
            notes: String::new(),
            rgb: None,
            is_locked: false,
            measurements: serde_json::Map::new(),
            rest: serde_json::Map::new(),
        }
    }

    #[test]
    fn what_a_file_holds_is_counted_and_placed() {
        let ring = |x: f64| vec![[x, 0.0], [x + 4.0, 0.0], [x, 4.0]];
        let with_hole = Geometry::Polygons(vec![Polygon { rings: vec![ring(0.0), ring(1.0)] }]);
        let all =
            [annotation(with_hole, Some("Tumor")), annotation(Geometry::Points(vec![[-2.0, 9.0]]), None)];
        let contents = Contents::of(&all);
        assert_eq!((contents.annotations, contents.holes, contents.without_class), (2, 1, 1));
        assert_eq!(contents.bounds, Some([-2.0, 0.0, 5.0, 9.0]));
        let words = contents.in_words();
        for line in
            ["annotations  2", "geometry     areas: 1", "class        Tumor: 1", "bounds       -2,0 to 5,9"]
        {
            assert!(words.contains(line), "{words}");
        }
        assert_eq!(Contents::of(&[]), Contents::default());
    }
}
