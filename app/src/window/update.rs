//! Every change of the window's state: commands and events come in, effects that need a thread, a file or the system go out.
//!
//! No drawing and no waiting, so that tests run it alone. `workers.rs` carries the effects out.

use std::path::PathBuf;
use std::sync::Arc;

use reinpath_model::request::{Exchange, Sampling};

use super::answer_view::QuestionText;
use super::command::Command;
use super::event::Event;
use super::patches::PatchId;
use super::read::{self, ReadEffect};
use super::review::{self, ReviewEffect};
use super::state::{AppState, Mode, PackageState, Problem, Settings, SlideStatus, SlideTab};
use super::train::runs::RunsCommand;
use super::train::{self, TrainCommand, TrainEffect};
use crate::slide::{Region, SlideInfo};
use crate::viewer::tile_cache::SlideKey;

mod ask_update;
mod model_update;
mod patch_update;
mod view_update;

pub(super) use ask_update::NO_PATCH_TICKED;
pub use ask_update::obstacle;

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
    Read(ReadEffect),
    Review(ReviewEffect),
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
    pub how: How,
}

/// How a question is asked, where that differs from the usual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct How {
    /// `None`: as the package says, with seed 0.
    pub sampling: Option<Sampling>,
    /// The conversation before it, where the model is to read it.
    pub history: Vec<Exchange>,
    /// An answer that is read instead of written, headings included: for its maps.
    pub written: Option<String>,
    /// Whether maps of where each sentence looks are made.
    pub has_maps: bool,
    /// Degrees by which every patch is turned clockwise.
    pub turned: f64,
    /// Most pixels of a patch that the model is given, where it takes patches of any size; `None`: the package's own limit.
    pub max_pixels: Option<u64>,
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
                show(state, Some(key));
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
            read::moved(state);
            Vec::new()
        }
        Command::Patch(wish) => patch_update::patch(state, wish),
        Command::Ask(wish) => ask_update::ask(state, wish),
        Command::Model(wish) => model_update::model(state, wish),
        Command::Train(wish) => train::command(state, wish),
        Command::Read(wish) => read::command(state, wish),
        Command::Review(wish) => review::command(state, wish),
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
        Event::Read(news) => return read::event(state, news),
        Event::Review(news) => return review::event(state, news),
        Event::Worker(worker) => state.model.worker = worker,
        Event::Ask { id, event } => {
            let has_ended = event.is_end();
            match state.answer.as_mut().filter(|answer| answer.id == id) {
                Some(answer) => answer.receive(event),
                None => review::heard(state, id, event),
            }
            if has_ended {
                return review::ended(state, id);
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

/// Makes a slide, or none, the one that keys and panels are about.
pub(super) fn show(state: &mut AppState, key: Option<SlideKey>) {
    state.shown = key;
    read::shown(state);
}

fn open(state: &mut AppState, path: PathBuf) -> Vec<Effect> {
    if let Some(open) = state.slides.iter().find(|slide| slide.path == path) {
        let (key, has_failed) = (open.key, matches!(open.status, SlideStatus::Failed { .. }));
        show(state, Some(key));
        return if has_failed { retry(state, key) } else { Vec::new() };
    }
    let key = SlideKey(state.new_id());
    let mut slide = SlideTab::new(key, path.clone());
    if let Some(closed) = state.last_closed.take_if(|closed| closed.path == path) {
        (slide.patches, slide.viewport) = (closed.patches, closed.viewport);
    }
    state.slides.push(slide);
    show(state, Some(key));
    vec![Effect::OpenSlide { key, path }]
}

fn opened(state: &mut AppState, key: SlideKey, info: SlideInfo) -> Vec<Effect> {
    let Some(slide) = state.slide_mut(key) else { return Vec::new() };
    // Of a slide that was open before, view and patches were kept; a file that has another size now is another picture.
    slide.viewport = slide.viewport.filter(|viewport| viewport.is_of(info.width(), info.height()));
    slide.status = SlideStatus::Open { info: Arc::new(info) };
    let mut effects = patch_update::read(slide);
    effects.extend(read::opened(state, key));
    effects
}

fn retry(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let Some(slide) = state.slide_mut(key) else { return Vec::new() };
    let path = slide.path.clone();
    // The patches are kept: they may have cost thought. So is the view: nothing moves by itself.
    let (viewport, patches) = (slide.viewport, std::mem::take(&mut slide.patches));
    *slide = SlideTab { viewport, patches, ..SlideTab::new(key, path.clone()) };
    let mut effects = read::closed(state, key);
    effects.extend([Effect::CloseSlide { key }, Effect::OpenSlide { key, path }]);
    effects
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
        let neighbour = neighbour.map(|slide| slide.key);
        show(state, neighbour);
    }
    let mut effects = read::closed(state, key);
    effects.push(Effect::CloseSlide { key });
    effects
}

fn show_next(state: &mut AppState, by: i32) -> Vec<Effect> {
    let count = state.slides.len() as i32;
    let at = state.slides.iter().position(|slide| Some(slide.key) == state.shown);
    if let Some(at) = at {
        let next = state.slides[(at as i32 + by).rem_euclid(count) as usize].key;
        show(state, Some(next));
    }
    Vec::new()
}

#[cfg(test)]
mod tests;
