//! Wishes and news in, state and effects out.

use std::sync::Arc;

use super::*;

fn key(name: &str) -> RunKey {
    RunKey::new(format!("/runs/{name}").into())
}

/// A window that shows the run `a`.
fn state(listed: Listed) -> AppState {
    let stages =
        ["alignment", "grpo"].map(|name| StageTold { name: name.to_owned(), ..StageTold::default() });
    let mut state = AppState::default();
    state.train.runs.shown = Some(key("a"));
    state.train.runs.told.insert(key("a"), Arc::new(example::told(listed, stages.to_vec())));
    state
}

fn stopped() -> AppState {
    state(Listed::Known(RunState::Stopped))
}

fn reads(effects: &[Effect]) -> Vec<(&RunKey, &str)> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Train(TrainEffect::Chart(ChartEffect::ReadLog { run, search })) => (run, search.as_str()),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn page(text: &str) -> LogPage {
    let line =
        crate::runs::log::LogLine { text: text.to_owned(), level: crate::runs::log::LogLevel::default() };
    LogPage { lines: vec![line], ..LogPage::default() }
}

fn log(name: &str, search: &str, text: &str) -> ChartEvent {
    ChartEvent::Log { run: key(name), search: search.to_owned(), page: page(text) }
}

#[test]
fn how_plots_are_drawn_is_remembered_but_not_while_the_slider_moves() {
    let mut state = stopped();
    assert!(command(&mut state, ChartCommand::SmoothWhileDragging(20)).is_empty());
    assert_eq!(state.settings.chart.smoothing, 20);
    for wish in [
        ChartCommand::Smoothing(255),
        ChartCommand::Log(true),
        ChartCommand::Hide("kl".to_owned(), true),
        ChartCommand::Hide("kl".to_owned(), true),
        ChartCommand::Hide("loss".to_owned(), true),
        ChartCommand::Hide("loss".to_owned(), false),
    ] {
        let effects = command(&mut state, wish);
        assert_eq!(effects, [Effect::SaveSettings(state.settings.clone())]);
    }
    let chart = &state.settings.chart;
    assert_eq!((chart.smoothing, chart.is_logarithmic), (99, true));
    assert_eq!(chart.hidden, ["kl"]);
}

#[test]
fn the_stage_at_work_is_shown_until_another_is_chosen() {
    let mut state = stopped();
    let told = Arc::clone(state.train.runs.shown_run().unwrap());
    let shown = |state: &AppState| state.train.chart.stage_of(&told).unwrap().name.clone();
    assert_eq!(shown(&state), "grpo");
    command(&mut state, ChartCommand::Stage(Some("alignment".to_owned())));
    assert_eq!(shown(&state), "alignment");
    command(&mut state, ChartCommand::Stage(Some("cold_start".to_owned())));
    assert_eq!(shown(&state), "grpo", "a stage that the run does not have is none");
    super::shown(&mut state);
    assert_eq!(state.train.chart.stage, None, "another run begins with its stage at work");
}

#[test]
fn the_log_is_read_while_it_is_shown_one_page_at_a_time() {
    let mut state = stopped();
    assert!(told(&mut state, &key("a")).is_empty(), "it is not in view");
    let a = key("a");
    assert_eq!(reads(&command(&mut state, ChartCommand::View(ChartView::Log))), [(&a, "")]);
    assert!(told(&mut state, &key("a")).is_empty() && told(&mut state, &key("a")).is_empty());
    assert_eq!(reads(&event(&mut state, log("a", "", "one"))), [(&a, "")], "it has told more since");
    assert_eq!(state.train.chart.log, page("one"));
    assert!(event(&mut state, log("a", "", "two")).is_empty());
    assert_eq!(reads(&told(&mut state, &key("a"))), [(&a, "")]);
    assert!(told(&mut state, &key("b")).is_empty(), "another run has told more");
}

#[test]
fn what_was_searched_for_before_is_not_shown_as_what_is_searched_for_now() {
    let mut state = stopped();
    let a = key("a");
    command(&mut state, ChartCommand::View(ChartView::Log));
    assert_eq!(reads(&command(&mut state, ChartCommand::SearchLog("nan".to_owned()))), [(&a, "nan")]);
    assert_eq!(reads(&event(&mut state, log("a", "", "old"))), [(&a, "nan")]);
    assert!(state.train.chart.log.lines.is_empty());
    assert!(event(&mut state, log("a", "nan", "new")).is_empty());
    assert_eq!(state.train.chart.log, page("new"));
    let failed =
        ChartEvent::LogFailed { run: key("a"), search: "nan".to_owned(), sentence: "It is gone".to_owned() };
    event(&mut state, failed);
    assert_eq!(state.train.chart.log_fault.as_deref(), Some("It is gone"));
}

#[test]
fn another_run_in_view_has_its_own_log() {
    let mut state = stopped();
    command(&mut state, ChartCommand::View(ChartView::Log));
    event(&mut state, log("a", "", "of a"));
    state.train.runs.shown = Some(key("b"));
    let b = key("b");
    assert_eq!(reads(&shown(&mut state)), [(&b, "")]);
    assert!(state.train.chart.log.lines.is_empty());
    event(&mut state, log("a", "", "late"));
    assert!(state.train.chart.log.lines.is_empty(), "it is the log of the run before");
}

#[test]
fn the_last_lines_are_read_once_of_a_run_that_ended_badly() {
    let wish = ChartEffect::ReadLastLines { run: key("a"), changed: 7 };
    let failed = || Listed::Known(RunState::Failed("no".to_owned()));
    for listed in [failed(), Listed::Known(RunState::Interrupted), Listed::NeverBegan] {
        let mut state = state(listed);
        assert_eq!(told(&mut state, &key("a")), [effect(wish.clone())]);
    }
    assert!(told(&mut stopped(), &key("a")).is_empty());
    let mut state = state(failed());
    let lines = vec!["the end".to_owned()];
    event(&mut state, ChartEvent::LastLines { run: key("a"), changed: 7, lines: lines.clone() });
    assert!(told(&mut state, &key("a")).is_empty());
    assert_eq!(state.train.chart.lines_of(&key("a")), lines);
    assert!(state.train.chart.lines_of(&key("b")).is_empty());
}

#[test]
fn an_export_is_told_about_from_its_start_to_its_end() {
    let mut state = stopped();
    let wish = ChartCommand::SaveCsvTo("/tmp/a.csv".into());
    let expected = ChartEffect::SaveCsvTo { run: key("a"), file: "/tmp/a.csv".into() };
    assert_eq!(command(&mut state, wish), [effect(expected)]);
    assert_eq!(command(&mut state, ChartCommand::SaveTensorBoard).len(), 1);
    assert_eq!(state.train.chart.saving, 2);
    event(&mut state, ChartEvent::NotSaved);
    event(&mut state, ChartEvent::Saved(Ok("/tmp/a.csv".into())));
    assert_eq!(
        (state.train.chart.saving, state.train.chart.saved.as_deref()),
        (0, Some("/tmp/a.csv".as_ref()))
    );
    event(&mut state, ChartEvent::Saved(Err("The disk is full".to_owned())));
    assert_eq!(state.problems[0].sentence, "The disk is full");
    assert!(command(&mut AppState::default(), ChartCommand::SaveCsv).is_empty(), "no run is shown");
}
