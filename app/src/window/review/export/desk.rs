//! The threads behind exports: one that writes, one export at a time, and one for a dialog.

use std::path::{Path, PathBuf};
use std::thread::Builder;

use super::{ExportEffect, ExportEvent, Work};
use crate::review::Collection;
use crate::review::export::teach::{self, Teaching};
use crate::review::export::{self, Form, ROWS};
use crate::window::event::Event;
use crate::window::read::ReadPlaces;
use crate::window::review::ReviewEvent;
use crate::window::workers::{EventSender, Workers, with_dialog};

/// Both.
pub(in crate::window) struct ExportDesk {
    events: EventSender,
    /// Where patches' pixels are.
    patches: Option<PathBuf>,
}

/// False when the window is gone.
fn tell(events: &EventSender, news: ExportEvent) -> bool {
    events.send(Event::Review(ReviewEvent::Export(news)))
}

impl ExportDesk {
    pub(in crate::window) fn new(events: EventSender, places: &ReadPlaces) -> Self {
        Self { events, patches: places.patches.clone() }
    }

    pub(in crate::window) fn carry_out(&mut self, effect: ExportEffect, _workers: &Workers) {
        match effect {
            ExportEffect::Pick(form) => self.spawn("export-dialog", move |events| {
                let path = dialog(form).map(|paths| paths.into_iter().next());
                tell(events, ExportEvent::Picked { form, path });
            }),
            ExportEffect::Write { collection, work } => {
                let patches = self.patches.clone();
                self.spawn("export", move |events| {
                    tell(events, written(&collection.0, patches.as_deref(), work));
                });
            }
        }
    }

    fn spawn(&self, name: &str, work: impl FnOnce(&EventSender) + Send + 'static) {
        let events = self.events.clone();
        if let Err(error) = Builder::new().name(name.to_owned()).spawn(move || work(&events)) {
            tracing::error!("cannot start the thread {name}: {error}");
        }
    }
}

/// Does the work, and says what came of it.
fn written(collection: &Collection, patches: Option<&Path>, work: Work) -> ExportEvent {
    match work {
        Work::Write { form, tells_names, to } => {
            let what = export::write(form, collection, tells_names, patches, &to);
            ExportEvent::Written { what: what.map_err(|error| error.to_string()) }
        }
        Work::Teach { folder, teaching } => {
            let is_there = |rows: &PathBuf| rows.join(ROWS).is_file();
            let rehearsal = teaching.rehearsal.clone().filter(is_there);
            match teach::write(collection, patches, &folder, &Teaching { rehearsal, ..teaching }) {
                Ok(news) => ExportEvent::RowsWritten { folder, news },
                Err(error) => ExportEvent::Written { what: Err(error.to_string()) },
            }
        }
    }
}

fn dialog(form: Form) -> Result<Vec<PathBuf>, String> {
    with_dialog("Type the path into the field beside the button.", || {
        let dialog = rfd::FileDialog::new().set_title("Export reviews").set_file_name(form.file_name());
        let dialog =
            if form.is_folder() { dialog } else { dialog.add_filter(form.title(), &[form.ending()]) };
        dialog.save_file().map(|path| vec![path])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_comes_to_nothing_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let teaching = Teaching {
            name: "a".to_owned(),
            package: "b".into(),
            rehearsal: Some(folder.path().join("none")),
        };
        let to = folder.path().join("teach");
        let nothing = Collection::default();
        for work in [
            Work::Write { form: Form::Html, tells_names: false, to: to.clone() },
            Work::Teach { folder: to.clone(), teaching },
        ] {
            let news = written(&nothing, None, work);
            let ExportEvent::Written { what: Err(sentence) } = news else { panic!("{news:?}") };
            assert!(sentence.starts_with("There is no answer to be exported"), "{sentence}");
        }
        assert!(!to.exists());
    }
}
