//! Fields and questions without one claim, or about it alone: a concept that a model is to learn later, and what it is
//! asked about it then.
//!
//! What is drawn without a claim does not show it, and no question, option or answer states it; what follows from it (a
//! tumour from tumour nests) may be said of other fields. Rejected draws are drawn anew, so that what is left is spread
//! as before, but for questions that cannot be asked without the claim.

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::claim::{Attribute, Claim};
use super::lexicon::claims;
use super::question::{QuestionItem, UNREADABLE_SHARE, ask, ask_any, unreadable_field};
use super::topic::Topic;
use super::{PlainText, Truth};
use crate::subtask::QuestionKind;

/// Draws of a field and a question until one is allowed; with more than these it is taken for impossible.
const DRAWS: usize = 60;
/// Outcomes of a topic that are tried before another topic is.
const OUTCOMES: usize = 4;

/// Which fields are drawn, and what is said about them; by default anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// No field shows it and nothing states it.
    pub without: Option<Claim>,
    /// Every field shows it, and is asked for its tissue type.
    pub only: Option<Claim>,
}

impl Limits {
    /// Without one claim, where there is one.
    pub fn without(claim: Option<Claim>) -> Self {
        Self { without: claim, only: None }
    }

    /// What cannot be drawn, in a sentence; `None` where all can.
    pub fn fault(self) -> Option<String> {
        if self.without.is_some() && self.only.is_some() {
            return Some("fields can be drawn without a claim or with it only, not both".to_owned());
        }
        let claim = self.without.or(self.only).filter(|claim| claim.attribute == Attribute::Quality)?;
        Some(format!("{} is no structure of a field and cannot be drawn more or less often", claim.name()))
    }

    /// In words, such as ` without pattern.mucin`; empty where there are none.
    pub fn in_words(self) -> String {
        match (self.without, self.only) {
            (Some(claim), _) => format!(" without {}", claim.name()),
            (None, Some(claim)) => format!(" with {} only", claim.name()),
            (None, None) => String::new(),
        }
    }

    /// Whether such a field may be drawn.
    pub fn allow(self, truth: &Truth) -> bool {
        self.without.is_none_or(|claim| !claim.holds(truth))
            && self.only.is_none_or(|claim| claim.holds(truth))
    }

    /// A field of the phantom distribution that is allowed.
    pub fn field(self, rng: &mut impl Rng) -> Truth {
        loop {
            let truth = Truth::sample(rng);
            if self.allow(&truth) {
                return truth;
            }
        }
    }

    /// What `draw` gives, drawn anew until it does not state what is withheld.
    pub fn text<R: Rng>(self, rng: &mut R, mut draw: impl FnMut(&mut R) -> PlainText) -> PlainText {
        loop {
            let plain = draw(rng);
            if !self.is_stated(&plain.text) {
                return plain;
            }
        }
    }

    /// A question of this kind about an allowed field; where only one claim is drawn, a choice of tissue types.
    pub fn ask_any(self, truth: &Truth, kind: QuestionKind, rng: &mut impl Rng) -> QuestionItem {
        loop {
            let item = match self.only {
                Some(_) => ask(truth, Topic::TissueType, QuestionKind::Choice, rng),
                None => Some(ask_any(truth, kind, rng)),
            };
            if let Some(item) = item.filter(|item| self.allow_item(item)) {
                return item;
            }
        }
    }

    /// Whether a text states what is withheld.
    fn is_stated(self, text: &str) -> bool {
        self.without.is_some_and(|claim| claims(text).contains(&claim))
    }

    fn allow_item(self, item: &QuestionItem) -> bool {
        let Some(without) = self.without else { return true };
        let meant = item.claimed.iter().chain(&item.outcome).any(|outcome| outcome.claims.contains(&without));
        let texts = [&item.question].into_iter().chain(&item.choices);
        !meant && !texts.chain([&item.answer.to_text()]).any(|text| self.is_stated(text))
    }

    /// A readable field and a question of this topic and kind about it; `None` where there is none that is allowed.
    fn readable(self, topic: Topic, kind: QuestionKind, rng: &mut impl Rng) -> Option<(Truth, QuestionItem)> {
        let mut outcomes = topic.outcomes(kind);
        outcomes.retain(|outcome| self.without.is_none_or(|claim| !outcome.claims.contains(&claim)));
        let outcome = outcomes.choose(rng)?;
        (0..DRAWS).find_map(|_| {
            let truth = topic.field_with(outcome, rng);
            let item = ask(&truth, topic, kind, rng).filter(|item| self.allow_item(item))?;
            self.allow(&truth).then_some((truth, item))
        })
    }

    /// The same of any topic, this one first.
    fn readable_of_any(self, topic: Topic, kind: QuestionKind, rng: &mut impl Rng) -> (Truth, QuestionItem) {
        let first = Topic::ALL.iter().position(|t| *t == topic).unwrap_or(0);
        let topics = Topic::ALL.iter().cycle().skip(first).flat_map(|t| std::iter::repeat_n(*t, OUTCOMES));
        topics
            .take(100 * OUTCOMES * Topic::ALL.len())
            .find_map(|topic| self.readable(topic, kind, rng))
            .expect("without any one claim there are fields to ask about, which a test shows")
    }
}

