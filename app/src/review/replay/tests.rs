//! Differences and their causes, and stamps in words.

use reinpath_model::event::{EncoderStamp, Finished, PatchSource, SlideStamp};
use reinpath_model::request::Exchange;

use super::*;
use crate::case::{Id, Purpose};

fn stamp() -> Stamp {
    let patch = PatchStamp {
        source: Some(PatchSource { region: [-1, 2, 30, 40], turned: 5.0, ..PatchSource::default() }),
        width: 30,
        height: 40,
        blake3: "11111111ff".to_owned(),
        encoders: vec![EncoderStamp {
            name: "conch".to_owned(),
            tensor: [448, 448],
            ..EncoderStamp::default()
        }],
        ..PatchStamp::default()
    };
    Stamp {
        slide: Some(SlideStamp { path: "/a.svs".to_owned(), hash: "22222222ff".to_owned() }),
        patches: vec![patch],
        package: "demo".to_owned(),
        package_hash: "33333333ff".to_owned(),
        precision: "f32".to_owned(),
        device: "cpu".to_owned(),
        question: "What?".to_owned(),
        prompt: "<image> What?".to_owned(),
        version: "1".to_owned(),
        ..Stamp::default()
    }
}

fn answer(stamp: Stamp, observation: &str) -> Answer {
    let mut answer = Answer::begun(Id::fresh(), Purpose::Answer);
    hear(&mut answer, &AskEvent::Started { stamp: Box::new(stamp) });
    for (stage, text) in [(AnswerStage::Observation, observation), (AnswerStage::Conclusion, "B) nests")] {
        hear(&mut answer, &AskEvent::Stage { stage });
        let text = text.to_owned();
        hear(&mut answer, &AskEvent::Token { index: 0, stage: Some(stage), text, logprob: -0.5 });
    }
    let finished = Finished { stop: Stop::End, ..Finished::cancelled_before_it_began() };
    hear(&mut answer, &AskEvent::Finished(finished));
    answer
}

fn cause_of(change: impl Fn(&mut Stamp)) -> String {
    let mut other = stamp();
    change(&mut other);
    match compare(&answer(stamp(), "Glands are seen."), &answer(other, "Glands were seen.")) {
        Replayed::Differs { cause, .. } => cause,
        Replayed::Same => panic!("it is the same"),
    }
}

#[test]
fn the_same_text_is_the_same_whatever_the_stamp_says() {
    let other = Stamp { device: "cuda:0".to_owned(), ..stamp() };
    let (before, after) = (answer(stamp(), "Glands."), answer(other, "Glands.\n"));
    assert_eq!(compare(&before, &after), Replayed::Same);
}

#[test]
fn the_first_difference_is_shown_with_what_is_around_it() {
    let (before, after) = (
        answer(stamp(), "Many glands – ä – are seen here."),
        answer(stamp(), "Many glands – ä – were seen here."),
    );
    let replayed = compare(&before, &after);
    let Replayed::Differs { at, before, after, .. } = &replayed else { panic!("it differs") };
    assert_eq!(*at, "[Observation]\nMany glands – ä – ".chars().count());
    assert_eq!(before, "lands – ä – are seen here. [Conclusion] ");
    assert_eq!(after, "lands – ä – were seen here. [Conclusion]");
    assert!(before.chars().count() <= SHOWN && after.chars().count() <= SHOWN);
    assert!(
        replayed.sentence().starts_with("The text differs from character 33 on (“"),
        "{}",
        replayed.sentence()
    );
}

