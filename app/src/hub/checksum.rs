//! The checksum of a file, as the Hub states it in an etag: SHA-256 where git LFS (or Xet) stores the file, the SHA-1 of its
//! git blob otherwise.

use std::fs::File;
use std::io;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{COMMIT_DIGITS, is_hexadecimal};

/// Digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// What the content of a file must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha256(String),
    GitBlob(String),
}

impl Checksum {
    /// Reads an etag: quoted or not, weak (`W/`) or not. `None` where it is no checksum of content.
    pub(super) fn from_etag(etag: &str) -> Option<Self> {
        let digits = etag.trim().trim_start_matches("W/").trim_matches('"');
        if is_hexadecimal(digits, SHA256_DIGITS) {
            Some(Self::Sha256(digits.to_owned()))
        } else if is_hexadecimal(digits, COMMIT_DIGITS) {
            Some(Self::GitBlob(digits.to_owned()))
        } else {
            None
        }
    }

    /// In hexadecimal: also the name of the content in the cache.
    pub(super) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::GitBlob(digits) => digits,
        }
    }

    /// What a file hashes to, in the same kind.
    pub(super) fn of_file(&self, path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        match self {
            Self::Sha256(_) => {
                let mut hash = Sha256::new();
                io::copy(&mut file, &mut hash)?;
                Ok(format!("{:x}", hash.finalize()))
            }
            Self::GitBlob(_) => {
                let mut hash = Sha1::new();
                // What git hashes is the content behind this header.
                hash.update(format!("blob {}\0", file.metadata()?.len()));
                io::copy(&mut file, &mut hash)?;
                Ok(format!("{:x}", hash.finalize()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hash_as_sha256sum_and_git_hash_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        // By `sha256sum` and `git hash-object`.
        for digits in [
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "ce013625030ba8dba906f756967f9e9ca394464a",
        ] {
            assert_eq!(Checksum::from_etag(digits).unwrap().of_file(&path).unwrap(), digits);
        }
    }

    #[test]
    fn an_etag_that_is_no_checksum_is_none() {
        let sha1 = "ce013625030ba8dba906f756967f9e9ca394464a";
        for etag in [sha1.to_owned(), format!("\"{sha1}\""), format!("W/\"{sha1}\"")] {
            assert_eq!(Checksum::from_etag(&etag), Some(Checksum::GitBlob(sha1.to_owned())), "{etag}");
        }
        for etag in [
            "",
            "\"\"",
            "../../../etc/passwd",
            "ce0136",
            sha1.to_uppercase().as_str(),
            format!("{sha1}-2").as_str(),
        ] {
            assert_eq!(Checksum::from_etag(etag), None, "{etag}");
        }
    }
}
