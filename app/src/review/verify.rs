//! Whether the log of verdicts is whole: every entry's hash, the chain of them, the answers that they are about, and the heads that
//! exports carry.
//!
//! A change is found by its entry's hash, an entry that was taken out by the numbers and by the hash that the next one names. Entries cut
//! off the end leave a whole log behind: only an export that has seen more tells. Whoever changes an entry and computes all hashes after it
//! anew is found by any export as well, and by nothing else.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::log::{Head, Link, MARK};
use super::verdict::Entry;
use crate::store::{self, Store};

/// Characters of a hash in hexadecimal.
const HASH: usize = 64;
/// What a compressed export may grow to: none of ours comes near.
const MOST_UNPACKED: u64 = 1 << 30;

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("entry {number} was changed")]
    Changed { number: u64 },
    #[error("entry {number} is missing")]
    Missing { number: u64 },
    #[error("entry {number} is about an answer that was changed after it: {answer}")]
    AnswerChanged { number: u64, answer: String },
    #[error("{}", cut(*entries, *seen))]
    Cut { entries: u64, seen: u64 },
    /// An export's head is not this log's entry.
    #[error(
        "entry {number} is not the one that the export has seen: the log was written anew, or the export is of another one"
    )]
    Other { number: u64 },
}

fn cut(entries: u64, seen: u64) -> String {
    let last = match entries {
        0 => "there is no entry".to_owned(),
        last => format!("entry {last} is the last"),
    };
    format!("{last}, but the export has seen {seen}: the log's tail was cut")
}

/// Looks at every entry; the head of a log that is whole, or the first thing that is wrong with it.
pub fn verify(store: &Store) -> Result<Result<Head, Fault>, store::Error> {
    let mut head = Head::default();
    let mut fault = None;
    let mut unread = None;
    let mut answers = BTreeMap::new();
    store.links(&mut |link| {
        fault = fault_of(&link, &head).or_else(|| {
            let entry = match entry_of(&link) {
                Ok(entry) => entry,
                Err(fault) => return Some(fault),
            };
            let stored = match answers.get(&link.answer) {
                Some(known) => known,
                None => match store.stored_hash(&link.answer) {
                    Ok(hash) => &*answers.entry(link.answer.clone()).or_insert(hash),
                    Err(error) => {
                        unread = Some(error);
                        return None;
                    }
                },
            };
            let is_same = stored.as_ref() == Some(&entry.answer_hash);
            (!is_same).then(|| Fault::AnswerChanged { number: link.number, answer: link.answer.clone() })
        });
        head = Head { entries: link.number, hash: link.hash };
        fault.is_none() && unread.is_none()
    })?;
    match (unread, fault) {
        (Some(error), _) => Err(error),
        (None, Some(fault)) => Ok(Err(fault)),
        (None, None) => Ok(Ok(head)),
    }
}

/// What is wrong with an entry after the one before it.
fn fault_of(link: &Link, before: &Head) -> Option<Fault> {
    let number = before.entries + 1;
    if link.number > number {
        return Some(Fault::Missing { number });
    }
    if link.number < number || link.hash != link.right_hash() {
        return Some(Fault::Changed { number: link.number });
    }
    // It is whole, and names another entry before it than there is.
    (link.previous != before.hash).then_some(Fault::Changed { number: before.entries.max(1) })
}

/// The entry in a link, which says of itself what the link says of it.
fn entry_of(link: &Link) -> Result<Entry, Fault> {
    let fault = Fault::Changed { number: link.number };
    let Ok(entry) = serde_json::from_str::<Entry>(&link.body) else { return Err(fault) };
    let is_same = entry.number == link.number && entry.at == link.at && entry.answer.0 == link.answer;
    if is_same { Ok(entry) } else { Err(fault) }
}

/// Whether the log still has the entry that an export has seen as its last.
pub fn against(store: &Store, seen: &Head) -> Result<Result<(), Fault>, store::Error> {
    let entries = store.head()?.entries;
    if seen.entries > entries {
        return Ok(Err(Fault::Cut { entries, seen: seen.entries }));
    }
    let hash = match seen.entries {
        0 => Head::default().hash,
        number => match store.link(number)? {
            Some(link) => link.hash,
            None => return Ok(Err(Fault::Missing { number })),
        },
    };
    Ok(if hash == seen.hash { Ok(()) } else { Err(Fault::Other { number: seen.entries }) })
}

/// Every head in an export of any form, each once, in the order in which they stand: text, a PDF's keywords (also as UTF-16), or one of
/// these compressed with gzip.
pub fn heads_in(bytes: &[u8]) -> Vec<Head> {
    if bytes.starts_with(&[0x1F, 0x8B]) {
        let mut unpacked = Vec::new();
        // What comes before a fault in the stream was unpacked all the same.
        if let Err(error) = flate2::read::GzDecoder::new(bytes).take(MOST_UNPACKED).read_to_end(&mut unpacked)
        {
            tracing::warn!("the compressed export cannot be read to its end: {error}");
        }
        return heads_in_text(&unpacked);
    }
    let heads = heads_in_text(bytes);
    if heads.is_empty() && bytes.contains(&0) {
        // UTF-16 writes a zero beside each of these characters.
        let narrow: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != 0).collect();
        return heads_in_text(&narrow);
    }
    heads
}

fn heads_in_text(bytes: &[u8]) -> Vec<Head> {
    let mut heads = Vec::new();
    let mut rest = bytes;
    while let Some(at) = find(rest, MARK.as_bytes()) {
        rest = &rest[at + MARK.len()..];
        if let Some(head) = head_at(rest)
            && !heads.contains(&head)
        {
            heads.push(head);
        }
    }
    heads
}

/// The head whose mark goes just before these bytes.
fn head_at(bytes: &[u8]) -> Option<Head> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let entries = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let hash = bytes[digits..].strip_prefix(b":")?.get(..HASH)?;
    let hash = std::str::from_utf8(hash).ok()?.to_ascii_lowercase();
    hash.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(Head { entries, hash })
}

/// Where a row of bytes begins in another.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|&byte| byte == first)?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests;
