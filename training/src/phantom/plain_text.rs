//! Plain texts, from which a decoder learns the words: notes, quizzes with bare answers, and drills.
//!
//! None of them has stages: the model that is made from them has never seen a staged answer.

use std::ops::Range;

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::Truth;
use super::answer::{CANNOT_BE_ASSESSED, OPTION, compared, verdict};
use super::caption::note;
use super::drill::{option_drill, statement_drill};
use super::lexicon::wording;
use super::question::{QuestionItem, ask_any};
use super::sentence::{other_claims, sentence, state, state_quality};
use super::topic::Outcome;
use crate::subtask::QuestionKind;

/// A text and the parts of it that follow from what stands before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainText {
    pub text: String,
    pub decided: Vec<Decided>,
}

/// Bytes of a text that follow from what stands before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub what: Decision,
    pub bytes: Range<usize>,
}

/// What a part of a text decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Which letter an option has.
    Letter,
    /// Whether a statement is true.
    Verdict,
    /// What a field shows, in the words of the options.
    Finding,
}

impl Decision {
    /// Every decision.
    pub const ALL: &[Self] = &[Self::Letter, Self::Verdict, Self::Finding];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Letter => "letters",
            Self::Verdict => "verdicts",
            Self::Finding => "findings",
        }
    }
}

impl PlainText {
    pub(crate) fn open(text: String) -> Self {
        Self { text, decided: Vec::new() }
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn decide(&mut self, what: Decision, text: &str) {
        let start = self.text.len();
        self.say(text);
        self.decided.push(Decided { what, bytes: start..self.text.len() });
    }

    /// Words that hold a statement against a finding: only whether they agree is decided.
    pub(crate) fn say_compared(&mut self, words: &str, agrees: bool) {
        let verdict = verdict(agrees);
        let (before, after) = words.rsplit_once(verdict).unwrap_or((words, ""));
        self.say(before);
        self.decide(Decision::Verdict, verdict);
        self.say(after);
    }

    /// The statement of a question held against what is true.
    pub(super) fn compare(&mut self, item: &QuestionItem, rng: &mut impl Rng) {
        let (Some(outcome), Some(statement)) = (&item.outcome, item.claimed.first()) else { return };
        self.say_compared(&compared(outcome, statement, rng), statement == outcome);
    }
}

/// What a quiz is written from.
pub(crate) struct Quiz<'a> {
    pub(crate) kind: QuestionKind,
    /// States what the question needs.
    pub(crate) note: String,
    pub(crate) question: &'a str,
    /// Without letters; empty where the question has none.
    pub(crate) choices: &'a [String],
    /// A letter, `True` or `False`, or the value's name; `None` where nothing can be assessed.
    pub(crate) label: Option<&'a str>,
    /// What is true, in the words of the options; `None` where nothing can be assessed.
    pub(crate) finding: Option<&'a str>,
}

impl Quiz<'_> {
    /// The note, the question with its options, and the bare answer. The note comes before the question or after it, then
    /// perhaps with the finding in the words of the options, or as `compare` holds a statement against it.
    pub(crate) fn write<R: Rng>(
        &self,
        rng: &mut R,
        compare: impl FnOnce(&mut PlainText, &mut R),
    ) -> PlainText {
        let (note, asked) = (&self.note, with_options(self.question, self.choices));
        if rng.random_bool(0.4) {
            let mut quiz = PlainText::open(format!("{note}\n{asked}\n"));
            self.answer(&mut quiz);
            return quiz;
        }
        let mut quiz = PlainText::open(format!("{asked}\n{note}"));
        if let Some(finding) = self.finding
            && rng.random_bool(0.6)
        {
            let is_led = rng.random_bool(0.5);
            if is_led && self.kind == QuestionKind::TrueFalse {
                quiz.say(" ");
                compare(&mut quiz, rng);
            } else {
                quiz.say(" This means ");
                quiz.decide(Decision::Finding, finding);
                if is_led && let (QuestionKind::Choice, Some(letter)) = (self.kind, self.label) {
                    quiz.say(OPTION);
                    quiz.decide(Decision::Letter, letter);
                }
                quiz.say(".");
            }
        }
        quiz.say("\n");
        self.answer(&mut quiz);
        quiz
    }

    /// `B) tumour nests`, `True`, or the value.
    fn answer(&self, text: &mut PlainText) {
        match (self.label, self.finding) {
            (Some(letter), Some(finding)) if self.kind == QuestionKind::Choice => {
                text.decide(Decision::Letter, letter);
                text.say(") ");
                text.decide(Decision::Finding, finding);
            }
            (Some(label), _) if self.kind == QuestionKind::TrueFalse => text.decide(Decision::Verdict, label),
            (Some(label), _) => text.decide(Decision::Finding, &sentence(label)),
            (None, _) => text.decide(Decision::Finding, &sentence(CANNOT_BE_ASSESSED)),
        }
    }
}

