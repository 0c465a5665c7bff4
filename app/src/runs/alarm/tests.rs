//! Each alarm at its threshold and just below it, and that it goes once its reason is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use reinpath_model::event::Stop;
use reinpath_training::event::{RowFigures, measure};
use reinpath_training::machine::{GpuSample, MachineSample};
use reinpath_training::rollout_record::AnswerRecord;
use reinpath_training::run_folder::{Holder, RunState};

use super::*;
use crate::runs::RunKey;
use crate::runs::told::{EvaluationTold, Listed, series};

const NOW: u64 = 1_000_000;

const CONFIG: &str = r#"
name = "a"
seed = 1
base = "b"
[compute]
device = "cuda:1"
[cold_start]
data = [{ folder = "d" }]
optimisation = { learning_rate = 2e-4, micro_batch = 2 }
[grpo]
data = [{ folder = "d" }]
optimisation = { learning_rate = 1e-5, micro_batch = 4 }
max_tokens = 300
"#;

/// A running run in a stage with these figures, which all have one length.
fn told(stage: &str, measures: &[(&str, Vec<f32>)]) -> RunTold {
    let steps = measures.first().map_or(0, |(_, values)| values.len());
    let columns =
        measures.iter().map(|(name, values)| ((*name).to_owned(), values.iter().copied().collect()));
    let stage = StageTold {
        name: stage.to_owned(),
        planned: steps,
        steps: (1..=steps).map(|step| step as f32).collect(),
        measures: columns.collect::<BTreeMap<_, _>>(),
        evaluations: Vec::new(),
    };
    RunTold {
        version: 1,
        listed: Listed::Known(RunState::Running(Holder::default())),
        config: Some(Arc::new(toml::from_str(CONFIG).unwrap())),
        stages: vec![stage],
        changed: NOW,
        ..RunTold::new(RunKey::new("/runs/a".into()))
    }
}

fn kinds(told: &RunTold) -> Vec<AlarmKind> {
    alarms(told, &[], NOW).into_iter().map(|alarm| alarm.kind).collect()
}

