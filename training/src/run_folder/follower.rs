//! A run's events as they come, from its folder alone.
//!
//! A run that goes on after a kill cuts off the events since its checkpoint. So the follower remembers the bytes before
//! the place it has reached, and begins anew when they are not there any more. One look reads a bounded part, so that
//! who follows a long run shows its first steps while it reads the rest.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::RunFolder;
use crate::error::{Error, Result};
use crate::event::{RunEvent, Step};

/// Bytes before the place reached that are compared: at least one event with its time.
const REMEMBERED: usize = 1024;
/// What one look reads at most; a line that is longer is no event.
const MOST_BYTES: usize = 4 << 20;
/// What is kept of a line that is longer.
const SHOWN_BYTES: usize = 1024;
/// How the line of a step begins. Nearly all lines of a long run are steps.
const STEP: &[u8] = b"{\"type\":\"step\",\"data\":";

/// Reads the events of a run, each once.
#[derive(Debug)]
pub struct EventFollower {
    path: PathBuf,
    at: u64,
    before: Vec<u8>,
    /// What one look reads at most.
    most: usize,
    /// Whether the place reached lies in a line that is too long, whose rest is passed over.
    is_in_long_line: bool,
}

/// What came since the last look.
#[derive(Debug, Default, PartialEq)]
pub struct News {
    /// The run went back, or another one has begun here: what was read before is void, and `events` are all there are.
    pub is_from_the_start: bool,
    /// In a step, what was not finite when it was written is NaN: JSON has no other number for it than `null`.
    pub events: Vec<RunEvent>,
    /// Lines that are no event to this program.
    pub strange: Vec<String>,
    /// Whether there is more to read at once.
    pub has_more: bool,
}

impl EventFollower {
    /// From the first event.
    pub fn new(folder: &RunFolder) -> Self {
        Self {
            path: folder.events_file(),
            at: 0,
            before: Vec::new(),
            most: MOST_BYTES,
            is_in_long_line: false,
        }
    }

    /// What came since the last look, or the first part of it; a line that is not whole yet waits.
    pub fn poll(&mut self) -> Result<News> {
        self.read().map_err(Error::io(&self.path))
    }

