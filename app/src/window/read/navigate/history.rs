//! The places of a slide that were looked at, to go back to and forward again.

use std::time::{Duration, Instant};

use egui::Vec2;

use crate::viewer::viewport::Viewport;

/// Places that are kept on each side.
const MOST: usize = 100;
/// A place that was looked at for this long is kept when it is left.
const LOOKED_AT: Duration = Duration::from_secs(1);
/// A place that was left by a jump is kept unless it was only passed, as while the overview is dragged.
const PASSED: Duration = Duration::from_millis(250);
/// A jump goes further than this part of the view's shorter side.
const JUMP: f64 = 0.5;
/// Nearer than this part of the view's shorter side is the same place.
const SAME: f64 = 0.1;

/// The way through one slide.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// Oldest first.
    behind: Vec<Viewport>,
    /// The next one last.
    ahead: Vec<Viewport>,
    /// What was seen last, and since when.
    last: Option<(Viewport, Instant)>,
}

impl Trail {
    /// What is seen was changed to `now`. `first` is what was seen before anything changed.
    pub fn moved(&mut self, first: Viewport, now: Viewport, screen: Vec2, at: Instant) {
        let (left, looked) = match self.last {
            Some((left, since)) => (left, at.saturating_duration_since(since)),
            None => (first, LOOKED_AT),
        };
        let is_kept = looked >= LOOKED_AT || (looked >= PASSED && is_jump(&left, &now, screen));
        if is_kept && left != now {
            keep(&mut self.behind, left, screen);
            self.ahead.clear();
        }
        self.last = Some((now, at));
    }

    /// Whether there is a place to go back to.
    pub fn has_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Whether there is a place to go forward to.
    pub fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// The place before, which is seen from now on.
    pub fn back(&mut self, now: Viewport, screen: Vec2, at: Instant) -> Option<Viewport> {
        let place = step(&mut self.behind, &mut self.ahead, now, screen)?;
        self.last = Some((place, at));
        Some(place)
    }

    /// The place that was gone back from, which is seen from now on.
    pub fn forward(&mut self, now: Viewport, screen: Vec2, at: Instant) -> Option<Viewport> {
        let place = step(&mut self.ahead, &mut self.behind, now, screen)?;
        self.last = Some((place, at));
        Some(place)
    }
}

/// Takes the nearest other place `from` one side and leaves the present one on the other.
fn step(from: &mut Vec<Viewport>, to: &mut Vec<Viewport>, now: Viewport, screen: Vec2) -> Option<Viewport> {
    let mut place = from.pop()?;
    while is_same(&place, &now, screen) {
        place = from.pop()?;
    }
    keep(to, now, screen);
    Some(place)
}

fn keep(places: &mut Vec<Viewport>, place: Viewport, screen: Vec2) {
    places.pop_if(|last| is_same(last, &place, screen));
    if places.len() == MOST {
        places.remove(0);
    }
    places.push(place);
}

/// How far apart the middles of two views are, in parts of the shorter side of the wider one.
fn distance(a: &Viewport, b: &Viewport, screen: Vec2) -> f64 {
    let scale = a.slide_per_point.max(b.slide_per_point);
    let side = f64::from(screen.x.min(screen.y).max(1.0));
    (a.centre.0 - b.centre.0).hypot(a.centre.1 - b.centre.1) / (scale * side)
}

/// How many times larger one is shown than the other, at least 1.
fn magnified(a: &Viewport, b: &Viewport) -> f64 {
    (a.slide_per_point / b.slide_per_point).max(b.slide_per_point / a.slide_per_point)
}

fn is_jump(a: &Viewport, b: &Viewport, screen: Vec2) -> bool {
    distance(a, b, screen) > JUMP || magnified(a, b) > 1.0 / JUMP
}

fn is_same(a: &Viewport, b: &Viewport, screen: Vec2) -> bool {
    let is_turned = a.rotation != b.rotation || a.is_mirrored != b.is_mirrored;
    !is_turned && distance(a, b, screen) < SAME && magnified(a, b) < 1.0 + SAME
}

#[cfg(test)]
mod tests {
    use egui::vec2;

    use super::*;

    const SCREEN: Vec2 = vec2(800.0, 600.0);

    fn at(x: f64, y: f64) -> Viewport {
        let mut viewport = Viewport::fitted(100_000, 80_000, SCREEN);
        viewport.set_scale(SCREEN, 1.0);
        viewport.look_at((x, y));
        viewport
    }

