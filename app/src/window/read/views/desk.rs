//! The threads behind it, one for each wish: a dialog, a folder, a label.

use std::path::PathBuf;
use std::thread::Builder;

use image::imageops::thumbnail;

use super::super::super::event::Event;
use super::super::super::picture::Picture;
use super::super::super::workers::{EventSender, Workers, with_dialog};
use super::super::{ReadEvent, ReadPlaces};
use super::folder::list;
use super::{ViewsEffect, ViewsEvent};
use crate::slide::SlideHandle;

/// The longer side of a label or macro image as it is shown, in pixels: a texture has its limits.
const MOST_LABEL_PX: u32 = 2048;

/// What carries out effects.
pub(in crate::window::read) struct ViewsDesk {
    events: EventSender,
}

impl ViewsDesk {
    pub(in crate::window::read) fn new(events: EventSender, _places: &ReadPlaces) -> Self {
        Self { events }
    }

    pub(in crate::window::read) fn carry_out(&mut self, effect: ViewsEffect, workers: &Workers) {
        let events = self.events.clone();
        match effect {
            ViewsEffect::PickFolder => spawn("folder-dialog", move || {
                tell(&events, ViewsEvent::FolderPicked(pick()));
            }),
            ViewsEffect::List(folder) => spawn("list-folder", move || {
                let slides = list(&folder);
                tell(&events, ViewsEvent::Listed { folder, slides });
            }),
            ViewsEffect::ReadLabel { key, name } => {
                let Some(slide) = workers.handle(key) else { return };
                spawn("slide-label", move || {
                    let picture = read_label(&slide, &name, &events);
                    tell(&events, ViewsEvent::Label { key, name, picture });
                });
            }
        }
    }
}

fn tell(events: &EventSender, news: ViewsEvent) {
    events.send(Event::Read(ReadEvent::Views(news)));
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = Builder::new().name(name.to_owned()).spawn(work) {
        tracing::error!("cannot start the thread {name}: {error}");
    }
}

fn pick() -> Result<Option<PathBuf>, String> {
    let instead = "Start the program with a slide of the folder, then go through it with Ctrl+PageDown.";
    let dialog = || rfd::FileDialog::new().set_title("Open a folder of slides").pick_folder();
    with_dialog(instead, || dialog().map(|folder| vec![folder])).map(|folders| folders.into_iter().next())
}

/// What is on a label may name a patient: it goes to the screen, and nowhere else.
fn read_label(slide: &SlideHandle, name: &str, events: &EventSender) -> Result<Picture, String> {
    let image = slide.read_associated(name).map_err(|error| error.to_string())?.image;
    let longer = image.width().max(image.height());
    if longer <= MOST_LABEL_PX {
        return Ok(Picture::new(events.context(), "associated image", &image));
    }
    let side = |length: u32| (u64::from(length) * u64::from(MOST_LABEL_PX) / u64::from(longer)).max(1) as u32;
    let small = thumbnail(&image, side(image.width()), side(image.height()));
    Ok(Picture::new(events.context(), "associated image", &small))
}
