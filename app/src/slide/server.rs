//! The child process that opens and reads one slide: `reinpath slide-server PATH`, over stdin and stdout.
//!
//! It is a process of its own because OpenSlide and the libraries below it are C code that parses strangers' files: a crash,
//! a hang or a flood of memory ends this process and nothing else. The Rust decoders of plain images run here as well.

use std::io::{self, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::{self, Builder, ScopedJoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use reinpath_model::frame::{self, Frame, Incoming};
use reinpath_model::request::{Hello, PROTOCOL};

use super::protocol::{Failure, PixelsHead, ProfileHead};
use super::source::Source;
use super::{Pixels, Request, hash};
use crate::priority;

/// Threads that read from the slide at the same time: at least a few even on two cores, because on a slow drive each mostly waits.
pub(super) fn threads() -> usize {
    // Asked for with every tile, and the system reads a dozen files to tell.
    static THREADS: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(4, usize::from).clamp(4, 8));
    *THREADS
}

/// Address space of the child: what a slide can make it take before it is refused more.
#[cfg(unix)]
const MEMORY_BYTES: u64 = 4 << 30;

type Output = Arc<Mutex<io::Stdout>>;

/// Serves the slide at `path` until stdin closes. An error means that the parent has gone. Every request waits for `read_delay` first: with
/// one, a slow drive is measured.
///
/// # Errors
/// When a thread cannot be started or nothing can be written to stdout.
pub fn serve(path: &Path, read_delay: Duration) -> Result<(), frame::Error> {
    limit_memory();
    end_on_panic();
    let output: Output = Arc::new(Mutex::new(io::stdout()));
    let hello =
        Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_string(), devices: Vec::new() };
    send(&output, &Frame::new(0, "hello", &hello)?)?;
    watch_for_the_end(&output, path, read_delay)
}

/// Reads requests while the slide is opened and read by other threads, so that the end of stdin is always noticed at once:
/// a decoder that hangs in C code cannot keep the process alive.
fn watch_for_the_end(output: &Output, path: &Path, read_delay: Duration) -> Result<(), frame::Error> {
    let (requests, waiting) = bounded::<(u64, Request)>(64);
    let (opener, path) = (Arc::clone(output), path.to_path_buf());
    Builder::new().name("slide-open".to_string()).spawn(move || {
        if open_and_read(&opener, &path, &waiting, read_delay).is_err() {
            std::process::exit(1);
        }
    })?;
    read_requests(&requests)
}

fn read_requests(requests: &Sender<(u64, Request)>) -> Result<(), frame::Error> {
    let mut input = BufReader::new(io::stdin());
    while let Some(incoming) = frame::read(&mut input)? {
        if let Incoming::Frame(frame) = incoming
            && frame.kind == "read"
            && requests.send((frame.id, frame.parse()?)).is_err()
        {
            break;
        }
    }
    Ok(())
}

fn open_and_read(
    output: &Output,
    path: &Path,
    waiting: &Receiver<(u64, Request)>,
    read_delay: Duration,
) -> Result<(), frame::Error> {
    let source = match open(output, path)? {
        Ok(source) => source,
        Err(error) => return send(output, &Frame::new(0, "failed", &Failure::of(&error))?),
    };
    send(output, &Frame::new(0, "opened", source.info())?)?;
    let decode = |source: &Source| -> Result<(), frame::Error> {
        priority::step_back();
        for (id, request) in waiting {
            thread::sleep(read_delay);
            match request {
                Request::IccProfile => answer_profile(output, id, source.icc_profile())?,
                request => answer(output, id, source.read(&request, &|| report_progress(output, id)))?,
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let decoders = (0..threads())
            .map(|number| {
                Builder::new().name(format!("slide-decode-{number}")).spawn_scoped(scope, || decode(&source))
            })
            .collect::<io::Result<Vec<_>>>()?;
        for decoder in decoders {
            // A panic has ended the process before.
            decoder.join().unwrap_or(Ok(()))?;
        }
        Ok(())
    })
}

/// Opens the slide and hashes the file meanwhile. The outer error means that no thread can be started.
fn open(output: &Output, path: &Path) -> io::Result<Result<Source, super::Error>> {
    let alive = || report_progress(output, 0);
    thread::scope(|scope| {
        let hashing = Builder::new()
            .name("slide-hash".to_string())
            .spawn_scoped(scope, || hash::begin(path, || report_progress(output, 0)))?;
        let opened = Source::open(path, &alive);
        // What the file is instead of a slide is said without its hash.
        Ok(opened.and_then(|source| with_hash(source, hashing, output, path)))
    })
}

fn with_hash(
    mut source: Source,
    hashing: ScopedJoinHandle<'_, io::Result<hash::Begun>>,
    output: &Output,
    path: &Path,
) -> Result<Source, super::Error> {
    let failed =
        |error: io::Error| super::Error::File { reason: error.to_string(), path: path.to_path_buf() };
    let files = source.files().map_err(failed)?;
    // A panic has ended the process before.
    let begun = hashing.join().unwrap_or_else(|_panic| Err(io::Error::other("hashing it failed")));
    let others = files.get(1..).unwrap_or_default();
    let hash = begun.and_then(|begun| begun.end(others, || report_progress(output, 0)));
    source.set_hash(hash.map_err(failed)?);
    Ok(source)
}

fn report_progress(output: &Output, id: u64) {
    // Nobody may be listening any more; the next event finds that out.
    if let Ok(frame) = Frame::new(id, "progress", &()) {
        drop(send(output, &frame));
    }
}

fn answer(output: &Output, id: u64, result: Result<Pixels, super::Error>) -> Result<(), frame::Error> {
    let frame = match result {
        Ok(pixels) => Frame::new(id, "pixels", &PixelsHead::of(&pixels))?.with_bytes(pixels.image.into_raw()),
        Err(error) => Frame::new(id, "failed", &Failure::of(&error))?,
    };
    send(output, &frame)
}

fn answer_profile(
    output: &Output,
    id: u64,
    result: Result<Option<Vec<u8>>, super::Error>,
) -> Result<(), frame::Error> {
    let frame = match result {
        Ok(profile) => {
            let head = ProfileHead { exists: profile.is_some() };
            Frame::new(id, "profile", &head)?.with_bytes(profile.unwrap_or_default())
        }
        Err(error) => Frame::new(id, "failed", &Failure::of(&error))?,
    };
    send(output, &frame)
}

fn send(output: &Output, frame: &Frame) -> Result<(), frame::Error> {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    frame::write(&mut *output, frame)?;
    output.flush()?;
    Ok(())
}

/// A panic in a decoder (of this program or of a crate it uses) ends the whole process: the parent would otherwise wait for
/// an answer of a thread that is no more.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(101);
    }));
}

#[cfg(unix)]
fn limit_memory() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::As).maximum;
    let limit = hard.map_or(MEMORY_BYTES, |hard| hard.min(MEMORY_BYTES));
    if let Err(error) = setrlimit(Resource::As, Rlimit { current: Some(limit), maximum: hard }) {
        tracing::warn!("reading the slide without a memory limit: {error}");
    }
}

/// Elsewhere than on Unix the child runs without a memory limit.
#[cfg(not(unix))]
fn limit_memory() {}
