//! Cases, questions, answers and maps in the store. Each is kept as JSON under its id; what lists sort and count by has a column beside it.
//!
//! An answer's text never changes once it is kept: verdicts name it by the hash of exactly this text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reinpath_model::request::SentenceMap;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use super::{Error, Fault, SlideId, Store, entries, keep_slide, search};
use crate::case::{Answer, Case, Id, Listed, Maps, OpenCase, Question};
use crate::review::verdict::Entry;

/// A case that was opened, what the log says of its answers, in order, and their maps.
pub type Opened = (OpenCase, Vec<Entry>, Vec<(Id, Maps)>);

/// The columns of a line of the list.
const LISTED: &str = "SELECT id, slide, (SELECT name FROM slide WHERE hash = cases.slide), path, title, created, changed, answers,
    reviewed, begun FROM cases";

impl Store {
    /// Keeps a new case with its slide, or title, place and last change of a known one.
    ///
    /// In blinded reading neither name nor place are given, and those that are known stay. A place that is not Unicode is not kept.
    pub fn keep_case(&mut self, case: &Case) -> Result<(), Error> {
        self.within(|transaction| {
            keep_slide(transaction, &case.slide)?;
            let path = case.path.as_deref().and_then(Path::to_str);
            transaction
                .prepare_cached(
                    "INSERT INTO cases (id, slide, path, title, created, changed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (id) DO UPDATE SET title = excluded.title, path = coalesce(excluded.path, path),
                         changed = max(changed, excluded.changed)",
                )?
                .execute(params![case.id.0, case.slide.hash, path, case.title, case.created, case.changed])?;
            Ok(())
        })
    }

    /// Keeps a question of a known case. Kept again, it is as it is now: its patches' pixels become known later.
    pub fn keep_question(&mut self, question: &Question) -> Result<(), Error> {
        self.within(|transaction| {
            let json = to_json(question)?;
            transaction
                .prepare_cached(
                    "INSERT INTO question (id, of_case, asked, json) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (id) DO UPDATE SET json = excluded.json",
                )?
                .execute(params![question.id.0, question.case.0, question.asked, json])?;
            touch(transaction, &question.case, question.asked)?;
            Ok(())
        })
    }

