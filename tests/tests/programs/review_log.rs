//! The log of verdicts in the hands of somebody who changes it: every changed byte is found and its entry named, an entry that was taken
//! out as well, and a tail that was cut is found against an export of any form.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use reinpath::case::{Answer, Case, Id, PatchKept, Purpose, Question, Token};
use reinpath::review::Selection;
use reinpath::review::export::{self, Form};
use reinpath::review::verdict::{Action, Decision, Draft, Reason, Target, Verdict};
use reinpath::review::verify::{Fault, against, heads_in, verify};
use reinpath::slide::Region;
use reinpath::store::{SlideId, Store};
use reinpath_model::event::{Finished, Stamp, Stop};
use reinpath_model::stage::AnswerStage;
use reinpath_tests::program;
use rusqlite::{Connection, params};
use serde_json::Value;

/// A store with one answer and a log of so many entries.
fn store(folder: &Path, entries: usize) -> (PathBuf, Store) {
    let path = folder.join("store.sqlite");
    let mut store = Store::open(&path).unwrap();
    let case = Case {
        id: Id::fresh(),
        slide: SlideId { hash: "abcd".to_owned(), name: "slide.svs".to_owned() },
        path: None,
        title: "A case".to_owned(),
        created: 1,
        changed: 1,
    };
    let question = Question {
        id: Id::fresh(),
        case: case.id.clone(),
        text: "What is it?".to_owned(),
        patches: vec![PatchKept::new(1, Region { x: 10, y: 20, w: 300, h: 300 })],
        words: "Slide 1, patch 1".to_owned(),
        asked: 1,
        ..Question::default()
    };
    let mut answer = Answer::begun(question.id.clone(), Purpose::Answer);
    for (stage, text) in [
        (AnswerStage::Observation, "Glands are seen. Necrosis is absent."),
        (AnswerStage::Analysis, "This fits tubules."),
        (AnswerStage::Conclusion, "Tubules."),
    ] {
        answer.tokens.push(Token { stage: Some(stage), text: text.to_owned(), logprob: -0.5 });
    }
    answer.stamp = Some(Box::new(Stamp { package: "demo".to_owned(), ..Stamp::default() }));
    answer.finished =
        Some(Finished { answer: answer.text(), stop: Stop::End, ..Finished::cancelled_before_it_began() });
    answer.ended = Some(2);
    store.keep_case(&case).unwrap();
    store.keep_question(&question).unwrap();
    store.keep_answer(&case.id, &answer).unwrap();
    for number in 0..entries {
        let decision =
            [Decision::Accept, Decision::Edit("Nests – “solid” – are seen.".to_owned()), Decision::Reject]
                [number % 3]
                .clone();
        let verdict = Verdict {
            target: Target::Sentence(AnswerStage::Observation, number % 2),
            decision,
            reason: (number % 3 > 0).then_some(Reason::WrongFeature),
            comment: String::new(),
        };
        let draft =
            Draft { answer: answer.id.clone(), reviewer: "R".to_owned(), action: Action::Decide(verdict) };
        store.append(&draft).unwrap();
    }
    (path, store)
}

/// Opens the file as somebody does who wants to change it.
fn tamperer(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF;
             DROP TRIGGER log_is_not_changed; DROP TRIGGER log_is_not_cut;",
        )
        .unwrap();
    connection
}

