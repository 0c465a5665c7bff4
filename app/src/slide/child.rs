//! The parent's end of a `slide-server` child: starting it, a thread that reads its events, and its certain end.

use std::ffi::OsString;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use reinpath_model::frame::{self, Frame, Incoming};
use reinpath_model::request::{Hello, PROTOCOL};

use super::protocol::{Answer, Failure, PixelsHead, ProfileHead};
use super::{Request, SlideInfo};

/// Events that wait for the owner thread; the child's pipe holds the rest back.
const WAITING_EVENTS: usize = 8;

/// How to start a reading process; the slide's path is added as the last argument.
#[derive(Clone, Debug)]
pub(super) struct ServerCommand {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

impl ServerCommand {
    /// This program again. `REINPATH_BIN_DIR` names the folder where it is installed, for programs (and tests) that are not it.
    pub(super) fn own() -> io::Result<Self> {
        let name = format!("reinpath{}", std::env::consts::EXE_SUFFIX);
        let program = match std::env::var_os("REINPATH_BIN_DIR") {
            Some(folder) => PathBuf::from(folder).join(name),
            None => std::env::current_exe()?,
        };
        Ok(Self { program, arguments: vec!["slide-server".into()] })
    }
}

/// What the reader thread passes on.
#[derive(Debug)]
pub(super) enum FromChild {
    Hello(Hello),
    Opened(Box<SlideInfo>),
    /// Still at it: a large read, a large image, a slide of many files.
    Progress {
        id: u64,
    },
    Answer {
        id: u64,
        answer: Answer,
    },
    Failed {
        id: u64,
        failure: Failure,
    },
    /// Nothing more will come; `None` when it closed its stdout in good order.
    Ended(Option<String>),
}

/// A running child. Dropping it kills it with its process group and waits for it.
pub(super) struct RunningChild {
    process: Child,
    /// Set once the process has been waited for: from then on its number may be another's.
    ended: Option<String>,
    stdin: Option<ChildStdin>,
    pub events: Receiver<FromChild>,
}

impl RunningChild {
    pub(super) fn start(command: &ServerCommand, slide: &Path) -> io::Result<Self> {
        let mut process = Command::new(&command.program);
        process.args(&command.arguments).arg(slide);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        let mut process = process.spawn()?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (sender, events) = bounded(WAITING_EVENTS);
        let mut child = Self { process, ended: None, stdin, events };
        let Some(stdout) = stdout else { return Err(io::Error::other("it has no stdout")) };
        let reader = Builder::new().name("slide-events".to_string()).spawn(move || {
            let last = pass_on_events(stdout, |event| sender.send(event).is_ok());
            // The owner may have gone first.
            drop(sender.send(FromChild::Ended(last)));
        });
        if let Err(error) = reader {
            child.end();
            return Err(error);
        }
        Ok(child)
    }

    /// Sends a request; an error means that the child has gone, which its events will tell too.
    pub(super) fn request(&mut self, id: u64, request: &Request) -> Result<(), frame::Error> {
        let frame = Frame::new(id, "read", request)?;
        match &mut self.stdin {
            Some(stdin) => frame::write(stdin, &frame),
            None => Err(frame::Error::Io(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Kills the child with its process group if it still runs, waits for it and says how it ended.
    pub(super) fn end(&mut self) -> String {
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        self.stdin = None;
        if !self.has_ended_by_itself() {
            self.kill_group();
            // Fails only for a process that has just gone.
            drop(self.process.kill());
        }
        let ended = self.process.wait().map_or_else(|error| error.to_string(), in_words);
        self.ended = Some(ended.clone());
        ended
    }

    /// A child that closed its stdout is about to end, with a status worth telling: it gets a moment for that.
    fn has_ended_by_itself(&mut self) -> bool {
        let closed =
            matches!(self.events.try_recv(), Ok(FromChild::Ended(_)) | Err(TryRecvError::Disconnected));
        for _ in 0..if closed { 20 } else { 1 } {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return true;
            }
            if closed {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        false
    }

    #[cfg(unix)]
    fn kill_group(&self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        if let Some(group) = Pid::from_raw(self.process.id() as i32)
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!("the slide server's process group was gone already: {error}");
        }
    }

    #[cfg(not(unix))]
    fn kill_group(&self) {}
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        self.end();
    }
}

fn in_words(status: std::process::ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal {
            6 => "aborted, perhaps out of memory".to_string(),
            9 | 15 => "killed".to_string(),
            11 => "crashed".to_string(),
            signal => format!("signal {signal}"),
        };
    }
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

/// Until the child's stdout ends or nobody listens; returns what was wrong at the end, if anything.
fn pass_on_events(stdout: ChildStdout, pass_on: impl Fn(FromChild) -> bool) -> Option<String> {
    let mut input = BufReader::new(stdout);
    loop {
        match frame::read(&mut input) {
            Ok(None) => return None,
            Ok(Some(Incoming::Stray(line))) => tracing::warn!("the slide server wrote: {line}"),
            Ok(Some(Incoming::Frame(frame))) => match understand(frame) {
                Ok(event) => {
                    if !pass_on(event) {
                        return None;
                    }
                }
                Err(reason) => return Some(reason),
            },
            Err(error) => return Some(error.to_string()),
        }
    }
}

fn understand(frame: Frame) -> Result<FromChild, String> {
    let in_words = |error: frame::Error| error.to_string();
    Ok(match frame.kind.as_str() {
        "hello" => FromChild::Hello(frame.parse().map_err(in_words)?),
        "opened" => FromChild::Opened(frame.parse().map_err(in_words)?),
        "progress" => FromChild::Progress { id: frame.id },
        "failed" => FromChild::Failed { id: frame.id, failure: frame.parse().map_err(in_words)? },
        "pixels" => {
            let head: PixelsHead = frame.parse().map_err(in_words)?;
            let id = frame.id;
            let pixels = head.with_bytes(frame.bytes).ok_or("it sent the wrong number of pixels")?;
            FromChild::Answer { id, answer: Answer::Pixels(pixels) }
        }
        "profile" => {
            let head: ProfileHead = frame.parse().map_err(in_words)?;
            let profile = head.exists.then_some(frame.bytes);
            FromChild::Answer { id: frame.id, answer: Answer::Profile(profile) }
        }
        other => return Err(format!("it sent the unknown event “{other}”")),
    })
}

/// One sentence when the child speaks another protocol.
pub(super) fn protocol_fault(hello: &Hello) -> Option<String> {
    (hello.protocol != PROTOCOL)
        .then(|| format!("it speaks protocol {} and this program speaks {PROTOCOL}", hello.protocol))
}
