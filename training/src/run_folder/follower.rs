//! A run's events as they come, from its folder alone.
//!
//! A run that goes on after a kill cuts off the events since its checkpoint. So the follower remembers the bytes before
//! the place it has reached, and begins anew when they are not there any more.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use super::RunFolder;
use crate::error::{Error, Result};
use crate::event::RunEvent;

/// Bytes before the place reached that are compared: at least one event with its time.
const REMEMBERED: usize = 1024;

/// Reads the events of a run, each once.
#[derive(Debug)]
pub struct EventFollower {
    path: PathBuf,
    at: u64,
    before: Vec<u8>,
}

/// What came since the last look.
#[derive(Debug, Default, PartialEq)]
pub struct News {
    /// The run went back, or another one has begun here: what was read before is void, and `events` are all there are.
    pub is_from_the_start: bool,
    pub events: Vec<RunEvent>,
    /// Lines that are no event to this program.
    pub strange: Vec<String>,
}

impl EventFollower {
    /// From the first event.
    pub fn new(folder: &RunFolder) -> Self {
        Self { path: folder.events_file(), at: 0, before: Vec::new() }
    }

    /// What came since the last look; a line that is not whole yet waits.
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
        file.read_to_end(&mut bytes)?;
        bytes.truncate(bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1));
        for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(event) => news.events.push(event),
                Err(_) => news.strange.push(String::from_utf8_lossy(line).into_owned()),
            }
        }
        self.at += bytes.len() as u64;
        self.before.extend_from_slice(&bytes);
        self.before.drain(..self.before.len().saturating_sub(REMEMBERED));
        Ok(news)
    }

    fn begin_anew(&mut self) {
        self.at = 0;
        self.before.clear();
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
}
