//! Exports as those who receive them have them: every form is read again by something else than what wrote it, no form tells a name
//! unasked, and nothing that can be written breaks one.
//!
//! With `REINPATH_EXPORTS` set to a folder, all forms are written there, for `app/tests/golden/export_check.py`.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands, also in its support")]

mod fixture;
mod rows;

use std::path::{Path, PathBuf};

use reinpath::annotation::{Form as Shape, Geometry, geojson};
use reinpath::case::Answer;
use reinpath::review::Collection;
use reinpath::review::export::document::{Document, schema};
use reinpath::review::export::{Error, Form, write};
use reinpath::review::verify::heads_in;
use roxmltree::ParsingOptions;
use serde_json::Value;

use fixture::{NAMES, Shelf, collection, hostile};

/// The file of the committed schema.
fn schema_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/review-export.schema.json")
}

/// Writes a form and gives back its bytes, and the sentence.
fn written(
    form: Form,
    of: &Collection,
    tells_names: bool,
    shelf: &Shelf,
    folder: &Path,
) -> (Vec<u8>, String) {
    let to = folder.join(form.file_name());
    let sentence = write(form, of, tells_names, Some(&shelf.folder), &to).unwrap();
    (std::fs::read(&to).unwrap(), sentence)
}

/// Every form that is one file.
const FILES: [Form; 5] = [Form::Json, Form::Html, Form::Pdf, Form::Csv, Form::GeoJson];

/// All that is written inside of an element.
fn texts(node: roxmltree::Node<'_, '_>) -> String {
    node.descendants().filter(roxmltree::Node::is_text).filter_map(|text| text.text()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_document_comes_back_as_it_was_and_holds_what_the_store_has() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let of = collection(&shelf);
    let (bytes, sentence) = written(Form::Json, &of, true, &shelf, folder.path());
    assert!(sentence.starts_with("4 answers written: ") && sentence.ends_with("review.json"), "{sentence}");
    let document: Document = serde_json::from_slice(&bytes).unwrap();
    let again: Document = serde_json::from_str(&document.to_json().unwrap()).unwrap();
    assert_eq!(again, document);
    assert_eq!((document.format, document.cases.len()), (1, 2));
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    let first = &value["cases"][0]["questions"][0]["answers"][0];
    assert_eq!(serde_json::from_value::<Answer>(first.clone()).unwrap(), *of.reviewed[0].answer);
    assert_eq!(first["sentences"][0]["edited"], "A mucin pool is seen.");
    assert_eq!(first["sentences"][0]["reason"], "wrong_feature");
    assert_eq!(first["sentences"][2]["scope"], "stage");
    assert_eq!(first["corrected"]["conclusion"], "D) mucin pool");
    assert_eq!(first["maps"][0]["fall"], 1.5);
    assert_eq!(first["entries"].as_array().unwrap().len(), 4);
}

#[test]
fn the_committed_schema_is_that_of_the_document() {
    if std::env::var_os("REINPATH_WRITE_SCHEMA").is_some() {
        std::fs::write(schema_file(), schema()).unwrap();
    }
    let committed = std::fs::read_to_string(schema_file()).unwrap_or_default().replace("\r\n", "\n");
    assert!(
        committed == schema(),
        "assets/review-export.schema.json is not that of the document: write it anew with REINPATH_WRITE_SCHEMA=1"
    );
}

#[test]
fn no_form_tells_a_name_unless_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let of = collection(&shelf);
    for form in FILES {
        let (bytes, _) = written(form, &of, false, &shelf, folder.path());
        for name in NAMES {
            assert!(!holds(&bytes, name), "{form:?} tells {name}");
        }
    }
    let rows = folder.path().join("rows");
    write(Form::Rows, &of, false, Some(&shelf.folder), &rows).unwrap();
    for file in ["rows.jsonl", "preference.jsonl"] {
        let bytes = std::fs::read(rows.join(file)).unwrap();
        assert!(NAMES.iter().all(|name| !holds(&bytes, name)), "{file}");
    }
    for form in [Form::Json, Form::Html, Form::Csv] {
        let (bytes, _) = written(form, &of, true, &shelf, folder.path());
        assert!(holds(&bytes, "S26-104.svs"), "{form:?} was asked to tell names");
    }
    let (json, _) = written(Form::Json, &of, true, &shelf, folder.path());
    assert!(NAMES.iter().all(|name| holds(&json, name)));
}

