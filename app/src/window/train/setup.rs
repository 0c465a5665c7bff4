//! What to run: package, data, stages and settings, as a form made from the configuration's own schema; presets; the command and the
//! TOML that it stands for.
//!
//! The draft is a value in the configuration's shape that holds what was stated; what it does not state is as the schema says, and
//! it need not be valid while it is edited. `field` is the schema as a tree, `draft` changes the draft, `desk` reads and writes
//! files, and `panel` draws.

use std::path::{Path, PathBuf};
use std::time::Instant;

use reinpath_training::config::RunConfig;
use serde_json::Value;

use super::super::state::AppState;
use super::super::update::{Effect, complain};
use super::TrainEffect;

mod base;
mod data_source;
pub mod demo_rows;
mod desk;
mod draft;
mod field;
mod form;
mod panel;
mod place;
pub mod preset;
#[cfg(test)]
mod tests;
mod toml_view;

use self::demo_rows::DemoRows;
pub(super) use self::desk::SetupDesk;
pub(super) use self::panel::SetupPanel;
pub(super) use self::place::folder;
use self::preset::Preset;

/// What this part shows.
#[derive(Debug, Default)]
pub struct SetupState {
    /// The settings as they are edited, in the shape of `RunConfig`; `Null` before the first preset was read. They need not be valid.
    pub draft: Value,
    /// Why the draft is no configuration, or what is still to be filled in, as a sentence with the setting's name; `None` where it
    /// can be looked through.
    pub fault: Option<String>,
    /// Folder that the run will have; `None`: one named after the run, below the runs folder.
    pub folder: Option<PathBuf>,
    /// Drafts that changes began from, the newest last.
    pub undo: Vec<Value>,
    /// Drafts that were taken back.
    pub redo: Vec<Value>,
    /// The setting that is being typed, and when it was last changed.
    pub typing: Option<(String, Instant)>,
    pub presets: Vec<Preset>,
    /// Why settings could not be read the last time, as a sentence.
    pub recent_fault: Option<String>,
    pub demo_rows: DemoRows,
    /// Whether the demo rows are to be made if the settings that are being read need them: they were asked for by the user.
    pub makes_demo_rows: bool,
    /// Whether a dialog is open.
    pub is_picking: bool,
    /// File that settings are saved to or opened from, as it is typed.
    pub file: PathBuf,
    /// Where the settings were saved as they are now.
    pub saved: Option<PathBuf>,
}

/// Wishes about it.
#[derive(Clone, Debug, PartialEq)]
pub enum SetupCommand {
    /// Takes settings from a preset.
    UsePreset(String),
    /// Takes the settings of a file of TOML or of a run's `config.toml`.
    Load(PathBuf),
    /// Starts from another package, as that of a run.
    ContinueFrom(PathBuf),
    /// Changes one setting, named as in `grpo.max_tokens` or `grpo.data.0.folder`; `Null` takes it away.
    Change(String, Value),
    Undo,
    Redo,
    /// Begins with empty settings.
    Begin,
    /// The run's folder; `None`: one named after the run.
    Folder(Option<PathBuf>),
    MakeDemoRows,
    /// The path beside the buttons Open and Save, as it is typed.
    File(PathBuf),
    /// Opens the settings of the file that is typed, or of one that a dialog asks for.
    Open,
    /// Saves the settings as TOML to the file that is typed, or to one that a dialog asks for.
    Save,
    /// Asks for a path by a dialog.
    Pick(Pick),
    DismissFault,
}

/// What a dialog asks for a path for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// A setting that holds a path.
    Setting {
        key: String,
        is_folder: bool,
    },
    RunFolder,
    Open,
    Save,
}

/// What happened to it.
#[derive(Debug)]
pub enum SetupEvent {
    /// A configuration was read, or why it could not be, as a sentence.
    Loaded(Result<Value, String>),
    Presets(Vec<Preset>),
    DemoRows(DemoRows),
    /// A dialog was closed; no path when it was cancelled, an error where no dialog can be shown.
    Picked {
        what: Pick,
        path: Result<Option<PathBuf>, String>,
    },
    /// The settings were written there, or why not, as a sentence.
    Saved(Result<PathBuf, String>),
}

/// What is to be done for it outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum SetupEffect {
    ReadPreset(String),
    ReadFile(PathBuf),
    SaveDraft(Value),
    SaveFile { path: PathBuf, text: String },
    MakeDemoRows,
    Pick(Pick),
}

