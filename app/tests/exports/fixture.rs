//! Reviews to be exported: two cases, answers that stand and one that does not, names that must not be told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{Rgb, RgbImage};
use reinpath::case::{Answer, Case, Id, PatchKept, Purpose, Question, Token, Variation, patch_file};
use reinpath::review::log::Head;
use reinpath::review::verdict::{Action, Decision, Entry, Reason, Target, Verdict};
use reinpath::review::{Collection, Reviewed};
use reinpath::slide::Region;
use reinpath::store::SlideId;
use reinpath_model::event::{Finished, PatchSource, PatchStamp, SlideStamp, Stamp, Stop};
use reinpath_model::request::{MapMethod, SentenceMap};
use reinpath_model::stage::{AnswerStage, StagedAnswer};

/// What no export may tell unasked.
pub(crate) const NAMES: [&str; 5] = ["S26-104", "anna.smith", "Dr. Who", "Second Reader", "Case of Smith"];

/// What somebody might write to break a form.
pub(crate) const HOSTILE: &str = "</script><script>alert(1)</script> =cmd|' /C calc'!A0 \"quoted\", 'single' & <b>bold</b> ]]> \
    \u{202e}evil\u{202c} שלום عربى 😀👩‍🔬 \u{0}\u{8}\u{b}\u{1b}[31m\u{fffe} \r\n a\tb";

/// Where pixels are kept.
pub(crate) struct Shelf {
    pub folder: PathBuf,
    /// The name of the picture's pixels.
    pub pixels: String,
}

impl Shelf {
    /// With one picture.
    pub(crate) fn new(folder: &Path) -> Self {
        let folder = folder.join("patches");
        std::fs::create_dir_all(&folder).unwrap();
        let image = RgbImage::from_fn(224, 200, |x, y| Rgb([x as u8, y as u8, 128]));
        let pixels = blake3::hash(image.as_raw()).to_hex().to_string();
        image.save(patch_file(&folder, &pixels)).unwrap();
        Self { folder, pixels }
    }
}

fn case(name: &str, slide: &str) -> Case {
    Case {
        id: Id(format!("case-{name}")),
        slide: SlideId { hash: blake3::hash(slide.as_bytes()).to_hex().to_string(), name: slide.to_owned() },
        path: Some(format!("/srv/anna.smith/slides/{slide}").into()),
        title: "Case of Smith".to_owned(),
        created: 1_798_675_200_000,
        changed: 1_798_675_260_000,
    }
}

fn question(case: &Case, text: &str, choices: &[&str], pixels: &str) -> Question {
    let region = Region { x: 480, y: 320, w: 224, h: 200 };
    Question {
        id: Id(format!("question-of-{}", case.id.0)),
        case: case.id.clone(),
        text: text.to_owned(),
        choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
        context: "Colon, H&E".to_owned(),
        patches: vec![PatchKept { pixels: Some(pixels.to_owned()), ..PatchKept::new(2, region) }],
        words: format!("{}, patch 2", case.slide.name),
        asked: 1_798_675_200_000,
        ..Question::default()
    }
}

fn stamp(case: &Case, question: &Question, turned: f64) -> Stamp {
    let kept = &question.patches[0];
    let source = PatchSource {
        region: kept.region,
        mpp_origin: "trusted".to_owned(),
        turned,
        ..PatchSource::default()
    };
    let patch = PatchStamp {
        source: Some(source),
        width: 224,
        height: 200,
        mpp: Some(0.5),
        blake3: kept.pixels.clone().unwrap_or_default(),
        encoders: Vec::new(),
    };
    let path = case.path.as_ref().unwrap().display().to_string();
    Stamp {
        slide: Some(SlideStamp { path, hash: case.slide.hash.clone() }),
        patches: vec![patch],
        package: "ReinPath demo".to_owned(),
        package_hash: "d".repeat(64),
        precision: "f32".to_owned(),
        question: question.text.clone(),
        choices: question.choices.clone(),
        context: question.context.clone(),
        prompt: "<image> What is it?".to_owned(),
        device: "cpu".to_owned(),
        version: "0.1.0".to_owned(),
        warnings: vec![format!("The slide was slow: {}.", case.slide.name)],
        ..Stamp::default()
    }
}

fn answer(name: &str, question: &Question, text: &StagedAnswer, stamp: Option<Stamp>) -> Answer {
    let of_stage = |stage: AnswerStage| {
        let words = text.stage(stage).split_inclusive(' ').map(str::to_owned).collect::<Vec<_>>();
        words.into_iter().map(move |text| Token { stage: Some(stage), text, logprob: -0.125 })
    };
    Answer {
        id: Id(format!("answer-{name}")),
        question: question.id.clone(),
        tokens: AnswerStage::ALL.into_iter().flat_map(of_stage).collect(),
        stamp: stamp.map(Box::new),
        finished: Some(Finished {
            answer: text.clone(),
            format_ok: true,
            tokens: 30,
            stop: Stop::End,
            raw: String::new(),
            ..Finished::cancelled_before_it_began()
        }),
        began: 1_798_675_200_000,
        ended: Some(1_798_675_210_000),
        ..Answer::default()
    }
}

/// Entries with the numbers from `first` on.
fn entries(
    answer: &Answer,
    first: u64,
    reviewer: &str,
    decided: &[(Target, Decision, Option<Reason>)],
) -> Vec<Entry> {
    let entry = |(number, (target, decision, reason)): (u64, &(Target, Decision, Option<Reason>))| Entry {
        number,
        at: 1_798_675_300_000 + number as i64,
        answer: answer.id.clone(),
        answer_hash: "a".repeat(64),
        reviewer: reviewer.to_owned(),
        action: Action::Decide(Verdict {
            target: *target,
            decision: decision.clone(),
            reason: *reason,
            comment: reason.map(|_| "as in the lecture".to_owned()).unwrap_or_default(),
        }),
    };
    (first..).zip(decided).map(entry).collect()
}

