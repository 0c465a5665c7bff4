//! Rows, pairs and the settings of a run that learns from them.

use std::path::Path;
use std::sync::Arc;

use reinpath::review::Collection;
use reinpath::review::export::teach::{self, Teaching};
use reinpath::review::export::{Error, Form, PREFERENCE, Pair, ROWS, write};
use reinpath_model::package::{Known, Manifest, Package, PackageWriter};
use reinpath_training::config::{DataSource, RunConfig};
use reinpath_training::dataset::{Dataset, Purpose, emphasised, read_sources};
use reinpath_training::rows::{Row, RowAnswer, RowKind, Split};

use super::fixture::{Shelf, collection, staged};

fn read(folder: &Path) -> Vec<Row> {
    Dataset::read(folder).unwrap().into_rows().unwrap()
}

fn pairs(folder: &Path) -> Vec<Pair> {
    let text = std::fs::read_to_string(folder.join(PREFERENCE)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The terms of a model from which nobody may learn.
const TERMS: &str = "its licence forbids to learn from its answers";

/// Lets the answers with these names come from such a model.
fn forbid(of: &mut Collection, names: &[&str]) {
    for reviewed in &mut of.reviewed {
        let answer = Arc::make_mut(&mut reviewed.answer);
        if names.iter().any(|name| answer.id.0 == format!("answer-{name}")) {
            answer.stamp.get_or_insert_default().terms = Some(TERMS.to_owned());
        }
    }
}

#[test]
fn answers_that_stand_are_rows_as_they_read_with_their_edits() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let of = collection(&shelf);
    let to = folder.path().join("rows");
    let sentence = write(Form::Rows, &of, false, Some(&shelf.folder), &to).unwrap();
    assert!(
        sentence.starts_with("2 rows and 2 preference pairs written, 2 answers left out")
            && sentence.contains("1 with a rejected sentence")
            && sentence.contains("1 not judged to the end"),
        "{sentence}"
    );
    let rows = read(&to);
    assert_eq!(rows.len(), 2);
    let corrected = &rows[0];
    assert_eq!((corrected.kind, corrected.label.as_deref()), (RowKind::Choice, Some("D")));
    let want = staged("A mucin pool is seen. Mucin is abundant.", "Nests lie in stroma.", "D) mucin pool");
    assert_eq!(corrected.answer, Some(RowAnswer::Staged(want.clone())));
    assert_eq!((corrected.split, corrected.mpp), (Some(Split::Train), Some(0.5)));
    assert_eq!(corrected.region, Some([480.0, 320.0, 224.0, 200.0]));
    assert_eq!(corrected.context.as_deref(), Some("Colon, H&E"));
    assert_eq!(corrected.slide.as_deref(), Some(of.reviewed[0].case.slide.hash.as_str()));
    assert!(!emphasised(&want.to_text(), &corrected.emphasis).is_empty(), "{:?}", corrected.emphasis);
    let statement = &rows[1];
    assert_eq!((statement.kind, statement.label.as_deref()), (RowKind::TrueFalse, Some("True")));
    assert!(statement.choices.is_empty() && statement.emphasis.is_empty());
    for image in rows.iter().flat_map(|row| &row.images) {
        let image = image::open(to.join(image)).unwrap().to_rgb8();
        assert_eq!(blake3::hash(image.as_raw()).to_hex().as_str(), shelf.pixels);
    }
}

#[test]
fn rows_serve_the_cold_start_and_grpo_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let to = folder.path().join("rows");
    write(Form::Rows, &collection(&shelf), false, Some(&shelf.folder), &to).unwrap();
    let source = |repeat: usize| -> DataSource {
        let text = format!("folder = {}\nrepeat = {repeat}", toml::Value::String(to.display().to_string()));
        toml::from_str(&text).unwrap()
    };
    for (purpose, repeat) in [(Purpose::ColdStart, 8), (Purpose::Grpo, 1)] {
        let rows = read_sources(&[source(repeat)], purpose, 1).unwrap();
        assert_eq!((rows.rows.len(), rows.pass.len()), (2, 2 * repeat), "{purpose:?}");
        assert!(rows.left_out.is_empty() && rows.rows[0].images[0].is_file());
    }
}

#[test]
fn what_was_corrected_is_preferred_to_what_was_generated_and_what_stands_to_what_was_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let to = folder.path().join("rows");
    let mut of = collection(&shelf);
    of.reviewed.truncate(2);
    write(Form::Rows, &of, false, Some(&shelf.folder), &to).unwrap();
    let pairs = pairs(&to);
    let ids: Vec<&str> = pairs.iter().map(|pair| pair.id.as_str()).collect();
    // The rejected one has no whole answer left that could be preferred to it.
    assert_eq!(ids, ["answer-corrected-corrected", "answer-corrected-over-answer-wrong"]);
    assert_eq!(pairs[0].chosen.conclusion, "D) mucin pool");
    assert_eq!(pairs[0].rejected.conclusion, "B) nests");
    assert_eq!(pairs[1].chosen.conclusion, "D) mucin pool");
    assert_eq!(pairs[1].rejected.conclusion, "C) sheets");
    assert!(pairs.iter().all(|pair| pair.choices.len() == 4 && to.join(&pair.images[0]).is_file()));
}

