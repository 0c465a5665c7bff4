//! The rows that the demo trains on: phantom tissue, drawn by `reinpath-train phantom` beside the runs folder when the user asks
//! for it, once.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::Value;

use super::super::TrainPlaces;

/// Of their folder, in presets and on the disk.
pub(super) const NAME: &str = "demo-rows";

/// Both parts, with how many fields each has and what they are drawn from: other seeds, so that no field is in both.
const PARTS: &[(&str, &str, &str)] = &[("train", "200", "20263"), ("validation", "20", "20264")];
/// How often the program is looked at while it draws.
const PAUSE: Duration = Duration::from_millis(50);
/// What it says at most of what went wrong.
const MOST_SAID: u64 = 1 << 16;

/// How far they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DemoRows {
    /// The settings do not use them.
    #[default]
    NotNeeded,
    Missing,
    /// What is being done.
    Making(String),
    There,
    /// Why they could not be made, as a sentence.
    Failed(String),
}

/// Where they lie, or would.
pub(super) fn folder(places: &TrainPlaces) -> Option<PathBuf> {
    Some(places.runs.as_ref()?.parent()?.join(NAME))
}

/// Whether settings name them.
pub(super) fn are_used(settings: &Value, places: &TrainPlaces) -> bool {
    folder(places).is_some_and(|folder| names(settings, &folder))
}

/// Whether a path below a folder is somewhere in a value.
fn names(value: &Value, folder: &Path) -> bool {
    match value {
        Value::String(text) => Path::new(text).starts_with(folder),
        Value::Array(list) => list.iter().any(|value| names(value, folder)),
        Value::Object(table) => table.values().any(|value| names(value, folder)),
        _ => false,
    }
}

/// Looks whether they are needed, and there.
pub(super) fn look(settings: &Value, places: &TrainPlaces) -> DemoRows {
    match folder(places).filter(|_| are_used(settings, places)) {
        None => DemoRows::NotNeeded,
        Some(folder) if is_whole(&folder) => DemoRows::There,
        Some(_) => DemoRows::Missing,
    }
}

fn is_whole(folder: &Path) -> bool {
    PARTS.iter().all(|(part, _, _)| folder.join(part).join("rows.jsonl").is_file())
}

/// Makes them; waits for the program, and ends it when `window` is gone.
///
/// # Errors
/// A sentence, with the path last.
pub(super) fn make(
    places: &TrainPlaces,
    window: &Receiver<()>,
    tell: &mut dyn FnMut(DemoRows),
) -> Result<(), String> {
    let program = match &places.program {
        Some(Ok(program)) => program,
        Some(Err(sentence)) => return Err(sentence.clone()),
        None => return Err("The program reinpath-train, which draws the demo rows, is not known.".to_owned()),
    };
    let folder =
        folder(places).ok_or("There is no folder for runs, beside which the demo rows would lie.")?;
    if is_whole(&folder) {
        return Ok(());
    }
    // Under another name until they are whole, so that half of them is never taken for all.
    let unfinished = folder.with_file_name(format!("{NAME}.unfinished"));
    let in_words =
        |error: std::io::Error| format!("The demo rows cannot be made, {error}: {}", unfinished.display());
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(in_words)?;
    }
    std::fs::create_dir_all(&unfinished).map_err(in_words)?;
    for &(part, count, seed) in PARTS {
        tell(DemoRows::Making(format!("Drawing {count} phantom fields ({part})")));
        let mut command = Command::new(program);
        command.args(["phantom", "--count", count, "--seed", seed, "--questions", "3", "--captions", "4"]);
        command.args(["--split", part, "-o"]).arg(unfinished.join(part));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| {
            format!("The program that draws the demo rows cannot be started, {error}: {}", program.display())
        })?;
        wait(child, window, &unfinished)?;
    }
    if folder.exists() {
        // Not whole, or it would have been used: what is in it may be somebody's.
        return Err(format!(
            "The demo rows are not whole: move this folder away and make them again: {}",
            folder.display()
        ));
    }
    std::fs::rename(&unfinished, &folder).map_err(in_words)
}

