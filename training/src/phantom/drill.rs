//! Drills: which letter stands for which option, many times a text, and statements held against findings.
//!
//! To answer with a letter a decoder must find the words that it has just written among the options and read the
//! letter before them. It learns that late and all at once, the sooner the denser the practice: a quiz asks for one
//! letter, a drill for five or eight. Always four options: were there sometimes fewer, the decoder would first learn
//! which letters there are, and forget for it how to look for words. And never from a letter to its words: drills that
//! mix both directions taught neither in the same time.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use rand::Rng;
use rand::seq::IndexedRandom as _;

use super::Truth;
use super::answer::OPTION;
use super::caption::note;
use super::lexicon::wordings;
use super::plain_text::{Decision, PlainText, with_options};
use super::question::{QuestionItem, ask_any};
use crate::subtask::QuestionKind;

/// What findings are called.
static LABELS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| wordings().map(|wording| wording.label.as_str()).collect());

/// The words that findings are called by.
static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| words_of(&LABELS));

/// The words of labels, each once.
pub(crate) fn words_of<'a>(labels: &[&'a str]) -> Vec<&'a str> {
    let all = labels.iter().flat_map(|label| label.split(' '));
    all.filter(|word| word.len() > 2).collect::<BTreeSet<_>>().into_iter().collect()
}

/// How a line of a drill joins options and letters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// `mucin B.`
    Bare,
    /// `mucin, option B.`, as a quiz says it.
    Sentence,
}

/// A drill on four options. `practice` goes from 0, where all are single words, to 1, where most are findings that
/// share their words, in the sentences of a quiz.
pub fn option_drill(practice: f64, rng: &mut impl Rng) -> PlainText {
    if rng.random_bool(1.0 - 0.8 * practice) {
        return word_drill(&WORDS, practice, rng);
    }
    let QuestionItem { question, choices, .. } = ask_any(&Truth::sample(rng), QuestionKind::Choice, rng);
    let mut choices: Vec<&str> = choices.iter().map(String::as_str).collect();
    if rng.random_bool(0.5) {
        choices = LABELS.choose_multiple(rng, 4).copied().collect();
    }
    with_key(&question, &choices, 5, Link::Sentence, rng)
}

/// A drill on four single words.
pub(crate) fn word_drill(words: &[&str], practice: f64, rng: &mut impl Rng) -> PlainText {
    let choices: Vec<&str> = words.choose_multiple(rng, 4).copied().collect();
    let link = if rng.random_bool(practice) { Link::Sentence } else { Link::Bare };
    with_key("Words", &choices, 8, link, rng)
}

/// Options, and below them on a line of its own `asked` of them with their letters.
pub(crate) fn with_key(
    question: &str,
    choices: &[&str],
    asked: usize,
    link: Link,
    rng: &mut impl Rng,
) -> PlainText {
    let pairs: Vec<(char, &str)> = ('A'..).zip(choices.iter().copied()).collect();
    let mut drill = PlainText::open(with_options(question, choices));
    for index in 0..asked {
        // With repetition: no letter may be guessed because it is the last one left.
        let Some((letter, choice)) = pairs.choose(rng) else { break };
        drill.say(if index == 0 { "\n" } else { " " });
        drill.say(choice);
        drill.say(if link == Link::Bare { " " } else { OPTION });
        drill.decide(Decision::Letter, &letter.to_string());
        drill.say(".");
    }
    drill
}

/// A note, and on a line of its own three statements that are held against findings.
pub(super) fn statement_drill(truth: &Truth, rng: &mut impl Rng) -> PlainText {
    let mut drill = PlainText::open(note(truth, 1, rng));
    for index in 0..3 {
        drill.say(if index == 0 { "\n" } else { " " });
        drill.compare(&ask_any(truth, QuestionKind::TrueFalse, rng), rng);
    }
    drill
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn drills_name_the_letter_of_each_option() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for i in 0..2000 {
            let PlainText { text, decided } = option_drill(f64::from(i) / 2000.0, &mut rng);
            let lines: Vec<&str> = text.lines().collect();
            let (key, options) = (lines[lines.len() - 1], &lines[1..lines.len() - 1]);
            assert!(options.len() == 4 && decided.len() >= 5, "{text}");
            for said in key.split_terminator('.') {
                let said = said.trim_start().replace(", option", "");
                let is_right = options.iter().any(|option| {
                    let (letter, choice) = option.split_once(") ").unwrap();
                    said == format!("{choice} {letter}")
                });
                assert!(is_right, "{text}");
            }
        }
    }
}
