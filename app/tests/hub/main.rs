//! `reinpath model get` as a program, against a server that breaks off, lies, refuses and sends what nobody asked for.
//!
//! Nothing here leaves the machine, whatever proxies the environment names.

#![expect(clippy::unwrap_used, reason = "tests panic where something is wrong")]

mod home;
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::home::{Home, LARGE, STOP, events, failure, files, large, text};
use crate::server::{Answer, COMMIT, End, HubFile, Request, Server};

/// A change of the first answer with content from the storage.
fn once(
    change: impl Fn(Answer) -> Answer + Send + Sync,
) -> impl Fn(&Request, Answer) -> Answer + Send + Sync {
    let is_done = AtomicBool::new(false);
    move |request: &Request, answer: Answer| {
        if request.is_storage && !is_done.swap(true, Ordering::SeqCst) { change(answer) } else { answer }
    }
}

/// The first bytes that the storage was asked for, request by request.
fn ranges(server: &Server) -> Vec<Option<usize>> {
    server.take_log().into_iter().filter(|request| request.is_storage).map(|request| request.from).collect()
}

#[test]
fn a_repository_is_fetched_whole_and_a_second_run_fetches_nothing() {
    let (home, server) = (Home::new(), Server::honest(&files()));
    let first = home.get(&server, &[]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(Path::new(text(&first.stdout).trim_end()), home.snapshot());
    home.assert_whole();
    assert_eq!(fs::read_to_string(home.repository().join("refs/main")).unwrap(), COMMIT);
    server.take_log();

    let second = events(&home.get(&server, &["--json"]));
    let finished = &second.last().unwrap()["data"];
    assert_eq!(second.last().unwrap()["type"], "finished");
    assert_eq!(finished["files"], 4);
    assert_eq!(finished["fetched_bytes"], 0);
    let fetches = server.take_log().into_iter().filter(|request| {
        request.is_storage || (request.method == "GET" && !request.path.starts_with("/api/"))
    });
    assert_eq!(fetches.count(), 0);
    home.assert_whole();

    // What is there is checked, not believed.
    let blob = home.repository().join("blobs").join(large().etag());
    fs::write(blob, vec![0; LARGE]).unwrap();
    let third = events(&home.get(&server, &["--json"]));
    assert_eq!(third.last().unwrap()["data"]["fetched_bytes"], LARGE);
    home.assert_whole();
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let home = Home::new();
    let server = Server::start(&files(), once(|answer| Answer { end: End::BreaksOff(STOP), ..answer }));
    let events = events(&home.get(&server, &["--json"]));
    assert_eq!(ranges(&server), [None, Some(STOP)]);
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["started", "file", "file", "file", "file", "finished"]);
    assert_eq!(events.last().unwrap()["data"]["fetched_bytes"], events[0]["data"]["bytes"]);
    home.assert_whole();
}

