//! The threads behind annotations: the store's, the one that makes meshes, and one for each file or large change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;

use super::mesh::Mesher;
use super::{AnnotateCommand, AnnotateEffect, AnnotateEvent, BulkWork};
use crate::annotation::set::{Altered, AnnotationSet, Change};
use crate::annotation::{Annotation, asap, geojson};
use crate::store::keeper::{Keeper, News};
use crate::window::event::Event;
use crate::window::read::{ReadEvent, ReadPlaces};
use crate::window::workers::{EventSender, Workers, with_dialog};

/// The endings of files of annotations, as the dialog offers them.
const ENDINGS: [&str; 4] = ["geojson", "json", "gz", "xml"];

/// All of them.
pub(in crate::window::read) struct AnnotateDesk {
    events: EventSender,
    /// `None` where nothing is kept.
    keeper: Option<Keeper>,
    /// `None` where its thread could not be started.
    mesher: Option<Mesher>,
}

/// False when the window is gone.
fn tell(events: &EventSender, news: AnnotateEvent) -> bool {
    events.send(Event::Read(ReadEvent::Annotate(news)))
}

impl AnnotateDesk {
    pub(in crate::window::read) fn new(events: EventSender, places: &ReadPlaces) -> Self {
        let to = events.clone();
        let mesher = Mesher::start(move |news| tell(&to, news));
        let mesher = mesher.map_err(|error| tracing::error!("annotations cannot be drawn: {error}")).ok();
        let keeper = places.store.clone().and_then(|path| {
            let (to, mesher) = (events.clone(), mesher.clone());
            let keeper = Keeper::start(path, move |news| told(&to, mesher.as_ref(), news));
            keeper.map_err(|error| tracing::error!("annotations cannot be kept: {error}")).ok()
        });
        Self { events, keeper, mesher }
    }

    pub(in crate::window::read) fn carry_out(&mut self, effect: AnnotateEffect, _workers: &Workers) {
        if let Some(keeper) = &mut self.keeper {
            keeper.flush();
        }
        match effect {
            AnnotateEffect::Load { hash } => self.load(hash),
            AnnotateEffect::Save { slide, kept } => {
                if let Some(keeper) = &mut self.keeper {
                    keeper.save(slide, kept);
                }
            }
            AnnotateEffect::SaveClass(class) => {
                if let Some(keeper) = &mut self.keeper {
                    keeper.save_class(class);
                }
            }
            // Done above.
            AnnotateEffect::Flush => {}
            AnnotateEffect::Mesh { hash, revision, kept } => {
                if let Some(mesher) = &self.mesher {
                    mesher.change(&hash, revision, kept);
                }
            }
            AnnotateEffect::Look(look) => {
                if let Some(mesher) = &self.mesher {
                    mesher.look(look);
                }
            }
            AnnotateEffect::Forget { hash } => {
                if let Some(mesher) = &self.mesher {
                    mesher.forget(hash);
                }
            }
            AnnotateEffect::Bulk { hash, revision, all, work } => self.bulk(hash, revision, all, work),
            AnnotateEffect::Export { path, all } => self.export(path, all),
            AnnotateEffect::PickImport => self.pick(pick_import),
            AnnotateEffect::PickExport { name } => self.pick(move || pick_export(&name)),
        }
    }

    fn load(&mut self, hash: String) {
        if let Some(keeper) = &mut self.keeper {
            keeper.load(hash);
            return;
        }
        // Its thread could not be started; the window must not wait for itself, so another one says so.
        let sentence =
            "The store of annotations cannot be used: what is drawn now is lost when the window closes.";
        let news = AnnotateEvent::NotLoaded { hash, sentence: sentence.to_owned() };
        self.spawn(move |events| {
            tell(events, news);
        });
    }

