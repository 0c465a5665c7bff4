//! A reading process that hangs, crashes, speaks nonsense or is killed: errors of single reads, one restart, then a dead handle.

use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use reinpath::slide::{Error, Request, SlideHandle, TileId};

use super::{data, open};

/// A reading process made of a shell script: `$1` is the slide's path, requests come on stdin.
fn open_scripted(script: &str, path: &Path, patience_ms: u64) -> Result<SlideHandle, Error> {
    SlideHandle::open_with_command(
        "/bin/sh",
        &["-c".into(), script.into(), "fake-slide-server".into()],
        path,
        Duration::from_millis(patience_ms),
    )
}

const HELLO: &str = r#"echo '{"id":0,"type":"hello","data":{"protocol":1,"version":"0"}}';"#;
const OPENED: &str = r#"echo '{"id":0,"type":"opened","data":{"path":"","format":"fake","vendor":null,"levels":[{"width":512,"height":512,"downsample":1.0}],"mpp":null,"mpp_origin":"missing","mpp_source":"","objective_power":null,"background":[255,255,255],"properties":{},"associated":[],"icc_profile":false,"hash":"same","notes":[]}}';"#;

#[test]
fn a_file_that_hangs_while_opening_is_given_up() {
    let started = Instant::now();
    let error = open_scripted(&format!("{HELLO} sleep 60"), Path::new("a.svs"), 300).unwrap_err();
    assert!(matches!(error, Error::Hung { .. }), "{error}");
    assert!(error.to_string().ends_with("a.svs"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_read_that_hangs_is_given_up_and_the_process_started_again_once() {
    let slide = open_scripted(&format!("{HELLO} {OPENED} sleep 60"), Path::new("a.svs"), 300).unwrap();
    let started = Instant::now();
    for expected in ["gave no answer", "gave no answer", "failed twice", "failed twice"] {
        let error = slide.read_region(0, 0, 0, 8, 8).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn signs_of_life_while_opening_are_waited_for() {
    let slowly = r#"for i in 1 2 3 4 5 6; do sleep 0.2; echo '{"id":0,"type":"progress"}'; done;"#;
    open_scripted(&format!("{HELLO} {slowly} {OPENED} cat > /dev/null"), Path::new("a.svs"), 800).unwrap();
}

#[test]
fn a_crash_and_another_protocol_are_told_apart() {
    let error = open_scripted(&format!("{HELLO} kill -SEGV $$"), Path::new("a.svs"), 2000).unwrap_err();
    assert!(error.to_string().contains("(crashed)"), "{error}");
    let error = open_scripted(
        r#"echo '{"type":"hello","data":{"protocol":7,"version":"9"}}'; sleep 9"#,
        Path::new("a.svs"),
        2000,
    )
    .unwrap_err();
    assert!(error.to_string().contains("protocol 7"), "{error}");
    let error = SlideHandle::open_with_command("/nowhere/reinpath", &[], "a.svs", Duration::from_secs(1))
        .unwrap_err();
    assert!(matches!(error, Error::Start { .. }), "{error}");
}

#[test]
fn stray_lines_end_nothing() {
    open_scripted(
        &format!("echo libtiff says hello; {HELLO} echo; {OPENED} cat > /dev/null"),
        Path::new("a.svs"),
        2000,
    )
    .unwrap();
}

/// Nobody but the handle holds the child: it ends with the last clone.
#[test]
fn the_process_ends_with_the_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("pid");
    let script = format!("echo $$ > '{}'; {HELLO} {OPENED} sleep 60", mark.display());
    let slide = open_scripted(&script, Path::new("a.svs"), 5000).unwrap();
    let clone = slide.clone();
    let pid = std::fs::read_to_string(&mark).unwrap().trim().to_string();
    let runs = || Path::new("/proc").join(&pid).exists();
    if !Path::new("/proc/self").exists() {
        eprintln!("skipped: there is no /proc to look for the process in");
        return;
    }
    drop(slide);
    std::thread::sleep(Duration::from_millis(100));
    assert!(runs());
    drop(clone);
    let deadline = Instant::now() + Duration::from_secs(5);
    while runs() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!runs(), "process {pid} outlived its handle");
}

/// The real reading process, killed from outside: the reads of that moment fail, the next ones work.
#[test]
fn a_killed_process_is_replaced() {
    let Some(data) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("pid");
    let script = format!(
        "echo $$ > '{}'; exec '{}' slide-server \"$1\"",
        mark.display(),
        env!("CARGO_BIN_EXE_reinpath")
    );
    let path = data.join("slides/aperio/CMU-1-Small-Region.svs");
    let slide = open_scripted(&script, &path, 5000).unwrap();
    let before = slide.read_region(0, 500, 500, 64, 64).unwrap();
    for round in 0..2 {
        let pid = std::fs::read_to_string(&mark).unwrap();
        assert!(
            std::process::Command::new("sh")
                .args(["-c", &format!("kill -9 {}", pid.trim())])
                .status()
                .unwrap()
                .success()
        );
        // The read may meet the process before or after its death is known.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut last = slide.read_region(0, 500, 500, 64, 64);
        while last.is_err() && round == 0 && Instant::now() < deadline {
            last = slide.read_region(0, 500, 500, 64, 64);
        }
        if round == 0 {
            assert_eq!(last.unwrap(), before);
        } else {
            std::thread::sleep(Duration::from_millis(200));
            let error = slide.read_region(0, 500, 500, 64, 64).unwrap_err();
            assert!(matches!(error, Error::Dead { .. }), "{error}");
        }
    }
}

/// Every read of this slide fails; the handle stays usable and says so each time.
#[test]
fn an_unreadable_slide_fails_read_by_read() {
    let Some(data) = data() else { return };
    let slide = open(&data.join("slides/openslide-python/unreadable.svs")).unwrap();
    for _ in 0..3 {
        let error = slide.read_region(0, 0, 0, 16, 16).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error}");
        assert!(error.to_string().ends_with("unreadable.svs"), "{error}");
    }
    assert!(
        slide.read_associated("nothing").unwrap_err().to_string().contains("no associated image “nothing”")
    );
}

#[test]
fn many_requests_are_answered_and_cancelled_ones_are_not() {
    let Some(data) = data() else { return };
    let slide = open(&data.join("slides/aperio/CMU-1-Small-Region.svs")).unwrap();
    let (columns, rows) = slide.info().tiles(0);
    let (sender, replies) = bounded(1024);
    let mut tickets = Vec::new();
    for (column, row) in (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row))) {
        tickets.push(slide.request(Request::Tile(TileId { level: 0, column, row }), &sender).unwrap());
    }
    let asked = tickets.len();
    // The oldest are decoded last, so most of the cancelled half has not been sent yet.
    let kept: Vec<u64> = tickets[asked / 2..].iter().map(reinpath::slide::Ticket::id).collect();
    tickets.drain(..asked / 2);
    let mut answered: Vec<u64> = kept
        .iter()
        .map(|_| replies.recv_timeout(Duration::from_secs(20)).unwrap())
        .map(|reply| {
            assert!(reply.result.is_ok(), "{:?}", reply.result);
            reply.id
        })
        .filter(|id| kept.contains(id))
        .collect();
    while let Ok(reply) = replies.recv_timeout(Duration::from_millis(300)) {
        answered.extend(Some(reply.id).filter(|id| kept.contains(id)));
    }
    answered.sort_unstable();
    assert_eq!(answered, kept);
}
