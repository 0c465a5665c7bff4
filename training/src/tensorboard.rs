//! A run's events as a TensorBoard event file, for those who use it.
//!
//! The file is a sequence of TFRecords (TensorFlow, `core/lib/io/record_writer.h`): length, masked CRC-32C of the length,
//! bytes, masked CRC-32C of the bytes. The bytes are protocol buffers of the message `Event` (`core/util/event.proto`),
//! written here by hand, as five fields are all that is needed.
//!
//! Events of a run carry no time of day. An event's time is made up: when `config.toml` was written, and the seconds
//! that the stages worked until then; pauses between a stop and a resume are not in it.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::{Error, Result};
use crate::event::{RowFigures, RunEvent, Step};
use crate::run_folder::{EventFollower, RunFolder};

/// What TensorBoard knows the format by.
const VERSION: &str = "brain.Event:2";

/// Writes the figures of a run into a folder, which is made: a file that TensorBoard finds by its name, the same at each
/// call. Tags are `stage/measure`. Returns how many figures it holds. The events are never held all at once.
///
/// # Errors
/// [`Error::NoRun`] where there is no run.
pub fn write(folder: &RunFolder, out: &Path) -> Result<usize> {
    let config = folder.config_file();
    if !config.is_file() {
        return Err(Error::NoRun(folder.path().to_owned()));
    }
    let written = config.metadata().and_then(|about| about.modified()).map_err(Error::io(&config))?;
    let begin = written.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let path = out.join(format!("events.out.tfevents.{begin:010.0}.reinpath"));
    let mut follower = EventFollower::new(folder);
    let mut scalars = Scalars::begin(&path, begin)?;
    loop {
        let news = follower.poll()?;
        if news.is_from_the_start {
            // It has gone back meanwhile.
            scalars = Scalars::begin(&path, begin)?;
        }
        for event in &news.events {
            scalars.add(event)?;
        }
        if !news.has_more {
            return scalars.finish();
        }
    }
}

/// A file of scalars.
struct Scalars {
    file: BufWriter<File>,
    path: PathBuf,
    count: usize,
    /// Seconds since 1970 at which the run began.
    begin: f64,
    /// Seconds that the stages before the one at work took.
    before: f64,
    /// The stage at work, and its seconds so far.
    stage: String,
    secs: f64,
}

impl Scalars {
    fn begin(path: &Path, begin: f64) -> Result<Self> {
        let file = File::create(path).map_err(Error::io(path))?;
        let mut scalars = Self {
            file: BufWriter::new(file),
            path: path.to_owned(),
            count: 0,
            begin,
            before: 0.0,
            stage: String::new(),
            secs: 0.0,
        };
        let mut event = Vec::new();
        put_double(&mut event, 1, begin);
        put_bytes(&mut event, 3, VERSION.as_bytes());
        scalars.record(&event)?;
        Ok(scalars)
    }

    fn add(&mut self, event: &RunEvent) -> Result<()> {
        match event {
            RunEvent::Step(step) => {
                self.enter(&step.stage);
                self.secs = step.secs;
                self.summary(&step.stage, step.step, &figures_of_step(step))
            }
            RunEvent::Evaluation { stage, step, figures } => {
                self.enter(stage);
                self.summary(stage, *step, &figures_of_rows(figures))
            }
            _ => Ok(()),
        }
    }

    /// Takes note of the stage at work.
    fn enter(&mut self, stage: &str) {
        if self.stage != stage {
            self.before += self.secs;
            self.secs = 0.0;
            stage.clone_into(&mut self.stage);
        }
    }

    /// Writes figures of a step as one event.
    fn summary(&mut self, stage: &str, step: usize, figures: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (name, figure) in figures {
            let mut value = Vec::new();
            put_bytes(&mut value, 1, format!("{stage}/{name}").as_bytes());
            put_float(&mut value, 2, *figure as f32);
            put_bytes(&mut summary, 1, &value);
        }
        let mut event = Vec::new();
        put_double(&mut event, 1, self.begin + self.before + self.secs);
        put_varint(&mut event, 2 << 3);
        put_varint(&mut event, step as u64);
        put_bytes(&mut event, 5, &summary);
        self.count += figures.len();
        self.record(&event)
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] =
            [&length, &masked(&length).to_le_bytes(), event, &masked(event).to_le_bytes()];
        let mut write = || parts.into_iter().try_for_each(|part| self.file.write_all(part));
        write().map_err(Error::io(&self.path))
    }

    fn finish(mut self) -> Result<usize> {
        self.file.flush().map_err(Error::io(&self.path))?;
        Ok(self.count)
    }
}

fn figures_of_step(step: &Step) -> Vec<(&str, f64)> {
    let of_all =
        [("loss", step.loss), ("learning_rate", step.learning_rate), ("gradient_norm", step.gradient_norm)];
    of_all.into_iter().chain(step.measures.iter().map(|(name, figure)| (name.as_str(), *figure))).collect()
}

fn figures_of_rows(figures: &RowFigures) -> Vec<(&'static str, f64)> {
    vec![
        ("held_out_accuracy", figures.accuracy),
        ("held_out_accuracy_low", figures.interval_95[0]),
        ("held_out_accuracy_high", figures.interval_95[1]),
        ("held_out_balanced_accuracy", figures.balanced_accuracy),
        ("held_out_stages_present", figures.stages_present),
        ("held_out_answer_tokens", figures.answer_tokens),
    ]
}

/// TFRecord's checksum: a CRC of bytes that hold CRCs is a poor one, so that it is turned and moved.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number as u8) | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn put_bytes(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(to, (field << 3) | 2);
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn put_double(to: &mut Vec<u8>, field: u64, number: f64) {
    put_varint(to, (field << 3) | 1);
    to.extend_from_slice(&number.to_le_bytes());
}

