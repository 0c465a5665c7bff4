//! Whether what is drawn agrees with its truth.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::phantom::{Pattern, Presence, Stroma};

const STANDARD: Window = Window { x: 400, y: 800, w: 224, h: 224 };

/// A sharp truth of each pattern in turn.
fn truth(seed: u64) -> Truth {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Truth::sample_with(Pattern::ALL[seed as usize % Pattern::ALL.len()], Quality::Sharp, &mut rng)
}

fn share(field: &Field, components: &[Component]) -> f32 {
    let hits = field.mask.iter().filter(|&&id| components.iter().any(|&c| c as u8 == id)).count();
    hits as f32 / field.mask.len() as f32
}

#[test]
fn the_same_seed_gives_the_same_pixels() {
    for seed in 0..9 {
        let (first, second) = (draw(&truth(seed), 224, seed), draw(&truth(seed), 224, seed));
        assert_eq!(first.rgb, second.rgb);
        assert_eq!(first.mask, second.mask);
        assert_ne!(first.rgb, draw(&truth(seed), 224, seed + 1).rgb);
    }
}

#[test]
fn counts_of_nuclei_agree_with_the_truth() {
    let seeds = 0..180;
    let total = seeds.end;
    let agreeing = seeds
        .filter(|&seed| {
            let plan = planned(truth(seed), STANDARD, &mut Dice::at(seed, 0, 0, 0));
            plan.accepts(&layout::census(&layout::place_single(&plan, STANDARD), STANDARD))
        })
        .count();
    assert!(agreeing as f32 >= 0.99 * total as f32, "{agreeing} of {total}");
}

#[test]
fn shares_of_stroma_and_necrosis_agree_with_the_truth() {
    for seed in 0..90 {
        let truth = truth(seed);
        let field = draw(&truth, 224, seed);
        let stroma = share(&field, &[Component::Stroma, Component::StromalNucleus]);
        match truth.stroma {
            Some(Stroma::Scant) => assert!(stroma < 0.12, "{stroma} in {truth:?}"),
            Some(Stroma::Abundant) => assert!(stroma > 0.30, "{stroma} in {truth:?}"),
            None => {}
        }
        let necrosis = share(&field, &[Component::Necrosis]);
        match truth.necrosis {
            Presence::Absent => assert!(necrosis < 1e-6, "{necrosis} in {truth:?}"),
            Presence::Present => assert!(necrosis > 0.15, "{necrosis} in {truth:?}"),
        }
    }
}
