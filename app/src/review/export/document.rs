//! All that an export tells, as data: cases with their questions, answers with what was thought of each sentence, and the log's head.
//!
//! Its JSON is the form `json`, described by `assets/review-export.schema.json`; the other forms are made of it. Questions and answers
//! are those of the store with more beside them, so that a program that reads one reads the other. Without names, slides and reviewers
//! have numbers, paths are empty, and a file's name that somebody wrote somewhere is hidden there too.

use std::collections::BTreeMap;

use reinpath_model::request::{MapMethod, SentenceMap};
use reinpath_model::stage::{AnswerStage, StagedAnswer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;
use super::names::Names;
use crate::case::{self, Answer, Id, Question};
use crate::review::verdict::{Decision, Entry, Reason, Standing, Target, Verdict, corrected, sentences};
use crate::review::{Collection, Reviewed};

/// The newest form of the document.
pub const FORMAT: u32 = 1;

/// Stands in every report.
pub const NOTICE: &str = "For research use only. ReinPath Desktop is not a medical device: its answers are generated and can be wrong, also \
    when they are well written. Do not use this for diagnosis, treatment or any other decision about a patient.";

/// An export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// The form of this file: 1.
    pub format: u32,
    /// The program that wrote it, with its version.
    pub program: String,
    /// For what it may be used.
    pub notice: String,
    /// Milliseconds since 1970.
    pub written: i64,
    /// The log's head when it was written: `reinpath-log:`, the number of its entries, a colon, the last one's hash. `reinpath review
    /// verify --against` finds by it whether the log was cut since.
    pub log: String,
    /// Whether slides and reviewers are named.
    pub tells_names: bool,
    pub cases: Vec<CaseDocument>,
}

/// A case: questions about one slide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaseDocument {
    pub id: Id,
    pub slide: SlideDocument,
    /// What the user named the case; only with names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Milliseconds since 1970.
    pub created: i64,
    pub changed: i64,
    pub questions: Vec<QuestionDocument>,
}

/// A slide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlideDocument {
    /// Its number among the slides of this file, from 1.
    pub number: usize,
    /// BLAKE3 over its sampled content, in hexadecimal.
    pub hash: String,
    /// The file's name; only with names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where the file was last; only with names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A question as it is kept, with its answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuestionDocument {
    #[serde(flatten)]
    pub question: Question,
    pub answers: Vec<AnswerDocument>,
}

/// An answer as it is kept, with what was thought of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnswerDocument {
    #[serde(flatten)]
    pub record: Answer,
    /// BLAKE3 of the answer as the store has it, which entries of the log name too.
    pub hash: String,
    /// As it was generated.
    pub text: StagedAnswer,
    /// With edits in place and rejected sentences left out.
    pub corrected: StagedAnswer,
    /// Whether every sentence was judged.
    pub is_judged: bool,
    pub sentences: Vec<SentenceDocument>,
    /// What the log says of it, in order.
    pub entries: Vec<Entry>,
    /// How its sentences stood in the deletion test.
    pub maps: Vec<MapDocument>,
}

/// A sentence of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SentenceDocument {
    pub stage: AnswerStage,
    /// Its place in the stage as it was generated, from 0.
    pub index: usize,
    /// As it was generated.
    pub text: String,
    /// What holds of it; absent: it was not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Judgement>,
    /// What the verdict was given to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// What it should say, where the sentence itself was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The number of the log's entry that the verdict stands by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
}

/// What holds of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    Accepted,
    Edited,
    Rejected,
}

/// What a verdict was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Sentence,
    Stage,
    Answer,
}

/// The number beside a map of where a sentence looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MapDocument {
    pub stage: AnswerStage,
    pub sentence: String,
    /// Index of the patch in the question.
    pub patch: usize,
    pub method: MapMethod,
    /// By how much the probabilities of the sentence's tokens, together, fall when the cells that the map shows are hidden.
    pub fall: f32,
    /// The mean of the same over random cells.
    pub random_fall: f32,
}

/// The schema of a document, as it is committed.
pub fn schema() -> String {
    let schema: Value = schemars::schema_for!(Document).into();
    format!("{schema:#}\n")
}

impl Document {
    /// What was read for an export; with names of slides and reviewers or without.
    ///
    /// # Errors
    /// No answers, or numbers in one that are none.
    pub fn of(collection: &Collection, tells_names: bool) -> Result<Self, Error> {
        if collection.reviewed.is_empty() {
            return Err(Error::Nothing);
        }
        let mut document = Self {
            format: FORMAT,
            program: concat!("reinpath ", env!("CARGO_PKG_VERSION")).to_owned(),
            notice: NOTICE.to_owned(),
            written: case::now(),
            log: collection.head.to_string(),
            tells_names,
            cases: Vec::new(),
        };
        let mut places = Places::default();
        for reviewed in &collection.reviewed {
            let answer = AnswerDocument::of(reviewed, tells_names, &mut places.reviewers);
            document.put(reviewed, answer, &mut places);
        }
        if tells_names { Ok(document) } else { Names::of(collection).hidden_in(&document) }
    }

    fn put(&mut self, reviewed: &Reviewed, answer: AnswerDocument, places: &mut Places) {
        let next = self.cases.len();
        let at = *places.cases.entry(reviewed.case.id.clone()).or_insert(next);
        if at == next {
            let number = places.slides.len() + 1;
            let number = *places.slides.entry(reviewed.case.slide.hash.clone()).or_insert(number);
            self.cases.push(CaseDocument::of(reviewed, number, self.tells_names));
        }
        let key = (reviewed.case.id.clone(), reviewed.question.id.clone());
        let questions = &mut self.cases[at].questions;
        let next = questions.len();
        let at = *places.questions.entry(key).or_insert(next);
        if at == next {
            let mut question = (*reviewed.question).clone();
            if !self.tells_names {
                // It has the slide's name in it.
                question.words.clear();
            }
            questions.push(QuestionDocument { question, answers: Vec::new() });
        }
        questions[at].answers.push(answer);
    }

