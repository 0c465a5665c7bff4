//! A child process that speaks frames: a thread that reads its events, one that writes its requests, its certain end.
//!
//! The child has a process group of its own, which is killed when the handle is dropped: no worker outlives its window.
//! Nothing here waits for the child, except for a moment for its exit status.

use std::io::{self, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use reinpath_model::frame::{self, Frame, Incoming};

/// Events that wait to be taken; the child's pipe holds the rest back.
const WAITING_EVENTS: usize = 64;
/// Requests that wait to be written.
const WAITING_REQUESTS: usize = 64;
/// How often, and for how long each time, a child that closed its stdout is waited for: its status is worth telling.
const STATUS_TRIES: u32 = 50;
const STATUS_PAUSE: Duration = Duration::from_millis(10);

/// What comes from a child.
#[derive(Debug)]
pub enum FromChild {
    Frame(Frame),
    /// A line that is no frame.
    Stray(String),
    /// Nothing more will come; says what was wrong when it was not the end of its output.
    Ended(Option<String>),
}

/// A running child. Dropping it kills it with its process group and waits for it.
#[derive(Debug)]
pub struct FramedChild {
    process: Child,
    requests: Sender<Frame>,
    pub events: Receiver<FromChild>,
    /// Set once the process has been waited for: from then on its number may be another's.
    ended: Option<String>,
}

impl FramedChild {
    /// Starts a program; `name` names the threads.
    pub fn start(command: &mut Command, name: &str) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut process = command.spawn()?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (requests, to_write) = bounded(WAITING_REQUESTS);
        let (sender, events) = bounded(WAITING_EVENTS);
        // From here on dropping ends the process.
        let child = Self { process, requests, events, ended: None };
        let (stdin, stdout) = pipes.ok_or_else(|| io::Error::other("its pipes are missing"))?;
        Builder::new().name(format!("{name}-requests")).spawn(move || write_requests(stdin, &to_write))?;
        Builder::new().name(format!("{name}-events")).spawn(move || {
            let fault = pass_on_events(stdout, |event| sender.send(event).is_ok());
            // The owner may have gone first.
            drop(sender.send(FromChild::Ended(fault)));
        })?;
        Ok(child)
    }

    /// Hands a request over without waiting; `false` when the child takes none (any more).
    pub fn send(&self, frame: Frame) -> bool {
        match self.requests.try_send(frame) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Says how the child ended, after its events have; kills it with its process group if it still runs after a moment.
    pub fn status(&mut self) -> String {
        for _ in 0..STATUS_TRIES {
            if self.ended.is_some() || matches!(self.process.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(STATUS_PAUSE);
        }
        self.end()
    }

    /// Kills the child with its process group if it still runs, waits for it and says how it ended.
    pub fn end(&mut self) -> String {
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        if !matches!(self.process.try_wait(), Ok(Some(_))) {
            self.kill_group();
            // Fails only for a process that has just gone.
            drop(self.process.kill());
        }
        let ended = self.process.wait().map_or_else(|error| error.to_string(), in_words);
        self.ended = Some(ended.clone());
        ended
    }

    #[cfg(unix)]
    fn kill_group(&self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        if let Some(group) = Pid::from_raw(self.process.id() as i32)
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!("the process group was gone already: {error}");
        }
    }

    #[cfg(not(unix))]
    fn kill_group(&self) {}
}

impl Drop for FramedChild {
    fn drop(&mut self) {
        self.end();
    }
}

fn in_words(status: std::process::ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("killed by signal {signal}");
    }
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

/// Until the child takes no more or its handle is dropped; then its stdin closes.
fn write_requests(mut stdin: ChildStdin, requests: &Receiver<Frame>) {
    for frame in requests {
        if let Err(error) = frame::write(&mut stdin, &frame) {
            tracing::debug!("a child takes no more requests: {error}");
            return;
        }
    }
}

/// Until the child's stdout ends or nobody listens; returns what was wrong at the end, if anything.
fn pass_on_events(stdout: ChildStdout, pass_on: impl Fn(FromChild) -> bool) -> Option<String> {
    let mut input = BufReader::new(stdout);
    loop {
        let event = match frame::read(&mut input) {
            Ok(None) => return None,
            Ok(Some(Incoming::Stray(line))) => FromChild::Stray(line),
            Ok(Some(Incoming::Frame(frame))) => FromChild::Frame(frame),
            Err(error) => return Some(error.to_string()),
        };
        if !pass_on(event) {
            return None;
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> FramedChild {
        FramedChild::start(Command::new("sh").args(["-c", script]), "test").unwrap()
    }

    fn next(child: &FramedChild) -> FromChild {
        child.events.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn frames_and_stray_lines_come_in_order_and_the_end_tells_its_status() {
        let mut child = shell(r#"echo '{"type":"hello","data":1}'; echo oops; exit 3"#);
        assert!(matches!(next(&child), FromChild::Frame(f) if f.kind == "hello"));
        assert!(matches!(next(&child), FromChild::Stray(line) if line == "oops"));
        assert!(matches!(next(&child), FromChild::Ended(None)));
        assert_eq!(child.status(), "exit code 3");
    }

    #[test]
    fn a_killed_child_says_by_which_signal() {
        let mut child = shell("kill -9 $$");
        assert!(matches!(next(&child), FromChild::Ended(None)));
        assert_eq!(child.status(), "killed by signal 9");
    }

    #[test]
    fn dropping_ends_the_whole_group_even_while_nothing_is_read() {
        let child = shell("sleep 300 & sleep 300");
        let big = Frame::new(1, "ask", &()).unwrap().with_bytes(vec![0; 1 << 20]);
        assert!(child.send(big));
        let (events, start) = (child.events.clone(), Instant::now());
        drop(child);
        // Its stdout ends only when everybody who holds it is gone, the inner sleep too.
        assert!(matches!(events.recv_timeout(Duration::from_secs(20)).unwrap(), FromChild::Ended(None)));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
