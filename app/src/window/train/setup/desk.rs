//! The threads behind the setup: one reads presets and files and keeps the draft, and there is one for each dialog and for
//! drawing the demo rows. The window thread never waits for them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::Value;

use super::super::super::event::Event;
use super::super::super::workers::{EventSender, with_dialog};
use super::super::{TrainEvent, TrainPlaces};
use super::demo_rows::{self, DemoRows};
use super::preset;
use super::{Pick, SetupEffect, SetupEvent};

/// Wishes that wait.
const MOST_JOBS: usize = 16;
/// How long after the last change the draft is written.
const REST: Duration = Duration::from_secs(1);

/// The threads behind it. Dropping it writes what of the draft was not written yet.
pub(in crate::window::train) struct SetupDesk {
    events: EventSender,
    places: TrainPlaces,
    draft: Arc<DraftFile>,
    /// Of the thread that reads and keeps; `None` before it is needed.
    jobs: Option<Sender<SetupEffect>>,
    /// What draws the demo rows ends when this is dropped.
    _alive: Sender<()>,
    window: Receiver<()>,
}

impl SetupDesk {
    pub(in crate::window::train) fn new(events: EventSender, places: TrainPlaces) -> Self {
        let (alive, window) = bounded(0);
        let path = places.draft.as_ref().map(|path| path.with_extension("json"));
        let draft = Arc::new(DraftFile { path, unsaved: Mutex::new(None) });
        let mut desk = Self { events, places, draft, jobs: None, _alive: alive, window };
        if desk.places.presets.is_some() || desk.places.draft.is_some() {
            desk.start();
        }
        desk
    }

    pub(in crate::window::train) fn carry_out(&mut self, effect: SetupEffect) {
        match effect {
            SetupEffect::SaveDraft(draft) => {
                self.draft.put(draft);
                // A full channel wakes the thread as well; the draft does not go through it.
                self.send(SetupEffect::SaveDraft(Value::Null)).ok();
            }
            SetupEffect::MakeDemoRows => self.make_demo_rows(),
            SetupEffect::Pick(what) => self.pick(what),
            effect => {
                if self.send(effect).is_err() {
                    let events = self.events.clone();
                    // The window thread must not wait for itself.
                    spawn("train-refused", move || {
                        let sentence = "Files are still being read: try again in a moment.".to_owned();
                        tell(&events, SetupEvent::Loaded(Err(sentence)));
                    });
                }
            }
        }
    }

    /// Hands a wish over without waiting; gives it back where it cannot be taken.
    fn send(&mut self, effect: SetupEffect) -> Result<(), SetupEffect> {
        if self.jobs.is_none() {
            self.start();
        }
        match &self.jobs {
            Some(jobs) => jobs.try_send(effect).map_err(crossbeam_channel::TrySendError::into_inner),
            None => Err(effect),
        }
    }

    fn start(&mut self) {
        let (jobs, incoming) = bounded(MOST_JOBS);
        let (events, places, draft) = (self.events.clone(), self.places.clone(), Arc::clone(&self.draft));
        if spawn("train-setup", move || serve(&incoming, &events, &places, &draft)) {
            self.jobs = Some(jobs);
        }
    }

    fn make_demo_rows(&self) {
        let (events, places, window) = (self.events.clone(), self.places.clone(), self.window.clone());
        spawn("train-demo-rows", move || {
            let made = demo_rows::make(&places, &window, &mut |rows| {
                tell(&events, SetupEvent::DemoRows(rows));
            });
            let rows = made.map_or_else(DemoRows::Failed, |()| DemoRows::There);
            tell(&events, SetupEvent::DemoRows(rows));
        });
    }

    fn pick(&self, what: Pick) {
        let events = self.events.clone();
        spawn("train-dialog", move || {
            let path = dialog(&what).map(|paths| paths.into_iter().next());
            tell(&events, SetupEvent::Picked { what, path });
        });
    }
}

impl Drop for SetupDesk {
    fn drop(&mut self) {
        if let Err(sentence) = self.draft.save() {
            tracing::warn!("{sentence}");
        }
    }
}

/// Settings that were not written yet, and where they go.
struct DraftFile {
    path: Option<PathBuf>,
    unsaved: Mutex<Option<Value>>,
}

impl DraftFile {
    fn put(&self, draft: Value) {
        *self.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = Some(draft);
    }

