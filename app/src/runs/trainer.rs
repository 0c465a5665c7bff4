//! The program `reinpath-train` as a helper that looks at something and ends: rows as the model gets them, a data set looked
//! through, a run looked through, a package made of a checkpoint. Its results are JSON lines.
//!
//! It has a process group of its own, which is killed when the handle is dropped. Two threads read what it says and end with it.

pub(crate) mod lines;

use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use reinpath_training::config::RunConfig;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::lines::{Incoming, MOST_LINE, last_words, read_line};

/// How often a process that has said all is asked whether it has ended.
const STATUS_PAUSE: Duration = Duration::from_millis(10);
/// Characters of a strange line that are told.
const MOST_SHOWN: usize = 300;

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

/// What the program is started with. `scratch` is a folder for what is needed only as long as it runs: the settings of a
/// preflight, the pictures of a preview.
pub fn command_line(look: &Look, scratch: &Path) -> Vec<OsString> {
    match look {
        Look::Preview { data, package, rows } => {
            let mut words: Vec<OsString> = vec![
                "dataset".into(),
                "preview".into(),
                data.into(),
                "--model".into(),
                package.into(),
                "--json".into(),
                "-o".into(),
                scratch.into(),
            ];
            // In one word, as an id may begin with a dash.
            words.extend(rows.iter().map(|row| OsString::from(format!("--row={row}"))));
            words
        }
        Look::Check { data, package } => {
            vec![
                "dataset".into(),
                "check".into(),
                data.into(),
                "--model".into(),
                package.into(),
                "--json".into(),
            ]
        }
        Look::Preflight { folder, .. } => {
            vec!["run".into(), asked_file(scratch).into(), "--run".into(), folder.into(), "--dry-run".into()]
        }
        Look::Export { run, checkpoint, out } => {
            vec![
                "export".into(),
                run.into(),
                "--checkpoint".into(),
                checkpoint.into(),
                "-o".into(),
                out.into(),
            ]
        }
    }
}

/// Where the settings of a preflight are written.
fn asked_file(scratch: &Path) -> PathBuf {
    scratch.join("asked.toml")
}

/// The program at work. Dropping it kills its process and what that has started; nothing waits for it.
#[derive(Debug)]
pub struct Trainer {
    process: Arc<Mutex<Process>>,
}

/// A process that one thread waits for and another may kill.
#[derive(Debug)]
struct Process {
    child: Child,
    /// Set once it has been waited for: from then on its number may be another's.
    is_over: bool,
}

impl Trainer {
    /// Starts the program. `told` gets each JSON object that it prints, and at the end one of type `warning` where it
    /// printed anything else; files that such an object names are there until `told` returns. Then `ended` gets how it
    /// came out. Both are called from a thread of this handle, also after it was dropped.
    ///
    /// # Errors
    /// A sentence, where the program cannot be started.
    pub fn start(
        program: &Path,
        look: &Look,
        told: impl FnMut(Value) + Send + 'static,
        ended: impl FnOnce(Result<(), String>) + Send + 'static,
    ) -> Result<Self, String> {
        let scratch = tempfile::Builder::new().prefix("reinpath-look-").tempdir().map_err(|error| {
            let folder = std::env::temp_dir();
            format!("A folder for passing files cannot be made, {error}: {}", folder.display())
        })?;
        if let Look::Preflight { config, .. } = look {
            write_settings(config, &asked_file(scratch.path()))?;
        }
        let mut command = Command::new(program);
        command.args(command_line(look, scratch.path()));
        Self::begin(command, scratch, told, ended)
    }