fn reviewed(case: &Case, question: &Question, answer: Answer, entries: Vec<Entry>) -> Reviewed {
    Reviewed {
        case: case.clone(),
        question: Arc::new(question.clone()),
        answer: Arc::new(answer),
        hash: "a".repeat(64),
        entries,
        maps: None,
    }
}

pub(crate) fn staged(observation: &str, analysis: &str, conclusion: &str) -> StagedAnswer {
    StagedAnswer {
        observation: observation.to_owned(),
        analysis: analysis.to_owned(),
        conclusion: conclusion.to_owned(),
    }
}

fn sentence(stage: AnswerStage, at: usize) -> Target {
    Target::Sentence(stage, at)
}

/// Four answers: one corrected, one with a rejected sentence, one of a turned patch that nobody judged to the end, and a statement that
/// was accepted as a whole.
pub(crate) fn collection(shelf: &Shelf) -> Collection {
    use AnswerStage::{Analysis, Conclusion, Observation};
    let first = case("one", "S26-104.svs");
    let asked = question(
        &first,
        "Which structure is seen?",
        &["glands", "nests", "sheets", "mucin pool"],
        &shelf.pixels,
    );
    let text = staged("Nests are seen. Mucin is absent.", "Nests lie in stroma.", "B) nests");
    let corrected = answer("corrected", &asked, &text, Some(stamp(&first, &asked, 0.0)));
    let edits = entries(
        &corrected,
        1,
        "Dr. Who",
        &[
            (
                sentence(Observation, 0),
                Decision::Edit("A mucin pool is seen.".to_owned()),
                Some(Reason::WrongFeature),
            ),
            (sentence(Observation, 1), Decision::Edit("Mucin is abundant.".to_owned()), None),
            (Target::Stage(Analysis), Decision::Accept, None),
            (
                sentence(Conclusion, 0),
                Decision::Edit("D) mucin pool".to_owned()),
                Some(Reason::UnsupportedConclusion),
            ),
        ],
    );
    let mut corrected = reviewed(&first, &asked, corrected, edits);
    let map = SentenceMap {
        stage: Observation,
        sentence: "Nests are seen.".to_owned(),
        first_token: 4,
        tokens: 3,
        patch: 0,
        rows: 1,
        cols: 2,
        crop: [0.0, 0.0, 200.0, 200.0],
        method: MapMethod::Tam,
        fall: 1.5,
        random_fall: 0.25,
    };
    corrected.maps = Some(Arc::new(vec![(map, vec![0.0, 1.0])]));
    let wrong = answer(
        "wrong",
        &asked,
        &staged("Sheets are seen.", "They are dense.", "C) sheets"),
        Some(stamp(&first, &asked, 0.0)),
    );
    let rejection = entries(
        &wrong,
        5,
        "Second Reader",
        &[
            (sentence(Observation, 0), Decision::Reject, Some(Reason::NotVisible)),
            (Target::Stage(Analysis), Decision::Accept, None),
            (Target::Stage(Conclusion), Decision::Reject, None),
        ],
    );
    let wrong = reviewed(&first, &asked, wrong, rejection);
    let mut turned = answer("turned", &asked, &text, Some(stamp(&first, &asked, 5.0)));
    turned.purpose = Purpose::Stability(Variation::Turned { degrees: 5.0 });
    let some = entries(&turned, 8, "", &[(sentence(Observation, 0), Decision::Accept, None)]);
    let turned = reviewed(&first, &asked, turned, some);
    let second = case("two", "S26-1045.svs");
    let statement = question(&second, "True or false: mucin is seen.", &[], &shelf.pixels);
    let true_one =
        answer("true", &statement, &staged("Mucin is seen.", "That agrees.", "True, it is."), None);
    let whole = entries(&true_one, 9, "Dr. Who", &[(Target::Answer, Decision::Accept, None)]);
    let true_one = reviewed(&second, &statement, true_one, whole);
    Collection {
        reviewed: vec![corrected, wrong, turned, true_one],
        head: Head { entries: 9, hash: blake3::hash(b"the ninth").to_hex().to_string() },
    }
}

/// One answer in which everything that can be written was written to break things, with a word of 100 kB.
pub(crate) fn hostile(shelf: &Shelf) -> Collection {
    let mut case = case("hostile", "S26-104.svs");
    HOSTILE.clone_into(&mut case.title);
    let mut question = question(&case, HOSTILE, &[HOSTILE, "other"], &shelf.pixels);
    HOSTILE.clone_into(&mut question.context);
    let long = format!("{HOSTILE} {}", "x".repeat(100_000));
    let mut stamp = stamp(&case, &question, 0.0);
    HOSTILE.clone_into(&mut stamp.package);
    let answer =
        answer("hostile", &question, &staged(&format!("{HOSTILE} Seen."), &long, "A) it"), Some(stamp));
    let mut all = entries(
        &answer,
        1,
        HOSTILE,
        &[
            (Target::Answer, Decision::Accept, None),
            (
                sentence(AnswerStage::Conclusion, 0),
                Decision::Edit(format!("A) {HOSTILE}")),
                Some(Reason::Wording),
            ),
        ],
    );
    if let Some(Entry { action: Action::Decide(verdict), .. }) = all.last_mut() {
        HOSTILE.clone_into(&mut verdict.comment);
    }
    Collection {
        reviewed: vec![reviewed(&case, &question, answer, all)],
        head: Head { entries: 2, hash: "e".repeat(64) },
    }
}
