//! LLaVA's JSON: turns of a person and of a model about images. Each question with its answer becomes a row.
//!
//! Turns are read as LLaVA writes them (`from`, `value`) and as others do (`role`, `content`, the latter also in parts);
//! the marks `<image>` are taken out, since the program itself puts the images first. What a follow-up question refers
//! to is not in its row: that conversations were cut is noted.

use reinpath_model::stage::{StagedAnswer, extract_choice};
use serde_json::{Map, Value};

use super::options::split_options;
use super::pathgen::region;
use super::{ImportPlan, Made, keep};
use crate::rows::{Row, RowAnswer, RowKind};

/// Stands for an image in a text.
const IMAGE: &str = "<image>";
/// What Quilt-LLaVA's conversion of PathVQA adds to closed questions.
const YES_OR_NO: &str = "Please choose from the following two options: [yes, no]";
/// Characters of an answer that is an option's letter and no more, such as `(B).`
const LETTER_CHARS: usize = 4;

struct Turn {
    is_human: bool,
    text: String,
    images: Vec<String>,
}

/// The rows of a record.
pub(super) fn rows(mut record: Map<String, Value>, number: usize, plan: &ImportPlan) -> Result<Made, String> {
    let turns = record.remove("conversations").or_else(|| record.remove("messages"));
    let turns = turns_of(turns.as_ref().unwrap_or(&Value::Null))?;
    let images = images_of(&mut record, &turns)?;
    let id = match record.remove("id") {
        Some(Value::String(id)) if !id.trim().is_empty() => id,
        Some(Value::Number(id)) => id.to_string(),
        _ => format!("record-{number}"),
    };
    let place = record.get("position").and_then(|position| region(Some(position)));
    if place.is_some() {
        record.remove("position");
    }
    let pairs: Vec<(&Turn, &Turn)> = turns
        .chunks(2)
        .map(|pair| match pair {
            [question, answer] if question.is_human && !answer.is_human => Ok((question, answer)),
            _ => Err("its turns are not questions each with an answer".to_owned()),
        })
        .collect::<Result<_, _>>()?;
    let mut rows = Vec::with_capacity(pairs.len());
    for (at, (question, answer)) in pairs.iter().enumerate() {
        let id = if pairs.len() == 1 { id.clone() } else { format!("{id}-{}", at + 1) };
        let mut row = row(id, &question.text, &answer.text, plan.captions)?;
        row.images.clone_from(&images);
        row.region = place;
        keep(&mut row, &record);
        rows.push(row);
    }
    let note = (pairs.len() > 1).then_some("a conversation was cut into its questions, each on its own");
    Ok(Made { rows, note })
}

fn turns_of(turns: &Value) -> Result<Vec<Turn>, String> {
    let turns = turns.as_array().filter(|turns| !turns.is_empty()).ok_or("the record has no turns")?;
    let mut read = Vec::with_capacity(turns.len());
    for turn in turns {
        let get = |one: &str, other: &str| turn.get(one).or_else(|| turn.get(other));
        let role = get("from", "role").and_then(Value::as_str).unwrap_or_default();
        let is_human = match role {
            "human" | "user" => true,
            "gpt" | "assistant" | "model" => false,
            "system" => continue,
            role => return Err(format!("a turn of “{role}” is neither of a person nor of a model")),
        };
        let (text, images) = said(get("value", "content").unwrap_or(&Value::Null))?;
        read.push(Turn { is_human, text, images });
    }
    Ok(read)
}

/// The text and the images of a turn.
fn said(content: &Value) -> Result<(String, Vec<String>), String> {
    let parts = match content {
        Value::String(text) => return Ok((text.clone(), Vec::new())),
        Value::Array(parts) => parts,
        _ => return Err("a turn has no text".to_owned()),
    };
    let (mut text, mut images) = (Vec::new(), Vec::new());
    for part in parts {
        let keys = ["value", "text", "image", "image_url"];
        let value = keys.iter().find_map(|&key| part.get(key)?.as_str()).map(str::to_owned);
        match (part.get("type").and_then(Value::as_str), value) {
            (Some("text"), Some(value)) => text.push(value),
            (Some("image" | "image_url"), Some(value)) => images.push(value),
            _ => return Err("a part of a turn is neither text nor image".to_owned()),
        }
    }
    Ok((text.join("\n"), images))
}

