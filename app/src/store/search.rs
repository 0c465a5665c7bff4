//! Finding cases by words: of questions and answers through SQLite's full-text list, of titles by looking through them.

use std::collections::{BTreeMap, BTreeSet};

use reinpath_model::prose;
use reinpath_model::stage::AnswerStage;
use rusqlite::{Connection, params_from_iter};
use serde::Deserialize;

use super::Fault;
use super::cases::{listed_case, question_of, read_json};
use crate::case::{Answer, Id, Listed, Question};

/// Words of a search that are looked for; nobody types more, but somebody may paste a page.
const MOST_WORDS: usize = 16;
/// Shorter words are found only whole: a tenth of all words begins with any one letter.
const LEAST_BEGINNING: usize = 3;
/// Answers that are looked at for each case that is wanted, the newest first.
const HITS_PER_CASE: usize = 50;
/// Characters of an answer that are shown around what was found.
const SHOWN: usize = 100;
/// Characters of them before it.
const SHOWN_BEFORE: usize = 30;

/// The text of a question with its answer that words are found in.
pub(super) fn words_of(question: &Question, answer: &Answer) -> String {
    let text = answer.text();
    let of_question = [question.text.as_str(), question.context.as_str()].into_iter();
    let stages = AnswerStage::ALL.map(|stage| text.stage(stage));
    let all: Vec<&str> =
        of_question.chain(question.choices.iter().map(String::as_str)).chain(stages).collect();
    all.join("\n")
}

/// The cases that a search finds.
pub(super) fn cases(
    connection: &Connection,
    search: &str,
    slide: Option<&str>,
    most: usize,
) -> Result<Vec<Listed>, Fault> {
    let words: Vec<&str> =
        prose::words(search).into_iter().map(|range| &search[range]).take(MOST_WORDS).collect();
    if words.is_empty() || most == 0 {
        return Ok(Vec::new());
    }
    let mut found = by_words(connection, &query(&words), slide, most)?;
    for id in by_title(connection, &words, slide, most)? {
        found.entry(id).or_insert(None);
    }
    let mut list = Vec::with_capacity(found.len());
    for (id, number) in found {
        let Some(listed) = listed_case(connection, &id)? else { continue };
        list.push((listed, number));
    }
    list.sort_by(|(a, _), (b, _)| (b.case.changed, &b.case.id).cmp(&(a.case.changed, &a.case.id)));
    list.truncate(most);
    list.into_iter()
        .map(|(mut listed, number)| {
            match number {
                Some(number) => {
                    let (answer, shown) = shown(connection, number, &words)?;
                    (listed.answer, listed.found) = (Some(answer), shown);
                }
                None => listed.found.clone_from(&listed.case.title),
            }
            Ok(listed)
        })
        .collect()
}

