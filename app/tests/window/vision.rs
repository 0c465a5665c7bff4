//! A model that takes patches of any size: its pixel limit with what it costs, what is said of a patch beyond it, stages that it does not
//! write, and the text as it was written.

use std::path::Path;
use std::sync::Arc;

use egui::{Key, Role};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use reinpath::window::App;
use reinpath::window::command::{AskCommand, PatchCommand};
use reinpath::window::event::Event;
use reinpath::window::patches::PatchPicture;
use reinpath::window::state::ModelInfo;
use reinpath_model::event::{AskEvent, Finished, Stop};
use reinpath_model::stage::AnswerStage;

use super::support::{Script, ask_about_the_middle, draw_slide, pass_notice, until, window};

/// A window with a slide of unknown scale and such a model.
fn opened(folder: &Path, script: &Script) -> Harness<'static, App> {
    let mut harness = window(vec![draw_slide(folder)], Vec::new(), script);
    pass_notice(&mut harness);
    script.tell(Event::Package(Ok(Arc::new(ModelInfo::scripted_vision("vision")))));
    until(&mut harness, "the package", |app| app.state().max_pixels().is_some());
    harness
}

/// The size of the picture of each patch, as far as they were read.
fn pictures(app: &App) -> Vec<[usize; 2]> {
    let patches = &app.state().shown_slide().unwrap().patches;
    let size = |picture: &PatchPicture| match picture {
        PatchPicture::Ready(look) => Some(look.given.texture.size()),
        PatchPicture::Failed(_) => None,
    };
    patches.places().iter().filter_map(|place| patches.picture(place.id).and_then(size)).collect()
}

#[test]
fn the_limit_says_what_it_costs_and_what_it_takes_from_a_patch() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = opened(folder.path(), &script);
    harness.get_by_label("At most 1,280 tokens a patch.");

    // An elongated patch is given whole: no square is cut of it, and none is offered.
    harness.state().commands().patch(PatchCommand::DrawRectangle((100.0, 100.0), (548.0, 324.0)));
    until(&mut harness, "the patch", |app| pictures(app) == [[448, 224]]);
    harness.run_ok();
    harness.get_by_label("At most 1,280 tokens a patch; this patch: 128.");
    harness.get_by_label("128 tokens");
    assert!(harness.query_all_by_label_contains("Split into").next().is_none());
    assert!(harness.query_all_by_label_contains("is given to the model in").next().is_none());
    harness.state().commands().patch(PatchCommand::DrawRectangle((700.0, 100.0), (924.0, 324.0)));
    until(&mut harness, "the other patch", |app| pictures(app) == [[448, 224], [224, 224]]);
    harness.run_ok();
    harness.get_by_label("At most 1,280 tokens a patch; these 2 patches: 192.");

    harness.state().commands().ask(AskCommand::MaxPixels(64 * 28 * 28));
    until(&mut harness, "smaller pictures", |app| pictures(app) == [[308, 140], [224, 224]]);
    harness.run_ok();
    harness.get_by_label("At most 64 tokens a patch; these 2 patches: 119.");
    harness.get_by_label_contains("is given to the model in 308 × 140 px");
    harness.get_by_label("Split into 2");
}

#[test]
fn the_limit_is_reached_and_changed_by_keys() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path(), &Script::default());
    harness.get_by_role_and_label(Role::Slider, "Most tokens a patch").focus();
    harness.step();
    harness.step();
    harness.key_press(Key::ArrowRight);
    until(&mut harness, "another limit", |app| app.state().max_pixels() == Some(1281 * 28 * 28));
    harness.run_ok();
    harness.get_by_label("At most 1,281 tokens a patch.");
}

#[test]
fn stages_that_were_not_written_are_not_shown_and_the_text_is_seen_as_it_was_written() {
    const RAW: &str =
        "<think>\nTheir nuclei are large.\n</think>\n<answer>An adenocarcinoma is likely.</answer>";
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = opened(folder.path(), &script);
    ask_about_the_middle(&mut harness);
    assert_eq!(script.orders()[0].how.max_pixels, Some(1_003_520));
    script.write(AnswerStage::Analysis, "Their nuclei are large.");
    script.write(AnswerStage::Conclusion, "An adenocarcinoma is likely.");
    let whole = Finished { stop: Stop::End, raw: RAW.to_owned(), ..Finished::cancelled_before_it_began() };
    script.say(AskEvent::Finished(Finished { format_ok: true, ..whole }));
    until(&mut harness, "the end", |app| !app.state().is_asking());
    harness.run_ok();
    harness.get_by_label("Analysis, folded");
    harness.get_by_label("Conclusion, open");
    assert!(harness.query_all_by_label_contains("Observation,").next().is_none());

    harness.get_by_label("As written").click_accesskit();
    harness.run_ok();
    harness.get_by_label(RAW);
    assert!(harness.query_by_label("Conclusion, open").is_none());
    harness.get_by_label("As written").click_accesskit();
    harness.run_ok();
    harness.get_by_label("Conclusion, open");
    assert!(harness.query_by_label(RAW).is_none());
}

#[test]
fn what_is_missing_of_a_text_as_it_was_written_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = opened(folder.path(), &script);
    ask_about_the_middle(&mut harness);
    script.write(AnswerStage::Analysis, "Their nuclei are large.");
    until(&mut harness, "the words", |app| {
        app.state().answer.as_ref().is_some_and(|answer| answer.text.analysis == "Their nuclei are large.")
    });
    harness.get_by_label("As written").click_accesskit();
    harness.step();
    harness.step();
    harness.get_by_label("Their nuclei are large.");
    harness.get_by_label("Headings and tags are shown once the answer has ended.");
    // As of a worker that tells nothing of them.
    script.say(AskEvent::Finished(Finished::cancelled_before_it_began()));
    until(&mut harness, "the end", |app| !app.state().is_asking());
    harness.run_ok();
    harness.get_by_label("Headings and tags were not kept with this answer.");
}

#[test]
fn an_answer_of_tags_alone_can_be_seen() {
    const RAW: &str = "<think></think><answer></answer>";
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut harness = opened(folder.path(), &script);
    ask_about_the_middle(&mut harness);
    let whole = Finished { stop: Stop::End, raw: RAW.to_owned(), ..Finished::cancelled_before_it_began() };
    script.say(AskEvent::Finished(whole));
    until(&mut harness, "the end", |app| !app.state().is_asking());
    harness.run_ok();
    harness.get_by_label("The model did not keep to its stages.");
    harness.get_by_label("As written").click_accesskit();
    harness.run_ok();
    harness.get_by_label(RAW);
}
