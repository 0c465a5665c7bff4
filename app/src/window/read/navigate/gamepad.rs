//! A gamepad moves the slide: its left stick pans, its right stick zooms, its buttons change objectives and slides.
//!
//! One thread listens; without a gamepad it sleeps. A machine that offers none (no libudev, no permission) is no error: there is nothing
//! to listen to.

use egui::{Vec2, vec2};

use super::super::super::command::{Command, ViewCommand};
use super::super::super::state::{AppState, Mode};
use super::super::super::update::{self, Effect};
use super::magnification;

/// What a stick does within this part of its way from the middle: nothing.
const DEAD: f32 = 0.15;
/// Views a second at full deflection.
const FASTEST: f32 = 1.5;
/// Natural logarithm of the magnification a second at full deflection: four times.
const ZOOM: f64 = 1.386;

/// What a gamepad wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadWish {
    /// Sticks, in parts of their way, right and up positive; for how many seconds they are out.
    Move {
        left: Vec2,
        right: Vec2,
        seconds: f32,
    },
    /// The next objective; physical pixels per point.
    Objective {
        nearer: bool,
        pixels_per_point: f32,
    },
    Fit,
    /// The slide this many tabs further to the right.
    Slide(i32),
}

/// Carries it out, where slides are read.
pub(super) fn carry_out(state: &mut AppState, wish: PadWish) -> Vec<Effect> {
    if state.mode != Mode::Read || !state.settings.notice_accepted {
        return Vec::new();
    }
    match wish {
        PadWish::Move { left, right, seconds } => moved(state, left, right, seconds),
        PadWish::Fit => update::command(state, Command::View(ViewCommand::Fit)),
        PadWish::Slide(by) => update::command(state, Command::ShowNext(by)),
        PadWish::Objective { nearer, pixels_per_point } => {
            let Some(slide) = state.shown_slide() else { return Vec::new() };
            let (Some(info), Some(viewport)) = (slide.info(), slide.viewport) else { return Vec::new() };
            let scale = viewport.slide_per_point / f64::from(pixels_per_point);
            match magnification::next_step(info.mpp, scale, nearer) {
                Some(step) => {
                    update::command(state, Command::View(ViewCommand::Scale(step, pixels_per_point)))
                }
                None => Vec::new(),
            }
        }
    }
}

fn moved(state: &mut AppState, left: Vec2, right: Vec2, seconds: f32) -> Vec<Effect> {
    let mut effects = Vec::new();
    let way = speed(left) * FASTEST * seconds;
    if way != Vec2::ZERO {
        // Up on the stick is up on the slide, which is down in window coordinates.
        let fractions = vec2(way.x, -way.y);
        effects.extend(update::command(state, Command::View(ViewCommand::Scroll(fractions))));
    }
    let nearer = speed(vec2(0.0, right.y)).y;
    if nearer != 0.0 {
        let factor = (ZOOM * f64::from(nearer * seconds)).exp();
        effects.extend(update::command(state, Command::View(ViewCommand::Zoom(factor))));
    }
    effects
}

/// How fast a stick wants to go: 0 within the dead zone, then by the square of the way beyond it, 1 at the end.
fn speed(stick: Vec2) -> Vec2 {
    let length = stick.length();
    if length.is_nan() || length <= DEAD {
        return Vec2::ZERO;
    }
    let part = ((length - DEAD) / (1.0 - DEAD)).min(1.0);
    stick / length * (part * part)
}

/// Whether a stick is out of its dead zone.
#[cfg(any(feature = "gamepad", test))]
fn is_out(stick: Vec2) -> bool {
    speed(stick) != Vec2::ZERO
}

#[cfg(feature = "gamepad")]
pub(super) use listening::listen;

#[cfg(feature = "gamepad")]
mod listening {
    use std::time::{Duration, Instant};

    use crossbeam_channel::{Receiver, TryRecvError};
    use egui::Vec2;
    use gilrs::{Axis, Button, EventType, Gilrs};

    use super::super::super::super::event::Event;
    use super::super::super::super::workers::EventSender;
    use super::super::super::ReadEvent;
    use super::super::NavigateEvent;
    use super::{PadWish, is_out};

