//! Answers as files hold them: lines of `ask --json`, an export's JSON, a record of an answer, or a stamp alone.

use std::path::Path;

use anyhow::{Context, bail};
use reinpath_model::event::{AskEvent, Stamp};
use reinpath_model::stage::{AnswerStage, StagedAnswer};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::case::{Answer, Id, Purpose, Token};
use crate::review::replay::hear;

/// Where a record without tokens may have its text.
const TEXTS: [&str; 4] = ["text", "generated", "stages", "answer"];

/// The answer with this id, or the first, of a file.
pub(super) fn read(path: &Path, id: Option<&str>) -> anyhow::Result<Answer> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the file with the answer cannot be read: {}", path.display()))?;
    let answers =
        answers_in(&text).with_context(|| format!("the file cannot be understood: {}", path.display()))?;
    let count = answers.len();
    let found = answers.into_iter().find(|answer| id.is_none_or(|id| answer.id.0 == id));
    match (found, id) {
        (Some(answer), _) => Ok(answer),
        (None, Some(id)) if count > 0 => {
            bail!("none of its {count} answers has the id {id}: {}", path.display())
        }
        (None, _) => bail!("there is no answer with a stamp in it: {}", path.display()),
    }
}

fn answers_in(text: &str) -> anyhow::Result<Vec<Answer>> {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return from_events(text) };
    let mut found = Vec::new();
    if value.get("type").is_some() {
        // One line of a stream, or GeoJSON, which has types of its own.
        found = from_events(text).unwrap_or_default();
    }
    if found.is_empty() {
        collect(&value, &mut found);
    }
    Ok(found)
}

/// Lines of `ask --json`, of one answer after the other. Lines of other types tell nothing of an answer.
fn from_events(text: &str) -> anyhow::Result<Vec<Answer>> {
    let mut answers: Vec<Answer> = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<AskEvent>(line) {
            Ok(event) => {
                if matches!(event, AskEvent::Started { .. }) {
                    answers.push(Answer::begun(Id::default(), Purpose::Answer));
                }
                if let Some(answer) = answers.last_mut() {
                    hear(answer, &event);
                }
            }
            Err(error) => {
                let known = ["started", "stage", "token", "finished", "failed"];
                let value = serde_json::from_str::<Value>(line).unwrap_or_default();
                let is_other =
                    value.get("type").and_then(Value::as_str).is_some_and(|kind| !known.contains(&kind));
                if !is_other {
                    bail!("line {number} is no event of an answer ({error})");
                }
            }
        }
    }
    Ok(answers)
}

/// Every answer with a stamp in a JSON document, and a stamp that stands alone.
fn collect(value: &Value, found: &mut Vec<Answer>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => match answer_of(fields) {
            Some(answer) => found.push(answer),
            None => fields.values().for_each(|field| collect(field, found)),
        },
        _ => {}
    }
}

fn answer_of(fields: &Map<String, Value>) -> Option<Answer> {
    let mut answer = Answer::begun(Id::default(), Purpose::Answer);
    if fields.contains_key("package_hash") {
        answer.stamp = Some(Box::new(stamp_of(&Value::Object(fields.clone()))?));
        return Some(answer);
    }
    answer.stamp = Some(Box::new(stamp_of(fields.get("stamp")?)?));
    if let Some(id) = fields.get("id").and_then(Value::as_str) {
        answer.id = Id(id.to_owned());
    }
    answer.finished = field(fields, "finished");
    answer.failed = field(fields, "failed");
    answer.tokens = field(fields, "tokens").unwrap_or_default();
    if answer.tokens.is_empty() {
        let texts = TEXTS.iter().filter_map(|name| field::<StagedAnswer>(fields, name));
        let mut told = texts.filter(|text| *text != StagedAnswer::default());
        answer.tokens = told.next().map(|text| tokens_of(&text)).unwrap_or_default();
    }
    Some(answer)
}

