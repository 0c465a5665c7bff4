//! Changes of which model answers, and of what the picker shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::command::ModelCommand;
use super::super::model_list::ModelList;
use super::super::state::{AppState, ModelInfo, PackageState, WorkerState};
use super::{Effect, complain, patch_update};

/// Said when another model is chosen while this one writes.
const STILL_ANSWERING: &str =
    "An answer is being written: stop it, or wait for its end, and choose the model then.";

/// Carries out a wish about the model.
pub(super) fn model(state: &mut AppState, wish: ModelCommand) -> Vec<Effect> {
    match wish {
        ModelCommand::Choose => {
            let mut effects = vec![Effect::ToggleModelPicker];
            effects.extend(read_list(state));
            effects
        }
        ModelCommand::ReadList => read_list(state).into_iter().collect(),
        ModelCommand::PickFolder if state.picking => Vec::new(),
        ModelCommand::PickFolder => {
            state.picking = true;
            vec![Effect::PickModelFolder]
        }
        ModelCommand::Use(folder) => use_package(state, folder),
        ModelCommand::CancelLoad => match state.model.worker {
            WorkerState::Loading { .. } => vec![Effect::CancelLoad],
            _ => Vec::new(),
        },
    }
}

fn read_list(state: &mut AppState) -> Option<Effect> {
    if state.model.is_list_being_read {
        return None;
    }
    state.model.is_list_being_read = true;
    Some(Effect::ReadModels { in_use: state.model.folder().map(ToOwned::to_owned) })
}

/// Takes in what the picker shows.
pub(super) fn listed(state: &mut AppState, list: ModelList) {
    state.model.is_list_being_read = false;
    state.model.list = Some(list);
}

/// The dialog for a folder was closed.
pub(super) fn picked(state: &mut AppState, folder: Option<PathBuf>) -> Vec<Effect> {
    state.picking = false;
    folder.map_or_else(Vec::new, |folder| use_package(state, folder))
}

fn use_package(state: &mut AppState, folder: PathBuf) -> Vec<Effect> {
    if state.is_asking() {
        complain(state, STILL_ANSWERING.to_owned());
        return Vec::new();
    }
    if state.model.chosen.is_none() && state.model.folder() == Some(folder.as_path()) {
        // Chosen all the same: another one may be remembered, which was not there at the start.
        return remember(state, folder);
    }
    state.model.chosen = Some(folder.clone());
    vec![Effect::UsePackage(folder)]
}

/// A package is in use from now on; one that was chosen is remembered.
pub(super) fn known(state: &mut AppState, info: Arc<ModelInfo>) -> Vec<Effect> {
    let is_chosen = state.model.chosen.take_if(|folder| *folder == info.folder).is_some();
    let folder = info.folder.clone();
    state.model.package = PackageState::Known(info);
    let mut effects = patch_update::read_all(state);
    if is_chosen {
        effects.extend(remember(state, folder));
    }
    effects
}

fn remember(state: &mut AppState, folder: PathBuf) -> Vec<Effect> {
    // The demo lies where the program does, which may be elsewhere the next time.
    let listed = state.model.list.iter().flat_map(|list| &list.models);
    let is_demo = listed.filter(|model| model.folder == folder).any(|model| model.is_demo);
    let model = (!is_demo).then_some(folder);
    if state.settings.model == model {
        return Vec::new();
    }
    state.settings.model = model;
    vec![Effect::SaveSettings(state.settings.clone())]
}

/// The package that was chosen cannot be used; the one in use stays.
pub(super) fn refused(state: &mut AppState, folder: &Path, sentence: String) {
    if state.model.chosen.as_deref() == Some(folder) {
        state.model.chosen = None;
    }
    complain(state, sentence);
}

#[cfg(test)]
mod tests {
    use reinpath_model::package::MemoryNeed;

    use super::super::super::answer_view::{AnswerView, QuestionText, Subject};
    use super::super::super::command::Command;
    use super::super::super::event::Event;
    use super::super::super::model_list::{ListedModel, ModelFacts};
    use super::super::super::state::{Settings, tests_support};
    use super::super::{command, event, obstacle};
    use super::*;

    fn info(folder: &str) -> Arc<ModelInfo> {
        Arc::new(ModelInfo { folder: folder.into(), ..tests_support::model() })
    }

    /// A window whose package `models/old` is in use.
    fn with_model() -> AppState {
        let mut state = AppState::default();
        event(&mut state, Event::Package(Ok(info("models/old"))));
        state
    }

    fn choose(state: &mut AppState, folder: &str) -> Vec<Effect> {
        command(state, Command::Model(ModelCommand::Use(folder.into())))
    }

    fn asking(state: &mut AppState) {
        let subject = Subject { slide: "a.svs".into(), regions: Vec::new(), words: String::new() };
        state.answer = Some(AnswerView::new(1, QuestionText::default(), subject));
    }

    fn problems(state: &AppState) -> Vec<&str> {
        state.problems.iter().map(|problem| problem.sentence.as_str()).collect()
    }

