//! The hold on the model's process, with shell scripts in its place: Stop while a model loads, a load that is
//! cancelled, and one that fails when it is repeated. What the real worker does is tested in the crate `tests`.

use std::path::Path;
use std::time::{Duration, Instant};

use reinpath::worker::{Worker, WorkerEvent};
use reinpath_model::event::{AskEvent, Stop};
use reinpath_model::request::{Ask, Load, PatchHeader};

/// Says hello and takes the first request, whose number is then in `$id`.
const BEGIN: &str = r#"
echo '{"id":0,"type":"hello","data":{"protocol":1,"version":"0"}}'
read -r request
id=$(printf '%s' "$request" | sed 's/.*"id":\([0-9]*\).*/\1/')
say() { printf '{"id":%s,"type":"%s","data":%s}\n' "$id" "$1" "$2"; }
loaded() { say loaded '{"memory":0,"parameters":0,"device":"cpu","precision":"f32"}'; }
"#;

fn start(folder: &Path, script: &str) -> Worker {
    let file = folder.join("worker.sh");
    std::fs::write(&file, format!("cd '{}'{BEGIN}{script}", folder.display())).unwrap();
    Worker::start(Some(&format!("sh '{}'", file.display())), || {}).unwrap()
}

fn load(worker: &Worker) -> u64 {
    worker.load(Load { package: "there".to_owned(), ..Load::default() }).unwrap()
}

fn ask(worker: &Worker) -> u64 {
    let patches = vec![PatchHeader { width: 2, height: 2, mpp: None }];
    worker.ask(Ask { patches, question: "What is it?".to_owned(), ..Ask::default() }, vec![0; 12]).unwrap()
}

fn next(worker: &Worker) -> WorkerEvent {
    worker.events().recv_timeout(Duration::from_secs(30)).unwrap()
}

#[test]
fn stop_while_the_model_loads_ends_the_question_and_not_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let worker = start(folder.path(), "while [ ! -e go ]; do sleep 0.05; done; loaded; cat > /dev/null");
    let (loading, asked) = (load(&worker), ask(&worker));
    worker.cancel(asked).unwrap();
    match next(&worker) {
        WorkerEvent::Answer { id, event: AskEvent::Finished(finished) } => {
            assert_eq!((id, finished.stop, finished.tokens), (asked, Stop::Cancelled, 0));
        }
        other => panic!("{other:?}"),
    }
    std::fs::write(folder.path().join("go"), "").unwrap();
    assert!(matches!(next(&worker), WorkerEvent::Loaded { id, .. } if id == loading));
}

#[test]
fn a_cancelled_load_ends_at_once_with_its_question_and_the_next_one_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    // The first process hears no cancel, as one that reads a large file.
    let script = "if [ ! -e seen ]; then touch seen; sleep 300; exit; fi; loaded; cat > /dev/null";
    let worker = start(folder.path(), script);
    let (loading, asked) = (load(&worker), ask(&worker));
    while !folder.path().join("seen").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    worker.cancel(loading).unwrap();
    let next_load = load(&worker);
    match next(&worker) {
        WorkerEvent::LoadFailed { id, error } => {
            assert_eq!((id, error.as_str()), (loading, "loading the model was cancelled"));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(next(&worker), WorkerEvent::Answer { id, event: AskEvent::Failed { .. } } if id == asked)
    );
    assert!(matches!(next(&worker), WorkerEvent::Loaded { id, .. } if id == next_load));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_repeated_load_that_fails_is_told_before_its_question_fails() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
if [ ! -e seen ]; then touch seen; loaded; exit 3; fi
say failed '{"error":"a tensor is missing"}'
cat > /dev/null
"#;
    let worker = start(folder.path(), script);
    let first = load(&worker);
    assert!(matches!(next(&worker), WorkerEvent::Loaded { id, .. } if id == first));
    assert!(matches!(next(&worker), WorkerEvent::Ended(_)));
    let asked = ask(&worker);
    match next(&worker) {
        WorkerEvent::LoadFailed { id, error } => {
            assert_eq!((id, error.as_str()), (asked, "a tensor is missing"));
        }
        other => panic!("{other:?}"),
    }
    match next(&worker) {
        WorkerEvent::Answer { id, event: AskEvent::Failed { error } } => {
            assert_eq!((id, error.as_str()), (asked, "a tensor is missing"));
        }
        other => panic!("{other:?}"),
    }
}
