//! Annotations as users have them: files of QuPath and others survive, a hundred thousand stay fast, and what was acknowledged is there
//! after a kill.
//!
//! Without `../shared` the tests of its files skip, and say so.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests panic where something is wrong, print why they skip, and speak to each other through stdout"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use reinpath::annotation::set::{Altered, AnnotationSet, Change};
use reinpath::annotation::{Annotation, Class, Form, Geometry, ObjectKind, Place, Polygon, asap, geojson};

/// The folder of other programs' files; `None` (with the reason on stderr) where it is absent.
fn shared() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/vqa/annotations");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no {}", folder.display());
    None
}

/// Import, export and import again, plain and packed.
fn survives(annotations: &[Annotation], what: &str) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["again.geojson", "again.geojson.gz"] {
        let path = folder.path().join(name);
        geojson::write(&path, annotations).unwrap();
        let again = geojson::read(&path).unwrap();
        assert_eq!(again.len(), annotations.len(), "{what}");
        for (before, after) in annotations.iter().zip(&again) {
            assert_eq!(before, after, "{what}");
        }
    }
}

#[test]
fn every_qupath_file_survives_import_export_import() {
    let Some(folder) = shared() else { return };
    let qupath = folder.join("wsidicom/annotation/qupath_geojson");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(qupath).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.extend([folder.join("qupath/polygon.geojson"), folder.join("large_image/sample.geojson")]);
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let annotations = geojson::read(&file).unwrap();
        assert!(!annotations.is_empty());
        for annotation in &annotations {
            assert!(!matches!(annotation.geometry, Geometry::Other(_)), "{} is understood", file.display());
        }
        survives(&annotations, &file.display().to_string());
    }
}

#[test]
fn files_of_asap_are_read_and_survive_as_geojson() {
    let Some(folder) = shared() else { return };
    let folder = folder.join("wsidicom/annotation/asap");
    let dots = asap::read(&folder.join("asap-dot.xml")).unwrap();
    assert_eq!(dots[0].geometry, Geometry::Points(vec![[23071.5605, 16831.0098]]));
    let areas = asap::read(&folder.join("asap-polygon.xml")).unwrap();
    let Geometry::Polygons(polygons) = &areas[0].geometry else { panic!("no area") };
    assert_eq!(polygons[0].rings[0].len(), 6);
    assert_eq!(areas[0].rgb, Some([0xf4, 0xfa, 0x58]));
    survives(&[dots, areas].concat(), "ASAP");
    let wrong = asap::read(&folder.join("../qupath_geojson/qupath-line.json")).unwrap_err();
    assert!(wrong.to_string().ends_with("qupath-line.json"));
}

fn random_place(random: &mut ChaCha8Rng) -> Place {
    // Half of them with every digit that a number of double precision has: read back exactly only with the feature `float_roundtrip`
    // of serde_json.
    if random.random_bool(0.5) {
        [random.random_range(-100.0..1e5), random.random_range(0.0..1e5)]
    } else {
        [f64::from(random.random_range(0..10_000_000)) / 100.0, f64::from(random.random_range(0..100_000))]
    }
}

fn random_ring(random: &mut ChaCha8Rng) -> Vec<Place> {
    // Five at least, so that none is a rectangle by chance.
    (0..random.random_range(5..40)).map(|_| random_place(random)).collect()
}

fn random_annotation(random: &mut ChaCha8Rng) -> Annotation {
    let polygon = |random: &mut ChaCha8Rng| Polygon {
        rings: (0..random.random_range(1..4)).map(|_| random_ring(random)).collect(),
    };
    let parts = random.random_range(1..4);
    let geometry = match random.random_range(0..3) {
        0 => Geometry::Points((0..parts).map(|_| random_place(random)).collect()),
        1 => Geometry::Lines((0..parts).map(|_| random_ring(random)).collect()),
        _ => Geometry::Polygons((0..parts).map(|_| polygon(random)).collect()),
    };
    let form = if parts == 1 && random.random_bool(0.5) { Form::Multi } else { Form::Plain };
    let mut annotation = Annotation::new(geometry, form);
    annotation.kind = [ObjectKind::Annotation, ObjectKind::Detection, ObjectKind::Cell, ObjectKind::Tile]
        [random.random_range(0..4)]
    .clone();
    if random.random_bool(0.5) {
        let rgb = random.random();
        annotation.class =
            Some(Arc::new(Class { name: format!("Class “{}”", random.random_range(0..9)), rgb }));
    }
    annotation.name = random.random_bool(0.5).then(|| "näme \\ \" \u{1f52c}".to_owned());
    annotation.rgb = random.random_bool(0.5).then(|| random.random());
    annotation.is_locked = random.random_bool(0.2);
    if random.random_bool(0.5) {
        let area: f64 = random.random_range(0.0..1e6);
        annotation.measurements.insert("Area µm²".to_owned(), area.into());
        "line one\nline two".clone_into(&mut annotation.notes);
    }
    annotation
}

