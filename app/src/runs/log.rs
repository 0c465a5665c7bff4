//! The log of a run: its newest lines, and a search through all of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use reinpath_training::run_folder::RunFolder;

use super::list::sentence;

/// Lines of a page.
const MOST_LINES: usize = 2000;
/// What is read at once, from the end backwards.
const BLOCK: u64 = 1 << 18;
/// However long its lines are, no more than this is read for a page.
const MOST_BYTES: u64 = 16 << 20;
/// Bytes of a line that are shown.
const MOST_OF_LINE: usize = 4096;

/// Lines of a run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// Lines of the whole log that match, where something is searched for.
    pub found: Option<usize>,
    /// Bytes of the log that come before the first line and were not read.
    pub bytes_before: u64,
}

/// A line, and how grave it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub text: String,
    pub level: LogLevel,
}

/// How grave a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warning,
    #[default]
    Other,
}

/// The newest lines of the log of a run, or the newest of all that hold `search`, in upper or lower case. A run that has no log yet
/// has no lines; an error is a sentence.
pub fn page(folder: &Path, search: &str) -> Result<LogPage, String> {
    let path = RunFolder::new(folder).log_file();
    let search = search.trim();
    let read = if search.is_empty() {
        newest(&path, MOST_LINES).map(|(lines, bytes_before)| LogPage {
            lines: logged(lines),
            found: None,
            bytes_before,
        })
    } else {
        matching(&path, &search.to_lowercase())
    };
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(LogPage::default()),
        read => read.map_err(|error| format!("{}: {}", sentence(&error), path.display())),
    }
}

/// The last lines of what a run's process said: those of its log, then those that came outside of it, such as what it died of.
pub fn last_lines(folder: &Path, count: usize) -> Vec<String> {
    let folder = RunFolder::new(folder);
    let read = |path: &Path| newest(path, count).map(|(lines, _)| lines).unwrap_or_default();
    let mut lines = read(&folder.log_file());
    // What is logged goes to both.
    let outside = read(&folder.stderr_file());
    let known = lines.len();
    for line in outside {
        if !lines[..known].contains(&line) {
            lines.push(line);
        }
    }
    lines.drain(..lines.len().saturating_sub(count));
    lines
}

/// The last lines of a file, and how many bytes come before them.
fn newest(path: &Path, most: usize) -> io::Result<(Vec<String>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let (mut begin, mut blocks, mut ends) = (length, VecDeque::new(), 0);
    // One more end of line than lines: the last one has its own.
    while begin > 0 && ends <= most && length - begin < MOST_BYTES {
        let size = BLOCK.min(begin);
        begin -= size;
        let mut block = vec![0; size as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut block)?;
        ends += block.split(|&byte| byte == b'\n').count() - 1;
        blocks.push_front(block);
    }
    let bytes = Vec::from(blocks).concat();
    let start = start_of_last(&bytes, most, begin == 0);
    let mut lines: Vec<String> = bytes[start..].split(|&byte| byte == b'\n').map(shown).collect();
    if bytes[start..].last().is_none_or(|&byte| byte == b'\n') {
        // Behind the last end of line there is none.
        lines.pop();
    }
    Ok((lines, begin + start as u64))
}

/// Where the last `most` lines begin in the end of a file, which `is_all` of it or begins within a line.
fn start_of_last(bytes: &[u8], most: usize, is_all: bool) -> usize {
    let end = bytes.len() - usize::from(bytes.last() == Some(&b'\n'));
    let ends = bytes[..end].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let mut starts: Vec<usize> = ends.map(|(at, _)| at + 1).collect();
    if is_all || starts.is_empty() {
        starts.insert(0, 0);
    }
    if most == 0 { bytes.len() } else { starts[starts.len().saturating_sub(most)] }
}

/// All lines that hold something, counted, and the newest of them.
fn matching(path: &Path, search: &str) -> io::Result<LogPage> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut lines, mut found, mut line) = (VecDeque::new(), 0, Vec::new());
    loop {
        line.clear();
        // A line without end is looked at in parts.
        if file.by_ref().take(MOST_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        if !text.to_lowercase().contains(search) {
            continue;
        }
        found += 1;
        lines.push_back(shown(line.strip_suffix(b"\n").unwrap_or(&line)));
        if lines.len() > MOST_LINES {
            lines.pop_front();
        }
    }
    Ok(LogPage { lines: logged(lines.into()), found: Some(found), bytes_before: 0 })
}

