//! Framing between processes, version 1 (`design/formats.md`): one JSON line, then as many raw bytes as it says.
//!
//! Used by the worker, by the slide server and by the window's side of both. It knows nothing of what is said.

use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A line longer than this is no frame of ours.
const MAX_LINE: u64 = 16 << 20;
/// No message carries more pixels than this (a 16,384 px square of RGB).
const MAX_BYTES: u64 = 1 << 30;

/// A request or an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The request that this belongs to; 0 for what answers none (`hello`).
    pub id: u64,
    pub kind: String,
    pub data: serde_json::Value,
    pub bytes: Vec<u8>,
}

/// What was read from the other side.
#[derive(Debug)]
pub enum Incoming {
    Frame(Frame),
    /// A line that is no frame: shown as a warning, ends nothing.
    Stray(String),
}

/// Why the other side cannot be understood any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the connection to the other process broke: {0}")]
    Io(#[from] io::Error),
    #[error("the other process sent a message longer than {MAX_LINE} bytes")]
    LineTooLong,
    #[error("the other process announced {0} bytes, more than any message has")]
    TooManyBytes(u64),
    #[error("the message '{kind}' is not as expected: {source}")]
    Data { kind: String, source: serde_json::Error },
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    #[serde(default)]
    id: u64,
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(default)]
    data: serde_json::Value,
    #[serde(default, skip_serializing_if = "is_zero")]
    bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Frame {
    /// A frame without bytes.
    pub fn new(id: u64, kind: &str, data: &impl Serialize) -> Result<Self, Error> {
        let data =
            serde_json::to_value(data).map_err(|source| Error::Data { kind: kind.to_owned(), source })?;
        Ok(Self { id, kind: kind.to_owned(), data, bytes: Vec::new() })
    }

    /// The same frame with bytes.
    #[must_use]
    pub fn with_bytes(mut self, bytes: Vec<u8>) -> Self {
        self.bytes = bytes;
        self
    }

    /// The data as a type of ours.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(&self.data).map_err(|source| Error::Data { kind: self.kind.clone(), source })
    }
}

/// Writes one frame and flushes it.
pub fn write(to: &mut impl Write, frame: &Frame) -> Result<(), Error> {
    let head = Head {
        id: frame.id,
        kind: (&frame.kind).into(),
        data: frame.data.clone(),
        bytes: frame.bytes.len() as u64,
    };
    let mut line =
        serde_json::to_vec(&head).map_err(|source| Error::Data { kind: frame.kind.clone(), source })?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.write_all(&frame.bytes)?;
    to.flush()?;
    Ok(())
}

/// Reads the next frame or stray line; `None` when the other side has closed.
pub fn read(from: &mut impl BufRead) -> Result<Option<Incoming>, Error> {
    let mut line = Vec::new();
    if from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && line.len() as u64 == MAX_LINE {
        return Err(Error::LineTooLong);
    }
    let Ok(head) = serde_json::from_slice::<Head<'_>>(&line) else {
        return Ok(Some(Incoming::Stray(String::from_utf8_lossy(&line).trim_end().to_owned())));
    };
    if head.bytes > MAX_BYTES {
        return Err(Error::TooManyBytes(head.bytes));
    }
    let mut bytes = Vec::new();
    // Grows as the bytes come, so that a false length allocates nothing.
    if from.by_ref().take(head.bytes).read_to_end(&mut bytes)? as u64 != head.bytes {
        return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Some(Incoming::Frame(Frame { id: head.id, kind: head.kind.into_owned(), data: head.data, bytes })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_way_and_stray_lines_end_nothing() {
        let first =
            Frame::new(7, "tile", &serde_json::json!({"level": 2})).unwrap().with_bytes(vec![10, 0, 255, 10]);
        let second = Frame::new(8, "quit", &()).unwrap();
        let mut wire = Vec::new();
        write(&mut wire, &first).unwrap();
        wire.extend_from_slice(b"libtiff: warning\n");
        write(&mut wire, &second).unwrap();
        let mut from = wire.as_slice();
        assert!(matches!(read(&mut from).unwrap(), Some(Incoming::Frame(f)) if f == first));
        assert!(matches!(read(&mut from).unwrap(), Some(Incoming::Stray(s)) if s == "libtiff: warning"));
        assert!(matches!(read(&mut from).unwrap(), Some(Incoming::Frame(f)) if f == second));
        assert!(read(&mut from).unwrap().is_none());
    }

    #[test]
    fn false_lengths_are_errors() {
        let mut huge = &b"{\"type\":\"x\",\"bytes\":99999999999}\n"[..];
        assert!(matches!(read(&mut huge), Err(Error::TooManyBytes(_))));
        let mut short = &b"{\"type\":\"x\",\"bytes\":5}\nabc"[..];
        assert!(matches!(read(&mut short), Err(Error::Io(_))));
    }
}