/// The record's images: named by itself, or within its turns. One that is named again is one image.
fn images_of(record: &mut Map<String, Value>, turns: &[Turn]) -> Result<Vec<String>, String> {
    let mut images = Vec::new();
    for value in ["image", "images"].iter().filter_map(|&key| record.remove(key)) {
        match value {
            Value::String(image) => images.push(image),
            Value::Array(several) => {
                for image in several {
                    images.push(image.as_str().ok_or("an image is not named by its path")?.to_owned());
                }
            }
            _ => return Err("an image is not named by its path".to_owned()),
        }
    }
    for image in turns.iter().flat_map(|turn| &turn.images) {
        if !images.contains(image) {
            images.push(image.clone());
        }
    }
    if images.is_empty() { Err("it names no image".to_owned()) } else { Ok(images) }
}

/// A row without its images.
fn row(id: String, question: &str, answer: &str, is_caption: bool) -> Result<Row, String> {
    let question = question.replace(IMAGE, " ").replace(YES_OR_NO, "").trim().to_owned();
    let answer = answer.replace(IMAGE, " ").trim().to_owned();
    if answer.is_empty() {
        return Err("an answer is empty".to_owned());
    }
    let mut row = Row::new(id, "", RowKind::Open);
    row.images.clear();
    if is_caption || question.is_empty() {
        row.kind = RowKind::Caption;
        row.question = Some(question).filter(|question| !question.is_empty());
        row.answer = Some(RowAnswer::Text { text: answer });
        return Ok(row);
    }
    match split_options(&question) {
        Some((question, choices)) if choices.len() <= 26 => {
            row.question = Some(question);
            row.choices = choices;
        }
        _ => row.question = Some(question),
    }
    classify(&mut row, answer);
    Ok(row)
}

/// Kind, label and answer of a question.
fn classify(row: &mut Row, answer: String) {
    let plain = answer.trim_end_matches('.').to_lowercase();
    if row.choices.is_empty() {
        match plain.as_str() {
            "yes" | "no" => row.choices = vec!["Yes".to_owned(), "No".to_owned()],
            "true" | "false" => {
                row.kind = RowKind::TrueFalse;
                row.label = Some(if plain == "true" { "True" } else { "False" }.to_owned());
                return;
            }
            _ => {}
        }
    }
    let (staged, is_well_formed) = StagedAnswer::parse(&answer);
    if !row.choices.is_empty() {
        row.kind = RowKind::Choice;
        let conclusion = if is_well_formed { &staged.conclusion } else { &answer };
        row.label = extract_choice(conclusion, &row.choices).and_then(letter);
        // The label says all that a letter, or yes or no, says.
        let is_label_alone = answer.chars().count() <= LETTER_CHARS;
        if row.label.is_some() && is_label_alone {
            return;
        }
    }
    row.answer =
        Some(if is_well_formed { RowAnswer::Staged(staged) } else { RowAnswer::Text { text: answer } });
}