    fn read(&mut self) -> std::io::Result<News> {
        let mut news = News::default();
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && self.at == 0 => return Ok(news),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.begin_anew();
                return Ok(News { is_from_the_start: true, ..news });
            }
            Err(error) => return Err(error),
        };
        if !self.is_as_before(&mut file)? {
            self.begin_anew();
            news.is_from_the_start = true;
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        file.take(self.most as u64).read_to_end(&mut bytes)?;
        news.has_more = bytes.len() == self.most;
        let lines = self.whole_lines(&bytes, &mut news);
        for line in bytes[lines.clone()].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match event(line) {
                Some(event) => news.events.push(event),
                None => news.strange.push(String::from_utf8_lossy(line).into_owned()),
            }
        }
        self.go_past(&bytes[..lines.end]);
        Ok(news)
    }

    /// Which of the bytes are whole lines. All before the end of them is done with: the rest of a line that is too
    /// long, or the begin of one.
    fn whole_lines(&mut self, bytes: &[u8], news: &mut News) -> std::ops::Range<usize> {
        let mut begin = 0;
        if self.is_in_long_line {
            match bytes.iter().position(|&byte| byte == b'\n') {
                Some(at) => begin = at + 1,
                None => return bytes.len()..bytes.len(),
            }
            self.is_in_long_line = false;
        }
        match bytes[begin..].iter().rposition(|&byte| byte == b'\n') {
            Some(at) => begin..begin + at + 1,
            None if begin == 0 && news.has_more => {
                self.is_in_long_line = true;
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
                news.strange.push(String::from_utf8_lossy(shown).into_owned());
                bytes.len()..bytes.len()
            }
            None => begin..begin,
        }
    }

    /// Moves the place reached behind bytes that were read from it.
    fn go_past(&mut self, bytes: &[u8]) {
        self.at += bytes.len() as u64;
        self.before.extend_from_slice(&bytes[bytes.len().saturating_sub(REMEMBERED)..]);
        self.before.drain(..self.before.len().saturating_sub(REMEMBERED));
    }

    fn begin_anew(&mut self) {
        self.at = 0;
        self.before.clear();
        self.is_in_long_line = false;
    }

    /// Whether the bytes before the place reached are still those that were read.
    fn is_as_before(&self, file: &mut File) -> std::io::Result<bool> {
        let mut found = vec![0; self.before.len()];
        file.seek(SeekFrom::Start(self.at - found.len() as u64))?;
        match file.read_exact(&mut found) {
            Ok(()) => Ok(found == self.before),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The event in a line; `None` where it holds none that this program knows.
fn event(line: &[u8]) -> Option<RunEvent> {
    let step = line.strip_prefix(STEP).and_then(|rest| rest.strip_suffix(b"}"));
    if let Some(Ok(step)) = step.map(serde_json::from_slice::<StepLine>) {
        return Some(RunEvent::Step(step.into()));
    }
    serde_json::from_slice(line).ok()
}

/// A [`Step`] as its line holds it, where `null` stands for a number that is not finite.
#[derive(Deserialize)]
struct StepLine {
    stage: String,
    step: usize,
    #[serde(deserialize_with = "number")]
    loss: f64,
    #[serde(deserialize_with = "number")]
    learning_rate: f64,
    #[serde(deserialize_with = "number")]
    gradient_norm: f64,
    #[serde(deserialize_with = "number")]
    secs: f64,
    #[serde(default, deserialize_with = "numbers")]
    measures: BTreeMap<String, f64>,
}

impl From<StepLine> for Step {
    fn from(line: StepLine) -> Self {
        let StepLine { stage, step, loss, learning_rate, gradient_norm, secs, measures } = line;
        Self { stage, step, loss, learning_rate, gradient_norm, secs, measures }
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn numbers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<String, f64>, D::Error> {
    struct Numbers;

    impl<'de> Visitor<'de> for Numbers {
        type Value = BTreeMap<String, f64>;

        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("measures with their numbers")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
            let mut numbers = BTreeMap::new();
            while let Some((name, number)) = map.next_entry::<String, Option<f64>>()? {
                numbers.insert(name, number.unwrap_or(f64::NAN));
            }
            Ok(numbers)
        }
    }

    deserializer.deserialize_map(Numbers)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::event::EventSink;

    fn stage(steps: usize) -> RunEvent {
        RunEvent::Stage { stage: "grpo".to_owned(), steps }
    }

    #[test]
    fn each_event_comes_once_and_half_a_line_waits() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path());
        let mut follower = EventFollower::new(&folder);
        assert_eq!(follower.poll().unwrap(), News::default(), "nothing has begun");
        let mut sink = EventSink::create(folder.path()).unwrap();
        sink.send(&stage(1)).unwrap();
        sink.send(&stage(2)).unwrap();
        assert_eq!(follower.poll().unwrap().events, [stage(1), stage(2)]);
        assert_eq!(follower.poll().unwrap(), News::default());
        let mut file = File::options().append(true).open(folder.events_file()).unwrap();
        let line = format!("{}\n", serde_json::to_string(&stage(3)).unwrap());
        let (first, second) = line.split_at(20);
        file.write_all(first.as_bytes()).unwrap();
        assert_eq!(follower.poll().unwrap(), News::default());
        file.write_all(second.as_bytes()).unwrap();
        file.write_all(b"{\"type\":\"of tomorrow\"}\n").unwrap();
        let news = follower.poll().unwrap();
        assert_eq!(news.events, [stage(3)]);
        assert_eq!(news.strange, ["{\"type\":\"of tomorrow\"}"]);
    }

    #[test]
    fn a_run_that_went_back_is_told_from_the_start() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path());
        let mut sink = EventSink::create(folder.path()).unwrap();
        sink.send(&stage(1)).unwrap();
        let length = sink.sync().unwrap();
        sink.send(&stage(2)).unwrap();
        sink.send(&stage(3)).unwrap();
        let mut follower = EventFollower::new(&folder);
        assert_eq!(follower.poll().unwrap().events.len(), 3);
        let mut sink = EventSink::reopen(folder.path(), length).unwrap();
        // As long as before, and longer.
        for steps in 5..9 {
            sink.send(&stage(steps)).unwrap();
        }
        let news = follower.poll().unwrap();
        assert!(news.is_from_the_start);
        assert_eq!(news.events, [1, 5, 6, 7, 8].map(stage));
        std::fs::remove_file(folder.events_file()).unwrap();
        assert!(follower.poll().unwrap().is_from_the_start);
        assert_eq!(follower.poll().unwrap(), News::default());
    }

    /// A follower that reads little at once.
    fn short_sighted(folder: &RunFolder, most: usize) -> EventFollower {
        EventFollower { most, ..EventFollower::new(folder) }
    }

    fn all(follower: &mut EventFollower) -> News {
        let mut all = News::default();
        loop {
            let News { events, strange, has_more, .. } = follower.poll().unwrap();
            all.events.extend(events);
            all.strange.extend(strange);
            if !has_more {
                return all;
            }
        }
    }

    #[test]
    fn a_long_file_is_read_in_parts_and_none_of_it_is_lost() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path());
        let lines: Vec<String> =
            (0..50).map(|steps| serde_json::to_string(&stage(steps)).unwrap() + "\n").collect();
        std::fs::write(folder.events_file(), lines.concat()).unwrap();
        let mut follower = short_sighted(&folder, 200);
        let first = follower.poll().unwrap();
        assert!(first.has_more && first.events.len() < 5, "{first:?}");
        let mut events = first.events;
        events.extend(all(&mut follower).events);
        assert_eq!(events, (0..50).map(stage).collect::<Vec<_>>());
        assert_eq!(follower.poll().unwrap(), News::default());
    }

    #[test]
    fn a_line_without_end_is_one_strange_line_and_the_next_is_read() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path());
        let event = serde_json::to_string(&stage(7)).unwrap();
        std::fs::write(folder.events_file(), format!("{}\n{event}\n", "x".repeat(1000))).unwrap();
        let News { events, strange, .. } = all(&mut short_sighted(&folder, 100));
        assert_eq!((events, strange), (vec![stage(7)], vec!["x".repeat(100)]));
        // Where its end has not come yet.
        std::fs::write(folder.events_file(), "y".repeat(250)).unwrap();
        let mut follower = short_sighted(&folder, 100);
        assert_eq!(all(&mut follower).strange, ["y".repeat(100)]);
        let mut file = File::options().append(true).open(folder.events_file()).unwrap();
        file.write_all(format!("yy\n{event}\n").as_bytes()).unwrap();
        assert_eq!(all(&mut follower), News { events: vec![stage(7)], ..News::default() });
    }

    #[test]
    fn a_step_whose_loss_was_no_number_is_a_step_all_the_same() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path());
        let step = Step {
            stage: "grpo".to_owned(),
            step: 3,
            loss: f64::NAN,
            learning_rate: 1e-4,
            gradient_norm: 2.0,
            secs: 1.5,
            measures: [("kl".to_owned(), f64::INFINITY), ("reward".to_owned(), 0.5)].into(),
        };
        let good = Step { loss: 1.0, measures: [("reward".to_owned(), 0.5)].into(), ..step.clone() };
        let lines = [&step, &good].map(|step| serde_json::to_string(&RunEvent::Step(step.clone())).unwrap());
        assert!(lines[0].as_bytes().starts_with(STEP) && lines[0].contains("\"loss\":null"), "{}", lines[0]);
        let incomplete = lines[1].replace("\"loss\":1.0,", "");
        std::fs::write(folder.events_file(), format!("{}\n{}\n{incomplete}\n", lines[0], lines[1])).unwrap();
        let news = EventFollower::new(&folder).poll().unwrap();
        let [RunEvent::Step(first), RunEvent::Step(second)] = news.events.as_slice() else {
            panic!("{:?}", news.events)
        };
        assert!(first.loss.is_nan() && first.measures["kl"].is_nan());
        assert_eq!((first.step, first.measures["reward"], first.secs), (3, 0.5, 1.5));
        assert_eq!(second, &good);
        assert_eq!(news.strange, [incomplete], "a step without a loss is none");
    }
}