    /// Keeps an answer that is over, to a known question. It is kept once: a second time changes nothing.
    pub fn keep_answer(&mut self, case: &Id, answer: &Answer) -> Result<(), Error> {
        self.within(|transaction| {
            if !answer.is_over() {
                return Err(Fault::Refused("the answer is still being written".to_owned()));
            }
            let is_known =
                transaction.prepare_cached("SELECT 1 FROM answer WHERE id = ?1")?.exists([&answer.id.0])?;
            if is_known {
                return Ok(());
            }
            let question = question_of(transaction, &answer.question)?.ok_or_else(|| {
                Fault::Refused(format!("the question {} of the answer is not kept", answer.question.0))
            })?;
            let json = to_json(&writable(answer))?;
            let hash = blake3::hash(json.as_bytes()).to_hex();
            transaction
                .prepare_cached(
                    "INSERT INTO answer (id, of_case, question, began, hash, json) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    answer.id.0,
                    case.0,
                    answer.question.0,
                    answer.began,
                    hash.as_str(),
                    json
                ])?;
            let number = transaction.last_insert_rowid();
            transaction
                .prepare_cached("INSERT INTO answer_words (rowid, words) VALUES (?1, ?2)")?
                .execute(params![number, search::words_of(&question, answer)])?;
            transaction
                .prepare_cached("UPDATE cases SET answers = answers + 1 WHERE id = ?1")?
                .execute([&case.0])?;
            touch(transaction, case, answer.ended.unwrap_or(answer.began))?;
            Ok(())
        })
    }

    /// Keeps the maps of a known answer in place of those that it had. Maps whose numbers are no numbers are left out.
    pub fn keep_maps(&mut self, answer: &Id, maps: &Maps) -> Result<(), Error> {
        self.within(|transaction| {
            let is_said = |head: &SentenceMap| head.fall.is_finite() && head.random_fall.is_finite();
            let kept: Vec<&(SentenceMap, Vec<f32>)> = maps.iter().filter(|(head, _)| is_said(head)).collect();
            if let Some((head, _)) =
                kept.iter().find(|(head, values)| head.rows.checked_mul(head.cols) != Some(values.len()))
            {
                return Err(Fault::Refused(format!(
                    "the map of the sentence “{}” is incomplete",
                    head.sentence
                )));
            }
            let heads: Vec<&SentenceMap> = kept.iter().map(|(head, _)| head).collect();
            let grids: Vec<u8> =
                kept.iter().flat_map(|(_, values)| values).flat_map(|value| value.to_le_bytes()).collect();
            transaction
                .prepare_cached(
                    "INSERT INTO map (answer, heads, grids) VALUES (?1, ?2, ?3)
                     ON CONFLICT (answer) DO UPDATE SET heads = excluded.heads, grids = excluded.grids",
                )?
                .execute(params![answer.0, to_json(&heads)?, grids])?;
            Ok(())
        })
    }

    /// The cases that were changed last come first, `most` of them; only those of a slide, by its hash, and only those in whose title,
    /// questions or answers all words of a search stand.
    ///
    /// Words are found by their beginning from three letters on, and by their stem: `gland` finds `Glands`. Of words that stand in very
    /// many answers only the newest of these are looked at.
    pub fn cases(&self, search: &str, slide: Option<&str>, most: usize) -> Result<Vec<Listed>, Error> {
        self.reading(|connection| {
            if !search.trim().is_empty() {
                return search::cases(connection, search, slide, most);
            }
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let (which, order) = ("WHERE slide = ?2", "ORDER BY changed DESC, rowid DESC LIMIT ?1");
            let rows: Vec<Listed> = if let Some(slide) = slide {
                let mut statement = connection.prepare_cached(&format!("{LISTED} {which} {order}"))?;
                statement.query_map(params![most, slide], listed)?.collect::<Result<_, _>>()?
            } else {
                let mut statement = connection.prepare_cached(&format!("{LISTED} {order}"))?;
                statement.query_map([most], listed)?.collect::<Result<_, _>>()?
            };
            Ok(rows)
        })
    }

    /// A case with all that belongs to it; `None` where there is none with this id.
    pub fn open_case(&self, id: &Id) -> Result<Option<Opened>, Error> {
        self.reading(|connection| {
            let Some(listed) = listed_case(connection, &id.0)? else { return Ok(None) };
            let mut questions = BTreeMap::new();
            let mut statement =
                connection.prepare_cached("SELECT id, json FROM question WHERE of_case = ?1")?;
            let mut rows = statement.query([&id.0])?;
            while let Some(row) = rows.next()? {
                let name = Id(row.get(0)?);
                let question = read_json("question", &name, row.get_ref(1)?.as_str()?)?;
                questions.insert(name, Arc::new(question));
            }
            let mut answers = BTreeMap::new();
            let mut statement =
                connection.prepare_cached("SELECT id, json FROM answer WHERE of_case = ?1")?;
            let mut rows = statement.query([&id.0])?;
            while let Some(row) = rows.next()? {
                let name = Id(row.get(0)?);
                let answer = read_json("answer", &name, row.get_ref(1)?.as_str()?)?;
                answers.insert(name, Arc::new(answer));
            }
            let entries = entries::of_case(connection, id)?;
            let mut maps = Vec::new();
            for name in answers.keys() {
                if let Some(found) = maps_of(connection, name)? {
                    maps.push((name.clone(), found));
                }
            }
            Ok(Some((OpenCase { case: listed.case, questions, answers }, entries, maps)))
        })
    }
}

/// A case was changed then.
pub(super) fn touch(connection: &Connection, case: &Id, at: i64) -> Result<(), rusqlite::Error> {
    let mut statement =
        connection.prepare_cached("UPDATE cases SET changed = max(changed, ?2) WHERE id = ?1")?;
    statement.execute(params![case.0, at])?;
    Ok(())
}