#[test]
fn every_form_carries_the_logs_head() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let of = collection(&shelf);
    for form in FILES {
        let (bytes, _) = written(form, &of, false, &shelf, folder.path());
        assert!(heads_in(&bytes).contains(&of.head), "{form:?}");
    }
    let rows = folder.path().join("rows");
    write(Form::Rows, &of, false, Some(&shelf.folder), &rows).unwrap();
    assert!(heads_in(&std::fs::read(rows.join("rows.jsonl")).unwrap()).contains(&of.head));
}

#[test]
fn the_report_is_xml_that_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let (bytes, _) = written(Form::Html, &collection(&shelf), false, &shelf, folder.path());
    let text = String::from_utf8(bytes).unwrap();
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let page = roxmltree::Document::parse_with_options(&text, options).unwrap();
    let all = |name: &str| -> Vec<String> {
        let found = page.descendants().filter(|node| node.has_tag_name(name));
        found.map(texts).collect()
    };
    assert!(
        all("script").is_empty() && all("link").is_empty() && !text.contains("http:"),
        "nothing is fetched"
    );
    assert!(!text.contains("https:"));
    let pictures: Vec<_> = page.descendants().filter(|node| node.has_tag_name("img")).collect();
    let is_inside = |node: &roxmltree::Node<'_, '_>| {
        node.attribute("src").is_some_and(|from| from.starts_with("data:image/png;base64,iVBOR"))
    };
    assert!(!pictures.is_empty() && pictures.iter().all(is_inside));
    assert!(text.contains("bar: 20 µm"), "224 px of 0.5 µm have a bar of 20 µm");
    assert!(text.contains("scale unknown"), "the second case's stamp is not there");
    assert!(all("ins").iter().any(|added| added.contains("mucin")), "{:?}", all("ins"));
    assert!(!all("del").is_empty());
    assert!(all("h5").iter().any(|stage| stage == "Observation"));
    for words in ["rejected: not visible", "accepted with the answer", "not judged", "For research use only"]
    {
        assert!(text.contains(words), "{words}");
    }
}

#[test]
fn the_pdf_has_pages_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let (bytes, sentence) = written(Form::Pdf, &collection(&shelf), false, &shelf, folder.path());
    assert!(bytes.starts_with(b"%PDF-") && holds(&bytes, "%%EOF"));
    assert!(holds(&bytes, "/Image"), "the patch is in it");
    assert!(!sentence.contains("without"), "{sentence}");
    let nowhere =
        write(Form::Pdf, &collection(&shelf), false, None, &folder.path().join("bare.pdf")).unwrap();
    assert!(nowhere.contains("without the pixels of 1 patch"), "{nowhere}");
}

#[test]
fn patches_are_annotations_with_answers_among_their_properties() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let of = collection(&shelf);
    let to = folder.path().join("review.geojson");
    write(Form::GeoJson, &of, false, Some(&shelf.folder), &to).unwrap();
    let read = geojson::read(&to).unwrap();
    assert_eq!(read.len(), 4);
    assert_eq!(read[0].class.as_ref().unwrap().name, "ReinPath");
    assert_eq!(read[0].name.as_deref(), Some("Which structure is seen?"));
    assert_eq!(read[0].form, Shape::Rectangle);
    let bounds = read[0].geometry.bounds().unwrap();
    assert_eq!((bounds.x0, bounds.y0, bounds.x1, bounds.y1), (480.0, 320.0, 704.0, 520.0));
    assert_eq!(read[0].measurements["ReinPath: sentences edited"], 3);
    assert!(read[0].measurements.values().all(Value::is_number), "QuPath takes numbers alone");
    let own = &read[0].rest["properties"]["reinpath"];
    assert_eq!(own["corrected"]["conclusion"], "D) mucin pool");
    assert_eq!(own["question"], "Which structure is seen?");
    let Geometry::Polygons(turned) = &read[2].geometry else { panic!("no polygon") };
    assert_eq!(read[2].form, Shape::Plain);
    let ring = &turned[0].rings[0];
    assert!((turned[0].area() - 224.0 * 200.0).abs() < 1e-6 && ring[0][1] > 320.0, "{ring:?}");
    write(Form::GeoJson, &of, false, Some(&shelf.folder), &to).unwrap();
    let ids = |read: &[reinpath::annotation::Annotation]| -> Vec<String> {
        read.iter().map(|annotation| annotation.id.clone()).collect()
    };
    assert_eq!(ids(&geojson::read(&to).unwrap()), ids(&read), "the same patch has the same id");
}

