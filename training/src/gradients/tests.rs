//! Gradients against candle's graph of the whole model, and against each other.

use candle_core::{DType, Device, Result as Computed, Tensor, Var};
use reinpath_model::llama::Positions;

use super::*;
use crate::batch::{Sequence, parts};
use crate::policy::tests::{base, batch, far, features, policy, sequence};
use crate::policy::{PROJECTOR, Policy};

fn compute(recompute: bool, workers: usize) -> Compute {
    Compute { recompute, workers, ..Compute::default() }
}

/// Eight sequences of many lengths; two share a prompt, one has two images and one none.
fn sequences() -> Vec<Sequence> {
    vec![
        sequence(&[0], 3, &[&[5, 6, 7, 8]]),
        sequence(&[1], 12, &[&[9, 9, 1], &[4, 3, 2, 1, 0]]),
        sequence(&[], 5, &[&[17]]),
        sequence(&[2, 0], 2, &[&[30, 31]]),
        sequence(&[3], 20, &[&[5, 8, 7, 6, 5, 4]]),
        sequence(&[4], 1, &[&[100, 101, 102]]),
        sequence(&[5], 7, &[&[200], &[201, 202], &[203]]),
        sequence(&[0], 30, &[&[11, 12, 13, 14, 15, 16, 17, 18]]),
    ]
}

fn vars(policy: &Policy) -> Vec<Var> {
    policy.vars.iter().map(|(_, var)| var.clone()).collect()
}

/// Minus a weighted sum of the log-probabilities; the weights follow from the targets alone.
fn weighted(batch: &Batch, log_probabilities: &Tensor) -> Computed<Tensor> {
    let weights: Vec<f32> = batch.targets.iter().map(|&target| -1.0 - (target % 3) as f32).collect();
    (log_probabilities * Tensor::from_vec(weights, batch.targets.len(), &Device::Cpu)?)?.sum_all()
}

fn outcome(policy: &Policy, batches: &[Batch], compute: &Compute) -> Outcome<usize> {
    let loss = |part: usize, x: &Tensor| Ok((weighted(&batches[part], x)?, part));
    gradients(&policy.model, &vars(policy), batches, compute, loss).unwrap()
}

fn all_values(outcome: &Outcome<usize>) -> Vec<f32> {
    outcome.gradients.values.iter().flatten().flatten().copied().collect()
}

fn assert_near(a: &Outcome<usize>, b: &Outcome<usize>) {
    let (a_values, b_values) = (all_values(a), all_values(b));
    let size = b_values.iter().fold(0f32, |size, value| size.max(value.abs()));
    assert!(size > 1e-3);
    assert!(far(&a_values, &b_values) < 1e-4 * size, "{} of {size}", far(&a_values, &b_values));
    let (a, b) = (a.gradients.loss, b.gradients.loss);
    assert!((a - b).abs() < 1e-4 * b.abs(), "{a} {b}");
}

#[test]
fn gradients_are_those_of_candles_graph_of_each_sequence_alone() {
    let policy = policy();
    let sequences = sequences();
    let batches = [batch(&policy.model, &sequences)];
    let got = outcome(&policy, &batches, &compute(false, 1));
    let model = &policy.model;
    let graph = || -> Result<(f64, Vec<Vec<f32>>)> {
        let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        for own in &sequences {
            for answer in &own.answers {
                let (ids, read) = (&answer.ids, answer.ids.len() - 1);
                let images = own.images.iter().map(|&image| {
                    let values = Tensor::from_vec(features(image)?, (1, 4, 20), &Device::Cpu)?;
                    Ok(model.projector.forward(&values)?)
                });
                let images = images.collect::<Result<Vec<_>>>()?;
                let mut parts = Vec::new();
                for segment in &own.prompt {
                    parts.push(match segment {
                        reinpath_model::prompt::Segment::Tokens(ids) => {
                            model.llama.embed(&Tensor::from_slice(ids, (1, ids.len()), &Device::Cpu)?)?
                        }
                        reinpath_model::prompt::Segment::Patch(i) => images[*i].clone(),
                    });
                }
                if read > 0 {
                    let read = Tensor::from_slice(&ids[..read], (1, read), &Device::Cpu)?;
                    parts.push(model.llama.embed(&read)?);
                }
                let x = Tensor::cat(&parts, 1)?;
                let len = x.dim(1)?;
                let hidden = model.llama.forward(&x, &Positions::after(0, 1, len), None)?;
                let hidden = hidden.narrow(1, len - ids.len(), ids.len())?.contiguous()?.squeeze(0)?;
                let logits = model.llama.logits(&hidden)?;
                let all = logits.broadcast_sub(&logits.log_sum_exp(1)?.unsqueeze(1)?)?;
                let picked = all.gather(&Tensor::from_slice(ids, (ids.len(), 1), &Device::Cpu)?, 1)?;
                let weights: Vec<f32> = ids.iter().map(|&target| -1.0 - (target % 3) as f32).collect();
                let weights = Tensor::from_vec(weights, (ids.len(), 1), &Device::Cpu)?;
                sum = (sum + (picked * weights)?.sum_all()?)?;
            }
        }
        let store = sum.backward()?;
        let gradient = |var: &Var| -> Result<Vec<f32>> {
            Ok(store.get(var).expect("every variable has a gradient").flatten_all()?.to_vec1()?)
        };
        let all = vars(&policy).iter().map(gradient).collect::<Result<_>>()?;
        Ok((f64::from(sum.to_scalar::<f32>()?), all))
    };
    let (loss, want) = graph().unwrap();
    assert!((got.gradients.loss - loss).abs() < 1e-4 * loss, "{} {loss}", got.gradients.loss);
    for (((name, _), got), want) in policy.vars.iter().zip(&got.gradients.values).zip(&want) {
        let size = want.iter().fold(0f32, |size, value| size.max(value.abs()));
        let far = far(got.as_ref().unwrap(), want);
        assert!(size > 0.0 && far < 1e-3 * size + 1e-5, "{name}: {far} of {size}");
    }
}

