//! What the forms have in common, and two collections to try them on; how each form reads is tried in `app/tests/exports.rs`.

use std::sync::Arc;

use reinpath_model::event::{Finished, SlideStamp, Stamp, Stop};
use reinpath_model::stage::{AnswerStage, StagedAnswer};

use super::*;
use crate::case::{Answer, Case, Id, PatchKept, Question, Token};
use crate::review::Reviewed;
use crate::review::log::Head;
use crate::review::verdict::{Action, Decision, Entry, Reason, Target, Verdict};
use crate::slide::Region;
use crate::store::SlideId;

/// What somebody might write to break a form.
pub(super) const HOSTILE: &str = "</script><script>alert(1)</script> =cmd|' /C calc'!A0 \"quoted\", 'single' & <b>bold</b> ]]> \
    \u{202e}evil\u{202c} שלום عربى 😀👩‍🔬 \u{0}\u{8}\u{b}\u{1b}[31m\u{fffe} \r\n a\tb";

fn tokens(stage: AnswerStage, text: &str) -> Vec<Token> {
    let token = |word: &str| Token { stage: Some(stage), text: word.to_owned(), logprob: -0.25 };
    text.split_inclusive(' ').map(token).collect()
}

fn entry(number: u64, target: Target, decision: Decision, reason: Option<Reason>) -> Entry {
    let comment = if reason.is_some() { "look again".to_owned() } else { String::new() };
    Entry {
        number,
        at: 1_000 + number as i64,
        answer: Id("answer".to_owned()),
        answer_hash: "a".repeat(64),
        reviewer: "Dr. Who".to_owned(),
        action: Action::Decide(Verdict { target, decision, reason, comment }),
    }
}

/// One answer of four sentences, three of them judged.
pub(super) fn collection() -> Collection {
    of("What is seen?", "Glands are seen. Mucin is seen.", "The glands are regular.", "It is benign.")
}

/// The same with words that were chosen to break things, and a word of 100 kB.
pub(super) fn hostile() -> Collection {
    let long = "x".repeat(100_000);
    of(HOSTILE, &format!("{HOSTILE} Mucin is seen."), &format!("{HOSTILE} {long}"), HOSTILE)
}

fn of(question: &str, observation: &str, analysis: &str, conclusion: &str) -> Collection {
    let case = Case {
        id: Id("case".to_owned()),
        slide: SlideId { hash: "5".repeat(64), name: "S26-1.svs".to_owned() },
        path: Some("/srv/anna/S26-1.svs".into()),
        title: question.to_owned(),
        created: 0,
        changed: 1,
    };
    let question = Question {
        id: Id("question".to_owned()),
        case: case.id.clone(),
        text: question.to_owned(),
        choices: vec!["benign".to_owned(), HOSTILE.to_owned()],
        patches: vec![PatchKept::new(1, Region { x: 10, y: 20, w: 224, h: 224 })],
        words: "S26-1.svs, patch 1".to_owned(),
        ..Question::default()
    };
    let slide = SlideStamp { path: "/srv/anna/S26-1.svs".to_owned(), hash: case.slide.hash.clone() };
    let stamp = Stamp { slide: Some(slide), package: "demo".to_owned(), ..Stamp::default() };
    let tokens = [
        tokens(AnswerStage::Observation, observation),
        tokens(AnswerStage::Analysis, analysis),
        tokens(AnswerStage::Conclusion, conclusion),
    ];
    let answer = Answer {
        id: Id("answer".to_owned()),
        question: question.id.clone(),
        tokens: tokens.concat(),
        stamp: Some(Box::new(stamp)),
        finished: Some(Finished {
            answer: StagedAnswer::default(),
            stop: Stop::End,
            raw: String::new(),
            ..Finished::cancelled_before_it_began()
        }),
        failed: Some("The slide is gone: /srv/anna/S26-1.svs".to_owned()),
        ..Answer::default()
    };
    let observed = |at| Target::Sentence(AnswerStage::Observation, at);
    let entries = vec![
        entry(1, observed(0), Decision::Accept, None),
        entry(2, observed(1), Decision::Reject, Some(Reason::NotVisible)),
        entry(3, Target::Stage(AnswerStage::Conclusion), Decision::Accept, None),
    ];
    let hash = "a".repeat(64);
    let reviewed =
        Reviewed { case, question: Arc::new(question), answer: Arc::new(answer), hash, entries, maps: None };
    Collection { reviewed: vec![reviewed], head: Head { entries: 3, hash: "c".repeat(64) } }
}

#[test]
fn forms_are_known_by_their_names() {
    for form in Form::ALL {
        assert_eq!(Form::from_name(form.name()), Some(form));
    }
    assert_eq!(Form::from_name("exe"), None);
}

#[test]
fn nothing_is_no_export() {
    let folder = tempfile::tempdir().unwrap();
    for form in Form::ALL {
        let to = folder.path().join(form.file_name());
        assert_eq!(write(form, &Collection::default(), true, None, &to), Err(Error::Nothing));
        assert!(!to.exists());
    }
}

#[test]
fn sentences_say_what_holds_of_them_and_by_which_entry() {
    let document = Document::of(&collection(), false).unwrap();
    let (_, _, answer) = document.answers().next().unwrap();
    let words: Vec<(String, Option<u64>)> =
        answer.sentences.iter().map(|sentence| (sentence.verdict_words(), sentence.entry)).collect();
    assert_eq!(
        words,
        [
            ("accepted".to_owned(), Some(1)),
            ("rejected: not visible".to_owned(), Some(2)),
            ("not judged".to_owned(), None),
            ("accepted with its stage".to_owned(), Some(3)),
        ]
    );
    assert_eq!(answer.counts(), [2, 0, 1, 1]);
    assert!(!answer.is_judged && !answer.corrected.observation.contains("Mucin"));
    assert_eq!(answer.record.failed.as_deref(), Some("The slide is gone: [hidden]"));
    assert_eq!(answer.entries[0].reviewer, "Reviewer 1");
}

#[test]
fn a_verdict_that_was_taken_back_is_not_the_one_that_stands() {
    let mut collection = collection();
    let entries = &mut collection.reviewed[0].entries;
    let target = Target::Sentence(AnswerStage::Analysis, 0);
    entries.push(entry(4, target, Decision::Accept, None));
    entries.push(entry(5, target, Decision::Reject, Some(Reason::Wording)));
    entries.push(Entry { action: Action::Undo(5), ..entry(6, target, Decision::Accept, None) });
    let document = Document::of(&collection, false).unwrap();
    let (_, _, answer) = document.answers().next().unwrap();
    let sentence = answer.of_stage(AnswerStage::Analysis).next().unwrap();
    assert_eq!((sentence.verdict_words().as_str(), sentence.entry), ("accepted", Some(4)));
    assert!(answer.is_judged);
}

#[test]
fn what_cannot_be_written_is_said_with_its_path_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    for form in [Form::Json, Form::Html, Form::Pdf, Form::Csv, Form::GeoJson] {
        let to = in_the_way.join(form.file_name());
        let sentence = write(form, &collection(), false, None, &to).unwrap_err().to_string();
        assert!(sentence.starts_with("The export cannot be written"), "{form:?}: {sentence}");
    }
    let rows = write(Form::Rows, &collection(), false, None, &folder.path().join("rows")).unwrap_err();
    assert_eq!(rows, Error::NoRow("1 with a rejected sentence".to_owned()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