/// A line as it is shown: not without end.
fn shown(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut text = String::from_utf8_lossy(&line[..line.len().min(MOST_OF_LINE)]).into_owned();
    if line.len() > MOST_OF_LINE {
        text.push('…');
    }
    text
}

fn logged(lines: Vec<String>) -> Vec<LogLine> {
    lines.into_iter().map(|text| LogLine { level: level(&text), text }).collect()
}

/// The level stands behind the time, or first where there is none.
fn level(line: &str) -> LogLevel {
    let level = line.split_whitespace().take(2).find_map(|word| match word {
        "ERROR" => Some(LogLevel::Error),
        "WARN" => Some(LogLevel::Warning),
        _ => None,
    });
    level.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_log(text: impl AsRef<[u8]>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("log.txt"), text).unwrap();
        folder
    }

    fn texts(page: &LogPage) -> Vec<&str> {
        page.lines.iter().map(|line| line.text.as_str()).collect()
    }

    /// Numbered lines of a hundred bytes.
    fn numbered(count: usize) -> String {
        let lines: Vec<String> = (0..count).map(|n| format!("{n:<99}\n")).collect();
        lines.concat()
    }

    #[test]
    fn a_log_is_shown_with_the_level_of_each_line() {
        let folder = with_log(
            "2026-01-01T00:00:00Z  INFO reinpath: began\n2026-01-01T00:00:01Z  WARN reinpath: hot\nERROR now\n  an ERROR",
        );
        let page = page(folder.path(), " ").unwrap();
        let levels: Vec<LogLevel> = page.lines.iter().map(|line| line.level).collect();
        assert_eq!(levels, [LogLevel::Other, LogLevel::Warning, LogLevel::Error, LogLevel::Error]);
        assert_eq!((page.found, page.bytes_before, texts(&page)[3]), (None, 0, "  an ERROR"));
        let nothing = tempfile::tempdir().unwrap();
        assert_eq!(super::page(nothing.path(), "").unwrap(), LogPage::default());
        assert_eq!(super::page(nothing.path(), "a").unwrap(), LogPage::default());
    }

    #[test]
    fn of_a_long_log_the_newest_lines_are_read_backwards() {
        for count in [0, 1, 1999, 2000, 2001, 9000] {
            let folder = with_log(numbered(count));
            let page = page(folder.path(), "").unwrap();
            let first = count.saturating_sub(MOST_LINES);
            assert_eq!(page.lines.len(), count - first, "{count}");
            assert_eq!(page.bytes_before, 100 * first as u64, "{count}");
            let numbers = texts(&page).into_iter().map(|line| line.trim().parse::<usize>().unwrap());
            assert!(numbers.eq(first..count), "{count}");
        }
    }

    #[test]
    fn a_line_without_end_is_cut_and_letters_that_are_none_are_shown_all_the_same() {
        let folder = with_log([b"a\n".to_vec(), vec![b'x'; 3 << 18], b"\n\xff\n".to_vec()].concat());
        let page = page(folder.path(), "").unwrap();
        assert_eq!(page.lines.len(), 3);
        assert!(page.lines[1].text.len() < 2 * MOST_OF_LINE && page.lines[1].text.ends_with('…'));
        assert_eq!(page.lines[2].text, "\u{fffd}");
    }

    #[test]
    fn a_search_goes_through_the_whole_log_and_shows_the_newest_that_match() {
        let folder = with_log(format!("{}Out Of Memory\r\n{}", numbered(4000), numbered(10)));
        let one = page(folder.path(), "of memory").unwrap();
        assert_eq!((texts(&one), one.found), (vec!["Out Of Memory"], Some(1)));
        let many = page(folder.path(), "  ").unwrap();
        assert_eq!(many.found, None, "spaces are nothing to search for");
        let all = page(folder.path(), "0").unwrap();
        // 994 of the numbers below 4,000 hold a zero, and one of those below 10.
        assert_eq!((all.found, all.lines.len()), (Some(995), 995));
        assert_eq!(page(folder.path(), "absent").unwrap().found, Some(0));
    }

    #[test]
    fn the_last_lines_are_those_of_the_log_and_what_was_said_beside_it() {
        let folder = with_log("one\ntwo\nthree\n");
        std::fs::write(folder.path().join("stderr.txt"), "two\nthree\nkilled: no memory").unwrap();
        assert_eq!(last_lines(folder.path(), 3), ["two", "three", "killed: no memory"]);
        assert_eq!(last_lines(folder.path(), 20), ["one", "two", "three", "killed: no memory"]);
        assert!(last_lines(&folder.path().join("gone"), 5).is_empty());
        assert!(last_lines(folder.path(), 0).is_empty());
    }
}
