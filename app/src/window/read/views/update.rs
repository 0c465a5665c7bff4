//! Every change of panes, folders and names that are hidden.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::super::command::Command;
use super::super::super::state::AppState;
use super::super::super::update::{self, Effect, complain, show};
use super::super::ReadEffect;
use super::folder::Folder;
use super::label::LabelView;
use super::sync::{Synchronised, followed};
use super::{Layout, ViewsCommand, ViewsEffect, ViewsEvent};
use crate::viewer::tile_cache::SlideKey;

/// Slides that are remembered from one start to the next.
const MOST_RECENT: usize = 12;

/// Carries out a wish.
pub(in crate::window::read) fn command(state: &mut AppState, wish: ViewsCommand) -> Vec<Effect> {
    match wish {
        ViewsCommand::Layout(layout) => lay_out(state, layout),
        ViewsCommand::Synchronise(on) => synchronise(state, on),
        ViewsCommand::ToggleSynchronised => synchronise(state, !state.read.views.is_synchronised),
        ViewsCommand::Align => state.read.views.is_aligning = state.read.views.is_synchronised,
        ViewsCommand::AlignHere => synchronise(state, true),
        ViewsCommand::Activate(pane) => {
            if let Some(&key) = state.read.views.panes.get(pane) {
                state.read.views.active = pane;
                show(state, key);
            }
        }
        ViewsCommand::PutInto(key, pane) => put_into(state, key, pane),
        ViewsCommand::MoveTab(key, to) => move_tab(state, key, to),
        ViewsCommand::PickFolder => {
            if !state.picking {
                state.picking = true;
                return vec![effect(ViewsEffect::PickFolder)];
            }
        }
        ViewsCommand::OpenFolder(path) => return open_folder(state, path, None),
        ViewsCommand::CloseFolder => state.read.views.folder = None,
        ViewsCommand::InFolder(by) => return in_folder(state, by),
        ViewsCommand::ShowInFolder(at) => return show_in_folder(state, at),
        ViewsCommand::Blinded(on) => return blinded(state, on),
        ViewsCommand::ToggleBlinded => return blinded(state, !state.settings.read.is_blinded),
        ViewsCommand::ShowLabel(key, name) => return show_label(state, key, name),
        ViewsCommand::CloseLabel => state.read.views.label = None,
        ViewsCommand::ForgetRecent => {
            state.settings.recent.clear();
            return vec![Effect::SaveSettings(state.settings.clone())];
        }
    }
    Vec::new()
}

/// Takes in what happened.
pub(in crate::window::read) fn event(state: &mut AppState, news: ViewsEvent) -> Vec<Effect> {
    match news {
        ViewsEvent::FolderPicked(picked) => {
            state.picking = false;
            match picked {
                Ok(Some(folder)) => return open_folder(state, folder, None),
                Ok(None) => {}
                Err(sentence) => complain(state, sentence),
            }
        }
        ViewsEvent::Listed { folder, slides } => return listed(state, &folder, slides),
        ViewsEvent::Label { key, name, picture } => {
            let label = state.read.views.label.as_mut();
            if let Some(label) = label.filter(|label| label.key == key && label.name == name) {
                label.picture = Some(picture);
            }
        }
    }
    Vec::new()
}

/// A slide was opened: it is remembered, unless one only passes through a folder.
pub(in crate::window::read) fn opened(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    anchor_new_ones(state);
    let Some(slide) = state.slide(key) else { return Vec::new() };
    let path = std::path::absolute(&slide.path).unwrap_or_else(|_no_folder| slide.path.clone());
    if state.read.views.passing.contains(&key) || state.settings.recent.first() == Some(&path) {
        return Vec::new();
    }
    let recent = &mut state.settings.recent;
    recent.retain(|known| *known != path);
    recent.insert(0, path);
    recent.truncate(MOST_RECENT);
    vec![Effect::SaveSettings(state.settings.clone())]
}

/// A slide was closed, or is about to be opened again.
pub(in crate::window::read) fn closed(state: &mut AppState, key: SlideKey) -> Vec<Effect> {
    let is_gone = state.slide(key).is_none();
    let views = &mut state.read.views;
    views.label.take_if(|label| label.key == key);
    // What is opened again may have another size.
    views.anchors.remove(&key);
    if is_gone {
        for pane in &mut views.panes {
            pane.take_if(|shown| *shown == key);
        }
        views.passing.remove(&key);
    }
    Vec::new()
}

