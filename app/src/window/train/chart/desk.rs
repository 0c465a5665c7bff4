//! What the live view needs threads for: reading the log, and writing figures and pictures.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use egui::{Color32, ColorImage, Rect};
use image::{ImageFormat, RgbaImage};
use reinpath_training::run_folder::RunFolder;
use reinpath_training::tensorboard;

use super::super::super::event::Event;
use super::super::super::workers::{EventSender, with_dialog};
use super::super::{TrainEvent, TrainPlaces};
use super::{ChartEffect, ChartEvent};
use crate::runs::RunKey;
use crate::runs::export::csv;
use crate::runs::follower::RunFollower;
use crate::runs::log;
use crate::runs::told::RunTold;

/// The same log is read no more often.
const PAUSE: Duration = Duration::from_secs(1);
/// Wishes for the log that wait; only the newest counts.
const MOST_WISHES: usize = 8;
/// Lines that tell how a run came to its end.
const LAST_LINES: usize = 20;

/// A page of a log that is wanted: of which run, with what in its lines.
type LogWish = (RunKey, String);

/// The threads behind the live view.
pub(in crate::window::train) struct ChartDesk {
    events: EventSender,
    /// The thread that reads logs, once one was wanted.
    logs: Option<Sender<LogWish>>,
}

impl ChartDesk {
    pub(in crate::window::train) fn new(events: EventSender, places: TrainPlaces) -> Self {
        // Every part is made alike; this one looks nothing up.
        drop(places);
        Self { events, logs: None }
    }

    pub(in crate::window::train) fn carry_out(&mut self, effect: ChartEffect) {
        match effect {
            ChartEffect::ReadLog { run, search } => self.read_log((run, search)),
            ChartEffect::ReadLastLines { run, changed } => self.read_last_lines(run, changed),
            ChartEffect::SaveCsv(run) => self.save(move || save_csv(&run, None)),
            ChartEffect::SaveCsvTo { run, file } => self.save(move || save_csv(&run, Some(file))),
            ChartEffect::SaveTensorBoard(run) => self.save(move || save_tensorboard(&run, None)),
            ChartEffect::SaveTensorBoardTo { run, folder } => {
                self.save(move || save_tensorboard(&run, Some(folder)));
            }
            ChartEffect::SavePlot { run, measure, rect, to } => self.save_plot(&run, &measure, rect, to),
        }
    }

    fn read_log(&mut self, wish: LogWish) {
        let events = self.events.clone();
        let logs = self.logs.get_or_insert_with(|| {
            let (sender, wishes) = bounded(MOST_WISHES);
            spawn("train-log", move || read_logs(&wishes, &events));
            sender
        });
        // Where too many wait, the answer to the last of them asks again.
        logs.try_send(wish).ok();
    }

    fn read_last_lines(&self, run: RunKey, changed: u64) {
        let events = self.events.clone();
        spawn("train-last-lines", move || {
            let lines = log::last_lines(run.folder(), LAST_LINES);
            send(&events, ChartEvent::LastLines { run, changed, lines });
        });
    }

    /// Writes something in a thread of its own; nothing, where the dialog for its place was closed.
    fn save(&self, work: impl FnOnce() -> Result<Option<PathBuf>, String> + Send + 'static) {
        let events = self.events.clone();
        spawn("train-export", move || tell(&events, work()));
    }