    fn begin(
        mut command: Command,
        scratch: TempDir,
        told: impl FnMut(Value) + Send + 'static,
        ended: impl FnOnce(Result<(), String>) + Send + 'static,
    ) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What it says is shown as plain text.
        command.env("NO_COLOR", "1");
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let program = Path::new(command.get_program()).display().to_string();
        let not_started = |error: &dyn std::fmt::Display| {
            format!("The training program could not be started, {error}: {program}")
        };
        let spawned = command.spawn();
        let mut child = spawned.map_err(|error| not_started(&error))?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        let process = Arc::new(Mutex::new(Process { child, is_over: false }));
        // From here on dropping ends the process.
        let trainer = Self { process: Arc::clone(&process) };
        let (stdout, stderr) = pipes.ok_or_else(|| not_started(&"its pipes are missing"))?;
        let log = Builder::new().name("train-look-log".to_owned());
        let log =
            log.spawn(move || last_words(BufReader::new(stderr))).map_err(|error| not_started(&error))?;
        let listen = move || {
            tell(stdout, told);
            let said = log.join().unwrap_or_default();
            let status = wait(&process);
            drop(scratch);
            ended(status.map_err(|error| error.to_string()).and_then(|status| outcome(status, &said)));
        };
        let listener = Builder::new().name("train-look".to_owned()).spawn(listen);
        listener.map_err(|error| not_started(&error))?;
        Ok(trainer)
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        locked(&self.process).kill();
    }
}

impl Process {
    /// How it ended; `None` while it runs.
    fn status(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait();
        self.is_over |= !matches!(status, Ok(None));
        status
    }

    fn kill(&mut self) {
        if self.is_over {
            return;
        }
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process_group};
            if let Some(group) = Pid::from_raw(self.child.id() as i32)
                && let Err(error) = kill_process_group(group, Signal::KILL)
            {
                tracing::debug!("the process group was gone already: {error}");
            }
        }
        // Fails only for a process that has just gone.
        drop(self.child.kill());
    }
}

fn locked(process: &Mutex<Process>) -> std::sync::MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_settings(config: &RunConfig, file: &Path) -> Result<(), String> {
    let in_words = |error: &dyn std::fmt::Display| {
        format!("The settings cannot be written, {error}: {}", file.display())
    };
    let text = toml::to_string(config).map_err(|error| in_words(&error))?;
    std::fs::write(file, text).map_err(|error| in_words(&error))
}

/// Hands over each object until the program's stdout ends, then what else there was.
fn tell(stdout: ChildStdout, mut told: impl FnMut(Value)) {
    let mut input = BufReader::new(stdout);
    let (mut line, mut strange, mut last) = (Vec::new(), 0_usize, String::new());
    loop {
        match read_line(&mut input, &mut line) {
            Ok(Incoming::End) => break,
            Err(error) => {
                tracing::debug!("the training program's output broke off: {error}");
                break;
            }
            Ok(Incoming::TooLong) => {
                (strange, last) = (strange + 1, format!("longer than {} MiB", MOST_LINE >> 20));
            }
            Ok(Incoming::Line) => match serde_json::from_slice(&line) {
                Ok(object @ Value::Object(_)) => told(object),
                _ if line.trim_ascii().is_empty() => {}
                _ => {
                    let text = String::from_utf8_lossy(&line);
                    (strange, last) = (strange + 1, text.trim().chars().take(MOST_SHOWN).collect());
                }
            },
        }
    }
    if strange > 0 {
        let lines = if strange == 1 { "line".to_owned() } else { format!("{strange} lines, the last") };
        let warning =
            format!("The training program said something that is not understood ({lines}: {last}).");
        told(json!({"type": "warning", "data": {"warning": warning, "count": 1}}));
    }
}

fn wait(process: &Mutex<Process>) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = locked(process).status()? {
            return Ok(status);
        }
        std::thread::sleep(STATUS_PAUSE);
    }
}

/// What an exit means, with the last line of what was said on stderr.
fn outcome(status: ExitStatus, said: &str) -> Result<(), String> {
    if status.success() {
        return Ok(());
    }
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let why = if signal == 9 { ", perhaps for want of memory" } else { "" };
        let last = if said.is_empty() { String::new() } else { format!(" Its last words: {said}") };
        return Err(format!("The training program was killed by signal {signal}{why}.{last}"));
    }
    if said.is_empty() {
        let how = status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"));
        return Err(format!("The training program ended with {how} and gave no reason."));
    }
    let mut characters = said.chars();
    Err(characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect()))
}

#[cfg(test)]
mod tests;