    fn bulk(&self, hash: String, revision: u64, all: BTreeMap<u64, Arc<Annotation>>, work: BulkWork) {
        let mesher = self.mesher.clone();
        self.spawn(move |events| {
            let news = match changed(&hash, revision, all, work) {
                Ok(news) => news,
                Err(sentence) => AnnotateEvent::Failed { hash, sentence },
            };
            if let (AnnotateEvent::Rebuilt { hash, set, .. }, Some(mesher)) = (&news, &mesher) {
                mesher.reset(hash, set.revision(), set.all().clone());
            }
            tell(events, news);
        });
    }

    fn export(&self, path: PathBuf, all: BTreeMap<u64, Arc<Annotation>>) {
        self.spawn(move |events| {
            let news = match geojson::write_all(&path, all.values().map(|annotation| &**annotation)) {
                Ok(()) => {
                    AnnotateEvent::Exported(format!("{} written: {}", in_words(all.len()), path.display()))
                }
                Err(error) => AnnotateEvent::Complaint(error.to_string()),
            };
            tell(events, news);
        });
    }

    fn pick(&self, pick: impl FnOnce() -> Result<Option<AnnotateCommand>, String> + Send + 'static) {
        self.spawn(move |events| {
            let news = match pick() {
                Ok(Some(wish)) => AnnotateEvent::Picked(wish),
                Ok(None) => return,
                Err(sentence) => AnnotateEvent::Complaint(sentence),
            };
            tell(events, news);
        });
    }

    fn spawn(&self, work: impl FnOnce(&EventSender) + Send + 'static) {
        let events = self.events.clone();
        if let Err(error) = Builder::new().name("annotation-file".to_owned()).spawn(move || work(&events)) {
            tracing::error!("cannot start the thread annotation-file: {error}");
        }
    }
}

fn in_words(count: usize) -> String {
    if count == 1 { "1 annotation".to_owned() } else { format!("{count} annotations") }
}

/// What the store says, on its thread: a slide's set is made here, not in the window's.
fn told(events: &EventSender, mesher: Option<&Mesher>, news: News) {
    let news = match news {
        News::Loaded { hash, all } => {
            let set = AnnotationSet::of(all, 1);
            if let Some(mesher) = mesher {
                mesher.reset(&hash, set.revision(), set.all().clone());
            }
            AnnotateEvent::Loaded { hash, set: Box::new(set) }
        }
        News::NotLoaded { hash, error } => {
            let sentence = format!("What is drawn on this slide is not saved. {error}");
            AnnotateEvent::NotLoaded { hash, sentence }
        }
        News::Classes(classes) => AnnotateEvent::Classes(classes),
        News::Saved => AnnotateEvent::Saved,
        News::Waiting(error) => AnnotateEvent::Waiting(error.to_string()),
    };
    tell(events, news);
}

/// The set after many were changed; an error is a sentence.
fn changed(
    hash: &str,
    revision: u64,
    mut all: BTreeMap<u64, Arc<Annotation>>,
    work: BulkWork,
) -> Result<AnnotateEvent, String> {
    let (change, is_new, news) = match work {
        BulkWork::Import(path) => {
            let (change, news) = imported(&path, &all)?;
            (change, true, Some(news))
        }
        BulkWork::Apply(change) => (change, false, None),
        BulkWork::Recolour(class) => {
            let class = Arc::new(class);
            let is_other = |annotation: &Annotation| {
                annotation.class.as_ref().is_some_and(|used| used.name == class.name && used.rgb != class.rgb)
            };
            let recoloured =
                all.iter().filter(|(_, annotation)| is_other(annotation)).map(|(place, before)| {
                    let after = Annotation { class: Some(Arc::clone(&class)), ..(**before).clone() };
                    Altered { place: *place, before: Some(Arc::clone(before)), after: Some(Arc::new(after)) }
                });
            (Arc::new(Change { altered: recoloured.collect() }), true, None)
        }
    };
    for altered in &change.altered {
        match &altered.after {
            Some(after) => all.insert(altered.place, Arc::clone(after)),
            None => all.remove(&altered.place),
        };
    }
    let set = Box::new(AnnotationSet::of(all, revision + 1));
    Ok(AnnotateEvent::Rebuilt { hash: hash.to_owned(), set, change, is_new, news })
}

