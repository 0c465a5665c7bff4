//! Movements that take a moment: a notch of the wheel, and a slide that was pushed. Time comes in as seconds, so that tests hold the clock.

use std::collections::VecDeque;

use egui::{Pos2, Vec2};

/// How long a notch of the wheel takes, in seconds.
const NOTCH: f32 = 0.12;
/// The movement before letting go that counts, in seconds.
const RECENT: f64 = 0.08;
/// A pushed slide slows down by e in this time, in seconds.
const SLOWING: f32 = 0.325;
/// Slower than this, in points a second, it stands.
const STANDING: f32 = 10.0;

/// A zoom and a movement that are on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Glide {
    /// Natural logarithm of the factor that is left.
    zoom: f64,
    /// Points that are left.
    pan: Vec2,
    /// Seconds that are left.
    left: f32,
}

impl Glide {
    /// Adds a zoom, as the logarithm of its factor, and a movement in points; the time starts anew.
    pub fn add(&mut self, zoom: f64, pan: Vec2) {
        self.zoom += zoom;
        self.pan += pan;
        self.left = NOTCH;
    }

    /// Whether something is left.
    pub fn is_moving(&self) -> bool {
        self.left > 0.0
    }

    /// The factor and the movement of the next `seconds`: fast at first, and in sum exactly what was added.
    pub fn step(&mut self, seconds: f32) -> (f64, Vec2) {
        let rest = (self.left - seconds.max(0.0)).max(0.0);
        let (zoom, pan) = if rest > 0.0 {
            let part = 1.0 - (rest / self.left).powi(2);
            (self.zoom * f64::from(part), self.pan * part)
        } else {
            (self.zoom, self.pan)
        };
        self.zoom -= zoom;
        self.pan -= pan;
        self.left = rest;
        (zoom.exp(), pan)
    }
}

/// Where the pointer was lately.
#[derive(Clone, Debug, Default)]
pub struct Push {
    /// Seconds and points, oldest first.
    places: VecDeque<(f64, Pos2)>,
}

impl Push {
    /// The pointer is there.
    pub fn is_at(&mut self, seconds: f64, place: Pos2) {
        while self.places.front().is_some_and(|(then, _)| *then < seconds - RECENT) {
            self.places.pop_front();
        }
        self.places.push_back((seconds, place));
    }

    /// Points a second over the last moment; zero when it held still.
    pub fn velocity(&self) -> Vec2 {
        let (Some((began, from)), Some((ended, to))) = (self.places.front(), self.places.back()) else {
            return Vec2::ZERO;
        };
        let seconds = (ended - began) as f32;
        // Two events of one frame say nothing about speed.
        if seconds < 0.005 { Vec2::ZERO } else { (*to - *from) / seconds }
    }
}

/// A slide that moves on after it was let go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// Points a second.
    velocity: Vec2,
}

impl Drift {
    /// `None` when it was let go standing.
    pub fn new(velocity: Vec2) -> Option<Self> {
        (velocity.length() >= STANDING && velocity.is_finite()).then_some(Self { velocity })
    }

    /// How far it goes in the next `seconds`; `None` once it stands.
    pub fn step(&mut self, seconds: f32) -> Option<Vec2> {
        if self.velocity.length() < STANDING {
            return None;
        }
        let slower = (-seconds.max(0.0) / SLOWING).exp();
        let way = self.velocity * (SLOWING * (1.0 - slower));
        self.velocity *= slower;
        Some(way)
    }
}

#[cfg(test)]
mod tests {
    use egui::{pos2, vec2};

    use super::*;

    #[test]
    fn a_notch_is_gone_through_in_a_tenth_of_a_second_and_exactly() {
        let mut glide = Glide::default();
        glide.add(2.0_f64.ln(), vec2(30.0, 0.0));
        let (mut factor, mut pan, mut frames) = (1.0, Vec2::ZERO, 0);
        let mut first = None;
        while glide.is_moving() {
            let (by, moved) = glide.step(1.0 / 60.0);
            first.get_or_insert(by);
            assert!(by > 1.0, "it never goes back");
            (factor, pan, frames) = (factor * by, pan + moved, frames + 1);
        }
        assert!((factor - 2.0).abs() < 1e-9, "{factor}");
        assert!((pan - vec2(30.0, 0.0)).length() < 1e-3, "{pan:?}");
        assert!((5..=8).contains(&frames), "{frames} frames");
        assert!(first.unwrap() > 2.0_f64.powf(0.2), "the first frame shows it at once");
        assert_eq!(glide.step(1.0), (1.0, Vec2::ZERO));
    }

    #[test]
    fn notches_add_up_and_a_long_frame_takes_all_of_them() {
        let mut glide = Glide::default();
        glide.add(0.25, Vec2::ZERO);
        let (begun, _) = glide.step(0.02);
        glide.add(0.25, Vec2::ZERO);
        let (rest, _) = glide.step(0.25);
        assert!((begun * rest - 0.5_f64.exp()).abs() < 1e-9);
        assert!(!glide.is_moving());
    }

    #[test]
    fn a_pushed_slide_goes_on_slows_down_and_stands() {
        let mut push = Push::default();
        for n in 0..20_u32 {
            push.is_at(f64::from(n) * 0.01, pos2(n as f32 * 8.0, 0.0));
        }
        let velocity = push.velocity();
        assert!((velocity - vec2(800.0, 0.0)).length() < 1.0, "{velocity:?}");
        let mut drift = Drift::new(velocity).unwrap();
        let (mut way, mut seconds, mut last) = (0.0, 0.0, f32::INFINITY);
        while let Some(moved) = drift.step(1.0 / 60.0) {
            assert!(moved.x > 0.0 && moved.x < last, "slower and slower");
            last = moved.x;
            way += moved.x;
            seconds += 1.0 / 60.0;
        }
        // What is not gone at the end is what 10 points a second would still go.
        assert!((way - (800.0 - STANDING) * SLOWING).abs() < 2.0, "{way}");
        assert!(seconds < 1.6, "{seconds}");
    }

    #[test]
    fn a_slide_that_is_held_still_before_it_is_let_go_stays() {
        let mut push = Push::default();
        for n in 0..10_u32 {
            push.is_at(f64::from(n) * 0.01, pos2(n as f32 * 8.0, 0.0));
        }
        // The button is released half a second after the last movement.
        push.is_at(0.6, pos2(72.0, 0.0));
        assert_eq!(push.velocity(), Vec2::ZERO);
        assert_eq!(Drift::new(push.velocity()), None);
        assert_eq!(Push::default().velocity(), Vec2::ZERO);
    }

    #[test]
    fn the_length_of_a_frame_changes_nothing_of_the_way() {
        let way = |seconds: f32| {
            let mut drift = Drift::new(vec2(500.0, 0.0)).unwrap();
            let mut way = 0.0;
            for _ in 0..(1.0 / seconds).round() as u32 {
                way += drift.step(seconds).map_or(0.0, |moved| moved.x);
            }
            way
        };
        assert!((way(1.0 / 60.0) - way(1.0 / 20.0)).abs() < 0.5);
    }
}
