//! Logs that were changed, cut or written anew, and heads in exports.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use reinpath_model::stage::AnswerStage::{Analysis, Observation};

use super::*;
use crate::case::Id;
use crate::review::verdict::Decision::{Accept, Edit, Reject};
use crate::store::samples::{answer, case, draft, question, undo};

/// A store with two answers and a log of five entries, in a file that others may open.
fn store(folder: &Path) -> (PathBuf, Head) {
    let path = folder.join("store.sqlite");
    let mut store = Store::open(&path).unwrap();
    let case = case("c", "s", 1000);
    let question = question("q", &case, "What is it?");
    store.keep_case(&case).unwrap();
    store.keep_question(&question).unwrap();
    for id in ["a", "b"] {
        store.keep_answer(&case.id, &answer(id, &question, "Glands are seen.")).unwrap();
    }
    store.append(&draft("a", Observation, 0, Accept)).unwrap();
    store.append(&draft("b", Observation, 0, Edit("Nests – seen.".to_owned()))).unwrap();
    store.append(&draft("a", Analysis, 0, Reject)).unwrap();
    store.append(&undo("b", 2)).unwrap();
    store.append(&draft("a", Observation, 0, Reject)).unwrap();
    (path, store.head().unwrap())
}

/// Changes the file behind the program's back.
fn tamper(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA foreign_keys=OFF; DROP TRIGGER log_is_not_changed; DROP TRIGGER log_is_not_cut;",
        )
        .unwrap();
    connection.execute_batch(sql).unwrap();
}

fn verified(path: &Path) -> Result<Head, Fault> {
    verify(&Store::open(path).unwrap()).unwrap()
}

#[test]
fn a_whole_log_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, head) = store(folder.path());
    assert_eq!((verified(&path), head.entries), (Ok(head), 5));
    assert_eq!(verify(&Store::open_in_memory().unwrap()).unwrap(), Ok(Head::default()));
}

#[test]
fn what_was_changed_is_named() {
    let changed = |number| Fault::Changed { number };
    let of_answer = |number, answer: &str| Fault::AnswerChanged { number, answer: answer.to_owned() };
    let cases = [
        ("UPDATE log SET body = replace(body, 'Nests', 'Rests') WHERE number = 2", changed(2)),
        ("UPDATE log SET at = at + 1 WHERE number = 3", changed(3)),
        ("UPDATE log SET answer = 'b' WHERE number = 3", changed(3)),
        ("UPDATE log SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE number = 4", changed(4)),
        ("UPDATE log SET previous = '' WHERE number = 1", changed(1)),
        ("UPDATE log SET body = CAST(x'FF00' AS TEXT) WHERE number = 5", changed(5)),
        ("DELETE FROM log WHERE number = 3", Fault::Missing { number: 3 }),
        ("DELETE FROM log WHERE number = 1", Fault::Missing { number: 1 }),
        ("UPDATE log SET number = 9 WHERE number = 5", Fault::Missing { number: 5 }),
        ("UPDATE answer SET json = replace(json, 'Glands', 'Clands') WHERE id = 'b'", of_answer(2, "b")),
        ("UPDATE answer SET id = 'x' WHERE id = 'a'", of_answer(1, "a")),
    ];
    for (sql, fault) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = store(folder.path());
        tamper(&path, sql);
        assert_eq!(verified(&path), Err(fault), "{sql}");
    }
}

#[test]
fn an_entry_that_was_written_anew_with_its_hash_is_named_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = store(folder.path());
    let mut link = Store::open(&path).unwrap().link(2).unwrap().unwrap();
    link.body = link.body.replace("Nests", "Rests");
    let sql = format!(
        "UPDATE log SET body = '{}', hash = '{}' WHERE number = 2",
        link.body.replace('\'', "''"),
        link.right_hash()
    );
    tamper(&path, &sql);
    assert_eq!(verified(&path), Err(Fault::Changed { number: 2 }));
}

#[test]
fn a_tail_that_was_cut_is_found_by_whoever_has_seen_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, head) = store(folder.path());
    assert_eq!(against(&Store::open(&path).unwrap(), &head).unwrap(), Ok(()));
    assert_eq!(against(&Store::open(&path).unwrap(), &Head::default()).unwrap(), Ok(()));
    tamper(&path, "DELETE FROM log WHERE number > 3");
    assert_eq!(verified(&path).unwrap().entries, 3, "what is left is whole");
    let mut store = Store::open(&path).unwrap();
    let fault = against(&store, &head).unwrap().unwrap_err();
    assert_eq!(fault, Fault::Cut { entries: 3, seen: 5 });
    assert_eq!(fault.to_string(), "entry 3 is the last, but the export has seen 5: the log's tail was cut");
    // Others in their place are not those that were seen.
    for _ in 0..2 {
        store.append(&draft("a", Observation, 0, Accept)).unwrap();
    }
    assert_eq!(against(&store, &head).unwrap(), Err(Fault::Other { number: 5 }));
    assert_eq!(store.open_case(&Id("c".to_owned())).unwrap().unwrap().1.len(), 5);
}

#[test]
fn heads_are_found_in_any_bytes() {
    let head = |entries: u64, digit: &str| Head { entries, hash: digit.repeat(64) };
    let (one, two) = (head(17, "a"), head(0, "0"));
    let text = format!("reinpath-log: <p>{one}</p> {one} reinpath-log:5:12 and {two}.");
    assert_eq!(heads_in(text.as_bytes()), [one.clone(), two.clone()]);
    let wide: Vec<u8> = one.to_string().bytes().flat_map(|byte| [0, byte]).collect();
    assert_eq!(heads_in(&[b"%PDF-1.7 \xFE\xFF", &wide[..]].concat()), std::slice::from_ref(&one));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    assert_eq!(heads_in(&packed.finish().unwrap()), [one, two]);
    let huge = format!("reinpath-log:99999999999999999999999:{}", "0".repeat(64));
    for nothing in ["", "reinpath-log:", "rreinpath-log", huge.as_str(), "\u{1f}\u{8b}"] {
        assert!(heads_in(nothing.as_bytes()).is_empty(), "{nothing}");
    }
}