/// What a file adds: all of it but what is there already, and a sentence about it.
fn imported(path: &Path, all: &BTreeMap<u64, Arc<Annotation>>) -> Result<(Arc<Change>, String), String> {
    let is_xml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml"));
    let read = if is_xml {
        asap::read(path).map(|annotations| geojson::Imported { annotations, ids_made: 0 })
    } else {
        geojson::read_counted(path)
    };
    let read = read.map_err(|error| error.to_string())?;
    let mut known: BTreeMap<&str, Vec<&Annotation>> = BTreeMap::new();
    for annotation in all.values() {
        known.entry(&annotation.id).or_default().push(annotation);
    }
    let count = read.annotations.len();
    let is_there = |annotation: &Annotation| {
        known.get(annotation.id.as_str()).is_some_and(|same| same.contains(&annotation))
    };
    let next = all.last_key_value().map_or(1, |(place, _)| place + 1);
    let added = read.annotations.into_iter().filter(|annotation| !is_there(annotation));
    let new = |(place, annotation)| Altered { place, before: None, after: Some(Arc::new(annotation)) };
    let altered = (next..).zip(added).map(new);
    let change = Change { altered: altered.collect() };
    let mut news = format!("{} imported", in_words(change.altered.len()));
    if change.altered.len() < count {
        write!(news, ", {} were here already", count - change.altered.len()).ok();
    }
    if read.ids_made > 0 {
        write!(news, ", {} had no id and were given one", read.ids_made).ok();
    }
    Ok((Arc::new(change), format!("{news}: {}", path.display())))
}

fn pick_import() -> Result<Option<AnnotateCommand>, String> {
    let instead = "Type the file's path into the Annotations panel.";
    let dialog = || {
        let dialog = rfd::FileDialog::new().set_title("Import annotations");
        dialog.add_filter("Annotations", &ENDINGS).pick_file().map(|file| vec![file])
    };
    with_dialog(instead, dialog).map(|files| files.into_iter().next().map(AnnotateCommand::Import))
}

fn pick_export(name: &str) -> Result<Option<AnnotateCommand>, String> {
    let instead = "Type the file's path into the Annotations panel.";
    let dialog = || {
        let dialog = rfd::FileDialog::new().set_title("Export annotations");
        dialog.set_file_name(format!("{name}.geojson")).save_file().map(|file| vec![file])
    };
    with_dialog(instead, dialog).map(|files| files.into_iter().next().map(AnnotateCommand::Export))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::{Form, Geometry};

    #[test]
    fn what_is_there_already_is_not_imported_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.geojson");
        let two = [1.0, 2.0].map(|x| Annotation::new(Geometry::Points(vec![[x, 0.0]]), Form::Plain));
        geojson::write(&path, &two).unwrap();
        let first = changed("a", 4, BTreeMap::new(), BulkWork::Import(path.clone())).unwrap();
        let AnnotateEvent::Rebuilt { set, news, .. } = first else { panic!("not rebuilt") };
        assert_eq!((set.len(), set.revision()), (2, 5));
        assert!(news.unwrap().starts_with("2 annotations imported: "));
        let second = changed("a", 5, set.all().clone(), BulkWork::Import(path)).unwrap();
        let AnnotateEvent::Rebuilt { set, news, change, .. } = second else { panic!("not rebuilt") };
        assert_eq!((set.len(), change.altered.len()), (2, 0));
        assert!(news.unwrap().contains("2 were here already"));
        let missing = changed("a", 5, BTreeMap::new(), BulkWork::Import(folder.path().join("none.geojson")));
        assert!(missing.unwrap_err().ends_with("none.geojson"));
    }
}