fn wait(mut child: Child, window: &Receiver<()>, folder: &Path) -> Result<(), String> {
    let failed = |reason: &str| format!("The demo rows could not be drawn, {reason}: {}", folder.display());
    loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(&error.to_string()))? {
            if status.success() {
                return Ok(());
            }
            let mut said = String::new();
            if let Some(stderr) = child.stderr.take() {
                // What cannot be read leaves the status alone to be told.
                stderr.take(MOST_SAID).read_to_string(&mut said).ok();
            }
            let last = said.lines().rev().find(|line| !line.trim().is_empty());
            return Err(failed(last.unwrap_or(&status.to_string()).trim_end_matches('.')));
        }
        if let Err(RecvTimeoutError::Disconnected) = window.recv_timeout(PAUSE) {
            // Either may fail for a process that has just ended, which is what is wanted.
            child.kill().ok();
            child.wait().ok();
            return Err(failed("the window was closed"));
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use crossbeam_channel::bounded;
    use serde_json::json;

    use super::*;

    /// A program of this text that stands for the one that draws.
    fn places(home: &Path, script: &str) -> TrainPlaces {
        let program = home.join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        TrainPlaces { runs: Some(home.join("runs")), program: Some(Ok(program)), ..TrainPlaces::default() }
    }

    const DRAWS: &str = "for last; do :; done\nmkdir -p \"$last\"\necho \"$@\" > \"$last/rows.jsonl\"";

    #[test]
    fn both_parts_are_drawn_from_seeds_of_their_own_and_once_only() {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path(), DRAWS);
        let settings = json!({ "grpo": { "data": [{ "folder": home.path().join("demo-rows/train") }] } });
        assert_eq!(look(&settings, &places), DemoRows::Missing);
        assert_eq!(look(&json!({ "base": "a" }), &places), DemoRows::NotNeeded);
        let (_alive, window) = bounded(0);
        let mut told = Vec::new();
        make(&places, &window, &mut |rows| told.push(rows)).unwrap();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(look(&settings, &places), DemoRows::There);
        let read = |part: &str| {
            std::fs::read_to_string(home.path().join("demo-rows").join(part).join("rows.jsonl")).unwrap()
        };
        assert!(read("train").starts_with("phantom --count 200 --seed 20263 --questions 3 --captions 4"));
        assert!(
            read("validation").contains("--seed 20264") && read("validation").contains("--split validation")
        );
        make(&places, &window, &mut |rows| told.push(rows)).unwrap();
        assert_eq!(told.len(), 2, "nothing is drawn again");
    }

    #[test]
    fn a_program_that_fails_is_told_by_its_last_words_and_leaves_nothing_to_be_taken_for_rows() {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path(), "echo first >&2; echo 'No room is left.' >&2; exit 1");
        let (_alive, window) = bounded(0);
        let error = make(&places, &window, &mut |_| {}).unwrap_err();
        assert!(error.starts_with("The demo rows could not be drawn, No room is left: "), "{error}");
        assert!(!home.path().join("demo-rows").exists());
    }

    #[test]
    fn a_window_that_closes_ends_the_drawing() {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path(), "exec sleep 300");
        let (alive, window) = bounded(0);
        drop(alive);
        let start = Instant::now();
        assert!(make(&places, &window, &mut |_| {}).unwrap_err().contains("the window was closed"));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn without_the_program_a_sentence_says_so() {
        let home = tempfile::tempdir().unwrap();
        let (_alive, window) = bounded(0);
        let missing = TrainPlaces {
            runs: Some(home.path().join("runs")),
            program: Some(Err("The program is not here.".to_owned())),
            ..TrainPlaces::default()
        };
        assert_eq!(make(&missing, &window, &mut |_| {}).unwrap_err(), "The program is not here.");
    }
}
