//! Every change of the window's state: commands and events come in, effects that need a thread, a file or the system go out.
//!
//! No drawing and no waiting, so that tests run it alone. `workers.rs` carries the effects out.

use std::path::PathBuf;
use std::sync::Arc;

use super::answer_view::{AnswerView, Phase, QuestionText, Subject};
use super::command::{AskCommand, Command};
use super::event::Event;
use super::patches::PatchId;
use super::state::{
    AppState, Mode, PackageState, Problem, Settings, SlideStatus, SlideTab, Tool, WorkerState,
};
use super::train::runs::RunsCommand;
use super::train::{self, TrainCommand, TrainEffect};
use crate::slide::{Region, SlideInfo};
use crate::viewer::tile_cache::SlideKey;

mod model_update;
mod patch_update;
mod view_update;

/// Something to be done outside the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    PickSlides,
    PickModelFolder,
    OpenSlide {
        key: SlideKey,
        path: PathBuf,
    },
    CloseSlide {
        key: SlideKey,
    },
    /// Read a patch as the model receives it.
    ReadPatch {
        key: SlideKey,
        patch: PatchId,
        region: Region,
    },
    /// The model will be needed soon.
    WarmUp,
    Ask(Box<AskOrder>),
    StopAsking {
        id: u64,
    },
    /// Read which packages there are.
    ReadModels {
        in_use: Option<PathBuf>,
    },
    UsePackage(PathBuf),
    CancelLoad,
    /// The model gives up its memory until the next question.
    ReleaseModel,
    Train(TrainEffect),
    ToggleModelPicker,
    SaveSettings(Settings),
    CopyText(String),
    Quit,
}

/// A question that goes to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct AskOrder {
    pub id: u64,
    pub slide: SlideKey,
    pub regions: Vec<Region>,
    pub text: QuestionText,
}

/// Carries out a command.
pub fn command(state: &mut AppState, command: Command) -> Vec<Effect> {
    match command {
        Command::PickSlides if state.picking => Vec::new(),
        Command::PickSlides => {
            state.picking = true;
            vec![Effect::PickSlides]
        }
        Command::Open(path) => open(state, path),
        Command::Show(key) => {
            if state.slide(key).is_some() {
                state.shown = Some(key);
            }
            Vec::new()
        }
        Command::ShowNext(by) => show_next(state, by),
        Command::Close(key) => close(state, key),
        Command::CloseShown => state.shown.map_or_else(Vec::new, |key| close(state, key)),
        Command::Retry(key) => retry(state, key),
        Command::Tool(tool) => {
            state.tool = tool;
            Vec::new()
        }
        Command::View(wish) => {
            view_update::view(state, wish);
            Vec::new()
        }
        Command::Patch(wish) => patch_update::patch(state, wish),
        Command::Ask(wish) => ask(state, wish),
        Command::Model(wish) => model_update::model(state, wish),
        Command::Train(wish) => train::command(state, wish),
        Command::Mode(mode) => {
            state.mode = mode;
            state.settings.mode = mode;
            let mut effects = vec![Effect::SaveSettings(state.settings.clone())];
            if mode == Mode::Train {
                effects.extend(train::command(state, TrainCommand::Runs(RunsCommand::Refresh)));
            }
            effects
        }
        Command::ToggleTheme => {
            state.settings.dark = !state.settings.dark;
            vec![Effect::SaveSettings(state.settings.clone())]
        }
        Command::AcceptNotice => {
            state.settings.notice_accepted = true;
            vec![Effect::SaveSettings(state.settings.clone())]
        }
        Command::ToggleLeftPanel => {
            state.left_folded = !state.left_folded;
            Vec::new()
        }
        Command::ToggleFrameTimes => {
            state.frame_times_shown = !state.frame_times_shown;
            Vec::new()
        }
        Command::DismissProblem(id) => {
            state.problems.retain(|problem| problem.id != id);
            Vec::new()
        }
        Command::DismissUnreadable(key) => {
            if let Some(slide) = state.slide_mut(key) {
                slide.unreadable = None;
            }
            Vec::new()
        }
        Command::Copy(text) => vec![Effect::CopyText(text)],
        Command::Quit => vec![Effect::Quit],
    }
}

