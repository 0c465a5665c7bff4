//! Launches with shell scripts in the program's place: what they are told, and every way in which they end.

use super::*;

fn config() -> RunConfig {
    let text = "name = \"a\"\nseed = 1\nbase = \"some/base\"\n[cold_start]\ndata = [{ folder = \"d\" }]\noptimisation = {}\n";
    toml::from_str(text).unwrap()
}

fn launch(folder: &Path) -> Launch {
    Launch { folder: folder.to_owned(), config: config(), after: Vec::new() }
}

#[test]
fn a_start_is_told_as_a_command_that_a_person_can_repeat() {
    let words = arguments(Path::new("/runs/a"), &["/runs/b".into(), "/runs/c".into()]);
    assert_eq!(
        words,
        [
            "run",
            "/runs/a/asked.toml",
            "--run",
            "/runs/a",
            "--detached",
            "--after",
            "/runs/b",
            "--after",
            "/runs/c"
        ]
    );
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let error = start(&place.path().join("nonesuch"), &launch(&folder)).unwrap_err();
    assert!(
        error.starts_with("The training program cannot be started") && error.ends_with("nonesuch"),
        "{error}"
    );
    assert!(folder.join("asked.toml").is_file(), "it can still be begun");
}

#[test]
fn a_folder_that_has_a_run_is_left_alone_and_one_that_has_none_is_not_gone_on_with() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let error = resume(Path::new("true"), &folder, &[]).unwrap_err();
    assert!(error.starts_with("There is no run here") && error.ends_with("run"), "{error}");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), "mine").unwrap();
    let error = start(Path::new("true"), &launch(&folder)).unwrap_err();
    assert!(error.starts_with("A run is here already") && error.ends_with("run"), "{error}");
    assert_eq!(std::fs::read_to_string(folder.join("config.toml")).unwrap(), "mine");
    assert!(!folder.join("asked.toml").exists());
}

#[test]
fn nobody_is_killed_where_nobody_is_at_work() {
    let place = tempfile::tempdir().unwrap();
    let error = kill(place.path()).unwrap_err();
    assert!(error.starts_with("The run cannot be killed"), "{error}");
    std::fs::write(place.path().join("config.toml"), "").unwrap();
    let error = kill(place.path()).unwrap_err();
    assert!(error.starts_with("No process is at work here any more"), "{error}");
}

#[cfg(unix)]
mod with_scripts {
    use std::time::{Duration, Instant};

    use super::*;

    /// Makes a program of a shell script. Another process writes it: one that this process has open for writing while another
    /// test starts a child cannot be started at that moment.
    fn program(place: &Path, script: &str) -> PathBuf {
        let path = place.join("program");
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod +x "$1""#;
        let written = Command::new("sh").args(["-c", write, "sh"]).arg(&path).arg(script).status();
        assert!(written.unwrap().success());
        path
    }

    fn ended(script: &str) -> (Ended, tempfile::TempDir) {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run");
        let child = start(&program(place.path(), script), &launch(&folder)).unwrap();
        (wait(child, &folder), place)
    }

    #[test]
    fn a_run_is_started_in_its_folder_with_absolute_settings_and_its_words() {
        let (ended, place) = ended("echo \"$@\" > words; echo rubbish; echo said >&2");
        assert!(ended.is_good, "{ended:?}");
        let folder = place.path().join("run");
        let asked = std::fs::read_to_string(folder.join("asked.toml")).unwrap();
        let asked: RunConfig = toml::from_str(&asked).unwrap();
        assert!(asked.base.is_absolute() && asked.base.ends_with("some/base"), "{}", asked.base.display());
        let words = std::fs::read_to_string(place.path().join("words")).unwrap();
        assert_eq!(words.trim_end(), arguments(&folder, &[]).join(" "));
        assert_eq!(std::fs::read_to_string(folder.join("stderr.txt")).unwrap(), "said\n");
    }

    #[test]
    fn every_way_to_end_is_told_in_words_with_the_last_lines() {
        let (failed, _place) = ended("echo 'the base is not there: x' >&2; exit 1");
        assert_eq!((failed.how.as_str(), failed.is_good), ("exit code 1", false));
        assert!(failed.last_lines.iter().any(|line| line.contains("the base is not there")), "{failed:?}");
        let (killed, _place) = ended("kill -9 $$");
        assert!(killed.how.contains("signal 9, perhaps for want of memory") && !killed.is_good, "{killed:?}");
        let (stopped, _place) = ended("exit 130");
        assert_eq!((stopped.how.as_str(), stopped.is_good), ("stopped as asked", true));
    }

    #[test]
    fn a_run_that_never_began_is_begun_and_another_is_gone_on_with() {
        let place = tempfile::tempdir().unwrap();
        let program = program(place.path(), "echo \"$@\" > words");
        let folder = place.path().join("run");
        let words = || std::fs::read_to_string(place.path().join("words")).unwrap().trim_end().to_owned();
        wait(start(&program, &launch(&folder)).unwrap(), &folder);
        wait(resume(&program, &folder, &[]).unwrap(), &folder);
        assert_eq!(words(), arguments(&folder, &[]).join(" "), "there is no config.toml yet");
        std::fs::write(folder.join("config.toml"), "").unwrap();
        wait(resume(&program, &folder, &["/runs/b".into()]).unwrap(), &folder);
        assert_eq!(words(), format!("resume {} --detached --after /runs/b", folder.display()));
    }

    /// A process that holds the lock of a run's folder, as `reinpath-train` does, and what it started.
    #[test]
    fn a_kill_ends_the_process_that_holds_the_lock_with_its_group() {
        use std::os::unix::process::CommandExt as _;
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path());
        std::fs::write(folder.config_file(), "").unwrap();
        let script = r#"echo "{\"pid\":$$}" > run.lock; exec 9<> run.lock; flock -x 9 || exit 3; touch ready; sleep 300"#;
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(place.path()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while !place.path().join("ready").exists() {
            if child.try_wait().unwrap().is_some() {
                eprintln!("skipped: this system has no program flock");
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        let Ok(RunState::Running(holder)) = folder.state() else { panic!("{:?}", folder.state()) };
        assert_eq!(holder.pid, Some(child.id()));
        kill(place.path()).unwrap();
        let (how, _) = in_words(child.wait().unwrap());
        assert!(how.contains("signal 9"), "{how}");
        let begun = Instant::now();
        while matches!(folder.state(), Ok(RunState::Running(_))) {
            // What it started has the lock's file open too, and is gone with it.
            assert!(begun.elapsed() < Duration::from_secs(10), "its child lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
