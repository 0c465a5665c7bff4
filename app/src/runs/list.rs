//! Finds the runs of this machine: the folders below the runs folder, and those that the user opened elsewhere.

use std::cmp::Reverse;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use reinpath_training::error::Error;
use reinpath_training::run_folder::{RunFolder, RunState};

use super::RunKey;
use super::told::{Listed, ListedRun};

/// The runs in the folders right below `runs`, and those in the folders `also`, the one that was written into last first. What
/// lies beside them and is no run is left out; of `also` nothing is: what is wrong with one is said.
pub fn find(runs: Option<&Path>, also: &[PathBuf]) -> Vec<ListedRun> {
    let entries = runs.and_then(|runs| std::fs::read_dir(runs).ok());
    let below = entries.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut keys: Vec<RunKey> = below.filter(|folder| is_run(folder)).map(RunKey::new).collect();
    keys.extend(also.iter().cloned().map(RunKey::new));
    keys.sort();
    keys.dedup();
    let mut list: Vec<ListedRun> = keys.iter().map(look_at).collect();
    // The sort is stable: among those of the same second the order is that of their folders.
    list.sort_by_key(|run| Reverse(run.changed));
    list
}

/// What can be told of a run without reading its events.
pub fn look_at(key: &RunKey) -> ListedRun {
    let folder = RunFolder::new(key.folder());
    ListedRun { key: key.clone(), state: state(&folder), changed: changed(&folder) }
}

fn state(folder: &RunFolder) -> Listed {
    let path = folder.path();
    if !path.is_dir() {
        return Listed::Unreadable(format!("The folder of the run is not there: {}", path.display()));
    }
    match folder.state() {
        // As it was written by a process that was started with a relative path from elsewhere.
        Ok(RunState::Finished(package)) if package.is_relative() => {
            Listed::Known(RunState::Finished(folder.package()))
        }
        Ok(state) => Listed::Known(state),
        Err(Error::NoRun(_)) if folder.asked_file().is_file() => Listed::NeverBegan,
        Err(error) => Listed::Unreadable(sentence(&error)),
    }
}

/// Whether a folder holds what only a run's does.
fn is_run(path: &Path) -> bool {
    let folder = RunFolder::new(path);
    let is_there =
        [folder.config_file(), folder.asked_file(), folder.events_file()].iter().any(|f| f.is_file());
    is_there && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// When the run last wrote something, in seconds since 1970; 0 where that is not known. What is recorded of the machine does not
/// count: it goes on while the run itself stands still.
fn changed(folder: &RunFolder) -> u64 {
    let files = [
        folder.events_file(),
        folder.log_file(),
        folder.stderr_file(),
        folder.config_file(),
        folder.asked_file(),
    ];
    let newest = files.iter().filter_map(|file| written(file)).max();
    let since = newest.or_else(|| written(folder.path())).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

/// When a file or folder was last written; `None` where there is none.
fn written(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// An error as a sentence of its own.
pub(super) fn sentence(error: &impl Display) -> String {
    let words = error.to_string();
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use reinpath_training::event::RunEvent;

    use super::*;

    pub(in crate::runs) const CONFIG: &str = "name = \"a\"\nseed = 1\nbase = \"/b\"\n[cold_start]\ndata = [{ folder = \"/d\" }]\noptimisation = {}\n";

    /// Lines of `events.jsonl`.
    pub(in crate::runs) fn lines(events: &[RunEvent]) -> String {
        let lines: Vec<String> =
            events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
        lines.concat()
    }

    fn make(runs: &Path, name: &str, files: &[(&str, &str)]) -> RunKey {
        let folder = runs.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            std::fs::write(folder.join(file), text).unwrap();
        }
        RunKey::new(folder)
    }

    fn set_time(file: &Path, secs: u64) {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(secs)).unwrap();
    }

    #[test]
    fn whole_broken_and_waiting_runs_are_found_and_what_is_none_is_not() {
        let place = tempfile::tempdir().unwrap();
        let runs = place.path().join("runs");
        let failed = lines(&[RunEvent::Failed { error: "no memory".to_owned() }]);
        let old = make(&runs, "old", &[("config.toml", CONFIG), ("events.jsonl", &failed)]);
        let asked = make(&runs, "asked", &[("asked.toml", CONFIG)]);
        let killed = make(&runs, "killed", &[("config.toml", CONFIG), ("events.jsonl", "{\"ty")]);
        make(&runs, "notes", &[("notes.txt", "no run")]);
        make(&runs, ".hidden", &[("config.toml", CONFIG)]);
        std::fs::write(runs.join("file"), "").unwrap();
        for (n, key) in [&old, &asked, &killed].into_iter().enumerate() {
            for entry in std::fs::read_dir(key.folder()).unwrap() {
                set_time(&entry.unwrap().path(), 1_700_000_000 + n as u64);
            }
        }
        let gone = place.path().join("gone");
        let list = find(Some(&runs), &[gone.clone(), old.folder().to_owned()]);
        let keys: Vec<&RunKey> = list.iter().map(|run| &run.key).collect();
        let gone = RunKey::new(gone);
        assert_eq!(keys, [&killed, &asked, &old, &gone], "the newest first, each once");
        assert_eq!(list[0].state, Listed::Known(RunState::Interrupted));
        assert_eq!(list[1].state, Listed::NeverBegan);
        assert_eq!(list[2].state, Listed::Known(RunState::Failed("no memory".to_owned())));
        assert_eq!((list[0].changed, list[3].changed), (1_700_000_002, 0));
        assert!(
            matches!(&list[3].state, Listed::Unreadable(sentence) if sentence.ends_with("gone")),
            "{:?}",
            list[3].state
        );
        assert!(find(None, &[]).is_empty() && find(Some(&place.path().join("none")), &[]).is_empty());
    }

    #[test]
    fn a_run_at_work_is_known_by_its_lock_also_before_its_first_event() {
        let place = tempfile::tempdir().unwrap();
        let key = make(place.path(), "run", &[("asked.toml", CONFIG)]);
        let lock = RunFolder::new(key.folder()).lock().unwrap();
        assert!(matches!(look_at(&key).state, Listed::Known(RunState::Running(_))));
        drop(lock);
        // A process that another test starts at this moment holds the file until it has become its program.
        for _ in 0..100 {
            if look_at(&key).state == Listed::NeverBegan {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(look_at(&key).state, Listed::NeverBegan);
        std::fs::remove_file(key.folder().join("asked.toml")).unwrap();
        let Listed::Unreadable(sentence) = look_at(&key).state else { panic!("there is no run") };
        assert!(sentence.starts_with("There is no run here"), "{sentence}");
    }

    #[test]
    fn the_package_of_a_run_that_was_started_by_a_relative_path_is_found() {
        let place = tempfile::tempdir().unwrap();
        let finished = lines(&[RunEvent::Finished { package: "runs/a/package".into(), secs: 1.0 }]);
        let key = make(place.path(), "a", &[("config.toml", CONFIG), ("events.jsonl", &finished)]);
        let package = key.folder().join("package");
        assert_eq!(look_at(&key).state, Listed::Known(RunState::Finished(package)));
    }
}
