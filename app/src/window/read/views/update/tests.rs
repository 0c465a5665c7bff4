//! Commands in, panes and effects out.

use std::sync::Arc;

use egui::{Rect, pos2, vec2};

use super::super::super::super::command::ViewCommand;
use super::super::super::super::event::Event;
use super::super::super::super::patches::PatchId;
use super::super::super::super::state::{SlideStatus, SlideTab};
use super::super::super::{ReadCommand, ReadEvent};
use super::*;
use crate::slide::{Mpp, Region, SlideInfo};
use crate::viewer::tile_plan::tests::slide;

/// A window of 800 × 600 points with these slides open, 4096 × 3000 px each.
fn with_slides(mpps: &[Option<f64>]) -> (AppState, Vec<SlideKey>) {
    let mut state = AppState::default();
    state.read.views.centre = Some(Rect::from_min_size(pos2(200.0, 40.0), vec2(800.0, 600.0)));
    let mut keys = Vec::new();
    for (n, mpp) in mpps.iter().enumerate() {
        update::command(&mut state, Command::Open(format!("folder/s{n}.svs").into()));
        let key = state.shown.unwrap();
        let info = SlideInfo { mpp: mpp.map(|mpp| Mpp { x: mpp, y: mpp }), ..slide() };
        state.slide_mut(key).unwrap().status = SlideStatus::Open { info: Arc::new(info) };
        keys.push(key);
    }
    (state, keys)
}

fn views(state: &mut AppState, wish: ViewsCommand) -> Vec<Effect> {
    update::command(state, Command::Read(ReadCommand::Views(wish)))
}

fn tell(state: &mut AppState, news: ViewsEvent) -> Vec<Effect> {
    update::event(state, Event::Read(ReadEvent::Views(news)))
}

#[test]
fn panes_that_come_into_being_show_what_is_open_and_the_active_one_stays() {
    let (mut state, keys) = with_slides(&[None, None, None]);
    views(&mut state, ViewsCommand::Layout(Layout::Two));
    assert_eq!(state.read.views.panes, [Some(keys[2]), Some(keys[0])]);
    assert_eq!((state.read.views.active, state.shown), (0, Some(keys[2])));
    views(&mut state, ViewsCommand::Layout(Layout::Four));
    assert_eq!(state.read.views.panes, [Some(keys[2]), Some(keys[0]), Some(keys[1]), None]);
    views(&mut state, ViewsCommand::Activate(3));
    assert_eq!(
        (state.shown, state.viewer),
        (None, Some(Rect::from_min_size(pos2(600.0, 340.0), vec2(400.0, 300.0))))
    );
    views(&mut state, ViewsCommand::Activate(2));
    views(&mut state, ViewsCommand::Layout(Layout::One));
    assert_eq!((state.read.views.panes.as_slice(), state.shown), (&[Some(keys[1])][..], Some(keys[1])));
}

#[test]
fn a_slide_is_in_one_pane_at_the_most() {
    let (mut state, keys) = with_slides(&[None, None]);
    views(&mut state, ViewsCommand::Layout(Layout::Two));
    assert_eq!(state.read.views.panes, [Some(keys[1]), Some(keys[0])]);
    views(&mut state, ViewsCommand::PutInto(keys[1], 1));
    assert_eq!(state.read.views.panes, [Some(keys[0]), Some(keys[1])]);
    assert_eq!((state.read.views.active, state.shown), (1, Some(keys[1])));
    update::command(&mut state, Command::Show(keys[0]));
    assert_eq!(state.read.views.active, 0, "showing a slide that is in a pane makes that pane active");
    update::command(&mut state, Command::Close(keys[0]));
    assert_eq!(state.read.views.panes, [None, Some(keys[1])]);
    views(&mut state, ViewsCommand::PutInto(keys[0], 0));
    assert_eq!(state.read.views.panes, [None, Some(keys[1])], "a slide that was closed is put nowhere");
    views(&mut state, ViewsCommand::PutInto(keys[1], 7));
    assert_eq!(state.read.views.panes, [None, Some(keys[1])]);
}

