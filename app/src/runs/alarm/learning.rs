//! Alarms of the figures of training.

use reinpath_training::event::measure;
use serde_json::json;

use super::stretch::{Stretch, mean, median, range};
use super::{Alarm, AlarmKind, Sight};
use crate::runs::told::series;

/// The stage in which the policy writes answers of its own.
const GRPO: &str = "grpo";
/// Nearly every answer is cut off: there is then no conclusion, no reward and no error (TRL's issue 6219).
const CUT_OFF: f32 = 0.9;
const CUT_OFF_STEPS: usize = 5;
/// So many questions with answers that all earn the same, and the advantages of a batch are nearly all 0 (DAPO, section 3.2).
const NO_SPREAD: f32 = 0.8;
/// Steps that a stretch has where nothing else is said: fewer are noise.
const STEPS: usize = 10;
/// Distance to the reference in nats a token: runs that learn stay below 0.1, at 0.5 the texts are others.
const FAR: f32 = 0.5;
/// It also runs away where it leaves its own level: so many times the median of the steps before, and no longer tiny.
const LEAP: f32 = 10.0;
const LEAP_FROM: f32 = 0.05;
const STEPS_BEFORE: usize = 50;
/// Of the stage's first entropy what is left, and nats below which a policy writes one text only (DAPO, figure 2).
const COLLAPSE: f32 = 0.1;
const COLLAPSED: f32 = 0.1;
/// The entropy's growth, and nats above which texts become random.
const EXPLOSION: f32 = 3.0;
const EXPLODED: f32 = 2.0;
/// Steps of either half of the stretch in which rewards and accuracy are compared.
const HALF: usize = 20;
/// The reward's rise as a share of its range, and the accuracy's fall, that go apart.
const RISE: f32 = 0.1;
const FALL: f32 = 0.05;
/// All headings are right and the answers have half of their first length: empty stages earn the format's reward.
const FORMAT: f32 = 0.95;
const SHRUNK: f32 = 0.5;
/// The median loss against the lowest that it had.
const LOSS_RISE: f32 = 1.5;
/// Stretches in which the lowest one is looked for.
const LOOKS: usize = 64;

