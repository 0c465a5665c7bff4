//! The program `reinpath-train` as a helper that looks at something and ends: rows as the model gets them, a data set looked
//! through, a run looked through, a package made of a checkpoint. Its results are JSON lines.

use std::path::PathBuf;

use reinpath_training::config::RunConfig;

/// Something to be looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// `dataset preview`: rows as the model of a package receives them.
    Preview { data: PathBuf, package: PathBuf, rows: Vec<String> },
    /// `dataset check`.
    Check { data: PathBuf, package: PathBuf },
    /// `run --dry-run`, of a run that would lie in `folder`.
    Preflight { config: Box<RunConfig>, folder: PathBuf },
    /// `export`: a package made of a checkpoint (a folder of the run's `checkpoints`).
    Export { run: PathBuf, checkpoint: PathBuf, out: PathBuf },
}
