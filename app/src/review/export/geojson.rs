//! Answers on the slide, as QuPath opens them: each patch of each answer is an annotation of the class ReinPath, with the answer and what
//! was thought of it among its properties.
//!
//! QuPath shows the name, the class, the description and measurements, which are numbers; all else is under `reinpath` in the
//! properties, where programs find it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::document::{AnswerDocument, CaseDocument, QuestionDocument};
use super::patches::{Seen, seen};
use super::{Document, Error, make_folder_of};
use crate::annotation::{Annotation, Class, Form, Geometry, Polygon, geojson};

/// The class of all of them.
const CLASS: &str = "ReinPath";
/// Longest name in characters: the question's beginning.
const NAME: usize = 80;

/// Writes the file.
pub(super) fn write(document: &Document, to: &Path) -> Result<(), Error> {
    make_folder_of(to)?;
    let class = Arc::new(Class { name: CLASS.to_owned(), rgb: geojson::rgb_of_name(CLASS) });
    let mut annotations = Vec::new();
    for (case, question, answer) in document.answers() {
        for (at, patch) in seen(&question.question, &answer.record).iter().enumerate() {
            let properties = properties(document, case, question, answer, patch);
            annotations.push(annotation(question, answer, at, patch, &class, properties));
        }
    }
    geojson::write(to, &annotations).map_err(|error| match error {
        crate::annotation::Error::Write { reason, path } => Error::Write { reason, path },
        error => Error::Content(error.to_string()),
    })
}

fn annotation(
    question: &QuestionDocument,
    answer: &AnswerDocument,
    at: usize,
    patch: &Seen,
    class: &Arc<Class>,
    properties: Value,
) -> Annotation {
    let form = if patch.turned == 0.0 { Form::Rectangle } else { Form::Plain };
    let polygon = Polygon { rings: vec![patch.corners().to_vec()] };
    let mut annotation = Annotation::new(Geometry::Polygons(vec![polygon]), form);
    annotation.id = id(answer, at);
    annotation.class = Some(Arc::clone(class));
    annotation.name = Some(question.question.text.trim().chars().take(NAME).collect());
    annotation.notes = answer.corrected.to_text();
    let [accepted, edited, rejected, open] = answer.counts();
    let counts = [("accepted", accepted), ("edited", edited), ("rejected", rejected), ("not judged", open)];
    annotation.measurements = counts
        .map(|(word, count)| (format!("ReinPath: sentences {word}"), Value::from(count)))
        .into_iter()
        .collect();
    let properties = Map::from_iter([("reinpath".to_owned(), properties)]);
    annotation.rest.insert("properties".to_owned(), Value::Object(properties));
    annotation
}

/// A UUID that is the same for the same patch of the same answer, so that a second import brings no second one.
fn id(answer: &AnswerDocument, at: usize) -> String {
    let hash = blake3::hash(format!("reinpath answer\n{}\n{at}", answer.record.id.0).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn properties(
    document: &Document,
    case: &CaseDocument,
    question: &QuestionDocument,
    answer: &AnswerDocument,
    patch: &Seen,
) -> Value {
    let stamp = answer.record.stamp.as_ref();
    json!({
        "log": document.log,
        "notice": document.notice,
        "program": document.program,
        "slide": case.slide,
        "case": case.id,
        "question": question.question.text,
        "choices": question.question.choices,
        "context": question.question.context,
        "answer": answer.record.id,
        "patch": patch.number,
        "turned": patch.turned,
        "package": stamp.map(|stamp| &stamp.package),
        "package_hash": stamp.map(|stamp| &stamp.package_hash),
        "generated": answer.text,
        "corrected": answer.corrected,
        "sentences": answer.sentences,
    })
}
