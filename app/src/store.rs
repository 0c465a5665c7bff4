//! The program's one store, `store.sqlite` in the user's data folder: what the user made and must never lose.
//!
//! SQLite in WAL mode, a connection for each thread that owns one, brought up to date by numbered migrations. Annotations are keyed by the
//! slide's hash, so that a slide that was moved or renamed still has its own; cases, answers and verdicts have names of their own
//! (`cases.rs`, `entries.rs`).
//!
//! In WAL mode with `synchronous=NORMAL` a change that was acknowledged survives a crash of the program; a loss of power may take the
//! last ones, never the file. Verdicts are kept with `synchronous=FULL` ([`Store::sync_fully`]) and survive that as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::annotation::{Annotation, Class, geojson};

mod backup;
pub mod case_keeper;
mod cases;
mod entries;
mod jobs;
pub mod keeper;
mod migration;
#[cfg(test)]
pub(crate) mod samples;
mod search;

pub use self::cases::Opened;

/// The newest form of the store that this program knows.
pub const FORMAT: u32 = 3;
/// How long another window may hold the store before this one says so.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("The store was written by a newer version of this program (form {found}), update it: {}", path.display())]
    Newer { found: i64, path: PathBuf },
    #[error("Another program holds the store, what changed waits and is kept once it is free: {}", path.display())]
    Busy { path: PathBuf },
    #[error("The store cannot be used, {reason}: {}", path.display())]
    Broken { reason: String, path: PathBuf },
    /// Nothing was changed.
    #[error("The store is of an older form and stays as it is, since it cannot be copied first ({reason}): {}", path.display())]
    NoBackup { reason: String, path: PathBuf },
    /// What was to be kept does not fit what is there; trying again changes nothing.
    #[error("The store does not take this, {reason}: {}", path.display())]
    Refused { reason: String, path: PathBuf },
}

impl Error {
    /// Whether the same may succeed a little later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

/// A slide, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlideId {
    /// `SlideInfo::hash`.
    pub hash: String,
    /// The file's name, so that a person finds it again; empty in blinded reading.
    pub name: String,
}

/// What is to be kept at a place of a slide's set; `None`: nothing any more.
pub type Kept = (u64, Option<Arc<Annotation>>);

