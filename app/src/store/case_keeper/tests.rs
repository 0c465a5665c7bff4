//! The thread: order, a store that others hold, and what is refused.

use std::path::Path;

use reinpath_model::stage::AnswerStage::Observation;

use super::super::samples::{answer, case, draft, question, undo};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::*;
use crate::review::verdict::Decision::{Accept, Reject};

/// The news of a keeper, one after the other.
struct Heard(Receiver<CaseNews>);

impl Heard {
    fn next(&self) -> CaseNews {
        self.0.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn next_entry(&self) -> Entry {
        loop {
            if let CaseNews::Appended(entry) = self.next() {
                return entry;
            }
        }
    }
}

fn keeper(path: Option<&Path>) -> (CaseKeeper, Heard) {
    let (news, told) = bounded(4096);
    let keeper = CaseKeeper::start(path.map(Path::to_owned), move |what| drop(news.send(what))).unwrap();
    (keeper, Heard(told))
}

/// Offers a case `c` with a question and an answer `a`.
fn offer_an_answer(keeper: &mut CaseKeeper) {
    let case = case("c", "s", 1000);
    let question = question("q", &case, "What is it?");
    let answer = answer("a", &question, "Glands are seen.");
    keeper.offer(CaseJob::KeepCase(case.clone()));
    keeper.offer(CaseJob::KeepQuestion(Arc::new(question)));
    keeper.offer(CaseJob::KeepAnswer { case: case.id, answer: Arc::new(answer) });
}

#[test]
fn what_was_offered_is_kept_also_when_the_keeper_is_dropped_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/store.sqlite");
    let (mut first, _heard) = keeper(Some(&path));
    offer_an_answer(&mut first);
    for _ in 0..3 {
        first.offer(CaseJob::Append(draft("a", Observation, 0, Accept)));
    }
    drop(first);
    let (mut second, heard) = keeper(Some(&path));
    second.offer(CaseJob::Open { id: Id("c".to_owned()), at: Some(Id("a".to_owned())) });
    let CaseNews::Opened { case, entries, maps, at } = heard.next() else { panic!("not opened") };
    assert_eq!((case.answers.len(), entries.len(), maps.len()), (1, 3, 0));
    assert_eq!(at, Some(Id("a".to_owned())));
    second.offer(CaseJob::Collect { number: 7, which: Selection::Reviewed });
    let CaseNews::Collected { number: 7, what: Ok(collection) } = heard.next() else { panic!("not read") };
    assert_eq!((collection.reviewed.len(), collection.head.entries), (1, 3));
}

#[test]
fn without_a_file_everything_works_until_the_end() {
    let (mut keeper, heard) = keeper(None);
    offer_an_answer(&mut keeper);
    keeper.offer(CaseJob::Append(draft("a", Observation, 0, Reject)));
    assert_eq!(heard.next_entry().number, 1);
    keeper.offer(CaseJob::List { search: "gland".to_owned(), slide: None });
    loop {
        if let CaseNews::Listed { search, list } = heard.next() {
            assert_eq!((search.as_str(), list.len(), list[0].begun + list[0].reviewed), ("gland", 1, 1));
            break;
        }
    }
}

#[test]
fn verdicts_are_appended_in_the_order_in_which_they_came() {
    let (mut keeper, heard) = keeper(None);
    let case = case("c", "s", 1000);
    let question = Arc::new(question("q", &case, "What is it?"));
    keeper.offer(CaseJob::KeepCase(case.clone()));
    keeper.offer(CaseJob::KeepQuestion(Arc::clone(&question)));
    for number in 0..50 {
        let answer = Arc::new(answer(&format!("a{number}"), &question, "Glands are seen."));
        keeper.offer(CaseJob::KeepAnswer { case: case.id.clone(), answer });
    }
    let about = |number: u64| format!("a{}", number % 50);
    for number in 0..1200 {
        let decision = if number % 3 == 0 { Accept } else { Reject };
        let draft = draft(&about(number), Observation, 0, decision);
        keeper.offer(CaseJob::Append(Draft { reviewer: number.to_string(), ..draft }));
    }
    for number in 0..1200 {
        // More than the thread takes at a time: the window offers the rest again and again.
        keeper.flush();
        let entry = heard.next_entry();
        assert_eq!((entry.number, entry.answer.0), (number + 1, about(number)));
        assert_eq!(entry.reviewer, number.to_string());
    }
}

#[test]
fn verdicts_wait_while_another_program_holds_the_store_and_none_is_kept_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let (mut keeper, heard) = keeper(Some(&path));
    offer_an_answer(&mut keeper);
    while !matches!(heard.next(), CaseNews::Saved) {}
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    keeper.offer(CaseJob::Append(draft("a", Observation, 0, Accept)));
    keeper.offer(CaseJob::Append(draft("a", Observation, 0, Reject)));
    // A list waits for nobody who only writes.
    keeper.offer(CaseJob::List { search: String::new(), slide: None });
    let (mut is_told, mut is_listed) = (false, false);
    while !(is_told && is_listed) {
        match heard.next() {
            CaseNews::NotAppended(error) => {
                assert!(error.may_pass(), "{error}");
                is_told = true;
            }
            CaseNews::Listed { list, .. } => is_listed = list.len() == 1,
            CaseNews::Saved => {}
            other => panic!("{other:?}"),
        }
    }
    other.execute_batch("COMMIT").unwrap();
    assert_eq!((heard.next_entry().number, heard.next_entry().number), (1, 2));
    drop(keeper);
    assert_eq!(Store::open(&path).unwrap().head().unwrap().entries, 2);
}

#[test]
fn what_is_refused_is_said_and_holds_nothing_up() {
    let (mut keeper, heard) = keeper(None);
    keeper.offer(CaseJob::Append(draft("nonesuch", Observation, 0, Accept)));
    let CaseNews::NotAppended(error) = heard.next() else { panic!("not refused") };
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    offer_an_answer(&mut keeper);
    keeper.offer(CaseJob::Append(draft("a", Observation, 0, Accept)));
    keeper.offer(CaseJob::Append(undo("a", 1)));
    assert_eq!((heard.next_entry().number, heard.next_entry().number), (1, 2));
    keeper.offer(CaseJob::Open { id: Id("nonesuch".to_owned()), at: None });
    loop {
        match heard.next() {
            CaseNews::Saved => {}
            CaseNews::Failed(error) => break assert!(error.to_string().contains("nonesuch"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_store_that_cannot_be_opened_is_said_to_whoever_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let (mut keeper, heard) = keeper(Some(&path));
    keeper.offer(CaseJob::List { search: String::new(), slide: None });
    let CaseNews::Failed(Error::Newer { found: 99, .. }) = heard.next() else { panic!("not told") };
    keeper.offer(CaseJob::Collect { number: 3, which: Selection::Reviewed });
    let CaseNews::Collected { number: 3, what: Err(_) } = heard.next() else { panic!("not told") };
    offer_an_answer(&mut keeper);
    assert!(matches!(heard.next(), CaseNews::Waiting(Error::Newer { .. })));
}