/// `n` fields with a question each, as [`super::balanced_set`] draws them, within limits. Of one claim only: fields that
/// show it, each with a choice of tissue types.
pub fn limited_set(rng: &mut impl Rng, n: usize, limits: Limits) -> Vec<(Truth, QuestionItem)> {
    if limits.only.is_some() {
        let item = |_| {
            let truth = limits.field(rng);
            (truth, limits.ask_any(&truth, QuestionKind::Choice, rng))
        };
        return (0..n).map(item).collect();
    }
    let unreadable = (n as f64 * UNREADABLE_SHARE).round() as usize;
    let mut set = Vec::with_capacity(n);
    for index in 0..n {
        let kind = QuestionKind::ALL[index % QuestionKind::ALL.len()];
        let topic = Topic::ALL[(index / QuestionKind::ALL.len()) % Topic::ALL.len()];
        // Spread over the set, so that unreadable fields meet every kind and topic.
        let is_unreadable = (index + 1) * unreadable / n != index * unreadable / n;
        set.push(if is_unreadable {
            let truth = unreadable_field(rng);
            let asked =
                (0..DRAWS).find_map(|_| ask(&truth, topic, kind, rng).filter(|item| limits.allow_item(item)));
            (truth, asked.unwrap_or_else(|| limits.ask_any(&truth, kind, rng)))
        } else {
            limits.readable_of_any(topic, kind, rng)
        });
    }
    set.shuffle(rng);
    set
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::super::{balanced_set, describe};
    use super::*;

    fn mucin() -> Claim {
        Claim::from_name("pattern.mucin").unwrap()
    }

    fn every_claim() -> impl Iterator<Item = Claim> {
        let structures = Attribute::ALL.iter().filter(|a| **a != Attribute::Quality);
        structures.flat_map(|attribute| Claim::all(*attribute))
    }

    #[test]
    fn what_is_withheld_is_neither_drawn_nor_said() {
        for claim in every_claim() {
            let limits = Limits::without(Some(claim));
            let set = limited_set(&mut ChaCha8Rng::seed_from_u64(1), 120, limits);
            assert_eq!(set.len(), 120, "{}", claim.name());
            for (truth, item) in &set {
                assert!(!claim.holds(truth), "{}: {truth:?}", claim.name());
                let text = item.answer.to_text();
                for said in [&item.question, &text].into_iter().chain(&item.choices) {
                    assert!(!claims(said).contains(&claim), "{}: {said}", claim.name());
                }
                assert_eq!(item.label.is_some(), truth.is_assessable());
            }
        }
        let set = limited_set(&mut ChaCha8Rng::seed_from_u64(2), 900, Limits::without(Some(mucin())));
        let texts = set.iter().flat_map(|(_, item)| [item.question.clone(), item.answer.to_text()]);
        assert!(
            texts.chain(set.iter().flat_map(|(_, item)| item.choices.clone())).all(|t| !t.contains("mucin"))
        );
        let tissue = |set: &[(Truth, QuestionItem)]| {
            set.iter().filter(|(_, item)| item.topic == Topic::TissueType).count()
        };
        assert_eq!(tissue(&set), 90, "tissue types are still asked for");
    }

    #[test]
    fn of_one_claim_only_every_field_shows_it_and_offers_it() {
        for claim in every_claim() {
            let limits = Limits { only: Some(claim), without: None };
            for (truth, item) in limited_set(&mut ChaCha8Rng::seed_from_u64(3), 20, limits) {
                assert!(claim.holds(&truth) && truth.is_assessable(), "{}", claim.name());
                assert_eq!((item.topic, item.choices.len()), (Topic::TissueType, 4));
            }
        }
        let only = Limits { only: Some(mucin()), without: None };
        let set = limited_set(&mut ChaCha8Rng::seed_from_u64(4), 400, only);
        let mut letters = std::collections::BTreeMap::<_, usize>::new();
        for (_, item) in &set {
            assert_eq!(item.outcome.as_ref().unwrap().claims, [mucin()]);
            *letters.entry(item.label.clone().unwrap()).or_default() += 1;
        }
        assert!(letters.len() == 4 && letters.values().all(|n| (60..140).contains(n)), "{letters:?}");
    }

    #[test]
    fn without_limits_the_draws_are_those_of_before() {
        let rngs = [5, 5].map(ChaCha8Rng::seed_from_u64);
        let [mut ours, mut theirs] = rngs;
        assert_eq!(limited_set(&mut ours, 300, Limits::default()), balanced_set(&mut theirs, 300));
        for _ in 0..50 {
            let (truth, other) = (Limits::default().field(&mut ours), Truth::sample(&mut theirs));
            assert_eq!(truth, other);
            let text = Limits::default().text(&mut ours, |rng| describe(&truth, rng));
            assert_eq!(text, describe(&other, &mut theirs));
        }
    }

    #[test]
    fn texts_do_not_state_what_is_withheld() {
        let limits = Limits::without(Some(mucin()));
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        for _ in 0..2000 {
            let plain = limits.text(&mut rng, |rng| describe(&Truth::sample(rng), rng));
            assert!(!claims(&plain.text).contains(&mucin()), "{}", plain.text);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let blank = Claim::from_name("quality.blank");
        assert!(Limits::without(blank).fault().unwrap().contains("quality.blank"));
        assert!(Limits { only: Some(mucin()), without: Some(mucin()) }.fault().is_some());
        assert_eq!(Limits::without(Some(mucin())).fault(), None);
        assert_eq!(Limits::without(Some(mucin())).in_words(), " without pattern.mucin");
        assert_eq!(Limits::default().in_words(), "");
    }
}
