//! Runs for the tests of the live view.

use std::sync::Arc;

use reinpath_training::run_folder::{Holder, RunState};

use crate::runs::RunKey;
use crate::runs::told::{Listed, RunTold, StageTold};

/// The run `/runs/a`, which was asked for with its second stage alone.
pub(super) fn told(listed: Listed, stages: Vec<StageTold>) -> RunTold {
    let config = "name = \"a\"\nseed = 1\nbase = \"b\"\n\
                  [cold_start]\ndata = [{ folder = \"d\" }]\noptimisation = {}\n";
    RunTold {
        key: RunKey::new("/runs/a".into()),
        version: 1,
        listed,
        config: Some(Arc::new(toml::from_str(config).unwrap())),
        waits_for: None,
        stages,
        progress: None,
        checkpoints: Vec::new(),
        warnings: Vec::new(),
        rollouts: Arc::default(),
        machine: Arc::default(),
        strange: None,
        fault: None,
        changed: 7,
        secs: None,
    }
}

pub(super) fn running() -> Listed {
    Listed::Known(RunState::Running(Holder::default()))
}
