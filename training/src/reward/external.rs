//! A program of the user's that scores answers: a line of JSON in, a line of JSON out.
//!
//! It reads `{"id", "question", "kind", "choices", "context", "label", "images", "reference": {"observation",
//! "analysis", "conclusion"}, "answer": {the same}, "text"}` and writes `{"score": 0.7}`, or `{"reason": "…"}` where it
//! cannot say. With an `"id"` the two are held together. Its stderr is the run's. It is started without a shell, once,
//! and asked about one answer at a time.
//!
//! A program that ends, is silent for longer than its time or writes anything else is killed with its process group: a
//! late line would otherwise be taken for the score of the next answer. It is started again, and the answer stays without
//! a score. After a few such failures in a row it is given up, which is an error and not a run without this reward. A
//! child of it that leaves its process group is not reached.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, bounded};
use reinpath_model::stage::StagedAnswer;
use serde::{Deserialize, Serialize};

use super::{Candidate, Error, Question};
use crate::rows::RowKind;

/// Failures in a row after which the program is still started again.
const RESTARTS: usize = 3;
/// A longer line is no score.
const LONGEST_LINE: u64 = 1 << 20;
/// Lines that wait to be read: more than one is a mistake, which shows all the same.
const WAITING: usize = 4;

/// What became of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Score(f64),
    /// Why there is none.
    Unscored(String),
}

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub struct External {
    words: Vec<String>,
    timeout: Duration,
    running: Option<Running>,
    /// Id of the last answer that was asked about.
    asked: u64,
    /// Failures since the last verdict.
    failures: usize,
}

#[derive(Serialize)]
struct Request<'a> {
    id: u64,
    question: &'a str,
    kind: RowKind,
    choices: &'a [String],
    context: Option<&'a str>,
    label: Option<&'a str>,
    images: &'a [String],
    reference: Option<&'a StagedAnswer>,
    answer: &'a StagedAnswer,
    text: &'a str,
}

#[derive(Deserialize)]
struct Response {
    id: Option<u64>,
    score: Option<f64>,
    reason: Option<String>,
}

impl External {
    /// Starts a command line, which is split into words as a shell would and given to none; `timeout_secs` is the time
    /// for one answer, the program's start included.
    pub fn start(command: &str, timeout_secs: f64) -> Result<Self, Error> {
        let words = shlex::split(command).filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| Error::Words(command.to_owned()))?;
        let timeout = Duration::try_from_secs_f64(timeout_secs).ok().filter(|timeout| !timeout.is_zero());
        let timeout = timeout.ok_or_else(|| {
            Error::Setting(format!("reward.external_timeout must be more than 0 seconds, not {timeout_secs}"))
        })?;
        let running = Some(Running::start(&words)?);
        Ok(Self { words, timeout, running, asked: 0, failures: 0 })
    }

    /// Asks about one answer and waits, no longer than the time limit. An error only when the program is given up.
    pub fn score(
        &mut self,
        question: &Question,
        candidate: &Candidate,
        answer: &StagedAnswer,
    ) -> Result<Verdict, Error> {
        self.asked += 1;
        let request = Request {
            id: self.asked,
            question: &question.text,
            kind: question.kind,
            choices: &question.choices,
            context: question.context.as_deref(),
            label: question.label.as_deref(),
            images: &question.images,
            reference: question.reference.as_ref(),
            answer,
            text: &candidate.text,
        };
        match serde_json::to_string(&request) {
            Ok(line) => self.ask(line + "\n"),
            Err(error) => Ok(Verdict::Unscored(format!("the answer cannot be written as JSON, {error}"))),
        }
    }

    fn ask(&mut self, line: String) -> Result<Verdict, Error> {
        let running = match self.running.take() {
            Some(running) => running,
            None => Running::start(&self.words)?,
        };
        match running.ask(self.asked, line, self.timeout) {
            Ok(verdict) => {
                self.running = Some(running);
                self.failures = 0;
                Ok(verdict)
            }
            Err(reason) => {
                drop(running);
                self.failures += 1;
                let program = self.words[0].clone();
                tracing::warn!("the program that scores answers is started again, since {reason}: {program}");
                if self.failures > RESTARTS {
                    return Err(Error::External { failures: self.failures, reason, program });
                }
                Ok(Verdict::Unscored(reason))
            }
        }
    }
}