    /// A trail and a clock.
    struct Walk {
        trail: Trail,
        now: Viewport,
        clock: Instant,
    }

    impl Walk {
        fn new() -> Self {
            Self { trail: Trail::default(), now: at(50_000.0, 40_000.0), clock: Instant::now() }
        }

        fn go(&mut self, to: Viewport, after: Duration) {
            self.clock += after;
            self.trail.moved(self.now, to, SCREEN, self.clock);
            self.now = to;
        }

        fn back(&mut self) -> Option<(f64, f64)> {
            self.clock += Duration::from_millis(10);
            let place = self.trail.back(self.now, SCREEN, self.clock)?;
            self.now = place;
            Some(place.centre)
        }

        fn forward(&mut self) -> Option<(f64, f64)> {
            self.clock += Duration::from_millis(10);
            let place = self.trail.forward(self.now, SCREEN, self.clock)?;
            self.now = place;
            Some(place.centre)
        }
    }

    const SOON: Duration = Duration::from_millis(16);
    const JUMPED: Duration = Duration::from_millis(400);
    const LONG: Duration = Duration::from_secs(2);

    #[test]
    fn one_goes_back_through_jumps_and_forward_again() {
        let mut walk = Walk::new();
        walk.go(at(10_000.0, 10_000.0), SOON);
        walk.go(at(20_000.0, 10_000.0), JUMPED);
        assert_eq!(walk.back(), Some((10_000.0, 10_000.0)));
        assert_eq!(walk.back(), Some((50_000.0, 40_000.0)), "what was seen first");
        assert_eq!(walk.back(), None);
        assert_eq!(walk.forward(), Some((10_000.0, 10_000.0)));
        assert_eq!(walk.forward(), Some((20_000.0, 10_000.0)));
        assert_eq!(walk.forward(), None);
        assert!(walk.trail.has_behind() && !walk.trail.has_ahead());
    }

    #[test]
    fn what_a_drag_only_passes_is_not_kept() {
        let mut walk = Walk::new();
        walk.go(at(10_000.0, 10_000.0), LONG);
        for n in 1..=200_u32 {
            let after = if n == 1 { LONG } else { SOON };
            walk.go(at(10_000.0 + 20.0 * f64::from(n), 10_000.0), after);
        }
        assert_eq!(walk.back(), Some((10_000.0, 10_000.0)), "the drag's first place was looked at before it");
        assert_eq!(walk.back(), Some((50_000.0, 40_000.0)));
        assert_eq!(walk.back(), None);
    }

    #[test]
    fn dragging_the_overview_keeps_only_where_one_stayed() {
        let mut walk = Walk::new();
        for n in 1..=50_u32 {
            walk.go(at(1000.0 * f64::from(n), 5000.0), SOON);
        }
        walk.go(at(90_000.0, 70_000.0), LONG);
        assert_eq!(walk.back(), Some((50_000.0, 5000.0)));
        assert_eq!(walk.back(), Some((50_000.0, 40_000.0)));
        assert_eq!(walk.back(), None);
    }

    #[test]
    fn going_elsewhere_forgets_what_lay_ahead_and_places_do_not_pile_up() {
        let mut walk = Walk::new();
        walk.go(at(10_000.0, 10_000.0), LONG);
        walk.go(at(20_000.0, 10_000.0), LONG);
        walk.back();
        walk.go(at(70_000.0, 70_000.0), LONG);
        assert_eq!(walk.forward(), None);
        for n in 0..300_u32 {
            walk.go(at(f64::from(n) * 300.0, f64::from(n % 2) * 70_000.0), LONG);
        }
        assert_eq!(walk.trail.behind.len(), MOST);
        // Small movements around one place are one place.
        let before = walk.trail.behind.len();
        walk.trail.behind.truncate(5);
        for n in 0..20_u32 {
            walk.go(at(5000.0 + f64::from(n), 5000.0), LONG);
        }
        assert!(before > 6 && walk.trail.behind.len() <= 7, "{}", walk.trail.behind.len());
    }

    #[test]
    fn a_change_of_scale_by_more_than_two_is_a_jump() {
        let mut walk = Walk::new();
        let mut closer = walk.now;
        closer.set_scale(SCREEN, 0.25);
        walk.go(closer, JUMPED);
        let mut closest = closer;
        closest.set_scale(SCREEN, 0.1);
        walk.go(closest, JUMPED);
        walk.back();
        assert_eq!(walk.now.slide_per_point, 0.25);
        walk.back();
        assert_eq!(walk.now.slide_per_point, 1.0);
    }
}
