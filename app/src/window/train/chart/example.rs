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
        version: 1,
        listed,
        config: Some(Arc::new(toml::from_str(config).unwrap())),
        stages,
        changed: 7,
        ..RunTold::new(RunKey::new("/runs/a".into()))
    }
}

pub(super) fn running() -> Listed {
    Listed::Known(RunState::Running(Holder::default()))
}
