//! Moving, zooming and turning with the pointer: wheel, pinch, drags, double clicks.
//!
//! A press becomes a drag once it has moved by more than egui's distance for clicks, 6 points, or lasted longer than one; until then it
//! can be a click and moves nothing.

use egui::{
    CursorIcon, Event, Key, MouseWheelUnit, PointerButton, Pos2, Response, TouchPhase, Ui, Vec2, vec2,
};

use super::super::command::{Command, ViewCommand, ZOOM};
use super::super::read::navigate::motion::{Drift, Glide, Push};
use super::super::state::Tool;
use super::PaneFrame;
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::viewport::{Viewport, snapped_angle};

/// Wheel points to the logarithm of the magnification: a notch is about 1.3 times.
const WHEEL: f64 = 0.0055;
/// A wheel that is tilted, or fingers that go sideways, pan when they clearly mean it.
const SIDEWAYS: f32 = 2.0;

/// What a drag holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    /// The place on the slide that was grabbed.
    Place((f64, f64)),
    /// The slide is turned: the pointer's angle around the middle of the pane and the slide's rotation at the beginning.
    Turn { angle: f64, rotation: f64 },
}

/// What the pointer began on the slide.
#[derive(Clone, Debug)]
struct Drag {
    pane: usize,
    held: Held,
    push: Push,
}

/// A slide that moves on after it was let go.
#[derive(Clone, Copy, Debug)]
struct Drifting {
    pane: usize,
    slide: SlideKey,
    drift: Drift,
    /// How the slide is seen unless something else moves it; `None` before the first step.
    expected: Option<Viewport>,
}

/// A zoom of the wheel that is on its way.
#[derive(Clone, Copy, Debug)]
struct Zooming {
    pane: usize,
    slide: SlideKey,
    /// What stays under the pointer.
    at: Pos2,
    glide: Glide,
}

/// What moves the slide.
#[derive(Default)]
pub(super) struct Pointer {
    drag: Option<Drag>,
    zooming: Option<Zooming>,
    drifting: Option<Drifting>,
}

/// What the wheel, or fingers on a pad or screen, did in this frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Scrolled {
    /// Logarithm of the magnification by steps, which are gone through over some frames.
    steps: f64,
    /// Logarithm of the magnification by fingers, which is followed at once.
    fingers: f64,
    /// Points by steps, and by fingers.
    pan_steps: Vec2,
    pan_fingers: Vec2,
}

impl Pointer {
    /// Whether something that moves this pane's slide is under way.
    pub(super) fn is_busy(&self, pane: usize) -> bool {
        self.drag.as_ref().is_some_and(|drag| drag.pane == pane)
            || self.zooming.is_some_and(|zooming| zooming.pane == pane)
            || self.drifting.is_some_and(|drifting| drifting.pane == pane)
    }

    /// Moves, zooms and turns; true when the pointer's buttons are taken, so that no tool gets them in this frame. While `is_editing`,
    /// they belong to an annotation already: only the wheel does anything.
    pub(super) fn ui(
        &mut self,
        ui: &Ui,
        frame: &PaneFrame<'_>,
        response: &Response,
        is_editing: bool,
    ) -> bool {
        if ui.input(|input| input.pointer.any_pressed()) {
            self.drifting = None;
        }
        self.drift_on(ui, frame);
        self.scroll(ui, frame, response);
        self.zoom_on(ui, frame);
        if is_editing {
            return false;
        }
        // While words are typed, Space is one of them.
        let is_space = ui.input(|input| input.key_down(Key::Space)) && !ui.ctx().text_edit_focused();
        let moves = is_space || frame.state.tool == Tool::Pan;
        self.begin_drag(ui, frame, response, moves);
        let pointer = response.interact_pointer_pos().or(response.hover_pos());
        let is_dragging = self.go_on(ui, frame, response, pointer);
        if response.double_clicked()
            && moves
            && let Some(pointer) = pointer
        {
            self.zoom(frame, pointer, 2.0 * ZOOM.ln(), Vec2::ZERO);
            ui.ctx().request_repaint();
        }
        if is_dragging {
            ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
        } else if moves && response.hovered() {
            ui.ctx().set_cursor_icon(CursorIcon::Grab);
        }
        is_dragging || is_space
    }

