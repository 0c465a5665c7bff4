//! The threads behind it: `glossary` reads and writes the user's glossary, `map-picture` makes pictures of maps, of the newest alone.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use egui::{Color32, ColorImage, Context, TextureOptions};
use image::Luma;
use image::imageops::{FilterType, resize};
use reinpath_model::request::SentenceMap;

use super::super::super::event::Event;
use super::super::super::picture::Picture;
use super::super::super::read::ReadPlaces;
use super::super::super::workers::{EventSender, Workers};
use super::super::ReviewEvent;
use super::{ChainEffect, ChainEvent, Layer, MapKey};
use crate::case::Maps;
use crate::chain::glossary::{self, Term};
use crate::chain::is_localised;
use crate::maps;

/// Glossaries that wait to be written; a newer one that finds no room waits beside them.
const MOST_WAITING: usize = 4;
/// How long the window waits, when it is closed, for what is being written.
const LONGEST_END: Duration = Duration::from_secs(2);
/// Bytes of a glossary's file: far more than any has.
const LARGEST_GLOSSARY: u64 = 4 << 20;
/// Pixels along the longer side of a map's picture: enough that its cells flow into each other.
const PICTURE_PX: u32 = 512;

/// The threads.
pub(in crate::window) struct ChainDesk {
    events: EventSender,
    glossary: Option<Keeping>,
    pictures: Option<Pictures>,
}

/// What the thread `glossary` is given.
struct Keeping {
    queue: Option<Sender<Vec<Term>>>,
    /// What found no room in the queue.
    late: Option<Vec<Term>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

/// What the thread `map-picture` is given.
struct Pictures {
    newest: Arc<Mutex<Option<Wish>>>,
    wake: Sender<()>,
}

struct Wish {
    key: MapKey,
    maps: Maps,
    which: Vec<usize>,
}

impl ChainDesk {
    pub(in crate::window) fn new(events: EventSender, places: &ReadPlaces) -> Self {
        let glossary = places.glossary.clone().map(|path| Keeping::start(path, events.clone()));
        Self { events, glossary, pictures: None }
    }

    pub(in crate::window) fn carry_out(&mut self, effect: ChainEffect, _workers: &Workers) {
        match effect {
            ChainEffect::Draw { key, maps, which } => {
                let events = &self.events;
                let pictures = self.pictures.get_or_insert_with(|| Pictures::start(events.clone()));
                pictures.ask(Wish { key, maps, which });
            }
            ChainEffect::SaveGlossary(terms) => {
                if let Some(glossary) = &mut self.glossary {
                    glossary.late = Some(terms);
                    glossary.send();
                }
            }
        }
    }
}

/// False when the window is gone.
fn tell(events: &EventSender, news: ChainEvent) -> bool {
    events.send(Event::Review(ReviewEvent::Chain(news)))
}

impl Keeping {
    fn start(path: PathBuf, events: EventSender) -> Self {
        let (queue, jobs) = bounded::<Vec<Term>>(MOST_WAITING);
        let (end, ended) = bounded::<()>(0);
        let work = move || {
            tell(&events, ChainEvent::Glossary(read(&path)));
            for terms in jobs {
                if let Err(sentence) = write(&path, &terms) {
                    tell(&events, ChainEvent::Failed(sentence));
                }
            }
            drop(end);
        };
        if let Err(error) = Builder::new().name("glossary".to_owned()).spawn(work) {
            tracing::error!("cannot start the thread glossary: {error}");
        }
        Self { queue: Some(queue), late: None, ended }
    }

    /// Sends what waits, without waiting for room.
    fn send(&mut self) {
        let Some((queue, terms)) = self.queue.as_ref().zip(self.late.take()) else { return };
        match queue.try_send(terms) {
            Ok(()) => {}
            Err(TrySendError::Full(terms)) => self.late = Some(terms),
            Err(TrySendError::Disconnected(_)) => tracing::error!("the thread glossary is gone"),
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if let Some((queue, terms)) = self.queue.take().zip(self.late.take())
            && queue.send_timeout(terms, LONGEST_END).is_err()
        {
            tracing::error!("the last change of the glossary was not kept");
        }
        // The queue is closed: the thread ends after what it has. Its end is a closed channel, an error here.
        self.queue = None;
        self.ended.recv_timeout(LONGEST_END).ok();
    }
}

/// The user's terms; none where there is no file.
fn read(path: &Path) -> Result<Vec<Term>, String> {
    let wrong = |reason: &dyn std::fmt::Display| {
        format!("The glossary cannot be used, {reason}; the shipped one is in use: {}", path.display())
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(&error)),
    };
    let mut text = String::new();
    file.take(LARGEST_GLOSSARY + 1).read_to_string(&mut text).map_err(|error| wrong(&error))?;
    if text.len() as u64 > LARGEST_GLOSSARY {
        return Err(wrong(&"it is larger than 4 MiB"));
    }
    glossary::read(&text).map_err(|reason| wrong(&reason))
}

/// Writes beside the place and renames, so that what was there stays whole until all of the new is.
fn write(path: &Path, terms: &[Term]) -> Result<(), String> {
    let failed =
        |reason: &dyn std::fmt::Display| format!("The glossary is not kept, {reason}: {}", path.display());
    let text = glossary::to_text(terms).map_err(|reason| failed(&reason))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    file.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
    file.as_file().sync_all().map_err(|error| failed(&error))?;
    file.persist(path).map_err(|error| failed(&error.error))?;
    Ok(())
}

impl Pictures {
    fn start(events: EventSender) -> Self {
        let (wake, woken) = bounded::<()>(1);
        let newest: Arc<Mutex<Option<Wish>>> = Arc::default();
        let wishes = Arc::clone(&newest);
        let work = move || {
            for () in woken {
                let Some(wish) = wishes.lock().unwrap_or_else(PoisonError::into_inner).take() else {
                    continue;
                };
                let news = match layers(&wish, events.context()) {
                    Ok(layers) => ChainEvent::Drawn { key: wish.key, layers },
                    Err(error) => {
                        ChainEvent::Failed(format!("Where a sentence looks cannot be shown: {error}."))
                    }
                };
                if !tell(&events, news) {
                    return;
                }
            }
        };
        if let Err(error) = Builder::new().name("map-picture".to_owned()).spawn(work) {
            tracing::error!("cannot start the thread map-picture: {error}");
        }
        Self { newest, wake }
    }