fn verify_command(path: &Path, exports: &[PathBuf]) -> Output {
    let mut command = Command::new(program("reinpath"));
    command.args(["review", "verify", "--json", "--store"]).arg(path);
    for export in exports {
        command.arg("--against").arg(export);
    }
    command.stdin(Stdio::null()).env_remove("RUST_LOG").output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_changed_character_is_found_and_its_entry_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, store) = store(folder.path(), 3);
    let head = verify(&store).unwrap().unwrap();
    let connection = tamperer(&path);
    let mut changes = 0;
    for number in 1..=3_u64 {
        for column in ["body", "hash", "previous", "answer"] {
            let right: String = connection
                .query_row(&format!("SELECT {column} FROM log WHERE number = ?1"), [number as i64], |row| {
                    row.get(0)
                })
                .unwrap();
            let write = format!("UPDATE log SET {column} = ?2 WHERE number = ?1");
            let letters: Vec<char> = right.chars().collect();
            for place in 0..letters.len() {
                let mut wrong = letters.clone();
                wrong[place] = if wrong[place] == 'x' { 'y' } else { 'x' };
                let wrong: String = wrong.into_iter().collect();
                connection.execute(&write, params![number as i64, wrong]).unwrap();
                assert_eq!(verify(&store).unwrap(), Err(Fault::Changed { number }), "{column}: {wrong}");
                changes += 1;
            }
            connection.execute(&write, params![number as i64, right]).unwrap();
        }
        for bit in 0..50 {
            let sql = "UPDATE log SET at = (at | ?2) - (at & ?2) WHERE number = ?1";
            let flip = || connection.execute(sql, params![number as i64, 1_i64 << bit]).unwrap();
            flip();
            assert_eq!(verify(&store).unwrap(), Err(Fault::Changed { number }), "bit {bit} of the time");
            flip();
            changes += 1;
        }
    }
    assert_eq!(verify(&store).unwrap(), Ok(head), "all is as it was");
    assert!(changes > 1000, "{changes}");
}

#[test]
fn a_changed_log_ends_the_command_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (path, store) = store(folder.path(), 5);
    let head = store.head().unwrap();
    drop(store);
    let output = verify_command(&path, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["type"], "verified");
    assert_eq!(line["data"], serde_json::json!({"entries": 5, "head": head.to_string()}));
    let connection = tamperer(&path);
    connection.execute("UPDATE log SET body = replace(body, 'Nests', 'Rests') WHERE number = 2", []).unwrap();
    let output = verify_command(&path, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(stderr(&output).contains("entry 2 was changed") && stderr(&output).lines().count() == 1);
    connection.execute("DELETE FROM log WHERE number = 2", []).unwrap();
    assert!(stderr(&verify_command(&path, &[])).contains("entry 2 is missing"));
    let output = verify_command(&folder.path().join("nonesuch.sqlite"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no store") && !folder.path().join("nonesuch.sqlite").exists());
}

#[test]
fn a_cut_tail_is_found_against_an_export_of_any_form() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut store) = store(folder.path(), 6);
    let collection = store.collect(&Selection::Reviewed).unwrap();
    assert_eq!((collection.reviewed.len(), collection.head.entries), (1, 6));
    let forms = [
        (Form::Json, "a.json"),
        (Form::Html, "a.html"),
        (Form::Csv, "a.csv"),
        (Form::GeoJson, "a.geojson"),
        (Form::Pdf, "a.pdf"),
    ];
    let exports: Vec<PathBuf> = forms
        .iter()
        .map(|(form, name)| {
            let to = folder.path().join(name);
            export::write(*form, &collection, false, None, &to).unwrap();
            let heads = heads_in(&std::fs::read(&to).unwrap());
            assert_eq!(heads, std::slice::from_ref(&collection.head), "{name}");
            to
        })
        .collect();
    let output = verify_command(&path, &exports);
    assert!(output.status.success(), "{}", stderr(&output));
    tamperer(&path).execute("DELETE FROM log WHERE number > 4", []).unwrap();
    assert!(verify_command(&path, &[]).status.success(), "what is left is whole");
    for export in &exports {
        let output = verify_command(&path, std::slice::from_ref(export));
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        let sentence = "entry 4 is the last, but the export has seen 6: the log's tail was cut";
        assert!(told.contains(sentence), "{told}");
    }
    // Two others in their place are found as well.
    let id = collection.reviewed[0].answer.id.clone();
    let verdict =
        Verdict { target: Target::Answer, decision: Decision::Accept, reason: None, comment: String::new() };
    let draft = Draft { answer: id, reviewer: "R".to_owned(), action: Action::Decide(verdict) };
    for _ in 0..2 {
        store.append(&draft).unwrap();
    }
    assert_eq!(against(&store, &collection.head).unwrap(), Err(Fault::Other { number: 6 }));
    assert!(stderr(&verify_command(&path, &exports[..1])).contains("entry 6 is not the one"));
}