/// The slide in view is another one.
pub(in crate::window::read) fn shown(state: &mut AppState) {
    let (shown, views) = (state.shown, &mut state.read.views);
    let has_it = shown.and_then(|key| views.panes.iter().position(|pane| *pane == Some(key)));
    if let Some(pane) = has_it {
        views.active = pane;
    } else if let Some(pane) = views.panes.get_mut(views.active) {
        *pane = shown;
    }
    // Wishes of this frame are about the pane that is active now.
    if let Some(rect) = views.active_rect() {
        state.viewer = Some(rect);
    }
    anchor_new_ones(state);
}

/// What is seen of the slide in view was changed by a wish: the other panes follow.
pub(in crate::window::read) fn moved(state: &mut AppState) {
    let views = &state.read.views;
    if !views.is_synchronised || views.is_aligning || views.panes.len() < 2 {
        return;
    }
    let Some(centre) = views.centre else { return };
    let rects = views.rects(centre);
    let active = views.active;
    let Some(leader) = views.panes.get(active).and_then(|&key| synchronised(state, key?)) else { return };
    let others: Vec<_> = views.panes.iter().enumerate().filter(|&(pane, _)| pane != active).collect();
    let mut changes = Vec::new();
    for (pane, &key) in others {
        let (Some(key), Some(rect)) = (key, rects.get(pane)) else { continue };
        if let Some(follower) = synchronised(state, key) {
            changes.push((key, followed(&leader, &follower, rect.size())));
        }
    }
    for (key, viewport) in changes {
        if let Some(slide) = state.slide_mut(key) {
            slide.viewport = Some(viewport);
        }
    }
}

fn effect(effect: ViewsEffect) -> Effect {
    Effect::Read(ReadEffect::Views(effect))
}

/// A slide with its anchor; `None` when it has none or is not open.
fn synchronised(state: &AppState, key: SlideKey) -> Option<Synchronised> {
    let anchor = *state.read.views.anchors.get(&key)?;
    let slide = state.slide(key)?;
    Some(Synchronised { anchor, now: slide.viewport.unwrap_or(anchor), mpp: slide.info()?.mpp })
}

fn synchronise(state: &mut AppState, on: bool) {
    let views = &mut state.read.views;
    (views.is_synchronised, views.is_aligning) = (on, false);
    views.anchors.clear();
    if on {
        anchor(state);
        moved(state);
    }
}

/// How every slide in a pane lies now is what the panes are held to.
fn anchor(state: &mut AppState) {
    let views = &state.read.views;
    let Some(centre) = views.centre else { return };
    let lie = |(&key, rect): (&Option<SlideKey>, &egui::Rect)| {
        let slide = state.slide(key?)?;
        Some((slide.key, slide.viewport_in(rect.size())?))
    };
    let anchors: BTreeMap<_, _> = views.panes.iter().zip(&views.rects(centre)).filter_map(lie).collect();
    // One that filled its pane so far would go on to fill it when that becomes wider, and the others would not.
    for (&key, &anchor) in &anchors {
        if let Some(slide) = state.slide_mut(key) {
            slide.viewport.get_or_insert(anchor);
        }
    }
    state.read.views.anchors = anchors;
}

/// A slide that came into a pane while the panes move together belongs to the others as it lies.
fn anchor_new_ones(state: &mut AppState) {
    let views = &state.read.views;
    let is_open = |key: SlideKey| state.slide(key).is_some_and(|slide| slide.info().is_some());
    let is_new = |key: &SlideKey| is_open(*key) && !views.anchors.contains_key(key);
    if views.is_synchronised && views.panes.iter().flatten().any(is_new) {
        anchor(state);
    }
}

/// What is in view stays; panes that come into being show slides that are open and in none.
fn lay_out(state: &mut AppState, layout: Layout) {
    let views = &mut state.read.views;
    let count = layout.panes();
    let active = views.panes.get(views.active).copied().flatten();
    views.layout = layout;
    if views.active >= count {
        views.panes.swap(0, views.active);
        views.active = 0;
    }
    views.panes.resize(count, None);
    let open = state.slides.iter().map(|slide| slide.key);
    let waiting: Vec<SlideKey> = open.filter(|key| !views.panes.contains(&Some(*key))).collect();
    for (pane, key) in views.panes.iter_mut().filter(|pane| pane.is_none()).zip(waiting) {
        *pane = Some(key);
    }
    let key = active.or(views.panes.get(views.active).copied().flatten());
    show(state, key);
}

