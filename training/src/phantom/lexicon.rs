//! The words of phantom tissue: how each value is said, and how what was said is read back.
//!
//! The wordings lie in `assets/phantom/lexicon.toml`. A wording states exactly one value (or one pair of values), so
//! that a text can be checked against the truth sentence by sentence. It knows its own wordings only: a statement in
//! other words is not read, and neither is one that `not` or `no` stands before.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use serde::Deserialize;

use super::claim::{Attribute, Claim};

/// The wordings, as shipped.
const LEXICON: &str = include_str!("../../../assets/phantom/lexicon.toml");

/// How one value, or one pair of values, is said.
#[derive(Clone, Debug)]
pub struct Wording {
    /// What is stated.
    pub claims: Vec<Claim>,
    /// What an option and a conclusion call it.
    pub label: String,
    /// Noun phrases, the label among them.
    pub phrases: Vec<String>,
    /// Sentences without capital and full stop.
    pub clauses: Vec<String>,
    /// What in a field leads to the value.
    pub reasons: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LexiconFile {
    nothing: Vec<String>,
    value: Vec<ValueEntry>,
    pair: Vec<PairEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueEntry {
    attribute: Attribute,
    value: String,
    label: String,
    phrases: Vec<String>,
    clauses: Vec<String>,
    #[serde(default)]
    reads: Vec<String>,
    #[serde(default)]
    reasons: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairEntry {
    claims: Vec<String>,
    label: String,
    phrases: Vec<String>,
    #[serde(default)]
    clauses: Vec<String>,
}

/// Every wording, by what it states and by its words.
struct Lexicon {
    wordings: BTreeMap<Vec<Claim>, Wording>,
    by_words: BTreeMap<Vec<String>, Vec<Claim>>,
    longest: usize,
}

static WORDS: LazyLock<Lexicon> = LazyLock::new(|| {
    let file: LexiconFile = toml::from_str(LEXICON).expect("the embedded lexicon is read by a test");
    let mut lexicon = Lexicon { wordings: BTreeMap::new(), by_words: BTreeMap::new(), longest: 0 };
    for text in &file.nothing {
        lexicon.by_words.insert(words(text).map(str::to_lowercase).collect(), Vec::new());
    }
    for entry in file.value {
        let claim = Claim::from_name(&format!("{}.{}", entry.attribute.name(), entry.value))
            .expect("the embedded lexicon names known values");
        lexicon.add(vec![claim], entry.label, entry.phrases, entry.clauses, &entry.reads, entry.reasons);
    }
    for entry in file.pair {
        let claims = entry
            .claims
            .iter()
            .map(|name| Claim::from_name(name).expect("the embedded lexicon names known values"))
            .collect();
        lexicon.add(claims, entry.label, entry.phrases, entry.clauses, &[], Vec::new());
    }
    lexicon
});

impl Lexicon {
    fn add(
        &mut self,
        claims: Vec<Claim>,
        label: String,
        mut phrases: Vec<String>,
        clauses: Vec<String>,
        reads: &[String],
        reasons: Vec<String>,
    ) {
        phrases.insert(0, label.clone());
        for text in phrases.iter().chain(&clauses).chain(reads) {
            let words: Vec<String> = words(text).map(str::to_lowercase).collect();
            self.longest = self.longest.max(words.len());
            let before = self.by_words.insert(words, claims.clone());
            assert!(before.is_none_or(|b| b == claims), "the embedded lexicon says two things with: {text}");
        }
        self.wordings.insert(claims.clone(), Wording { claims, label, phrases, clauses, reasons });
    }
}

/// How a value or a pair of values is said; `None` where the lexicon has no wording of its own.
pub fn wording(claims: &[Claim]) -> Option<&'static Wording> {
    WORDS.wordings.get(claims)
}

/// Every wording of the lexicon.
pub fn wordings() -> impl Iterator<Item = &'static Wording> {
    WORDS.wordings.values()
}

/// The words of a text from byte `start` on: runs of letters and digits, with their bytes.
fn words_at(text: &str, start: usize) -> impl Iterator<Item = (&str, Range<usize>)> {
    let split = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    split.map(move |word| {
        let at = start + word.as_ptr() as usize - text.as_ptr() as usize;
        (word, at..at + word.len())
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    words_at(text, 0).map(|(word, _)| word)
}

/// Every statement in a text, in the order of the text, each once. The longest wording wins; no wording crosses the
/// end of a sentence; one that follows `not`, `no` or `never` is not a statement.
pub fn claims(text: &str) -> Vec<Claim> {
    let mut found = Vec::new();
    for (claims, _) in statements(text) {
        for claim in claims {
            if !found.contains(claim) {
                found.push(*claim);
            }
        }
    }
    found
}

/// Every statement in a text, as [`claims`] reads them but with repetitions, with the bytes of its words.
pub fn statements(text: &str) -> Vec<(&'static [Claim], Range<usize>)> {
    let mut found = Vec::new();
    let mut start = 0;
    for sentence in text.split_inclusive(['.', '!', '?', ';', ':', '\n']) {
        let (words, bytes): (Vec<String>, Vec<Range<usize>>) = words_at(sentence, start)
            .map(|(word, bytes)| (word.to_lowercase(), bytes))
            .map(|(w, bytes)| {
                (if w.starts_with("tumor") { w.replacen("tumor", "tumour", 1) } else { w }, bytes)
            })
            .unzip();
        start += sentence.len();
        let mut at = 0;
        while at < words.len() {
            let longest = (1..=WORDS.longest.min(words.len() - at))
                .rev()
                .find_map(|n| WORDS.by_words.get(&words[at..at + n]).map(|claims| (n, claims)));
            let denied = at > 0 && ["not", "no", "never"].contains(&words[at - 1].as_str());
            let Some((n, claims)) = longest else {
                at += 1;
                continue;
            };
            if !denied && !claims.is_empty() {
                found.push((claims.as_slice(), bytes[at].start..bytes[at + n - 1].end));
            }
            at += n;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_can_be_said_in_four_ways_and_read_back() {
        for &attribute in Attribute::ALL {
            for claim in Claim::all(attribute) {
                if claim.name() == "quality.sharp" {
                    continue; // taken for granted, never stated
                }
                let wording = wording(&[claim]).unwrap_or_else(|| panic!("no words for {}", claim.name()));
                assert!(wording.phrases.len() >= 4, "{}", claim.name());
                for text in wording.phrases.iter().chain(&wording.clauses) {
                    assert_eq!(claims(text), [claim], "{text}");
                }
            }
        }
        for wording in wordings() {
            for text in wording.phrases.iter().chain(&wording.clauses) {
                assert_eq!(claims(text), wording.claims, "{text}");
            }
        }
    }

    #[test]
    fn reasons_state_nothing_that_could_be_false() {
        for wording in wordings() {
            for reason in &wording.reasons {
                assert_eq!(claims(reason), [], "{reason}");
            }
        }
    }

    #[test]
    fn denials_and_foreign_words_are_not_read() {
        assert_eq!(claims("There are not many cells. No tumour nests, no fat. Lymph nodes are swollen."), []);
        assert_eq!(claims("Tumor nests; NECROSIS IS ABSENT").len(), 2);
        assert_eq!(claims("The field shows few. Lymphocytes"), []);
    }

    #[test]
    fn statements_lie_where_their_words_are() {
        let text = "[Observation]: The field is blurred. No fat.\nTumor nests, and again: tumour nests!";
        let found = statements(text);
        let said: Vec<&str> = found.iter().map(|(_, bytes)| &text[bytes.clone()]).collect();
        assert_eq!(said, ["The field is blurred", "Tumor nests", "tumour nests"]);
        assert_eq!(claims(text), [found[0].0, found[1].0].concat());
    }
}