/// A stamp. Exports that tell no names leave out the slide's place.
fn stamp_of(value: &Value) -> Option<Stamp> {
    let mut value = value.clone();
    if let Some(Value::Object(slide)) = value.get_mut("slide") {
        slide.entry("path").or_insert_with(|| Value::String(String::new()));
    }
    let stamp: Stamp = serde_json::from_value(value).ok()?;
    (!stamp.package_hash.is_empty()).then_some(stamp)
}

fn field<T: DeserializeOwned>(fields: &Map<String, Value>, name: &str) -> Option<T> {
    serde_json::from_value(fields.get(name)?.clone()).ok()
}

/// Each stage's text as if it were one token.
fn tokens_of(text: &StagedAnswer) -> Vec<Token> {
    let token =
        |stage: AnswerStage| Token { stage: Some(stage), text: text.stage(stage).to_owned(), logprob: 0.0 };
    AnswerStage::ALL.into_iter().map(token).collect()
}

#[cfg(test)]
mod tests {
    use reinpath_model::event::SlideStamp;
    use serde_json::json;

    use super::*;

    fn stamp() -> Stamp {
        let slide = SlideStamp { path: "/a.svs".to_owned(), hash: "22".to_owned() };
        Stamp { slide: Some(slide), package_hash: "33".to_owned(), ..Stamp::default() }
    }

    fn events(text: &str) -> String {
        let stage = AnswerStage::Observation;
        let token = AskEvent::Token { index: 1, stage: Some(stage), text: text.to_owned(), logprob: -0.5 };
        let all = [AskEvent::Started { stamp: Box::new(stamp()) }, AskEvent::Stage { stage }, token];
        all.map(|event| serde_json::to_string(&event).unwrap() + "\n").concat()
    }

    #[test]
    fn answers_are_read_from_lines_of_events() {
        let text =
            format!("{}\n{}{}\n", events("One."), events("Two."), r#"{"type": "replayed", "data": {}}"#);
        let answers = answers_in(&text).unwrap();
        let texts: Vec<String> = answers.iter().map(|answer| answer.text().observation).collect();
        assert_eq!(texts, ["One.", "Two."]);
        assert_eq!(answers[1].stamp.as_deref(), Some(&stamp()));
        let started = events("").lines().next().unwrap().to_owned();
        assert_eq!(answers_in(&started).unwrap().len(), 1);
        let error = answers_in(&format!("{}{{\"type\":\"token\"", events("One."))).unwrap_err();
        assert!(error.to_string().starts_with("line 4 is no event"), "{error}");
    }

    #[test]
    fn answers_are_read_from_documents_and_stamps_alone() {
        let mut nameless = serde_json::to_value(stamp()).unwrap();
        nameless["slide"].as_object_mut().unwrap().remove("path");
        let token = json!({"stage": "conclusion", "text": "B) nests", "logprob": -0.5});
        let document = json!({"format": 1, "cases": [{"questions": [{"answers": [
            {"id": "x", "stamp": nameless, "tokens": [token]},
            {"id": "y", "stamp": stamp(), "text": {"observation": "Glands."}},
        ]}]}]});
        let answers = answers_in(&document.to_string()).unwrap();
        assert_eq!(answers.iter().map(|answer| answer.id.0.as_str()).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(answers[0].text().conclusion, "B) nests");
        assert_eq!(answers[0].stamp.as_ref().unwrap().slide.as_ref().unwrap().path, "");
        assert_eq!(answers[1].text().observation, "Glands.");
        let alone = answers_in(&serde_json::to_string_pretty(&stamp()).unwrap()).unwrap();
        assert_eq!((alone.len(), alone[0].tokens.len()), (1, 0));
    }

    #[test]
    fn a_file_without_an_answer_is_refused_by_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        assert!(read(&path, None).is_err());
        for (text, id, part) in [
            ("{}", None, "no answer with a stamp"),
            ("", None, "no answer with a stamp"),
            ("no JSON", None, "cannot be understood"),
            (events("One.").as_str(), Some("x"), "none of its 1 answers has the id x"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", read(&path, id).unwrap_err());
            assert!(error.contains(part) && error.contains("a.json"), "{error}");
        }
    }
}
