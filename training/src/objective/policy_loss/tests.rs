//! The loss beside TRL's formula written with candle's operations, and what must hold of any loss.

use candle_core::{Device, Result, Tensor, Var};
use reinpath_model::event::Stop;

use super::*;

/// Tokens of three answers.
const ANSWER_OF: [usize; 6] = [0, 0, 0, 1, 2, 2];
const LENGTHS: [usize; 3] = [3, 1, 2];
const ADVANTAGES: [f64; 3] = [1.2, -0.7, 0.4];
const NEW: [f32; 6] = [-1.0, -0.4, -2.0, -0.9, -1.5, -0.2];
/// Far enough from the new ones for some ratios of each level to be held, on either side.
const OLD: [f32; 6] = [-1.5, -0.45, -1.9, -0.5, -1.45, -0.25];
const REFERENCE: [f32; 6] = [-1.1, -0.6, -1.7, -0.5, -1.6, -0.3];
const ALL: [bool; 3] = [true; 3];
/// Tokens of one answer.
const FIRST: [usize; 3] = [0; 3];

fn config(more: &str) -> GrpoConfig {
    toml::from_str(&format!("data = []\noptimisation = {{}}\nmax_tokens = 5\n{more}")).unwrap()
}

fn answers() -> Answers<'static> {
    Answers {
        old: &OLD,
        reference: Some(&REFERENCE),
        answer_of: &ANSWER_OF,
        advantages: &ADVANTAGES,
        kept: &ALL,
    }
}

/// Loss, gradient and measures.
fn computed(
    new: &[f32],
    answers: &Answers<'_>,
    totals: Totals,
    config: &GrpoConfig,
) -> Result<(f32, Vec<f32>, LossMeasures)> {
    let new = Var::from_tensor(&Tensor::new(new, &Device::Cpu)?)?;
    let (loss, measures) = policy_loss(&new, answers, totals, config)?;
    let store = loss.backward()?;
    Ok((loss.to_scalar()?, store.get(&new).unwrap().to_vec1()?, measures))
}

/// TRL's `_compute_loss`, answer by answer, with candle's gradients.
fn by_primitives(config: &GrpoConfig) -> Result<(f32, Vec<f32>)> {
    let new = Var::from_tensor(&Tensor::new(&NEW, &Device::Cpu)?)?;
    let old = Tensor::new(&OLD, &Device::Cpu)?;
    let reference = Tensor::new(&REFERENCE, &Device::Cpu)?;
    let mut loss = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
    let mut start = 0;
    for (&length, advantage) in LENGTHS.iter().zip(ADVANTAGES) {
        let part = |all: &Tensor| all.narrow(0, start, length);
        let log_ratio = (part(&new)? - part(&old)?)?;
        let log_ratio = match config.ratio {
            RatioLevel::Token => log_ratio,
            RatioLevel::Sequence => log_ratio.sum_keepdim(0)?.broadcast_as(length)?,
            RatioLevel::SequenceMean => log_ratio.mean_keepdim(0)?.broadcast_as(length)?,
        };
        let free = log_ratio.exp()?;
        let held = free.clamp(1.0 - config.clip_low, 1.0 + config.clip_high)?;
        let policy = (free * advantage)?.minimum(&(held * advantage)?)?.neg()?;
        let moved = (part(&reference)? - part(&new)?)?;
        let kl = match config.kl {
            KlEstimator::K1 => moved.neg()?,
            KlEstimator::K2 => (moved.sqr()? * 0.5)?,
            KlEstimator::K3 => ((moved.exp()? - &moved)? - 1.0)?,
        };
        let tokens = (policy + (kl * config.kl_weight)?)?.sum_all()?;
        let divisor = match config.aggregation {
            Aggregation::Grpo => (3 * length) as f64,
            Aggregation::Bnpo | Aggregation::Dapo => 6.0,
            Aggregation::DrGrpo => 15.0,
        };
        loss = (loss + (tokens / divisor)?)?;
        start += length;
    }
    let store = loss.backward()?;
    Ok((loss.to_scalar()?, store.get(&new).unwrap().to_vec1()?))
}

