//! The program `reinpath-worker`, driven as a process over its pipes.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::io::{BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reinpath_model::event::{AskEvent, Finished, Stamp, Stop};
use reinpath_model::fixture::{STAGED, Speech, write_package};
use reinpath_model::frame::{self, Frame, Incoming};
use reinpath_model::package::MANIFEST;
use reinpath_model::request::{
    Ask, Cancel, Exchange, Hello, InputImage, Load, Loaded, PROTOCOL, PatchHeader, Progress, Sampling,
    SentenceMap,
};

struct Conversation {
    process: Child,
    /// `None` once closed.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Conversation {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_reinpath-worker"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        let mut talk = Self { process, stdin, stdout };
        let hello: Hello = talk.next().parse().unwrap();
        assert_eq!((hello.protocol, hello.devices[0].name.as_str()), (PROTOCOL, "cpu"));
        talk
    }

    fn send(&mut self, frame: &Frame) {
        frame::write(self.stdin.as_mut().unwrap(), frame).unwrap();
    }

    fn next(&mut self) -> Frame {
        match frame::read(&mut self.stdout).unwrap() {
            Some(Incoming::Frame(frame)) => frame,
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    fn load(&mut self, id: u64, package: &Path) -> Frame {
        let load = Load { package: package.to_str().unwrap().to_owned(), ..Load::default() };
        self.send(&Frame::new(id, "load", &load).unwrap());
        let mut fractions = Vec::new();
        loop {
            let frame = self.next();
            assert_eq!(frame.id, id);
            if frame.kind != "progress" {
                assert!(fractions.is_sorted());
                return frame;
            }
            fractions.push(frame.parse::<Progress>().unwrap().fraction);
        }
    }

    fn answer(&mut self, id: u64) -> Vec<AskEvent> {
        let mut events = Vec::new();
        loop {
            let frame = self.next();
            assert_eq!(frame.id, id);
            events.push(AskEvent::from_frame(&frame).unwrap().unwrap());
            if events.last().unwrap().is_end() {
                return events;
            }
        }
    }

    fn failure(&mut self, frame: &Frame) -> String {
        self.send(frame);
        match self.answer(frame.id).pop() {
            Some(AskEvent::Failed { error }) => error,
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "the worker goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn ask(question: &str, max_tokens: usize) -> Ask {
    Ask {
        patches: vec![
            PatchHeader { width: 32, height: 32, mpp: Some(0.5) },
            PatchHeader { width: 40, height: 30, mpp: None },
        ],
        question: question.to_owned(),
        choices: vec!["nests".to_owned(), "glands".to_owned()],
        sampling: Sampling { max_tokens, ..Sampling::default() },
        ..Ask::default()
    }
}

fn pixels() -> Vec<u8> {
    (0..(32 * 32 + 40 * 30) * 3).map(|i| (i % 255) as u8).collect()
}

fn frame(id: u64, ask: &Ask) -> Frame {
    Frame::new(id, "ask", ask).unwrap().with_bytes(pixels())
}

fn package(speech: Speech<'_>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_package(folder.path(), speech).unwrap();
    folder
}

fn finished(events: &[AskEvent]) -> &Finished {
    match events.last() {
        Some(AskEvent::Finished(finished)) => finished,
        other => panic!("expected the end of an answer, got {other:?}"),
    }
}

#[test]
fn an_answer_comes_with_its_stamp_and_inputs() {
    let (folder, mut talk) = (package(Speech::Script(&STAGED)), Conversation::start());
    let loaded: Loaded = talk.load(1, folder.path()).parse().unwrap();
    assert!(loaded.parameters > 0 && loaded.memory >= 4 * loaded.parameters);
    talk.send(&frame(2, &Ask { save_inputs: true, ..ask("What is it?", 50) }));
    let inputs = talk.next();
    assert_eq!((inputs.id, inputs.kind.as_str()), (2, "inputs"));
    let images: Vec<InputImage> = inputs.parse().unwrap();
    assert_eq!(images.len(), 4, "two patches, two encoders");
    assert_eq!(inputs.bytes.len(), 4 * 16 * 16 * 3);
    let events = talk.answer(2);
    let Some(AskEvent::Started { stamp }) = events.first() else { panic!("no stamp first") };
    check_stamp(stamp);
    let finished = finished(&events);
    assert_eq!(finished.answer.conclusion, "B) glands");
    assert_eq!(finished.choice.as_deref(), Some("B"));
    assert!(finished.format_ok && finished.stop == Stop::End);
    talk.send(&Frame::new(3, "quit", &()).unwrap());
    assert!(talk.ended().success());
}

#[test]
fn maps_come_between_the_last_token_and_the_end() {
    let (folder, mut talk) = (package(Speech::Script(&STAGED)), Conversation::start());
    assert_eq!(talk.load(1, folder.path()).kind, "loaded");
    talk.send(&frame(2, &Ask { save_maps: true, ..ask("What is it?", 50) }));
    let mut before = Vec::new();
    let maps = loop {
        let frame = talk.next();
        if frame.kind == "maps" {
            break frame;
        }
        assert!(!["finished", "failed"].contains(&frame.kind.as_str()), "no maps: {:?}", frame.data);
        before.push(frame.kind);
    };
    assert_eq!((maps.id, before.last().map(String::as_str)), (2, Some("token")));
    let heads: Vec<SentenceMap> = maps.parse().unwrap();
    assert_eq!(heads.len(), 3 * 2 * 2, "three sentences, two patches, two methods");
    assert_eq!(maps.bytes.len(), heads.len() * 4 * 4);
    let mut values = maps.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    assert!(values.all(|value| (0.0..=1.0).contains(&value)));
    let sentences: Vec<&str> = heads.iter().step_by(4).map(|head| head.sentence.as_str()).collect();
    assert_eq!(sentences, ["Glands are seen.", "They are regular.", "B) glands"]);
    let end = talk.answer(2);
    assert_eq!((end.len(), finished(&end).stop), (1, Stop::End));
    talk.send(&frame(3, &ask("What is it?", 50)));
    assert_eq!(finished(&talk.answer(3)).stop, Stop::End, "none where none are asked for");
}

#[test]
fn an_answer_that_is_written_already_is_told_as_if_it_were_written_now() {
    let (folder, mut talk) = (package(Speech::Script(&STAGED)), Conversation::start());
    assert_eq!(talk.load(1, folder.path()).kind, "loaded");
    talk.send(&frame(2, &ask("What is it?", 50)));
    let written = talk.answer(2);
    let again = Ask { written: Some(STAGED.concat()), ..ask("What is it?", 50) };
    talk.send(&frame(3, &again));
    let read = talk.answer(3);
    let texts = |events: &[AskEvent]| {
        let text = |event: &AskEvent| match event {
            AskEvent::Token { index, stage, text, .. } => Some((*index, *stage, text.clone())),
            _ => None,
        };
        events.iter().filter_map(text).collect::<Vec<_>>()
    };
    assert_eq!(texts(&read), texts(&written));
    let (first, second) = (finished(&written), finished(&read));
    assert_eq!((&first.answer, &first.choice, first.stop), (&second.answer, &second.choice, second.stop));
    let other = Ask { written: Some("[Observation]\nFat.".to_owned()), ..ask("What is it?", 50) };
    talk.send(&frame(4, &other));
    assert_eq!(finished(&talk.answer(4)).answer.observation, "Fat.", "nothing is generated");
    let none = Ask { written: Some(String::new()), ..ask("What is it?", 50) };
    assert_eq!(talk.failure(&frame(5, &none)), "there is no answer to read");
}

#[test]
fn a_conversation_is_in_the_prompt_and_in_the_stamp() {
    let (folder, mut talk) = (package(Speech::Script(&STAGED)), Conversation::start());
    assert_eq!(talk.load(1, folder.path()).kind, "loaded");
    let earlier = |answer: &str| Exchange {
        question: "What is seen?".to_owned(),
        choices: vec!["fat".to_owned(), "mucin".to_owned()],
        answer: answer.to_owned(),
    };
    let follow_up = Ask { history: vec![earlier("B) mucin")], ..ask("Why?", 50) };
    talk.send(&frame(2, &follow_up));
    let events = talk.answer(2);
    let Some(AskEvent::Started { stamp }) = events.first() else { panic!("no stamp first") };
    assert_eq!(stamp.history, follow_up.history);
    let places = ["What is seen?\nA) fat\nB) mucin<|eot_id|>", "B) mucin<|eot_id|>", "<image><image>\nWhy?"]
        .map(|part| stamp.prompt.find(part).unwrap_or_else(|| panic!("no {part} in {}", stamp.prompt)));
    assert!(places.is_sorted(), "{places:?}: {}", stamp.prompt);
    assert_eq!(finished(&events).stop, Stop::End);
    let misplaced = Ask { history: vec![earlier("<image>")], ..ask("Why?", 50) };
    assert!(talk.failure(&frame(3, &misplaced)).contains("<image>"));
}

fn check_stamp(stamp: &Stamp) {
    assert_eq!((stamp.package.as_str(), stamp.package_hash.len()), ("fixture", 64));
    assert_eq!((stamp.precision.as_str(), stamp.device.as_str()), ("f32", "cpu"));
    assert!(stamp.prompt.contains("<image><image>\nWhat is it?\nA) nests\nB) glands"));
    let second = &stamp.patches[1];
    assert_eq!(second.blake3, blake3::hash(&pixels()[32 * 32 * 3..]).to_hex().to_string());
    assert_eq!(second.encoders[1].tensor, [16, 16]);
    assert_eq!(second.encoders[1].effective_mpp, None);
    assert_eq!(stamp.patches[0].encoders[0].effective_mpp, Some(1.0));
    let crop = second.encoders[0].crop;
    // 40 × 30 become 21 × 16, of which columns 2 to 18 are kept.
    let to_patch = 40.0 / 21.0;
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(near(crop[0], 2.0 * to_patch) && crop[1] == 0.0, "{crop:?}");
    assert!(near(crop[2], 16.0 * to_patch) && near(crop[3], 30.0), "{crop:?}");
    let warnings = stamp.warnings.join(" ");
    assert!(warnings.contains("scale of the patch is unknown") && warnings.contains("not square"));
}

#[test]
fn a_cancelled_answer_keeps_what_was_written_and_the_next_one_works() {
    let (folder, mut talk) = (package(Speech::Babble(5)), Conversation::start());
    assert_eq!(talk.load(1, folder.path()).kind, "loaded");
    talk.send(&frame(2, &ask("What?", 40_000)));
    talk.send(&frame(3, &ask("What?", 40_000)));
    while talk.next().kind != "token" {}
    talk.send(&Frame::new(9, "cancel", &Cancel { id: 99 }).unwrap());
    talk.send(&Frame::new(9, "cancel", &Cancel { id: 3 }).unwrap());
    talk.send(&Frame::new(9, "cancel", &Cancel { id: 2 }).unwrap());
    let first = talk.answer(2);
    assert_eq!(finished(&first).stop, Stop::Cancelled);
    assert!((1..40_000).contains(&finished(&first).tokens));
    let waiting = talk.answer(3);
    assert_eq!((finished(&waiting).stop, finished(&waiting).tokens), (Stop::Cancelled, 0));
    talk.send(&frame(4, &ask("What?", 5)));
    let next = talk.answer(4);
    assert_eq!((finished(&next).stop, finished(&next).tokens), (Stop::MaxTokens, 5));
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence_and_ends_nothing() {
    let (folder, mut talk) = (package(Speech::Script(&STAGED)), Conversation::start());
    assert_eq!(talk.failure(&frame(1, &ask("What?", 5))), "no model is loaded");
    talk.stdin.as_mut().unwrap().write_all(b"garbage \xff\n\n{}\n{\"id\":1}\n").unwrap();
    assert!(talk.failure(&Frame::new(2, "dance", &()).unwrap()).contains("'dance'"));
    assert!(talk.failure(&Frame::new(3, "load", &7).unwrap()).contains("'load'"));
    let nowhere = talk.load(4, &folder.path().join("nonesuch"));
    assert!(nowhere.data["error"].as_str().unwrap().ends_with("nonesuch"));
    assert_eq!(talk.load(5, folder.path()).kind, "loaded");
    assert_eq!(talk.failure(&frame(6, &ask(" ", 5))), "the question is empty");
    let few = Frame::new(7, "ask", &ask("What?", 5)).unwrap().with_bytes(vec![0; 10]);
    assert!(talk.failure(&few).contains("but 10 came"));
    let none = Frame::new(8, "ask", &Ask { patches: Vec::new(), ..ask("What?", 5) }).unwrap();
    assert!(talk.failure(&none).contains("at least one patch"));
    let mut empty = ask("What?", 5);
    empty.patches = vec![PatchHeader { width: 0, height: 9, mpp: None }];
    assert!(talk.failure(&Frame::new(9, "ask", &empty).unwrap()).contains("0 × 9"));
    let mut hot = ask("What?", 5);
    hot.sampling.top_p = 0.0;
    assert!(talk.failure(&frame(10, &hot)).contains("top-p"));
    talk.send(&frame(11, &ask("What?", 50)));
    assert_eq!(finished(&talk.answer(11)).stop, Stop::End);
}

#[test]
fn a_package_with_a_missing_or_misshapen_tensor_or_a_cut_file_is_refused_by_name() {
    let (folder, mut talk) = (package(Speech::Babble(1)), Conversation::start());
    let manifest = std::fs::read_to_string(folder.path().join(MANIFEST)).unwrap();
    for (from, to, tensor) in [
        ("layers = 1", "layers = 2", "blocks.1.norm1.weight"),
        ("mlp_width = 16", "mlp_width = 24", "blocks.0.mlp.fc1.weight"),
    ] {
        assert!(manifest.contains(from));
        std::fs::write(folder.path().join(MANIFEST), manifest.replacen(from, to, 1)).unwrap();
        let failed = talk.load(1, folder.path());
        let error = failed.data["error"].as_str().unwrap();
        assert!(error.contains(tensor) && error.ends_with("conch.safetensors"), "{error}");
    }
    std::fs::write(folder.path().join(MANIFEST), &manifest).unwrap();
    let file = folder.path().join("language.safetensors");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let failed = talk.load(2, folder.path());
    assert!(failed.data["error"].as_str().unwrap().ends_with("language.safetensors"));
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(talk.load(3, folder.path()).kind, "loaded");
}

#[test]
fn closing_its_stdin_ends_the_worker_in_the_middle_of_an_answer() {
    let (folder, mut talk) = (package(Speech::Babble(5)), Conversation::start());
    assert_eq!(talk.load(1, folder.path()).kind, "loaded");
    talk.send(&frame(2, &ask("What?", 40_000)));
    while talk.next().kind != "token" {}
    talk.stdin = None;
    assert_eq!(finished(&talk.answer(2)).stop, Stop::Cancelled);
    assert!(talk.ended().success());
}