    /// Between two wishes while a stick is out: 60 a second.
    const BEAT: Duration = Duration::from_micros(16_667);
    /// How soon the thread sees that nobody listens any more.
    const IDLE: Duration = Duration::from_millis(250);

    /// Sends what a gamepad wants until `until_gone` is closed or the window is gone.
    pub(in super::super) fn listen(events: &EventSender, until_gone: &Receiver<()>) {
        let mut pads = match Gilrs::new() {
            Ok(pads) => pads,
            Err(error) => {
                tracing::debug!("no gamepads: {error}");
                return;
            }
        };
        let send = |wish: PadWish| events.send(Event::Read(ReadEvent::Navigate(NavigateEvent::Pad(wish))));
        let (mut left, mut right) = (Vec2::ZERO, Vec2::ZERO);
        let mut last: Option<Instant> = None;
        while until_gone.try_recv() == Err(TryRecvError::Empty) {
            let is_moving = is_out(left) || is_out(right);
            let patience = match last {
                Some(last) if is_moving => BEAT.saturating_sub(last.elapsed()),
                _ => IDLE,
            };
            let news = pads.next_event_blocking(Some(patience));
            // Whoever works in another window moves nothing here.
            let is_focused = events.context().input(|input| input.focused);
            if let Some(news) = news {
                match news.event {
                    EventType::AxisChanged(Axis::LeftStickX, way, _) => left.x = way,
                    EventType::AxisChanged(Axis::LeftStickY, way, _) => left.y = way,
                    EventType::AxisChanged(Axis::RightStickX, way, _) => right.x = way,
                    EventType::AxisChanged(Axis::RightStickY, way, _) => right.y = way,
                    EventType::ButtonPressed(button, _) if is_focused => {
                        let pixels_per_point = events.context().pixels_per_point();
                        if pressed(button, pixels_per_point).is_some_and(|wish| !send(wish)) {
                            return;
                        }
                    }
                    // A stick that is gone is not out.
                    EventType::Disconnected => (left, right) = (Vec2::ZERO, Vec2::ZERO),
                    _ => {}
                }
            }
            if !(is_focused && (is_out(left) || is_out(right))) {
                last = None;
                continue;
            }
            let seconds = last.map_or(BEAT, |last| last.elapsed());
            if last.is_none() || seconds >= BEAT {
                last = Some(Instant::now());
                // After a pause of the machine the slide does not leap.
                let seconds = seconds.min(Duration::from_millis(100)).as_secs_f32();
                if !send(PadWish::Move { left, right, seconds }) {
                    return;
                }
            }
        }
    }

    /// What a button wants; most want nothing.
    fn pressed(button: Button, pixels_per_point: f32) -> Option<PadWish> {
        match button {
            Button::South => Some(PadWish::Objective { nearer: true, pixels_per_point }),
            Button::East => Some(PadWish::Objective { nearer: false, pixels_per_point }),
            Button::West => Some(PadWish::Fit),
            Button::LeftTrigger => Some(PadWish::Slide(-1)),
            Button::RightTrigger => Some(PadWish::Slide(1)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stick_near_its_middle_does_nothing_and_then_goes_by_the_square() {
        assert_eq!(speed(vec2(0.1, -0.1)), Vec2::ZERO);
        assert_eq!(speed(Vec2::ZERO), Vec2::ZERO);
        assert_eq!(speed(vec2(f32::NAN, 0.0)), Vec2::ZERO);
        assert!((speed(vec2(1.0, 0.0)) - vec2(1.0, 0.0)).length() < 1e-6);
        let half_way = DEAD + (1.0 - DEAD) / 2.0;
        assert!((speed(vec2(0.0, -half_way)) - vec2(0.0, -0.25)).length() < 1e-6);
        assert!(speed(vec2(1.0, 1.0)).length() < 1.0 + 1e-6, "a corner is no faster");
        assert!(is_out(vec2(0.5, 0.0)) && !is_out(vec2(0.15, 0.0)));
    }
}
