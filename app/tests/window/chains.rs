//! Chains in the window: folding, terms, doubts, places over the slide.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Key, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use reinpath::chain::glossary;
use reinpath::viewer::viewport::Viewport;
use reinpath::window::App;
use reinpath::window::command::ViewCommand;
use reinpath::window::event::Event;
use reinpath::window::read::ReadPlaces;
use reinpath::window::review::cases::CasesEvent;
use reinpath::window::review::{ReviewEvent, chain::ChainState};
use reinpath_model::event::{AskEvent, PatchSource, PatchStamp, SlideStamp, Stamp, Stop};
use reinpath_model::request::{MapMethod, SentenceMap};
use reinpath_model::stage::AnswerStage;

use super::support::{
    QUARTERS, Script, alike, ask_about_the_middle, draw_slide, finished, pixel, until, until_drawn, viewer,
    window_from,
};

const FIRST: &str = "Glands lie back to back.";
const SECOND: &str = "Several mitoses are seen.";
const ANALYSIS: &str = "The glands are crowded and hold mitotic figures.";
const CONCLUSION: &str = "Mature fat.";
/// Of the patch, in level-0 pixels.
const REGION: [i64; 4] = [488, 338, 224, 224];

/// A window in which a question was asked about a patch; maps are made only when they are asked for.
fn asked(folder: &Path, script: &Script, glossary: Option<PathBuf>) -> Harness<'static, App> {
    let settings = folder.join("window.toml");
    std::fs::write(&settings, "notice_accepted = true\n\n[review]\nmakes_maps = false\n").unwrap();
    let places = ReadPlaces { glossary, ..ReadPlaces::default() };
    let mut harness = window_from(vec![draw_slide(folder)], script, Some(settings), places);
    until_drawn(&mut harness);
    ask_about_the_middle(&mut harness);
    harness
}

/// An answer of three stages about the patch.
fn answer(harness: &mut Harness<'_, App>, script: &Script) {
    let hash = harness.state().state().shown_slide().unwrap().info().unwrap().hash.clone();
    let source = PatchSource { region: REGION, ..PatchSource::default() };
    let patch = PatchStamp { source: Some(source), width: 224, height: 224, ..PatchStamp::default() };
    let slide = Some(SlideStamp { path: "quarters.png".to_owned(), hash });
    let stamp = Stamp { slide, patches: vec![patch], ..Stamp::default() };
    script.say(AskEvent::Started { stamp: Box::new(stamp) });
    script.write(AnswerStage::Observation, &format!("{FIRST} {SECOND}"));
    script.write(AnswerStage::Analysis, ANALYSIS);
    script.write(AnswerStage::Conclusion, CONCLUSION);
    script.finish(Stop::End);
    until(harness, "the end", |app| !app.state().is_asking());
    harness.run_ok();
}

fn chain<'a>(harness: &'a Harness<'_, App>) -> &'a ChainState {
    &harness.state().state().review.chain
}

/// The map of a sentence of the Observation: hot in its upper left quarter.
fn map(sentence: &str, first_token: usize, fall: f32) -> (SentenceMap, Vec<f32>) {
    let head = SentenceMap {
        stage: AnswerStage::Observation,
        sentence: sentence.to_owned(),
        first_token,
        tokens: 4,
        patch: 0,
        rows: 2,
        cols: 2,
        crop: [0.0, 0.0, 224.0, 224.0],
        method: MapMethod::Tam,
        fall,
        random_fall: 0.1,
    };
    (head, vec![1.0, 0.0, 0.0, 0.0])
}

#[test]
fn stages_fold_and_keys_go_from_sentence_to_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = asked(folder.path(), &script, None);
    answer(&mut harness, &script);
    harness.get_by_label("Observation, folded");
    harness.get_by_label(CONCLUSION);
    harness.get_by_label_contains("not supported by any observation");
    assert!(harness.query_by_label("rests on 1, 2").is_none(), "the Analysis is folded");

    harness.key_press(Key::N);
    harness.run_ok();
    harness.get_by_label("Observation, open");
    harness.get_by_label(FIRST);
    harness.get_by_label(SECOND);
    let place =
        |harness: &Harness<'_, App>| chain(harness).focus.clone().map(|(_, stage, index)| (stage, index));
    assert_eq!(place(&harness), Some((AnswerStage::Observation, 0)));
    for _ in 0..2 {
        harness.key_press(Key::N);
        harness.run_ok();
    }
    assert_eq!(place(&harness), Some((AnswerStage::Analysis, 0)));
    harness.get_by_label("rests on 1, 2");
    harness.get_by_label(SECOND).click();
    harness.run_ok();
    assert_eq!(place(&harness), Some((AnswerStage::Observation, 1)));
    harness.get_by_label("Observation, open").click();
    harness.run_ok();
    harness.get_by_label("Observation, folded");
}

