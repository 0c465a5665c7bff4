//! Follows a run by its folder: reads what it writes, a bounded part at a time, and hands over what is known of it as it changes.
//! Belongs to a worker thread.

mod taken;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use reinpath_training::config::{self, RunConfig};
use reinpath_training::machine::{self, MachineSample};
use reinpath_training::run_folder::{EventFollower, RunFolder};

use super::RunKey;
use super::list::{look_at, sentence};
use super::told::{Listed, ListedRun, RunTold};

/// Samples of the machine that are kept, and how many of the newest are kept whole when older ones are thinned out.
const MOST_SAMPLES: usize = 4096;
const RECENT_SAMPLES: usize = 256;

/// Reads a run from its first event on.
pub struct RunFollower {
    folder: RunFolder,
    events: EventFollower,
    /// Place reached in the file of the machine's samples.
    machine_at: u64,
    /// The file of the configuration that is known, when it was written, and its bytes.
    config_seen: Option<(PathBuf, SystemTime, u64)>,
    told: RunTold,
    /// Whether it was handed over at least once.
    was_told: bool,
}

/// What a look came to.
#[derive(Debug)]
pub struct Followed {
    /// All that is known by now; `None` where nothing is new.
    pub told: Option<Arc<RunTold>>,
    /// Whether there is more to read at once.
    pub has_more: bool,
}

impl RunFollower {
    /// Reads nothing yet.
    pub fn new(key: RunKey) -> Self {
        let folder = RunFolder::new(key.folder());
        let events = EventFollower::new(&folder);
        let told = RunTold::new(key);
        Self { folder, events, machine_at: 0, config_seen: None, told, was_told: false }
    }

    /// Reads on, at most a few MiB. What was known of a folder that has vanished is kept.
    pub fn poll(&mut self) -> Followed {
        let ListedRun { state, changed, .. } = look_at(&self.told.key);
        let fault_before = self.told.fault.take();
        let (mut is_new, mut has_more) = (!self.was_told, false);
        if self.folder.path().is_dir() {
            is_new |= self.told.changed != changed;
            self.told.changed = changed;
            is_new |= self.read_config();
            let (has_events, has_more_events) = self.read_events();
            let (has_samples, has_more_samples) = self.read_machine();
            is_new = is_new || has_events || has_samples;
            has_more = has_more_events || has_more_samples;
            if !has_more {
                is_new |= self.forget_removed_checkpoints();
            }
        } else if let Listed::Unreadable(sentence) = &state {
            self.told.fault = Some(sentence.clone());
        }
        is_new |= self.told.listed != state || self.told.fault != fault_before;
        self.told.listed = state;
        if !is_new {
            return Followed { told: None, has_more };
        }
        self.was_told = true;
        self.told.version += 1;
        Followed { told: Some(Arc::new(self.told.clone())), has_more }
    }

    /// Whether there were any, and whether there are more.
    fn read_events(&mut self) -> (bool, bool) {
        let news = match self.events.poll() {
            Ok(news) => news,
            Err(error) => {
                self.told.fault = Some(sentence(&error));
                return (false, false);
            }
        };
        let is_new = news.is_from_the_start || !news.events.is_empty() || !news.strange.is_empty();
        if news.is_from_the_start {
            self.told.forget_events();
        }
        for event in news.events {
            self.told.take(event, self.folder.path());
        }
        for line in news.strange {
            self.told.note_strange(&line);
        }
        (is_new, news.has_more)
    }

    /// Reads the configuration where it is new: what the run goes by or, until that is there, what was asked for.
    fn read_config(&mut self) -> bool {
        let files = [self.folder.config_file(), self.folder.asked_file()];
        let found = files.into_iter().find_map(|file| {
            let about = file.metadata().ok()?;
            Some((file, about.modified().ok()?, about.len()))
        });
        let Some((file, ..)) = found.as_ref().filter(|_| found != self.config_seen) else { return false };
        match config::read::<RunConfig>(file) {
            Ok(config) => {
                self.told.config = Some(Arc::new(config));
                self.config_seen = found;
                true
            }
            Err(error) => {
                // It is tried again with the next look: it may be half written.
                self.told.fault = Some(sentence(&error));
                false
            }
        }
    }

    /// Whether there were any new samples, and whether there are more. They are worth nothing but a line in a plot: where they
    /// cannot be read there are none.
    fn read_machine(&mut self) -> (bool, bool) {
        let Ok((samples, at)) = machine::read_from(&self.folder.machine_file(), self.machine_at) else {
            return (false, false);
        };
        let has_more = at >= self.machine_at + machine::MOST_BYTES / 2;
        let is_another = at < self.machine_at;
        self.machine_at = at;
        if samples.is_empty() && !is_another {
            return (false, has_more);
        }
        let kept = Arc::make_mut(&mut self.told.machine);
        if is_another {
            kept.clear();
        }
        kept.extend(samples);
        while kept.len() > MOST_SAMPLES {
            thin(kept);
        }
        (true, has_more)
    }

    /// The run removes its old checkpoints without a word.
    fn forget_removed_checkpoints(&mut self) -> bool {
        let before = self.told.checkpoints.len();
        self.told.checkpoints.retain(|checkpoint| checkpoint.path.is_dir());
        self.told.checkpoints.len() != before
    }
}

/// Drops every second of the older samples.
fn thin(samples: &mut Vec<MachineSample>) {
    let whole = samples.len().saturating_sub(RECENT_SAMPLES);
    let mut at = 0;
    samples.retain(|_| {
        at += 1;
        at > whole || at % 2 == 1
    });
}

#[cfg(test)]
mod tests;