    /// Takes the picture of the next frame; the rest is done off the window thread.
    fn save_plot(&self, run: &RunKey, measure: &str, rect: Rect, to: Option<PathBuf>) {
        let events = self.events.clone();
        let scale = events.context().pixels_per_point();
        let name = file_name(run, measure, "png");
        self.events.context().request_screenshot(move |picture| {
            spawn("train-export", move || {
                let saved = save_picture(&picture, rect, scale, to, &name);
                tell(&events, saved);
            });
        });
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = Builder::new().name(name.to_owned()).spawn(work) {
        tracing::error!("cannot start the thread {name}: {error}");
    }
}

fn send(events: &EventSender, event: ChartEvent) -> bool {
    events.send(Event::Train(TrainEvent::Chart(event)))
}

/// Says what became of an export.
fn tell(events: &EventSender, saved: Result<Option<PathBuf>, String>) {
    let event = match saved {
        Ok(Some(path)) => ChartEvent::Saved(Ok(path)),
        Ok(None) => ChartEvent::NotSaved,
        Err(sentence) => ChartEvent::Saved(Err(sentence)),
    };
    send(events, event);
}

/// Reads what is wanted last, and the same again only after a pause.
fn read_logs(wishes: &Receiver<LogWish>, events: &EventSender) {
    let mut last: Option<(LogWish, Instant)> = None;
    while let Ok(first) = wishes.recv() {
        let mut wish = wishes.try_iter().last().unwrap_or(first);
        if let Some((same, at)) = &last
            && *same == wish
        {
            match wishes.recv_timeout(PAUSE.saturating_sub(at.elapsed())) {
                Ok(newer) => wish = newer,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        let (run, search) = wish.clone();
        let event = match log::page(run.folder(), &search) {
            Ok(page) => ChartEvent::Log { run, search, page },
            Err(sentence) => ChartEvent::LogFailed { run, search, sentence },
        };
        if !send(events, event) {
            return;
        }
        last = Some((wish, Instant::now()));
    }
}

/// All that a run has told up to now, from its folder.
fn read_whole(run: &RunKey) -> Result<Arc<RunTold>, String> {
    let mut follower = RunFollower::new(run.clone());
    let mut newest = None;
    loop {
        let followed = follower.poll();
        newest = followed.told.or(newest);
        if !followed.has_more {
            break;
        }
    }
    newest.ok_or_else(|| format!("The run has told nothing yet: {}", run.folder().display()))
}

fn save_csv(run: &RunKey, to: Option<PathBuf>) -> Result<Option<PathBuf>, String> {
    let Some(path) = file_for(to, "Save the run's figures", &file_name(run, "figures", "csv"))? else {
        return Ok(None);
    };
    let told = read_whole(run)?;
    let write = || csv(&told, &mut BufWriter::new(File::create(&path)?));
    write().map_err(|error| format!("The figures could not be saved, {error}: {}", path.display()))?;
    Ok(Some(path))
}

fn save_tensorboard(run: &RunKey, to: Option<PathBuf>) -> Result<Option<PathBuf>, String> {
    let Some(folder) = folder_for(to)? else { return Ok(None) };
    tensorboard::write(&RunFolder::new(run.folder()), &folder).map_err(|error| error.to_string())?;
    Ok(Some(folder))
}

/// The folder that was named, or the one that a dialog gives; `None` where that was closed.
fn folder_for(to: Option<PathBuf>) -> Result<Option<PathBuf>, String> {
    if to.is_some() {
        return Ok(to);
    }
    let dialog = || rfd::FileDialog::new().set_title("Folder for TensorBoard").pick_folder();
    let picked = with_dialog(TYPE_INSTEAD, || dialog().map(|folder| vec![folder]))?;
    Ok(picked.into_iter().next())
}

/// Said where the system shows no dialog.
const TYPE_INSTEAD: &str = "Type the path into the field Save to.";

/// The file that was named (in a folder that was named: the one of the usual name), or the one that a dialog gives; `None`
/// where that was closed.
fn file_for(to: Option<PathBuf>, title: &str, name: &str) -> Result<Option<PathBuf>, String> {
    if let Some(path) = to {
        return Ok(Some(if path.is_dir() { path.join(name) } else { path }));
    }
    let dialog = || rfd::FileDialog::new().set_title(title).set_file_name(name).save_file();
    let picked = with_dialog(TYPE_INSTEAD, || dialog().map(|file| vec![file]))?;
    Ok(picked.into_iter().next())
}

/// What a file is called by default.
pub(super) fn file_name(run: &RunKey, what: &str, extension: &str) -> String {
    let plain = |character: char| if character.is_alphanumeric() { character } else { '-' };
    let what: String = what.chars().map(plain).collect();
    format!("{}-{what}.{extension}", run.name())
}

fn save_picture(
    picture: &ColorImage,
    rect: Rect,
    scale: f32,
    to: Option<PathBuf>,
    name: &str,
) -> Result<Option<PathBuf>, String> {
    let picture = cut(picture, rect, scale).ok_or("The plot was not in view when its picture was taken.")?;
    let Some(path) = file_for(to, "Save the plot", name)? else { return Ok(None) };
    write_picture(&picture, &path)?;
    Ok(Some(path))
}

fn write_picture(picture: &RgbaImage, path: &Path) -> Result<(), String> {
    let saved = picture.save_with_format(path, ImageFormat::Png);
    saved.map_err(|error| format!("The plot could not be saved, {error}: {}", path.display()))
}

/// What lies within a rectangle in points; `None` where that is nothing.
fn cut(picture: &ColorImage, rect: Rect, scale: f32) -> Option<RgbaImage> {
    let [width, height] = picture.size;
    let pixel = |point: f32, most: usize| ((point * scale).round().max(0.0) as usize).min(most);
    let (left, right) = (pixel(rect.left(), width), pixel(rect.right(), width));
    let (top, bottom) = (pixel(rect.top(), height), pixel(rect.bottom(), height));
    if left >= right || top >= bottom {
        return None;
    }
    let part = picture.region_by_pixels([left, top], [right - left, bottom - top]);
    let bytes = part.pixels.iter().flat_map(Color32::to_array).collect();
    RgbaImage::from_raw((right - left) as u32, (bottom - top) as u32, bytes)
}

#[cfg(test)]
mod tests {
    use egui::pos2;

    use super::*;

    fn rect(left: f32, top: f32, right: f32, bottom: f32) -> Rect {
        Rect::from_min_max(pos2(left, top), pos2(right, bottom))
    }

    #[test]
    fn a_plot_is_cut_out_of_the_picture_in_its_own_pixels() {
        let pixels = (0..8 * 6).map(|n| Color32::from_rgb(n % 8, n / 8, 7)).collect();
        let picture = ColorImage::new([8, 6], pixels);
        let part = cut(&picture, rect(1.0, 1.0, 3.0, 2.0), 2.0).unwrap();
        assert_eq!(part.dimensions(), (4, 2));
        assert_eq!((part.get_pixel(0, 0).0, part.get_pixel(3, 1).0), ([2, 2, 7, 255], [5, 3, 7, 255]));
        assert_eq!(cut(&picture, rect(-5.0, 4.0, 100.0, 90.0), 1.0).unwrap().dimensions(), (8, 2));
        assert!(cut(&picture, rect(20.0, 0.0, 30.0, 5.0), 1.0).is_none());
    }

    #[test]
    fn a_picture_that_cannot_be_written_is_a_sentence_with_its_path_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none").join("plot.png");
        let picture = RgbaImage::new(2, 2);
        let sentence = write_picture(&picture, &path).unwrap_err();
        assert!(sentence.starts_with("The plot could not be saved") && sentence.ends_with("plot.png"));
        let path = folder.path().join("plot.png");
        write_picture(&picture, &path).unwrap();
        assert_eq!(image::open(&path).unwrap().to_rgba8(), picture);
    }

    #[test]
    fn files_are_named_after_run_and_measure() {
        let run = RunKey::new("/runs/first try".into());
        assert_eq!(file_name(&run, "reward_format", "png"), "first try-reward-format.png");
        assert_eq!(file_name(&run, "../../x", "csv"), "first try-------x.csv");
    }

    #[test]
    fn a_place_that_was_named_needs_no_dialog() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("own.csv");
        assert_eq!(file_for(Some(named.clone()), "Save", "usual.csv").unwrap(), Some(named));
        let within = file_for(Some(folder.path().to_owned()), "Save", "usual.csv").unwrap();
        assert_eq!(within, Some(folder.path().join("usual.csv")));
    }
}
