//! The thread that owns the store: it reads a slide's annotations when it is opened and keeps every change as it is made.
//!
//! Nobody waits for it. What cannot be saved now (another program holds the store, the disk is full) is kept and tried again; of one
//! annotation only the newest state waits. When the keeper is dropped it saves what is left, for two seconds at most.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use super::jobs::{self, Jobs};
use super::{Error, Kept, SlideId, Store};
use crate::annotation::{Annotation, Class};

/// What the thread is to do.
#[derive(Clone, Debug)]
enum Job {
    Load(String),
    Save { slide: SlideId, kept: Vec<Kept> },
    SaveClass(Class),
}

/// What it tells.
#[derive(Clone, Debug)]
pub enum News {
    /// The annotations of the slide with this hash.
    Loaded {
        hash: String,
        all: BTreeMap<u64, Arc<Annotation>>,
    },
    /// They cannot be read, so nothing of this slide is saved.
    NotLoaded {
        hash: String,
        error: Error,
    },
    Classes(Vec<Class>),
    /// All that was offered so far is safe.
    Saved,
    /// Something could not be saved and is tried again.
    Waiting(Error),
}

/// The thread's handle.
pub struct Keeper(Jobs<Job>);

impl Keeper {
    /// Starts the thread; `told` is called on it. The store is opened with the first job.
    pub fn start(path: PathBuf, told: impl Fn(News) + Send + 'static) -> std::io::Result<Self> {
        let owner = Owner {
            path,
            store: None,
            told,
            loads: VecDeque::new(),
            saves: BTreeMap::new(),
            classes: BTreeMap::new(),
        };
        Jobs::start("store", "annotations", owner).map(Self)
    }

    /// Asks for the annotations of a slide.
    pub fn load(&mut self, hash: String) {
        self.0.offer(Job::Load(hash));
    }

    /// Keeps what is at some places of a slide's set from now on.
    pub fn save(&mut self, slide: SlideId, kept: Vec<Kept>) {
        self.0.offer(Job::Save { slide, kept });
    }

    /// Keeps a class with its colour.
    pub fn save_class(&mut self, class: Class) {
        self.0.offer(Job::SaveClass(class));
    }

    /// Offers again what the thread had no room for.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

/// What the thread works with.
struct Owner<T: Fn(News)> {
    path: PathBuf,
    store: Option<Store>,
    told: T,
    loads: VecDeque<String>,
    /// The newest state of what is not saved yet.
    saves: BTreeMap<SlideId, BTreeMap<u64, Option<Arc<Annotation>>>>,
    classes: BTreeMap<String, Class>,
}

impl<T: Fn(News) + Send + 'static> jobs::Owner for Owner<T> {
    type Job = Job;

    fn take(&mut self, job: Job) {
        match job {
            Job::Load(hash) => self.loads.push_back(hash),
            Job::Save { slide, kept } => self.saves.entry(slide).or_default().extend(kept),
            Job::SaveClass(class) => {
                self.classes.insert(class.name.clone(), class);
            }
        }
    }

    fn carry_out(&mut self) -> Result<(), Error> {
        if self.loads.is_empty() && self.saves.is_empty() && self.classes.is_empty() {
            return Ok(());
        }
        let store = match self.store.take().map_or_else(|| self.open(), Ok) {
            Ok(store) => self.store.insert(store),
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => {
                // Nothing can be kept until it is opened anew; whoever asked for annotations is told so.
                for hash in self.loads.drain(..) {
                    (self.told)(News::NotLoaded { hash, error: error.clone() });
                }
                return if self.saves.is_empty() && self.classes.is_empty() { Ok(()) } else { Err(error) };
            }
        };
        let had_saves = !self.saves.is_empty();
        while let Some((slide, kept)) = self.saves.pop_first() {
            let all: Vec<Kept> = kept.into_iter().collect();
            if let Err(error) = store.save(&slide, &all) {
                self.saves.insert(slide, all.into_iter().collect());
                return Err(error);
            }
        }
        while let Some((name, class)) = self.classes.pop_first() {
            if let Err(error) = store.save_class(&class) {
                self.classes.insert(name, class);
                return Err(error);
            }
        }
        if had_saves {
            (self.told)(News::Saved);
        }
        while let Some(hash) = self.loads.pop_front() {
            match store.annotations(&hash) {
                Ok(all) => (self.told)(News::Loaded { hash, all }),
                Err(error) if error.may_pass() => {
                    self.loads.push_front(hash);
                    return Err(error);
                }
                Err(error) => (self.told)(News::NotLoaded { hash, error }),
            }
        }
        Ok(())
    }

    fn tell_waiting(&self, error: &Error) {
        (self.told)(News::Waiting(error.clone()));
    }
}

impl<T: Fn(News)> Owner<T> {
    fn open(&self) -> Result<Store, Error> {
        let store = Store::open(&self.path)?;
        match store.classes() {
            Ok(classes) => (self.told)(News::Classes(classes)),
            Err(error) => tracing::warn!("{error}"),
        }
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::bounded;

    use super::super::tests::{annotation, slide};
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_by_the_next_keeper_also_when_the_first_was_dropped_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/store.sqlite");
        let mut keeper = Keeper::start(path.clone(), |_news| {}).unwrap();
        let (first, second) = (annotation("first"), annotation("second"));
        keeper.save(slide("a"), vec![(1, Some(first)), (2, Some(Arc::clone(&second)))]);
        keeper.save(slide("a"), vec![(1, None)]);
        keeper.save_class(Class { name: "Tumor".to_owned(), rgb: [200, 0, 1] });
        drop(keeper);
        let (news, told) = bounded(16);
        let mut keeper = Keeper::start(path, move |what| drop(news.send(what))).unwrap();
        keeper.load("a".to_owned());
        let News::Classes(classes) = told.recv_timeout(Duration::from_secs(20)).unwrap() else {
            panic!("no classes")
        };
        assert_eq!(classes, [Class { name: "Tumor".to_owned(), rgb: [200, 0, 1] }]);
        let News::Loaded { hash, all } = told.recv_timeout(Duration::from_secs(20)).unwrap() else {
            panic!("not loaded")
        };
        assert_eq!(hash, "a");
        assert_eq!(all, BTreeMap::from([(2, second)]));
    }

    #[test]
    fn changes_wait_while_another_program_holds_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        drop(Store::open(&path).unwrap());
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let (news, told) = bounded(16);
        let mut keeper = Keeper::start(path.clone(), move |what| drop(news.send(what))).unwrap();
        keeper.save(slide("a"), vec![(1, Some(annotation("kept")))]);
        let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
        loop {
            match next() {
                News::Waiting(error) => break assert!(error.may_pass(), "{error}"),
                News::Classes(_) => {}
                other => panic!("{other:?}"),
            }
        }
        other.execute_batch("COMMIT").unwrap();
        while !matches!(next(), News::Saved) {}
        assert_eq!(Store::open(&path).unwrap().annotations("a").unwrap().len(), 1);
    }
}
