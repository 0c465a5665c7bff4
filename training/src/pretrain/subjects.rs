//! What the texts of stage 0 are about: phantom fields and, where there are any, real patches.

use rand::Rng;
use rand::seq::IndexedRandom as _;

use crate::phantom::{Limits, PlainText, describe, option_drill};
use crate::tissue::{Described, option_drill_of_tissue, plain_text_of};

/// Phantom fields, drawn as they are needed, and a share of real patches. Without patches nothing is drawn to choose
/// between them, so that the texts are those that there were before real tissue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subjects {
    /// Patches of which something was measured.
    patches: Vec<Described>,
    /// Share of the texts that are about them, from 0 to 1.
    share: f64,
    /// Which phantom fields there are, and what is said about them.
    limits: Limits,
}

impl Subjects {
    /// With patches for a share of the texts; those of which nothing was measured are left out.
    pub(crate) fn new(patches: impl IntoIterator<Item = Described>, share: f64) -> Self {
        Self {
            patches: patches.into_iter().filter(Described::is_clear).collect(),
            share: share.clamp(0.0, 1.0),
            limits: Limits::default(),
        }
    }

    /// The same, of phantom fields only those that are allowed.
    pub(super) fn within(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// The patches, where the next text is about them.
    pub(super) fn patches(&self, rng: &mut impl Rng) -> Option<&[Described]> {
        (!self.patches.is_empty() && rng.random_bool(self.share)).then_some(self.patches.as_slice())
    }

    /// A plain text about something that only words describe.
    pub(super) fn text(&self, rng: &mut impl Rng) -> PlainText {
        if let Some(patch) = self.patches(rng).and_then(|patches| patches.choose(rng)) {
            return plain_text_of(patch, rng);
        }
        let truth = self.limits.field(rng);
        self.limits.text(rng, |rng| describe(&truth, rng))
    }

    /// A drill on four options.
    pub(super) fn drill(&self, practice: f64, rng: &mut impl Rng) -> PlainText {
        match self.patches(rng) {
            Some(_) => option_drill_of_tissue(practice, rng),
            None => self.limits.text(rng, |rng| option_drill(practice, rng)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::phantom::Truth;
    use crate::tissue::{Measure, Measures};

    #[test]
    fn without_patches_the_texts_are_those_about_phantom_fields() {
        let mut rngs = [1, 1].map(ChaCha8Rng::seed_from_u64);
        let [ours, theirs] = &mut rngs;
        for _ in 0..50 {
            let truth = Truth::sample(theirs);
            assert_eq!(Subjects::default().text(ours), describe(&truth, theirs));
            assert_eq!(Subjects::default().drill(0.5, ours), option_drill(0.5, theirs));
        }
    }

    #[test]
    fn as_many_texts_as_asked_for_are_about_patches() {
        let figures = Measures::from_iter([(Measure::NuclearArea, 200.0)]);
        let clear = Described::new("lung_scc", &figures).unwrap();
        let unclear = Described::new("lung_scc", &Measures::default()).unwrap();
        let subjects = Subjects::new([clear, unclear.clone()], 0.25);
        assert_eq!(subjects.patches.len(), 1);
        assert!(Subjects::new([unclear], 1.0).patches.is_empty());
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let about = (0..2000).filter(|_| subjects.patches(&mut rng).is_some()).count();
        assert!((420..580).contains(&about), "{about}");
        let text: String = (0..400).map(|_| subjects.text(&mut rng).text).collect();
        assert!(text.contains("squamous cell carcinoma") && text.contains("lymphocytes"));
    }
}
