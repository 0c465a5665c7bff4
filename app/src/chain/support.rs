//! Which sentences rest on which: by the words they share, and nothing else.
//!
//! Two sentences rest on each other when they share a term of the glossary, or two other words with content (without their endings).
//! What belongs to every report ("the field shows …") and what every field has (cells, nuclei) does not count. A sentence that goes
//! on from the one before it ("So …", "This means …", and the last of an Analysis, which draws its sum) rests on what that one rests
//! on. The letter of an option counts as the option's text.
//!
//! What this cannot see: whether a sentence is true; negation ("no necrosis" rests on "necrosis is present"); how much or how many;
//! synonyms that are not in the glossary; what follows from knowledge that is not written down. A mark "not supported" therefore means
//! that the words have nothing in common with an observation, and its absence means no more than that they have.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use reinpath_model::prose::{has_content, words};

use super::glossary::Glossary;

/// Words of reports rather than of tissue.
const FRAME: &str = "absent agree answer area best case conclude conclusion consist consistent contain correct demonstrate describe \
    diagnosis evidence example false feature field fill find finding fit found histological histology identified image impression \
    indicate lie likely look make many mean moderate noted observe observed option part patch pattern picture present region \
    represent say section seen see show shown slide state statement structure suggest support suggestive sample true view visible well yes";

/// How a sentence begins that goes on from the one before it.
const LINKS: [&str; 12] = [
    "so ",
    "thus",
    "therefore",
    "hence",
    "this ",
    "these ",
    "consistent",
    "accordingly",
    "overall",
    "together",
    "in summary",
    "it ",
];

/// Endings that are cut off; the first that fits.
const ENDINGS: [&str; 4] = ["ing", "es", "ed", "s"];
/// What must be left of a word.
const SHORTEST_STEM: usize = 3;

static FRAME_STEMS: LazyLock<BTreeSet<&str>> =
    LazyLock::new(|| FRAME.split_whitespace().flat_map(|word| [word, stem(word)]).collect());

/// What a sentence says, as far as the rule looks at it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    terms: BTreeSet<usize>,
    /// Words with content, in lower case and without their endings.
    words: BTreeSet<String>,
    /// Whether it goes on from the sentence before it.
    pub(super) goes_on: bool,
}

impl Said {
    pub(super) fn of(sentence: &str, glossary: &Glossary) -> Self {
        let mut said =
            Self { terms: glossary.meant_in(sentence), goes_on: goes_on(sentence), ..Self::default() };
        let mut found = glossary.found_in(sentence);
        found.retain(|(_, term)| glossary.terms()[*term].is_general);
        for bytes in words(sentence) {
            if found.iter().any(|(general, _)| general.start <= bytes.start && bytes.end <= general.end) {
                continue;
            }
            let word = sentence[bytes].to_lowercase();
            let stem = stem(&word);
            let is_number = word.chars().all(char::is_numeric);
            let is_frame = FRAME_STEMS.contains(word.as_str()) || FRAME_STEMS.contains(stem);
            if has_content(&word) && !is_number && !is_frame {
                said.words.insert(stem.to_owned());
            }
        }
        said
    }

    /// Adds what another text says.
    pub(super) fn add(&mut self, other: Self) {
        self.terms.extend(other.terms);
        self.words.extend(other.words);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.words.is_empty()
    }

    pub(super) fn rests_on(&self, other: &Self) -> bool {
        !self.terms.is_disjoint(&other.terms) || self.words.intersection(&other.words).nth(1).is_some()
    }
}

/// Whether a sentence goes on from the one before it.
fn goes_on(sentence: &str) -> bool {
    let sentence = sentence.to_lowercase();
    LINKS.iter().any(|link| sentence.starts_with(link))
}

/// A word without its ending.
fn stem(word: &str) -> &str {
    let mut cut = ENDINGS.iter().filter_map(|ending| word.strip_suffix(*ending));
    cut.find(|stem| stem.chars().count() >= SHORTEST_STEM).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_cut_off_but_never_most_of_a_word() {
        for (word, want) in [
            ("glands", "gland"),
            ("masses", "mass"),
            ("crowded", "crowd"),
            ("crowding", "crowd"),
            ("gas", "gas"),
            ("red", "red"),
            ("ring", "ring"),
            ("öds", "öds"),
        ] {
            assert_eq!(stem(word), want, "{word}");
        }
    }

    #[test]
    fn what_belongs_to_every_report_links_nothing() {
        let glossary = Glossary::shipped();
        let said = |text: &str| Said::of(text, &glossary);
        assert!(said("The field shows 7 of these in this section.").is_empty());
        assert!(
            !said("The field shows green zebras.").rests_on(&said("The field shows red zebras.")),
            "one word"
        );
        assert!(said("Green striped zebras.").rests_on(&said("A striped zebra is seen.")), "two words");
        assert!(said("Mitotic activity is high.").rests_on(&said("Several mitoses.")), "one term");
        assert!(!said("The nuclei of the cells are red.").rests_on(&said("Cells with blue nuclei.")));
    }
}
