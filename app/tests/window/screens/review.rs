//! Pictures of reading and judging answers: the chain with its verdicts, where a sentence looks, samples side by side, the list of
//! cases, stability, exports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use reinpath::window::App;
use reinpath::window::answer_view::QuestionText;
use reinpath::window::command::AskCommand;
use reinpath::window::event::Event;
use reinpath::window::read::{ReadCommand, Side};
use reinpath::window::review::cases::{CasesCommand, CasesEvent};
use reinpath::window::review::{ReviewCommand, ReviewEvent};
use reinpath::window::update::AskOrder;
use reinpath_model::event::{AskEvent, PatchSource, PatchStamp, Stamp, Stop};
use reinpath_model::request::{MapMethod, SentenceMap};
use reinpath_model::stage::AnswerStage;

use super::{draw_tissue, send, shot, until_seen};
use crate::support::{Script, alike, click_at, pixel, shown_viewport, until, until_drawn, viewer, window};

/// What the scripted model says, stage by stage, a sentence each.
const SAID: [(AnswerStage, &str); 3] = [
    (
        AnswerStage::Observation,
        "Crowded glands lie back to back. Their nuclei are large. Necrosis is absent.",
    ),
    (AnswerStage::Analysis, "Crowded glands with large nuclei mean a tumour."),
    (AnswerStage::Conclusion, "B) tumour glands"),
];
const SENTENCES: usize = 5;

/// A model that answers every order as it comes.
struct Talk {
    script: Script,
    answered: usize,
}

impl Talk {
    /// Frames, and answers to what is asked, until `done`.
    fn until(&mut self, harness: &mut Harness<'_, App>, what: &str, done: impl Fn(&App) -> bool) {
        let begun = Instant::now();
        while !done(harness.state()) {
            assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
            let orders = self.script.orders();
            if orders.len() > self.answered {
                self.answered = orders.len();
                self.answer(orders.last().unwrap());
            }
            std::thread::sleep(Duration::from_millis(3));
            harness.step();
        }
        harness.step();
    }

    fn answer(&self, order: &AskOrder) {
        let patch = |region: &reinpath::slide::Region| PatchStamp {
            source: Some(PatchSource {
                region: [region.x, region.y, region.w.into(), region.h.into()],
                ..PatchSource::default()
            }),
            width: 224,
            height: 224,
            ..PatchStamp::default()
        };
        let stamp = Stamp {
            patches: order.regions.iter().map(patch).collect(),
            question: order.text.question.clone(),
            choices: order.text.choices.clone(),
            package: "scripted".to_owned(),
            ..Stamp::default()
        };
        self.script.say(AskEvent::Started { stamp: Box::new(stamp) });
        for (stage, text) in SAID {
            self.script.write(stage, text);
        }
        if order.how.has_maps {
            let event = CasesEvent::Maps { id: order.id, maps: Arc::new(maps()) };
            self.script.tell(Event::Review(ReviewEvent::Cases(event)));
        }
        self.script.finish(Stop::End);
    }
}

/// A map of each method for each sentence: of four times four cells the one in the third row and column is the brightest.
fn maps() -> Vec<(SentenceMap, Vec<f32>)> {
    let mut maps = Vec::new();
    for (stage, text) in SAID {
        for range in reinpath_model::prose::split(text) {
            for method in [MapMethod::Tam, MapMethod::RelativeAttention] {
                let head = SentenceMap {
                    stage,
                    sentence: text[range.clone()].to_owned(),
                    first_token: 0,
                    tokens: 1,
                    patch: 0,
                    rows: 4,
                    cols: 4,
                    crop: [0.0, 0.0, 224.0, 224.0],
                    method,
                    fall: 0.6,
                    random_fall: 0.1,
                };
                let mut grid = vec![0.0; 16];
                grid[2 * 4 + 2] = 1.0;
                maps.push((head, grid));
            }
        }
    }
    maps
}

/// A window with a slide, a patch in its middle and a question about it that was answered and is kept.
fn answered(folder: &std::path::Path) -> (Harness<'static, App>, Talk) {
    let script = Script::default();
    let mut harness = window(vec![draw_tissue(folder, "section.png")], Vec::new(), &script);
    harness.step();
    harness.get_by_label("Accept and continue").click();
    until_drawn(&mut harness);
    harness.key_press(Key::P);
    harness.step();
    let at = viewer(&harness).center();
    click_at(&mut harness, at);
    harness.key_press(Key::M);
    until(&mut harness, "the patch", |app| app.state().shown_slide().unwrap().patches.places().len() == 1);
    let text = QuestionText {
        question: "What is shown?".to_owned(),
        choices: ["nests", "tumour glands", "fat"].map(str::to_owned).to_vec(),
        context: "Colon biopsy.".to_owned(),
    };
    harness.state().commands().ask(AskCommand::Ask(Box::new(text)));
    let mut talk = Talk { script, answered: 0 };
    talk.until(&mut harness, "the answer and its maps", |app| {
        let cases = &app.state().review.cases;
        let is_kept = cases.open.as_ref().is_some_and(|open| open.answers.len() == 1);
        is_kept && !app.state().review.chain.maps.is_empty() && cases.explaining.is_none()
    });
    (harness, talk)
}