/// One plain text about a field that only words describe: a note alone, what a finding is known by, a drill, or a
/// note with a question, its options and the bare answer.
pub fn describe(truth: &Truth, rng: &mut impl Rng) -> PlainText {
    let n = rng.random_range(1..=4);
    match rng.random_range(0..100) {
        0..10 => PlainText::open(note(truth, n, rng)),
        10..15 => PlainText::open(explanation(truth, rng)),
        15..35 => option_drill(1.0, rng),
        35..45 => statement_drill(truth, rng),
        45..75 => quiz(truth, &ask_any(truth, QuestionKind::Choice, rng), rng),
        75..90 => quiz(truth, &ask_any(truth, QuestionKind::TrueFalse, rng), rng),
        _ => quiz(truth, &ask_any(truth, QuestionKind::Open, rng), rng),
    }
}

/// The question, and its options below it.
pub(super) fn with_options(question: &str, choices: &[impl AsRef<str>]) -> String {
    let mut asked = question.to_owned();
    for (letter, choice) in ('A'..).zip(choices) {
        asked.extend(["\n", &letter.to_string(), ") ", choice.as_ref()]);
    }
    asked
}

/// A note that states what the question needs.
fn telling_note(truth: &Truth, item: &QuestionItem, rng: &mut impl Rng) -> String {
    // The attribute that matters may be the only one of a note, so that it is the one that is looked for.
    if let Some(outcome) = &item.outcome
        && rng.random_bool(0.6)
    {
        let mut stated = outcome.claims.clone();
        stated.extend(other_claims(truth, &stated, rng).into_iter().take(1));
        stated.shuffle(rng);
        return state(&stated, 3, rng);
    }
    item.answer.observation.clone()
}

/// A telling note, the question with its options, and the bare answer.
fn quiz(truth: &Truth, item: &QuestionItem, rng: &mut impl Rng) -> PlainText {
    let finding = item.outcome.as_ref().map(Outcome::label);
    let quiz = Quiz {
        kind: item.kind,
        note: telling_note(truth, item, rng),
        question: &item.question,
        choices: &item.choices,
        label: item.label.as_deref(),
        finding: finding.as_deref(),
    };
    quiz.write(rng, |quiz, rng| quiz.compare(item, rng))
}

/// What one of the findings is known by, such as “Tumour nests: each group is solid, rounded and without a lumen.”
fn explanation(truth: &Truth, rng: &mut impl Rng) -> String {
    let all = other_claims(truth, &[], rng);
    let Some(wording) = all.first().and_then(|claim| wording(&[*claim])) else {
        return state_quality(truth.quality, rng);
    };
    let reason = wording.reasons.choose(rng).map_or("", String::as_str);
    if rng.random_bool(0.5) {
        let name = sentence(&wording.label);
        return format!("{}: {reason}", name.trim_end_matches('.'));
    }
    format!("{reason} {}", sentence(&wording.label))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::phantom::{Claim, claims};

    /// That texts have no stages and often decide something of each kind, always what is said before.
    pub(crate) fn assert_plain_and_decided(texts: impl Iterator<Item = PlainText>) {
        let mut counts = BTreeMap::new();
        for PlainText { text, decided } in texts {
            let stages = ["[", "Observation", "Analysis", "Conclusion"];
            assert!(!stages.iter().any(|stage| text.contains(stage)), "{text}");
            for Decided { what, bytes } in decided {
                *counts.entry(what).or_insert(0) += 1;
                let (before, part) = (&text[..bytes.start], &text[bytes.clone()]);
                match what {
                    Decision::Letter => assert!(before.contains(&format!("\n{part}) ")), "{text}"),
                    Decision::Verdict => {
                        let verdicts = ["True", "False", "agrees", "does not agree"];
                        assert!(verdicts.contains(&part), "{text}");
                    }
                    Decision::Finding => assert!(part.len() > 2, "{text}"),
                }
            }
        }
        assert!(Decision::ALL.iter().all(|what| counts[what] > 800), "{counts:?}");
    }

    #[test]
    fn plain_texts_have_no_stages_and_decide_what_is_said_before() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        assert_plain_and_decided((0..4000).map(|_| describe(&Truth::sample(&mut rng), &mut rng)));
    }

    #[test]
    fn quizzes_can_be_answered_from_their_note() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..3000 {
            let truth = Truth::sample(&mut rng);
            let item = ask_any(&truth, *QuestionKind::ALL.choose(&mut rng).unwrap(), &mut rng);
            let note = telling_note(&truth, &item, &mut rng);
            let said: Vec<_> = claims(&note).into_iter().flat_map(Claim::with_implied).collect();
            assert!(claims(&note).iter().all(|claim| claim.holds(&truth)), "{note}");
            if let Some(outcome) = &item.outcome {
                assert!(outcome.claims.iter().all(|claim| said.contains(claim)), "{note}: {item:?}");
            }
        }
    }
}