    /// Every answer with its case and its question.
    pub fn answers(&self) -> impl Iterator<Item = (&CaseDocument, &QuestionDocument, &AnswerDocument)> {
        self.cases.iter().flat_map(|case| {
            case.questions
                .iter()
                .flat_map(move |question| question.answers.iter().map(move |answer| (case, question, answer)))
        })
    }

    /// Its JSON, a line for each value.
    ///
    /// # Errors
    /// Numbers that JSON has no words for.
    pub fn to_json(&self) -> Result<String, Error> {
        let json = serde_json::to_string_pretty(self).map_err(|error| Error::Content(error.to_string()))?;
        Ok(json + "\n")
    }
}

/// Where what was met before stands.
#[derive(Default)]
struct Places {
    cases: BTreeMap<Id, usize>,
    /// By case and question.
    questions: BTreeMap<(Id, Id), usize>,
    /// Numbers by hash.
    slides: BTreeMap<String, usize>,
    /// Numbers by name.
    reviewers: BTreeMap<String, usize>,
}

impl CaseDocument {
    fn of(reviewed: &Reviewed, number: usize, tells_names: bool) -> Self {
        let case = &reviewed.case;
        let name = Some(case.slide.name.clone()).filter(|name| tells_names && !name.is_empty());
        let path = case.path.as_ref().filter(|_| tells_names).map(|path| path.display().to_string());
        Self {
            id: case.id.clone(),
            slide: SlideDocument { number, hash: case.slide.hash.clone(), name, path },
            title: Some(case.title.clone()).filter(|title| tells_names && !title.is_empty()),
            created: case.created,
            changed: case.changed,
            questions: Vec::new(),
        }
    }
}

impl AnswerDocument {
    fn of(reviewed: &Reviewed, tells_names: bool, reviewers: &mut BTreeMap<String, usize>) -> Self {
        let record = told(&reviewed.answer, tells_names);
        let text = record.text();
        let standing = Standing::of(&reviewed.entries, &[]);
        let of_sentence = |(stage, index, text): (AnswerStage, usize, String)| {
            let target = Target::Sentence(stage, index);
            SentenceDocument::of(stage, index, text, standing.at(target), standing.number_at(target))
        };
        let sentences: Vec<SentenceDocument> = sentences(&text).into_iter().map(of_sentence).collect();
        let mut entries = reviewed.entries.clone();
        for entry in entries.iter_mut().filter(|entry| !tells_names && !entry.reviewer.is_empty()) {
            let next = reviewers.len() + 1;
            let number = *reviewers.entry(entry.reviewer.clone()).or_insert(next);
            entry.reviewer = format!("Reviewer {number}");
        }
        let maps = reviewed.maps.iter().flat_map(|maps| maps.iter());
        let maps = maps.filter(|(map, _)| map.fall.is_finite() && map.random_fall.is_finite());
        let map = |(map, _): &(SentenceMap, Vec<f32>)| MapDocument {
            stage: map.stage,
            sentence: map.sentence.clone(),
            patch: map.patch,
            method: map.method,
            fall: map.fall,
            random_fall: map.random_fall,
        };
        Self {
            hash: reviewed.hash.clone(),
            corrected: corrected(&text, &standing),
            is_judged: standing.is_complete(&text),
            sentences,
            entries,
            maps: maps.map(map).collect(),
            text,
            record,
        }
    }
}

impl SentenceDocument {
    fn of(
        stage: AnswerStage,
        index: usize,
        text: String,
        verdict: Option<&Verdict>,
        entry: Option<u64>,
    ) -> Self {
        let scope = verdict.map(|verdict| match verdict.target {
            Target::Sentence(..) => Scope::Sentence,
            Target::Stage(_) => Scope::Stage,
            Target::Answer => Scope::Answer,
        });
        let judgement = verdict.map(|verdict| match &verdict.decision {
            Decision::Accept => Judgement::Accepted,
            Decision::Edit(_) => Judgement::Edited,
            Decision::Reject => Judgement::Rejected,
        });
        let edited = verdict.and_then(|verdict| match &verdict.decision {
            Decision::Edit(edited) if scope == Some(Scope::Sentence) => Some(edited.clone()),
            _ => None,
        });
        let reason = verdict.and_then(|verdict| verdict.reason);
        let comment = verdict.map(|verdict| verdict.comment.clone()).unwrap_or_default();
        Self { stage, index, text, verdict: judgement, scope, edited, reason, comment, entry }
    }
}

/// An answer as exports tell it: without the slide's path where names are not told, and with numbers that JSON can hold.
fn told(answer: &Answer, tells_names: bool) -> Answer {
    let mut record = answer.clone();
    let options = record.finished.iter_mut().flat_map(|finished| finished.options.iter_mut());
    let logprobs = record.tokens.iter_mut().map(|token| &mut token.logprob);
    for logprob in logprobs.chain(options.map(|option| &mut option.logprob)) {
        if !logprob.is_finite() {
            *logprob = f32::MIN;
        }
    }
    if let (false, Some(stamp)) = (tells_names, &mut record.stamp)
        && let Some(slide) = &mut stamp.slide
    {
        slide.path.clear();
    }
    record
}