fn close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-5 * (1.0 + want.abs()), "{what}: {got} against {want}");
    }
}

#[test]
fn value_and_gradient_are_those_of_the_formula_for_every_choice() -> Result<()> {
    let totals = Totals::new(&LENGTHS, &ALL);
    let mut clipped = 0;
    for ratio in ["token", "sequence", "sequence_mean"] {
        for aggregation in ["grpo", "bnpo", "dr_grpo", "dapo"] {
            for kl in ["k1", "k2", "k3"] {
                let choice = format!(
                    "ratio = '{ratio}'\naggregation = '{aggregation}'\nkl = '{kl}'\nclip_high = 0.28\nkl_weight = 0.3"
                );
                let config = config(&choice);
                let (loss, gradient, measures) = computed(&NEW, &answers(), totals, &config)?;
                let (want, want_gradient) = by_primitives(&config)?;
                close(&[loss], &[want], &choice);
                close(&gradient, &want_gradient, &choice);
                assert_eq!(measures.ratios, if ratio == "token" { 6 } else { 3 });
                clipped += measures.clipped;
            }
        }
    }
    assert!(clipped > 0, "some ratios are held, so that the bounds are tested");
    Ok(())
}

#[test]
fn micro_batches_add_up_to_the_whole_batch() -> Result<()> {
    let totals = Totals::new(&LENGTHS, &ALL);
    for aggregation in ["grpo", "dr_grpo", "dapo"] {
        let config = config(&format!("aggregation = '{aggregation}'"));
        let (whole, gradient, measures) = computed(&NEW, &answers(), totals, &config)?;
        let (mut sum, mut gradients, mut added) = (0.0, Vec::new(), LossMeasures::default());
        let mut start = 0;
        for (answer, &length) in LENGTHS.iter().enumerate() {
            let tokens = start..start + length;
            start += length;
            let part = Answers {
                old: &OLD[tokens.clone()],
                reference: Some(&REFERENCE[tokens.clone()]),
                answer_of: &FIRST[..length],
                advantages: &ADVANTAGES[answer..=answer],
                kept: &[true],
            };
            let (loss, gradient, measures) = computed(&NEW[tokens], &part, totals, &config)?;
            sum += loss;
            gradients.extend(gradient);
            added += measures;
        }
        close(&[sum], &[whole], aggregation);
        close(&gradients, &gradient, aggregation);
        assert_eq!((added.tokens, added.ratios), (measures.tokens, measures.ratios));
        assert!((added.kl().unwrap() - measures.kl().unwrap()).abs() < 1e-12);
    }
    Ok(())
}

#[test]
fn equal_micro_batches_of_bnpo_are_averaged() -> Result<()> {
    // Two answers of one token each: the mean over tokens of either half, then over halves.
    let config = config("aggregation = 'bnpo'\nkl_weight = 0.0\nratio = 'token'");
    let totals = Totals { answers: 2, tokens: 2 };
    let part = |advantage: &'static [f64]| {
        let part =
            Answers { old: &[-1.0], reference: None, answer_of: &[0], advantages: advantage, kept: &[true] };
        computed(&[-1.0], &part, totals, &config).map(|(loss, ..)| loss)
    };
    close(&[part(&[1.0])?, part(&[-3.0])?], &[-0.5, 1.5], "halves");
    Ok(())
}

#[test]
fn the_first_update_has_ratio_one_and_the_plain_policy_gradient() -> Result<()> {
    let totals = Totals::new(&LENGTHS, &ALL);
    let config = config("ratio = 'token'\naggregation = 'dapo'\nkl_weight = 0.0");
    let answers = Answers { old: &NEW, reference: None, ..answers() };
    let (loss, gradient, measures) = computed(&NEW, &answers, totals, &config)?;
    let want: Vec<f32> = ANSWER_OF.iter().map(|&answer| (-ADVANTAGES[answer] / 6.0) as f32).collect();
    close(&gradient, &want, "gradient");
    close(&[loss], &[want.iter().sum()], "loss");
    assert_eq!((measures.clipped, measures.kl()), (0, None));
    Ok(())
}

