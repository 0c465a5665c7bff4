//! The pointer on annotations: drawing new ones with a tool, and with the move tool choosing, moving and reshaping what is there.

use egui::{CursorIcon, Key, PointerButton, Pos2, Response, Ui};

use super::drawing::{self, Drawing, Finished};
use super::panel::AnnotatePanel;
use super::{AnnotateCommand, SlideAnnotations};
use crate::annotation::edit::{self, Grip};
use crate::annotation::{Annotation, Form, Geometry, Place, index};
use crate::window::command::CommandSender;
use crate::window::read::ReadCommand;
use crate::window::state::{Mark, Tool};
use crate::window::viewer_panel::PaneFrame;

/// How near the pointer must be, in points.
const NEAR: f64 = 6.0;
/// An annotation that covers more of the pane than this is not moved by dragging its inside: the slide is.
const MOST_OF_PANE: f64 = 0.5;

/// An annotation that is being changed with the button held.
pub(super) struct Editing {
    pub place: u64,
    /// As it was.
    before: Annotation,
    /// As it is now.
    pub now: Annotation,
    what: Edited,
}

enum Edited {
    Grip(Grip),
    /// The whole, held at a place.
    All(Place),
}

fn send(commands: &CommandSender, wish: AnnotateCommand) {
    commands.read(ReadCommand::Annotate(wish));
}

/// See [`AnnotatePanel::pointer`].
pub(super) fn ui(panel: &mut AnnotatePanel, ui: &Ui, frame: &PaneFrame<'_>, response: &Response) -> bool {
    match frame.state.tool {
        Tool::Mark(mark) => {
            panel.editing = None;
            draw(panel, ui, frame, response, mark);
            true
        }
        Tool::Pan => change(panel, ui, frame, response),
        _ => false,
    }
}

fn place_of(frame: &PaneFrame<'_>, position: Pos2) -> Place {
    let (x, y) = frame.viewport.slide_from_screen(frame.screen, position);
    [x, y]
}

/// The drawing and measuring tools.
fn draw(panel: &mut AnnotatePanel, ui: &Ui, frame: &PaneFrame<'_>, response: &Response, mark: Mark) {
    let slide = frame.slide.key;
    if panel.drawing.as_ref().is_some_and(|drawing| drawing.mark != mark) {
        panel.drawing = None;
    }
    if response.hovered() || response.dragged() {
        ui.ctx().set_cursor_icon(CursorIcon::Crosshair);
    }
    let is_shifted = ui.input(|input| input.modifiers.shift);
    let origin = ui.input(|input| input.pointer.press_origin());
    if response.drag_started_by(PointerButton::Primary)
        && drawing::is_by_drag(mark)
        && panel.drawing.is_none()
        && let Some(origin) = origin
    {
        let places = vec![place_of(frame, origin)];
        panel.drawing = Some(Drawing { slide, mark, places, is_dragged: true });
        panel.measured = None;
    }
    let Some(pointer) = response.interact_pointer_pos().or(response.hover_pos()) else { return };
    let place = place_of(frame, pointer);
    if let Some(drawing) =
        panel.drawing.as_mut().filter(|drawing| drawing.is_dragged && drawing.slide == slide)
    {
        if mark == Mark::Freehand {
            // What moved by less than a point says nothing.
            let last = drawing.places.last().copied().unwrap_or(place);
            if index::between(last, place) >= frame.viewport.slide_per_point {
                drawing.places.push(place);
            }
        }
        if ui.input(|input| input.key_pressed(Key::Escape)) {
            panel.drawing = None;
        } else if response.drag_stopped() || !response.is_pointer_button_down_on() {
            if mark != Mark::Freehand {
                let last = drawing.kept_to(place, is_shifted);
                drawing.places.push(last);
            }
            finish(panel, frame);
        }
        return;
    }
    if response.clicked() {
        ui.memory_mut(egui::Memory::stop_text_input);
        let is_again = response.double_clicked() || response.triple_clicked();
        click(panel, frame, mark, place, is_shifted, is_again);
    }
}

fn click(
    panel: &mut AnnotatePanel,
    frame: &PaneFrame<'_>,
    mark: Mark,
    place: Place,
    is_shifted: bool,
    is_again: bool,
) {
    match mark {
        Mark::Point if !is_again => {
            let geometry = Geometry::Points(vec![edit::rounded(place)]);
            send(frame.commands, AnnotateCommand::Add(Box::new(Annotation::new(geometry, Form::Plain))));
        }
        // Two quick clicks are two mitoses.
        Mark::Counter => send(frame.commands, AnnotateCommand::Count(place)),
        Mark::Field | Mark::Square if !is_again => {
            if let Some(field) = drawing::field(mark, place, frame.info.mpp) {
                send(frame.commands, AnnotateCommand::AddField(Box::new(field)));
            }
        }
        mark if drawing::is_by_clicks(mark) => {
            let slide = frame.slide.key;
            if panel.drawing.as_ref().is_none_or(|drawing| drawing.slide != slide) {
                if is_again {
                    return;
                }
                panel.drawing = Some(Drawing { slide, mark, places: Vec::new(), is_dragged: false });
                panel.measured = None;
            }
            let Some(drawing) = &mut panel.drawing else { return };
            if !is_again {
                let place = drawing.kept_to(place, is_shifted);
                drawing.places.push(place);
            }
            if is_again || drawing.is_full() {
                finish(panel, frame);
            }
        }
        _ => {}
    }
}