#[test]
fn panes_that_are_synchronised_follow_and_align_where_they_are_told_to() {
    let (mut state, keys) = with_slides(&[Some(0.5), Some(0.25)]);
    views(&mut state, ViewsCommand::Layout(Layout::Two));
    let at = |state: &AppState, key: SlideKey| state.slide(key).unwrap().viewport.unwrap();
    views(&mut state, ViewsCommand::Synchronise(true));
    update::command(&mut state, Command::View(ViewCommand::Scale(4.0, 1.0)));
    assert!((at(&state, keys[1]).slide_per_point - 4.0).abs() < 1e-9, "the active one has 0.25 µm/px");
    assert!((at(&state, keys[0]).slide_per_point - 2.0).abs() < 1e-9);
    update::command(&mut state, Command::View(ViewCommand::LookAt((2448.0, 1500.0))));
    assert_eq!(at(&state, keys[0]).centre, (2248.0, 1500.0), "400 px of 0.25 µm are 200 px of 0.5 µm");

    // Alone until it is aligned.
    views(&mut state, ViewsCommand::Align);
    update::command(&mut state, Command::View(ViewCommand::LookAt((1000.0, 1500.0))));
    assert_eq!(at(&state, keys[0]).centre, (2248.0, 1500.0));
    views(&mut state, ViewsCommand::AlignHere);
    assert_eq!(at(&state, keys[0]).centre, (2248.0, 1500.0));
    update::command(&mut state, Command::View(ViewCommand::LookAt((1100.0, 1500.0))));
    assert_eq!(at(&state, keys[0]).centre, (2298.0, 1500.0));

    views(&mut state, ViewsCommand::ToggleSynchronised);
    update::command(&mut state, Command::View(ViewCommand::LookAt((2000.0, 1500.0))));
    assert_eq!(at(&state, keys[0]).centre, (2298.0, 1500.0));
}

#[test]
fn panes_that_are_synchronised_keep_one_scale_when_they_become_wider() {
    let (mut state, keys) = with_slides(&[Some(0.5), Some(0.5)]);
    views(&mut state, ViewsCommand::Layout(Layout::Two));
    assert!(keys.iter().all(|&key| state.slide(key).unwrap().viewport.is_none()), "they fill their panes");
    views(&mut state, ViewsCommand::Synchronise(true));
    let wider = state.read.views.centre.unwrap().expand2(egui::vec2(200.0, 0.0));
    state.read.views.centre = Some(wider);
    let rects = state.read.views.rects(wider);
    let scales = [0, 1].map(|pane| {
        let slide = state.slide(keys[pane]).unwrap();
        slide.viewport_in(rects[pane].size()).unwrap().slide_per_point
    });
    assert_eq!(scales[0], scales[1]);
}

#[test]
fn going_through_a_folder_leaves_no_more_open_than_before() {
    let (mut state, keys) = with_slides(&[None]);
    let effects = views(&mut state, ViewsCommand::InFolder(1));
    assert_eq!(effects, [effect(ViewsEffect::List("folder".into()))]);
    assert!(views(&mut state, ViewsCommand::InFolder(1)).is_empty(), "it is being read");
    let slides: Vec<PathBuf> = (0..5).map(|n| format!("folder/s{n}.svs").into()).collect();
    let listed = ViewsEvent::Listed { folder: "folder".into(), slides: Ok(slides) };
    let effects = tell(&mut state, listed);
    assert!(
        matches!(effects.as_slice(), [Effect::OpenSlide { path, .. }] if path == Path::new("folder/s1.svs"))
    );
    assert_eq!(state.slides.len(), 2, "the first was opened by hand and stays");
    let passed = state.shown.unwrap();
    let effects = views(&mut state, ViewsCommand::InFolder(1));
    assert!(effects.contains(&Effect::CloseSlide { key: passed }), "{effects:?}");
    assert_eq!(state.slides.len(), 2);
    // One with patches stays.
    let region = Region { x: 0, y: 0, w: 1, h: 1 };
    let marked = state.shown.unwrap();
    state.slide_mut(marked).unwrap().patches.add([(PatchId(9), region)]);
    views(&mut state, ViewsCommand::InFolder(1));
    views(&mut state, ViewsCommand::InFolder(1));
    assert_eq!(state.slides.len(), 3);
    assert_eq!(state.shown_slide().map(SlideTab::name), Some("s4.svs".to_owned()));
    assert!(views(&mut state, ViewsCommand::InFolder(1)).is_empty(), "it is the last");
    views(&mut state, ViewsCommand::InFolder(-4));
    assert_eq!(state.shown, Some(keys[0]));
    assert!(views(&mut state, ViewsCommand::InFolder(-1)).is_empty(), "it is the first");
}

