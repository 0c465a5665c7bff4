//! The files of the repository in these tests, a home to fetch them into, and what a run of the program gave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::server::{COMMIT, HubFile, Server};

/// What the environment may say that these tests must not hear.
const UNHEARD: [&str; 12] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "XDG_CACHE_HOME",
    "RUST_LOG",
];

/// Bytes of the large file, and after how many of them the server stops.
pub(crate) const LARGE: usize = 300_000;
pub(crate) const STOP: usize = 100_000;

pub(crate) fn files() -> Vec<HubFile> {
    let noise = |index: usize| ((index as u32).wrapping_mul(2_654_435_761) >> 24) as u8;
    vec![
        HubFile { name: "config.json", content: b"{\"layers\": 4}\n".to_vec(), is_large: false },
        HubFile { name: "a folder/read #1.txt", content: b"read me\n".to_vec(), is_large: false },
        HubFile { name: "empty", content: Vec::new(), is_large: false },
        HubFile { name: "model.safetensors", content: (0..LARGE).map(noise).collect(), is_large: true },
    ]
}

/// The large file.
pub(crate) fn large() -> HubFile {
    files().into_iter().find(|file| file.is_large).unwrap()
}

/// A home without anything in it, and the program that uses it.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn command(&self, endpoint: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reinpath"));
        command.args(["model", "get", "owner/name"]).args(arguments);
        for name in UNHEARD {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.path()).env("HF_ENDPOINT", endpoint).env("REINPATH_HOME", self.path());
        command
    }

    pub(crate) fn get(&self, server: &Server, arguments: &[&str]) -> Output {
        self.command(&server.endpoint, arguments).output().unwrap()
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.path().join("hub/models--owner--name")
    }

    pub(crate) fn snapshot(&self) -> PathBuf {
        self.repository().join("snapshots").join(COMMIT)
    }

    /// Where the large file's bytes lie while they come.
    pub(crate) fn partial(&self) -> PathBuf {
        self.repository().join("blobs").join(format!("{}.incomplete", large().etag()))
    }

    /// What an earlier run left of the large file.
    pub(crate) fn leave_partial(&self, bytes: &[u8]) {
        fs::create_dir_all(self.partial().parent().unwrap()).unwrap();
        fs::write(self.partial(), bytes).unwrap();
    }

    /// Fails unless every file is there with its content, and nothing is left half done.
    pub(crate) fn assert_whole(&self) {
        for file in files() {
            assert_eq!(fs::read(self.snapshot().join(file.name)).unwrap(), file.content, "{}", file.name);
        }
        for entry in fs::read_dir(self.repository().join("blobs")).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(!name.to_string_lossy().contains("incomplete"), "{}", name.display());
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The events of a run that did its work.
pub(crate) fn events(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The sentence of a run that failed.
pub(crate) fn failure(output: &Output) -> String {
    let sentence = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{sentence}");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    sentence
}