/// The words as SQLite's full-text search wants them: all of them, each as a string that is a beginning.
fn query(words: &[&str]) -> String {
    let quoted = |word: &&str| {
        let star = if word.chars().count() < LEAST_BEGINNING { "" } else { "*" };
        format!("\"{}\"{star}", word.replace('"', "\"\""))
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// By case, the newest answer that has the words.
fn by_words(
    connection: &Connection,
    query: &str,
    slide: Option<&str>,
    most: usize,
) -> Result<BTreeMap<String, Option<i64>>, Fault> {
    let mut found = BTreeMap::new();
    let Some(slide) = slide else {
        let hits = i64::try_from(most.saturating_mul(HITS_PER_CASE)).unwrap_or(i64::MAX);
        let mut statement = connection.prepare_cached(
            "SELECT rowid FROM answer_words WHERE answer_words MATCH ?1 ORDER BY rowid DESC LIMIT ?2",
        )?;
        let mut case_of = connection.prepare_cached("SELECT of_case FROM answer WHERE number = ?1")?;
        let mut rows = statement.query(rusqlite::params![query, hits])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            found.entry(case_of.query_row([number], |row| row.get(0))?).or_insert(Some(number));
            if found.len() >= most {
                break;
            }
        }
        return Ok(found);
    };
    // Few of all answers are of one slide: they are known first, and what is found elsewhere costs a look into this list.
    let mut statement = connection.prepare_cached(
        "SELECT number, of_case FROM answer WHERE of_case IN (SELECT id FROM cases WHERE slide = ?1)",
    )?;
    let own = statement.query_map([slide], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let own: BTreeMap<i64, String> = own.collect::<Result<_, _>>()?;
    let (Some((least, _)), Some((greatest, _))) = (own.first_key_value(), own.last_key_value()) else {
        return Ok(found);
    };
    let mut statement = connection.prepare_cached(
        "SELECT rowid FROM answer_words WHERE answer_words MATCH ?1 AND rowid >= ?2 AND rowid <= ?3 ORDER BY rowid DESC",
    )?;
    let mut rows = statement.query(rusqlite::params![query, least, greatest])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        if let Some(case) = own.get(&number) {
            found.entry(case.clone()).or_insert(Some(number));
        }
        if found.len() >= most {
            break;
        }
    }
    Ok(found)
}

/// Cases with all words in their title, of which a user may have made anything.
fn by_title(
    connection: &Connection,
    words: &[&str],
    slide: Option<&str>,
    most: usize,
) -> Result<BTreeSet<String>, Fault> {
    // No word has a character that LIKE takes for another: they are letters and digits.
    let mut bound: Vec<String> = words.iter().map(|word| format!("%{word}%")).collect();
    let mut wanted: Vec<String> = (1..=bound.len()).map(|place| format!("title LIKE ?{place}")).collect();
    if let Some(slide) = slide {
        bound.push(slide.to_owned());
        wanted.push(format!("slide = ?{}", bound.len()));
    }
    // All titles are looked at in the order in which they lie: one by one along the index takes longer.
    let sql =
        format!("SELECT id FROM cases WHERE {} ORDER BY +changed DESC LIMIT {most}", wanted.join(" AND "));
    let mut statement = connection.prepare(&sql)?;
    let ids = statement.query_map(params_from_iter(bound), |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// An answer as far as it is needed to show a piece of it.
#[derive(Deserialize)]
struct Text {
    question: Id,
    tokens: Vec<Piece>,
}

#[derive(Deserialize)]
struct Piece {
    stage: Option<AnswerStage>,
    text: String,
}

/// An answer's id, and the place in it or in its question where a word of the search stands.
fn shown(connection: &Connection, number: i64, words: &[&str]) -> Result<(Id, String), Fault> {
    let mut statement = connection.prepare_cached("SELECT id, json FROM answer WHERE number = ?1")?;
    let (id, json): (String, String) = statement.query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let id = Id(id);
    let text: Text = read_json("answer", &id, &json)?;
    let mut answer = String::new();
    let mut stage = None;
    for piece in &text.tokens {
        if std::mem::replace(&mut stage, piece.stage) != piece.stage {
            answer.push(' ');
        }
        answer.push_str(&piece.text);
    }
    if let Some(at) = place_of(&answer, words) {
        return Ok((id, cut(&answer, at)));
    }
    let question = question_of(connection, &text.question)?.unwrap_or_default();
    let asked = [&[question.text, question.context][..], &question.choices[..]].concat().join(" ");
    let shown = match place_of(&asked, words) {
        Some(at) => cut(&asked, at),
        // It was found by its stem alone.
        None => cut(&answer, 0),
    };
    Ok((id, shown))
}

/// Where a word begins that one of the search's words is the beginning of, or that has its beginning.
fn place_of(text: &str, words: &[&str]) -> Option<usize> {
    let wanted: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let all = prose::words(text);
    let lower: Vec<String> = all.iter().map(|range| text[range.clone()].to_lowercase()).collect();
    let is_beginning = |word: &String| wanted.iter().any(|wanted| word.starts_with(wanted.as_str()));
    let is_alike = |word: &String| {
        wanted.iter().any(|wanted| {
            let same = word.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
            same >= 4 && same * 3 >= wanted.chars().count() * 2
        })
    };
    let place = lower.iter().position(is_beginning).or_else(|| lower.iter().position(is_alike))?;
    Some(all[place].start)
}

/// A line of text around a place, a byte at which a word begins.
fn cut(text: &str, at: usize) -> String {
    let before = text[..at].char_indices().rev().take(SHOWN_BEFORE).last().map_or(at, |(place, _)| place);
    // Not in the middle of a word.
    let start = if before == 0 {
        0
    } else {
        text[before..at].find(char::is_whitespace).map_or(at, |gap| before + gap)
    };
    let rest = &text[start..];
    let length = rest.char_indices().nth(SHOWN).map_or(rest.len(), |(place, _)| place);
    let whole = length == rest.len();
    let end = if whole { length } else { rest[..length].rfind(char::is_whitespace).unwrap_or(length) };
    let line = rest[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    let (head, tail) = (if start > 0 { "… " } else { "" }, if whole { "" } else { " …" });
    format!("{head}{line}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_words_that_sqlite_takes_for_words() {
        assert_eq!(query(&["gland", "in", "µm²"]), "\"gland\"* \"in\" \"µm²\"*");
        assert_eq!(query(&["a\"b"]), "\"a\"\"b\"*");
    }

    #[test]
    fn a_line_is_cut_around_the_word() {
        let long = "word ".repeat(40);
        let text = format!("{long}Glands are\nseen. {long}");
        let at = place_of(&text, &["gland"]).unwrap();
        assert!(text[at..].starts_with("Glands"));
        let line = cut(&text, at);
        assert!(line.starts_with("… word") && line.ends_with("word …"), "{line}");
        assert!(line.contains("Glands are seen.") && line.chars().count() <= SHOWN + 4, "{line}");
        assert_eq!(cut("Short.", 0), "Short.");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn a_word_is_found_by_its_stem_and_not_inside_others() {
        assert_eq!(place_of("no mitoses", &["mitosis"]), Some(3));
        assert_eq!(place_of("the islands", &["lands"]), None);
        assert_eq!(place_of("µm and ÄNDERUNG", &["änder"]), Some("µm and ".len()));
    }

    #[test]
    fn a_word_longer_than_the_line_is_cut_where_it_is() {
        let line = cut(&"ä".repeat(500), 0);
        assert_eq!(line.chars().count(), SHOWN + 2);
    }
}