#[test]
fn a_folder_without_slides_is_named() {
    let mut state = AppState::default();
    views(&mut state, ViewsCommand::OpenFolder("empty".into()));
    tell(&mut state, ViewsEvent::Listed { folder: "other".into(), slides: Ok(vec!["other/a.svs".into()]) });
    assert!(state.read.views.folder.as_ref().unwrap().slides.is_empty(), "news of another folder is stale");
    tell(&mut state, ViewsEvent::Listed { folder: "empty".into(), slides: Ok(Vec::new()) });
    assert_eq!(state.problems[0].sentence, "There is no slide in this folder: empty");
    assert!(state.read.views.folder.is_none());
}

#[test]
fn recent_slides_are_remembered_newest_first_and_once() {
    let (mut state, keys) = with_slides(&[None, None]);
    assert!(matches!(opened(&mut state, keys[0]).as_slice(), [Effect::SaveSettings(_)]));
    opened(&mut state, keys[1]);
    assert!(opened(&mut state, keys[1]).is_empty(), "nothing changed");
    opened(&mut state, keys[0]);
    let names: Vec<_> = state.settings.recent.iter().filter_map(|path| path.file_name()).collect();
    assert_eq!(names, ["s0.svs", "s1.svs"]);
    assert!(state.settings.recent.iter().all(|path| path.is_absolute()));
    assert_eq!(views(&mut state, ViewsCommand::ForgetRecent).len(), 1);
    assert!(state.settings.recent.is_empty());
}

#[test]
fn labels_are_shown_when_asked_for_and_never_while_names_are_hidden() {
    let (mut state, keys) = with_slides(&[None]);
    let show = || ViewsCommand::ShowLabel(keys[0], "label".to_owned());
    let read = effect(ViewsEffect::ReadLabel { key: keys[0], name: "label".to_owned() });
    assert_eq!(views(&mut state, show()), [read]);
    let news = |name: &str| ViewsEvent::Label {
        key: keys[0],
        name: name.to_owned(),
        picture: Err("It cannot be read: a.svs".to_owned()),
    };
    tell(&mut state, news("macro"));
    assert!(state.read.views.label.as_ref().unwrap().picture.is_none(), "another image was asked for");
    tell(&mut state, news("label"));
    assert!(state.read.views.label.as_ref().unwrap().picture.is_some());
    views(&mut state, ViewsCommand::Blinded(true));
    assert!(state.read.views.label.is_none() && state.settings.read.is_blinded);
    assert!(views(&mut state, show()).is_empty() && state.read.views.label.is_none());
    // News that were on their way change nothing.
    tell(&mut state, news("label"));
    assert!(state.read.views.label.is_none());
}

#[test]
fn tabs_can_be_put_in_another_order() {
    let (mut state, keys) = with_slides(&[None, None, None]);
    views(&mut state, ViewsCommand::MoveTab(keys[2], 0));
    let order = |state: &AppState| state.slides.iter().map(|slide| slide.key).collect::<Vec<_>>();
    assert_eq!(order(&state), [keys[2], keys[0], keys[1]]);
    views(&mut state, ViewsCommand::MoveTab(keys[2], 9));
    assert_eq!(order(&state), [keys[2], keys[0], keys[1]]);
}