/// Those of the stage at work.
pub(super) fn alarms(sight: &Sight<'_>) -> impl Iterator<Item = Alarm> {
    let all: [fn(&Sight<'_>) -> Option<Alarm>; 8] = [
        not_a_number,
        all_cut_off,
        no_spread,
        kl_runs_away,
        entropy_collapses,
        entropy_explodes,
        gaming,
        loss_rises,
    ];
    all.into_iter().filter_map(move |look| look(sight))
}

fn not_a_number(sight: &Sight<'_>) -> Option<Alarm> {
    let rows = sight.stage.steps.len();
    let is_wrong = |row: &usize| {
        [series::LOSS, series::GRADIENT_NORM].iter().any(|name| {
            let value = sight.stage.measure(name).and_then(|column| column.get(*row));
            value.is_some_and(|value| !value.is_finite())
        })
    };
    let wrong: Vec<usize> = (rows.saturating_sub(STEPS)..rows).filter(is_wrong).collect();
    let first = *wrong.first()?;
    Some(sight.alarm(
        AlarmKind::NotANumber,
        sight.step_of(first),
        format!("The loss or its gradient was no number in {} of the last {STEPS} steps.", wrong.len()),
        "A learning rate a third as high, or f32 or bf16 in place of f16.",
        sight.slower(3.0),
    ))
}

fn all_cut_off(sight: &Sight<'_>) -> Option<Alarm> {
    let last = sight.last(measure::CUT_OFF, CUT_OFF_STEPS)?;
    if !(last.mean() >= CUT_OFF && last.newest() >= CUT_OFF) {
        return None;
    }
    let most = sight.config.and_then(|config| config.grpo.as_ref()).map(|grpo| grpo.max_tokens);
    let length = most.map_or_else(String::new, |most| format!(" at {most} tokens"));
    Some(sight.alarm(
        AlarmKind::AllCutOff,
        last.since,
        format!("{} of the answers are cut off{length}: they come to no conclusion.", percent(last.mean())),
        "Longer answers: twice as many tokens.",
        most.map(|most| ("grpo.max_tokens".to_owned(), json!(2 * most))),
    ))
}

fn no_spread(sight: &Sight<'_>) -> Option<Alarm> {
    let last = sight.last(measure::NO_SPREAD, STEPS)?;
    if !(last.mean() >= NO_SPREAD && last.newest() >= NO_SPREAD) {
        return None;
    }
    let grpo = sight.config.and_then(|config| config.grpo.as_ref());
    let setting = match grpo {
        Some(grpo) if grpo.resample == 0 => Some(("grpo.resample".to_owned(), json!(3))),
        Some(grpo) if grpo.temperature < 1.0 => Some(("grpo.temperature".to_owned(), json!(1.0))),
        _ => None,
    };
    Some(sight.alarm(
        AlarmKind::NoSpread,
        last.since,
        format!(
            "All answers earn the same in {} of the questions: nothing is learnt from these.",
            percent(last.mean())
        ),
        "Draw other questions in their place, answers at temperature 1, or rows that are neither too easy nor too hard.",
        setting,
    ))
}

fn kl_runs_away(sight: &Sight<'_>) -> Option<Alarm> {
    let last = sight.last(measure::KL, STEPS)?;
    let is_far = last.mean() > FAR && last.newest() > FAR;
    let before = sight.last(measure::KL, STEPS + STEPS_BEFORE);
    let usual = before.map_or(f32::NAN, |before| median(&before.values[..STEPS_BEFORE]));
    let (mean, bound) = (last.mean(), LEAP * usual);
    let leaps = mean > bound && mean > LEAP_FROM && last.newest() > bound && last.newest() > LEAP_FROM;
    if !(is_far || leaps) {
        return None;
    }
    let grown = if leaps { format!(", after {usual:.3} before") } else { String::new() };
    Some(sight.alarm(
        AlarmKind::KlRunsAway,
        last.since,
        format!("The policy runs away from where the stage began: {mean:.2} nats a token{grown}."),
        "Half the learning rate, or twice the weight of the distance (`grpo.kl_weight`).",
        sight.slower(2.0),
    ))
}

/// That of answers which the policy writes itself, at first and now; `None` in the supervised stages, which tell the entropy at the
/// words of their rows: there it falls as these are learnt.
fn entropy(sight: &Sight<'_>) -> Option<(f32, Stretch)> {
    if sight.stage.name != GRPO {
        return None;
    }
    Some((mean(&sight.first(measure::ENTROPY, STEPS)?), sight.last(measure::ENTROPY, STEPS)?))
}

fn entropy_collapses(sight: &Sight<'_>) -> Option<Alarm> {
    let (first, last) = entropy(sight)?;
    let is_low = |value: f32| value < COLLAPSE * first && value < COLLAPSED;
    (is_low(last.mean()) && is_low(last.newest())).then(|| {
        sight.alarm(
            AlarmKind::EntropyCollapses,
            last.since,
            format!(
                "The policy writes nearly one text only: its entropy fell from {first:.2} to {:.3} nats.",
                last.mean()
            ),
            "Let the ratio rise further above 1, so that rare words can become likelier.",
            Some(("grpo.clip_high".to_owned(), json!(0.28))),
        )
    })
}

fn entropy_explodes(sight: &Sight<'_>) -> Option<Alarm> {
    let (first, last) = entropy(sight)?;
    let is_high = |value: f32| value > EXPLOSION * first && value > EXPLODED;
    (is_high(last.mean()) && is_high(last.newest())).then(|| {
        sight.alarm(
            AlarmKind::EntropyExplodes,
            last.since,
            format!(
                "What the policy writes becomes random: its entropy rose from {first:.2} to {:.2} nats.",
                last.mean()
            ),
            "Half the learning rate.",
            sight.slower(2.0),
        )
    })
}

fn gaming(sight: &Sight<'_>) -> Option<Alarm> {
    going_apart(sight).or_else(|| short_answers(sight)).or_else(|| held_out_falls(sight))
}

/// The reward rises while fewer conclusions are right.
fn going_apart(sight: &Sight<'_>) -> Option<Alarm> {
    let halves = |name: &str| -> Option<(f32, f32, usize)> {
        let both = sight.last(name, 2 * HALF)?;
        Some((mean(&both.values[..HALF]), mean(&both.values[HALF..]), both.since))
    };
    let (reward_before, reward, since) = halves(measure::REWARD)?;
    let (accuracy_before, accuracy, _) = halves(measure::ACCURACY)?;
    let (low, high) = range(sight.stage.measure(measure::REWARD)?)?;
    let rises = reward - reward_before >= RISE * (high - low) && reward > reward_before;
    let falls = accuracy_before - accuracy >= FALL;
    (rises && falls).then(|| {
        let (from, to) = (percent(accuracy_before), percent(accuracy));
        gamed(
            sight,
            since,
            format!("The reward rises, to {reward:.2}, while right conclusions fall from {from} to {to}."),
            "Reward a conclusion only when the analysis names it.",
            ("grpo.reward.gaming.supported", json!(true)),
        )
    })
}

/// The headings are right and there is ever less below them.
fn short_answers(sight: &Sight<'_>) -> Option<Alarm> {
    let format = sight.last(measure::REWARD_FORMAT, STEPS)?;
    let (first, last) = (mean(&sight.first(measure::LENGTH, STEPS)?), sight.last(measure::LENGTH, STEPS)?);
    let is_formal = format.mean() >= FORMAT && format.newest() >= FORMAT;
    let is_short = last.mean() < SHRUNK * first && last.newest() < SHRUNK * first;
    (is_formal && is_short).then(|| {
        let now = last.mean();
        gamed(
            sight,
            last.since,
            format!("The headings are right and the answers shrink: from {first:.0} to {now:.0} tokens."),
            "Ask for a fewest number of words of observation and analysis.",
            ("grpo.reward.gaming.minimum_words", json!(5)),
        )
    })
}

/// Held-out rows are surely answered worse than once, while the reward rose.
fn held_out_falls(sight: &Sight<'_>) -> Option<Alarm> {
    let (last, before) = sight.stage.evaluations.split_last()?;
    let best = before.iter().max_by(|a, b| a.figures.accuracy.total_cmp(&b.figures.accuracy))?;
    let [low, _] = best.figures.interval_95;
    let [_, high] = last.figures.interval_95;
    let then = sight.last_before(measure::REWARD, STEPS, sight.rows_until(best.step))?;
    let now = sight.last(measure::REWARD, STEPS)?;
    (high < low && now.mean() > then.mean()).then(|| {
        let (was, is) = (percent(best.figures.accuracy as f32), percent(last.figures.accuracy as f32));
        let since = best.step;
        gamed(
            sight,
            since,
            format!("The reward rises while held-out accuracy fell from {was} at step {since} to {is}."),
            "Reward a conclusion only when the analysis names it, or use the checkpoint of that step.",
            ("grpo.reward.gaming.supported", json!(true)),
        )
    })
}

fn gamed(
    sight: &Sight<'_>,
    since: usize,
    sentence: String,
    cure: &str,
    (key, value): (&str, serde_json::Value),
) -> Alarm {
    sight.alarm(AlarmKind::Gaming, since, sentence, cure, Some((key.to_owned(), value)))
}

fn loss_rises(sight: &Sight<'_>) -> Option<Alarm> {
    if sight.stage.name == GRPO {
        // Its loss is of no meaning by itself: advantages have the mean 0.
        return None;
    }
    let last = sight.last(series::LOSS, HALF)?;
    let before = sight.stage.steps.len().checked_sub(2 * HALF)?;
    let lowest = (0..LOOKS)
        .filter_map(|look| sight.last_before(series::LOSS, HALF, HALF + before * look / (LOOKS - 1)))
        .map(|stretch| median(&stretch.values))
        .fold(f32::INFINITY, f32::min);
    let bound = LOSS_RISE * lowest;
    let now = median(&last.values);
    (lowest > 0.0 && now > bound && last.newest() > bound).then(|| {
        sight.alarm(
            AlarmKind::LossRises,
            last.since,
            format!("The loss rises: {now:.3} in the middle of the last {HALF} steps, after {lowest:.3}."),
            "Half the learning rate.",
            sight.slower(2.0),
        )
    })
}

/// `83 %`
fn percent(share: f32) -> String {
    format!("{:.0} %", 100.0 * share)
}
