//! Plain texts about real patches, from which a decoder learns their words: notes, quizzes with bare answers, and drills.
//!
//! They have the forms of those about phantom fields (`phantom/plain_text.rs`), and none of them has stages. Nothing is
//! seen: what a text decides follows from the note within it.

use std::sync::LazyLock;

use rand::Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::describe::{Described, caption, choose, state};
use super::lexicon::{Finding, Lexicon};
use super::question::{TissueItem, ask, found};
use crate::phantom::{Link, PlainText, Quiz, sentence, with_key, word_drill, words_of};
use crate::subtask::QuestionKind;

/// What findings are called.
static LABELS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let lexicon = Lexicon::shipped();
    let findings = lexicon.attributes.iter().flat_map(|attribute| lexicon.values_of(&attribute.name));
    findings.map(|finding| lexicon.value(finding).label.as_str()).collect()
});

/// The words that findings are called by.
static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| words_of(&LABELS));

/// One plain text about a patch that only words describe.
pub fn plain_text_of(patch: &Described, rng: &mut impl Rng) -> PlainText {
    let kind = match rng.random_range(0..100) {
        0..10 => return PlainText::open(caption(patch, rng)),
        10..15 => return PlainText::open(explanation(patch, rng)),
        15..35 => return option_drill_of_tissue(1.0, rng),
        35..45 => return statement_drill(patch, rng),
        45..75 => QuestionKind::Choice,
        75..90 => QuestionKind::TrueFalse,
        _ => QuestionKind::Open,
    };
    match ask_any(patch, kind, rng) {
        Some(item) => quiz(patch, &item, rng),
        None => PlainText::open(caption(patch, rng)),
    }
}

/// A drill on four options, as `phantom::option_drill`, in the words of real tissue. `practice` goes from 0 to 1.
pub fn option_drill_of_tissue(practice: f64, rng: &mut impl Rng) -> PlainText {
    if rng.random_bool(1.0 - 0.8 * practice) {
        return word_drill(&WORDS, practice, rng);
    }
    // A question about one attribute has three options at most; a drill has four, of any.
    let choices: Vec<&str> = LABELS.choose_multiple(rng, 4).copied().collect();
    with_key("Which option fits best?", &choices, 5, Link::Sentence, rng)
}

/// A question of this kind about a patch: as often about what follows from its class as about what was measured.
/// `None` where nothing was.
fn ask_any(patch: &Described, kind: QuestionKind, rng: &mut impl Rng) -> Option<TissueItem> {
    let pool = if rng.random_bool(0.5) { &patch.class.states } else { &patch.measured };
    let outcome = *pool.choose(rng)?;
    ask(patch, &Lexicon::shipped().value(outcome).attribute, kind, rng)
}

/// A note that states what the question needs.
fn telling_note(patch: &Described, outcome: Finding, rng: &mut impl Rng) -> String {
    let mut stated = vec![outcome];
    // What follows from the class is told by the class as well.
    if patch.class.states.contains(&outcome) && rng.random_bool(0.3) {
        stated = patch.class.states.iter().take(1).copied().collect();
    }
    let others: Vec<Finding> = patch.measured.iter().copied().filter(|f| !stated.contains(f)).collect();
    let count = rng.random_range(0..=2);
    stated.extend(others.choose_multiple(rng, count).copied());
    stated.shuffle(rng);
    state(&stated, 3, rng)
}

/// A telling note, the question with its options, and the bare answer.
fn quiz(patch: &Described, item: &TissueItem, rng: &mut impl Rng) -> PlainText {
    let quiz = Quiz {
        kind: item.kind,
        note: telling_note(patch, item.outcome, rng),
        question: &item.question,
        choices: &item.choices,
        label: Some(&item.label),
        finding: Some(&Lexicon::shipped().value(item.outcome).label),
    };
    quiz.write(rng, |quiz, rng| compare(quiz, item, rng))
}