fn letter(choice: usize) -> Option<String> {
    ('A'..='Z').nth(choice).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(json: &str) -> Result<Made, String> {
        let Value::Object(record) = serde_json::from_str(json).unwrap() else { panic!("no object") };
        rows(record, 7, &ImportPlan::default())
    }

    fn one(question: &str, answer: &str) -> Row {
        let turns =
            serde_json::json!([{"from": "human", "value": question}, {"from": "gpt", "value": answer}]);
        let record = serde_json::json!({"image": "x.png", "conversations": turns}).to_string();
        made(&record).unwrap().rows.remove(0)
    }

    #[test]
    fn an_open_question_keeps_its_text_and_loses_the_mark_of_its_image() {
        let row = one("<image>\nWhat is seen?", "Squamous cells.");
        assert_eq!(
            (row.id.as_str(), row.kind, row.question.as_deref()),
            ("record-7", RowKind::Open, Some("What is seen?"))
        );
        assert_eq!(row.answer, Some(RowAnswer::Text { text: "Squamous cells.".to_owned() }));
        let staged =
            one("What is seen?\n<image>", "[Observation]\nNests.\n[Analysis]\nSo.\n[Conclusion]\nTumour.");
        assert!(matches!(staged.answer, Some(RowAnswer::Staged(s)) if s.conclusion == "Tumour."));
        assert_eq!(staged.question.as_deref(), Some("What is seen?"));
    }

    #[test]
    fn closed_questions_get_their_choices_and_labels() {
        let row = one("<image>\nWhich? A) glands B) nests", "B");
        assert_eq!((row.kind, row.label.as_deref(), row.answer), (RowKind::Choice, Some("B"), None));
        assert_eq!(
            (row.question.as_deref(), row.choices),
            (Some("Which?"), vec!["glands".into(), "nests".into()])
        );
        let told = one("Which? A) glands B) nests", "B) nests, since no lumen is seen.");
        assert!(told.label.as_deref() == Some("B") && told.answer.is_some());
        let yes = one("Is it a tumour? Please choose from the following two options: [yes, no]", "No.");
        assert_eq!((yes.kind, yes.label.as_deref(), yes.answer), (RowKind::Choice, Some("B"), None));
        assert_eq!(yes.question.as_deref(), Some("Is it a tumour?"));
        let statement = one("True or false: there is necrosis.", "False");
        assert_eq!((statement.kind, statement.label.as_deref()), (RowKind::TrueFalse, Some("False")));
        let vague = one("Which? A) glands B) nests", "Hard to say.");
        assert!(vague.kind == RowKind::Choice && vague.label.is_none() && vague.answer.is_some());
    }

    #[test]
    fn conversations_are_cut_and_other_ways_of_writing_are_read() {
        let made = made(
            r#"{"id": 12, "wsi_id": "s1", "position": [32, "64"], "type": "OPEN", "question": "?", "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [{"type": "image_url", "value": "a/1.jpg"}, {"type": "text", "value": "Who?"}]},
                {"role": "assistant", "content": [{"type": "text", "value": "Cells."}]},
                {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}"#,
        )
        .unwrap();
        assert!(made.note.is_some());
        assert_eq!(made.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["12-1", "12-2"]);
        let row = &made.rows[1];
        assert_eq!(
            (row.images.as_slice(), row.question.as_deref()),
            (&["a/1.jpg".to_owned()][..], Some("Why?"))
        );
        assert_eq!((row.slide.as_deref(), row.region), (Some("s1"), Some([32.0, 64.0, 672.0, 672.0])));
        assert_eq!((&row.more["type"], &row.more["imported_question"]), (&"OPEN".into(), &"?".into()));
        row.check().unwrap();
    }

    #[test]
    fn records_that_are_no_questions_with_answers_are_refused() {
        let refused = |json: &str| made(json).map(|made| made.rows.len()).unwrap_err();
        assert!(refused(r#"{"conversations": []}"#).contains("no turns"));
        let turns = r#"[{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Cells."}]"#;
        assert!(refused(&format!(r#"{{"conversations": {turns}}}"#)).contains("no image"));
        let alone = r#"{"image": "x.png", "conversations": [{"from": "human", "value": "Who?"}]}"#;
        assert!(refused(alone).contains("each with an answer"));
        assert!(refused(&alone.replace("human", "tool")).contains("“tool”"));
        assert!(refused(&format!(r#"{{"image": 7, "conversations": {turns}}}"#)).contains("path"));
        let empty = turns.replace("Cells.", " ");
        assert!(refused(&format!(r#"{{"image": "x.png", "conversations": {empty}}}"#)).contains("empty"));
    }
}