fn only(told: &RunTold) -> Alarm {
    let mut found = alarms(told, &[], NOW);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn constant(value: f32, count: usize) -> Vec<f32> {
    vec![value; count]
}

/// A stretch after another.
fn then(before: (f32, usize), after: (f32, usize)) -> Vec<f32> {
    [constant(before.0, before.1), constant(after.0, after.1)].concat()
}

#[test]
fn a_run_without_figures_and_one_that_learns_raise_no_alarm() {
    assert!(kinds(&told("grpo", &[])).is_empty());
    let falling: Vec<f32> = (0..200).map(|step| 3.0 - 0.01 * step as f32).collect();
    assert!(kinds(&told("cold_start", &[(series::LOSS, falling)])).is_empty());
    let mut none = told("grpo", &[]);
    none.stages.clear();
    assert!(kinds(&none).is_empty());
}

#[test]
fn answers_that_are_all_cut_off_are_told_with_a_length_to_try() {
    let alarm = only(&told("grpo", &[(measure::CUT_OFF, then((0.1, 20), (0.9, 5)))]));
    assert_eq!((alarm.kind, alarm.since), (AlarmKind::AllCutOff, 21));
    assert!(
        alarm.sentence.starts_with("90 % of the answers are cut off at 300 tokens"),
        "{}",
        alarm.sentence
    );
    assert_eq!(alarm.setting, Some(("grpo.max_tokens".to_owned(), json!(600))));
    assert!(kinds(&told("grpo", &[(measure::CUT_OFF, constant(0.89, 20))])).is_empty());
    assert!(kinds(&told("grpo", &[(measure::CUT_OFF, constant(1.0, 4))])).is_empty(), "too few steps");
    let over = then((1.0, 20), (0.5, 1));
    assert!(
        kinds(&told("grpo", &[(measure::CUT_OFF, over)])).is_empty(),
        "the newest step has answers again"
    );
}

#[test]
fn measures_that_only_some_steps_have_count_with_these() {
    let every_other: Vec<f32> = (0..20).map(|step| if step % 2 == 0 { 1.0 } else { f32::NAN }).collect();
    let alarm = only(&told("grpo", &[(measure::CUT_OFF, every_other)]));
    assert_eq!((alarm.kind, alarm.since), (AlarmKind::AllCutOff, 11));
}

#[test]
fn rewards_without_a_spread_are_told() {
    let alarm = only(&told("grpo", &[(measure::NO_SPREAD, constant(0.8, 10))]));
    assert_eq!(alarm.setting, Some(("grpo.resample".to_owned(), json!(3))));
    assert!(kinds(&told("grpo", &[(measure::NO_SPREAD, constant(0.79, 10))])).is_empty());
}

#[test]
fn a_distance_that_runs_away_is_told_by_its_size_or_by_its_leap() {
    let far = only(&told("grpo", &[(measure::KL, constant(0.51, 10))]));
    assert_eq!(far.kind, AlarmKind::KlRunsAway);
    assert_eq!(far.setting, Some(("grpo.optimisation.learning_rate".to_owned(), json!(5e-6))));
    assert!(kinds(&told("grpo", &[(measure::KL, constant(0.49, 10))])).is_empty());
    let leap = only(&told("grpo", &[(measure::KL, then((0.008, 50), (0.09, 10)))]));
    assert!(leap.sentence.contains("0.09 nats a token, after 0.008 before"), "{}", leap.sentence);
    assert!(kinds(&told("grpo", &[(measure::KL, then((0.01, 50), (0.09, 10)))])).is_empty(), "nine times");
    assert!(kinds(&told("grpo", &[(measure::KL, then((0.001, 50), (0.04, 10)))])).is_empty(), "still tiny");
}

#[test]
fn an_entropy_that_collapses_or_explodes_is_told() {
    let low = only(&told("grpo", &[(measure::ENTROPY, then((0.95, 10), (0.09, 10)))]));
    assert_eq!(low.kind, AlarmKind::EntropyCollapses);
    assert_eq!(low.setting, Some(("grpo.clip_high".to_owned(), json!(0.28))));
    assert!(kinds(&told("grpo", &[(measure::ENTROPY, then((0.95, 10), (0.097, 10)))])).is_empty());
    assert!(kinds(&told("grpo", &[(measure::ENTROPY, then((0.5, 10), (0.06, 10)))])).is_empty(), "an eighth");
    let high = only(&told("grpo", &[(measure::ENTROPY, then((0.7, 10), (2.2, 10)))]));
    assert_eq!(high.kind, AlarmKind::EntropyExplodes);
    assert!(kinds(&told("grpo", &[(measure::ENTROPY, then((0.7, 10), (2.05, 10)))])).is_empty());
    assert!(
        kinds(&told("grpo", &[(measure::ENTROPY, constant(9.0, 19))])).is_empty(),
        "nothing to compare with"
    );
}

#[test]
fn the_entropy_at_given_words_raises_no_alarm() {
    for (first, last) in [(0.95, 0.01), (0.7, 5.0)] {
        let entropy = then((first, 10), (last, 10));
        assert_eq!(kinds(&told("grpo", &[(measure::ENTROPY, entropy.clone())])).len(), 1);
        for stage in ["alignment", "cold_start"] {
            assert!(
                kinds(&told(stage, &[(measure::ENTROPY, entropy.clone())])).is_empty(),
                "{stage}: {last}"
            );
        }
    }
}

fn apart(reward: f32, accuracy: f32) -> RunTold {
    told(
        "grpo",
        &[
            (measure::REWARD, [vec![0.0, 2.0], constant(1.0, 20), constant(reward, 20)].concat()),
            (measure::ACCURACY, then((0.6, 22), (accuracy, 20))),
        ],
    )
}

#[test]
fn a_reward_that_rises_while_fewer_conclusions_are_right_is_gamed() {
    let alarm = only(&apart(1.21, 0.54));
    assert_eq!((alarm.kind, alarm.since), (AlarmKind::Gaming, 3));
    assert_eq!(alarm.setting, Some(("grpo.reward.gaming.supported".to_owned(), json!(true))));
    assert!(kinds(&apart(1.19, 0.54)).is_empty(), "a tenth of the range from 0 to 2 is not reached");
    assert!(kinds(&apart(1.21, 0.56)).is_empty());
}

#[test]
fn answers_of_headings_alone_are_gamed() {
    let of = |format: f32, length: f32| {
        told(
            "grpo",
            &[
                (measure::REWARD_FORMAT, constant(format, 20)),
                (measure::LENGTH, then((100.0, 10), (length, 10))),
            ],
        )
    };
    let alarm = only(&of(0.96, 49.0));
    assert_eq!(alarm.setting, Some(("grpo.reward.gaming.minimum_words".to_owned(), json!(5))));
    assert!(kinds(&of(0.96, 51.0)).is_empty() && kinds(&of(0.94, 49.0)).is_empty());
}

#[test]
fn held_out_accuracy_that_surely_fell_while_the_reward_rose_is_gamed() {
    let evaluation = |step: usize, accuracy: f64, interval_95: [f64; 2]| EvaluationTold {
        step,
        figures: RowFigures { n: 100, accuracy, interval_95, ..RowFigures::default() },
    };
    let of = |high: f64, reward: f32| {
        let mut told = told("grpo", &[(measure::REWARD, then((1.0, 10), (reward, 10)))]);
        told.stages[0].evaluations = vec![
            evaluation(5, 0.6, [0.5, 0.7]),
            evaluation(10, 0.7, [0.62, 0.78]),
            evaluation(20, 0.5, [0.4, high]),
        ];
        told
    };
    let alarm = only(&of(0.61, 1.5));
    assert_eq!((alarm.kind, alarm.since), (AlarmKind::Gaming, 10));
    assert!(alarm.sentence.contains("from 70 % at step 10 to 50 %"), "{}", alarm.sentence);
    assert!(kinds(&of(0.63, 1.5)).is_empty(), "the intervals overlap");
    assert!(kinds(&of(0.61, 1.0)).is_empty(), "the reward did not rise");
}

#[test]
fn a_loss_that_is_no_number_is_told_until_it_is_ten_steps_ago() {
    let of = |after: usize| {
        told(
            "cold_start",
            &[(series::LOSS, [then((1.0, 5), (f32::INFINITY, 1)), constant(1.0, after)].concat())],
        )
    };
    let alarm = only(&of(9));
    assert_eq!((alarm.kind, alarm.since), (AlarmKind::NotANumber, 6));
    assert_eq!(alarm.setting, Some(("cold_start.optimisation.learning_rate".to_owned(), json!(6.7e-5))));
    assert!(kinds(&of(10)).is_empty());
    let missing = told("cold_start", &[(series::LOSS, constant(f32::NAN, 10))]);
    assert!(kinds(&missing).is_empty(), "what was not measured is not wrong");
}

#[test]
fn a_loss_that_rises_is_told_of_the_supervised_stages() {
    let of = |stage: &str, last: f32| {
        told(stage, &[(series::LOSS, [constant(2.0, 30), constant(1.0, 30), constant(last, 20)].concat())])
    };
    let alarm = only(&of("cold_start", 1.51));
    assert_eq!((alarm.kind, alarm.since), (AlarmKind::LossRises, 61));
    assert!(kinds(&of("cold_start", 1.49)).is_empty());
    assert!(kinds(&of("grpo", 9.0)).is_empty());
    assert!(
        kinds(&told("cold_start", &[(series::LOSS, then((1.0, 19), (9.0, 20)))])).is_empty(),
        "too short"
    );
}

fn record(text: &str, answers: usize) -> RolloutRecord {
    let answer = |text: &str| AnswerRecord {
        text: text.to_owned(),
        tokens: 1,
        stop: Stop::End,
        logprob: 0.0,
        rewards: BTreeMap::new(),
        reward: 0.0,
        advantage: 0.0,
        is_right: false,
    };
    RolloutRecord {
        stage: "grpo".to_owned(),
        step: 7,
        answers: (0..8)
            .map(|at| answer(if at < answers { text } else { "Glands lie back to back." }))
            .collect(),
        ..RolloutRecord::default()
    }
}

#[test]
fn texts_that_degenerate_are_told() {
    let told = told("grpo", &[(measure::REWARD, constant(1.0, 7))]);
    let of = |text: &str, answers: usize| alarms(&told, &[record(text, answers)], NOW);
    let run = "a ".repeat(20);
    let found = of(&run, 3);
    let [alarm] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((alarm.kind, alarm.since), (AlarmKind::Degenerate, 7));
    assert!(alarm.sentence.starts_with("38 % of the answers of step 7"), "{}", alarm.sentence);
    assert!(of(&run, 2).is_empty(), "a quarter may be");
    assert!(of(&"-".repeat(19), 8).is_empty());
    assert_eq!(of(&"very large cells ".repeat(10), 8).len(), 1, "thirty words, three of them different");
    assert!(of(&"very large cells ".repeat(9), 8).is_empty(), "fewer than thirty");
    let other = RolloutRecord { stage: "cold_start".to_owned(), ..record(&run, 8) };
    assert!(alarms(&told, &[other], NOW).is_empty(), "of another stage");
}

#[test]
fn a_run_that_says_nothing_for_long_is_told() {
    let seconds: Vec<f32> = (0..40).map(|step| 10.0 * step as f32).collect();
    let mut told = told("grpo", &[(series::SECS, seconds)]);
    let silent = |told: &RunTold, secs: u64| !alarms(told, &[], told.changed + secs).is_empty();
    assert!(silent(&told, 201) && !silent(&told, 200), "twenty steps of 10 s");
    let alarm = alarms(&told, &[], NOW + 240).remove(0);
    assert_eq!(alarm.kind, AlarmKind::Silent);
    assert!(
        alarm.sentence.contains("nothing for 4 min, and a step takes about 10.0 s"),
        "{}",
        alarm.sentence
    );
    told.waits_for = Some("/runs/b".into());
    assert!(!silent(&told, 500), "it waits for another");
    told.waits_for = None;
    told.stages.clear();
    assert!(silent(&told, 121) && !silent(&told, 120), "before the first step");
    told.listed = Listed::Known(RunState::Stopped);
    assert!(!silent(&told, 500));
}

#[test]
fn a_gpu_that_has_nothing_to_do_is_told() {
    let of = |load: f32, count: u64| {
        let mut told = told("cold_start", &[(series::LOSS, constant(1.0, 5))]);
        let gpu = |index, load| GpuSample { index, load: Some(load), ..GpuSample::default() };
        let sample = |at| MachineSample {
            at: NOW - 5 * (count - at),
            gpus: vec![gpu(0, 1.0), gpu(1, load)],
            ..MachineSample::default()
        };
        told.machine = Arc::new((1..=count).map(sample).collect());
        told
    };
    let alarm = only(&of(0.09, 12));
    assert_eq!(alarm.kind, AlarmKind::GpuIdle);
    assert_eq!(alarm.setting, Some(("cold_start.optimisation.micro_batch".to_owned(), json!(4))));
    assert!(alarm.sentence.starts_with("cuda:1 computed in 9 %"), "{}", alarm.sentence);
    assert!(kinds(&of(0.1, 12)).is_empty());
    assert!(kinds(&of(0.0, 9)).is_empty(), "too few looks");
    let mut ended = of(0.0, 12);
    ended.listed = Listed::Known(RunState::Stopped);
    assert!(kinds(&ended).is_empty());
}

#[test]
fn a_disk_that_is_nearly_full_is_told_while_the_run_goes_on() {
    let mut told = told("grpo", &[(measure::REWARD, constant(1.0, 7))]);
    let alarm = disk_full(&told, 1_999_999_999).unwrap();
    assert_eq!((alarm.kind, alarm.since), (AlarmKind::DiskFull, 7));
    assert_eq!(alarm.setting, Some(("checkpoints.keep_last".to_owned(), json!(1))));
    assert_eq!(disk_full(&told, 2_000_000_000), None);
    told.listed = Listed::Known(RunState::Finished("/runs/a/package".into()));
    assert_eq!(disk_full(&told, 0), None);
}

#[test]
fn the_worst_comes_first() {
    let both = told(
        "grpo",
        &[
            (measure::NO_SPREAD, constant(1.0, 10)),
            (measure::CUT_OFF, constant(1.0, 10)),
            (series::LOSS, constant(f32::INFINITY, 10)),
        ],
    );
    assert_eq!(kinds(&both), [AlarmKind::NotANumber, AlarmKind::AllCutOff, AlarmKind::NoSpread]);
}