fn put_into(state: &mut AppState, key: SlideKey, pane: usize) {
    if state.slide(key).is_none() || pane >= state.read.views.panes.len() {
        return;
    }
    let views = &mut state.read.views;
    if let Some(before) = views.panes.iter().position(|shown| *shown == Some(key)) {
        views.panes.swap(before, pane);
    } else {
        views.panes[pane] = Some(key);
    }
    views.active = pane;
    show(state, Some(key));
}

fn move_tab(state: &mut AppState, key: SlideKey, to: usize) {
    if let Some(from) = state.slides.iter().position(|slide| slide.key == key)
        && to < state.slides.len()
    {
        let slide = state.slides.remove(from);
        state.slides.insert(to, slide);
    }
}

fn open_folder(state: &mut AppState, path: PathBuf, step: Option<i32>) -> Vec<Effect> {
    state.read.views.folder =
        Some(Folder { path: path.clone(), slides: Vec::new(), is_being_read: true, step });
    vec![effect(ViewsEffect::List(path))]
}

fn listed(state: &mut AppState, path: &Path, slides: Result<Vec<PathBuf>, String>) -> Vec<Effect> {
    let Some(folder) = state.read.views.folder.as_mut().filter(|folder| folder.path == path) else {
        return Vec::new();
    };
    folder.is_being_read = false;
    let step = folder.step.take();
    match slides {
        Err(sentence) => {
            state.read.views.folder = None;
            complain(state, sentence);
            Vec::new()
        }
        Ok(slides) if slides.is_empty() => {
            state.read.views.folder = None;
            complain(state, format!("There is no slide in this folder: {}", path.display()));
            Vec::new()
        }
        Ok(slides) => {
            folder.slides = slides;
            match step {
                Some(by) => in_folder(state, by),
                // Whoever opens a folder wants to see something.
                None if state.shown.is_none() => show_in_folder(state, 0),
                None => Vec::new(),
            }
        }
    }
}

/// At either end, nothing happens.
fn in_folder(state: &mut AppState, by: i32) -> Vec<Effect> {
    let shown = state.shown_slide().map(|slide| slide.path.clone());
    let folder = state.read.views.folder.as_ref();
    if let Some(at) = folder.and_then(|folder| folder.place(shown.as_deref()?)) {
        let next = at.checked_add_signed(by as isize);
        return next.map_or_else(Vec::new, |next| show_in_folder(state, next));
    }
    if folder.is_some_and(|folder| folder.is_being_read) {
        // A second press of the key is no second reading.
        return Vec::new();
    }
    let open = folder.map(|folder| folder.path.clone());
    let parent = shown.map(|shown| shown.parent().map(Path::to_path_buf).unwrap_or_default());
    match (parent, open) {
        (None, None) => Vec::new(),
        (Some(parent), open) if open.as_ref() != Some(&parent) => open_folder(state, parent, Some(by)),
        // None is shown, or one that has gone from the folder since it was listed.
        _ => show_in_folder(state, 0),
    }
}

/// Opens the slide at this place in the active pane. The one that was there is closed if one only passed by it.
fn show_in_folder(state: &mut AppState, at: usize) -> Vec<Effect> {
    let Some(folder) = &state.read.views.folder else { return Vec::new() };
    let Some(path) = folder.slides.get(at).cloned() else { return Vec::new() };
    let before = state.shown;
    let was_open = state.slides.iter().any(|slide| slide.path == path);
    let mut effects = update::command(state, Command::Open(path));
    if let (false, Some(key)) = (was_open, state.shown) {
        state.read.views.passing.insert(key);
    }
    let is_left = |key: &SlideKey| {
        let marked = state.slide(*key).is_some_and(|slide| !slide.patches.places().is_empty());
        Some(*key) != state.shown && state.read.views.passing.contains(key) && !marked
    };
    if let Some(key) = before.filter(is_left) {
        effects.extend(update::command(state, Command::Close(key)));
    }
    effects
}

fn blinded(state: &mut AppState, on: bool) -> Vec<Effect> {
    state.settings.read.is_blinded = on;
    if on {
        state.read.views.label = None;
    }
    vec![Effect::SaveSettings(state.settings.clone())]
}

fn show_label(state: &mut AppState, key: SlideKey, name: String) -> Vec<Effect> {
    if state.settings.read.is_blinded {
        complain(state, "Labels stay hidden while names are hidden.".to_owned());
        return Vec::new();
    }
    let Some(slide) = state.slide(key).filter(|slide| slide.info().is_some()) else { return Vec::new() };
    let key = slide.key;
    state.read.views.label = Some(LabelView { key, name: name.clone(), picture: None });
    vec![effect(ViewsEffect::ReadLabel { key, name })]
}

#[cfg(test)]
mod tests;
