//! Where a new run will lie.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::super::state::AppState;
use crate::runs::RunKey;

/// The folder that the run will have: the chosen one, or one named after the run, below the runs folder, that no known run has.
///
/// # Errors
/// A sentence, where there is none.
pub(in crate::window::train) fn folder(state: &AppState) -> Result<PathBuf, String> {
    let train = &state.train;
    if let Some(folder) = &train.setup.folder {
        return std::path::absolute(folder)
            .map_err(|error| format!("This is no folder for a run, {error}: {}", folder.display()));
    }
    let runs = train.places.runs.as_ref().ok_or("There is no folder for runs: name the run's own folder.")?;
    let name = slug(train.setup.draft.get("name").and_then(Value::as_str).unwrap_or_default());
    let is_taken = |folder: &Path| {
        let listed = train.runs.list.iter().flatten().map(|run| &run.key);
        let known = listed.chain(train.runs.told.keys()).chain(&train.control.started);
        known.chain(train.control.ended.keys()).any(|key: &RunKey| key.folder() == folder)
    };
    let first = runs.join(&name);
    let others = (2..).map(|number: u32| runs.join(format!("{name}-{number}")));
    let free = std::iter::once(first).chain(others).find(|folder| !is_taken(folder));
    free.ok_or_else(|| format!("Every name for the run is taken: {}", runs.display()))
}

/// `ReinPath demo, 2nd try` to `reinpath-demo-2nd-try`.
fn slug(name: &str) -> String {
    let letters = name.chars().map(|letter| if letter.is_alphanumeric() { letter } else { ' ' });
    let words: String = letters.flat_map(char::to_lowercase).collect();
    let slug = words.split_whitespace().collect::<Vec<_>>().join("-");
    if slug.is_empty() { "run".to_owned() } else { slug }
}