fn put_float(to: &mut Vec<u8>, field: u64, number: f32) {
    put_varint(to, (field << 3) | 5);
    to.extend_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A scalar as TensorBoard reads it: time, step, tag, value.
    type Scalar = (f64, u64, String, f32);

    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0_u64, 0_u32);
        loop {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(*first & 0x7f) << shift;
            shift += 7;
            if *first < 0x80 {
                return number;
            }
        }
    }

    /// The next field: its number and its bytes, those of a varint as eight.
    fn field(bytes: &mut &[u8]) -> Option<(u64, Vec<u8>)> {
        if bytes.is_empty() {
            return None;
        }
        let key = varint(bytes);
        let length = match key & 7 {
            0 => return Some((key >> 3, varint(bytes).to_le_bytes().to_vec())),
            1 => 8,
            2 => varint(bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (field, rest) = bytes.split_at(length);
        *bytes = rest;
        Some((key >> 3, field.to_vec()))
    }

    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        std::iter::from_fn(|| field(&mut bytes)).collect()
    }

    fn double(bytes: &[u8]) -> f64 {
        f64::from_le_bytes(bytes.try_into().unwrap())
    }

    /// The payloads of the records of a file, with their sums checked.
    fn records(path: &Path) -> Vec<Vec<u8>> {
        let file = std::fs::read(path).unwrap();
        let (mut rest, mut records) = (file.as_slice(), Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let sum = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            assert_eq!(sum(8), masked(&rest[..8]));
            let record = &rest[12..12 + length];
            assert_eq!(sum(12 + length), masked(record));
            records.push(record.to_vec());
            rest = &rest[16 + length..];
        }
        records
    }

    fn scalars(path: &Path) -> Vec<Scalar> {
        let mut scalars = Vec::new();
        for record in &records(path)[1..] {
            let parts: [(u64, Vec<u8>); 3] = fields(record).try_into().unwrap();
            let [(1, time), (2, step), (5, summary)] = parts else {
                panic!("an event has a time, a step and a summary")
            };
            let step = u64::from_le_bytes(step.as_slice().try_into().unwrap());
            for (_, value) in fields(&summary) {
                let parts: [(u64, Vec<u8>); 2] = fields(&value).try_into().unwrap();
                let [(1, tag), (2, number)] = parts else { panic!("a value has a tag and a number") };
                let number = f32::from_le_bytes(number.as_slice().try_into().unwrap());
                scalars.push((double(&time), step, String::from_utf8(tag).unwrap(), number));
            }
        }
        scalars
    }

    fn step(stage: &str, step: usize, secs: f64) -> RunEvent {
        let mut measures = BTreeMap::new();
        if stage == "grpo" {
            measures.insert("kl".to_owned(), 0.25);
        }
        let (loss, learning_rate, gradient_norm) = (1.5, 1e-3, f64::NAN);
        RunEvent::Step(Step {
            stage: stage.to_owned(),
            step,
            loss,
            learning_rate,
            gradient_norm,
            secs,
            measures,
        })
    }

    #[test]
    fn the_file_begins_as_tensorflow_begins_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        Scalars::begin(&path, 1.5).unwrap().finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        // The first twelve bytes of any file that TensorFlow wrote; the last sum was computed with another program.
        assert_eq!(bytes[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(bytes[12..], *b"\x09\0\0\0\0\0\0\xf8\x3f\x1a\x0dbrain.Event:2\x2a\x28\x64\x6c");
    }

    #[test]
    fn every_figure_of_a_run_is_there_with_its_step_and_a_time_that_grows() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path());
        let out = place.path().join("out");
        assert!(matches!(write(&folder, &out), Err(Error::NoRun(_))));
        std::fs::write(folder.config_file(), "").unwrap();
        let figures = RowFigures { accuracy: 0.75, interval_95: [0.5, 0.9], ..RowFigures::default() };
        let events = [
            RunEvent::Stage { stage: "alignment".to_owned(), steps: 300 },
            step("alignment", 1, 10.0),
            step("alignment", 300, 20.0),
            step("grpo", 1, 5.0),
            RunEvent::Evaluation { stage: "grpo".to_owned(), step: 1, figures },
        ];
        let lines = events.map(|event| serde_json::to_string(&event).unwrap() + "\n");
        std::fs::write(folder.events_file(), lines.concat()).unwrap();
        assert_eq!(write(&folder, &out).unwrap(), 3 + 3 + 4 + 6);
        assert_eq!(write(&folder, &out).unwrap(), 16, "again into the same file");
        let files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() == 1 && files[0].to_string_lossy().contains("tfevents"), "{files:?}");
        let scalars = scalars(&files[0]);
        assert_eq!(scalars.len(), 16);
        let begin = scalars[0].0 - 10.0;
        assert!(begin > 1.6e9);
        let of = |tag: &str| -> Vec<(f64, u64, f32)> {
            let found = scalars.iter().filter(|scalar| scalar.2 == tag);
            found.map(|(time, step, _, value)| ((time - begin).round(), *step, *value)).collect()
        };
        assert_eq!(of("alignment/loss"), [(10.0, 1, 1.5), (20.0, 300, 1.5)]);
        assert_eq!(of("grpo/kl"), [(25.0, 1, 0.25)]);
        assert_eq!(of("grpo/held_out_accuracy"), [(25.0, 1, 0.75)]);
        assert!(of("grpo/gradient_norm")[0].2.is_nan(), "what was no number stays none");
    }
}
