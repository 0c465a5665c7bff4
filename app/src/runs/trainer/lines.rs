//! Lines of a program that may print anything: each is held up to a bound, and what is beyond it is passed over.

use std::io::{self, BufRead, Read as _};

/// Bytes of a line: the places of a check's finding are one line, and a large data set has many.
pub(crate) const MOST_LINE: u64 = 16 << 20;
/// Characters of the last words that are kept.
const MOST_WORDS: usize = 2000;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A line, with its line break if it has one.
    Line,
    /// One that was passed over.
    TooLong,
    End,
}

/// Reads the next line into `line`.
pub(crate) fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Incoming> {
    line.clear();
    if input.by_ref().take(MOST_LINE).read_until(b'\n', line)? == 0 {
        return Ok(Incoming::End);
    }
    if line.ends_with(b"\n") || (line.len() as u64) < MOST_LINE {
        return Ok(Incoming::Line);
    }
    loop {
        line.clear();
        if input.by_ref().take(MOST_LINE).read_until(b'\n', line)? == 0 || line.ends_with(b"\n") {
            return Ok(Incoming::TooLong);
        }
    }
}

/// Reads to the end and returns the last line that says something; empty where there is none.
pub(crate) fn last_words(mut input: impl BufRead) -> String {
    let (mut line, mut last) = (Vec::new(), String::new());
    while let Ok(Incoming::Line | Incoming::TooLong) = read_line(&mut input, &mut line) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        // What a Rust program adds to its panics.
        if !text.is_empty() && !text.starts_with("note: run with `RUST_BACKTRACE") {
            last = text.chars().take(MOST_WORDS).collect();
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
        let mut text = vec![b'x'; MOST_LINE as usize + 5];
        text.extend(b"\nnext\nlast");
        let (mut input, mut line) = (text.as_slice(), Vec::new());
        assert_eq!(read_line(&mut input, &mut line).unwrap(), Incoming::TooLong);
        assert_eq!(
            (read_line(&mut input, &mut line).unwrap(), line.as_slice()),
            (Incoming::Line, &b"next\n"[..])
        );
        assert_eq!(
            (read_line(&mut input, &mut line).unwrap(), line.as_slice()),
            (Incoming::Line, &b"last"[..])
        );
        assert_eq!(read_line(&mut input, &mut line).unwrap(), Incoming::End);
    }

    #[test]
    fn the_last_words_are_the_last_line_that_says_something() {
        let panic = "thread 'main' panicked at x.rs:1\nout of range\nnote: run with `RUST_BACKTRACE=1`\n\n";
        assert_eq!(last_words(panic.as_bytes()), "out of range");
        assert_eq!(last_words(&b" \n"[..]), "");
    }
}