#[test]
fn a_server_that_breaks_off_for_good_leaves_a_partial_file_and_says_so() {
    let home = Home::new();
    let server = Server::start(&[large()], |request, answer| match request.from {
        _ if !request.is_storage => answer,
        None => Answer { end: End::BreaksOff(STOP), ..answer },
        Some(_) => Answer { end: End::BreaksOff(0), ..answer },
    });
    let sentence = failure(&home.get(&server, &[]));
    assert!(sentence.contains("broke off") && sentence.contains("model.safetensors"), "{sentence}");
    assert!(!sentence.contains("signature"), "{sentence}");
    assert_eq!(fs::read(home.partial()).unwrap(), large().content[..STOP]);
    assert!(!home.snapshot().join("model.safetensors").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_what_the_next_run_goes_on_from() {
    let home = Home::new();
    let server = Server::start(&files(), once(|answer| Answer { end: End::Hangs(STOP), ..answer }));
    let mut getting = home.command(&server.endpoint, &[]).spawn().unwrap();
    let begun = std::time::Instant::now();
    while fs::metadata(home.partial()).map_or(0, |found| found.len()) < STOP as u64 {
        assert!(begun.elapsed().as_secs() < 30, "the download did not begin");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", getting.id())]).status().unwrap();
    assert!(kill.success());
    assert_eq!(getting.wait().unwrap().code(), Some(130));
    assert!(!home.snapshot().join("model.safetensors").exists());
    assert_eq!(ranges(&server), [None]);

    let second = events(&home.get(&server, &["--json"]));
    assert_eq!(ranges(&server), [Some(STOP)]);
    assert_eq!(second.last().unwrap()["data"]["fetched_bytes"], LARGE - STOP);
    home.assert_whole();
}

#[test]
fn a_server_that_ignores_the_range_is_read_from_the_start() {
    let home = Home::new();
    let server =
        Server::start(
            &files(),
            |request, answer| {
                if request.is_storage { Answer::whole(&large().content) } else { answer }
            },
        );
    home.leave_partial(&large().content[..STOP]);
    let events = events(&home.get(&server, &["--json"]));
    assert_eq!(ranges(&server), [Some(STOP)]);
    let file = events.iter().find(|event| event["data"]["name"] == "model.safetensors").unwrap();
    assert_eq!(file["data"]["fetched_bytes"], LARGE);
    home.assert_whole();
}

#[test]
fn a_server_that_always_begins_again_and_always_breaks_off_is_given_up() {
    let home = Home::new();
    let server = Server::start(&files(), |request, answer| {
        let end = End::BreaksOff(STOP);
        if request.is_storage { Answer { end, ..Answer::whole(&large().content) } } else { answer }
    });
    failure(&home.get(&server, &[]));
    // What came the first time, and three tries that brought nothing more.
    assert_eq!(ranges(&server), [None, Some(STOP), Some(STOP), Some(STOP)]);
}

#[test]
fn a_part_that_begins_elsewhere_is_refused() {
    let home = Home::new();
    let server = Server::start(&files(), |_, mut answer| {
        answer.set("content-range", &format!("bytes 0-{}/{LARGE}", LARGE - 1));
        answer
    });
    home.leave_partial(&large().content[..STOP]);
    assert!(failure(&home.get(&server, &[])).contains("another part"));
    assert_eq!(fs::metadata(home.partial()).unwrap().len(), STOP as u64);
}

#[test]
fn a_partial_file_of_something_else_is_found_out() {
    let (home, server) = (Home::new(), Server::honest(&files()));
    home.leave_partial(&vec![7; STOP]);
    let sentence = failure(&home.get(&server, &[]));
    assert!(sentence.contains("checksum"), "{sentence}");
    assert!(!home.partial().exists());
    events(&home.get(&server, &["--json"]));
    home.assert_whole();
}

#[test]
fn a_wrong_checksum_is_refused_and_nothing_of_it_stays() {
    let home = Home::new();
    let server = Server::start(&files(), |request, mut answer| {
        if request.is_storage {
            answer.body[LARGE / 2] ^= 1;
        }
        answer
    });
    let sentence = failure(&home.get(&server, &[]));
    assert!(sentence.contains("checksum") && sentence.contains(&large().etag()), "{sentence}");
    assert!(sentence.contains("model.safetensors"), "{sentence}");
    assert!(!home.partial().exists() && !home.snapshot().join("model.safetensors").exists());
}

#[test]
fn a_lie_about_the_size_is_refused() {
    let stated = |bytes: usize| {
        move |_: &Request, mut answer: Answer| {
            answer.set("x-linked-size", &bytes.to_string());
            answer
        }
    };
    let endless = |request: &Request, mut answer: Answer| {
        if request.is_storage {
            answer.body.extend([0; 5]);
            answer.states_length = false;
        }
        answer
    };
    for server in [
        Server::start(&[large()], stated(LARGE + 5)),
        Server::start(&[large()], stated(LARGE - 5)),
        Server::start(&[large()], endless),
    ] {
        let home = Home::new();
        let sentence = failure(&home.get(&server, &[]));
        assert!(sentence.contains("bytes by the server's list"), "{sentence}");
        assert!(!home.snapshot().join("model.safetensors").exists());
    }
}

#[test]
fn a_file_without_a_checksum_is_not_fetched() {
    let home = Home::new();
    let server = Server::start(&[large()], |_, mut answer| {
        answer.set("x-linked-etag", "\"../../../elsewhere\"");
        answer
    });
    let sentence = failure(&home.get(&server, &[]));
    assert!(sentence.contains("no checksum"), "{sentence}");
    assert!(ranges(&server).is_empty());
}

#[test]
fn a_refused_repository_says_where_to_accept_its_licence() {
    let home = Home::new();
    let server =
        Server::start(&files(), |request, answer| match (&request.authorization, request.method.as_str()) {
            (None, _) => Answer::status(401),
            // A gated repository may well be listed.
            (Some(_), "HEAD") => Answer::status(403),
            (Some(_), _) => answer,
        });
    let page = format!("{}/owner/name", server.endpoint);
    let sentence = failure(&home.get(&server, &[]));
    for part in ["401", "licence", "HF_TOKEN", &page] {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
    let output = home.command(&server.endpoint, &["--json"]).env("HF_TOKEN", "hf_secret").output().unwrap();
    let sentence = failure(&output);
    for part in ["403", "licence", "HF_TOKEN", &page] {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
    let last: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "failed");
    assert!(!sentence.contains("hf_secret") && !last.to_string().contains("hf_secret"), "{sentence}");
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_its_storage() {
    let (home, server) = (Home::new(), Server::honest(&files()));
    fs::write(home.path().join("token"), "hf_secret\n").unwrap();
    assert!(home.get(&server, &[]).status.success());
    let log = server.take_log();
    assert!(log.iter().any(|request| request.is_storage) && log.iter().any(|request| !request.is_storage));
    for request in log {
        let expected = (!request.is_storage).then_some("Bearer hf_secret");
        assert_eq!(request.authorization.as_deref(), expected, "{request:?}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let (home, server) = (Home::new(), Server::honest(&files()));
    let sentence = failure(&home.get(&server, &["--revision", "v9"]));
    assert!(sentence.contains("owner/name") && sentence.contains("revision"), "{sentence}");
    let sentence = failure(&home.get(&server, &["--include", "*.gguf"]));
    assert!(sentence.contains("--include"), "{sentence}");
    let endpoint = server.endpoint.clone();
    drop(server);
    let sentence = failure(&home.command(&endpoint, &[]).output().unwrap());
    assert!(sentence.contains("cannot be reached") && sentence.contains(&endpoint), "{sentence}");
}

#[test]
fn a_busy_server_is_asked_again() {
    let home = Home::new();
    let server = Server::start(&files(), once(|_| Answer::status(503)));
    events(&home.get(&server, &["--json"]));
    assert_eq!(ranges(&server), [None, None]);
    home.assert_whole();
}

/// A server that answers the first request of each kind so.
fn at_first(status: u16) -> Server {
    let (is_listed, is_described) = (AtomicBool::new(false), AtomicBool::new(false));
    Server::start(&files(), move |request: &Request, answer: Answer| {
        let is_done = match request.method.as_str() {
            "HEAD" => &is_described,
            _ if request.path.starts_with("/api/") => &is_listed,
            _ => return answer,
        };
        if is_done.swap(true, Ordering::SeqCst) { answer } else { Answer::status(status) }
    })
}

#[test]
fn a_server_that_is_busy_before_anything_is_fetched_is_asked_again_too() {
    let home = Home::new();
    for status in [429, 503] {
        let server = at_first(status);
        events(&home.get(&server, &["--json"]));
        let log = server.take_log();
        let lists = log.iter().filter(|request| request.path.starts_with("/api/")).count();
        let heads = log.iter().filter(|request| request.method == "HEAD").count();
        assert_eq!((lists, heads), (2, files().len() + 1));
        home.assert_whole();
    }
    // What does not pass is asked once.
    let server = at_first(400);
    assert!(failure(&home.get(&server, &[])).contains("400"));
    assert_eq!(server.take_log().len(), 1);
}

#[test]
fn a_list_that_breaks_off_is_asked_for_again() {
    let home = Home::new();
    let is_done = AtomicBool::new(false);
    let server = Server::start(&files(), move |request, answer| {
        let is_first = request.path.starts_with("/api/") && !is_done.swap(true, Ordering::SeqCst);
        if is_first { Answer { end: End::BreaksOff(9), ..answer } } else { answer }
    });
    events(&home.get(&server, &["--json"]));
    home.assert_whole();
}

#[test]
fn two_downloads_of_one_file_wait_for_each_other() {
    let (home, server) = (Home::new(), Server::honest(&files()));
    let folder = home.path().join("folder");
    let to_folder = ["--output", folder.to_str().unwrap()];
    for arguments in [&to_folder[..0], &to_folder[..]] {
        let start = || home.command(&server.endpoint, arguments).stdout(Stdio::null()).spawn().unwrap();
        for mut getting in [start(), start(), start()] {
            assert!(getting.wait().unwrap().success());
        }
        assert_eq!(ranges(&server), [None], "the others found what the first one brought");
    }
    home.assert_whole();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), large().content);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), files().len(), "no lock is left");
}

#[test]
fn a_file_that_another_tool_has_locked_is_waited_for() {
    let (home, server) = (Home::new(), Server::honest(&files()));
    let locks = home.path().join("hub/.locks/models--owner--name");
    fs::create_dir_all(&locks).unwrap();
    let lock = fs::File::create(locks.join(format!("{}.lock", large().etag()))).unwrap();
    lock.lock().unwrap();
    let mut getting = home.command(&server.endpoint, &[]).stdout(Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    let other = home.snapshot().join("config.json");
    while !other.exists() {
        assert!(begun.elapsed().as_secs() < 30, "what nobody has locked is not fetched");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(getting.try_wait().unwrap().is_none() && ranges(&server).is_empty());
    drop(lock);
    assert!(getting.wait().unwrap().success());
    home.assert_whole();
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    for name in ["../evil", "a/../../evil", "/evil", "a\\evil", "C:evil", "a//evil", "."] {
        let home = Home::new();
        let mut files = files();
        files.push(HubFile { name, content: b"evil".to_vec(), is_large: false });
        let server = Server::honest(&files);
        let output = home.path().join("output");
        let elsewhere = ["--output", output.to_str().unwrap()];
        for arguments in [&elsewhere[..0], &elsewhere[..]] {
            let sentence = failure(&home.get(&server, arguments));
            assert!(sentence.contains("outside"), "{sentence}");
        }
        assert_eq!(server.take_log().len(), 2, "more was asked for than the two lists");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
    let home = Home::new();
    let server = Server::start(&files(), |_, _| Answer::whole(br#"{"sha": "../../evil", "siblings": []}"#));
    assert!(failure(&home.get(&server, &[])).contains("no commit"));
}

#[test]
fn files_can_be_chosen_and_put_elsewhere() {
    let (home, server) = (Home::new(), Server::honest(&files()));
    let folder = home.path().join("my model");
    let arguments = ["--include", "*.json", "--include", "model.*", "--output", folder.to_str().unwrap()];
    let output = home.get(&server, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(Path::new(text(&output.stdout).trim_end()), folder);
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors"]);
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), large().content);
    assert!(!home.path().join("hub").exists());
    assert_eq!(ranges(&server), [None]);
    assert!(home.get(&server, &arguments).status.success());
    assert!(ranges(&server).is_empty());
}

#[test]
fn offline_nothing_is_asked_and_the_cache_is_all_there_is() {
    let (home, server) = (Home::new(), Server::honest(&files()));
    let sentence = failure(&home.get(&server, &["--offline"]));
    assert!(sentence.contains("offline") && sentence.contains("not in the cache"), "{sentence}");
    assert_eq!(server.take_log().len(), 0);
    assert!(home.get(&server, &[]).status.success());
    server.take_log();

    let by_flag = home.get(&server, &["--offline"]);
    let by_variable = home.command(&server.endpoint, &[]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let by_commit = home.get(&server, &["--offline", "--revision", COMMIT]);
    for output in [by_flag, by_variable, by_commit] {
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(Path::new(text(&output.stdout).trim_end()), home.snapshot());
    }
    let listed = events(&home.get(&server, &["--offline", "--json"]));
    assert_eq!(listed.last().unwrap()["data"]["files"], 4);
    for (arguments, part) in [
        (["--offline", "--revision", "v9"], "not in the cache"),
        (["--offline", "--include", "*.gguf"], "--include"),
        (["--offline", "--output", "elsewhere"], "elsewhere"),
    ] {
        let sentence = failure(&home.get(&server, &arguments));
        assert!(sentence.contains(part), "{sentence}");
    }
    assert_eq!(server.take_log().len(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_what_came_stays() {
    let (home, server) = (Home::new(), Server::honest(&[large()]));
    fs::create_dir_all(home.partial().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", home.partial()).unwrap();
    let sentence = failure(&home.get(&server, &[]));
    assert!(sentence.contains("disk is full"), "{sentence}");
    assert!(home.partial().is_symlink() && !home.snapshot().join("model.safetensors").exists());
}

#[test]
fn names_that_are_none_are_wrong_usage() {
    for wrong in
        [&["gpt2"][..], &["a/b/c"], &["../b"], &["a/b", "--revision", "../x"], &["a/b", "--include", "***"]]
    {
        let output =
            Command::new(env!("CARGO_BIN_EXE_reinpath")).args(["model", "get"]).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
}
