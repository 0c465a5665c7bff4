//! The wish that a run stop: a signal to its process (Ctrl-C, SIGTERM), or the file `stop` in its folder, which reaches
//! it from any process and any machine that sees the folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a run is asked to stop.
#[derive(Clone, Debug)]
pub struct StopSignal {
    asked: Arc<AtomicBool>,
    file: PathBuf,
}

impl StopSignal {
    /// `asked` is set by the process's handler of signals; `file` is [`super::RunFolder::stop_file`].
    pub fn new(asked: Arc<AtomicBool>, file: PathBuf) -> Self {
        Self { asked, file }
    }

    /// Whether it is asked for; looks for the file, so that it is asked once a step and not in inner loops.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) || self.file.exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::RunFolder;

    #[test]
    fn a_run_is_stopped_by_its_file_or_by_a_signal() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(place.path());
        let asked = Arc::new(AtomicBool::new(false));
        let stop = StopSignal::new(Arc::clone(&asked), folder.stop_file());
        assert!(!stop.is_asked());
        folder.ask_to_stop().unwrap();
        assert!(stop.is_asked());
        folder.forget_stop().unwrap();
        folder.forget_stop().unwrap();
        assert!(!stop.is_asked());
        asked.store(true, Ordering::Relaxed);
        assert!(stop.is_asked());
    }
}
