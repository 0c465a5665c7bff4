//! Sentences that state attributes of a field, in varied order and wording.
//!
//! Two noun phrases share a sentence where that reads well; the rest are sentences of their own.

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::claim::{Attribute, Claim};
use super::lexicon::wording;
use super::{Quality, Truth};

/// What a field can be described by, where it applies. Attributes that follow from the pattern are left out: the
/// pattern says more.
const DESCRIBING: &[Attribute] = &[
    Attribute::Pattern,
    Attribute::Cellularity,
    Attribute::NuclearSize,
    Attribute::Pleomorphism,
    Attribute::Mitoses,
    Attribute::Lymphocytes,
    Attribute::Necrosis,
    Attribute::Stroma,
];

/// What can be said of this field beyond `stated`, in random order.
pub(super) fn other_claims(truth: &Truth, stated: &[Claim], rng: &mut impl Rng) -> Vec<Claim> {
    let mut claims: Vec<Claim> = DESCRIBING
        .iter()
        .filter_map(|attribute| attribute.of(truth))
        .filter(|claim| stated.iter().all(|s| s.attribute != claim.attribute))
        .collect();
    claims.shuffle(rng);
    claims
}

/// Sentences that state all of `claims`, in their order; at most `most` sentences as long as twice as many claims fit.
pub(super) fn state(claims: &[Claim], most: usize, rng: &mut impl Rng) -> String {
    let mut sentences = Vec::new();
    let mut rest = claims;
    while let Some((first, others)) = rest.split_first() {
        let left = most.saturating_sub(sentences.len());
        let must_share = rest.len() > 2 * left.saturating_sub(1) + 1;
        if let Some((second, after)) = others.split_first()
            && (must_share || rng.random_bool(0.6))
        {
            let both = wording(&[*first, *second]).or_else(|| wording(&[*second, *first]));
            sentences.push(match both.filter(|w| !w.clauses.is_empty()) {
                Some(both) => one_thing(&both.phrases, &both.clauses, rng),
                None => two_things(*first, *second, rng),
            });
            rest = after;
        } else {
            sentences.extend(wording(&[*first]).map(|w| one_thing(&w.phrases, &w.clauses, rng)));
            rest = others;
        }
    }
    sentences.join(" ")
}

/// A sentence that states something of a field that cannot be read.
pub(super) fn state_quality(quality: Quality, rng: &mut impl Rng) -> String {
    let level = if quality == Quality::Blank { 2 } else { 1 };
    wording(&[Claim { attribute: Attribute::Quality, level }]).map_or_else(String::new, |w| {
        let texts: Vec<&String> = w.phrases.iter().chain(&w.clauses).collect();
        texts.choose(rng).map_or_else(String::new, |text| sentence(text))
    })
}

/// One statement as a sentence.
pub(crate) fn one_thing(phrases: &[String], clauses: &[String], rng: &mut impl Rng) -> String {
    if let Some(clause) = clauses.choose(rng)
        && rng.random_bool(0.5)
    {
        return sentence(clause);
    }
    framed(phrases.choose(rng).map_or("", String::as_str), rng)
}

fn two_things(first: Claim, second: Claim, rng: &mut impl Rng) -> String {
    let mut phrase = |claim: Claim| {
        wording(&[claim]).and_then(|w| w.phrases.choose(rng)).map_or_else(String::new, Clone::clone)
    };
    let (a, b) = (phrase(first), phrase(second));
    let joined = if first.attribute == Attribute::Pattern { "with" } else { "and" };
    framed(&format!("{a} {joined} {b}"), rng)
}

/// A noun phrase as a sentence.
pub(crate) fn framed(phrase: &str, rng: &mut impl Rng) -> String {
    match rng.random_range(0..4) {
        0 => format!("The field shows {phrase}."),
        1 => format!("We see {phrase}."),
        2 => format!("This field contains {phrase}."),
        _ => sentence(phrase),
    }
}

/// With a capital and a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::super::claims;
    use super::*;

    #[test]
    fn exactly_what_was_stated_is_read_back() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut texts = BTreeSet::new();
        for _ in 0..5000 {
            let truth = Truth::sample(&mut rng);
            if !truth.is_assessable() {
                assert_eq!(
                    claims(&state_quality(truth.quality, &mut rng)),
                    [Attribute::Quality.of(&truth).unwrap()]
                );
                continue;
            }
            let n = rng.random_range(1..=6);
            let mut stated = other_claims(&truth, &[], &mut rng);
            stated.truncate(n);
            let text = state(&stated, 3, &mut rng);
            let mut read = claims(&text);
            assert!(text.matches('.').count() <= 3, "{text}");
            read.sort();
            stated.sort();
            assert_eq!(read, stated, "{text}");
            texts.insert(text);
        }
        assert!(texts.len() > 4000, "the wording varies: {}", texts.len());
    }
}