#[test]
fn a_term_under_the_pointer_is_explained_and_can_be_changed_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("glossary.toml");
    let script = Script::default();
    let mut harness = asked(folder.path(), &script, Some(file.clone()));
    answer(&mut harness, &script);
    harness.key_press(Key::N);
    harness.run_ok();
    // The sentence's number stands left of its first word.
    let row = harness.get_by_label(FIRST).rect();
    harness.hover_at(row.left_top() + vec2(30.0, 8.0));
    for _ in 0..20 {
        harness.step();
    }
    harness.get_by_label_contains("Epithelial cells around a lumen");
    harness.get_by_label("Edit term").click();
    harness.run_ok();
    harness.get_by_label("Meaning").focus();
    harness.step();
    harness.get_by_label("Meaning").type_text(" Mine.");
    harness.run_ok();
    harness.get_by_label("Save term").click();
    until(&mut harness, "the glossary to be kept", |_| file.is_file());
    let kept = glossary::read(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((kept.len(), kept[0].name.as_str()), (1, "gland"));
    assert!(kept[0].meaning.contains("Mine.") && kept[0].also.contains(&"glands".to_owned()), "{kept:?}");
    harness.get_by_label("As shipped");
}

/// Asks for maps by W and gives them.
fn give_maps(harness: &mut Harness<'_, App>, script: &Script) {
    harness.key_press(Key::W);
    let is_reading = |script: &Script| script.orders().iter().find(|order| order.how.has_maps).map(|o| o.id);
    until(harness, "the answer to be read again", |_| is_reading(script).is_some());
    let id = is_reading(script).unwrap();
    let maps = vec![map(FIRST, 1, 0.6), map(SECOND, 5, 0.15)];
    script.tell(Event::Review(ReviewEvent::Cases(CasesEvent::Maps { id, maps: Arc::new(maps) })));
    script.tell(Event::Ask { id, event: finished(Stop::End) });
    until(harness, "the picture of the map", |app| app.state().review.chain.drawn.is_some());
    harness.run_ok();
}

/// The colour of the slide at a place of the patch, in its pixels.
fn at(harness: &mut Harness<'_, App>, x: f64, y: f64) -> [u8; 3] {
    let image = harness.render().unwrap();
    let viewport: Viewport = harness.state().state().shown_slide().unwrap().viewport.unwrap();
    let place = (REGION[0] as f64 + x, REGION[1] as f64 + y);
    pixel(&image, viewport.screen_from_slide(viewer(harness), place))
}

#[test]
fn where_a_sentence_looks_lies_over_its_place_also_on_a_turned_slide() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = asked(folder.path(), &script, None);
    answer(&mut harness, &script);
    harness.key_press(Key::M);
    harness.state().commands().view(ViewCommand::TurnTo(std::f64::consts::FRAC_PI_2));
    harness.run_ok();
    until_drawn(&mut harness);
    let plain = at(&mut harness, 40.0, 40.0);
    assert!(alike(plain, QUARTERS[0]), "{plain:?}");

    harness.key_press(Key::N);
    harness.run_ok();
    give_maps(&mut harness, &script);
    harness.get_by_label("Where this sentence looks: −60 points when hidden (random −10)");
    // 60 % of yellow in the upper left of the patch, nothing in its lower right.
    let hot = at(&mut harness, 40.0, 40.0);
    let wanted = [233_u8, 160, 36];
    assert!(hot.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 12), "{hot:?}");
    let cold = at(&mut harness, 184.0, 184.0);
    assert!(alike(cold, QUARTERS[3]), "{cold:?}");

    // The second sentence: not localised, grey because it was asked for.
    harness.key_press(Key::N);
    until(&mut harness, "the other map", |app| {
        app.state().review.chain.drawn.as_ref().is_some_and(|(key, _)| key.index == 1)
    });
    harness.run_ok();
    harness.get_by_label("Not localised: −15 points when hidden (random −10)");
    let grey = at(&mut harness, 40.0, 40.0);
    assert!(grey.iter().zip([233_u8, 169, 189]).all(|(a, b)| a.abs_diff(b) <= 12), "{grey:?}");

    harness.key_press(Key::W);
    harness.run_ok();
    let plain = at(&mut harness, 40.0, 40.0);
    assert!(alike(plain, QUARTERS[0]), "hidden again: {plain:?}");
    assert!(harness.query_by_label_contains("Not localised").is_none());
}