/// Carries out a wish.
pub(in crate::window) fn command(state: &mut AppState, wish: SetupCommand) -> Vec<Effect> {
    let setup = &mut state.train.setup;
    match wish {
        SetupCommand::UsePreset(name) => {
            setup.makes_demo_rows = true;
            vec![effect(SetupEffect::ReadPreset(name))]
        }
        SetupCommand::Load(path) => vec![effect(SetupEffect::ReadFile(path))],
        SetupCommand::ContinueFrom(package) => change(state, "base", path_value(&package)),
        SetupCommand::Change(key, value) => change(state, &key, value),
        SetupCommand::Undo => {
            if draft::undo(setup) {
                changed(state)
            } else {
                Vec::new()
            }
        }
        SetupCommand::Redo => {
            if draft::redo(setup) {
                changed(state)
            } else {
                Vec::new()
            }
        }
        SetupCommand::Begin => begin(state),
        SetupCommand::Folder(folder) => {
            setup.folder = folder.filter(|folder| !folder.as_os_str().is_empty());
            Vec::new()
        }
        SetupCommand::MakeDemoRows => make_demo_rows(state),
        SetupCommand::File(path) => {
            setup.file = path;
            Vec::new()
        }
        SetupCommand::Open if setup.file.as_os_str().is_empty() => pick(state, Pick::Open),
        SetupCommand::Open => vec![effect(SetupEffect::ReadFile(setup.file.clone()))],
        SetupCommand::Save if setup.file.as_os_str().is_empty() => pick(state, Pick::Save),
        SetupCommand::Save => save(state),
        SetupCommand::Pick(what) => pick(state, what),
        SetupCommand::DismissFault => {
            setup.recent_fault = None;
            Vec::new()
        }
    }
}

/// Takes in what happened.
pub(in crate::window) fn event(state: &mut AppState, news: SetupEvent) -> Vec<Effect> {
    let setup = &mut state.train.setup;
    match news {
        SetupEvent::Loaded(settings) => return loaded(state, settings),
        SetupEvent::Presets(presets) => setup.presets = presets,
        SetupEvent::DemoRows(DemoRows::Missing) if setup.makes_demo_rows => {
            setup.demo_rows = DemoRows::Missing;
            return make_demo_rows(state);
        }
        // What is being made is looked for as well when other settings are read.
        SetupEvent::DemoRows(DemoRows::Missing) if is_making(&setup.demo_rows) => {}
        SetupEvent::DemoRows(rows) => setup.demo_rows = rows,
        SetupEvent::Picked { what, path } => return picked(state, what, path),
        SetupEvent::Saved(Ok(path)) => setup.saved = Some(path),
        SetupEvent::Saved(Err(sentence)) => complain(state, sentence),
    }
    Vec::new()
}

fn effect(effect: SetupEffect) -> Effect {
    Effect::Train(TrainEffect::Setup(effect))
}

fn path_value(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}

fn change(state: &mut AppState, key: &str, value: Value) -> Vec<Effect> {
    let setup = &mut state.train.setup;
    if !setup.draft.is_object() {
        complain(state, "There are no settings yet: choose a preset first.".to_owned());
        return Vec::new();
    }
    let refused = match field::find(key) {
        None => Err(format!("There is no setting `{key}`.")),
        Some(_) => stage_is_there(&setup.draft, key),
    };
    let mut after = setup.draft.clone();
    // Whole stages, lists and words that are taken away are no typing.
    let is_typed = matches!(value, Value::String(_) | Value::Number(_));
    match refused.and_then(|()| draft::put(&mut after, key, value)) {
        Err(sentence) => {
            complain(state, sentence);
            Vec::new()
        }
        Ok(()) if after == setup.draft => Vec::new(),
        Ok(()) => {
            draft::keep(setup, is_typed.then_some(key), Instant::now());
            setup.draft = after;
            changed(state)
        }
    }
}

/// A setting of a stage that is not to be run would bring the stage back, and without its data.
fn stage_is_there(settings: &Value, key: &str) -> Result<(), String> {
    let Some((stage, _)) = key.split_once('.') else { return Ok(()) };
    let is_optional =
        field::find(stage).is_some_and(|field| matches!(field.kind, field::FieldKind::Optional(_)));
    if is_optional && settings.get(stage).is_none_or(Value::is_null) {
        return Err(format!("`{key}` cannot be set: the stage {stage} is not to be run. Tick it first."));
    }
    Ok(())
}

