//! Annotations, classes, and stores of other forms.

use super::*;
use crate::annotation::{Form, Geometry, Polygon};

pub(super) fn slide(hash: &str) -> SlideId {
    SlideId { hash: hash.to_owned(), name: format!("{hash}.svs") }
}

pub(super) fn annotation(name: &str) -> Arc<Annotation> {
    let rings =
        vec![vec![[0.0, 0.0], [100.25, 0.0], [50.5, 80.01]], vec![[40.0, 10.0], [60.0, 10.0], [50.0, 20.0]]];
    let geometry = Geometry::Polygons(vec![Polygon { rings }]);
    let mut annotation = Annotation::new(geometry, Form::Plain);
    annotation.name = Some(name.to_owned());
    annotation.notes = "line one\nline “two”".to_owned();
    annotation.class = Some(Arc::new(Class { name: "Tumor".to_owned(), rgb: [1, 2, 3] }));
    annotation.measurements.insert("Area".to_owned(), 12.5.into());
    Arc::new(annotation)
}

#[test]
fn annotations_come_back_equal_and_of_their_own_slide_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below/store.sqlite");
    let (one, two) = (annotation("one"), annotation("two"));
    {
        let mut store = Store::open(&path).unwrap();
        store.save(&slide("a"), &[(1, Some(Arc::clone(&one))), (2, Some(Arc::clone(&two)))]).unwrap();
        store.save(&slide("b"), &[(1, Some(Arc::clone(&two)))]).unwrap();
        store.save(&slide("a"), &[(1, None), (7, Some(Arc::clone(&one)))]).unwrap();
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(store.annotations("a").unwrap(), BTreeMap::from([(2, two.clone()), (7, one)]));
    assert_eq!(store.annotations("b").unwrap(), BTreeMap::from([(1, two)]));
    assert!(store.annotations("c").unwrap().is_empty());
}

#[test]
fn blinded_reading_writes_no_name_and_takes_none_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    let hidden = SlideId { name: String::new(), ..slide("a") };
    store.save(&hidden, &[]).unwrap();
    assert_eq!(store.slide_name("a").unwrap().as_deref(), Some(""));
    store.save(&slide("a"), &[]).unwrap();
    store.save(&hidden, &[]).unwrap();
    assert_eq!(store.slide_name("a").unwrap().as_deref(), Some("a.svs"));
    assert_eq!(store.slide_name("b").unwrap(), None);
}

#[test]
fn classes_keep_their_newest_colour() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    for (name, rgb) in [("Tumor", [1, 2, 3]), ("Stroma", [255, 0, 128]), ("Tumor", [9, 9, 9])] {
        store.save_class(&Class { name: name.to_owned(), rgb }).unwrap();
    }
    let classes = [("Stroma", [255, 0, 128]), ("Tumor", [9, 9, 9])];
    assert_eq!(store.classes().unwrap(), classes.map(|(name, rgb)| Class { name: name.to_owned(), rgb }));
}

/// What the first form of the store looked like, as SQL; never changed.
pub(super) const FORM_1: &str = "
    PRAGMA journal_mode=WAL;
    CREATE TABLE slide (hash TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT '') STRICT;
    CREATE TABLE class (name TEXT PRIMARY KEY, rgb INTEGER NOT NULL) STRICT;
    CREATE TABLE annotation (slide TEXT NOT NULL REFERENCES slide (hash), place INTEGER NOT NULL, id TEXT NOT NULL,
        json TEXT NOT NULL, changed INTEGER NOT NULL, PRIMARY KEY (slide, place)) STRICT, WITHOUT ROWID;
    INSERT INTO slide VALUES ('a', 'old.svs');
    INSERT INTO class VALUES ('Tumor', 13107201);
    INSERT INTO annotation VALUES ('a', 3, 'x', '{\"type\":\"Feature\",\"id\":\"x\",\"geometry\":{\"type\":\"Point\",
        \"coordinates\":[1,2]},\"properties\":{\"objectType\":\"annotation\",\"name\":\"old\"}}', 1);
    PRAGMA user_version = 1;
";

#[test]
fn a_store_of_the_first_form_is_read_and_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    Connection::open(&path).unwrap().execute_batch(FORM_1).unwrap();
    let mut store = Store::open(&path).unwrap();
    let all = store.annotations("a").unwrap();
    assert_eq!(all[&3].name.as_deref(), Some("old"));
    assert_eq!(all[&3].geometry, Geometry::Points(vec![[1.0, 2.0]]));
    assert_eq!(store.classes().unwrap(), [Class { name: "Tumor".to_owned(), rgb: [200, 0, 1] }]);
    store.save(&slide("a"), &[(4, Some(annotation("new")))]).unwrap();
    assert_eq!(store.annotations("a").unwrap().len(), 2);
}

#[test]
fn a_store_of_the_second_form_loses_its_maps_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    drop(Store::open(&path).unwrap());
    // Between the second form and this one there is no difference but in what the heads of maps say.
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "INSERT INTO slide (hash) VALUES ('a');
             INSERT INTO cases (id, slide, title, created, changed) VALUES ('c', 'a', 'old', 1, 1);
             INSERT INTO question (id, of_case, asked, json) VALUES ('q', 'c', 1, '{}');
             INSERT INTO answer (id, of_case, question, began, hash, json) VALUES ('x', 'c', 'q', 1, '', '{}');
             INSERT INTO map VALUES ('x', '[{\"drop\":1.5}]', x'');
             PRAGMA user_version = 2;",
        )
        .unwrap();
    drop(Store::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    let count = |table: &str| -> i64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("map"), count("answer"), count("cases")), (0, 1, 1));
    assert_eq!(FORMAT, 3, "a newer form needs a test of its own that reads this one");
    assert!(folder.path().join("store.form2.sqlite").is_file(), "a copy of what was there");
}

#[test]
fn a_newer_store_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE later (x); PRAGMA user_version = 99;")
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert_eq!(error, Error::Newer { found: 99, path: path.clone() });
    assert!(error.to_string().ends_with("store.sqlite") && !error.may_pass());
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_no_store_is_refused_by_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    std::fs::write(&path, "this is no database, but long enough to look like a file of some kind".repeat(40))
        .unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(&error, Error::Broken { .. }), "{error}");
    let strange = folder.path().join("strange.sqlite");
    Connection::open(&strange).unwrap().execute_batch("PRAGMA user_version = -3").unwrap();
    assert!(Store::open(&strange).unwrap_err().to_string().contains("form -3"));
}

#[test]
fn a_hundred_thousand_are_kept_in_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("store.sqlite")).unwrap();
    let one = annotation("one of many");
    let all: Vec<Kept> = (1..=100_000).map(|place| (place, Some(Arc::clone(&one)))).collect();
    let begun = std::time::Instant::now();
    store.save(&slide("a"), &all).unwrap();
    // Far above what it takes (seconds in a debug build); a transaction for each would take minutes.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    assert_eq!(store.annotations("a").unwrap().len(), 100_000);
}
