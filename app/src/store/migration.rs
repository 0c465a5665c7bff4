//! How an older store becomes today's: one SQL text for each step, and the file's `user_version` counts those that were taken.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{Error, FORMAT, backup, named};

/// From the form before each to its own number; a text that was published is never changed.
const STEPS: [&str; FORMAT as usize] = [
    "
    CREATE TABLE slide (
        hash TEXT PRIMARY KEY,
        name TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE class (
        name TEXT PRIMARY KEY,
        rgb INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE annotation (
        slide TEXT NOT NULL REFERENCES slide (hash),
        place INTEGER NOT NULL,
        id TEXT NOT NULL,
        json TEXT NOT NULL,
        changed INTEGER NOT NULL,
        PRIMARY KEY (slide, place)
    ) STRICT, WITHOUT ROWID;
",
    CASES,
    // The numbers beside maps were of another unit. Maps are made again where they are asked for.
    "DELETE FROM map;",
];

/// Cases, answers with their maps and a list of their words, and the log of verdicts, which nobody changes.
const CASES: &str = "
    CREATE TABLE cases (
        id TEXT PRIMARY KEY,
        slide TEXT NOT NULL REFERENCES slide (hash),
        path TEXT,
        title TEXT NOT NULL,
        created INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        answers INTEGER NOT NULL DEFAULT 0,
        reviewed INTEGER NOT NULL DEFAULT 0,
        begun INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX cases_by_change ON cases (changed);
    CREATE INDEX cases_by_slide ON cases (slide, changed);
    CREATE TABLE question (
        id TEXT PRIMARY KEY,
        of_case TEXT NOT NULL REFERENCES cases (id),
        asked INTEGER NOT NULL,
        json TEXT NOT NULL
    ) STRICT;
    CREATE INDEX question_by_case ON question (of_case);
    CREATE TABLE answer (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        of_case TEXT NOT NULL REFERENCES cases (id),
        question TEXT NOT NULL REFERENCES question (id),
        began INTEGER NOT NULL,
        hash TEXT NOT NULL,
        review INTEGER NOT NULL DEFAULT 0,
        json TEXT NOT NULL
    ) STRICT;
    CREATE INDEX answer_by_case ON answer (of_case);
    CREATE TABLE map (
        answer TEXT PRIMARY KEY REFERENCES answer (id),
        heads TEXT NOT NULL,
        grids BLOB NOT NULL
    ) STRICT;
    CREATE VIRTUAL TABLE answer_words USING fts5 (
        words, content = '', tokenize = 'porter unicode61 remove_diacritics 2'
    );
    CREATE TABLE log (
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        answer TEXT NOT NULL REFERENCES answer (id),
        previous TEXT NOT NULL,
        body TEXT NOT NULL,
        hash TEXT NOT NULL
    ) STRICT;
    CREATE INDEX log_by_answer ON log (answer);
    CREATE TRIGGER log_is_not_changed BEFORE UPDATE ON log
        BEGIN SELECT RAISE(ABORT, 'the log is only appended to'); END;
    CREATE TRIGGER log_is_not_cut BEFORE DELETE ON log
        BEGIN SELECT RAISE(ABORT, 'the log is only appended to'); END;
";

/// Takes the steps that are missing, each all or not at all, after a copy of what is there was made. Two windows may start at once:
/// whoever comes second finds it done.
pub(super) fn run(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let failed = |error: rusqlite::Error| named(&error, path);
    if form(connection).map_err(failed)? > i64::from(FORMAT) {
        return Err(Error::Newer { found: form(connection).map_err(failed)?, path: path.to_owned() });
    }
    let old = form(connection).map_err(failed)?;
    if (1..i64::from(FORMAT)).contains(&old) {
        backup::keep(connection, path, old)?;
    }
    while form(connection).map_err(failed)? < i64::from(FORMAT) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let done = form(&transaction).map_err(failed)?;
        if done >= i64::from(FORMAT) {
            return Ok(());
        }
        let step = usize::try_from(done).ok().and_then(|done| STEPS.get(done)).ok_or_else(|| {
            Error::Broken { reason: format!("its form {done} is none that ever was"), path: path.to_owned() }
        })?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {}", done + 1)).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

fn form(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}
