//! The log of verdicts in the store, which only grows, and what is read of it: its head, its links, and all that belongs to an export.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::cases::{listed_case, maps_of, question_of, read_json, touch};
use super::{Error, Fault, Store};
use crate::case::{Answer, Case, Id, Question, now};
use crate::review::log::{Head, Link};
use crate::review::verdict::{Action, Draft, Entry, Standing};
use crate::review::{Collection, Reviewed, Selection};

impl Store {
    /// Appends to the log and counts anew how far the answer was judged, in one transaction; once this returns, no crash takes it away.
    ///
    /// An answer that is not kept, and taking back what this answer has no entry for or what was taken back already, are refused.
    pub fn append(&mut self, draft: &Draft) -> Result<Entry, Error> {
        self.within(|transaction| {
            let judged = Judged::read(transaction, &draft.answer)?;
            let mut entries = of_answer(transaction, &draft.answer)?;
            check(&draft.action, &entries)?;
            let head = head_of(transaction)?;
            let entry = Entry {
                number: head.entries + 1,
                at: now(),
                answer: draft.answer.clone(),
                answer_hash: judged.hash.clone(),
                reviewer: draft.reviewer.clone(),
                action: draft.action.clone(),
            };
            insert(transaction, &entry, head.hash)?;
            entries.push(entry.clone());
            judged.count(transaction, &entries)?;
            touch(transaction, &judged.case, entry.at)?;
            Ok(entry)
        })
    }

    /// The last entry of the log.
    pub fn head(&self) -> Result<Head, Error> {
        head_of(&self.connection).map_err(|fault| fault.told(&self.path))
    }

    /// Every entry of the log as it is stored, by number, until `each` says no more. What is no text is read as well as it can be:
    /// its hash tells.
    pub fn links(&self, each: &mut dyn FnMut(Link) -> bool) -> Result<(), Error> {
        let failed = |error: rusqlite::Error| self.named(&error);
        let sql = "SELECT number, at, answer, previous, body, hash FROM log ORDER BY number";
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            if !each(link(row).map_err(failed)?) {
                break;
            }
        }
        Ok(())
    }

    /// The stored entry with this number.
    pub fn link(&self, number: u64) -> Result<Option<Link>, Error> {
        let sql = "SELECT number, at, answer, previous, body, hash FROM log WHERE number = ?1";
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.connection.query_row(sql, [number], link).optional().map_err(|error| self.named(&error))
    }

    /// The BLAKE3 of an answer's text as it lies in the store now; `None` where the answer is not there.
    pub fn stored_hash(&self, answer: &str) -> Result<Option<String>, Error> {
        let hash = |row: &Row<'_>| -> Result<String, rusqlite::Error> {
            Ok(blake3::hash(row.get_ref(0)?.as_bytes()?).to_hex().to_string())
        };
        let sql = "SELECT json FROM answer WHERE id = ?1";
        let read = self.connection.prepare_cached(sql).and_then(|mut statement| {
            let found = statement.query_row([answer], hash);
            found.optional()
        });
        read.map_err(|error| self.named(&error))
    }

    /// Answers with all that is known of them, in the order in which they were kept, and the log's head at the same moment.
    pub fn collect(&self, which: &Selection) -> Result<Collection, Error> {
        self.reading(|connection| {
            let ids: Vec<Id> = match which {
                Selection::Answers(ids) => ids.clone(),
                Selection::Case(case) => ids_of(
                    connection,
                    "SELECT id FROM answer WHERE of_case = ?1 ORDER BY number",
                    Some(&case.0),
                )?,
                Selection::Reviewed => ids_of(
                    connection,
                    "SELECT id FROM answer WHERE id IN (SELECT answer FROM log) AND review > 0 ORDER BY number",
                    None,
                )?,
            };
            let (mut cases, mut questions) = (BTreeMap::new(), BTreeMap::new());
            let mut reviewed = Vec::with_capacity(ids.len());
            for id in &ids {
                reviewed.push(reviewed_of(connection, id, &mut cases, &mut questions)?);
            }
            Ok(Collection { reviewed, head: head_of(connection)? })
        })
    }
}

/// How far an answer was judged before something is appended.
struct Judged {
    number: i64,
    case: Id,
    hash: String,
    /// 0: no verdict stands, 1: some do, 2: every sentence has one.
    review: i64,
    answer: Answer,
}

impl Judged {
    fn read(connection: &Connection, id: &Id) -> Result<Self, Fault> {
        let mut statement = connection
            .prepare_cached("SELECT number, of_case, hash, review, json FROM answer WHERE id = ?1")?;
        let mut rows = statement.query([&id.0])?;
        let Some(row) = rows.next()? else {
            return Err(Fault::Refused(format!("the answer {} is not kept", id.0)));
        };
        // An entry about what cannot be read would wait for ever: it is refused.
        let answer = serde_json::from_str(row.get_ref(4)?.as_str()?)
            .map_err(|error| Fault::Refused(format!("the answer {} is damaged ({error})", id.0)))?;
        Ok(Self {
            number: row.get(0)?,
            case: Id(row.get(1)?),
            hash: row.get(2)?,
            review: row.get(3)?,
            answer,
        })
    }

    /// Writes how far it is judged by these entries, also into the counts of its case.
    fn count(&self, connection: &Connection, entries: &[Entry]) -> Result<(), Fault> {
        let standing = Standing::of(entries, &[]);
        let review = if !standing.has_any() {
            0
        } else if standing.is_complete(&self.answer.text()) {
            2
        } else {
            1
        };
        if review == self.review {
            return Ok(());
        }
        connection
            .prepare_cached("UPDATE answer SET review = ?2 WHERE number = ?1")?
            .execute(params![self.number, review])?;
        let change = |of: i64| i64::from(review == of) - i64::from(self.review == of);
        connection
            .prepare_cached("UPDATE cases SET reviewed = reviewed + ?2, begun = begun + ?3 WHERE id = ?1")?
            .execute(params![self.case.0, change(2), change(1)])?;
        Ok(())
    }
}

