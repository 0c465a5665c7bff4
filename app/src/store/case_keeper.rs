//! The thread that keeps cases, answers and verdicts, and reads them again.
//!
//! Nobody waits for it. It does what it is given in that order, so that a verdict never comes before its answer. What cannot be kept now
//! (another program holds the store, the disk is full) waits at its place and is tried again by the thread; only what the store refuses
//! for good is given up, and said. Of lists only the newest wish counts. When the keeper is dropped, the thread keeps what is left, for
//! two seconds at most.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::jobs::{self, Jobs};
use super::{Error, Store};
use crate::case::{Answer, Case, Id, Listed, Maps, OpenCase, Question};
use crate::review::verdict::{Draft, Entry};
use crate::review::{Collection, Selection};

/// Lines of a list.
pub const MOST_LISTED: usize = 200;

/// What the thread is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum CaseJob {
    /// Lists cases, those of a slide by its hash alone; of several wishes the newest is carried out.
    List {
        search: String,
        slide: Option<String>,
    },
    /// Reads a case; `at` comes back with it.
    Open {
        id: Id,
        at: Option<Id>,
    },
    KeepCase(Case),
    KeepQuestion(Arc<Question>),
    KeepAnswer {
        case: Id,
        answer: Arc<Answer>,
    },
    KeepMaps {
        answer: Id,
        maps: Maps,
    },
    /// Appends to the log.
    Append(Draft),
    /// Reads what is to be exported; the number comes back with it.
    Collect {
        number: u64,
        which: Selection,
    },
}

/// What it tells.
#[derive(Clone, Debug)]
pub enum CaseNews {
    Listed {
        search: String,
        list: Vec<Listed>,
    },
    Opened {
        case: Box<OpenCase>,
        entries: Vec<Entry>,
        maps: Vec<(Id, Maps)>,
        at: Option<Id>,
    },
    /// The log has the oldest draft that it was given and had not answered yet.
    Appended(Entry),
    /// The oldest draft is not in the log. After [`Error::Refused`] it never will be and is given up; after any other error it waits, with
    /// all that came after it, and is tried again by the thread: it must not be offered once more.
    NotAppended(Error),
    Collected {
        number: u64,
        what: Result<Box<Collection>, Error>,
    },
    /// All that was offered so far is safe.
    Saved,
    /// Something cannot be kept now; it waits and is tried again.
    Waiting(Error),
    /// Something cannot be read, or not be kept at all.
    Failed(Error),
}

/// The thread's handle.
pub struct CaseKeeper(Jobs<CaseJob>);

impl CaseKeeper {
    /// Starts the thread; `told` is called on it. The store is opened with the first job; without a path it is in memory.
    pub fn start(path: Option<PathBuf>, told: impl Fn(CaseNews) + Send + 'static) -> std::io::Result<Self> {
        let owner =
            Owner { path, store: None, told, waiting: VecDeque::new(), list: None, has_unsaved: false };
        Jobs::start("cases", "answers and verdicts", owner).map(Self)
    }

    /// Gives the thread something to do, after all that it was given before.
    pub fn offer(&mut self, job: CaseJob) {
        self.0.offer(job);
    }

    /// Offers again what the thread had no room for.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

/// What the thread works with.
struct Owner<T: Fn(CaseNews)> {
    path: Option<PathBuf>,
    store: Option<Store>,
    told: T,
    /// In the order in which it came.
    waiting: VecDeque<CaseJob>,
    /// The newest wish for a list.
    list: Option<(String, Option<String>)>,
    /// Whether something was kept since it was last said that all is safe.
    has_unsaved: bool,
}

impl<T: Fn(CaseNews) + Send + 'static> jobs::Owner for Owner<T> {
    type Job = CaseJob;

    fn take(&mut self, job: CaseJob) {
        match job {
            CaseJob::List { search, slide } => self.list = Some((search, slide)),
            job => self.waiting.push_back(job),
        }
    }

    /// Says that what is first waits.
    fn tell_waiting(&self, error: &Error) {
        let is_verdict = matches!(self.waiting.front(), Some(CaseJob::Append(_)));
        (self.told)(if is_verdict {
            CaseNews::NotAppended(error.clone())
        } else {
            CaseNews::Waiting(error.clone())
        });
    }

