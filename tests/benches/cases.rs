//! How fast a store with 50,000 answers lists, searches and opens cases on this machine. A JSON object a line on stdout.
//!
//!     cargo bench -p reinpath-tests --bench cases                        5,000 answers, within a minute
//!     cargo bench -p reinpath-tests --bench cases -- all                 50,000 answers in 10,000 cases of 200 slides
//!     … --strict                                                         exit code 1 where something takes longer than 50 ms
//!
//! Times are those of the library's calls on the thread that owns the store, in milliseconds; the file's pages are in the system's cache.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use reinpath::case::{Answer, Case, Id, Purpose, Question, Token, View};
use reinpath::review::verdict::{Action, Decision, Draft, Target, Verdict};
use reinpath::store::case_keeper::MOST_LISTED;
use reinpath::store::{SlideId, Store};
use reinpath_model::event::{Finished, PatchSource, PatchStamp, SlideStamp, Stamp, Stop};
use reinpath_model::stage::AnswerStage;
use reinpath_tests::seeded::Seeded;
use serde_json::{Value, json};

/// What no list, search or opening may take longer than.
const PROMISE: Duration = Duration::from_millis(50);
const ALL: usize = 50_000;
const SMALL: usize = 5_000;
const ANSWERS_PER_CASE: usize = 5;
const CASES_PER_SLIDE: usize = 50;
/// One answer in so many is judged.
const JUDGED: usize = 10;
const ROUNDS: usize = 40;
/// Repetitions of each of the searches.
const SEARCH_ROUNDS: usize = 5;

/// Words that answers are made of, the commonest first.
const WORDS: [&str; 22] = [
    "cells",
    "the",
    "of",
    "nuclei",
    "with",
    "stroma",
    "glands",
    "and",
    "are",
    "atypia",
    "mitoses",
    "lymphocytes",
    "necrosis",
    "fibrous",
    "tubules",
    "nests",
    "sheets",
    "pleomorphism",
    "mucin",
    "chromatin",
    "nucleoli",
    "cytoplasm",
];
/// Words that one answer in a hundred has one of.
const RARE: [&str; 10] = [
    "inflammation",
    "epithelium",
    "hyperplasia",
    "invasion",
    "margin",
    "cribriform",
    "papillary",
    "desmoplasia",
    "angiolymphatic",
    "keratinisation",
];
const RARELY: usize = 100;

