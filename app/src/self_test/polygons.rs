//! Many annotations for the window to show: polygons from a seed, brought in as a user would, by a GeoJSON file.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::offscreen::Offscreen;
use crate::annotation::{Annotation, Form, Geometry, ObjectKind, Polygon, geojson};
use crate::slide::SlideInfo;
use crate::window::App;
use crate::window::command::Command;
use crate::window::read::ReadCommand;
use crate::window::read::annotate::AnnotateCommand;

/// Corners of a polygon.
const CORNERS: u32 = 24;
/// Radii in level-0 pixels: those of nuclei at 0.25 µm/px.
const RADIUS: std::ops::Range<f64> = 8.0..24.0;
/// Bringing them in may take this long.
const LONGEST_IMPORT: Duration = Duration::from_mins(2);

/// Shows `count` of them, spread over the slide.
pub(super) fn show(window: &mut Offscreen, info: &SlideInfo, count: usize, seed: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("there is no folder for the polygons")?;
    let file = folder.path().join("polygons.geojson");
    geojson::write(&file, &polygons(info, count, seed))?;
    window.app.commands().send(Command::Read(ReadCommand::Annotate(AnnotateCommand::Import(file))));
    let begun = Instant::now();
    while !are_there(&window.app, count) {
        window.frame()?;
        if let Some(problem) = window.app.state().problems.first() {
            bail!("{}", problem.sentence);
        }
        if begun.elapsed() > LONGEST_IMPORT {
            bail!("{count} polygons were not there after {} s", LONGEST_IMPORT.as_secs());
        }
    }
    Ok(())
}

/// Whether so many are known, and what the GPU draws of them is made.
fn are_there(app: &App, count: usize) -> bool {
    let slides = &app.state().read.annotate.slides;
    slides.values().any(|slide| slide.set.len() >= count && !slide.chunks.is_empty())
}

fn polygons(info: &SlideInfo, count: usize, seed: u64) -> Vec<Annotation> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (width, height) = (f64::from(info.width()), f64::from(info.height()));
    (0..count)
        .map(|number| {
            let (x, y) = (rng.random_range(0.0..width), rng.random_range(0.0..height));
            let radius = rng.random_range(RADIUS);
            let corner = |corner: u32| {
                let angle = std::f64::consts::TAU * f64::from(corner) / f64::from(CORNERS);
                let reach = radius * rng.random_range(0.8..1.2);
                [x + reach * angle.cos(), y + reach * angle.sin()]
            };
            let ring = (0..CORNERS).map(corner).collect();
            annotation(number, Geometry::Polygons(vec![Polygon { rings: vec![ring] }]))
        })
        .collect()
}

fn annotation(number: usize, geometry: Geometry) -> Annotation {
    Annotation {
        // The form of a UUID of version 4, and the same in every run.
        id: format!("00000000-0000-4000-8000-{number:012x}"),
        kind: ObjectKind::Annotation,
        geometry,
        form: Form::Plain,
        class: None,
        name: None,
        notes: String::new(),
        rgb: None,
        is_locked: false,
        measurements: serde_json::Map::new(),
        rest: serde_json::Map::new(),
    }
}