/// A small reader of RFC 4180.
fn cells(text: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut cell, mut is_quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => line.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted && chars.peek() == Some(&'\n') => {
                chars.next();
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            c => cell.push(c),
        }
    }
    assert!(line.is_empty() && cell.is_empty() && !is_quoted, "every line ends with CR and LF");
    lines
}

#[test]
fn the_table_has_a_line_for_each_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let (bytes, _) = written(Form::Csv, &collection(&shelf), false, &shelf, folder.path());
    let lines = cells(std::str::from_utf8(&bytes).unwrap());
    assert_eq!(lines.len(), 1 + 4 + 3 + 4 + 3);
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
    let at = |name: &str| lines[0].iter().position(|column| column == name).unwrap();
    let first = &lines[1];
    assert_eq!(first[at("text")], "Nests are seen.");
    assert_eq!(first[at("verdict")], "edited: wrong feature");
    assert_eq!(first[at("edited")], "A mucin pool is seen.");
    assert_eq!(first[at("reviewer")], "Reviewer 1");
    assert_eq!(first[at("choices")], "A) glands; B) nests; C) sheets; D) mucin pool");
}

#[test]
fn nothing_that_can_be_written_breaks_a_form() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let of = hostile(&shelf);
    let (json, _) = written(Form::Json, &of, true, &shelf, folder.path());
    let document: Document = serde_json::from_slice(&json).unwrap();
    assert_eq!(document.cases[0].questions[0].question.text, fixture::HOSTILE, "told as it was typed");
    let (html, _) = written(Form::Html, &of, true, &shelf, folder.path());
    let html = String::from_utf8(html).unwrap();
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let page = roxmltree::Document::parse_with_options(&html, options).unwrap();
    assert!(page.descendants().all(|node| !node.has_tag_name("script") && !node.has_tag_name("b")));
    let (pdf, _) = written(Form::Pdf, &of, true, &shelf, folder.path());
    assert!(pdf.starts_with(b"%PDF-"));
    let (csv, _) = written(Form::Csv, &of, true, &shelf, folder.path());
    for line in cells(std::str::from_utf8(&csv).unwrap()) {
        assert!(line.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@'])), "{line:?}");
    }
    let to = folder.path().join("review.geojson");
    write(Form::GeoJson, &of, true, Some(&shelf.folder), &to).unwrap();
    assert_eq!(geojson::read(&to).unwrap().len(), 1);
    let rows = folder.path().join("rows");
    write(Form::Rows, &of, true, Some(&shelf.folder), &rows).unwrap();
    let lines = std::fs::read_to_string(rows.join("rows.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 1);
}

#[test]
fn a_place_that_is_taken_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(folder.path());
    let to = folder.path().join("mine");
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("notes.txt"), "mine").unwrap();
    let refused = write(Form::Rows, &collection(&shelf), false, Some(&shelf.folder), &to).unwrap_err();
    assert_eq!(refused, Error::NotEmpty { path: to.clone() });
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    write(Form::Rows, &collection(&shelf), false, Some(&shelf.folder), &empty).unwrap();
    assert!(empty.join("rows.jsonl").is_file());
}

#[test]
fn all_forms_are_written_for_other_programs_to_look_at() {
    let Some(folder) = std::env::var_os("REINPATH_EXPORTS").map(PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).unwrap();
    let shelf = Shelf::new(&folder);
    for (name, of) in [("review", collection(&shelf)), ("hostile", hostile(&shelf))] {
        let place = folder.join(name);
        std::fs::create_dir_all(&place).unwrap();
        for form in FILES {
            written(form, &of, false, &shelf, &place);
        }
        let rows = place.join(Form::Rows.file_name());
        if rows.exists() {
            std::fs::remove_dir_all(&rows).unwrap();
        }
        write(Form::Rows, &of, false, Some(&shelf.folder), &rows).unwrap();
    }
}