/// The statement of a question held against what is true.
fn compare(text: &mut PlainText, item: &TissueItem, rng: &mut impl Rng) {
    let said = found(item.kind, item.outcome, &item.claimed, rng);
    text.say_compared(&said, item.claimed.contains(&item.outcome));
}

/// A note, and on a line of its own three statements that are held against findings.
fn statement_drill(patch: &Described, rng: &mut impl Rng) -> PlainText {
    let mut drill = PlainText::open(caption(patch, rng));
    for index in 0..3 {
        if let Some(item) = ask_any(patch, QuestionKind::TrueFalse, rng) {
            drill.say(if index == 0 { "\n" } else { " " });
            compare(&mut drill, &item, rng);
        }
    }
    drill
}

/// What one of the findings is known by, or what speaks for the class.
fn explanation(patch: &Described, rng: &mut impl Rng) -> String {
    let lexicon = Lexicon::shipped();
    let of_class = patch.measured.is_empty() || rng.random_bool(0.4);
    let finding = if of_class { patch.class.states.first() } else { patch.measured.choose(rng) };
    let Some(value) = finding.map(|finding| lexicon.value(*finding)) else { return caption(patch, rng) };
    let reason = if of_class {
        patch.class.links.choose(rng).map_or("", |link| choose(&link.texts, rng))
    } else {
        choose(&value.reasons, rng)
    };
    let name = sentence(&value.label);
    if rng.random_bool(0.5) {
        return format!("{}: {reason}", name.trim_end_matches('.'));
    }
    format!("{reason} {name}")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::super::measure::{Measure, Measures};
    use super::*;
    use crate::phantom::{Decision, assert_plain_and_decided};

    fn patch(rng: &mut impl Rng) -> Described {
        let class = ["lung_n", "lung_aca", "lung_scc"].choose(rng).copied().unwrap();
        let figures = Measures::from_iter([
            (Measure::OpenSpace, rng.random_range(0.0..0.5)),
            (Measure::NuclearShare, rng.random_range(0.05..0.4)),
            (Measure::NuclearArea, rng.random_range(80.0..250.0)),
        ]);
        Described::new(class, &figures).unwrap()
    }

    #[test]
    fn plain_texts_have_no_stages_and_decide_what_is_said_before() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let texts = (0..4000).map(|_| plain_text_of(&patch(&mut rng), &mut rng));
        assert_plain_and_decided(texts.inspect(|plain| assert!(!plain.text.contains('{'), "{}", plain.text)));
    }

    #[test]
    fn notes_are_true_and_tell_what_the_quiz_asks_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let lexicon = Lexicon::shipped();
        let mut asked = 0;
        for _ in 0..2000 {
            let patch = patch(&mut rng);
            let kind = *QuestionKind::ALL.choose(&mut rng).unwrap();
            let Some(item) = ask_any(&patch, kind, &mut rng) else { continue };
            asked += 1;
            let note = telling_note(&patch, item.outcome, &mut rng);
            let said: Vec<Finding> = lexicon.statements(&note).into_iter().map(|(f, _)| f).collect();
            assert!(said.iter().all(|finding| patch.holds(*finding)), "{note}");
            let by_class = |f: &Finding| patch.class.states.first() == Some(f);
            let follows = patch.class.states.contains(&item.outcome) && said.iter().any(by_class);
            assert!(said.contains(&item.outcome) || follows, "{note}: {item:?}");
        }
        assert!(asked > 1000, "{asked}");
    }

    #[test]
    fn drills_name_the_letter_of_each_of_four_options() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for i in 0..1000 {
            let PlainText { text, decided } = option_drill_of_tissue(f64::from(i) / 1000.0, &mut rng);
            assert_eq!(text.lines().count(), 6, "{text}");
            assert!(decided.len() >= 5 && decided.iter().all(|d| d.what == Decision::Letter), "{text}");
        }
    }
}
