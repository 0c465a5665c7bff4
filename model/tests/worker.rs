//! The program `reinpath-worker`, driven as a process over its pipes, with a model of each family.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::io::{BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reinpath_model::event::{AskEvent, Finished, Stamp, Stop};
use reinpath_model::fixture::{Family, STAGED, Speech, write_package_of};
use reinpath_model::frame::{self, Frame, Incoming};
use reinpath_model::package::MANIFEST;
use reinpath_model::request::{
    Ask, Cancel, Exchange, Hello, InputImage, Load, Loaded, MapMethod, PROTOCOL, PatchHeader, Progress,
    Sampling, SentenceMap,
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

/// Width and height of the patches: a square, of 2 × 2 image tokens in either family, and a wider one, of which the vision
/// tower makes 2 × 3.
const SIZES: [[u32; 2]; 2] = [[64, 64], [80, 60]];

fn ask(question: &str, max_tokens: usize) -> Ask {
    let [[width, height], second] = SIZES;
    Ask {
        patches: vec![
            PatchHeader { width, height, mpp: Some(0.5) },
            PatchHeader { width: second[0], height: second[1], mpp: None },
        ],
        question: question.to_owned(),
        choices: vec!["nests".to_owned(), "glands".to_owned()],
        sampling: Sampling { max_tokens, ..Sampling::default() },
        ..Ask::default()
    }
}

/// Of both patches.
fn pixels() -> Vec<u8> {
    let count: u32 = SIZES.iter().map(|[width, height]| width * height * 3).sum();
    (0..count).map(|i| (i % 255) as u8).collect()
}

fn frame(id: u64, ask: &Ask) -> Frame {
    Frame::new(id, "ask", ask).unwrap().with_bytes(pixels())
}

fn package(family: Family, speech: Speech<'_>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_package_of(family, folder.path(), speech).unwrap();
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
    for family in Family::ALL {
        let (folder, mut talk) = (package(family, Speech::Script(&STAGED)), Conversation::start());
        let loaded: Loaded = talk.load(1, folder.path()).parse().unwrap();
        assert!(loaded.parameters > 0 && loaded.memory >= 4 * loaded.parameters);
        talk.send(&frame(2, &Ask { save_inputs: true, ..ask("What is it?", 50) }));
        let inputs = talk.next();
        assert_eq!((inputs.id, inputs.kind.as_str()), (2, "inputs"));
        let images: Vec<InputImage> = inputs.parse().unwrap();
        let told: Vec<_> = images.iter().map(|i| (i.patch, i.encoder.as_str(), i.width, i.height)).collect();
        match family {
            Family::ReinPath => assert_eq!(
                told,
                [(0, "conch", 16, 16), (0, "uni", 16, 16), (1, "conch", 16, 16), (1, "uni", 16, 16)]
            ),
            Family::Qwen => assert_eq!(told, [(0, "vision", 56, 56), (1, "vision", 84, 56)]),
        }
        let bytes: u32 = images.iter().map(|i| i.width * i.height * 3).sum();
        assert_eq!(inputs.bytes.len(), bytes as usize);
        let events = talk.answer(2);
        let Some(AskEvent::Started { stamp }) = events.first() else { panic!("no stamp first") };
        check_stamp(family, stamp);
        let finished = finished(&events);
        assert_eq!(finished.answer.conclusion, "B) glands");
        assert_eq!((finished.choice.as_deref(), finished.raw.as_str()), (Some("B"), &*STAGED.concat()));
        assert!(finished.format_ok && finished.stop == Stop::End);
        talk.send(&Frame::new(3, "quit", &()).unwrap());
        assert!(talk.ended().success());
    }
}

#[test]
fn maps_come_between_the_last_token_and_the_end() {
    for family in Family::ALL {
        let (folder, mut talk) = (package(family, Speech::Script(&STAGED)), Conversation::start());
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
        assert_eq!(heads.len(), 3 * 2 * 3, "three sentences, two patches, three methods");
        assert!(
            heads.iter().any(|head| head.method == MapMethod::Occlusion),
            "so small a model is fast enough"
        );
        for head in &heads {
            let cols = if family == Family::Qwen && head.patch == 1 { 3 } else { 2 };
            assert_eq!((head.rows, head.cols), (2, cols), "{family:?}, patch {}", head.patch);
            if family == Family::Qwen {
                // The tower is given the whole patch.
                let [width, height] = SIZES[head.patch].map(f64::from);
                assert_eq!(head.crop, [0.0, 0.0, width, height]);
            }
        }
        let cells: usize = heads.iter().map(|head| head.rows * head.cols).sum();
        assert_eq!(maps.bytes.len(), cells * 4);
        let mut values = maps.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        assert!(values.all(|value| (0.0..=1.0).contains(&value)));
        let mut sentences: Vec<&str> = heads.iter().map(|head| head.sentence.as_str()).collect();
        sentences.dedup();
        assert_eq!(sentences, ["Glands are seen.", "They are regular.", "B) glands"]);
        let end = talk.answer(2);
        assert_eq!((end.len(), finished(&end).stop), (1, Stop::End));
        talk.send(&frame(3, &ask("What is it?", 50)));
        assert_eq!(finished(&talk.answer(3)).stop, Stop::End, "none where none are asked for");
    }
}

#[test]
fn an_answer_that_is_written_already_is_told_as_if_it_were_written_now() {
    for family in Family::ALL {
        let (folder, mut talk) = (package(family, Speech::Script(&STAGED)), Conversation::start());
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
}

#[test]
fn a_conversation_is_in_the_prompt_and_in_the_stamp() {
    for family in Family::ALL {
        let (folder, mut talk) = (package(family, Speech::Script(&STAGED)), Conversation::start());
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
        let end = family.end_of_turn();
        let parts = [
            format!("What is seen?\nA) fat\nB) mucin{end}"),
            format!("B) mucin{end}"),
            format!("{}Why?", pictures(family)),
        ];
        let places = parts
            .map(|part| stamp.prompt.find(&part).unwrap_or_else(|| panic!("no {part} in {}", stamp.prompt)));
        assert!(places.is_sorted(), "{places:?}: {}", stamp.prompt);
        assert_eq!(finished(&events).stop, Stop::End);
        let misplaced = Ask { history: vec![earlier("<image>")], ..ask("Why?", 50) };
        assert!(talk.failure(&frame(3, &misplaced)).contains("<image>"));
    }
}

/// Both patches as a prompt tells of them, up to the words that follow.
fn pictures(family: Family) -> &'static str {
    match family {
        Family::ReinPath => "<image><image>\n",
        Family::Qwen => "<|vision_start|><image><|vision_end|><|vision_start|><image><|vision_end|>",
    }
}

fn check_stamp(family: Family, stamp: &Stamp) {
    assert_eq!((stamp.package.as_str(), stamp.package_hash.len()), ("fixture", 64));
    assert_eq!((stamp.precision.as_str(), stamp.device.as_str()), ("f32", "cpu"));
    let said = format!("{}What is it?\nA) nests\nB) glands{}", pictures(family), family.end_of_turn());
    assert!(stamp.prompt.contains(&said), "{}", stamp.prompt);
    let [first, second] = &stamp.patches[..] else { panic!("{} patches", stamp.patches.len()) };
    let [[width, height], [second_width, second_height]] = SIZES.map(|size| size.map(f64::from));
    let begin = (width * height) as usize * 3;
    assert_eq!(second.blake3, blake3::hash(&pixels()[begin..]).to_hex().to_string());
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let warnings = stamp.warnings.join(" ");
    match family {
        Family::ReinPath => {
            assert_eq!(second.encoders[1].tensor, [16, 16]);
            assert_eq!(second.encoders[1].effective_mpp, None);
            assert_eq!(first.encoders[0].effective_mpp, Some(2.0));
            let crop = second.encoders[0].crop;
            // 80 × 60 become 21 × 16, of which columns 2 to 18 are kept.
            let to_patch = second_width / 21.0;
            assert!(near(crop[0], 2.0 * to_patch) && crop[1] == 0.0, "{crop:?}");
            assert!(near(crop[2], 16.0 * to_patch) && near(crop[3], second_height), "{crop:?}");
            assert!(warnings.contains("scale of the patch is unknown") && warnings.contains("not square"));
        }
        Family::Qwen => {
            let [tower] = &second.encoders[..] else { panic!("{:?}", second.encoders) };
            assert_eq!((tower.name.as_str(), tower.tensor, tower.effective_mpp), ("vision", [56, 84], None));
            assert_eq!(tower.crop, [0.0, 0.0, second_width, second_height]);
            let mpp = first.encoders[0].effective_mpp;
            assert!(mpp.is_some_and(|mpp| near(mpp, 0.5 * width / 56.0)), "{mpp:?}");
            // It sees patches of any size and shape, and nothing of these is left out.
            assert_eq!(warnings, "");
        }
    }
}

#[test]
fn a_limit_of_pixels_is_kept_to_and_stamped_where_patches_have_any_size() {
    for family in Family::ALL {
        let (folder, mut talk) = (package(family, Speech::Script(&STAGED)), Conversation::start());
        assert_eq!(talk.load(1, folder.path()).kind, "loaded");
        // One token and a half.
        talk.send(&frame(2, &Ask { max_pixels: Some(1176), ..ask("What is it?", 50) }));
        let events = talk.answer(2);
        let Some(AskEvent::Started { stamp }) = events.first() else { panic!("no stamp first") };
        let tensors: Vec<[usize; 2]> = stamp.patches.iter().map(|patch| patch.encoders[0].tensor).collect();
        match family {
            Family::ReinPath => assert_eq!((tensors, stamp.max_pixels), (vec![[16, 16]; 2], None)),
            Family::Qwen => {
                assert_eq!((tensors, stamp.max_pixels), (vec![[28, 28]; 2], Some(1176)));
                let told = stamp.warnings.join(" ");
                assert!(told.contains("64 × 64 px") && told.contains("80 × 60 px"), "{told}");
            }
        }
        assert_eq!(finished(&events).stop, Stop::End);
    }
}

#[test]
fn a_cancelled_answer_keeps_what_was_written_and_the_next_one_works() {
    for family in Family::ALL {
        let (folder, mut talk) = (package(family, Speech::Babble(5)), Conversation::start());
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
        assert!(!finished(&first).raw.is_empty(), "what was written is told");
        let waiting = talk.answer(3);
        assert_eq!((finished(&waiting).stop, finished(&waiting).tokens), (Stop::Cancelled, 0));
        talk.send(&frame(4, &ask("What?", 5)));
        let next = talk.answer(4);
        assert_eq!((finished(&next).stop, finished(&next).tokens), (Stop::MaxTokens, 5));
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence_and_ends_nothing() {
    for family in Family::ALL {
        let (folder, mut talk) = (package(family, Speech::Script(&STAGED)), Conversation::start());
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
        let mut narrow = ask("What?", 5);
        narrow.patches = vec![PatchHeader { width: 300, height: 1, mpp: None }];
        let narrow = Frame::new(10, "ask", &narrow).unwrap().with_bytes(vec![0; 900]);
        assert!(talk.failure(&narrow).contains("too narrow"));
        let mut hot = ask("What?", 5);
        hot.sampling.top_p = 0.0;
        assert!(talk.failure(&frame(11, &hot)).contains("top-p"));
        talk.send(&frame(12, &ask("What?", 50)));
        assert_eq!(finished(&talk.answer(12)).stop, Stop::End);
    }
}

#[test]
fn a_package_with_a_missing_or_misshapen_tensor_or_a_cut_file_is_refused_by_name() {
    for family in Family::ALL {
        // Changes to the manifest, the tensors that they are about and the file that has them; the file to be cut.
        let (changes, file, cut) = match family {
            Family::ReinPath => (
                [
                    ("layers = 1", "layers = 2", "blocks.1.norm1.weight"),
                    ("mlp_width = 16", "mlp_width = 24", "blocks.0.mlp.fc1.weight"),
                ],
                "conch.safetensors",
                "language.safetensors",
            ),
            Family::Qwen => (
                [
                    ("layers = 2", "layers = 3", "blocks.2.norm1.weight"),
                    ("mlp_width = 24", "mlp_width = 32", "blocks.0.mlp.gate_proj.weight"),
                ],
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
            ),
        };
        let (folder, mut talk) = (package(family, Speech::Babble(1)), Conversation::start());
        let manifest = std::fs::read_to_string(folder.path().join(MANIFEST)).unwrap();
        for (from, to, tensor) in changes {
            assert!(manifest.contains(from));
            std::fs::write(folder.path().join(MANIFEST), manifest.replacen(from, to, 1)).unwrap();
            let failed = talk.load(1, folder.path());
            let error = failed.data["error"].as_str().unwrap();
            assert!(error.contains(tensor) && error.ends_with(file), "{error}");
        }
        std::fs::write(folder.path().join(MANIFEST), &manifest).unwrap();
        let path = folder.path().join(cut);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let failed = talk.load(2, folder.path());
        assert!(failed.data["error"].as_str().unwrap().ends_with(cut));
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(talk.load(3, folder.path()).kind, "loaded");
    }
}

#[test]
fn closing_its_stdin_ends_the_worker_in_the_middle_of_an_answer() {
    for family in Family::ALL {
        let (folder, mut talk) = (package(family, Speech::Babble(5)), Conversation::start());
        assert_eq!(talk.load(1, folder.path()).kind, "loaded");
        talk.send(&frame(2, &ask("What?", 40_000)));
        while talk.next().kind != "token" {}
        talk.stdin = None;
        assert_eq!(finished(&talk.answer(2)).stop, Stop::Cancelled);
        assert!(talk.ended().success());
    }
}
