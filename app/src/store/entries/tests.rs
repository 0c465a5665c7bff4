//! The log as it grows, what it refuses, and what exports read.

use reinpath_model::stage::AnswerStage::{Analysis, Conclusion, Observation};

use super::super::samples::{answer, draft, question, store_with_an_answer, undo};
use super::*;
use crate::review::verdict::Decision::{Accept, Edit, Reject};

fn counts(store: &Store) -> (usize, usize, usize) {
    let listed = store.cases("", None, 9).unwrap().remove(0);
    (listed.answers, listed.reviewed, listed.begun)
}

#[test]
fn entries_are_chained_and_counted() {
    let (mut store, _) = store_with_an_answer();
    assert_eq!((store.head().unwrap(), counts(&store)), (Head::default(), (1, 0, 0)));
    let hash = store.stored_hash("a").unwrap().unwrap();
    let first = store.append(&draft("a", Observation, 0, Accept)).unwrap();
    assert_eq!((first.number, &first.answer_hash, first.reviewer.as_str()), (1, &hash, "R"));
    assert_eq!(counts(&store), (1, 0, 1));
    for (stage, sentence) in [(Observation, 1), (Analysis, 0)] {
        store.append(&draft("a", stage, sentence, Reject)).unwrap();
    }
    let last = store.append(&draft("a", Conclusion, 0, Edit("B) solid sheets".to_owned()))).unwrap();
    assert_eq!(counts(&store), (1, 1, 0), "every sentence is judged");
    store.append(&undo("a", last.number)).unwrap();
    assert_eq!(counts(&store), (1, 0, 1));
    let mut links = Vec::new();
    store
        .links(&mut |link| {
            links.push(link);
            true
        })
        .unwrap();
    assert_eq!(links.iter().map(|link| link.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let mut before = Head::default().hash;
    for link in &links {
        assert_eq!((&link.previous, &link.hash), (&before, &link.right_hash()));
        before.clone_from(&link.hash);
    }
    assert_eq!(store.head().unwrap(), Head { entries: 5, hash: before });
    assert_eq!(store.link(1).unwrap().as_ref(), links.first());
    assert_eq!(store.link(6).unwrap(), None);
    let (_, entries, _) = store.open_case(&Id("c".to_owned())).unwrap().unwrap();
    assert_eq!((entries.len(), &entries[0], &entries[3]), (5, &first, &last));
    let mut seen = 0;
    store
        .links(&mut |_| {
            seen += 1;
            seen < 2
        })
        .unwrap();
    assert_eq!(seen, 2, "it ends when nobody wants more");
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (mut store, _) = store_with_an_answer();
    let (other, case) =
        (question("q2", &super::super::samples::case("c", "s", 1), "Why?"), Id("c".to_owned()));
    store.keep_question(&other).unwrap();
    store.keep_answer(&case, &answer("b", &other, "Nothing.")).unwrap();
    store.append(&draft("a", Observation, 0, Accept)).unwrap();
    store.append(&undo("a", 1)).unwrap();
    for wrong in [draft("nonesuch", Observation, 0, Accept), undo("a", 1), undo("b", 1), undo("a", 9)] {
        let error = store.append(&wrong).unwrap_err();
        assert!(matches!(&error, Error::Refused { .. }) && !error.may_pass(), "{error}");
    }
    assert_eq!(store.head().unwrap().entries, 2);
    // What was taken back holds again when that is taken back.
    store.append(&undo("a", 2)).unwrap();
    store.append(&undo("a", 1)).unwrap();
    assert_eq!(store.head().unwrap().entries, 4);
}

#[test]
fn the_log_is_neither_changed_nor_cut_by_mistake() {
    let (mut store, _) = store_with_an_answer();
    store.append(&draft("a", Observation, 0, Accept)).unwrap();
    for sql in ["UPDATE log SET body = 'x'", "DELETE FROM log"] {
        let error = store.connection.execute_batch(sql).unwrap_err();
        assert!(error.to_string().contains("only appended to"), "{error}");
    }
}

#[test]
fn an_export_has_all_that_is_known() {
    let (mut store, kept) = store_with_an_answer();
    let other = question("q2", &super::super::samples::case("c", "s", 1), "Why?");
    store.keep_question(&other).unwrap();
    store.keep_answer(&Id("c".to_owned()), &answer("b", &other, "Nothing.")).unwrap();
    let entry = store.append(&draft("a", Observation, 0, Reject)).unwrap();
    let names = |which: &Selection| -> Vec<String> {
        let collection = store.collect(which).unwrap();
        assert_eq!(collection.head, store.head().unwrap());
        collection.reviewed.iter().map(|reviewed| reviewed.answer.id.0.clone()).collect()
    };
    assert_eq!(names(&Selection::Reviewed), ["a"]);
    assert_eq!(names(&Selection::Case(Id("c".to_owned()))), ["a", "b"]);
    assert_eq!(names(&Selection::Answers(vec![Id("b".to_owned())])), ["b"]);
    assert!(names(&Selection::Case(Id("nonesuch".to_owned()))).is_empty());
    let one = store.collect(&Selection::Reviewed).unwrap().reviewed.remove(0);
    assert_eq!(
        (&one.answer, one.case.id.0.as_str(), one.question.text.as_str()),
        (&kept, "c", "What is it?")
    );
    assert_eq!(Some(one.hash), store.stored_hash("a").unwrap());
    assert_eq!((one.entries, one.maps), (vec![entry], None));
    assert!(store.collect(&Selection::Answers(vec![Id("nonesuch".to_owned())])).is_err());
}
