//! `reinpath slide` and `reinpath tile` as programs: output, pictures and exit codes.

use std::process::{Command, Output};

use super::data;

fn reinpath(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reinpath")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn slide_says_what_the_file_is() {
    let Some(data) = data() else { return };
    let path = data.join("slides/openslide-python/😐.svs");
    let path = path.to_str().unwrap();
    let output = reinpath(&["slide", path, "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert_eq!(stdout.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(line["type"], "slide");
    assert_eq!(line["data"]["path"], path);
    assert_eq!(line["data"]["format"], "Aperio SVS slide");
    assert_eq!(line["data"]["mpp"], serde_json::json!({"x": 0.499, "y": 0.499}));
    assert_eq!(line["data"]["mpp_origin"], "trusted");
    assert_eq!(line["data"]["objective_power"], 20.0);
    let words = text(&reinpath(&["slide", path]).stdout);
    assert!(words.contains("0.499 × 0.499 (trusted") && words.contains("20×"), "{words}");
}

#[test]
fn pictures_are_written() {
    let Some(data) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let slide = data.join("slides/aperio/CMU-1-Small-Region.svs");
    let (slide, tile, macro_image) =
        (slide.to_str().unwrap(), folder.path().join("tile.png"), folder.path().join("macro.png"));
    let output = reinpath(&[
        "tile",
        slide,
        "--region",
        "-100,600,512,256",
        "--mpp",
        "0.998",
        "-o",
        tile.to_str().unwrap(),
    ]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output.stderr));
    assert_eq!(image::open(&tile).unwrap().to_rgb8().dimensions(), (256, 128));
    let output =
        reinpath(&["slide", slide, "--associated", "macro", "-o", macro_image.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(image::open(&macro_image).unwrap().to_rgb8().dimensions(), (1280, 431));
}

#[test]
fn exit_codes_tell_failure_from_wrong_usage() {
    let failed = reinpath(&["slide", "/nowhere/a.svs"]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(
        text(&failed.stderr),
        "reinpath: Cannot open the file, there is no such file: /nowhere/a.svs\n"
    );
    assert!(failed.stdout.is_empty());
    for wrong in [
        &["tile", "a.svs", "-o", "b.png"][..],
        &["tile", "a.svs", "--region", "1,2,3", "-o", "b.png"],
        &["tile", "a.svs", "--region", "1,2,3,4", "--mpp", "0", "-o", "b.png"],
        &["slide", "a.svs", "--associated", "macro"],
        &["slide"],
    ] {
        assert_eq!(reinpath(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    if let Some(data) = data() {
        let slide = data.join("slides/openslide-python/small.svs");
        let nowhere = folder.path().join("no/folder/b.png");
        let output = reinpath(&[
            "tile",
            slide.to_str().unwrap(),
            "--region",
            "0,0,4,4",
            "-o",
            nowhere.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("Cannot write the picture"), "{}", text(&output.stderr));
    }
}

/// While the slide is being opened nothing has been asked: there is nothing to stop but the program.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_question_whose_slide_does_not_open() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let (reader, mark) = (folder.path().join("reinpath"), folder.path().join("mark"));
    // Reads no slide, and ends with its stdin.
    std::fs::write(&reader, format!("#!/bin/sh\ntouch '{}'\nread -r line\n", mark.display())).unwrap();
    std::fs::set_permissions(&reader, std::fs::Permissions::from_mode(0o755)).unwrap();
    let arguments = [
        "ask",
        "a.svs",
        "--region",
        "0,0,9,9",
        "--question",
        "What is it?",
        "--model",
        "there",
        "--mpp",
        "0.5",
    ];
    let mut asking = Command::new(env!("CARGO_BIN_EXE_reinpath"))
        .args(arguments)
        .args(["--worker", "sleep 5"])
        .env("REINPATH_BIN_DIR", folder.path())
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    while !mark.exists() {
        assert!(begun.elapsed().as_secs() < 30, "the reading process was not started");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(
        Command::new("sh").args(["-c", &format!("kill -INT {}", asking.id())]).status().unwrap().success()
    );
    assert_eq!(asking.wait().unwrap().code(), Some(130));
}
