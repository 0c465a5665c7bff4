//! Whether an answer holds when something changes that should change nothing of it: another seed, options in another order, patches shifted
//! and turned a little; and how many of the answers agree with it, stage by stage.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::event::Stop;
use reinpath_model::prose;
use reinpath_model::stage::{self, AnswerStage};

use crate::case::{Answer, Id, Purpose, Question, Variation};
use crate::chain::glossary::Glossary;
use crate::slide::Region;

/// By how much of its side a patch is shifted: less than what a reader would call another field.
const SHIFT: f64 = 0.05;
/// Degrees by which patches are turned.
const TURNS: [f64; 2] = [5.0, -5.0];
/// Two texts agree that share this part of what either says (Jaccard's index).
pub const ALIKE: f64 = 0.5;
/// Draws for an order of options before it is given up that there is another one.
const MOST_DRAWS: usize = 200;
/// Words that deny what else stands in their part of a sentence.
const DENYING: [&str; 11] =
    ["no", "not", "without", "absent", "lack", "lacks", "lacking", "never", "none", "neither", "nor"];

/// What is said where agreement is shown: what counts as the same, and what that cannot see.
pub const RULE: &str = "Observation and Analysis agree where at least half of the glossary's terms in either are in both, affirmed or \
    denied alike; without terms, of the words. A Conclusion agrees where it chooses the same option, whatever its letter; without options, \
    where it has the same terms, or else the same words. Amounts and places are not compared.";

/// What to change of a question, `repeats` of each kind at the most, kinds in turn: another seed, another order of its options, patches
/// shifted by 5 % of their side in one of four directions, patches turned by 5° to either side. The same `seed` gives the same.
pub fn variations(
    question: &Question,
    repeats: u32,
    is_shuffled: bool,
    is_shifted: bool,
    is_turned: bool,
    seed: u64,
) -> Vec<Variation> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rounds = repeats as usize;
    let orders = if is_shuffled { orders(question.choices.len(), rounds, &mut rng) } else { Vec::new() };
    let mut shifts = if is_shifted { shifts(question) } else { Vec::new() };
    shifts.shuffle(&mut rng);
    let mut all = Vec::new();
    for round in 0..rounds {
        all.push(Variation::Repeated { seed: seed.wrapping_add(round as u64 + 1) });
        all.extend(orders.get(round).map(|order| Variation::Shuffled { order: order.clone() }));
        all.extend(shifts.get(round).map(|&(x, y)| Variation::Shifted { x, y }));
        let turn = TURNS.get(round).filter(|_| is_turned && !question.patches.is_empty());
        all.extend(turn.map(|&degrees| Variation::Turned { degrees }));
    }
    all
}

/// Different orders of so many options, none of them the question's own.
fn orders(options: usize, most: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let own: Vec<usize> = (0..options).collect();
    let mut found: Vec<Vec<usize>> = Vec::new();
    for _ in 0..MOST_DRAWS {
        if found.len() == most || options < 2 {
            break;
        }
        let mut order = own.clone();
        order.shuffle(rng);
        if order != own && !found.contains(&order) {
            found.push(order);
        }
    }
    found
}

/// In level-0 pixels.
fn shifts(question: &Question) -> Vec<(i64, i64)> {
    let Some(region) = question.patches.first().map(crate::case::PatchKept::region) else {
        return Vec::new();
    };
    let by = (SHIFT * f64::from(region.w.min(region.h))).round().max(1.0) as i64;
    vec![(by, 0), (-by, 0), (0, by), (0, -by)]
}

/// What a question becomes by a variation: its options in their order, its patches' places, and the degrees by which patches are turned.
pub fn varied(question: &Question, variation: &Variation) -> (Vec<String>, Vec<Region>, f64) {
    let mut choices = question.choices.clone();
    let mut regions: Vec<Region> = question.patches.iter().map(crate::case::PatchKept::region).collect();
    let mut turned = 0.0;
    match variation {
        Variation::Repeated { .. } => {}
        Variation::Shuffled { order } => choices = in_order(&question.choices, order),
        Variation::Shifted { x, y } => {
            for region in &mut regions {
                region.x = region.x.saturating_add(*x);
                region.y = region.y.saturating_add(*y);
            }
        }
        Variation::Turned { degrees } => turned = *degrees,
    }
    (choices, regions, turned)
}

/// Options as an answer was given them. An order that is none of theirs, as in a store that something else wrote, names fewer.
fn in_order(choices: &[String], order: &[usize]) -> Vec<String> {
    order.iter().filter_map(|&at| choices.get(at)).cloned().collect()
}

/// What was changed, in words.
pub fn in_words(variation: &Variation) -> String {
    match variation {
        Variation::Repeated { seed } => format!("Repeated with seed {seed}"),
        Variation::Shuffled { order } => {
            let letter = |&at: &usize| char::from(b'A' + (at % 26) as u8).to_string();
            format!("Options in the order {}", order.iter().map(letter).collect::<Vec<_>>().join(", "))
        }
        Variation::Shifted { x, y } => format!("Patches shifted by {x}, {y} px"),
        Variation::Turned { degrees } => format!("Patches turned by {degrees}°"),
    }
}