    /// Writes it, if there is something to be written. Who else saves waits until it is on the disk.
    fn save(&self) -> Result<(), String> {
        let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(path), Some(draft)) = (&self.path, unsaved.take()) else { return Ok(()) };
        let in_words = |error: std::io::Error| {
            format!("The settings of the next run could not be kept, {error}: {}", path.display())
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(in_words)?;
        }
        let unfinished = path.with_extension("json.unfinished");
        std::fs::write(&unfinished, draft.to_string()).map_err(in_words)?;
        std::fs::rename(&unfinished, path).map_err(in_words)
    }

    /// What was kept; `None` where there is nothing.
    fn read(&self) -> Result<Option<Value>, String> {
        let Some(path) = self.path.as_ref().filter(|path| path.is_file()) else { return Ok(None) };
        let in_words = |error: &dyn std::fmt::Display| {
            format!("The settings of the last time cannot be read, {error}: {}", path.display())
        };
        let text = std::fs::read_to_string(path).map_err(|error| in_words(&error))?;
        let draft = serde_json::from_str(&text).map_err(|error| in_words(&error))?;
        preset::check(&draft, path)?;
        Ok(Some(draft))
    }
}

/// Until the desk is gone.
fn serve(jobs: &Receiver<SetupEffect>, events: &EventSender, places: &TrainPlaces, draft: &DraftFile) {
    if !begin(events, places, draft) {
        return;
    }
    let mut save_at: Option<Instant> = None;
    loop {
        let job = match save_at {
            Some(at) => jobs.recv_deadline(at),
            None => jobs.recv().map_err(RecvTimeoutError::from),
        };
        let goes_on = match job {
            Ok(SetupEffect::SaveDraft(_)) => {
                save_at = Some(Instant::now() + REST);
                true
            }
            Ok(effect) => read_or_write(effect, events, places),
            Err(RecvTimeoutError::Timeout) => {
                save_at = None;
                match draft.save() {
                    Ok(()) => true,
                    Err(sentence) => events.send(Event::Problem(sentence)),
                }
            }
            // The desk writes what is left.
            Err(RecvTimeoutError::Disconnected) => false,
        };
        if !goes_on {
            return;
        }
    }
}

/// Tells which presets there are, and takes up the draft of the last time, or else the first preset.
fn begin(events: &EventSender, places: &TrainPlaces, draft: &DraftFile) -> bool {
    if let Some(folder) = &places.presets {
        let told = match preset::list(folder) {
            Ok(presets) => tell(events, SetupEvent::Presets(presets)),
            Err(sentence) => events.send(Event::Problem(sentence)),
        };
        if !told {
            return false;
        }
    }
    let kept = match draft.read() {
        Ok(kept) => kept,
        Err(sentence) => {
            if !events.send(Event::Problem(sentence)) {
                return false;
            }
            None
        }
    };
    match kept {
        Some(settings) => loaded(Ok(settings), events, places),
        None if places.presets.is_some() => loaded(preset::read(preset::FIRST, places), events, places),
        None => true,
    }
}

/// False when the window is gone.
fn read_or_write(effect: SetupEffect, events: &EventSender, places: &TrainPlaces) -> bool {
    match effect {
        SetupEffect::ReadPreset(name) => loaded(preset::read(&name, places), events, places),
        SetupEffect::ReadFile(path) => loaded(preset::read_file(&path), events, places),
        SetupEffect::SaveFile { path, text } => {
            tell(events, SetupEvent::Saved(save_file(&path, &text).map(|()| path)))
        }
        // Those have threads of their own.
        SetupEffect::SaveDraft(_) | SetupEffect::MakeDemoRows | SetupEffect::Pick(_) => true,
    }
}

/// Tells of the demo rows first, so that who takes in the settings knows of them.
fn loaded(settings: Result<Value, String>, events: &EventSender, places: &TrainPlaces) -> bool {
    if let Ok(settings) = &settings
        && !tell(events, SetupEvent::DemoRows(demo_rows::look(settings, places)))
    {
        return false;
    }
    tell(events, SetupEvent::Loaded(settings))
}

fn save_file(path: &Path, text: &str) -> Result<(), String> {
    let in_words =
        |error: std::io::Error| format!("The settings could not be saved, {error}: {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(in_words)?;
    }
    std::fs::write(path, text).map_err(in_words)
}

