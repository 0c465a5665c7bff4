//! A run that waits until others have ended: a queue that needs no program but the runs themselves.
//!
//! It holds its own lock while it waits, so that others can wait for it, and looks at theirs, which end with their
//! processes however these end.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::RunEvent;
use crate::run_folder::{RunFolder, RunState, StopSignal};
use crate::trainer::Events;

/// Between two looks at another run.
const PAUSE: Duration = Duration::from_secs(1);

/// Returns once no process is at work in any of the folders `after`; tells which one it waits for. `stands` is the stage
/// and the step at which the run stands meanwhile.
///
/// # Errors
/// [`Error::Stopped`] when the run is asked to stop before its turn, which is told; [`Error::Setting`] when it is to wait
/// for itself.
pub(super) fn wait_for_turn(
    folder: &RunFolder,
    after: &[PathBuf],
    events: &Events,
    stop: &StopSignal,
    stands: (&str, usize),
) -> Result<()> {
    let waited = wait(folder, after, events, stop);
    let (stage, step) = (stands.0.to_owned(), stands.1);
    match &waited {
        Err(Error::Stopped) => events.send(&RunEvent::Stopped { stage, step })?,
        Err(error) => events.send(&RunEvent::Failed { error: error.to_string() })?,
        // Before the model is loaded: whoever holds the device's memory can give it up now.
        Ok(true) => {
            events.send(&RunEvent::Progress { what: "loading the model".to_owned(), done: 0, total: 1 })?;
        }
        Ok(false) => {}
    }
    waited.map(drop)
}

/// Whether there was anybody to wait for.
fn wait(folder: &RunFolder, after: &[PathBuf], events: &Events, stop: &StopSignal) -> Result<bool> {
    let mut has_waited = false;
    for run in after {
        let run = std::path::absolute(run).map_err(Error::io(run))?;
        if is_same(&run, folder) {
            let own = folder.path().display();
            return Err(Error::Setting(format!("a run cannot wait for its own end: {own}")));
        }
        let other = RunFolder::new(&run);
        let mut is_told = false;
        while is_at_work(&other) {
            if !is_told {
                tracing::info!("waiting for the run in {}", run.display());
                events.send(&RunEvent::Waiting { run: run.clone() })?;
                (is_told, has_waited) = (true, true);
            }
            if stop.is_asked() {
                return Err(Error::Stopped);
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(has_waited)
}

/// A folder without a run, or one that cannot be read, keeps nobody waiting.
fn is_at_work(run: &RunFolder) -> bool {
    match run.state() {
        Ok(state) => matches!(state, RunState::Running(_)),
        Err(error) => {
            tracing::warn!("not waited for: {error}");
            false
        }
    }
}

fn is_same(run: &std::path::Path, folder: &RunFolder) -> bool {
    match (run.canonicalize(), folder.path().canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::event::EventSink;

    struct Desk {
        place: tempfile::TempDir,
        own: RunFolder,
        events: Events,
        stop: StopSignal,
    }

    fn desk() -> Desk {
        let place = tempfile::tempdir().unwrap();
        let own = RunFolder::new(place.path().join("own"));
        own.create().unwrap();
        let events = Events::new(EventSink::create(own.path()).unwrap(), BTreeMap::new());
        let stop = StopSignal::new(Arc::new(AtomicBool::new(false)), own.stop_file());
        Desk { place, own, events, stop }
    }

    impl Desk {
        fn wait(&self, after: &[PathBuf]) -> Result<()> {
            wait_for_turn(&self.own, after, &self.events, &self.stop, ("alignment", 0))
        }

        fn told(&self) -> Vec<RunEvent> {
            let text = std::fs::read_to_string(self.own.events_file()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    #[test]
    fn a_run_waits_until_the_other_ones_lock_is_free() {
        let desk = desk();
        let other = RunFolder::new(desk.place.path().join("other"));
        other.create().unwrap();
        let lock = other.lock().unwrap();
        let holder = std::thread::Builder::new().name("other run".to_owned()).spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(lock);
        });
        desk.wait(&[other.path().to_owned()]).unwrap();
        holder.unwrap().join().unwrap();
        assert!(!matches!(other.state(), Ok(RunState::Running(_))), "it has ended by now");
        let loading = RunEvent::Progress { what: "loading the model".to_owned(), done: 0, total: 1 };
        assert_eq!(desk.told(), [RunEvent::Waiting { run: other.path().to_owned() }, loading]);
    }

    #[test]
    fn a_run_that_waits_can_be_stopped_and_says_where_it_stands() {
        let desk = desk();
        let other = RunFolder::new(desk.place.path().join("other"));
        other.create().unwrap();
        let _lock = other.lock().unwrap();
        desk.own.ask_to_stop().unwrap();
        assert!(matches!(desk.wait(&[other.path().to_owned()]), Err(Error::Stopped)));
        let stopped = RunEvent::Stopped { stage: "alignment".to_owned(), step: 0 };
        assert_eq!(desk.told().last(), Some(&stopped));
    }

    #[test]
    fn folders_without_a_run_are_not_waited_for_and_a_run_does_not_wait_for_itself() {
        let desk = desk();
        desk.wait(&[]).unwrap();
        desk.wait(&[desk.place.path().join("gone")]).unwrap();
        assert!(desk.told().is_empty());
        let _lock = desk.own.lock().unwrap();
        let error = desk.wait(&[desk.own.path().to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("a run cannot wait for its own end"), "{error}");
    }
}
