//! The words of phantom tissue: how each value is said, and how what was said is read back.
//!
//! The wordings lie in `assets/phantom/lexicon.toml`. A wording states exactly one value (or one pair of values), so
//! that a text can be checked against the truth sentence by sentence. It knows its own wordings only: a statement in
//! other words is not read, and neither is one that `not` or `no` stands before.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{
    Amount, Cellularity, Mitoses, NuclearSize, Pattern, Pleomorphism, Presence, Quality, Stroma, Truth,
};

/// The wordings, as shipped.
const LEXICON: &str = include_str!("../../../assets/phantom/lexicon.toml");

/// Something about a field that a sentence can state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    Quality,
    Pattern,
    /// How epithelium is arranged; follows from the pattern.
    Architecture,
    /// Benign or malignant; follows from the pattern, and is open for mucin and necrosis.
    Malignancy,
    /// The kind of tumour, or none; follows from the pattern.
    TumourType,
    Cellularity,
    NuclearSize,
    Pleomorphism,
    Mitoses,
    Lymphocytes,
    Necrosis,
    Stroma,
}

impl Attribute {
    /// Every attribute.
    pub const ALL: &[Self] = &[
        Self::Quality,
        Self::Pattern,
        Self::Architecture,
        Self::Malignancy,
        Self::TumourType,
        Self::Cellularity,
        Self::NuclearSize,
        Self::Pleomorphism,
        Self::Mitoses,
        Self::Lymphocytes,
        Self::Necrosis,
        Self::Stroma,
    ];

    /// Its name in the lexicon and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quality => "quality",
            Self::Pattern => "pattern",
            Self::Architecture => "architecture",
            Self::Malignancy => "malignancy",
            Self::TumourType => "tumour_type",
            Self::Cellularity => "cellularity",
            Self::NuclearSize => "nuclear_size",
            Self::Pleomorphism => "pleomorphism",
            Self::Mitoses => "mitoses",
            Self::Lymphocytes => "lymphocytes",
            Self::Necrosis => "necrosis",
            Self::Stroma => "stroma",
        }
    }

    /// The names of its values, in the order of the truth's levels.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Quality => &["sharp", "blurred", "blank"],
            Self::Pattern => &[
                "benign_glands",
                "tumour_glands",
                "tumour_nests",
                "tumour_sheets",
                "fibrous_stroma",
                "lymphoid_aggregate",
                "necrosis",
                "mucin",
                "fat",
            ],
            Self::Architecture => &["glands", "nests", "sheets", "none"],
            Self::Malignancy => &["benign", "malignant"],
            Self::TumourType => &["gland_forming", "nested", "sheet_like", "none"],
            Self::Cellularity => &["low", "moderate", "high"],
            Self::NuclearSize => &["small", "large"],
            Self::Pleomorphism => &["uniform", "marked"],
            Self::Mitoses | Self::Necrosis => &["absent", "present"],
            Self::Lymphocytes => &["absent", "sparse", "dense"],
            Self::Stroma => &["scant", "abundant"],
        }
    }

    /// The claim that is true of a field; `None` where the attribute does not apply or nothing can be read.
    pub fn of(self, truth: &Truth) -> Option<Claim> {
        let level = match self {
            Self::Quality => position(Quality::ALL, truth.quality),
            _ if !truth.is_assessable() => return None,
            Self::Pattern => position(Pattern::ALL, truth.pattern),
            Self::Architecture | Self::Malignancy | Self::TumourType => derived(self, truth.pattern)?,
            Self::Cellularity => position(Cellularity::ALL, truth.cellularity),
            Self::NuclearSize => position(NuclearSize::ALL, truth.nuclear_size?),
            Self::Pleomorphism => position(Pleomorphism::ALL, truth.pleomorphism?),
            Self::Mitoses => position(Mitoses::ALL, truth.mitoses),
            Self::Lymphocytes => position(Amount::ALL, truth.lymphocytes),
            Self::Necrosis => position(Presence::ALL, truth.necrosis),
            Self::Stroma => position(Stroma::ALL, truth.stroma?),
        };
        Some(Claim { attribute: self, level })
    }
}

