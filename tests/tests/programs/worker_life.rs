//! The hold on a worker: it dies, is killed, or is no worker at all, and the next question works, with a model of each family.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reinpath::worker::{Worker, WorkerEvent};
use reinpath_model::event::{AskEvent, Stop};
use reinpath_model::fixture::{Family, Speech, write_package_of};
use reinpath_model::request::{Ask, Load, PatchHeader, Sampling};
use reinpath_tests::program;

fn next(worker: &Worker) -> WorkerEvent {
    worker.events().recv_timeout(Duration::from_secs(30)).expect("the worker goes on")
}

fn load(worker: &Worker, package: &Path) -> u64 {
    let package = package.to_str().unwrap().to_owned();
    worker.load(Load { package, ..Load::default() }).unwrap()
}

fn ask(worker: &Worker, max_tokens: usize) -> u64 {
    let ask = Ask {
        patches: vec![PatchHeader { width: 32, height: 32, mpp: Some(0.5) }],
        question: "What is it?".to_owned(),
        sampling: Sampling { max_tokens, ..Sampling::default() },
        ..Ask::default()
    };
    worker.ask(ask, vec![100; 32 * 32 * 3]).unwrap()
}

/// Waits for the end of an answer.
fn end(worker: &Worker, wanted: u64) -> AskEvent {
    loop {
        match next(worker) {
            WorkerEvent::Answer { id, event } if id == wanted && event.is_end() => return event,
            _ => {}
        }
    }
}

fn first_token(worker: &Worker, wanted: u64) {
    loop {
        match next(worker) {
            WorkerEvent::Answer { id, event: AskEvent::Token { .. } } if id == wanted => return,
            WorkerEvent::Answer { id, event } => assert!(id == wanted && !event.is_end(), "{event:?}"),
            _ => {}
        }
    }
}

/// A package of a model that never ends by itself.
fn package(family: Family) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_package_of(family, folder.path(), Speech::Babble(3)).unwrap();
    folder
}

/// Whether a signal could be sent to a process.
fn send(signal: &str, pid: &str) -> bool {
    let command = format!("kill -{signal} {}", pid.trim());
    Command::new("sh").args(["-c", &command]).output().unwrap().status.success()
}

/// The real worker, which writes its process id to a file first.
fn with_pid(file: &Path) -> String {
    format!("sh -c 'echo $$ > {}; exec {}'", file.display(), program("reinpath-worker").display())
}

#[test]
fn killed_in_the_middle_of_an_answer_it_says_so_and_the_next_question_works() {
    for family in Family::ALL {
        let folder = package(family);
        let pid = folder.path().join("pid");
        let worker = Worker::start(Some(&with_pid(&pid)), || {}).unwrap();
        load(&worker, folder.path());
        let id = ask(&worker, 40_000);
        first_token(&worker, id);
        let number = std::fs::read_to_string(&pid).unwrap();
        assert!(send("KILL", &number), "{number}");
        let AskEvent::Failed { error } = end(&worker, id) else { panic!("the answer went on") };
        assert_eq!(error, "the model's process ended (killed by signal 9)");
        let id = ask(&worker, 5);
        let AskEvent::Finished(finished) = end(&worker, id) else { panic!("no second answer") };
        assert_eq!(finished.tokens, 5);
        assert_ne!(std::fs::read_to_string(&pid).unwrap(), number, "another process answered");
    }
}

#[test]
fn a_cancelled_answer_ends_and_dropping_the_handle_ends_the_process() {
    for family in Family::ALL {
        let folder = package(family);
        let pid = folder.path().join("pid");
        let worker = Worker::start(Some(&with_pid(&pid)), || {}).unwrap();
        load(&worker, folder.path());
        let id = ask(&worker, 40_000);
        first_token(&worker, id);
        worker.cancel(id).unwrap();
        let AskEvent::Finished(finished) = end(&worker, id) else { panic!("no end") };
        assert_eq!(finished.stop, Stop::Cancelled);
        let id = ask(&worker, 40_000);
        first_token(&worker, id);
        drop(worker);
        let number = std::fs::read_to_string(&pid).unwrap();
        assert!(number.trim().parse::<u32>().is_ok(), "{number}");
        let has_ended = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !send("0", &number)
        });
        assert!(has_ended, "the worker outlives its handle");
    }
}

#[test]
fn what_is_no_worker_is_told_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    for (command, part) in [
        ("/no/such/program".to_owned(), "cannot be started"),
        ("sh -c 'exit 3'".to_owned(), "exit code 3"),
        (hello(9), "protocol 9"),
        (r#"sh -c 'echo "{\"type\":\"token\"}"; sleep 300'"#.to_owned(), "instead of hello"),
    ] {
        let worker = Worker::start(Some(&command), || {}).unwrap();
        let wanted = load(&worker, folder.path());
        match next(&worker) {
            WorkerEvent::LoadFailed { id, error } => {
                assert_eq!(id, wanted);
                assert!(error.contains(part), "{error}");
            }
            other => panic!("{command}: {other:?}"),
        }
    }
}

fn hello(protocol: u32) -> String {
    let line = format!(r#"{{\"type\":\"hello\",\"data\":{{\"protocol\":{protocol},\"version\":\"0\"}}}}"#);
    format!(r#"sh -c 'echo "{line}"; sleep 300'"#)
}

#[test]
fn stray_lines_of_a_worker_are_warnings() {
    let folder = package(Family::ReinPath);
    let command = format!("sh -c 'echo oops; exec {}'", program("reinpath-worker").display());
    let worker = Worker::start(Some(&command), || {}).unwrap();
    load(&worker, folder.path());
    assert!(matches!(next(&worker), WorkerEvent::Warning(line) if line.ends_with("oops")));
    let id = ask(&worker, 3);
    assert!(matches!(end(&worker, id), AskEvent::Finished(f) if f.tokens == 3));
}
