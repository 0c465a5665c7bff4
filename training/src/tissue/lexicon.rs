//! The words of real tissue: from which measured value on something is stated, how it is said, and how what was said is
//! read back.
//!
//! Everything lies in `assets/tissue/lexicon.toml`; no code knows one of its names. A value is stated only where its
//! figure lies clearly within its range: between two ranges nothing is said, since a patch there shows neither.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::LazyLock;

use serde::Deserialize;

use super::measure::{Measure, Measures};
use crate::subtask::QuestionKind;

/// The words, as shipped.
const LEXICON: &str = include_str!("../../../assets/tissue/lexicon.toml");

/// The version of the format that this program reads.
const FORMAT: u32 = 1;

/// A value of an attribute: its place in the lexicon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding(usize);

/// Something that can be stated of a patch and asked about.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    pub name: String,
    /// The figure that decides it; `None` where it follows from the class.
    pub measure: Option<Measure>,
    /// The sub-task that it belongs to, where there is one.
    pub subtask: Option<String>,
    /// Questions of its own, where those of the sub-task ask for something else.
    #[serde(default)]
    pub ask: BTreeMap<String, Vec<String>>,
}

impl Attribute {
    /// Its own wordings of a question.
    pub fn templates(&self, kind: QuestionKind) -> &[String] {
        self.ask.get(kind.name()).map_or(&[], Vec::as_slice)
    }
}

/// How one value is said, and from where to where its figure goes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    pub attribute: String,
    pub value: String,
    /// The least and the largest figure of which it is stated; absent where there is no limit.
    from: Option<f64>,
    to: Option<f64>,
    /// What an option and a conclusion call it.
    pub label: String,
    /// Noun phrases; the label is put before those of the file.
    pub phrases: Vec<String>,
    /// Sentences without capital and full stop.
    pub clauses: Vec<String>,
    /// What in a field leads to the value.
    #[serde(default)]
    pub reasons: Vec<String>,
}

impl Value {
    /// Its name, such as `cellularity.low`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.attribute, self.value)
    }

    fn holds(&self, figure: f64) -> bool {
        self.from.is_none_or(|from| figure >= from) && self.to.is_none_or(|to| figure <= to)
    }
}

/// How a finding leads to an answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frames {
    pub finding: Vec<String>,
    pub agrees: Vec<String>,
    pub disagrees: Vec<String>,
    pub open: Vec<String>,
    pub true_false: Vec<String>,
}

/// Something that findings amount to.
#[derive(Clone, Debug)]
pub struct Link {
    pub needs: Vec<Finding>,
    pub texts: Vec<String>,
}

