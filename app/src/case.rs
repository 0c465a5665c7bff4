//! Cases: questions about a slide with their answers, as they are kept.
//!
//! A case is a tree: a question may follow up an answer, and one that was edited stands beside the one it was made from; a question
//! has an answer for each time it was asked. Nothing of it is changed afterwards: what people think of answers is `crate::review`'s.
//! The store (`crate::store`) keeps all of it by the slide's hash, and pixels of patches as files by their own hash.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use reinpath_model::event::{Finished, Stamp};
use reinpath_model::request::SentenceMap;
use reinpath_model::stage::{AnswerStage, StagedAnswer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::slide::Region;
use crate::store::SlideId;

/// Names a case, a question or an answer, on every machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Id(pub String);

impl Id {
    /// One that nothing has yet.
    pub fn fresh() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }
}

/// What was asked about one slide, beginning with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub id: Id,
    pub slide: SlideId,
    /// Where the slide's file was last; `None` in blinded reading.
    pub path: Option<PathBuf>,
    /// What the list shows: the first question, or what the user named it.
    pub title: String,
    /// Milliseconds since 1970, of the first question and of the last change.
    pub created: i64,
    pub changed: i64,
}

/// A question as it was asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    pub id: Id,
    pub case: Id,
    /// The answer that it follows up; `None`: it begins the case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Id>,
    /// The question that it was made from by editing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_from: Option<Id>,
    /// Questions that were asked together to be compared, patch by patch, have the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Id>,
    pub text: String,
    #[serde(default)]
    pub choices: Vec<String>,
    /// Clinical context; empty when there is none.
    #[serde(default)]
    pub context: String,
    pub patches: Vec<PatchKept>,
    /// What the viewer showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// Slide and patches in words, as they were called on screen.
    pub words: String,
    /// Whether the model was given the conversation before it.
    #[serde(default)]
    pub has_history: bool,
    /// Milliseconds since 1970.
    pub asked: i64,
}

/// A patch of a question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatchKept {
    /// Its number on the slide, from 1.
    pub number: usize,
    /// x, y, width, height in level-0 pixels.
    pub region: [i64; 4],
    /// BLAKE3 of the pixels that the model was given, by which their file is named; `None` before they were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<String>,
}

impl PatchKept {
    /// A patch whose pixels were not kept yet.
    pub fn new(number: usize, region: Region) -> Self {
        Self { number, region: [region.x, region.y, region.w.into(), region.h.into()], pixels: None }
    }

    /// Its place on the slide.
    pub fn region(&self) -> Region {
        let [x, y, w, h] = self.region;
        let side = |length: i64| u32::try_from(length).unwrap_or(0);
        Region { x, y, w: side(w), h: side(h) }
    }
}

/// What the viewer showed of a slide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct View {
    /// Level-0 pixels.
    pub centre: [f64; 2],
    /// Level-0 pixels per screen point.
    pub slide_per_point: f64,
    /// Radians, clockwise.
    pub rotation: f64,
    pub is_mirrored: bool,
}

/// An answer as it came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    pub id: Id,
    pub question: Id,
    #[serde(default)]
    pub purpose: Purpose,
    /// All of its text, token by token, without headings.
    pub tokens: Vec<Token>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Box<Stamp>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Finished>,
    /// Why it ended without being finished, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Milliseconds since 1970, of the question that it answers and of its end.
    pub began: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
}

/// What an answer was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    #[default]
    Answer,
    /// One of several samples that are read side by side.
    Sample,
    /// To see whether the answer holds when something changes that should change nothing.
    Stability(Variation),
    /// To see whether the same comes out again.
    Replay,
}

/// What was changed of a question that should change nothing of its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Variation {
    /// The same again, drawn with another seed.
    Repeated { seed: u64 },
    /// Options in another order: at each place stands the option that was at this place of the question's own.
    Shuffled { order: Vec<usize> },
    /// Patches moved by level-0 pixels.
    Shifted { x: i64, y: i64 },
    /// Patches turned clockwise by degrees around their middle.
    Turned { degrees: f64 },
}

/// A piece of an answer's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// `None` before the first heading.
    pub stage: Option<AnswerStage>,
    pub text: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

impl Answer {
    /// One that nothing was written of yet.
    pub fn begun(question: Id, purpose: Purpose) -> Self {
        Self { id: Id::fresh(), question, purpose, began: now(), ..Self::default() }
    }

    /// The text of each stage.
    pub fn text(&self) -> StagedAnswer {
        let mut text = StagedAnswer::default();
        for token in &self.tokens {
            if let Some(stage) = token.stage {
                text.stage_mut(stage).push_str(&token.text);
            }
        }
        text
    }

    /// The whole text as the model generated it, headings and tags included, where the answer says it.
    pub fn raw(&self) -> Option<&str> {
        self.finished.as_ref().map(|finished| finished.raw.as_str()).filter(|raw| !raw.is_empty())
    }