/// Takes in what happened. Tiles go to the cache instead.
pub fn event(state: &mut AppState, event: Event) -> Vec<Effect> {
    match event {
        Event::SlideOpened { key, handle } => {
            return opened(state, key, handle.info().clone());
        }
        Event::SlideFailed { key, sentence } => {
            if let Some(slide) = state.slide_mut(key) {
                slide.status = SlideStatus::Failed { sentence };
            }
        }
        Event::Tile { key, pixels, .. } => {
            if let (Err(failure), Some(slide)) = (pixels, state.slide_mut(key)) {
                slide.unreadable = Some(failure.sentence);
            }
        }
        Event::Overview { key, picture } => {
            if let Some(slide) = state.slide_mut(key) {
                slide.overview = Some(picture);
            }
        }
        Event::PatchPicture { key, patch, picture } => {
            if let Some(slide) = state.slide_mut(key) {
                slide.patches.set_picture(patch, picture);
            }
        }
        Event::Picked(paths) => {
            state.picking = false;
            return paths.into_iter().flat_map(|path| open(state, path)).collect();
        }
        Event::PickerFailed(sentence) => {
            state.picking = false;
            complain(state, sentence);
        }
        Event::ModelFolderPicked(folder) => return model_update::picked(state, folder),
        Event::Package(Ok(info)) => return model_update::known(state, info),
        Event::Package(Err(sentence)) => state.model.package = PackageState::Failed(sentence),
        Event::PackageRefused { folder, sentence } => model_update::refused(state, &folder, sentence),
        Event::Models(list) => model_update::listed(state, list),
        Event::Train(news) => return train::event(state, news),
        Event::Worker(worker) => state.model.worker = worker,
        Event::Ask { id, event } => {
            if let Some(answer) = state.answer.as_mut().filter(|answer| answer.id == id) {
                answer.receive(event);
            }
        }
        Event::Memory(mib) => state.memory_mib = Some(mib),
        Event::Problem(sentence) => complain(state, sentence),
    }
    Vec::new()
}

/// Keeps a sentence until it is read; the same one is not shown twice.
pub(super) fn complain(state: &mut AppState, sentence: String) {
    if state.problems.iter().all(|problem| problem.sentence != sentence) {
        let id = state.new_id();
        state.problems.push(Problem { id, sentence });
    }
}

fn open(state: &mut AppState, path: PathBuf) -> Vec<Effect> {
    if let Some(open) = state.slides.iter().find(|slide| slide.path == path) {
        let key = open.key;
        state.shown = Some(key);
        return if matches!(open.status, SlideStatus::Failed { .. }) {
            retry(state, key)
        } else {
            Vec::new()
        };
    }
    let key = SlideKey(state.new_id());
    let mut slide = SlideTab::new(key, path.clone());
    if let Some(closed) = state.last_closed.take_if(|closed| closed.path == path) {
        (slide.patches, slide.viewport) = (closed.patches, closed.viewport);
    }
    state.slides.push(slide);
    state.shown = Some(key);
    vec![Effect::OpenSlide { key, path }]
}

fn opened(state: &mut AppState, key: SlideKey, info: SlideInfo) -> Vec<Effect> {
    let Some(slide) = state.slide_mut(key) else { return Vec::new() };
    // Of a slide that was open before, view and patches were kept; a file that has another size now is another picture.
    slide.viewport = slide.viewport.filter(|viewport| viewport.is_of(info.width(), info.height()));
    slide.status = SlideStatus::Open { info: Arc::new(info) };
    patch_update::read(slide)
}

fn retry(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let Some(slide) = state.slide_mut(key) else { return Vec::new() };
    let path = slide.path.clone();
    // The patches are kept: they may have cost thought. So is the view: nothing moves by itself.
    let (viewport, patches) = (slide.viewport, std::mem::take(&mut slide.patches));
    *slide = SlideTab { viewport, patches, ..SlideTab::new(key, path.clone()) };
    vec![Effect::CloseSlide { key }, Effect::OpenSlide { key, path }]
}

fn close(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let Some(at) = state.slides.iter().position(|slide| slide.key == key) else { return Vec::new() };
    let mut closed = state.slides.remove(at);
    if closed.viewport.is_some() || !closed.patches.places().is_empty() {
        // Textures are made again.
        closed.overview = None;
        closed.patches.forget_pictures();
        state.last_closed = Some(closed);
    }
    if state.shown == Some(key) {
        let neighbour = state.slides.get(at).or(state.slides.last());
        state.shown = neighbour.map(|slide| slide.key);
    }
    vec![Effect::CloseSlide { key }]
}

fn show_next(state: &mut AppState, by: i32) -> Vec<Effect> {
    let count = state.slides.len() as i32;
    let at = state.slides.iter().position(|slide| Some(slide.key) == state.shown);
    if let Some(at) = at {
        state.shown = Some(state.slides[(at as i32 + by).rem_euclid(count) as usize].key);
    }
    Vec::new()
}