/// Ends what is being drawn, as what it has become.
pub(super) fn finish(panel: &mut AnnotatePanel, frame: &PaneFrame<'_>) {
    let Some(drawing) = panel.drawing.take() else { return };
    match drawing.finished(frame.viewport.slide_per_point) {
        Finished::Annotation(annotation) => send(frame.commands, AnnotateCommand::Add(annotation)),
        Finished::Measured(mark, places) => panel.measured = Some((frame.slide.key, mark, places)),
        Finished::Nothing => {}
    }
}

/// The move tool: true when it is about an annotation, so that neither the slide moves nor a patch is chosen.
fn change(panel: &mut AnnotatePanel, ui: &Ui, frame: &PaneFrame<'_>, response: &Response) -> bool {
    panel.drawing = None;
    let Some(annotations) = frame.state.read.annotate.of(frame.slide.key) else { return false };
    let Some(pointer) = response.interact_pointer_pos().or(response.hover_pos()) else {
        panel.editing = None;
        return false;
    };
    let place = place_of(frame, pointer);
    let near = NEAR * frame.viewport.slide_per_point;
    if panel.editing.is_some() && frame.is_active {
        go_on(panel, ui, frame, response, place);
        return true;
    }
    let is_space = ui.input(|input| input.key_down(Key::Space));
    if !frame.is_active || !frame.state.read.annotate.is_shown || is_space {
        return false;
    }
    if response.drag_started_by(PointerButton::Primary)
        && let Some(origin) = ui.input(|input| input.pointer.press_origin())
    {
        panel.editing = begun(frame, annotations, place_of(frame, origin), near);
        if panel.editing.is_some() {
            go_on(panel, ui, frame, response, place);
            return true;
        }
    }
    let selected = annotations.selected().filter(|(_, annotation)| !annotation.is_locked);
    if response.hovered()
        && selected.is_some_and(|(_, annotation)| edit::grip_at(annotation, place, near).is_some())
    {
        ui.ctx().set_cursor_icon(CursorIcon::PointingHand);
    }
    if response.clicked() { clicked(ui, frame, annotations, place, near) } else { false }
}

/// What a drag from a place would change.
fn begun(frame: &PaneFrame<'_>, annotations: &SlideAnnotations, place: Place, near: f64) -> Option<Editing> {
    let (at, annotation) = annotations.selected().filter(|(_, annotation)| !annotation.is_locked)?;
    if annotations.is_busy || !frame.state.read.annotate.shows(annotation) {
        return None;
    }
    let before = (**annotation).clone();
    let new = |now: Annotation, what: Edited| Some(Editing { place: at, before: before.clone(), now, what });
    if let Some(grip) = edit::grip_at(annotation, place, near) {
        return new(before.clone(), Edited::Grip(grip));
    }
    if index::distance(&annotation.geometry, place)? > near {
        return None;
    }
    let bounds = annotation.geometry.bounds()?;
    let seen = frame.viewport.visible(frame.screen);
    let is_large =
        bounds.width() > seen.width() * MOST_OF_PANE || bounds.height() > seen.height() * MOST_OF_PANE;
    if is_large && index::distance(&outline(&annotation.geometry), place)? > near {
        return None;
    }
    new(before.clone(), Edited::All(place))
}

/// The rings of areas as lines, whose inside is not part of them.
fn outline(geometry: &Geometry) -> Geometry {
    let Geometry::Polygons(polygons) = geometry else { return geometry.clone() };
    let closed = |ring: &Vec<Place>| ring.iter().chain(ring.first()).copied().collect();
    Geometry::Lines(polygons.iter().flat_map(|polygon| &polygon.rings).map(closed).collect())
}

/// Follows the pointer; its release makes it a change, Escape puts everything back.
fn go_on(panel: &mut AnnotatePanel, ui: &Ui, frame: &PaneFrame<'_>, response: &Response, place: Place) {
    let Some(editing) = &mut panel.editing else { return };
    ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
    editing.now = match editing.what {
        Edited::Grip(grip) => edit::with_grip_at(&editing.before, grip, place),
        Edited::All(held) => edit::moved(&editing.before, [place[0] - held[0], place[1] - held[1]]),
    };
    if ui.input(|input| input.key_pressed(Key::Escape)) {
        panel.editing = None;
    } else if response.drag_stopped() || !response.is_pointer_button_down_on() {
        let (at, now) = (editing.place, editing.now.clone());
        panel.editing = None;
        send(frame.commands, AnnotateCommand::Replace(at, Box::new(now)));
    }
}

/// A click: on a corner with Alt removes it, on a side of what is selected adds one, elsewhere chooses what lies there.
fn clicked(ui: &Ui, frame: &PaneFrame<'_>, annotations: &SlideAnnotations, place: Place, near: f64) -> bool {
    ui.memory_mut(egui::Memory::stop_text_input);
    let is_alt = ui.input(|input| input.modifiers.alt);
    if let Some((at, annotation)) = annotations.selected().filter(|(_, annotation)| !annotation.is_locked) {
        let grip = edit::grip_at(annotation, place, near);
        let changed = match grip {
            Some(grip) if is_alt => edit::without_corner(annotation, grip),
            Some(_) => None,
            None => edit::with_corner(annotation, place, near).map(|(changed, _)| changed),
        };
        if let Some(changed) = changed {
            send(frame.commands, AnnotateCommand::Replace(at, Box::new(changed)));
            return true;
        }
        if grip.is_some() {
            return true;
        }
    }
    let shows = |annotation: &Annotation| frame.state.read.annotate.shows(annotation);
    let hit = annotations.set.hit(place, near, shows);
    if hit.is_some() || annotations.selected.is_some() {
        send(frame.commands, AnnotateCommand::Select(hit));
    }
    hit.is_some()
}