fn press(harness: &mut Harness<'_, App>, modifiers: Modifiers, key: Key) {
    harness.key_press_modifiers(modifiers, key);
    harness.step();
    harness.step();
}

#[test]
fn an_answer_is_judged_sentence_by_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, _talk) = answered(folder.path());
    shot(&mut harness, "chain");
    press(&mut harness, Modifiers::NONE, Key::N);
    press(&mut harness, Modifiers::NONE, Key::Y);
    press(&mut harness, Modifiers::NONE, Key::X);
    press(&mut harness, Modifiers::NONE, Key::Num2);
    press(&mut harness, Modifiers::SHIFT, Key::Y);
    until(&mut harness, "the log", |app| {
        let verdicts = &app.state().review.verdicts;
        let kept: usize = verdicts.entries.values().map(Vec::len).sum();
        // The reason of the one that was rejected is an entry more.
        verdicts.waiting.is_empty() && kept == SENTENCES + 1
    });
    harness.run_ok();
    shot(&mut harness, "chain-verdicts");
    assert!(harness.query_all_by_label_contains("wrong feature").next().is_some());
}

#[test]
fn where_a_sentence_looks_lies_over_the_slide() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, talk) = answered(folder.path());
    press(&mut harness, Modifiers::NONE, Key::N);
    let before = shot(&mut harness, "map-before");
    let region = talk.script.orders()[0].regions[0];
    let (rect, viewport) = (viewer(&harness), shown_viewport(&harness));
    let cell = |row: f64, col: f64| {
        let (w, h) = (f64::from(region.w) / 4.0, f64::from(region.h) / 4.0);
        let at = (region.x as f64 + (col + 0.5) * w, region.y as f64 + (row + 0.5) * h);
        viewport.screen_from_slide(rect, at)
    };
    press(&mut harness, Modifiers::NONE, Key::W);
    until_seen(&mut harness, "the map", |image| {
        !alike(pixel(image, cell(2.0, 2.0)), pixel(&before, cell(2.0, 2.0)))
    });
    let with = shot(&mut harness, "map");
    let change = |row, col| {
        let (was, is) = (pixel(&before, cell(row, col)), pixel(&with, cell(row, col)));
        was.iter().zip(is).map(|(a, b)| u32::from(a.abs_diff(b))).sum::<u32>()
    };
    assert!(change(2.0, 2.0) > change(3.0, 0.0) + 30, "{} and {}", change(2.0, 2.0), change(3.0, 0.0));
    press(&mut harness, Modifiers::NONE, Key::W);
    until_seen(&mut harness, "the slide without the map", |image| {
        alike(pixel(image, cell(2.0, 2.0)), pixel(&before, cell(2.0, 2.0)))
    });
}

#[test]
fn samples_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, mut talk) = answered(folder.path());
    let wish = ReviewCommand::Cases(CasesCommand::Samples(3));
    harness.state().commands().review(wish);
    talk.until(&mut harness, "three samples", |app| {
        let cases = &app.state().review.cases;
        let is_there =
            |id: &reinpath::case::Id| cases.open.as_ref().is_some_and(|open| open.answers.contains_key(id));
        cases.compared.len() >= 3 && cases.compared.iter().all(is_there) && !app.state().is_asking()
    });
    harness.run_ok();
    shot(&mut harness, "side-by-side");
}

#[test]
fn cases_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, _talk) = answered(folder.path());
    send(&mut harness, ReadCommand::Side(Side::Cases));
    until(&mut harness, "the list", |app| {
        app.state().review.cases.list.as_ref().is_some_and(|list| list.len() == 1)
    });
    harness.run_ok();
    shot(&mut harness, "cases");
    assert!(harness.query_all_by_label_contains("What is shown?").next().is_some());
}

#[test]
fn an_answer_is_asked_for_again_with_small_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, mut talk) = answered(folder.path());
    let before = talk.script.orders().len();
    press(&mut harness, Modifiers::SHIFT, Key::S);
    talk.until(&mut harness, "the answers", |app| {
        let review = &app.state().review;
        review.cases.queue.is_empty()
            && review.stability.running.is_none()
            && !app.state().is_asking()
            && review.cases.open.as_ref().is_some_and(|open| open.answers.len() > 2)
    });
    harness.run_ok();
    shot(&mut harness, "stability");
    assert!(talk.script.orders().len() > before + 2);
}

#[test]
fn reviews_are_exported_in_a_window_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, _talk) = answered(folder.path());
    press(&mut harness, Modifiers::COMMAND.plus(Modifiers::ALT), Key::E);
    until(&mut harness, "the window", |app| app.state().review.export.is_open);
    harness.run_ok();
    shot(&mut harness, "export");
    press(&mut harness, Modifiers::COMMAND.plus(Modifiers::ALT), Key::E);
    until(&mut harness, "the window to close", |app| !app.state().review.export.is_open);
}