/// The open file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the store, makes it where there is none, and brings it up to date. A newer one is left as it is.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let broken = |reason: String| Error::Broken { reason, path: path.to_owned() };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|reason| broken(reason.to_string()))?;
        }
        let connection = Connection::open(path).map_err(|error| named(&error, path))?;
        Self::brought_up(connection, path.to_owned())
    }

    /// One that is gone with the program: for tests, and where there is no place to keep anything.
    pub fn open_in_memory() -> Result<Self, Error> {
        let path = PathBuf::from("in memory");
        let connection = Connection::open_in_memory().map_err(|error| named(&error, &path))?;
        Self::brought_up(connection, path)
    }

    fn brought_up(mut connection: Connection, path: PathBuf) -> Result<Self, Error> {
        connection.busy_timeout(PATIENCE).map_err(|error| named(&error, &path))?;
        migration::run(&mut connection, &path)?;
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;")
            .map_err(|error| named(&error, &path))?;
        Ok(Self { connection, path })
    }

    /// From now on what this connection keeps survives a loss of power as well; each change then waits for the disk.
    pub fn sync_fully(&self) -> Result<(), Error> {
        self.connection.execute_batch("PRAGMA synchronous=FULL;").map_err(|error| self.named(&error))
    }

    /// All annotations of a slide, by their place.
    pub fn annotations(&self, hash: &str) -> Result<BTreeMap<u64, Arc<Annotation>>, Error> {
        let failed = |error: rusqlite::Error| self.named(&error);
        let sql = "SELECT place, json FROM annotation WHERE slide = ?1 ORDER BY place";
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query([hash]).map_err(failed)?;
        let (mut all, mut classes) = (BTreeMap::new(), BTreeSet::new());
        while let Some(row) = rows.next().map_err(failed)? {
            let place: i64 = row.get(0).map_err(failed)?;
            let json: String = row.get(1).map_err(failed)?;
            let damaged = |reason: String| Error::Broken {
                reason: format!("annotation {place} of slide {hash} is damaged ({reason})"),
                path: self.path.clone(),
            };
            let imported = geojson::parse(json.as_bytes()).map_err(damaged)?;
            let mut annotation =
                imported.annotations.into_iter().next().ok_or_else(|| damaged("it is empty".to_owned()))?;
            annotation.class = annotation.class.map(|class| shared(&mut classes, class));
            all.insert(place as u64, Arc::new(annotation));
        }
        Ok(all)
    }

    /// Keeps all of it, or nothing, in one transaction; once this returns, no crash takes it away.
    pub fn save(&mut self, slide: &SlideId, kept: &[Kept]) -> Result<(), Error> {
        let path = self.path.clone();
        self.save_all(slide, kept).map_err(|error| named(&error, &path))
    }

    fn save_all(&mut self, slide: &SlideId, kept: &[Kept]) -> Result<(), rusqlite::Error> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        keep_slide(&transaction, slide)?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT INTO annotation (slide, place, id, json, changed) VALUES (?1, ?2, ?3, ?4, unixepoch())
                 ON CONFLICT (slide, place) DO UPDATE SET id = excluded.id, json = excluded.json, changed = excluded.changed",
            )?;
            let mut remove =
                transaction.prepare_cached("DELETE FROM annotation WHERE slide = ?1 AND place = ?2")?;
            for (place, annotation) in kept {
                match annotation {
                    Some(annotation) => {
                        let json = geojson::to_value(annotation).to_string();
                        put.execute(params![slide.hash, *place as i64, annotation.id, json])?;
                    }
                    None => {
                        remove.execute(params![slide.hash, *place as i64])?;
                    }
                }
            }
        }
        transaction.commit()
    }

    /// The classes that are offered for drawing, in the order of their names.
    pub fn classes(&self) -> Result<Vec<Class>, Error> {
        let failed = |error: rusqlite::Error| self.named(&error);
        let mut statement =
            self.connection.prepare_cached("SELECT name, rgb FROM class ORDER BY name").map_err(failed)?;
        let class = |row: &rusqlite::Row<'_>| -> Result<Class, rusqlite::Error> {
            let (name, rgb): (String, u32) = (row.get(0)?, row.get(1)?);
            let [_, r, g, b] = rgb.to_be_bytes();
            Ok(Class { name, rgb: [r, g, b] })
        };
        let classes = statement.query_map([], class).map_err(failed)?;
        classes.collect::<Result<_, _>>().map_err(failed)
    }

    /// Adds a class, or gives it another colour.
    pub fn save_class(&mut self, class: &Class) -> Result<(), Error> {
        let [r, g, b] = class.rgb;
        let rgb = u32::from_be_bytes([0, r, g, b]);
        let sql = "INSERT INTO class (name, rgb) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET rgb = excluded.rgb";
        self.connection.execute(sql, params![class.name, rgb]).map_err(|error| self.named(&error))?;
        Ok(())
    }

    /// The name that a slide had when it was last annotated without blinding.
    pub fn slide_name(&self, hash: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT name FROM slide WHERE hash = ?1";
        let name = self.connection.query_row(sql, [hash], |row| row.get(0)).optional();
        name.map_err(|error| self.named(&error))
    }

    fn named(&self, error: &rusqlite::Error) -> Error {
        named(error, &self.path)
    }

    /// Changes something, all of it or nothing.
    fn within<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, Error> {
        let Self { connection, path } = self;
        let path: &Path = path;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| named(&error, path))?;
        let done = work(&transaction).map_err(|fault| fault.told(path))?;
        transaction.commit().map_err(|error| named(&error, path))?;
        Ok(done)
    }

    /// Reads several things as they are at one moment.
    fn reading<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Error> {
        let moment = self.connection.unchecked_transaction().map_err(|error| self.named(&error))?;
        let connection: &Connection = &moment;
        let read = work(connection).map_err(|fault| fault.told(&self.path))?;
        moment.commit().map_err(|error| self.named(&error))?;
        Ok(read)
    }
}

/// What ends a transaction.
#[derive(Debug)]
enum Fault {
    Sqlite(rusqlite::Error),
    /// Something that is stored cannot be read, as a clause.
    Damaged(String),
    /// What is to be kept does not fit, as a clause.
    Refused(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<FromSqlError> for Fault {
    fn from(error: FromSqlError) -> Self {
        Self::Sqlite(error.into())
    }
}

impl Fault {
    fn told(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Sqlite(error) => named(&error, &path),
            Self::Damaged(reason) => Error::Broken { reason, path },
            Self::Refused(reason) => Error::Refused { reason, path },
        }
    }
}

/// Makes a slide known; blinded reading takes no name away.
fn keep_slide(connection: &Connection, slide: &SlideId) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO slide (hash, name) VALUES (?1, ?2)
             ON CONFLICT (hash) DO UPDATE SET name = excluded.name WHERE excluded.name <> ''",
        )?
        .execute(params![slide.hash, slide.name])?;
    Ok(())
}

/// SQLite's error as one sentence.
fn named(error: &rusqlite::Error, path: &Path) -> Error {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy { path },
        Some(ErrorCode::ConstraintViolation) => Error::Refused { reason: error.to_string(), path },
        _ => Error::Broken { reason: error.to_string(), path },
    }
}

/// One `Arc` for equal classes.
fn shared(classes: &mut BTreeSet<Arc<Class>>, class: Arc<Class>) -> Arc<Class> {
    if let Some(known) = classes.get(&class) {
        return Arc::clone(known);
    }
    classes.insert(Arc::clone(&class));
    class
}

#[cfg(test)]
mod tests;
