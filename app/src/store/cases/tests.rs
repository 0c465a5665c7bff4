//! What is kept of cases, and what lists and searches find.

use std::sync::Arc;

use reinpath_model::event::OptionScore;
use reinpath_model::request::MapMethod;
use reinpath_model::stage::AnswerStage;

use super::super::samples::{answer, case, question, store_with_an_answer};
use super::*;
use crate::case::{PatchKept, Purpose, Variation};
use crate::slide::Region;

fn head(sentence: &str, rows: usize, cols: usize, fall: f32) -> SentenceMap {
    SentenceMap {
        stage: AnswerStage::Observation,
        sentence: sentence.to_owned(),
        first_token: 0,
        tokens: 3,
        patch: 0,
        rows,
        cols,
        crop: [0.0, 0.0, 32.0, 32.0],
        method: MapMethod::Tam,
        fall,
        random_fall: 0.1,
    }
}

#[test]
fn a_case_comes_back_equal_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let case = case("c", "s", 1000);
    let region = Region { x: -5, y: 6, w: 70, h: 80 };
    let mut first = question("q1", &case, "Wie dicht ist das Gewebe?");
    first.patches = vec![PatchKept::new(1, region)];
    let one = answer("a1", &first, "Glands are seen.");
    let mut second = question("q2", &case, "And now?");
    (second.follows, second.asked) = (Some(one.id.clone()), 1500);
    let mut two = answer("a2", &second, "None.");
    two.purpose = Purpose::Stability(Variation::Shuffled { order: vec![1, 0] });
    let maps: Maps = Arc::new(vec![(head("Glands are seen.", 2, 1, -1.5), vec![0.25, 1.0])]);
    {
        let mut store = Store::open(&path).unwrap();
        store.keep_case(&case).unwrap();
        store.keep_question(&first).unwrap();
        store.keep_answer(&case.id, &one).unwrap();
        store.keep_maps(&one.id, &maps).unwrap();
        store.keep_question(&second).unwrap();
        store.keep_answer(&case.id, &two).unwrap();
        // The pixels of its patch are known a little later.
        first.patches[0].pixels = Some("0123".to_owned());
        store.keep_question(&first).unwrap();
    }
    let store = Store::open(&path).unwrap();
    let (open, entries, found) = store.open_case(&case.id).unwrap().unwrap();
    assert_eq!(open.case, Case { changed: 2500, ..case });
    assert_eq!(*open.questions[&first.id], first);
    assert_eq!(open.questions[&first.id].patches[0].region(), region);
    assert_eq!(open.questions_after(Some(&one.id)), [&Arc::new(second)]);
    assert_eq!((&*open.answers[&one.id], &*open.answers[&two.id]), (&one, &two));
    assert!(entries.is_empty());
    assert_eq!(found, [(one.id, maps)]);
    assert!(store.open_case(&Id("nonesuch".to_owned())).unwrap().is_none());
}

#[test]
fn an_answer_is_kept_once_and_only_when_it_is_over() {
    let (mut store, kept) = store_with_an_answer();
    let case = Id("c".to_owned());
    let mut other = (*kept).clone();
    other.tokens[0].text = "Something else.".to_owned();
    store.keep_answer(&case, &other).unwrap();
    let (open, _, _) = store.open_case(&case).unwrap().unwrap();
    assert_eq!(*open.answers[&kept.id], *kept);
    assert_eq!(store.cases("", None, 9).unwrap()[0].answers, 1);
    let mut unfinished = (*kept).clone();
    (unfinished.id, unfinished.finished) = (Id("b".to_owned()), None);
    let error = store.keep_answer(&case, &unfinished).unwrap_err();
    assert!(
        matches!(&error, Error::Refused { reason, .. } if reason.contains("still being written")),
        "{error}"
    );
    let mut lost = (*kept).clone();
    (lost.id, lost.question) = (Id("b".to_owned()), Id("nonesuch".to_owned()));
    assert!(matches!(store.keep_answer(&case, &lost), Err(Error::Refused { .. })));
    let foreign = question("x", &super::super::samples::case("nonesuch", "s", 1), "Why?");
    assert!(matches!(store.keep_question(&foreign), Err(Error::Refused { .. })));
}

#[test]
fn numbers_that_json_has_no_word_for_do_not_lose_an_answer() {
    let (mut store, kept) = store_with_an_answer();
    let mut strange = (*kept).clone();
    strange.id = Id("b".to_owned());
    strange.tokens[1].logprob = f32::NEG_INFINITY;
    let score = OptionScore { letter: "A".to_owned(), logprob: f32::NAN, tokens: 1 };
    strange.finished.as_mut().unwrap().options.push(score);
    store.keep_answer(&Id("c".to_owned()), &strange).unwrap();
    let (open, _, _) = store.open_case(&Id("c".to_owned())).unwrap().unwrap();
    let read = &open.answers[&strange.id];
    assert_eq!((read.tokens[0].logprob, read.tokens[1].logprob), (-0.25, f32::MIN));
    assert_eq!(read.finished.as_ref().unwrap().options[0].logprob, f32::MIN);
}