    fn ask(&self, wish: Wish) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(wish);
        // Full: it was told already, and will find this wish.
        self.wake.try_send(()).ok();
    }
}

fn layers(wish: &Wish, ctx: &Context) -> Result<Vec<Layer>, maps::Error> {
    let chosen = wish.which.iter().filter_map(|&at| wish.maps.get(at));
    chosen.map(|(head, values)| layer(head, values, ctx)).collect()
}

fn layer(head: &SentenceMap, values: &[f32], ctx: &Context) -> Result<Layer, maps::Error> {
    let cells = maps::cells(head, values)?;
    // Each cell becomes as many pixels along both sides.
    let each = (PICTURE_PX / cells.width().max(cells.height())).max(1);
    let wide = resize(&cells, cells.width() * each, cells.height() * each, FilterType::Triangle);
    let colour = if is_localised(head) { maps::heat } else { maps::grey_heat };
    let pixels = wide.pixels().map(|&Luma([value])| over(colour(value.clamp(0.0, 1.0)))).collect();
    let image = ColorImage::new([wide.width() as usize, wide.height() as usize], pixels);
    let texture = ctx.load_texture("map of a sentence", image, TextureOptions::LINEAR);
    Ok(Layer { head: head.clone(), picture: Picture { texture } })
}

/// A colour that hides this much of what lies below it.
fn over((colour, cover): ([f32; 3], f32)) -> Color32 {
    let [r, g, b] = colour.map(|value| (value * cover).round() as u8);
    Color32::from_rgba_premultiplied(r, g, b, (255.0 * cover).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glossary_is_kept_and_a_broken_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("glossary.toml");
        assert_eq!(read(&path), Ok(Vec::new()), "there is none yet");
        let term = Term { name: "zebra body".to_owned(), meaning: "Striped.".to_owned(), ..Term::default() };
        write(&path, std::slice::from_ref(&term)).unwrap();
        assert_eq!(read(&path), Ok(vec![term]));
        std::fs::write(&path, "[[term]]\nname = 3\n").unwrap();
        let sentence = read(&path).unwrap_err();
        assert!(sentence.contains("line 2") && sentence.ends_with("glossary.toml"), "{sentence}");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path).is_err(), "no text");
    }

    #[test]
    fn what_waits_is_written_before_the_window_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("glossary.toml");
        let (events, _news) = EventSender::new(Context::default());
        let places = ReadPlaces { glossary: Some(path.clone()), ..ReadPlaces::default() };
        let mut desk = ChainDesk::new(events, &places);
        let term =
            |n: usize| Term { name: format!("term {n}"), meaning: "Meant.".to_owned(), ..Term::default() };
        let keeping = desk.glossary.as_mut().unwrap();
        for n in 0..20 {
            keeping.late = Some(vec![term(n)]);
            keeping.send();
        }
        drop(desk);
        assert_eq!(read(&path), Ok(vec![term(19)]));
    }

    #[test]
    fn a_map_that_means_nothing_is_grey() {
        let head = SentenceMap {
            stage: reinpath_model::stage::AnswerStage::Observation,
            sentence: "Glands.".to_owned(),
            first_token: 0,
            tokens: 1,
            patch: 0,
            rows: 1,
            cols: 2,
            crop: [0.0, 0.0, 8.0, 8.0],
            method: reinpath_model::request::MapMethod::Tam,
            fall: 0.0,
            random_fall: 0.0,
        };
        let ctx = Context::default();
        let made = layer(&head, &[0.0, 1.0], &ctx).unwrap();
        assert_eq!(made.picture.texture.size(), [512, 256]);
        assert!(layer(&head, &[0.0], &ctx).is_err());
        assert_eq!(over(maps::grey_heat(1.0)), Color32::from_rgba_premultiplied(153, 153, 153, 153));
        assert_eq!(over(maps::heat(1.0)), Color32::from_rgba_premultiplied(153, 144, 0, 153));
        assert_eq!(over(maps::heat(0.0)), Color32::TRANSPARENT);
    }
}