    /// Begins a drag that moves the slide, or, with Alt, turns it.
    fn begin_drag(&mut self, ui: &Ui, frame: &PaneFrame<'_>, response: &Response, moves: bool) {
        let is_primary = response.drag_started_by(PointerButton::Primary);
        if !response.drag_started() || (is_primary && !moves) {
            return;
        }
        let (origin, is_alt) = ui.input(|input| (input.pointer.press_origin(), input.modifiers.alt));
        let Some(origin) = origin else { return };
        let held = if is_primary && is_alt {
            let angle = f64::from((origin - frame.screen.center()).angle());
            Held::Turn { angle, rotation: frame.viewport.rotation }
        } else {
            Held::Place(frame.viewport.slide_from_screen(frame.screen, origin))
        };
        (self.zooming, self.drifting) = (None, None);
        self.drag = Some(Drag { pane: frame.pane, held, push: Push::default() });
    }

    /// Follows the pointer, and ends with the button; true while a drag is under way.
    fn go_on(&mut self, ui: &Ui, frame: &PaneFrame<'_>, response: &Response, pointer: Option<Pos2>) -> bool {
        let Some(drag) = self.drag.as_mut().filter(|drag| drag.pane == frame.pane) else { return false };
        if let Some(pointer) = pointer {
            drag.push.is_at(ui.input(|input| input.time), pointer);
            if response.dragged() {
                match drag.held {
                    // Held to the place that was grabbed, so that the tolerance before a drag moves nothing.
                    Held::Place(grabbed) => {
                        let held = frame.viewport.screen_from_slide(frame.screen, grabbed);
                        wish(frame, ViewCommand::Pan(pointer - held));
                    }
                    Held::Turn { angle, rotation } => {
                        let now = f64::from((pointer - frame.screen.center()).angle());
                        wish(frame, ViewCommand::TurnTo(snapped_angle(rotation + now - angle)));
                    }
                }
            }
        }
        if response.drag_stopped() || !response.is_pointer_button_down_on() {
            if let Held::Place(_) = drag.held {
                let drift = Drift::new(drag.push.velocity());
                let (pane, slide) = (frame.pane, frame.slide.key);
                self.drifting = drift.map(|drift| Drifting { pane, slide, drift, expected: None });
                if self.drifting.is_some() {
                    ui.ctx().request_repaint();
                }
            }
            self.drag = None;
        }
        true
    }

    /// A pushed slide goes on until it stands, reaches its edge or something else moves it.
    fn drift_on(&mut self, ui: &Ui, frame: &PaneFrame<'_>) {
        let Some(drifting) = self.drifting.as_mut().filter(|drifting| drifting.pane == frame.pane) else {
            return;
        };
        let is_moved = drifting.expected.is_some_and(|expected| expected != frame.viewport);
        let way = drifting.drift.step(ui.input(|input| input.stable_dt));
        let Some(way) = way.filter(|_| !is_moved && drifting.slide == frame.slide.key) else {
            self.drifting = None;
            return;
        };
        let mut expected = frame.viewport;
        expected.pan(way);
        if way != Vec2::ZERO && expected == frame.viewport {
            self.drifting = None;
            return;
        }
        drifting.expected = Some(expected);
        wish(frame, ViewCommand::Pan(way));
        ui.ctx().request_repaint();
    }

    /// Takes in what the wheel and fingers did over this pane.
    fn scroll(&mut self, ui: &Ui, frame: &PaneFrame<'_>, response: &Response) {
        let Some(pointer) = response.hover_pos() else { return };
        let line = ui.ctx().options(|options| options.input_options.line_scroll_speed);
        let scrolled = ui.input(|input| {
            let mut scrolled = scrolled(&input.events, line, input.content_rect().height());
            if let Some(touch) = input.multi_touch() {
                scrolled.fingers += f64::from(touch.zoom_delta).ln();
            }
            scrolled
        });
        if scrolled == Scrolled::default() {
            return;
        }
        self.drifting = None;
        if scrolled.fingers != 0.0 && scrolled.fingers.is_finite() {
            wish(frame, ViewCommand::ZoomAt(pointer, scrolled.fingers.exp()));
        }
        if scrolled.pan_fingers != Vec2::ZERO {
            wish(frame, ViewCommand::Pan(scrolled.pan_fingers));
        }
        if scrolled.steps != 0.0 || scrolled.pan_steps != Vec2::ZERO {
            self.zoom(frame, pointer, scrolled.steps, scrolled.pan_steps);
        }
    }

    /// Begins a zoom by the logarithm of a factor around `at`, or adds to the one that is on its way.
    fn zoom(&mut self, frame: &PaneFrame<'_>, at: Pos2, zoom: f64, pan: Vec2) {
        let (pane, slide) = (frame.pane, frame.slide.key);
        let before = self.zooming.filter(|zooming| zooming.pane == pane && zooming.slide == slide);
        let mut zooming = before.unwrap_or(Zooming { pane, slide, at, glide: Glide::default() });
        zooming.at = at;
        zooming.glide.add(zoom, pan);
        self.zooming = Some(zooming);
    }

