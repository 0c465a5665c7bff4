//! The watch over a process, with shell scripts in the program's place.

use std::process::{Command, Stdio};

use reinpath_training::config::RunConfig;
use reinpath_training::run_folder::Holder;

use super::*;
use crate::runs::launch::Launch;

/// What is told of a script that is started as a run, and the folder's place.
fn told(script: &str, patience: Duration) -> (Vec<ControlEvent>, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let (events, receiver) = EventSender::new(egui::Context::default());
    let (_alive, gone) = bounded(0);
    let folder = place.path().join("run");
    std::fs::create_dir(&folder).unwrap();
    watch(|| shell(script, &folder), RunKey::new(folder.clone()), patience, events, &gone);
    let told = receiver.try_iter().map(|event| match event {
        Event::Train(TrainEvent::Control(news)) => news,
        other => panic!("{other:?}"),
    });
    (told.collect(), place)
}

fn shell(script: &str, folder: &Path) -> Result<Child, String> {
    let stderr = std::fs::File::create(folder.join("stderr.txt")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(stderr).spawn().map_err(|error| error.to_string())
}

const LONG: Duration = Duration::from_mins(1);

#[test]
fn a_process_that_ends_is_told_with_how_and_its_last_words() {
    let (told, _place) = told("echo rubbish; echo 'out of memory' >&2; exit 7", LONG);
    let [ControlEvent::Started(_), ControlEvent::Ended { ended, .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((ended.how.as_str(), ended.is_good), ("exit code 7", false));
    assert!(ended.last_lines.iter().any(|line| line.contains("out of memory")), "{ended:?}");
}

#[test]
fn a_process_that_never_begins_its_run_is_ended_and_told() {
    let begun = Instant::now();
    let (told, place) = told("echo 'still here' >&2; exec sleep 300", Duration::from_millis(300));
    assert!(begun.elapsed() < Duration::from_secs(30));
    let [
        ControlEvent::Started(_),
        ControlEvent::Ended { ended, .. },
        ControlEvent::NotStarted { sentence, .. },
    ] = told.as_slice()
    else {
        panic!("{told:?}")
    };
    assert!(ended.how.starts_with("it did not begin its run") && !ended.is_good, "{ended:?}");
    assert!(ended.last_lines.iter().any(|line| line.contains("still here")), "{ended:?}");
    assert!(sentence.ends_with(&place.path().join("run").display().to_string()), "{sentence}");
}

#[test]
fn a_program_that_is_not_there_is_told_through_the_desk() {
    let place = tempfile::tempdir().unwrap();
    let (events, receiver) = EventSender::new(egui::Context::default());
    let places = TrainPlaces { program: Some(Ok(place.path().join("nonesuch"))), ..TrainPlaces::default() };
    let mut desk = ControlDesk::new(events, places);
    let config: RunConfig = toml::from_str("name = \"a\"\nseed = 1\nbase = \"b\"\n").unwrap();
    let launch = Launch { folder: place.path().join("run"), config, after: Vec::new() };
    desk.carry_out(ControlEffect::Launch(Box::new(launch)));
    match receiver.recv_timeout(LONG) {
        Ok(Event::Train(TrainEvent::Control(ControlEvent::NotStarted { run, sentence }))) => {
            assert_eq!(run.name(), "run");
            assert!(sentence.ends_with("nonesuch"), "{sentence}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_process_goes_on_when_the_window_is_gone() {
    let place = tempfile::tempdir().unwrap();
    let (events, receiver) = EventSender::new(egui::Context::default());
    let (alive, gone) = bounded::<()>(0);
    let folder = place.path().to_owned();
    let run = RunKey::new(folder.clone());
    let script = "while [ ! -e go ]; do sleep 0.05; done; touch done";
    let begin = move || shell(script, &folder);
    let thread =
        Builder::new().name("watch".to_owned()).spawn(move || watch(begin, run, LONG, events, &gone));
    let started = receiver.recv_timeout(LONG).unwrap();
    assert!(matches!(started, Event::Train(TrainEvent::Control(ControlEvent::Started(_)))), "{started:?}");
    drop(alive);
    // The thread lets go of the window first.
    assert!(receiver.recv_timeout(LONG).is_err_and(|error| error.is_disconnected()));
    std::fs::write(place.path().join("go"), "").unwrap();
    thread.unwrap().join().unwrap();
    assert!(place.path().join("done").exists(), "it went on to its end");
}

#[test]
fn a_wish_to_stop_that_a_beginning_run_forgot_is_repeated_but_not_for_the_next_process() {
    let place = tempfile::tempdir().unwrap();
    let run = RunFolder::new(place.path());
    let (_alive, gone) = bounded::<()>(0);
    let lock = run.lock().unwrap();
    let forgets = run.clone();
    let other = Builder::new().name("run".to_owned()).spawn(move || {
        std::thread::sleep(Duration::from_millis(150));
        forgets.forget_stop().unwrap();
    });
    stop(place.path(), Duration::from_millis(60), &gone).unwrap();
    other.unwrap().join().unwrap();
    assert!(run.stop_file().exists());
    drop(lock);
    // It ended, and another has begun meanwhile.
    let other = run.clone();
    let next = Builder::new().name("next run".to_owned()).spawn(move || {
        let first = other.lock().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        drop(first);
        std::fs::remove_file(other.stop_file()).unwrap();
        std::thread::sleep(Duration::from_millis(900));
        assert!(!other.stop_file().exists());
    });
    stop(place.path(), Duration::from_millis(60), &gone).unwrap();
    next.unwrap().join().unwrap();
}

#[test]
fn a_wish_to_stop_is_not_repeated_for_a_process_that_took_the_place_of_the_one_it_was_meant_for() {
    let place = tempfile::tempdir().unwrap();
    let run = RunFolder::new(place.path());
    let (_alive, gone) = bounded::<()>(0);
    let first = run.lock().unwrap();
    // This process holds both locks: what the first one says tells them apart.
    let holder = Holder { pid: Some(1), started: Some(1) };
    std::fs::write(run.lock_file(), serde_json::to_vec(&holder).unwrap()).unwrap();
    let own = run.clone();
    let next = Builder::new().name("next run".to_owned()).spawn(move || {
        while !own.stop_file().exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // All before the first look at what became of the wish.
        drop(first);
        own.forget_stop().unwrap();
        own.lock().unwrap()
    });
    stop(place.path(), Duration::from_millis(500), &gone).unwrap();
    let _second = next.unwrap().join().unwrap();
    assert!(!run.stop_file().exists(), "nobody asked the second one");
}

#[test]
fn a_package_that_was_made_before_is_used_again() {
    let place = tempfile::tempdir().unwrap();
    let (events, _told) = EventSender::new(egui::Context::default());
    let (_until, cancelled) = bounded::<()>(0);
    let run = RunKey::new(place.path().to_owned());
    let checkpoint = place.path().join("checkpoints/grpo-000010");
    let make = || export(Err("no program".to_owned()), &run, &checkpoint, &events, &cancelled);
    assert_eq!(make(), Some(Err("no program".to_owned())));
    let out = place.path().join("exports/grpo-000010");
    std::fs::create_dir_all(&out).unwrap();
    assert!(matches!(make(), Some(Err(_))), "a folder without a manifest is no package");
    std::fs::write(out.join(MANIFEST), "").unwrap();
    assert_eq!(make(), Some(Ok(out)));
}

#[test]
fn progress_is_told_in_words() {
    let event =
        serde_json::json!({ "type": "progress", "data": { "what": "loading", "done": 1, "total": 3 } });
    assert_eq!(progress(&event).as_deref(), Some("loading (1 of 3)"));
    assert_eq!(progress(&serde_json::json!({ "type": "finished", "data": {} })), None);
}