    /// The whole text as it was written: [`Self::raw`]; of an answer that is still being written, or was kept before that was
    /// kept, its tokens, each stage on lines of its own.
    pub fn as_written(&self) -> Cow<'_, str> {
        if let Some(raw) = self.raw() {
            return Cow::Borrowed(raw);
        }
        let mut text = String::new();
        let mut stage = None;
        for token in &self.tokens {
            if token.stage != stage && !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            stage = token.stage;
            text.push_str(&token.text);
        }
        Cow::Owned(text)
    }

    /// Whether nothing comes any more.
    pub fn is_over(&self) -> bool {
        self.finished.is_some() || self.failed.is_some()
    }
}

/// Maps of an answer's sentences: heads, and values from 0 to 1 row by row.
pub type Maps = Arc<Vec<(SentenceMap, Vec<f32>)>>;

/// A case with all that belongs to it.
#[derive(Clone, Debug)]
pub struct OpenCase {
    pub case: Case,
    pub questions: BTreeMap<Id, Arc<Question>>,
    pub answers: BTreeMap<Id, Arc<Answer>>,
}

impl OpenCase {
    /// The answers to a question, the oldest first.
    pub fn answers_to(&self, question: &Id) -> Vec<&Arc<Answer>> {
        let mut answers: Vec<_> =
            self.answers.values().filter(|answer| answer.question == *question).collect();
        answers.sort_by(|a, b| (a.began, &a.id).cmp(&(b.began, &b.id)));
        answers
    }

    /// The questions that follow up an answer (`None`: that begin the case), the oldest first.
    pub fn questions_after(&self, answer: Option<&Id>) -> Vec<&Arc<Question>> {
        let follows = |question: &&Arc<Question>| question.follows.as_ref() == answer;
        let mut questions: Vec<_> = self.questions.values().filter(follows).collect();
        questions.sort_by(|a, b| (a.asked, &a.id).cmp(&(b.asked, &b.id)));
        questions
    }
}

/// A line of the list of cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub case: Case,
    pub answers: usize,
    /// How many of them every sentence was judged of, and how many some.
    pub reviewed: usize,
    pub begun: usize,
    /// Where the search found its words, without line breaks; empty without a search.
    pub found: String,
    /// The answer that it found them in.
    pub answer: Option<Id>,
}

/// The file of a patch's pixels below the folder of patches.
pub fn patch_file(folder: &Path, pixels: &str) -> PathBuf {
    folder.join(format!("{pixels}.png"))
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time in UTC, as in `2026-11-21 23:06:04`; milliseconds since 1970.
pub fn utc(millis: i64) -> String {
    let secs = millis.div_euclid(1000);
    let (days, second) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Howard Hinnant, chrono-compatible low-level date algorithms: years begin in March, eras have 400 of them.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_827_696_999), "2000-02-29 12:34:56");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
        assert_eq!(utc(1_798_675_200_000), "2026-12-31 00:00:00");
    }

    #[test]
    fn an_answers_text_is_that_of_its_tokens() {
        let token = |stage, text: &str| Token { stage, text: text.to_owned(), logprob: -0.5 };
        let mut answer = Answer::begun(Id::fresh(), Purpose::Answer);
        answer.tokens.push(token(None, "Well."));
        answer.tokens.push(token(Some(AnswerStage::Observation), "Glands"));
        answer.tokens.push(token(Some(AnswerStage::Observation), " are seen."));
        answer.tokens.push(token(Some(AnswerStage::Conclusion), "Benign."));
        assert_eq!(answer.text().observation, "Glands are seen.");
        assert_eq!(answer.text().conclusion, "Benign.");
        let json = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&json).unwrap(), answer);
    }

    #[test]
    fn what_was_written_is_what_the_model_generated_and_else_its_tokens() {
        let token = |stage, text: &str| Token { stage, text: text.to_owned(), logprob: -0.5 };
        let mut answer = Answer::begun(Id::fresh(), Purpose::Answer);
        answer.tokens.push(token(Some(AnswerStage::Analysis), "Crowded"));
        answer.tokens.push(token(Some(AnswerStage::Analysis), " glands."));
        answer.tokens.push(token(Some(AnswerStage::Conclusion), "B"));
        assert_eq!((answer.raw(), &*answer.as_written()), (None, "Crowded glands.\nB"));
        answer.finished = Some(Finished::cancelled_before_it_began());
        assert_eq!(answer.raw(), None, "an answer of older days says nothing of it");
        let raw = "<think>Crowded glands.</think><answer>B</answer>";
        let finished = Finished { raw: raw.to_owned(), ..Finished::cancelled_before_it_began() };
        answer.finished = Some(finished);
        assert_eq!((answer.raw(), &*answer.as_written()), (Some(raw), raw));
    }
}