#[test]
fn maps_are_replaced_and_incomplete_ones_refused() {
    let (mut store, kept) = store_with_an_answer();
    let read = |store: &Store| store.open_case(&Id("c".to_owned())).unwrap().unwrap().2;
    let maps = |all: Vec<(SentenceMap, Vec<f32>)>| -> Maps { Arc::new(all) };
    store.keep_maps(&kept.id, &maps(vec![(head("One.", 1, 2, 0.5), vec![0.0, 1.0])])).unwrap();
    let newer = (head("Two.", 1, 1, 0.5), vec![0.75]);
    let unknown = (head("Three.", 1, 1, f32::NAN), vec![0.5]);
    store.keep_maps(&kept.id, &maps(vec![newer.clone(), unknown])).unwrap();
    assert_eq!(read(&store), [(kept.id.clone(), maps(vec![newer.clone()]))]);
    let error = store.keep_maps(&kept.id, &maps(vec![(head("Four.", 2, 2, 0.5), vec![0.5])])).unwrap_err();
    assert!(error.to_string().contains("“Four.”"), "{error}");
    assert_eq!(read(&store), [(kept.id.clone(), maps(vec![newer]))]);
    let lost = store.keep_maps(&Id("nonesuch".to_owned()), &maps(Vec::new()));
    assert!(matches!(lost, Err(Error::Refused { .. })));
}

#[test]
fn what_was_changed_last_is_listed_first_and_a_slide_alone() {
    let mut store = Store::open_in_memory().unwrap();
    for (id, slide, at) in [("c1", "s1", 100), ("c2", "s2", 300), ("c3", "s1", 200)] {
        store.keep_case(&case(id, slide, at)).unwrap();
    }
    let names = |slide: Option<&str>, most: usize| -> Vec<String> {
        store.cases(" ", slide, most).unwrap().into_iter().map(|listed| listed.case.id.0).collect()
    };
    assert_eq!(names(None, 9), ["c2", "c3", "c1"]);
    assert_eq!(names(None, 2), ["c2", "c3"]);
    assert_eq!(names(Some("s1"), 9), ["c3", "c1"]);
    assert!(names(Some("nonesuch"), 9).is_empty());
    let question = question("q", &Case { created: 900, ..case("c1", "s1", 100) }, "What?");
    store.keep_question(&question).unwrap();
    assert_eq!(store.cases("", None, 1).unwrap()[0].case, Case { changed: 900, ..case("c1", "s1", 100) });
}

#[test]
fn a_case_is_renamed_and_blinded_reading_takes_no_place_away() {
    let mut store = Store::open_in_memory().unwrap();
    let known = case("c", "s", 100);
    store.keep_case(&known).unwrap();
    let mut blinded = Case { title: "Polyp".to_owned(), path: None, changed: 200, ..known.clone() };
    blinded.slide.name = String::new();
    store.keep_case(&blinded).unwrap();
    let listed = store.cases("", None, 9).unwrap().remove(0);
    assert_eq!(listed.case, Case { title: "Polyp".to_owned(), changed: 200, ..known });
    let found = store.cases("polyp", None, 9).unwrap();
    assert_eq!((found.len(), found[0].found.as_str(), &found[0].answer), (1, "Polyp", &None));
}

#[test]
fn a_search_finds_words_of_questions_and_answers() {
    let mut store = Store::open_in_memory().unwrap();
    for (number, observation) in
        ["Glands are seen.", "Necrosis in the glands.", "Solid sheets of cells."].into_iter().enumerate()
    {
        let case = case(&format!("c{number}"), &format!("s{number}"), number as i64 * 100);
        let question = question(&format!("q{number}"), &case, &format!("Is it so in {number}7?"));
        store.keep_case(&case).unwrap();
        store.keep_question(&question).unwrap();
        store.keep_answer(&case.id, &answer(&format!("a{number}"), &question, observation)).unwrap();
    }
    let found = |search: &str, slide: Option<&str>| -> Vec<String> {
        let list = store.cases(search, slide, 9).unwrap();
        list.into_iter().filter_map(|listed| Some(listed.answer?.0)).collect()
    };
    assert_eq!(found("gland", None), ["a1", "a0"]);
    assert_eq!(found("NECROSIS glands", None), ["a1"]);
    assert_eq!(found("necro", None), ["a1"]);
    assert_eq!(found("gland", Some("s0")), ["a0"]);
    assert_eq!(found("17", None), ["a1"], "a word of its question");
    // Both letters of “in” stand in all questions, as a whole word.
    assert_eq!(found("in", None).len(), 3);
    assert!(found("i", None).is_empty(), "a letter is no beginning");
    for nothing in ["zebra", "gland zebra", "?!", "\"", "gland* OR (", "nonesuch:gland"] {
        assert!(found(nothing, None).is_empty(), "{nothing}");
    }
    let listed = store.cases("necrosis", None, 9).unwrap().remove(0);
    assert!(listed.found.starts_with("Necrosis in the glands."), "{}", listed.found);
    assert_eq!(listed.answers, 1);
    assert_eq!(store.cases("gland", None, 1).unwrap()[0].answer, Some(Id("a1".to_owned())));
}
