//! What the program prints becomes news, and a look that is given up is over: a shell script stands in for the program.

use serde_json::json;

use super::*;

#[test]
fn a_line_is_read_as_what_its_type_says() {
    let line = json!({"type": "finding", "data": {"kind": "leakage", "stops": true, "sentence": "Leakage.", "count": 1,
        "places": [{"line": 3, "id": "a", "detail": "the same slide"}]}});
    let found: dataset::Finding = data_of(line.clone(), "finding").unwrap();
    assert_eq!((found.count, found.places[0].line), (1, 3));
    assert!(data_of::<dataset::Finding>(line, "finished").is_none());
    assert!(data_of::<dataset::Finding>(json!({"type": "finding"}), "finding").is_none());
    assert!(data_of::<dataset::Finding>(json!({"type": "finding", "data": 3}), "finding").is_none());
}

#[test]
fn events_of_a_dry_run_become_news() {
    let finding = Finding { finding: "A.".to_owned(), cure: None, is_fatal: true };
    assert!(matches!(news_of(RunEvent::Finding(finding)), Some(LookNews::Finding(f)) if f.is_fatal));
    let progress = RunEvent::Progress { what: "features".to_owned(), done: 2, total: 9 };
    assert!(matches!(news_of(progress), Some(LookNews::At(words)) if words == "Preparing features: 2 of 9"));
    let warning = RunEvent::Warning { warning: "B.".to_owned(), count: 1 };
    assert!(matches!(news_of(warning), Some(LookNews::Finding(f)) if !f.is_fatal && f.cure.is_some()));
    assert!(news_of(RunEvent::Stage { stage: "grpo".to_owned(), steps: 3 }).is_none());
}

#[test]
fn the_rows_are_read_anew_only_for_other_data() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rows.jsonl"), "{\"id\":\"a\"}\n").unwrap();
    let last = LastIndex::default();
    let first = index_of(folder.path(), &last).unwrap();
    assert!(Arc::ptr_eq(&first, &index_of(folder.path(), &last).unwrap()));
    std::fs::write(folder.path().join("more.jsonl"), "{\"id\":\"b\"}\n").unwrap();
    let other = index_of(&folder.path().join("more.jsonl"), &last).unwrap();
    assert_eq!((first.id(0), other.id(0)), (Some("a"), Some("b")));
}

#[cfg(unix)]
mod with_a_script {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    /// A program that does what the script says. Another process writes it: were this one to hold it open while a third is
    /// started, the system would not run it.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("reinpath-train");
        let write = r#"cat > "$0" && chmod +x "$0""#;
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", write]).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        write!(shell.stdin.take().unwrap(), "#!/bin/sh\n{script}\n").unwrap();
        assert!(shell.wait().unwrap().success());
        path
    }

    fn desk(program: PathBuf) -> (LookDesk, Receiver<Event>) {
        let (sender, events) = EventSender::new(egui::Context::default());
        let places = TrainPlaces { program: Some(Ok(program)), ..TrainPlaces::default() };
        (LookDesk::new(sender, places), events)
    }

    fn next(events: &Receiver<Event>) -> LookNews {
        match events.recv_timeout(LONGEST).unwrap() {
            Event::Train(TrainEvent::Look(LookEvent { number: 7, news })) => news,
            other => panic!("{other:?}"),
        }
    }

    fn start(desk: &mut LookDesk, job: LookJob) {
        desk.carry_out(LookEffect::Start { number: 7, job: Box::new(job) });
    }

    const FOUND: &str = r#"echo '{"type":"finding","data":{"kind":"repeated_id","stops":true,"sentence":"1 row.","count":1,"places":[]}}'
        echo '{"type":"finished","data":{"path":"rows.jsonl","rows":2,"images":1}}'"#;

    #[test]
    fn a_check_that_finds_what_stops_a_run_has_come_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("{FOUND}\necho 'one thing must be mended before a run' >&2\nexit 1");
        let (mut desk, events) = desk(program(folder.path(), &script));
        start(&mut desk, LookJob::Check { data: "rows".into(), package: "base".into() });
        assert!(matches!(next(&events), LookNews::Checked(found) if found.stops && found.count == 1));
        assert!(matches!(next(&events), LookNews::Report(report) if report.rows == 2));
        assert!(matches!(next(&events), LookNews::CheckEnded(Ok(()))));
    }

    #[test]
    fn a_check_that_dies_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (mut desk, events) = desk(program(folder.path(), "kill -9 $$"));
        start(&mut desk, LookJob::Check { data: "rows".into(), package: "base".into() });
        assert!(matches!(next(&events), LookNews::CheckEnded(Err(how)) if how.contains("signal 9")));
    }

    #[test]
    fn a_preflight_tells_the_machine_then_the_data_then_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let dry = r#"echo '{"type":"finding","data":{"finding":"It fits.","is_fatal":false}}'"#;
        let script = format!("if [ \"$1\" = dataset ]; then\n{FOUND}\nelse\n{dry}\nfi");
        let (mut desk, events) = desk(program(folder.path(), &script));
        let text = "name = \"a\"\nseed = 1\nbase = \"base\"\n[cold_start]\noptimisation = {}\n\
                    data = [{ folder = \"rows\" }]";
        let config = Box::new(toml::from_str(text).unwrap());
        let job =
            LookJob::Preflight { config, folder: folder.path().join("run"), model_holds: Some(5_000_000) };
        start(&mut desk, job);
        let (mut found, mut at) = (Vec::new(), Vec::new());
        loop {
            match next(&events) {
                LookNews::At(words) => at.push(words),
                LookNews::Finding(finding) => found.push(finding),
                LookNews::PreflightEnded(how) => {
                    assert_eq!(how, Ok(()));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(at.len(), 3, "{at:?}");
        let place = |words: &str| found.iter().position(|finding| finding.finding.contains(words)).unwrap();
        let (model, data, run) = (place("assistant's model"), place("1 row: "), place("It fits."));
        assert!(model < data && data < run && run + 1 == found.len(), "{found:?}");
        assert!(found[data].is_fatal && found[data].finding.ends_with("rows.jsonl"), "{found:?}");
    }

    #[test]
    fn a_look_that_is_given_up_ends_its_program_and_tells_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo $$ > \"$(dirname \"$0\")/pid\"\nexec sleep 300";
        let (mut desk, events) = desk(program(folder.path(), script));
        start(&mut desk, LookJob::Check { data: "rows".into(), package: "base".into() });
        let file = folder.path().join("pid");
        let begun = Instant::now();
        let pid = loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n').and_then(|pid| pid.parse().ok()) {
                break rustix::process::Pid::from_raw(pid).unwrap();
            }
            assert!(begun.elapsed() < LONGEST, "it never began");
            std::thread::sleep(Duration::from_millis(10));
        };
        desk.carry_out(LookEffect::Stop(LookKind::Check));
        while rustix::process::test_kill_process(pid).is_ok() {
            assert!(begun.elapsed() < LONGEST, "it goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(events.try_recv().is_err(), "nobody waits for news of it");
    }
}