/// What the reading thread passes on.
enum Said {
    Line(Vec<u8>),
    Ended,
}

/// A process with a thread that writes to it and one that reads from it. Dropping it kills it with its group.
#[derive(Debug)]
struct Running {
    process: Child,
    requests: Sender<String>,
    said: Receiver<Said>,
}

impl Running {
    fn start(words: &[String]) -> Result<Self, Error> {
        let failed = |source| Error::Start { source, program: words[0].clone() };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn().map_err(failed)?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (requests, to_write) = bounded(1);
        let (sender, said) = bounded(WAITING);
        // From here on dropping ends the process.
        let running = Self { process, requests, said };
        let (stdin, stdout) = pipes.ok_or_else(|| failed(std::io::Error::other("its pipes are missing")))?;
        let named = |name: &str| Builder::new().name(name.to_owned());
        named("reward-requests").spawn(move || write_requests(stdin, &to_write)).map_err(failed)?;
        named("reward-scores").spawn(move || pass_on_lines(stdout, &sender)).map_err(failed)?;
        Ok(running)
    }

    /// The program's word on one answer, or what is wrong with the program.
    fn ask(&self, id: u64, line: String, timeout: Duration) -> Result<Verdict, String> {
        let deadline = Instant::now() + timeout;
        match self.said.try_recv() {
            Err(TryRecvError::Empty) => {}
            Ok(Said::Line(line)) => {
                return Err(format!("it wrote “{}” unasked", shortened(&line)));
            }
            Ok(Said::Ended) | Err(TryRecvError::Disconnected) => return Err("it ended".to_owned()),
        }
        let too_long = || format!("it took longer than {} seconds", timeout.as_secs_f64());
        match self.requests.send_timeout(line, timeout) {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => return Err(too_long()),
            Err(SendTimeoutError::Disconnected(_)) => return Err("it reads no more answers".to_owned()),
        }
        match self.said.recv_deadline(deadline) {
            Ok(Said::Line(line)) => verdict(id, &line),
            Ok(Said::Ended) | Err(RecvTimeoutError::Disconnected) => Err("it ended".to_owned()),
            Err(RecvTimeoutError::Timeout) => Err(too_long()),
        }
    }

    /// While the process has not been waited for, its number is nobody else's, also when it has ended.
    #[cfg(unix)]
    fn kill_group(&self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        if let Err(error) = kill_process_group(Pid::from_child(&self.process), Signal::KILL) {
            tracing::debug!("the process group was gone already: {error}");
        }
    }

    #[cfg(not(unix))]
    fn kill_group(&self) {}
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
        // Fails only for a process that has just gone.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A line as a verdict, or what is wrong with it.
fn verdict(id: u64, line: &[u8]) -> Result<Verdict, String> {
    let unexpected = || format!("it wrote “{}” instead of a score", shortened(line));
    let response: Response = serde_json::from_slice(line).map_err(|error| {
        tracing::debug!("{error}");
        unexpected()
    })?;
    if response.id.is_some_and(|answered| answered != id) {
        return Err("it answered about another answer than it was asked about".to_owned());
    }
    match (response.score, response.reason) {
        (Some(score), _) if score.is_finite() => Ok(Verdict::Score(score)),
        (None, Some(reason)) => Ok(Verdict::Unscored(reason)),
        _ => Err(unexpected()),
    }
}

/// The beginning of a line, for a message.
fn shortened(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut start: String = line.trim().chars().take(80).collect();
    if start.len() < line.trim().len() {
        start.push('…');
    }
    start
}

/// Until the process takes no more or its handle is dropped; then its stdin closes.
fn write_requests(mut stdin: ChildStdin, requests: &Receiver<String>) {
    for line in requests {
        if let Err(error) = stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()) {
            tracing::debug!("the program that scores answers takes no more: {error}");
            return;
        }
    }
}

/// Until the process's stdout ends or nobody listens.
fn pass_on_lines(stdout: ChildStdout, said: &Sender<Said>) {
    let mut output = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = output.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        let is_end = !matches!(read, Ok(1..));
        let next = if is_end { Said::Ended } else { Said::Line(line) };
        if said.send(next).is_err() || is_end {
            return;
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
