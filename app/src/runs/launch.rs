//! Starts and ends processes that train: detached from the window, each in a folder of its own.
//!
//! The process leaves the window's session by itself (`--detached`), so that it outlives the window; what it says outside its log
//! goes into the run's folder, so that it is found there by whoever looks later. Everything here may wait.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use reinpath_training::config::RunConfig;
use reinpath_training::run_folder::{Holder, RunFolder, RunState};

use super::log;

/// Lines of a process that ended that are kept to be shown.
const LAST_LINES: usize = 20;
/// The exit code of a run that stopped as asked (`design/command-line.md`).
const INTERRUPTED: i32 = 130;

/// A run to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Its folder, which has no run yet.
    pub folder: PathBuf,
    pub config: RunConfig,
    /// It begins when the runs in these folders have ended.
    pub after: Vec<PathBuf>,
}

/// How a process that this window started came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `exit code 1`, or `killed by signal 9, perhaps for want of memory`, in words.
    pub how: String,
    pub is_good: bool,
    /// The last lines of its log and of what it said outside of it.
    pub last_lines: Vec<String>,
}

/// What [`start`] runs, without the program.
pub fn arguments(folder: &Path, after: &[PathBuf]) -> Vec<String> {
    words_of_start(folder, after).iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn words_of_start(folder: &Path, after: &[PathBuf]) -> Vec<OsString> {
    let asked = RunFolder::new(folder).asked_file();
    let run: [OsString; 4] = ["run".into(), asked.into(), "--run".into(), folder.into()];
    run.into_iter().chain(words_of_launch(after)).collect()
}

fn words_of_launch(after: &[PathBuf]) -> impl Iterator<Item = OsString> {
    let behind = after.iter().flat_map(|run| [OsString::from("--after"), run.into()]);
    std::iter::once(OsString::from("--detached")).chain(behind)
}

/// Makes the run's folder, writes what is asked for into it and starts the program.
///
/// # Errors
/// A sentence, where the folder has a run already or something of this fails.
pub fn start(program: &Path, launch: &Launch) -> Result<Child, String> {
    let folder = std::path::absolute(&launch.folder)
        .map_err(|error| sentence("The run's folder has no path", &error, &launch.folder))?;
    let run = RunFolder::new(&folder);
    if run.asked_file().exists() || run.config_file().exists() {
        return Err(format!("A run is here already, choose another folder: {}", folder.display()));
    }
    let config = launch.config.clone().absolute().map_err(|error| format!("The settings fail: {error}"))?;
    let text = toml::to_string_pretty(&config)
        .map_err(|error| format!("The settings cannot be written as TOML: {error}"))?;
    std::fs::create_dir_all(&folder)
        .map_err(|error| sentence("The run's folder cannot be made", &error, &folder))?;
    std::fs::write(run.asked_file(), text)
        .map_err(|error| sentence("The run's settings cannot be written", &error, &run.asked_file()))?;
    spawn(program, &folder, words_of_start(&folder, &launch.after))
}

/// Goes on with the run in a folder; one that never began is begun.
///
/// # Errors
/// A sentence, where there is no run or the program cannot be started.
pub fn resume(program: &Path, folder: &Path, after: &[PathBuf]) -> Result<Child, String> {
    let run = RunFolder::new(folder);
    let words: Vec<OsString> = if run.config_file().is_file() {
        [OsString::from("resume"), folder.into()].into_iter().chain(words_of_launch(after)).collect()
    } else if run.asked_file().is_file() {
        words_of_start(folder, after)
    } else {
        return Err(format!("There is no run here to go on with: {}", folder.display()));
    };
    spawn(program, folder, words)
}

fn spawn(program: &Path, folder: &Path, words: Vec<OsString>) -> Result<Child, String> {
    // A relative program would be looked for in the folder that the process begins in.
    let program = std::path::absolute(program)
        .map_err(|error| sentence("The training program has no path", &error, program))?;
    let stderr_file = RunFolder::new(folder).stderr_file();
    let stderr = File::options()
        .append(true)
        .create(true)
        .open(&stderr_file)
        .map_err(|error| sentence("The run's folder cannot be written to", &error, &stderr_file))?;
    let mut command = Command::new(&program);
    command.args(words).current_dir(folder.parent().unwrap_or(folder));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    #[cfg(windows)]
    {
        use std::os::windows::process::CommandExt as _;
        const DETACHED_PROCESS: u32 = 0x0000_0008;
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
        command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
    }
    command.spawn().map_err(|error| sentence("The training program cannot be started", &error, &program))
}

/// Waits for a process to end and says how it did; its log lies in `folder`.
pub fn wait(mut child: Child, folder: &Path) -> Ended {
    let (how, is_good) = match child.wait() {
        Ok(status) => in_words(status),
        Err(error) => (format!("its end is not known ({error})"), false),
    };
    Ended { how, is_good, last_lines: log::last_lines(folder, LAST_LINES) }
}

/// How a process ended, and whether that is as it should be.
fn in_words(status: ExitStatus) -> (String, bool) {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let words = match signal {
            9 => "killed by signal 9, perhaps for want of memory".to_owned(),
            15 => "ended by signal 15".to_owned(),
            6 | 7 | 11 => format!("crashed with signal {signal}"),
            _ => format!("killed by signal {signal}"),
        };
        return (words, false);
    }
    match status.code() {
        Some(0) => ("finished".to_owned(), true),
        Some(INTERRUPTED) => ("stopped as asked".to_owned(), true),
        Some(code) => (format!("exit code {code}"), false),
        None => (status.to_string(), false),
    }
}

/// Ends the process that is at work in a run's folder at once, with its group: what it did since its last checkpoint is lost.
///
/// # Errors
/// A sentence, where nobody is at work there or the process cannot be ended.
pub fn kill(folder: &Path) -> Result<(), String> {
    let run = RunFolder::new(folder);
    // Whoever holds the lock is alive, so that the number is still that process's own.
    let pid = match run.state() {
        Ok(RunState::Running(Holder { pid: Some(pid), .. })) => pid,
        Ok(RunState::Running(_)) => {
            return Err(format!("This system does not tell which process is at work: {}", folder.display()));
        }
        Ok(_) => return Err(format!("No process is at work here any more: {}", folder.display())),
        Err(error) => return Err(format!("The run cannot be killed: {error}")),
    };
    end(pid).map_err(|error| sentence("The run's process cannot be ended", &error, folder))
}

#[cfg(unix)]
fn end(pid: u32) -> io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    // A run that was detached leads a group, in which the programs that score its answers are too. One that a terminal started
    // need not lead one, and the group that it is in is not its own to end.
    kill_process_group(pid, Signal::KILL).or_else(|_no_group| kill_process(pid, Signal::KILL))?;
    Ok(())
}

#[cfg(not(unix))]
fn end(pid: u32) -> io::Result<()> {
    let status = Command::new("taskkill").args(["/F", "/T", "/PID", &pid.to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

fn sentence(what: &str, error: &io::Error, path: &Path) -> String {
    format!("{what}, {error}: {}", path.display())
}

#[cfg(test)]
mod tests;