    /// The part of a zoom that belongs to this frame.
    fn zoom_on(&mut self, ui: &Ui, frame: &PaneFrame<'_>) {
        let Some(zooming) = self.zooming.as_mut().filter(|zooming| zooming.pane == frame.pane) else {
            return;
        };
        if zooming.slide != frame.slide.key {
            self.zooming = None;
            return;
        }
        let (factor, pan) = zooming.glide.step(ui.input(|input| input.stable_dt));
        let (at, is_moving) = (zooming.at, zooming.glide.is_moving());
        if (factor - 1.0).abs() > 1e-9 {
            wish(frame, ViewCommand::ZoomAt(at, factor));
        }
        if pan != Vec2::ZERO {
            wish(frame, ViewCommand::Pan(pan));
        }
        if !is_moving {
            self.zooming = None;
        }
        ui.ctx().request_repaint();
    }
}

/// Sends a wish about this pane's slide, which is the one in view from then on.
fn wish(frame: &PaneFrame<'_>, wish: ViewCommand) {
    if !frame.is_active {
        frame.commands.send(Command::Show(frame.slide.key));
    }
    frame.commands.view(wish);
}

/// What events of one frame scrolled; `line` and `page` are points.
fn scrolled(events: &[Event], line: f32, page: f32) -> Scrolled {
    let mut sum = Scrolled::default();
    for event in events {
        match event {
            Event::Zoom(factor) => sum.fingers += f64::from(*factor).ln(),
            Event::MouseWheel { unit, delta, phase: TouchPhase::Move, modifiers, .. } => {
                let points = match unit {
                    MouseWheelUnit::Point => *delta,
                    MouseWheelUnit::Line => *delta * line,
                    MouseWheelUnit::Page => *delta * page,
                };
                let is_sideways = points.x.abs() > SIDEWAYS * points.y.abs();
                let (zoom, pan) = if modifiers.shift {
                    (0.0, vec2(points.x + points.y, 0.0))
                } else if is_sideways {
                    (0.0, vec2(points.x, 0.0))
                } else {
                    (f64::from(points.y) * WHEEL, Vec2::ZERO)
                };
                // Fingers are smooth by themselves; a wheel jumps.
                if *unit == MouseWheelUnit::Point {
                    sum.fingers += zoom;
                    sum.pan_fingers += pan;
                } else {
                    sum.steps += zoom;
                    sum.pan_steps += pan;
                }
            }
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use egui::{Modifiers, MouseWheelSource};

    use super::*;

    fn wheel(unit: MouseWheelUnit, delta: Vec2, modifiers: Modifiers) -> Event {
        Event::MouseWheel {
            unit,
            delta,
            phase: TouchPhase::Move,
            modifiers,
            source: MouseWheelSource::Unknown,
        }
    }

    #[test]
    fn a_notch_magnifies_by_about_a_quarter_and_shift_pans() {
        let notch = wheel(MouseWheelUnit::Line, vec2(0.0, 1.0), Modifiers::NONE);
        let one = scrolled(std::slice::from_ref(&notch), 40.0, 800.0);
        assert!((1.2..1.3).contains(&one.steps.exp()), "{one:?}");
        assert_eq!((one.fingers, one.pan_steps), (0.0, Vec2::ZERO));
        let three = scrolled(&[notch.clone(), notch.clone(), notch], 40.0, 800.0);
        assert!((three.steps - 3.0 * one.steps).abs() < 1e-9);

        let shifted = wheel(MouseWheelUnit::Line, vec2(0.0, -1.0), Modifiers::SHIFT);
        let panned = scrolled(&[shifted], 40.0, 800.0);
        assert_eq!((panned.steps, panned.pan_steps), (0.0, vec2(-40.0, 0.0)));
    }

    #[test]
    fn fingers_are_followed_at_once() {
        let events = [
            wheel(MouseWheelUnit::Point, vec2(1.0, 10.0), Modifiers::NONE),
            wheel(MouseWheelUnit::Point, vec2(30.0, 2.0), Modifiers::NONE),
            Event::Zoom(2.0),
        ];
        let found = scrolled(&events, 40.0, 800.0);
        assert!((found.fingers - (10.0 * WHEEL + 2.0_f64.ln())).abs() < 1e-6);
        assert_eq!((found.steps, found.pan_fingers), (0.0, vec2(30.0, 0.0)));
        assert_eq!(scrolled(&[], 40.0, 800.0), Scrolled::default());
    }
}