#[test]
fn the_cause_is_the_first_thing_that_differs() {
    assert!(cause_of(|_| {}).contains("arithmetic"));
    assert_eq!(cause_of(|stamp| stamp.version = "2".to_owned()), "the version is another: 2, before 1");
    assert!(cause_of(|stamp| stamp.sampling.seed = 7).contains("seed 7"));
    assert_eq!(cause_of(|stamp| stamp.choices.push("x".to_owned())), "the prompt is another");
    assert_eq!(
        cause_of(|stamp| stamp.device = "cuda:0".to_owned()),
        "the device is another: cuda:0, before cpu"
    );
    assert_eq!(
        cause_of(|stamp| (stamp.max_pixels, stamp.device) = (Some(200_704), "cuda:0".to_owned())),
        "the pixel limit of a patch is another: 200,704 px, before the package's own"
    );
    assert!(cause_of(|stamp| stamp.precision = "bf16".to_owned()).starts_with("the precision"));
    assert!(cause_of(|stamp| stamp.adapter = Some("x".to_owned())).contains("x, before none"));
    let package = |stamp: &mut Stamp| {
        (stamp.package_hash, stamp.device) = ("44444444".to_owned(), "cuda:0".to_owned());
    };
    assert_eq!(cause_of(package), "the model package is another: demo (44444444), before demo (33333333)");
    let pixels = |stamp: &mut Stamp| {
        package(stamp);
        stamp.patches[0].blake3 = "55555555".to_owned();
    };
    assert_eq!(cause_of(pixels), "the pixels of the patches are others: 55555555, before 11111111");
    let slide = |stamp: &mut Stamp| {
        pixels(stamp);
        stamp.slide = Some(SlideStamp { path: "/b.svs".to_owned(), hash: "66666666".to_owned() });
    };
    assert_eq!(cause_of(slide), "the slide is another, or was changed: 66666666, before 22222222");
    assert!(cause_of(|stamp| stamp.slide = None).contains("arithmetic"), "an export may name no slide");
    // A slide that was only moved is the same.
    assert!(
        cause_of(|stamp| stamp.slide.as_mut().unwrap().path = "/b.svs".to_owned()).contains("arithmetic")
    );
}

#[test]
fn an_answer_that_was_stopped_is_no_fault_of_arithmetic() {
    let mut stopped = answer(stamp(), "Glands are seen.");
    stopped.tokens.pop();
    stopped.finished.as_mut().unwrap().stop = Stop::Cancelled;
    let whole = answer(stamp(), "Glands are seen.");
    let cause = |before: &Answer, after: &Answer| match compare(before, after) {
        Replayed::Differs { cause, .. } => cause,
        Replayed::Same => panic!("it is the same"),
    };
    assert!(cause(&stopped, &whole).starts_with("the first one was stopped"));
    assert!(cause(&whole, &stopped).starts_with("the second one was stopped"));
    let bare = Answer { stamp: None, ..stopped };
    assert!(cause(&bare, &whole).contains("no stamp"));
}

#[test]
fn every_field_of_a_stamp_is_told() {
    let mut full = stamp();
    full.adapter = Some("tuned".to_owned());
    full.choices = vec!["one".to_owned(), "two".to_owned()];
    full.context = "colon".to_owned();
    full.history =
        vec![Exchange { question: "Before?".to_owned(), choices: Vec::new(), answer: "Yes.".to_owned() }];
    full.declared_tissues = vec!["phantom tissue".to_owned()];
    full.warnings = vec!["Careful.".to_owned()];
    full.max_pixels = Some(1_003_520);
    full.terms = Some("Nothing may be learnt from it.".to_owned());
    let text: Vec<String> =
        stamp_lines(&full).into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let text = text.join("\n");
    for part in [
        "/a.svs",
        "22222222ff",
        "30 × 40 px at -1, 2 of level 0, turned by 5°",
        "11111111ff",
        "conch: 448 × 448",
        "demo",
        "33333333ff",
        "tuned",
        "f32",
        "cpu",
        "Version: 1",
        "What?",
        "one; two",
        "colon",
        "Before?",
        "Yes.",
        "seed 0",
        "<image> What?",
        "phantom tissue",
        "Careful.",
        "Pixel limit: 1,003,520 px",
        "Terms: Nothing may be learnt from it.",
        "scale unknown",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