/// A folder of the data set.
#[derive(Clone, Debug)]
pub struct Class {
    pub name: String,
    /// What is true of every patch in it.
    pub states: Vec<Finding>,
    /// How findings lead to it; at least one needs none.
    pub links: Vec<Link>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LexiconFile {
    format: u32,
    side_px: u32,
    source: String,
    licence: String,
    contexts: Vec<String>,
    frames: Frames,
    class: Vec<ClassEntry>,
    attribute: Vec<Attribute>,
    value: Vec<Value>,
    link: Vec<LinkEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassEntry {
    name: String,
    states: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkEntry {
    class: String,
    needs: Vec<String>,
    texts: Vec<String>,
}

/// Every word of real tissue.
#[derive(Debug)]
pub struct Lexicon {
    /// Side of the patches that the thresholds are for, in pixels.
    pub side_px: u32,
    pub source: String,
    pub licence: String,
    pub contexts: Vec<String>,
    pub frames: Frames,
    pub classes: Vec<Class>,
    pub attributes: Vec<Attribute>,
    values: Vec<Value>,
    by_words: BTreeMap<Vec<String>, Finding>,
    longest: usize,
}

static WORDS: LazyLock<Lexicon> =
    LazyLock::new(|| Lexicon::parse(LEXICON).expect("the embedded lexicon is read by a test"));

impl Lexicon {
    /// The lexicon that ships with the program.
    pub fn shipped() -> &'static Self {
        &WORDS
    }

    /// Reads and checks a lexicon; the error is a sentence without the place.
    fn parse(text: &str) -> Result<Self, String> {
        let mut file: LexiconFile = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if file.format != FORMAT {
            return Err(format!("the lexicon has format {}, this program reads {FORMAT}", file.format));
        }
        for value in &mut file.value {
            value.phrases.insert(0, value.label.clone());
        }
        let names: BTreeMap<String, Finding> =
            file.value.iter().enumerate().map(|(at, value)| (value.name(), Finding(at))).collect();
        if names.len() != file.value.len() {
            return Err("a value is there twice".to_owned());
        }
        if let Some(value) = file.value.iter().find(|v| !file.attribute.iter().any(|a| a.name == v.attribute))
        {
            return Err(format!("the value “{}” is of no attribute", value.name()));
        }
        let find = |wanted: &[String]| -> Result<Vec<Finding>, String> {
            let one =
                |name: &String| names.get(name).copied().ok_or_else(|| format!("there is no value “{name}”"));
            wanted.iter().map(one).collect()
        };
        let mut classes = Vec::new();
        for entry in &file.class {
            let of_class = file.link.iter().filter(|link| link.class == entry.name);
            let links = of_class
                .map(|link| Ok(Link { needs: find(&link.needs)?, texts: link.texts.clone() }))
                .collect::<Result<Vec<_>, String>>()?;
            if !links.iter().any(|link| link.needs.is_empty()) {
                return Err(format!("every link to the class “{}” needs a finding", entry.name));
            }
            classes.push(Class { name: entry.name.clone(), states: find(&entry.states)?, links });
        }
        let (by_words, longest) = readings(&file.value)?;
        Ok(Self {
            side_px: file.side_px,
            source: file.source,
            licence: file.licence,
            contexts: file.contexts,
            frames: file.frames,
            classes,
            attributes: file.attribute,
            values: file.value,
            by_words,
            longest,
        })
    }

    /// The words of a finding.
    pub fn value(&self, finding: Finding) -> &Value {
        &self.values[finding.0]
    }

    /// The class of that name.
    pub fn class(&self, name: &str) -> Option<&Class> {
        self.classes.iter().find(|class| class.name == name)
    }

    /// Every value of an attribute, in the order of the file.
    pub fn values_of(&self, attribute: &str) -> Vec<Finding> {
        (0..self.values.len()).filter(|at| self.values[*at].attribute == attribute).map(Finding).collect()
    }

    /// What is clearly so in a patch with these figures, in the order of the attributes.
    pub fn findings(&self, measures: &Measures) -> Vec<Finding> {
        let clear = |attribute: &Attribute| {
            let figure = measures.get(attribute.measure?)?;
            self.values_of(&attribute.name).into_iter().find(|finding| self.value(*finding).holds(figure))
        };
        self.attributes.iter().filter_map(clear).collect()
    }

    /// Every statement in a text with the bytes of its words. The longest wording wins; none crosses the end of a
    /// sentence.
    pub fn statements(&self, text: &str) -> Vec<(Finding, Range<usize>)> {
        let mut found = Vec::new();
        let mut start = 0;
        for sentence in text.split_inclusive(['.', '!', '?', ';', ':', '\n']) {
            let words: Vec<(String, Range<usize>)> = words(sentence)
                .map(|(word, at)| (word.to_lowercase(), at.start + start..at.end + start))
                .collect();
            start += sentence.len();
            let mut at = 0;
            while at < words.len() {
                let said = (1..=self.longest.min(words.len() - at)).rev().find_map(|n| {
                    let key: Vec<String> = words[at..at + n].iter().map(|(word, _)| word.clone()).collect();
                    self.by_words.get(&key).map(|finding| (*finding, n))
                });
                let Some((finding, n)) = said else {
                    at += 1;
                    continue;
                };
                found.push((finding, words[at].1.start..words[at + n - 1].1.end));
                at += n;
            }
        }
        found
    }

    /// Every word of every text of the lexicon, in small letters.
    pub fn vocabulary(&self) -> BTreeSet<String> {
        let of_values = self.values.iter().flat_map(|v| v.phrases.iter().chain(&v.clauses).chain(&v.reasons));
        let of_links = self.classes.iter().flat_map(|class| &class.links).flat_map(|link| &link.texts);
        let Frames { finding, agrees, disagrees, open, true_false } = &self.frames;
        let of_frames = [finding, agrees, disagrees, open, true_false].into_iter().flatten();
        let of_questions = self.attributes.iter().flat_map(|attribute| attribute.ask.values()).flatten();
        of_values
            .chain(of_links)
            .chain(of_frames)
            .chain(of_questions)
            .chain(&self.contexts)
            .flat_map(|text| words(text).map(|(word, _)| word.to_lowercase()).collect::<Vec<_>>())
            .collect()
    }
}

/// What each wording states, by its words, and how many words the longest has.
fn readings(values: &[Value]) -> Result<(BTreeMap<Vec<String>, Finding>, usize), String> {
    let mut by_words = BTreeMap::new();
    for (at, value) in values.iter().enumerate() {
        for text in value.phrases.iter().chain(&value.clauses) {
            let words: Vec<String> = words(text).map(|(word, _)| word.to_lowercase()).collect();
            if by_words.insert(words, Finding(at)).is_some_and(|before| before != Finding(at)) {
                return Err(format!("two values are said with “{text}”"));
            }
        }
    }
    let longest = by_words.keys().map(Vec::len).max().unwrap_or(0);
    Ok((by_words, longest))
}

/// The words of a text, runs of letters and digits, with their bytes.
fn words(text: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(move |word| {
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        (word, at..at + word.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subtask::Subtasks;

    fn read(text: &str) -> Vec<Finding> {
        Lexicon::shipped().statements(text).into_iter().map(|(finding, _)| finding).collect()
    }

    #[test]
    fn every_wording_is_read_back_as_the_value_that_it_states() {
        let lexicon = Lexicon::shipped();
        for attribute in &lexicon.attributes {
            let values = lexicon.values_of(&attribute.name);
            assert!(values.len() >= 2, "{}", attribute.name);
            for finding in values {
                let value = lexicon.value(finding);
                assert!(value.phrases.len() >= 3 && value.clauses.len() >= 2, "{}", value.name());
                for text in value.phrases.iter().chain(&value.clauses) {
                    assert_eq!(read(text), [finding], "{text}");
                    assert_eq!(read(&format!("The field shows {text} and more.")), [finding], "{text}");
                }
                assert_eq!(value.reasons.is_empty(), attribute.measure.is_none(), "{}", value.name());
            }
        }
    }

    #[test]
    fn reasons_and_links_state_nothing_that_could_be_false() {
        let lexicon = Lexicon::shipped();
        let reasons = lexicon.values.iter().flat_map(|value| &value.reasons);
        let links = lexicon.classes.iter().flat_map(|class| &class.links).flat_map(|link| &link.texts);
        for text in reasons.chain(links) {
            assert_eq!(read(text), [], "{text}");
        }
    }

    #[test]
    fn ranges_leave_a_gap_and_figures_within_it_state_nothing() {
        let lexicon = Lexicon::shipped();
        for attribute in &lexicon.attributes {
            let Some(measure) = attribute.measure else { continue };
            let values: Vec<&Value> = lexicon
                .values_of(&attribute.name)
                .into_iter()
                .map(|finding| lexicon.value(finding))
                .collect();
            for pair in values.windows(2) {
                let (low, high) = (pair[0].to.unwrap(), pair[1].from.unwrap());
                assert!(low < high, "{}", pair[0].name());
                let between = Measures::from_iter([(measure, f64::midpoint(low, high))]);
                assert_eq!(lexicon.findings(&between), []);
                let at_the_edge = Measures::from_iter([(measure, high)]);
                let found = lexicon.findings(&at_the_edge);
                assert_eq!(
                    found.iter().map(|f| lexicon.value(*f).name()).collect::<Vec<_>>(),
                    [pair[1].name()]
                );
            }
        }
        assert_eq!(lexicon.findings(&Measures::default()), []);
    }

    #[test]
    fn every_attribute_can_be_asked_about_in_every_kind() {
        let subtasks = Subtasks::shipped();
        for attribute in &Lexicon::shipped().attributes {
            let subtask = attribute.subtask.as_ref().map(|name| subtasks.get(name).expect(name));
            for &kind in QuestionKind::ALL {
                let of_subtask = subtask.map_or(0, |subtask| subtask.templates(kind).len());
                assert!(attribute.templates(kind).len() + of_subtask > 0, "{} {kind:?}", attribute.name);
            }
            assert!(
                attribute
                    .templates(QuestionKind::TrueFalse)
                    .iter()
                    .all(|text| text.matches("{statement}").count() == 1),
                "{}",
                attribute.name
            );
        }
    }

    #[test]
    fn the_vocabulary_is_small() {
        let size = Lexicon::shipped().vocabulary().len();
        assert!((150..400).contains(&size), "{size}");
    }

    #[test]
    fn a_lexicon_that_contradicts_itself_is_refused() {
        let twice = LEXICON.replacen("\"normal lung tissue\"", "\"no tumour\"", 1);
        assert!(Lexicon::parse(&twice).unwrap_err().contains("no tumour"));
        let unknown = LEXICON.replacen("tissue.benign_lung", "tissue.marble", 1);
        assert!(Lexicon::parse(&unknown).unwrap_err().contains("tissue.marble"));
        assert!(Lexicon::parse("format = ").is_err());
    }
}