fn main() -> anyhow::Result<ExitCode> {
    let all: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| all.iter().any(|argument| argument == word);
    if !has("--bench") {
        // `cargo test` starts it too, and measures nothing.
        say(&json!({"usage": "see the head of tests/benches/cases.rs"}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let answers = if has("all") { ALL } else { SMALL };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.sqlite");
    let begun = Instant::now();
    fill(&path, answers)?;
    let bytes = std::fs::metadata(&path)?.len();
    let secs = begun.elapsed().as_secs_f64();
    say(&json!({"what": "filled", "answers": answers, "secs": rounded(secs), "bytes": bytes,
        "bytes_per_answer": bytes / answers as u64}))?;
    let store = Store::open(&path)?;
    let mut slowest = Duration::ZERO;
    for (what, times) in measured(&store, answers)? {
        slowest = slowest.max(told(&what, times)?);
    }
    let is_kept = slowest < PROMISE;
    say(&json!({"what": "slowest", "ms": ms(slowest), "promise_ms": ms(PROMISE), "is_kept": is_kept}))?;
    Ok(if has("--strict") && !is_kept { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is measured, with the times that it took.
fn measured(store: &Store, answers: usize) -> anyhow::Result<Vec<(String, Vec<Duration>)>> {
    let mut all = Vec::new();
    let mut random = Seeded::new(2);
    let cases = (answers / ANSWERS_PER_CASE) as u64;
    let slide = format!("{:064}", 3);
    all.push(("list".to_owned(), times(ROUNDS, || listed(store, "", None, 1))?));
    all.push(("list of a slide".to_owned(), times(ROUNDS, || listed(store, "", Some(&slide), 1))?));
    for (what, search, slide, least) in searches(&slide) {
        let times = times(SEARCH_ROUNDS, || listed(store, &search, slide.as_deref(), least))?;
        all.push((format!("search: {what}"), times));
    }
    let open = || {
        let id = Id(format!("case {}", random.below(cases)));
        let opened = store.open_case(&id)?;
        ensure!(
            opened.is_some_and(|(case, _, _)| case.answers.len() == ANSWERS_PER_CASE),
            "no case {}",
            id.0
        );
        Ok(())
    };
    all.push(("open".to_owned(), times(ROUNDS * 5, open)?));
    Ok(all)
}

/// Fifty searches: what they are, their words, a slide, and how many cases they find at the least.
fn searches(slide: &str) -> Vec<(String, String, Option<String>, usize)> {
    let mut searches = Vec::new();
    let mut add = |what: &str, search: String, slide: Option<&str>, least: usize| {
        searches.push((format!("{what} “{search}”"), search, slide.map(str::to_owned), least));
    };
    WORDS.iter().take(10).for_each(|word| add("a common word", (*word).to_owned(), None, 1));
    for word in RARE {
        add("a rare word", word.to_owned(), None, 1);
    }
    for (one, other) in WORDS.iter().zip(WORDS.iter().skip(5)).take(10) {
        add("two words", format!("{one} {other}"), None, 1);
    }
    for word in ["cel", "nuc", "str", "glan", "mit", "lymph", "pleo", "ker", "ang", "the"] {
        add("a beginning", word.to_owned(), None, 1);
    }
    for word in ["zebra", "cells zebra", "cytoplasms zebra quagga", "qqq", "¿?"] {
        add("nothing", word.to_owned(), None, 0);
    }
    for word in ["cells", "keratinisation", "nuclei stroma", "gla", "zebra"] {
        add("on a slide", word.to_owned(), Some(slide), 0);
    }
    searches
}

fn listed(store: &Store, search: &str, slide: Option<&str>, least: usize) -> anyhow::Result<()> {
    let list = store.cases(search, slide, MOST_LISTED)?;
    ensure!(list.len() >= least, "“{search}” finds {} cases", list.len());
    Ok(())
}

fn times(rounds: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Vec<Duration>> {
    // Once before: what is measured is not the first reading of the file.
    work()?;
    (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            work()?;
            Ok(begun.elapsed())
        })
        .collect()
}

/// Says how long something took; the longest.
fn told(what: &str, mut times: Vec<Duration>) -> anyhow::Result<Duration> {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    say(&json!({"what": what, "rounds": times.len(), "p50_ms": ms(at(0.5)), "p95_ms": ms(at(0.95)),
        "max_ms": ms(at(1.0))}))?;
    Ok(at(1.0))
}

/// Fills a store with answers of seeded text, as the program keeps them: case by case, with a verdict on every tenth answer.
fn fill(path: &Path, answers: usize) -> anyhow::Result<()> {
    let mut store = Store::open(path)?;
    let mut random = Seeded::new(1);
    for number in 0..answers / ANSWERS_PER_CASE {
        let at = 1_700_000_000_000 + number as i64 * 60_000;
        let case = Case {
            id: Id(format!("case {number}")),
            slide: SlideId {
                hash: format!("{:064}", number / CASES_PER_SLIDE),
                name: format!("slide-{}.svs", number / CASES_PER_SLIDE),
            },
            path: None,
            title: sentence(&mut random, 8),
            created: at,
            changed: at,
        };
        store.keep_case(&case)?;
        let question = question(number, &case, &mut random);
        store.keep_question(&question)?;
        for nth in 0..ANSWERS_PER_CASE {
            let count = number * ANSWERS_PER_CASE + nth;
            let answer = answer(count, &question, &mut random);
            store.keep_answer(&case.id, &answer)?;
            if count.is_multiple_of(JUDGED) {
                let target = Target::Sentence(AnswerStage::Observation, 0);
                let verdict =
                    Verdict { target, decision: Decision::Accept, reason: None, comment: String::new() };
                let action = Action::Decide(verdict);
                store.append(&Draft { answer: answer.id.clone(), reviewer: "R".to_owned(), action })?;
            }
        }
    }
    Ok(())
}

fn question(number: usize, case: &Case, random: &mut Seeded) -> Question {
    Question {
        id: Id(format!("question {number}")),
        case: case.id.clone(),
        text: case.title.clone(),
        choices: (0..4).map(|_| sentence(random, 2)).collect(),
        view: Some(View { centre: [1000.0, 2000.0], slide_per_point: 2.0, ..View::default() }),
        words: "Slide 1, patch 1".to_owned(),
        asked: case.created,
        ..Question::default()
    }
}

/// An answer of about a hundred words, token by token, with a stamp as long as a real one.
fn answer(count: usize, question: &Question, random: &mut Seeded) -> Answer {
    let mut answer = Answer::begun(question.id.clone(), Purpose::Answer);
    answer.id = Id(format!("answer {count}"));
    (answer.began, answer.ended) = (question.asked, Some(question.asked + 5000));
    // A word that no other answer has, and now and then a rare one.
    let mut own = format!("Field {count} ");
    if count.is_multiple_of(RARELY) {
        own.push_str(RARE[count / RARELY % RARE.len()]);
        own.push(' ');
    }
    answer.tokens.push(Token { stage: Some(AnswerStage::Observation), text: own, logprob: -0.5 });
    for (stage, sentences) in
        [(AnswerStage::Observation, 6), (AnswerStage::Analysis, 3), (AnswerStage::Conclusion, 1)]
    {
        for _ in 0..sentences {
            for word in sentence(random, 10).split_inclusive(' ') {
                let logprob = -(random.fraction() as f32);
                answer.tokens.push(Token { stage: Some(stage), text: word.to_owned(), logprob });
            }
            answer.tokens.push(Token { stage: Some(stage), text: ". ".to_owned(), logprob: -0.1 });
        }
    }
    answer.stamp = Some(Box::new(stamp(question, random)));
    let text = answer.text();
    answer.finished =
        Some(Finished { answer: text, stop: Stop::End, ..Finished::cancelled_before_it_began() });
    answer
}

fn stamp(question: &Question, random: &mut Seeded) -> Stamp {
    let source =
        PatchSource { region: [10, 20, 1024, 1024], slide_mpp: Some(0.25), ..PatchSource::default() };
    let patch = PatchStamp {
        source: Some(source),
        width: 512,
        height: 512,
        mpp: Some(0.5),
        blake3: format!("{:064}", random.number()),
        ..PatchStamp::default()
    };
    Stamp {
        slide: Some(SlideStamp { path: "/slides/a.svs".to_owned(), hash: "a".repeat(64) }),
        patches: vec![patch],
        package: "demo".to_owned(),
        package_hash: "b".repeat(64),
        question: question.text.clone(),
        choices: question.choices.clone(),
        prompt: sentence(random, 200),
        ..Stamp::default()
    }
}

/// So many words, of which the first of the list are drawn far more often than the last.
fn sentence(random: &mut Seeded, words: usize) -> String {
    let word = |_| {
        let share = random.fraction();
        WORDS[(share * share * share * WORDS.len() as f64) as usize]
    };
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

fn ms(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn say(line: &Value) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}