/// What follows from the pattern alone.
fn derived(attribute: Attribute, pattern: Pattern) -> Option<u8> {
    Some(match (attribute, pattern) {
        (Attribute::Architecture, Pattern::BenignGlands | Pattern::TumourGlands)
        | (Attribute::TumourType, Pattern::TumourGlands) => 0,
        (Attribute::Architecture | Attribute::TumourType, Pattern::TumourNests) => 1,
        (Attribute::Architecture | Attribute::TumourType, Pattern::TumourSheets) => 2,
        (Attribute::Architecture | Attribute::TumourType, _) => 3,
        (Attribute::Malignancy, Pattern::Mucin | Pattern::Necrosis) => return None,
        (Attribute::Malignancy, pattern) => u8::from(pattern.is_tumour()),
        _ => return None,
    })
}

fn position<T: PartialEq + Copy>(levels: &[T], level: T) -> u8 {
    levels.iter().position(|l| *l == level).map_or(0, |index| index as u8)
}

/// One statement: this attribute has this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    pub attribute: Attribute,
    /// Index into the attribute's values.
    pub level: u8,
}

impl Claim {
    /// Whether it is true of a field; `false` where the attribute does not apply.
    pub fn holds(self, truth: &Truth) -> bool {
        self.attribute.of(truth) == Some(self)
    }

    /// Its name, such as `pattern.tumour_nests`.
    pub fn name(self) -> String {
        let value = self.attribute.values().get(usize::from(self.level)).copied().unwrap_or("?");
        format!("{}.{value}", self.attribute.name())
    }

    /// The claim of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        let (attribute, value) = name.split_once('.')?;
        let attribute = *Attribute::ALL.iter().find(|a| a.name() == attribute)?;
        let level = attribute.values().iter().position(|v| *v == value)? as u8;
        Some(Self { attribute, level })
    }

    /// Every claim that an attribute allows.
    pub fn all(attribute: Attribute) -> impl Iterator<Item = Self> {
        (0..attribute.values().len() as u8).map(move |level| Self { attribute, level })
    }

    /// The claim itself and those that follow from it (a pattern fixes architecture, malignancy and tumour type).
    pub fn with_implied(self) -> Vec<Self> {
        let mut implied = vec![self];
        if self.attribute == Attribute::Pattern
            && let Some(pattern) = Pattern::ALL.get(usize::from(self.level))
        {
            for attribute in [Attribute::Architecture, Attribute::Malignancy, Attribute::TumourType] {
                implied.extend(derived(attribute, *pattern).map(|level| Self { attribute, level }));
            }
        }
        implied
    }
}

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

/// The words of a sentence: runs of letters and digits.
fn words(sentence: &str) -> impl Iterator<Item = &str> {
    sentence.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty())
}

/// Every statement in a text, in the order of the text, each once. The longest wording wins; no wording crosses the
/// end of a sentence; one that follows `not`, `no` or `never` is not a statement.
pub fn claims(text: &str) -> Vec<Claim> {
    let mut found = Vec::new();
    for sentence in text.split(['.', '!', '?', ';', ':', '\n']) {
        let words: Vec<String> = words(sentence)
            .map(str::to_lowercase)
            .map(|w| if w.starts_with("tumor") { w.replacen("tumor", "tumour", 1) } else { w })
            .collect();
        let mut at = 0;
        while at < words.len() {
            let longest = (1..=WORDS.longest.min(words.len() - at))
                .rev()
                .find_map(|n| WORDS.by_words.get(&words[at..at + n]).map(|claims| (n, claims)));
            let denied = at > 0 && ["not", "no", "never"].contains(&words[at - 1].as_str());
            match longest {
                Some((n, claims)) => {
                    if !denied {
                        found.extend(
                            claims.iter().filter(|c| !found.contains(*c)).copied().collect::<Vec<_>>(),
                        );
                    }
                    at += n;
                }
                None => at += 1,
            }
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
    fn values_follow_the_names_of_the_truth() {
        let names = |json: serde_json::Value| json.as_str().unwrap().to_owned();
        for (index, pattern) in Pattern::ALL.iter().enumerate() {
            let name = names(serde_json::to_value(pattern).unwrap());
            assert_eq!(Attribute::Pattern.values()[index], name);
        }
        for (index, amount) in Amount::ALL.iter().enumerate() {
            assert_eq!(Attribute::Lymphocytes.values()[index], names(serde_json::to_value(amount).unwrap()));
        }
        for (index, level) in Cellularity::ALL.iter().enumerate() {
            assert_eq!(Attribute::Cellularity.values()[index], names(serde_json::to_value(level).unwrap()));
        }
        for (index, quality) in Quality::ALL.iter().enumerate() {
            assert_eq!(Attribute::Quality.values()[index], names(serde_json::to_value(quality).unwrap()));
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
}
