//! The stage rehearsed with a model that babbles.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reinpath_model::fixture::{Speech, write_package};

use super::*;
use crate::config::RunConfig;
use crate::dataset::for_tests::{question as row, save_picture};
use crate::dataset::write_whole;
use crate::event::EventSink;
use crate::run_folder::{RunFolder, StopSignal};
use crate::three_stages::{load, policy};
use crate::trainer::Events;

/// A run on two rows, whose answers have at most so many tokens.
fn context(place: &Path, most: usize) -> Context {
    let [package, data] = ["package", "data"].map(|name| place.join(name));
    std::fs::create_dir(&package).unwrap();
    write_package(&package, Speech::Babble(1)).unwrap();
    save_picture(&data.join("x.png"), 32, 32);
    write_whole(&data.join("rows.jsonl"), [&row("a", "x.png"), &row("b", "x.png")]).unwrap();
    let [package, data] = [package, data].map(|path| toml::Value::from(path.to_str().unwrap()));
    let text = format!(
        "name = \"a\"\nseed = 5\nbase = {package}\nlora = {{ rank = 2, alpha = 4.0 }}\n\
         [grpo]\ndata = [{{ folder = {data} }}]\nsamples = 2\nmax_tokens = {most}\n\
         optimisation = {{ steps = 1, batch = 2 }}\nreward = {{ semantic = 0.0 }}\n"
    );
    let config: RunConfig = toml::from_str(&text).unwrap();
    let folder = RunFolder::new(place.join("run"));
    folder.create().unwrap();
    let sink = EventSink::create(folder.path()).unwrap();
    let events = Arc::new(Events::new(sink, BTreeMap::new()));
    let stop = StopSignal::new(Arc::new(AtomicBool::new(false)), folder.stop_file());
    load(config, &folder, events, stop).unwrap()
}

fn rehearsed(most: usize) -> Rehearsed {
    let place = tempfile::tempdir().unwrap();
    let context = context(place.path(), most);
    let policy = policy(&context).unwrap();
    let mut stage = Grpo::new(&context, context.config.grpo.as_ref().unwrap()).unwrap();
    let rehearsed = stage.rehearse(&policy, &context.watch()).unwrap();
    let again = stage.rehearse(&policy, &context.watch()).unwrap();
    assert_eq!(rehearsed, again, "the same seed writes the same");
    rehearsed
}

#[test]
fn the_policy_answers_the_first_rows_before_the_first_step_and_its_answers_are_scored() {
    let rehearsed = rehearsed(8);
    assert_eq!((rehearsed.sentences.len(), rehearsed.shortened_to), (2, None));
    assert!(rehearsed.sentences[0].starts_with("The reference answer of the row a would earn"));
    let rows: Vec<&str> = rehearsed.records.iter().map(|record| record.row.as_str()).collect();
    assert_eq!(rows, ["a", "b"]);
    for record in &rehearsed.records {
        assert_eq!((record.step, record.answers.len()), (0, 2));
        assert!(record.answers.iter().all(|answer| answer.tokens <= 8), "{record:?}");
        assert!(record.answers.iter().all(|answer| answer.rewards.contains_key("accuracy")), "{record:?}");
    }
}

#[test]
fn long_answers_are_shortened_on_the_processor() {
    let rehearsed = rehearsed(REHEARSED_TOKENS + 1);
    assert_eq!(rehearsed.shortened_to, Some(REHEARSED_TOKENS));
    let answers = rehearsed.records.iter().flat_map(|record| &record.answers);
    let longest = answers.map(|answer| answer.tokens).max();
    assert!(longest.is_some_and(|longest| longest <= REHEARSED_TOKENS), "{longest:?}");
}
