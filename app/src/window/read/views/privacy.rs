//! Names of files that stay hidden while one reads blinded: in sentences too, which name their files last.

use std::path::Path;
use std::sync::Arc;

use egui::{Context, Id};

use super::super::super::state::{AppState, SlideTab};
use crate::viewer::tile_cache::SlideKey;

/// What stands in for the name of a file that is not open.
const ANOTHER: &str = "another file";

/// What slides are called while names are hidden, for panels that are drawn without the state.
#[derive(Debug, Default)]
pub(in crate::window) struct Names {
    /// What is not shown, and what is shown instead; longer ones first, so that a path goes before the name at its end.
    hidden: Vec<(String, String)>,
    slides: Vec<(SlideKey, String)>,
}

impl Names {
    fn new(state: &AppState) -> Self {
        let mut names = Self::default();
        for slide in &state.slides {
            let name = state.name_of(slide);
            names.hide(&slide.path, &name);
            names.slides.push((slide.key, name));
        }
        for path in state.settings.recent.iter().chain(state.last_closed.iter().map(|slide| &slide.path)) {
            names.hide(path, ANOTHER);
        }
        if let Some(folder) = &state.read.views.folder {
            names.hide(&folder.path, "the folder");
            // A sentence names what was opened, and what was opened is above; the list would be long to go through.
        }
        names.hidden.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        names
    }

    fn hide(&mut self, path: &Path, name: &str) {
        let whole = path.display().to_string();
        let last = path.file_name().map(|last| last.to_string_lossy().into_owned());
        for text in [Some(whole), last].into_iter().flatten().filter(|text| !text.is_empty()) {
            self.hidden.push((text, name.to_owned()));
        }
    }

    /// A sentence without the names of files.
    pub(in crate::window) fn masked(&self, sentence: &str) -> String {
        let apply = |sentence: String, (name, instead): &(String, String)| sentence.replace(name, instead);
        self.hidden.iter().fold(sentence.to_owned(), apply)
    }

    /// Keeps them for this frame, or forgets them when names are shown. Called before anything is drawn that needs them.
    pub(in crate::window) fn keep(ctx: &Context, state: &AppState) {
        let kept = state.settings.read.is_blinded.then(|| Arc::new(Self::new(state)));
        ctx.data_mut(|data| data.insert_temp::<Option<Arc<Self>>>(Id::unique("hidden names"), kept));
    }

    /// Those of this frame; `None` when names are shown.
    fn kept(ctx: &Context) -> Option<Arc<Self>> {
        ctx.data(|data| data.get_temp::<Option<Arc<Self>>>(Id::unique("hidden names"))).flatten()
    }

    /// What a slide is called on screen.
    pub(in crate::window) fn of(ctx: &Context, slide: &SlideTab) -> String {
        Self::kept(ctx).map_or_else(
            || slide.name(),
            |names| {
                let found = names.slides.iter().find(|(key, _)| *key == slide.key);
                found.map_or_else(|| "Slide".to_owned(), |(_, name)| name.clone())
            },
        )
    }

    /// A sentence as it may be shown.
    pub(in crate::window) fn shown(ctx: &Context, sentence: &str) -> String {
        Self::kept(ctx).map_or_else(|| sentence.to_owned(), |names| names.masked(sentence))
    }
}

/// A sentence as it may be shown: without the names of files while they are hidden.
pub(in crate::window) fn masked(state: &AppState, sentence: &str) -> String {
    if !state.settings.read.is_blinded {
        return sentence.to_owned();
    }
    Names::new(state).masked(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_lose_the_names_of_files_while_names_are_hidden() {
        let mut state = AppState::default();
        state.slides.push(SlideTab::new(SlideKey(1), "/study/Smith.svs".into()));
        state.slides.push(SlideTab::new(SlideKey(2), "/study/Smith.svs.tif".into()));
        state.settings.recent.push("/other/Jones.ndpi".into());
        let sentence = "Smith.svs.tif is like Smith.svs, not like Jones.ndpi: /study/Smith.svs";
        assert_eq!(masked(&state, sentence), sentence);
        state.settings.read.is_blinded = true;
        assert_eq!(masked(&state, sentence), "Slide 2 is like Slide 1, not like another file: Slide 1");
    }

    #[test]
    fn panels_without_the_state_know_the_names_of_the_frame() {
        let ctx = Context::default();
        let mut state = AppState::default();
        state.slides.push(SlideTab::new(SlideKey(1), "/study/Smith.svs".into()));
        Names::keep(&ctx, &state);
        assert_eq!(Names::of(&ctx, &state.slides[0]), "Smith.svs");
        state.settings.read.is_blinded = true;
        Names::keep(&ctx, &state);
        assert_eq!(Names::of(&ctx, &state.slides[0]), "Slide 1");
        assert_eq!(Names::shown(&ctx, "Damaged: /study/Smith.svs"), "Damaged: Slide 1");
    }
}