fn ask(state: &mut AppState, wish: AskCommand) -> Vec<Effect> {
    match wish {
        AskCommand::Ask(text) => start_asking(state, *text),
        AskCommand::Again => ask_again(state),
        AskCommand::Stop => match &mut state.answer {
            Some(answer) if answer.is_running() => {
                answer.phase = Phase::Stopping;
                vec![Effect::StopAsking { id: answer.id }]
            }
            _ => {
                state.tool = Tool::Pan;
                Vec::new()
            }
        },
        AskCommand::CopyAnswer => {
            state.answer.iter().map(|answer| Effect::CopyText(answer.to_text())).collect()
        }
        AskCommand::ToggleCard(stage) => {
            if let Some(answer) = &mut state.answer {
                answer.toggle(stage);
            }
            Vec::new()
        }
    }
}

/// Said where patches are marked and none of them is asked about.
pub(super) const NO_PATCH_TICKED: &str = "No patch is ticked: tick Ask beside a patch.";

const STILL_READING: &str = "The model package is still being read.";

/// Why a question cannot be asked now, as one sentence that says what to do; `None` when it can.
pub fn obstacle(state: &AppState, text: &QuestionText) -> Option<String> {
    if state.model.chosen.is_some() {
        return Some(STILL_READING.to_owned());
    }
    if let PackageState::Failed(sentence) = &state.model.package {
        return Some(sentence.clone());
    }
    let Some(slide) = state.shown_slide().filter(|slide| slide.info().is_some()) else {
        return Some("Open a slide first.".to_owned());
    };
    if state.model.info().is_none() {
        return Some(STILL_READING.to_owned());
    }
    if slide.patches.places().is_empty() {
        return Some("Mark a patch first: choose the patch tool and click on the slide.".to_owned());
    }
    if slide.patches.in_question().next().is_none() {
        return Some(NO_PATCH_TICKED.to_owned());
    }
    if text.question.trim().is_empty() {
        return Some("Type a question first, or choose one.".to_owned());
    }
    if text.choices.len() == 1 {
        return Some("A choice needs at least two options.".to_owned());
    }
    None
}

fn start_asking(state: &mut AppState, text: QuestionText) -> Vec<Effect> {
    if state.is_asking() {
        return Vec::new();
    }
    if obstacle(state, &text).is_some() {
        // The Ask panel shows it.
        return Vec::new();
    }
    let Some(slide) = state.shown_slide() else { return Vec::new() };
    let places: Vec<_> = slide.patches.in_question().collect();
    let numbers: Vec<String> = places.iter().map(|(number, _)| number.to_string()).collect();
    let word = if numbers.len() == 1 { "patch" } else { "patches" };
    let subject = Subject {
        slide: slide.path.clone(),
        regions: places.iter().map(|(_, place)| place.region).collect(),
        words: format!("{}, {word} {}", slide.name(), numbers.join(", ")),
    };
    let key = slide.key;
    send(state, key, text, subject)
}

/// The last question about what it was about, whatever is shown and ticked now.
fn ask_again(state: &mut AppState) -> Vec<Effect> {
    let Some(last) = state.answer.as_ref().filter(|answer| !answer.is_running()) else { return Vec::new() };
    let (text, subject) = (last.question.clone(), last.subject.clone());
    if let PackageState::Failed(sentence) = &state.model.package {
        let sentence = sentence.clone();
        complain(state, sentence);
        return Vec::new();
    }
    if state.model.chosen.is_some() {
        complain(state, STILL_READING.to_owned());
        return Vec::new();
    }
    let slide = state.slides.iter().find(|slide| slide.path == subject.slide && slide.info().is_some());
    let Some(key) = slide.map(|slide| slide.key) else {
        let path = subject.slide.display();
        complain(state, format!("Open the slide of the last question again to ask once more: {path}"));
        return Vec::new();
    };
    send(state, key, text, subject)
}

fn send(state: &mut AppState, slide: SlideKey, text: QuestionText, subject: Subject) -> Vec<Effect> {
    let id = state.new_id();
    let order = AskOrder { id, slide, regions: subject.regions.clone(), text: text.clone() };
    if let WorkerState::Ended(_) = state.model.worker {
        state.model.worker = WorkerState::Idle;
    }
    state.answer = Some(AnswerView::new(id, text, subject));
    vec![Effect::Ask(Box::new(order))]
}

#[cfg(test)]
mod tests;
