//! SIGKILL at a hundred random moments of reviewing: no verdict and no answer that was acknowledged is lost, the log is whole, the file
//! opens, and the next process goes on with it.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests panic where something is wrong, and speak to each other through stdout"
)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reinpath::case::{Answer, Case, Id, Purpose, Question, Token};
use reinpath::review::log::Head;
use reinpath::review::verdict::{Action, Decision, Draft, Target, Verdict};
use reinpath::review::verify::{against, verify};
use reinpath::store::case_keeper::{CaseJob, CaseKeeper, CaseNews};
use reinpath::store::{SlideId, Store};
use reinpath_model::stage::AnswerStage;
use reinpath_tests::seeded::Seeded;

const VARIABLE: &str = "REINPATH_TEST_STORE_TO_REVIEW";
const NAME: &str = "what_was_acknowledged_is_there_after_a_kill";
const KILLS: usize = 100;
/// A process is killed at most so long after its first acknowledgement: it makes some dozens of verdicts in that time.
const LONGEST: Duration = Duration::from_millis(120);
/// Verdicts of an answer.
const SENTENCES: usize = 4;

fn case() -> Case {
    Case {
        id: Id("case".to_owned()),
        slide: SlideId { hash: "slide".to_owned(), name: String::new() },
        path: None,
        title: "Killed".to_owned(),
        created: 1,
        changed: 1,
    }
}

/// An answer of four sentences.
fn answer(question: &Question) -> Answer {
    let mut answer = Answer::begun(question.id.clone(), Purpose::Answer);
    let text = "Glands are seen. They are regular. Stroma is scant. Necrosis is absent.".to_owned();
    answer.tokens = vec![Token { stage: Some(AnswerStage::Observation), text, logprob: -0.5 }];
    (answer.failed, answer.ended) = (Some("It was stopped.".to_owned()), Some(answer.began));
    answer
}

fn decide(answer: &Id, sentence: usize) -> Draft {
    let decision =
        if sentence == 2 { Decision::Edit("Stroma is dense.".to_owned()) } else { Decision::Accept };
    let target = Target::Sentence(AnswerStage::Observation, sentence);
    let verdict = Verdict { target, decision, reason: None, comment: String::new() };
    Draft { answer: answer.clone(), reviewer: "R".to_owned(), action: Action::Decide(verdict) }
}

/// In a process of its own: keeps one answer after the other and judges it, and says of each verdict once it is safe, with its number
/// and its answer.
fn review(path: &Path) -> ! {
    let (news, told) = std::sync::mpsc::sync_channel(1024);
    let mut keeper = CaseKeeper::start(Some(path.to_owned()), move |what| drop(news.send(what))).unwrap();
    keeper.offer(CaseJob::KeepCase(case()));
    loop {
        let question =
            Question { id: Id::fresh(), case: case().id, text: "What?".to_owned(), ..Question::default() };
        let answer = answer(&question);
        let id = answer.id.clone();
        keeper.offer(CaseJob::KeepQuestion(Arc::new(question)));
        keeper.offer(CaseJob::KeepAnswer { case: case().id, answer: Arc::new(answer) });
        (0..SENTENCES).for_each(|sentence| keeper.offer(CaseJob::Append(decide(&id, sentence))));
        let mut waiting = SENTENCES;
        while waiting > 0 {
            match told.recv().unwrap() {
                CaseNews::Appended(entry) => {
                    waiting -= 1;
                    println!("appended {} {}", entry.number, entry.answer.0);
                    std::io::stdout().flush().unwrap();
                }
                CaseNews::Saved => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Starts a process and kills it at a random moment; the verdicts that it has acknowledged: number and answer.
fn killed(path: &Path, moment: Duration) -> Vec<(u64, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The test's own name may stand before the first one.
    let read = |line: String| -> Option<(u64, String)> {
        let (_, rest) = line.rsplit_once("appended ")?;
        let (number, answer) = rest.split_once(' ')?;
        Some((number.parse().ok()?, answer.to_owned()))
    };
    let first = lines.by_ref().find_map(|line| read(line.unwrap())).expect("the child ended by itself");
    let begin = Instant::now();
    let killer = std::thread::Builder::new()
        .name("killer".to_owned())
        .spawn(move || {
            std::thread::sleep(moment.saturating_sub(begin.elapsed()));
            child.kill().unwrap();
            child.wait().unwrap().code()
        })
        .unwrap();
    // A line that was cut by the kill was not said.
    let rest = lines.map_while(Result::ok).filter_map(read);
    let all: Vec<_> = std::iter::once(first).chain(rest).collect();
    assert_eq!(killer.join().unwrap(), None, "the child ended by itself");
    all
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    if let Some(path) = std::env::var_os(VARIABLE) {
        review(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let mut random = Seeded::new(7);
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    let mut seen = Head::default();
    for kill in 0..KILLS {
        let moment = LONGEST.mul_f64(random.fraction());
        acknowledged.extend(killed(&path, moment));
        let store = Store::open(&path).unwrap();
        let head = verify(&store).unwrap().unwrap_or_else(|fault| panic!("after kill {kill}: {fault}"));
        against(&store, &seen).unwrap().unwrap_or_else(|fault| panic!("after kill {kill}: {fault}"));
        let last = acknowledged.last().map_or(0, |(number, _)| *number);
        assert!(head.entries >= last, "after kill {kill}: {} of {last} entries", head.entries);
        // Of one process only what it had not said yet may be there beyond that.
        seen = head;
        drop(store);
        let connection = rusqlite::Connection::open(&path).unwrap();
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "after kill {kill}");
    }
    assert!(acknowledged.len() > KILLS, "{} verdicts", acknowledged.len());
    let store = Store::open(&path).unwrap();
    let (open, entries, _) = store.open_case(&case().id).unwrap().unwrap();
    let there: BTreeSet<(u64, &str)> =
        entries.iter().map(|entry| (entry.number, entry.answer.0.as_str())).collect();
    for (number, answer) in &acknowledged {
        assert!(there.contains(&(*number, answer.as_str())), "verdict {number} is lost");
        assert!(open.answers.contains_key(&Id(answer.clone())), "the answer of verdict {number} is lost");
    }
    assert_eq!(entries.len() as u64, seen.entries);
    // What lists say is what the log says.
    let listed = store.cases("", None, 1).unwrap().remove(0);
    assert_eq!(listed.answers, open.answers.len());
    assert!(listed.reviewed >= open.answers.len() - KILLS, "{listed:?}");
}