#[test]
fn five_hundred_random_annotations_survive() {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let annotations: Vec<Annotation> = (0..500).map(|_| random_annotation(&mut random)).collect();
    survives(&annotations, "random");
}

/// A hundred thousand small polygons on a slide of 100,000 × 80,000 px.
fn hundred_thousand() -> Vec<Annotation> {
    let polygon = |n: u32| {
        let (x, y) = (f64::from(n % 400) * 250.0, f64::from(n / 400) * 320.0);
        let corner = |k: u32| {
            let (sin, cos) = (f64::from(k) / 12.0 * std::f64::consts::TAU).sin_cos();
            [(x + 20.0 * cos).round(), (y + 20.0 * sin).round()]
        };
        let geometry = Geometry::Polygons(vec![Polygon { rings: vec![(0..12).map(corner).collect()] }]);
        Annotation::new(geometry, Form::Plain)
    };
    (0..100_000).map(polygon).collect()
}

#[test]
fn a_hundred_thousand_polygons_are_imported_hit_and_edited_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.geojson");
    geojson::write(&path, &hundred_thousand()).unwrap();
    let begun = Instant::now();
    let annotations = geojson::read(&path).unwrap();
    let read = begun.elapsed();
    let begun = Instant::now();
    let all: BTreeMap<u64, Arc<Annotation>> = (1..).zip(annotations.into_iter().map(Arc::new)).collect();
    let mut set = AnnotationSet::of(all, 1);
    let indexed = begun.elapsed();
    let begun = Instant::now();
    for n in 0..1000_u32 {
        let place = [f64::from(n * 7 % 400) * 250.0, f64::from(n % 250) * 320.0];
        assert!(set.hit(place, 5.0, |_| true).is_some(), "{place:?}");
    }
    let hit = begun.elapsed() / 1000;
    let begun = Instant::now();
    for place in 1..=1000 {
        let before = Arc::clone(set.get(place).unwrap());
        let after = Annotation { is_locked: true, ..(*before).clone() };
        let altered = Altered { place, before: Some(before), after: Some(Arc::new(after)) };
        set.apply(&Change { altered: vec![altered] });
    }
    let edited = begun.elapsed() / 1000;
    println!("100,000 polygons: read {read:?}, indexed {indexed:?}, a hit {hit:?}, an edit {edited:?}");
    assert_eq!(set.len(), 100_000);
    // Reading and indexing are a thread's; a hit and an edit are the window's, and must leave most of a frame. A debug build on a machine
    // with other work gets ten times the time.
    let slack = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(read < Duration::from_secs(8) * slack, "{read:?}");
    assert!(indexed < Duration::from_secs(2) * slack, "{indexed:?}");
    assert!(hit < Duration::from_millis(1) * slack, "{hit:?}");
    assert!(edited < Duration::from_millis(1) * slack, "{edited:?}");
}

/// Killing needs a system with signals.
#[cfg(unix)]
mod killed {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    use reinpath::store::{SlideId, Store};

    use super::*;

    const VARIABLE: &str = "REINPATH_TEST_STORE_TO_FILL";
    const NAME: &str = "killed::what_was_acknowledged_is_there_after_a_kill";

    /// In a process of its own: saves one annotation after the other, and says after each that it is safe.
    fn fill(path: &Path) -> ! {
        let mut store = Store::open(path).unwrap();
        let slide = SlideId { hash: "h".to_owned(), name: String::new() };
        for place in 1.. {
            let annotation = Annotation::new(Geometry::Points(vec![[place as f64, 0.0]]), Form::Plain);
            store.save(&slide, &[(place, Some(Arc::new(annotation)))]).unwrap();
            println!("saved {place}");
            std::io::stdout().flush().unwrap();
        }
        unreachable!("it is killed before it counted that far")
    }

    #[test]
    fn what_was_acknowledged_is_there_after_a_kill() {
        if let Some(path) = std::env::var_os(VARIABLE) {
            fill(Path::new(&path));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        for enough in [40, 90] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([NAME, "--exact", "--nocapture", "--test-threads=1"])
                .env(VARIABLE, &path)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut safe = 0;
            for line in BufReader::new(child.stdout.take().unwrap()).lines() {
                // The test's own name may stand before the first one.
                if let Some((_, number)) = line.unwrap().rsplit_once("saved ") {
                    safe = number.trim().parse().unwrap();
                }
                if safe == enough {
                    break;
                }
            }
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(safe, enough, "the child ended by itself");
            let kept = Store::open(&path).unwrap().annotations("h").unwrap();
            for place in 1..=safe {
                let annotation = kept.get(&place).unwrap();
                assert_eq!(annotation.geometry, Geometry::Points(vec![[place as f64, 0.0]]));
            }
        }
    }
}
