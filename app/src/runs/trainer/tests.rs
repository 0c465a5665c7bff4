//! A shell script in the place of the program: what it prints, how it ends, and that it is gone when it is no longer wanted.

use super::*;

#[test]
fn each_look_has_its_command_line() {
    let line = |look: &Look| -> Vec<String> {
        let words = command_line(look, Path::new("scratch"));
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    };
    let preview = Look::Preview { data: "data".into(), package: "base".into(), rows: vec!["-a".to_owned()] };
    let want = ["dataset", "preview", "data", "--model", "base", "--json", "-o", "scratch", "--row=-a"];
    assert_eq!(line(&preview), want);
    let check = Look::Check { data: "data".into(), package: "base".into() };
    assert_eq!(line(&check), ["dataset", "check", "data", "--model", "base", "--json"]);
    let config = Box::new(toml::from_str("name = \"a\"\nseed = 1\nbase = \"base\"").unwrap());
    let preflight = Look::Preflight { config, folder: "runs/a".into() };
    let asked = asked_file(Path::new("scratch")).to_str().unwrap().to_owned();
    assert_eq!(line(&preflight), ["run", &asked, "--run", "runs/a", "--dry-run"]);
    let export = Look::Export { run: "runs/a".into(), checkpoint: "c".into(), out: "out".into() };
    assert_eq!(line(&export), ["export", "runs/a", "--checkpoint", "c", "-o", "out"]);
}

#[test]
fn the_settings_of_a_preflight_are_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let config: RunConfig = toml::from_str("name = \"a\"\nseed = 1\nbase = \"base\"").unwrap();
    let file = asked_file(folder.path());
    write_settings(&config, &file).unwrap();
    let written: RunConfig = toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written, config);
    let error = write_settings(&config, &file.join("below")).unwrap_err();
    assert!(error.starts_with("The settings cannot be written") && error.ends_with("below"), "{error}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let look = Look::Check { data: "data".into(), package: "base".into() };
    let error = Trainer::start(Path::new("no/such/program"), &look, drop, drop).unwrap_err();
    assert!(error.starts_with("The training program could not be started"), "{error}");
    assert!(error.ends_with("no/such/program"), "{error}");
}

#[cfg(unix)]
mod with_a_script {
    use std::time::Instant;

    use crossbeam_channel::{Receiver, bounded};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    /// What came: objects, then the end.
    fn run(script: &str) -> (Trainer, Receiver<Value>, Receiver<Result<(), String>>) {
        let (tell, told) = bounded(100);
        let (end, ended) = bounded(1);
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let trainer = Trainer::begin(
            command,
            tempfile::tempdir().unwrap(),
            move |value| tell.send(value).unwrap(),
            move |how| end.send(how).unwrap(),
        );
        (trainer.unwrap(), told, ended)
    }

    fn whole(script: &str) -> (Vec<Value>, Result<(), String>) {
        let (_trainer, told, ended) = run(script);
        let how = ended.recv_timeout(LONGEST).unwrap();
        (told.try_iter().collect(), how)
    }

    #[test]
    fn objects_are_told_in_order_and_rubbish_is_told_of_once() {
        let script =
            r#"echo '{"type":"finding","data":1}'; echo oops; echo; echo 7; echo '{"type":"finished"}'"#;
        let (told, how) = whole(script);
        assert_eq!(how, Ok(()));
        let kinds: Vec<&str> = told.iter().map(|value| value["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["finding", "finished", "warning"]);
        let warning = told[2]["data"]["warning"].as_str().unwrap();
        assert!(warning.ends_with("(2 lines, the last: 7)."), "{warning}");
    }

    #[test]
    fn a_program_that_fails_gives_its_reason_as_a_sentence() {
        let (told, how) = whole("echo first >&2; echo 'there is no row to show: data' >&2; exit 1");
        assert!(told.is_empty());
        assert_eq!(how, Err("There is no row to show: data".to_owned()));
        let (_, how) = whole("exit 3");
        assert_eq!(how, Err("The training program ended with exit code 3 and gave no reason.".to_owned()));
    }

    #[test]
    fn a_program_that_dies_says_by_which_signal_and_what_it_said_last() {
        let (told, how) = whole(r#"echo '{"type":"finding"}'; echo loading >&2; kill -9 $$"#);
        assert_eq!(told.len(), 1);
        let error = how.unwrap_err();
        assert!(error.contains("signal 9") && error.contains("want of memory"), "{error}");
        assert!(error.ends_with("Its last words: loading"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_gone_with_its_children_once_it_is_dropped() {
        let (trainer, told, ended) = run(r#"echo '{"type":"begun"}'; sleep 300 & sleep 300"#);
        assert_eq!(told.recv_timeout(LONGEST).unwrap()["type"], "begun");
        let start = Instant::now();
        drop(trainer);
        // Its stdout ends only when everybody who holds it is gone, the inner sleep too.
        assert!(ended.recv_timeout(LONGEST).unwrap().is_err());
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