/// Refuses to take back what cannot be taken back: of another answer, or what was taken back already.
fn check(action: &Action, entries: &[Entry]) -> Result<(), Fault> {
    let Action::Undo(number) = action else { return Ok(()) };
    if !entries.iter().any(|entry| entry.number == *number) {
        return Err(Fault::Refused(format!("entry {number} is not about this answer")));
    }
    // From the last one back: what was taken back takes nothing back itself.
    let mut undone = BTreeSet::new();
    for entry in entries.iter().rev() {
        if let Action::Undo(earlier) = entry.action
            && !undone.contains(&entry.number)
        {
            undone.insert(earlier);
        }
    }
    if undone.contains(number) {
        return Err(Fault::Refused(format!("entry {number} was taken back already")));
    }
    Ok(())
}

fn insert(connection: &Connection, entry: &Entry, previous: String) -> Result<(), Fault> {
    let body = serde_json::to_string(entry)
        .map_err(|error| Fault::Refused(format!("the verdict cannot be written ({error})")))?;
    let mut link = Link {
        number: entry.number,
        at: entry.at,
        answer: entry.answer.0.clone(),
        previous,
        body,
        hash: String::new(),
    };
    link.hash = link.right_hash();
    let Link { number, at, answer, previous, body, hash } = link;
    connection
        .prepare_cached(
            "INSERT INTO log (number, at, answer, previous, body, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![number as i64, at, answer, previous, body, hash])?;
    Ok(())
}

fn head_of(connection: &Connection) -> Result<Head, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT number, hash FROM log ORDER BY number DESC LIMIT 1")?;
    let head = |row: &Row<'_>| -> Result<Head, rusqlite::Error> {
        Ok(Head { entries: row.get(0)?, hash: row.get(1)? })
    };
    Ok(statement.query_row([], head).optional()?.unwrap_or_default())
}

fn link(row: &Row<'_>) -> Result<Link, rusqlite::Error> {
    let text = |column: usize| -> Result<String, rusqlite::Error> {
        Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into_owned())
    };
    // A number below 1 is none that an entry can have: it is out of order wherever it stands.
    let number: i64 = row.get(0)?;
    Ok(Link {
        number: u64::try_from(number).unwrap_or(0),
        at: row.get(1)?,
        answer: text(2)?,
        previous: text(3)?,
        body: text(4)?,
        hash: text(5)?,
    })
}

/// What the log says of an answer, in order.
fn of_answer(connection: &Connection, answer: &Id) -> Result<Vec<Entry>, Fault> {
    entries(connection, "SELECT number, body FROM log WHERE answer = ?1 ORDER BY number", answer)
}

/// What the log says of all answers of a case, in order.
pub(super) fn of_case(connection: &Connection, case: &Id) -> Result<Vec<Entry>, Fault> {
    let sql = "SELECT number, body FROM log INDEXED BY log_by_answer
        WHERE answer IN (SELECT id FROM answer WHERE of_case = ?1) ORDER BY number";
    entries(connection, sql, case)
}

fn entries(connection: &Connection, sql: &str, id: &Id) -> Result<Vec<Entry>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([&id.0])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let body = row.get_ref(1)?.as_str()?;
        let entry = serde_json::from_str(body).map_err(|error| {
            Fault::Damaged(format!("entry {number} of the log of verdicts is damaged ({error})"))
        })?;
        entries.push(entry);
    }
    Ok(entries)
}

fn ids_of(connection: &Connection, sql: &str, bound: Option<&String>) -> Result<Vec<Id>, Fault> {
    let mut statement = connection.prepare(sql)?;
    let ids = statement.query_map(rusqlite::params_from_iter(bound), |row| row.get(0).map(Id))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// An answer with all that is known of it. Cases and questions that several answers have are read once.
fn reviewed_of(
    connection: &Connection,
    id: &Id,
    cases: &mut BTreeMap<String, Case>,
    questions: &mut BTreeMap<Id, Arc<Question>>,
) -> Result<Reviewed, Fault> {
    let mut statement = connection.prepare_cached("SELECT of_case, hash, json FROM answer WHERE id = ?1")?;
    let mut rows = statement.query([&id.0])?;
    let missing = |what: &str, name: &str| Fault::Refused(format!("the {what} {name} is not kept"));
    let row = rows.next()?.ok_or_else(|| missing("answer", &id.0))?;
    let (of_case, hash): (String, String) = (row.get(0)?, row.get(1)?);
    let answer: Answer = read_json("answer", id, row.get_ref(2)?.as_str()?)?;
    let case = if let Some(case) = cases.get(&of_case) {
        case.clone()
    } else {
        let case = listed_case(connection, &of_case)?.ok_or_else(|| missing("case", &of_case))?.case;
        cases.entry(of_case).or_insert(case).clone()
    };
    let question = if let Some(question) = questions.get(&answer.question) {
        Arc::clone(question)
    } else {
        let question = question_of(connection, &answer.question)?
            .ok_or_else(|| missing("question", &answer.question.0))?;
        Arc::clone(questions.entry(answer.question.clone()).or_insert(Arc::new(question)))
    };
    Ok(Reviewed {
        case,
        question,
        answer: Arc::new(answer),
        hash,
        entries: of_answer(connection, id)?,
        maps: maps_of(connection, id)?,
    })
}

#[cfg(test)]
mod tests;
