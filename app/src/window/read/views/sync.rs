//! Panes that move and zoom together: how one follows another. Pure arithmetic.
//!
//! Every slide has an anchor, how it lay when the panes were aligned. A pane follows the movement from the leader's anchor, applied to its
//! own: nothing adds up, so that a pane that met its slide's edge is back in its place once the leader returns.

use std::f64::consts::{PI, TAU};

use egui::Vec2;

use crate::slide::Mpp;
use crate::viewer::viewport::Viewport;

/// A slide in a pane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synchronised {
    /// How it lay when the panes were aligned.
    pub anchor: Viewport,
    /// How it lies now.
    pub now: Viewport,
    pub mpp: Option<Mpp>,
}

/// How a pane of `size` points is to lie: at the leader's physical scale (the same pixels where either scale is not known), shifted and
/// turned as the leader was since both were aligned.
pub(super) fn followed(leader: &Synchronised, follower: &Synchronised, size: Vec2) -> Viewport {
    // µm per level-0 pixel, or pixels.
    let (of_leader, of_follower) = match (leader.mpp, follower.mpp) {
        (Some(leader), Some(follower)) => (leader.mean(), follower.mean()),
        _ => (1.0, 1.0),
    };
    let ratio = of_leader / of_follower;
    let (from, to) = (&leader.anchor, &leader.now);
    let moved = on_screen(from, (to.centre.0 - from.centre.0, to.centre.1 - from.centre.1));
    let (x, y) = on_slide(&follower.anchor, (moved.0 * ratio, moved.1 * ratio));
    let mut viewport = follower.anchor;
    // What happened on the leader's screen happens on the follower's. A mirror turns every angle around.
    let is_turned_over = to.is_mirrored != from.is_mirrored;
    let anchored = follower.anchor.rotation - from.rotation;
    viewport.rotation = half_turn(to.rotation + if is_turned_over { -anchored } else { anchored });
    viewport.is_mirrored = follower.anchor.is_mirrored != is_turned_over;
    viewport.set_scale(size, to.slide_per_point * ratio);
    viewport.look_at((follower.anchor.centre.0 + x, follower.anchor.centre.1 + y));
    viewport
}

/// The same angle between half a turn to either side; upright to the bit, so that it is drawn as upright.
fn half_turn(angle: f64) -> f64 {
    let angle = angle.rem_euclid(TAU);
    let angle = if angle > PI { angle - TAU } else { angle };
    if angle.abs() < 1e-9 { 0.0 } else { angle }
}

/// A direction on the slide as it lies on screen, in level-0 pixels still.
fn on_screen(viewport: &Viewport, (x, y): (f64, f64)) -> (f64, f64) {
    let x = if viewport.is_mirrored { -x } else { x };
    let (sin, cos) = viewport.rotation.sin_cos();
    (cos * x - sin * y, sin * x + cos * y)
}

/// What [`on_screen`] came from.
fn on_slide(viewport: &Viewport, (across, down): (f64, f64)) -> (f64, f64) {
    let (sin, cos) = viewport.rotation.sin_cos();
    let x = cos * across + sin * down;
    (if viewport.is_mirrored { -x } else { x }, cos * down - sin * across)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::FRAC_PI_2;

    use egui::vec2;

    use super::*;

    const SIZE: Vec2 = vec2(400.0, 300.0);

    fn at(mpp: Option<f64>, centre: (f64, f64), slide_per_point: f64) -> Synchronised {
        let mut viewport = Viewport::fitted(40_000, 30_000, SIZE);
        viewport.set_scale(SIZE, slide_per_point);
        viewport.look_at(centre);
        Synchronised { anchor: viewport, now: viewport, mpp: mpp.map(|mpp| Mpp { x: mpp, y: mpp }) }
    }

    fn close(a: (f64, f64), b: (f64, f64)) -> bool {
        (a.0 - b.0).abs() < 1e-6 && (a.1 - b.1).abs() < 1e-6
    }

    #[test]
    fn at_unequal_mpp_the_same_micrometres_are_seen() {
        let mut leader = at(Some(0.25), (10_000.0, 8_000.0), 4.0);
        let follower = at(Some(0.5), (7_000.0, 6_000.0), 9.0);
        leader.now.look_at((10_400.0, 7_800.0));
        leader.now.set_scale(SIZE, 2.0);
        let found = followed(&leader, &follower, SIZE);
        // 2 px of 0.25 µm a point are 1 px of 0.5 µm; 400 px of 0.25 µm are 200 px of 0.5 µm.
        assert!((found.slide_per_point - 1.0).abs() < 1e-9);
        assert!(close(found.centre, (7_200.0, 5_900.0)), "{:?}", found.centre);
    }

    #[test]
    fn without_a_scale_the_same_pixels_are_seen() {
        let mut leader = at(Some(0.25), (10_000.0, 8_000.0), 4.0);
        leader.now.look_at((10_400.0, 8_000.0));
        let found = followed(&leader, &at(None, (7_000.0, 6_000.0), 9.0), SIZE);
        assert!((found.slide_per_point - 4.0).abs() < 1e-9 && close(found.centre, (7_400.0, 6_000.0)));
    }

    #[test]
    fn a_turned_section_follows_on_screen_and_not_on_its_own_axes() {
        let mut leader = at(None, (10_000.0, 8_000.0), 4.0);
        let mut follower = at(None, (7_000.0, 6_000.0), 4.0);
        follower.anchor.rotation = FRAC_PI_2;
        // To the right on screen; on a slide that is turned clockwise by a quarter, up its own rows.
        leader.now.look_at((10_100.0, 8_000.0));
        let found = followed(&leader, &follower, SIZE);
        assert!(close(found.centre, (7_000.0, 5_900.0)), "{:?}", found.centre);
        leader.now.rotation += 0.5;
        let found = followed(&leader, &follower, SIZE);
        assert!((found.rotation - FRAC_PI_2 - 0.5).abs() < 1e-12 && !found.is_mirrored);
        leader.now.is_mirrored = true;
        let found = followed(&leader, &follower, SIZE);
        // What lies a quarter further clockwise lies a quarter less far in the mirror.
        assert!((found.rotation + FRAC_PI_2 - 0.5).abs() < 1e-12 && found.is_mirrored);
        assert!(close(found.centre, (7_000.0, 5_900.0)), "turning moves no centre");
    }

    #[test]
    fn what_met_the_edge_is_back_when_the_leader_returns() {
        let mut leader = at(None, (10_000.0, 8_000.0), 4.0);
        let mut follower = at(None, (100.0, 6_000.0), 4.0);
        leader.now.look_at((2_000.0, 8_000.0));
        follower.now = followed(&leader, &follower, SIZE);
        assert_eq!(follower.now.centre.0, 0.0);
        leader.now = leader.anchor;
        assert_eq!(followed(&leader, &follower, SIZE), follower.anchor);
    }
}