#[test]
fn answers_whose_pixels_are_gone_are_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let to = folder.path().join("rows");
    let refused = write(Form::Rows, &collection(&shelf), false, None, &to).unwrap_err();
    let Error::NoRow(reasons) = refused else { panic!("{refused:?}") };
    assert!(reasons.contains("2 without the pixels of their patches"), "{reasons}");
    assert!(!to.exists());
}

#[test]
fn teaching_lays_rows_and_settings_into_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let to = folder.path().join("exports/teach-1");
    let teaching =
        Teaching { name: "Taught 1".to_owned(), package: folder.path().join("package"), rehearsal: None };
    let sentence = teach::write(&collection(&shelf), Some(&shelf.folder), &to, &teaching).unwrap();
    assert!(sentence.starts_with("2 rows"), "{sentence}");
    let text = std::fs::read_to_string(to.join(teach::SETTINGS)).unwrap();
    let config: RunConfig = toml::from_str(&text).unwrap();
    assert_eq!(config.base, folder.path().join("package"));
    let data = &config.cold_start.unwrap().data;
    assert_eq!((data.len(), data[0].folder.as_path()), (1, to.as_path()));
    assert!(to.join(ROWS).is_file());
    let mut judged = collection(&shelf);
    judged.reviewed.retain(|reviewed| reviewed.answer.id.0 == "answer-wrong");
    let refused = teach::write(&judged, Some(&shelf.folder), &to.join("again"), &teaching).unwrap_err();
    assert_eq!(refused, Error::NoRow("1 with a rejected sentence".to_owned()));
}

#[test]
fn nobody_learns_from_a_model_whose_licence_forbids_it() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let to = folder.path().join("rows");
    let mut of = collection(&shelf);
    forbid(&mut of, &["corrected"]);
    let sentence = write(Form::Rows, &of, false, Some(&shelf.folder), &to).unwrap();
    assert!(
        sentence.starts_with("1 row and 0 preference pairs written, 3 answers left out")
            && sentence.contains("1 whose model's terms are: its licence forbids to learn from its answers)"),
        "{sentence}"
    );
    assert_eq!(read(&to)[0].kind, RowKind::TrueFalse, "the answer of the other model");

    // Nor is one of its answers what another is better than.
    let mut of = collection(&shelf);
    forbid(&mut of, &["wrong"]);
    let to = folder.path().join("pairs");
    write(Form::Rows, &of, false, Some(&shelf.folder), &to).unwrap();
    let ids: Vec<String> = pairs(&to).into_iter().map(|pair| pair.id).collect();
    assert_eq!(ids, ["answer-corrected-corrected"]);

    forbid(&mut of, &["corrected", "turned", "true"]);
    let to = folder.path().join("nothing");
    let refused = write(Form::Rows, &of, false, Some(&shelf.folder), &to).unwrap_err();
    assert_eq!(refused, Error::Forbidden(TERMS.to_owned()));
    let teaching =
        Teaching { name: "Taught".to_owned(), package: folder.path().join("gone"), rehearsal: None };
    let refused = teach::write(&of, Some(&shelf.folder), &to, &teaching).unwrap_err();
    assert_eq!(refused, Error::Forbidden(TERMS.to_owned()));
    assert!(!to.exists());
    // What is told to people is told of these answers, too.
    write(Form::Json, &of, false, Some(&shelf.folder), &folder.path().join("review.json")).unwrap();
}

#[test]
fn a_package_whose_licence_forbids_training_is_not_taught() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models/demo");
    let demo = Package::open(&demo).unwrap();
    let package = folder.path().join("package");
    let mut writer = PackageWriter::create(&package).unwrap();
    for name in demo.files() {
        writer.link(&demo.file(&name), &name).unwrap();
    }
    let terms = Known::named("Patho-R1-7B").unwrap().terms();
    let sentence = terms.refuses_training.clone().unwrap();
    writer.manifest(&Manifest { terms: Some(terms), ..demo.manifest.clone() }).unwrap();
    let teaching = Teaching { name: "Taught".to_owned(), package, rehearsal: None };
    let to = folder.path().join("teach");
    let refused = teach::write(&collection(&shelf), Some(&shelf.folder), &to, &teaching).unwrap_err();
    assert_eq!(refused, Error::NotTaught(sentence));
    assert!(!to.exists());
}