fn dialog(what: &Pick) -> Result<Vec<PathBuf>, String> {
    let one = |path: Option<PathBuf>| path.map(|path| vec![path]);
    let new = rfd::FileDialog::new;
    let instead = "Type the path into the field beside the button.";
    match what {
        Pick::Setting { is_folder: true, .. } | Pick::RunFolder => {
            with_dialog(instead, || one(new().set_title("Choose a folder").pick_folder()))
        }
        Pick::Setting { is_folder: false, .. } => {
            with_dialog(instead, || one(new().set_title("Choose a file").pick_file()))
        }
        Pick::Open => with_dialog(instead, || {
            let dialog = new().set_title("Open settings").add_filter("Settings", &["toml"]);
            one(dialog.pick_file())
        }),
        Pick::Save => with_dialog(instead, || {
            let dialog = new().set_title("Save settings").add_filter("Settings", &["toml"]);
            one(dialog.set_file_name("run.toml").save_file())
        }),
    }
}

fn tell(events: &EventSender, news: SetupEvent) -> bool {
    events.send(Event::Train(TrainEvent::Setup(news)))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> bool {
    let spawned = Builder::new().name(name.to_owned()).spawn(work);
    if let Err(error) = &spawned {
        // Nothing that depends on this thread will happen; the user can only free resources and try again.
        tracing::error!("cannot start the thread {name}: {error}");
    }
    spawned.is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn valid() -> Value {
        json!({ "name": "kept", "seed": 1, "base": "b" })
    }

    /// The next news of the setup, or the sentence of a problem.
    fn next(receiver: &Receiver<Event>) -> Result<SetupEvent, String> {
        match receiver.recv_timeout(Duration::from_secs(20)).unwrap() {
            Event::Train(TrainEvent::Setup(news)) => Ok(news),
            Event::Problem(sentence) => Err(sentence),
            other => panic!("{other:?}"),
        }
    }

    fn places(home: &Path) -> TrainPlaces {
        TrainPlaces { draft: Some(home.join("config/training.toml")), ..TrainPlaces::default() }
    }

    #[test]
    fn the_draft_is_kept_when_the_desk_goes_and_is_there_the_next_time() {
        let home = tempfile::tempdir().unwrap();
        let (events, _receiver) = EventSender::new(egui::Context::default());
        let mut desk = SetupDesk::new(events, places(home.path()));
        desk.carry_out(SetupEffect::SaveDraft(json!({ "name": "early", "seed": 1, "base": "b" })));
        desk.carry_out(SetupEffect::SaveDraft(valid()));
        drop(desk);
        let (events, receiver) = EventSender::new(egui::Context::default());
        let _desk = SetupDesk::new(events, places(home.path()));
        assert!(matches!(next(&receiver), Ok(SetupEvent::DemoRows(DemoRows::NotNeeded))));
        let news = next(&receiver);
        assert!(matches!(&news, Ok(SetupEvent::Loaded(Ok(draft))) if *draft == valid()), "{news:?}");
    }

    #[test]
    fn the_draft_is_written_after_a_rest() {
        let home = tempfile::tempdir().unwrap();
        let (events, _receiver) = EventSender::new(egui::Context::default());
        let mut desk = SetupDesk::new(events, places(home.path()));
        desk.carry_out(SetupEffect::SaveDraft(valid()));
        let path = home.path().join("config/training.json");
        let start = Instant::now();
        while !path.exists() {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(20));
        }
        let written: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(written, valid());
        drop(desk);
    }

    #[test]
    fn a_damaged_draft_is_told_and_stops_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config/training.json");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for text in ["{", "{\"name\": 3}"] {
            std::fs::write(&path, text).unwrap();
            let (events, receiver) = EventSender::new(egui::Context::default());
            let mut desk = SetupDesk::new(events, places(home.path()));
            let sentence = next(&receiver).unwrap_err();
            assert!(sentence.ends_with("training.json"), "{sentence}");
            desk.carry_out(SetupEffect::ReadPreset("paper".to_owned()));
            assert!(matches!(next(&receiver), Ok(SetupEvent::Loaded(Err(_)))), "there is no preset here");
        }
    }

    #[test]
    fn settings_are_saved_and_read_again() {
        let home = tempfile::tempdir().unwrap();
        let (events, receiver) = EventSender::new(egui::Context::default());
        let mut desk = SetupDesk::new(events, TrainPlaces::default());
        let path = home.path().join("own/run.toml");
        let text = "name = \"kept\"\nseed = 1\nbase = \"b\"\n".to_owned();
        desk.carry_out(SetupEffect::SaveFile { path: path.clone(), text });
        assert!(matches!(next(&receiver), Ok(SetupEvent::Saved(Ok(saved))) if saved == path));
        desk.carry_out(SetupEffect::ReadFile(path));
        assert!(matches!(next(&receiver), Ok(SetupEvent::DemoRows(_))));
        assert!(matches!(next(&receiver), Ok(SetupEvent::Loaded(Ok(draft))) if draft == valid()));
    }
}