#[test]
fn equal_rewards_leave_no_policy_gradient() -> Result<()> {
    let totals = Totals::new(&LENGTHS, &ALL);
    let answers = Answers { advantages: &[0.0; 3], ..answers() };
    for ratio in ["token", "sequence", "sequence_mean"] {
        let none = config(&format!("ratio = '{ratio}'\nkl_weight = 0.0"));
        let (loss, gradient, _) = computed(&NEW, &answers, totals, &none)?;
        assert_eq!((loss, gradient), (0.0, vec![0.0; 6]));
        // The distance to the reference is still felt.
        let some = config(&format!("ratio = '{ratio}'"));
        assert!(computed(&NEW, &answers, totals, &some)?.1.iter().all(|slope| *slope != 0.0));
    }
    Ok(())
}

#[test]
fn a_held_ratio_has_no_gradient_and_the_other_side_has() -> Result<()> {
    let config = config("ratio = 'token'\nkl_weight = 0.0\naggregation = 'dapo'");
    let totals = Totals { answers: 1, tokens: 1 };
    let slope = |new: f32, advantage: &'static [f64]| {
        let answers =
            Answers { old: &[-1.0], reference: None, answer_of: &[0], advantages: advantage, kept: &[true] };
        computed(&[new], &answers, totals, &config)
            .map(|(_, gradient, measures)| (gradient[0], measures.clipped))
    };
    // Likelier than before by half, then less likely by as much.
    assert_eq!(slope(-0.5, &[1.0])?, (0.0, 1));
    assert_eq!(slope(-1.5, &[-1.0])?, (0.0, 1));
    let (risen, fallen) = (slope(-0.5, &[-1.0])?, slope(-1.5, &[1.0])?);
    assert!((risen.0 - 0.5f32.exp()).abs() < 1e-6 && risen.1 == 0);
    assert!((fallen.0 + (-0.5f32).exp()).abs() < 1e-6 && fallen.1 == 0);
    Ok(())
}

#[test]
fn answers_that_were_cut_off_can_be_left_out() -> Result<()> {
    let stops = [Stop::End, Stop::MaxTokens, Stop::End];
    assert_eq!(kept(&stops, false), [true; 3]);
    let kept = kept(&stops, true);
    assert_eq!(kept, [true, false, true]);
    let totals = Totals::new(&LENGTHS, &kept);
    assert_eq!(totals, Totals { answers: 3, tokens: 5 });
    let config = config("ratio = 'token'\naggregation = 'dapo'");
    let answers = Answers { kept: &kept, ..answers() };
    let (_, gradient, measures) = computed(&NEW, &answers, totals, &config)?;
    assert_eq!((gradient[3], measures.tokens), (0.0, 5));
    assert!(gradient[2] != 0.0 && gradient[4] != 0.0);
    Ok(())
}

#[test]
fn numbers_that_do_not_fit_together_are_refused() {
    let totals = Totals::new(&LENGTHS, &ALL);
    let refused = |answers: &Answers<'_>, more: &str| {
        computed(&NEW, answers, totals, &config(more)).unwrap_err().to_string()
    };
    assert!(refused(&Answers { reference: None, ..answers() }, "").contains("reference policy"));
    assert!(refused(&Answers { old: &OLD[..5], ..answers() }, "").contains("6 tokens"));
    assert!(refused(&Answers { answer_of: &[0, 0, 1, 0, 2, 2], ..answers() }, "").contains("order"));
    assert!(refused(&Answers { advantages: &ADVANTAGES[..2], ..answers() }, "").contains("2 advantages"));
}

#[test]
fn a_ratio_too_large_for_a_number_shows_in_the_loss() -> Result<()> {
    let config = config("kl_weight = 0.0");
    let totals = Totals { answers: 1, tokens: 2 };
    let answers = Answers {
        old: &[-900.0, -1.0],
        reference: None,
        answer_of: &[0, 0],
        advantages: &[-1.0],
        kept: &[true],
    };
    let (loss, ..) = computed(&[-1.0, -1.0], &answers, totals, &config)?;
    assert!(!loss.is_finite(), "{loss}");
    Ok(())
}
