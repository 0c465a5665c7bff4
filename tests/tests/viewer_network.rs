//! Viewing opens no network connection: the sockets of a viewing process and of the processes that read its slides, watched while they work.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use reinpath_tests::program;
use reinpath_tests::slide_writer::{SlideSpec, write};

/// Tables of the kernel that name network sockets; those between processes of one machine (`unix`) are none.
const TABLES: [&str; 6] = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];

/// The numbers of all network sockets that a process sees.
fn network_sockets(process: u32) -> BTreeSet<String> {
    let tables =
        TABLES.iter().filter_map(|table| fs::read_to_string(format!("/proc/{process}/net/{table}")).ok());
    // The tenth word of a line is the socket's number; the first line names the words.
    let numbers = |table: String| -> Vec<String> {
        table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9).map(str::to_owned)).collect()
    };
    tables.flat_map(numbers).collect()
}

/// The network sockets that a process holds.
fn held_by(process: u32) -> Vec<String> {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let held: BTreeSet<String> = links
        .filter_map(|link| {
            let link = link.to_string_lossy().into_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    if held.is_empty() {
        return Vec::new();
    }
    network_sockets(process).intersection(&held).cloned().collect()
}

/// The processes that a process started.
fn children_of(process: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{process}");
    let all = fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|number| {
            let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
            status.lines().any(|line| line == parent)
        })
        .collect()
}

#[test]
fn a_socket_is_seen() {
    let own = std::process::id();
    assert!(held_by(own).is_empty());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(held_by(own).len(), 1);
    drop(socket);
}

#[test]
fn viewing_opens_no_network_connection() {
    let folder = tempfile::tempdir().unwrap();
    let slide = folder.path().join("slide.svs");
    let spec =
        SlideSpec { width: 4000, height: 3000, levels: 2, distinct_tiles: 40, ..SlideSpec::large_jpeg() };
    write(&slide, &spec).unwrap();
    let mut viewing = Command::new(program("reinpath"))
        .arg("self-test")
        .arg(&slide)
        .args(["--json", "--jumps", "8"])
        // Without a desktop, whose own connection is none of the viewer's.
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut looks, mut readers) = (0, BTreeSet::new());
    while viewing.try_wait().unwrap().is_none() {
        let children = children_of(viewing.id());
        for process in children.iter().copied().chain([viewing.id()]) {
            let held = held_by(process);
            if !held.is_empty() {
                viewing.kill().unwrap();
                viewing.wait().unwrap();
                panic!("process {process} holds network sockets: {held:?}");
            }
        }
        readers.extend(children);
        looks += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = viewing.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(looks > 10 && !readers.is_empty(), "{looks} looks at {} reading processes", readers.len());
}