#[test]
fn recomputation_changes_no_bit() {
    let policy = policy();
    let batches = [batch(&policy.model, &sequences())];
    let (kept, again) = (compute(false, 1), compute(true, 1));
    let (kept, again) = (outcome(&policy, &batches, &kept), outcome(&policy, &batches, &again));
    assert_eq!(all_values(&kept), all_values(&again));
    assert_eq!((kept.gradients.loss, kept.entropy), (again.gradients.loss, again.entropy));
}

#[test]
fn eight_parts_add_up_to_one_batch_on_one_thread_and_on_several() {
    let policy = policy();
    let sequences = sequences();
    let whole = outcome(&policy, &[batch(&policy.model, &sequences)], &compute(false, 1));
    let each: Vec<Batch> = sequences.chunks(1).map(|part| batch(&policy.model, part)).collect();
    let one_by_one = outcome(&policy, &each, &compute(false, 1));
    assert_eq!(one_by_one.measures, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_near(&one_by_one, &whole);
    assert!((one_by_one.entropy - whole.entropy).abs() < 1e-4);
    for workers in [2, 3] {
        let shared = outcome(&policy, &each, &compute(true, workers));
        assert_eq!(shared.measures, one_by_one.measures, "in the order of the parts");
        assert_near(&shared, &whole);
        let again = outcome(&policy, &each, &compute(true, workers));
        assert_eq!(all_values(&shared), all_values(&again), "the same sum every time");
    }
    let in_twos = parts(&sequences, 0, 2);
    assert_eq!(in_twos.len(), 2);
    let in_twos: Vec<Batch> =
        in_twos.into_iter().map(|part| batch(&policy.model, &sequences[part])).collect();
    assert_near(&outcome(&policy, &in_twos, &compute(false, 2)), &whole);
}

#[test]
fn predictions_of_parts_come_in_their_order_from_any_number_of_threads() {
    let policy = policy();
    let each: Vec<Batch> = sequences().chunks(1).map(|part| batch(&policy.model, part)).collect();
    let one = predictions(&policy.model, &each, &compute(false, 1)).unwrap();
    let three = predictions(&policy.model, &each, &compute(false, 3)).unwrap();
    assert_eq!((one.len(), three.len()), (8, 8));
    for ((one, three), part) in one.iter().zip(&three).zip(&each) {
        assert_eq!(one.log_probabilities.len(), part.targets.len());
        assert!(far(&one.log_probabilities, &three.log_probabilities) < 1e-4);
    }
}

#[test]
fn only_what_learns_gets_a_gradient_and_the_policy_itself_stays() {
    let policy = policy();
    let sequences = sequences();
    let batches = [batch(&policy.model, &sequences)];
    let whole = outcome(&policy, &batches, &compute(false, 1));
    let before = policy.model.predictions(&batches[0]).unwrap().log_probabilities;
    let projector: Vec<Var> = policy.learning(true, false).map(|(_, var)| var.clone()).collect();
    let loss = |_: usize, x: &Tensor| Ok((weighted(&batches[0], x)?, ()));
    let got = gradients(&policy.model, &projector, &batches, &compute(false, 1), loss).unwrap();
    let named = policy.vars.iter().zip(&whole.gradients.values);
    let want = named.filter(|((name, _), _)| name.starts_with(PROJECTOR)).map(|(_, values)| values);
    assert_eq!(got.gradients.values.len(), 4);
    for (got, want) in got.gradients.values.iter().zip(want) {
        assert_eq!(got, want);
    }
    assert_eq!(policy.model.predictions(&batches[0]).unwrap().log_probabilities, before);
}

#[test]
fn a_loss_without_a_gradient_costs_no_way_back_and_one_that_is_no_number_is_told() {
    let policy = policy();
    let batches = [batch(&policy.model, &sequences()[..2])];
    let run = |factor: f64| {
        let loss = |_: usize, x: &Tensor| Ok(((x.sum_all()? * factor)?, ()));
        gradients(&policy.model, &vars(&policy), &batches, &compute(false, 1), loss).unwrap().gradients
    };
    let nothing = run(0.0);
    assert!(nothing.values.iter().flatten().flatten().all(|&value| value == 0.0));
    assert!(run(f64::NAN).loss.is_nan());
    assert!(run(1.0).values.iter().flatten().flatten().any(|&value| value != 0.0));
}

#[test]
fn the_first_gradient_of_new_adapters_is_that_of_b_alone() {
    let base = base();
    let lora = crate::config::LoraSettings { rank: 4, alpha: 8.0 };
    let policy = Policy::new(&base, &lora, 5).unwrap();
    let got = outcome(&policy, &[batch(&policy.model, &sequences())], &compute(false, 1));
    for ((name, _), values) in policy.vars.iter().zip(&got.gradients.values) {
        let is_moved = values.as_ref().unwrap().iter().any(|&value| value != 0.0);
        assert_eq!(is_moved, !name.ends_with("lora_A.weight"), "{name}");
    }
}