    /// Does all that is to be done in its order; what fails stays to be done, and what comes after it. A list does not wait for that.
    fn carry_out(&mut self) -> Result<(), Error> {
        if self.waiting.is_empty() && self.list.is_none() {
            return Ok(());
        }
        let mut store = match self.store.take().map_or_else(|| self.open(), Ok) {
            Ok(store) => store,
            Err(error) => return self.give_up_reading(error),
        };
        let mut done = Ok(());
        while let Some(job) = self.waiting.pop_front() {
            match self.carry_out_one(&mut store, &job) {
                Ok(()) => {}
                Err(error @ Error::Refused { .. }) => self.tell_refused(&job, error),
                Err(error) => {
                    self.waiting.push_front(job);
                    done = Err(error);
                    break;
                }
            }
        }
        if done.is_ok() && std::mem::take(&mut self.has_unsaved) {
            (self.told)(CaseNews::Saved);
        }
        if let Some((search, slide)) = self.list.take() {
            match store.cases(&search, slide.as_deref(), MOST_LISTED) {
                Ok(list) => (self.told)(CaseNews::Listed { search, list }),
                Err(error) if error.may_pass() => {
                    self.list = Some((search, slide));
                    done = done.and(Err(error));
                }
                Err(error) => (self.told)(CaseNews::Failed(error)),
            }
        }
        self.store = Some(store);
        done
    }
}

impl<T: Fn(CaseNews)> Owner<T> {
    /// Only what may succeed later is an error.
    fn carry_out_one(&mut self, store: &mut Store, job: &CaseJob) -> Result<(), Error> {
        match job {
            CaseJob::List { .. } => return Ok(()),
            CaseJob::Open { id, at } => return self.open_case(store, id, at.as_ref()),
            CaseJob::Collect { number, which } => {
                let what = store.collect(which);
                if let Err(error) = &what
                    && error.may_pass()
                {
                    return Err(error.clone());
                }
                (self.told)(CaseNews::Collected { number: *number, what: what.map(Box::new) });
                return Ok(());
            }
            CaseJob::KeepCase(case) => store.keep_case(case)?,
            CaseJob::KeepQuestion(question) => store.keep_question(question)?,
            CaseJob::KeepAnswer { case, answer } => store.keep_answer(case, answer)?,
            CaseJob::KeepMaps { answer, maps } => store.keep_maps(answer, maps)?,
            CaseJob::Append(draft) => {
                let entry = store.append(draft)?;
                (self.told)(CaseNews::Appended(entry));
            }
        }
        self.has_unsaved = true;
        Ok(())
    }

    fn open_case(&self, store: &Store, id: &Id, at: Option<&Id>) -> Result<(), Error> {
        match store.open_case(id) {
            Ok(Some((case, entries, maps))) => {
                (self.told)(CaseNews::Opened { case: Box::new(case), entries, maps, at: at.cloned() });
            }
            Ok(None) => {
                let reason = format!("there is no case {}", id.0);
                (self.told)(CaseNews::Failed(Error::Refused { reason, path: store.path.clone() }));
            }
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => (self.told)(CaseNews::Failed(error)),
        }
        Ok(())
    }

    fn tell_refused(&self, job: &CaseJob, error: Error) {
        tracing::error!("{error}");
        (self.told)(match job {
            CaseJob::Append(_) => CaseNews::NotAppended(error),
            _ => CaseNews::Failed(error),
        });
    }

    /// The store cannot be opened: what is to be kept waits, and so does everything where it may be opened soon; else whoever wants to read
    /// something is told at once.
    fn give_up_reading(&mut self, error: Error) -> Result<(), Error> {
        if error.may_pass() {
            return Err(error);
        }
        let mut has_failed = self.list.take().is_some();
        let told = &self.told;
        self.waiting.retain(|job| match job {
            CaseJob::Open { .. } | CaseJob::List { .. } => {
                has_failed = true;
                false
            }
            CaseJob::Collect { number, .. } => {
                told(CaseNews::Collected { number: *number, what: Err(error.clone()) });
                false
            }
            _ => true,
        });
        if has_failed {
            told(CaseNews::Failed(error.clone()));
        }
        if self.waiting.is_empty() { Ok(()) } else { Err(error) }
    }

    fn open(&self) -> Result<Store, Error> {
        let store = match &self.path {
            Some(path) => Store::open(path)?,
            None => Store::open_in_memory()?,
        };
        store.sync_fully()?;
        Ok(store)
    }
}

#[cfg(test)]
mod tests;