    #[test]
    fn a_package_that_is_chosen_is_used_and_remembered() {
        let mut state = with_model();
        assert_eq!(choose(&mut state, "models/new"), [Effect::UsePackage("models/new".into())]);
        assert_eq!(state.model.folder(), Some(Path::new("models/old")), "until the new one is read");
        let effects = event(&mut state, Event::Package(Ok(info("models/new"))));
        let settings = Settings { model: Some("models/new".into()), ..Settings::default() };
        assert_eq!(effects, [Effect::SaveSettings(settings)]);
        assert_eq!(state.model.folder(), Some(Path::new("models/new")));
        assert!(choose(&mut state, "models/new").is_empty(), "it is in use already");
        state.settings.model = Some("models/gone".into());
        let settings = Settings { model: Some("models/new".into()), ..Settings::default() };
        assert_eq!(
            choose(&mut state, "models/new"),
            [Effect::SaveSettings(settings)],
            "what is gone is forgotten"
        );
    }

    #[test]
    fn the_package_that_a_start_brings_is_not_remembered_and_neither_is_the_demos_folder() {
        let mut state = AppState::default();
        assert!(event(&mut state, Event::Package(Ok(info("assets/demo")))).is_empty());
        choose(&mut state, "models/new");
        event(&mut state, Event::Package(Ok(info("models/new"))));
        let facts = ModelFacts {
            bytes: 1,
            precision: "f16".to_owned(),
            licence: String::new(),
            allows: String::new(),
            untrainable: None,
            need: MemoryNeed { weights: 1, cache: None },
        };
        let demo = ListedModel {
            folder: "assets/demo".into(),
            name: "demo".to_owned(),
            is_demo: true,
            facts: Ok(facts),
        };
        let list = ModelList { models: vec![demo], ..ModelList::default() };
        assert!(event(&mut state, Event::Models(list)).is_empty());
        choose(&mut state, "assets/demo");
        event(&mut state, Event::Package(Ok(info("assets/demo"))));
        assert_eq!(state.settings.model, None);
    }

    #[test]
    fn while_an_answer_is_written_another_model_is_refused_with_a_sentence() {
        let mut state = with_model();
        asking(&mut state);
        assert!(choose(&mut state, "models/new").is_empty());
        assert_eq!(problems(&state), [STILL_ANSWERING]);
        assert_eq!(state.model.chosen, None);
    }

    #[test]
    fn a_package_that_cannot_be_read_is_named_and_the_old_one_stays() {
        let mut state = with_model();
        choose(&mut state, "models/bad");
        let sentence = "There is no model package here: models/bad".to_owned();
        let refused = Event::PackageRefused { folder: "models/bad".into(), sentence: sentence.clone() };
        assert!(event(&mut state, refused).is_empty());
        assert_eq!(problems(&state), [sentence]);
        assert_eq!((state.model.folder(), &state.model.chosen), (Some(Path::new("models/old")), &None));
        assert_eq!(state.settings.model, None);
    }

    #[test]
    fn nothing_is_asked_between_the_choice_and_its_end() {
        let mut state = with_model();
        choose(&mut state, "models/new");
        let question = QuestionText { question: "What is seen?".to_owned(), ..QuestionText::default() };
        assert_eq!(obstacle(&state, &question).as_deref(), Some("The model package is still being read."));
    }

    #[test]
    fn only_a_load_can_be_cancelled() {
        let mut state = with_model();
        let cancel = || Command::Model(ModelCommand::CancelLoad);
        assert!(command(&mut state, cancel()).is_empty());
        let since = std::time::Instant::now();
        let loading = WorkerState::Loading { what: "weights".to_owned(), fraction: None, since };
        event(&mut state, Event::Worker(loading));
        assert_eq!(command(&mut state, cancel()), [Effect::CancelLoad]);
        event(&mut state, Event::Worker(WorkerState::Idle));
        assert_eq!(state.model.worker, WorkerState::Idle);
    }

    #[test]
    fn the_list_is_read_when_the_picker_opens_and_once_at_a_time() {
        let mut state = with_model();
        let effects = command(&mut state, Command::Model(ModelCommand::Choose));
        let read = Effect::ReadModels { in_use: Some("models/old".into()) };
        assert_eq!(effects, [Effect::ToggleModelPicker, read.clone()]);
        assert!(command(&mut state, Command::Model(ModelCommand::ReadList)).is_empty());
        event(&mut state, Event::Models(ModelList::default()));
        assert_eq!(command(&mut state, Command::Model(ModelCommand::ReadList)), [read]);
    }

    #[test]
    fn a_folder_from_the_dialog_is_used_and_no_second_dialog_opens() {
        let mut state = with_model();
        let pick = || Command::Model(ModelCommand::PickFolder);
        assert_eq!(command(&mut state, pick()), [Effect::PickModelFolder]);
        assert!(command(&mut state, pick()).is_empty());
        assert!(command(&mut state, Command::PickSlides).is_empty());
        let effects = event(&mut state, Event::ModelFolderPicked(Some("models/new".into())));
        assert_eq!(effects, [Effect::UsePackage("models/new".into())]);
        assert!(!state.picking && event(&mut state, Event::ModelFolderPicked(None)).is_empty());
    }
}