/// A line of the list, without what a search found.
fn listed(row: &Row<'_>) -> Result<Listed, rusqlite::Error> {
    let path: Option<String> = row.get(3)?;
    let name: Option<String> = row.get(2)?;
    let case = Case {
        id: Id(row.get(0)?),
        slide: SlideId { hash: row.get(1)?, name: name.unwrap_or_default() },
        path: path.map(PathBuf::from),
        title: row.get(4)?,
        created: row.get(5)?,
        changed: row.get(6)?,
    };
    let (answers, reviewed, begun) = (row.get(7)?, row.get(8)?, row.get(9)?);
    Ok(Listed { case, answers, reviewed, begun, found: String::new(), answer: None })
}

pub(super) fn listed_case(connection: &Connection, id: &str) -> Result<Option<Listed>, rusqlite::Error> {
    connection.prepare_cached(&format!("{LISTED} WHERE id = ?1"))?.query_row([id], listed).optional()
}

pub(super) fn question_of(connection: &Connection, id: &Id) -> Result<Option<Question>, Fault> {
    let mut statement = connection.prepare_cached("SELECT json FROM question WHERE id = ?1")?;
    let json: Option<String> = statement.query_row([&id.0], |row| row.get(0)).optional()?;
    json.map(|json| read_json("question", id, &json)).transpose()
}

/// The maps of an answer; `None` where none were made.
pub(super) fn maps_of(connection: &Connection, answer: &Id) -> Result<Option<Maps>, Fault> {
    let mut statement = connection.prepare_cached("SELECT heads, grids FROM map WHERE answer = ?1")?;
    let mut rows = statement.query([&answer.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let maps = unpacked(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_blob()?);
    maps.map(|maps| Some(Arc::new(maps))).map_err(|reason| damaged("maps of the answer", answer, &reason))
}

/// Heads with their grids, which follow each other row by row as little-endian f32.
fn unpacked(heads: &str, grids: &[u8]) -> Result<Vec<(SentenceMap, Vec<f32>)>, String> {
    let heads: Vec<SentenceMap> = serde_json::from_str(heads).map_err(|error| error.to_string())?;
    let mut rest = grids;
    let mut maps = Vec::with_capacity(heads.len());
    for head in heads {
        let bytes = head.rows.checked_mul(head.cols).and_then(|cells| cells.checked_mul(4));
        let (own, after) =
            bytes.and_then(|bytes| rest.split_at_checked(bytes)).ok_or("they are cut short")?;
        rest = after;
        let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        maps.push((head, own.chunks_exact(4).map(value).collect()));
    }
    if rest.is_empty() { Ok(maps) } else { Err("they are too long".to_owned()) }
}

/// The same answer with numbers only that JSON has words for: a probability of nothing becomes the least that there is.
fn writable(answer: &Answer) -> std::borrow::Cow<'_, Answer> {
    use std::borrow::Cow;
    let options = |answer: &Answer| {
        answer.finished.iter().flat_map(|finished| &finished.options).all(|option| option.logprob.is_finite())
    };
    if answer.tokens.iter().all(|token| token.logprob.is_finite()) && options(answer) {
        return Cow::Borrowed(answer);
    }
    let mut answer = answer.clone();
    let tokens = answer.tokens.iter_mut().map(|token| &mut token.logprob);
    let options = answer.finished.iter_mut().flat_map(|finished| &mut finished.options);
    for logprob in tokens.chain(options.map(|option| &mut option.logprob)) {
        if !logprob.is_finite() {
            *logprob = f32::MIN;
        }
    }
    Cow::Owned(answer)
}

fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Refused(format!("it cannot be written ({error})")))
}

/// Reads what is stored under an id.
pub(super) fn read_json<T: DeserializeOwned>(what: &str, id: &Id, json: &str) -> Result<T, Fault> {
    serde_json::from_str(json).map_err(|error| damaged(what, id, &error.to_string()))
}

fn damaged(what: &str, id: &Id, reason: &str) -> Fault {
    Fault::Damaged(format!("the {what} {} is damaged ({reason})", id.0))
}

#[cfg(test)]
mod tests;