/// After every change of the draft.
fn changed(state: &mut AppState) -> Vec<Effect> {
    let setup = &mut state.train.setup;
    setup.fault = fault(&setup.draft);
    // The file holds other settings now, and the command must not name it.
    setup.saved = None;
    vec![effect(SetupEffect::SaveDraft(setup.draft.clone()))]
}

/// Why settings cannot be looked through yet, as a sentence.
fn fault(settings: &Value) -> Option<String> {
    let root = match field::root() {
        Ok(root) => root,
        Err(sentence) => return Some(sentence.to_owned()),
    };
    if let Err(sentence) = read_config(settings) {
        return Some(sentence);
    }
    let stages = ["alignment", "cold_start", "grpo"];
    let is_there = |stage: &str| settings.get(stage).is_some_and(|stage| !stage.is_null());
    if !stages.into_iter().any(is_there) {
        return Some("No stage is to be run: tick alignment, cold_start or grpo.".to_owned());
    }
    root.empty(settings, "")
}

fn read_config(settings: &Value) -> Result<RunConfig, String> {
    if settings.is_null() {
        return Err("There are no settings yet: choose a preset.".to_owned());
    }
    match field::root()?.wrong(settings, "") {
        Some(sentence) => Err(sentence),
        None => serde_json::from_value(settings.clone())
            .map_err(|error| format!("The settings are not complete: {error}.")),
    }
}

fn begin(state: &mut AppState) -> Vec<Effect> {
    match field::root() {
        Ok(root) => replace(state, root.start()),
        Err(sentence) => {
            complain(state, sentence.to_owned());
            Vec::new()
        }
    }
}

/// Takes other settings as a whole, which can be undone.
fn replace(state: &mut AppState, settings: Value) -> Vec<Effect> {
    let setup = &mut state.train.setup;
    let is_first = setup.draft.is_null();
    if !is_first {
        draft::keep(setup, None, Instant::now());
    }
    setup.draft = settings;
    setup.folder = None;
    let effects = changed(state);
    // What a start brings is on the disk already.
    if is_first { Vec::new() } else { effects }
}

fn loaded(state: &mut AppState, settings: Result<Value, String>) -> Vec<Effect> {
    let setup = &mut state.train.setup;
    setup.makes_demo_rows = false;
    match settings {
        Ok(settings) => {
            setup.recent_fault = None;
            replace(state, settings)
        }
        Err(sentence) => {
            setup.recent_fault = Some(sentence);
            Vec::new()
        }
    }
}

fn is_making(rows: &DemoRows) -> bool {
    matches!(rows, DemoRows::Making(_))
}

fn make_demo_rows(state: &mut AppState) -> Vec<Effect> {
    let setup = &mut state.train.setup;
    setup.makes_demo_rows = false;
    if is_making(&setup.demo_rows) {
        return Vec::new();
    }
    setup.demo_rows = DemoRows::Making("Starting to draw".to_owned());
    vec![effect(SetupEffect::MakeDemoRows)]
}

fn pick(state: &mut AppState, what: Pick) -> Vec<Effect> {
    let setup = &mut state.train.setup;
    if setup.is_picking {
        return Vec::new();
    }
    setup.is_picking = true;
    vec![effect(SetupEffect::Pick(what))]
}

fn picked(state: &mut AppState, what: Pick, path: Result<Option<PathBuf>, String>) -> Vec<Effect> {
    let setup = &mut state.train.setup;
    setup.is_picking = false;
    let path = match path {
        Ok(Some(path)) => path,
        Ok(None) => return Vec::new(),
        Err(sentence) => {
            complain(state, sentence);
            return Vec::new();
        }
    };
    match what {
        Pick::Setting { key, .. } => change(state, &key, path_value(&path)),
        Pick::RunFolder => {
            setup.folder = Some(path);
            Vec::new()
        }
        Pick::Open => vec![effect(SetupEffect::ReadFile(path))],
        Pick::Save => {
            setup.file = path;
            save(state)
        }
    }
}

fn save(state: &mut AppState) -> Vec<Effect> {
    let path = state.train.setup.file.clone();
    let text = config(state).and_then(|config| toml_view::text_of(&config));
    match text {
        Ok(text) => vec![effect(SetupEffect::SaveFile { path, text })],
        Err(sentence) => {
            complain(state, sentence);
            Vec::new()
        }
    }
}

/// The configuration that the draft stands for.
///
/// # Errors
/// A sentence that names the setting, where the draft is none.
pub(super) fn config(state: &AppState) -> Result<RunConfig, String> {
    read_config(&state.train.setup.draft)
}