/// How many of the varied answers agree with one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agreement {
    /// The share that agrees in each stage; `None` where nothing can be compared.
    pub stages: [Option<f64>; 3],
    /// How many answers were compared.
    pub answers: usize,
    /// Those that differ, what was varied, and the stages in which they do.
    pub differing: Vec<(Id, Variation, Vec<AnswerStage>)>,
}

impl Agreement {
    /// How many of [`Self::answers`] agree in a stage; `None` where nothing can be compared.
    pub fn agreeing(&self, stage: AnswerStage) -> Option<usize> {
        self.stages[stage as usize].map(|_| self.answers - self.differing_in(stage))
    }

    fn differing_in(&self, stage: AnswerStage) -> usize {
        self.differing.iter().filter(|(_, _, stages)| stages.contains(&stage)).count()
    }
}

/// Compares an answer with the varied ones among `others` that came to their end; [`RULE`] says by what.
pub fn agreement(
    base: &Answer,
    question: &Question,
    others: &[Arc<Answer>],
    glossary: &Glossary,
) -> Agreement {
    let own = Reading::of(base, question, glossary);
    let mut found = Agreement::default();
    for answer in others.iter().filter(|answer| answer.id != base.id && is_whole(answer)) {
        let Purpose::Stability(variation) = &answer.purpose else { continue };
        found.answers += 1;
        let other = Reading::of(answer, question, glossary);
        let differs = |stage: &AnswerStage| own.has(*stage) && !own.agrees(&other, *stage);
        let stages: Vec<AnswerStage> = AnswerStage::ALL.into_iter().filter(differs).collect();
        if !stages.is_empty() {
            found.differing.push((answer.id.clone(), variation.clone(), stages));
        }
    }
    found.stages = AnswerStage::ALL.map(|stage| {
        let is_compared = found.answers > 0 && own.has(stage);
        is_compared.then(|| (found.answers - found.differing_in(stage)) as f64 / found.answers as f64)
    });
    found
}

/// Whether an answer was written to its end, or to its longest length.
fn is_whole(answer: &Answer) -> bool {
    answer.finished.as_ref().is_some_and(|finished| finished.stop != Stop::Cancelled)
}

/// What an answer says, as far as answers are compared by it.
struct Reading {
    stages: [Stage; 3],
    /// The option that it chooses, by its text; of a true/false question without options, `True` or `False`.
    choice: Option<String>,
}

#[derive(Default)]
struct Stage {
    text: String,
    /// The glossary's terms, and whether they are denied.
    terms: BTreeSet<(usize, bool)>,
    /// Words that can be seen in a picture, in lower case.
    words: BTreeSet<String>,
}

impl Reading {
    fn of(answer: &Answer, question: &Question, glossary: &Glossary) -> Self {
        let text = answer.text();
        let stages = AnswerStage::ALL.map(|stage| Stage::of(text.stage(stage), glossary));
        let choice = if question.choices.is_empty() {
            answer.finished.as_ref().and_then(|finished| finished.choice.clone())
        } else {
            let choices = match &answer.purpose {
                Purpose::Stability(Variation::Shuffled { order }) => in_order(&question.choices, order),
                _ => question.choices.clone(),
            };
            stage::extract_choice(&text.conclusion, &choices).map(|at| choices[at].clone())
        };
        Self { stages, choice }
    }

    fn has(&self, stage: AnswerStage) -> bool {
        !self.stages[stage as usize].text.is_empty()
    }

    fn agrees(&self, other: &Self, stage: AnswerStage) -> bool {
        let (own, others) = (&self.stages[stage as usize], &other.stages[stage as usize]);
        let has_terms = !own.terms.is_empty() || !others.terms.is_empty();
        if stage != AnswerStage::Conclusion {
            return if has_terms {
                share_in_both(&own.terms, &others.terms) >= ALIKE
            } else {
                share_in_both(&own.words, &others.words) >= ALIKE
            };
        }
        if self.choice.is_some() || other.choice.is_some() {
            return self.choice == other.choice;
        }
        if has_terms {
            own.terms == others.terms
        } else {
            stage::words(&own.text) == stage::words(&others.text)
        }
    }
}

impl Stage {
    fn of(text: &str, glossary: &Glossary) -> Self {
        let mut read = Self { text: text.trim().to_owned(), ..Self::default() };
        let content = prose::words(text).into_iter().map(|word| text[word].to_lowercase());
        read.words = content.filter(|word| prose::has_content(word)).collect();
        for part in parts(text) {
            let words = stage::words(part);
            let is_denied = DENYING.iter().any(|word| words.contains(&format!(" {word} ")));
            let terms = glossary.found_in(part).into_iter();
            read.terms.extend(terms.map(|(_, term)| (term, is_denied)));
        }
        read
    }
}

/// Sentences, and what stands between commas in them: as far as a denial reaches.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let sentences = prose::split(text).into_iter().map(move |range| &text[range]);
    sentences.flat_map(|sentence| sentence.split([',', ';', ':']))
}

/// Jaccard's index; of two empty sets, 1.
fn share_in_both<T: Ord>(a: &BTreeSet<T>, b: &BTreeSet<T>) -> f64 {
    let both = a.intersection(b).count();
    let either = a.len() + b.len() - both;
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}

#[cfg(test)]
mod tests;
