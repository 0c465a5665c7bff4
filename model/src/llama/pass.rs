//! A language model layer by layer over all tokens of many sequences, forward and back, for those who train its adapters.
//!
//! Candle's graph keeps every intermediate result until the whole way back is done, and makes room for gradients that
//! nobody wants. Here a layer keeps what its own way back cannot cheaply make again ([`Kept`]), and who calls it decides
//! whether that is kept or made again, too (Chen et al. 2016, recomputation). Every weight but the adapters' is frozen.
//!
//! Sequences stand one after another without padding, and may share their beginnings (`ops/attention/spans.rs`). Of the
//! last layer only those tokens are computed to the end whose hidden states are wanted.

use candle_core::{Device, Result, Tensor, bail};

use super::{Layer, Llama};
use crate::layers::{Learnt, read_gradient};
use crate::ops::{self, Predictions, Rotation, Span};

/// Where the tokens of a pass stand, the same for all layers.
#[derive(Clone, Debug)]
pub struct Pass {
    rotation: Rotation,
    back: Rotation,
    spans: Vec<Span>,
    /// Tokens whose hidden states are wanted, ascending; (wanted), u32.
    wanted: Tensor,
}

/// What a layer keeps of a pass for its way back; each is (tokens, …).
#[derive(Clone, Debug)]
pub struct Kept {
    /// What the layer read.
    x: Tensor,
    /// (tokens, heads, head_dim), turned; keys and values the same with their heads.
    q: Tensor,
    k: Tensor,
    v: Tensor,
    /// From here on the rows are those that are wanted, if it is the last layer: what attention gave.
    attention: Tensor,
    /// What attention was added to.
    middle: Tensor,
    gate: Tensor,
    up: Tensor,
}

impl Llama {
    /// A pass over tokens at `positions` of their sequences, which are `spans` of them; of the last layer the tokens
    /// `wanted` (ascending) are computed.
    pub fn pass(&self, spans: Vec<Span>, positions: &[u32], wanted: &[u32], device: &Device) -> Result<Pass> {
        if wanted.last().is_some_and(|&last| last as usize >= positions.len()) || !wanted.is_sorted() {
            bail!("the wanted tokens are none of {} in their order", positions.len());
        }
        let rotation = self.rotary.at(positions)?;
        let wanted = Tensor::from_slice(wanted, wanted.len(), device)?;
        Ok(Pass { back: rotation.inverse(), rotation, spans, wanted })
    }

    /// A layer's way forward over embeddings or the result of the layer before, (tokens, hidden), but for its last
    /// product ([`Self::end_layer`]), which the way back does not need.
    pub fn begin_layer(&self, layer: usize, x: &Tensor, pass: &Pass) -> Result<Kept> {
        self.at(layer)?.begin(&x.detach(), pass, self.wanted(layer, pass))
    }

    /// The result of a layer, (tokens, hidden); of the last layer (wanted, hidden).
    pub fn end_layer(&self, layer: usize, kept: &Kept) -> Result<Tensor> {
        self.at(layer)?.end(kept)
    }

    /// The gradient of what a layer read from that of its result; the gradients of its adapters, by the ids of their
    /// tensors, are added to `learnt` where it is given.
    pub fn layer_back(
        &self,
        layer: usize,
        kept: &Kept,
        grad: &Tensor,
        pass: &Pass,
        learnt: Option<&mut Vec<Learnt>>,
    ) -> Result<Tensor> {
        self.at(layer)?.back(kept, &grad.detach(), pass, self.wanted(layer, pass), learnt)
    }

    /// Hidden states after the final norm, of the last layer's result.
    pub fn final_norm(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward(&x.detach())
    }

    /// The gradient of the last layer's result from that of the hidden states after the final norm.
    pub fn final_norm_back(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        self.norm.back(&x.detach(), grad, None)
    }

    /// Predictions of `targets` from as many hidden states after the final norm, (targets, hidden); see
    /// [`ops::log_probabilities`].
    pub fn log_probabilities(
        &self,
        hidden: &Tensor,
        targets: &[u32],
        temperature: f64,
        with_slopes: bool,
    ) -> Result<Predictions> {
        ops::log_probabilities(hidden, self.lm_head.parts().0, targets, temperature, with_slopes)
    }

    fn at(&self, layer: usize) -> Result<&Layer> {
        let Some(found) = self.layers.get(layer) else {
            bail!("there is no layer {layer}: the language model has {}", self.layers.len());
        };
        Ok(found)
    }

    /// The tokens that a layer computes to the end; `None`: all.
    fn wanted<'a>(&self, layer: usize, pass: &'a Pass) -> Option<&'a Tensor> {
        (layer + 1 == self.layers.len()).then_some(&pass.wanted)
    }
}

impl Layer {
    fn begin(&self, x: &Tensor, pass: &Pass, wanted: Option<&Tensor>) -> Result<Kept> {
        let tokens = x.dim(0)?;
        let y = self.input_norm.forward(x)?;
        let turned = |y: &Tensor, heads: usize| {
            ops::rope(&y.reshape((1, tokens, heads, self.head_dim))?, &pass.rotation)?.squeeze(0)
        };
        let q = turned(&self.q_proj.pass(&y, None)?, self.heads)?;
        let k = turned(&self.k_proj.pass(&y, None)?, self.kv_heads)?;
        let v = self.v_proj.pass(&y, None)?.reshape((tokens, self.kv_heads, self.head_dim))?;
        let attention = only(&ops::attention_in_spans(&q, &k, &v, &pass.spans)?, wanted)?;
        let middle = self.o_proj.pass(&attention, Some(&only(x, wanted)?))?;
        let y = self.post_attention_norm.forward(&middle)?;
        let (gate, up) = (self.gate_proj.pass(&y, None)?, self.up_proj.pass(&y, None)?);
        Ok(Kept { x: x.clone(), q, k, v, attention, middle, gate, up })
    }

    fn end(&self, kept: &Kept) -> Result<Tensor> {
        self.down_proj.pass(&ops::silu_mul(&kept.gate, &kept.up)?, Some(&kept.middle))
    }

    fn back(
        &self,
        kept: &Kept,
        grad: &Tensor,
        pass: &Pass,
        wanted: Option<&Tensor>,
        mut learnt: Option<&mut Vec<Learnt>>,
    ) -> Result<Tensor> {
        let learns = learnt.is_some();
        let mut learn = |passed: &mut Vec<Learnt>| {
            if let Some(learnt) = &mut learnt {
                learnt.append(passed);
            }
        };
        let inner = ops::silu_mul(&kept.gate, &kept.up)?;
        let mut down = self.down_proj.pass_back(&inner, grad, learns)?;
        drop(inner);
        learn(&mut down.learnt);
        let (gate_grad, up_grad) = ops::silu_mul_back(&kept.gate, &kept.up, &read_gradient(&[&down])?)?;
        drop(down);
        let y = self.post_attention_norm.forward(&kept.middle)?;
        let mut gate = self.gate_proj.pass_back(&y, &gate_grad, learns)?;
        let mut up = self.up_proj.pass_back(&y, &up_grad, learns)?;
        learn(&mut gate.learnt);
        learn(&mut up.learnt);
        let past = self.post_attention_norm.back(&kept.middle, &read_gradient(&[&gate, &up])?, Some(grad))?;
        drop((gate_grad, up_grad, gate, up));
        let mut o = self.o_proj.pass_back(&kept.attention, &past, learns)?;
        learn(&mut o.learnt);
        let tokens = kept.x.dim(0)?;
        let (attention_grad, past) =
            (spread(&read_gradient(&[&o])?, wanted, tokens)?, spread(&past, wanted, tokens)?);
        drop(o);
        let [q, k, v] =
            ops::attention_in_spans_back(&kept.q, &kept.k, &kept.v, &pass.spans, &attention_grad)?;
        let flat = |x: &Tensor| x.reshape((tokens, ()));
        let turned_back = |x: &Tensor| flat(&ops::rope(&x.unsqueeze(0)?, &pass.back)?);
        let y = self.input_norm.forward(&kept.x)?;
        let mut q = self.q_proj.pass_back(&y, &turned_back(&q)?, learns)?;
        let mut k = self.k_proj.pass_back(&y, &turned_back(&k)?, learns)?;
        let mut v = self.v_proj.pass_back(&y, &flat(&v)?, learns)?;
        for passed in [&mut q, &mut k, &mut v] {
            learn(&mut passed.learnt);
        }
        self.input_norm.back(&kept.x, &read_gradient(&[&q, &k, &v])?, Some(&past))
    }
}

/// These rows of `x`; `None`: all.
fn only(x: &Tensor, rows: Option<&Tensor>) -> Result<Tensor> {
    rows.map_or_else(|| Ok(x.clone()), |rows| x.index_select(rows, 0))
}

/// The way back of [`only`]: the other rows of `count` are zeros.
fn spread(x: &Tensor, rows: Option<&Tensor>, count: usize) -> Result<Tensor> {
    let Some(rows) = rows else { return Ok(x.clone()) };
    Tensor::zeros((count, x.dim(1)?), x.dtype(), x.device())?.index_add(rows, x, 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{DType, Var};
    use candle_nn::{VarBuilder, VarMap};

    use super::super::tests::{difference, ids, qwen, seed, tiny};
    use super::super::{LoraConfig, Positions};
    use super::*;

    /// A model whose adapters are variables, with the map of them.
    fn adapted(rank: usize) -> Result<(Llama, VarMap)> {
        let base = VarMap::new();
        let mut llama = Llama::load(&VarBuilder::from_varmap(&base, DType::F32, &Device::Cpu), &tiny())?;
        seed(&base, 1)?;
        // The base is frozen: its values without their variables.
        let frozen: std::collections::HashMap<String, Tensor> = base
            .data()
            .lock()
            .unwrap()
            .iter()
            .map(|(name, var)| (name.clone(), var.as_tensor().detach()))
            .collect();
        llama = Llama::load(&VarBuilder::from_tensors(frozen, DType::F32, &Device::Cpu), &llama.config)?;
        let adapters = VarMap::new();
        let lora = LoraConfig { rank, alpha: 2.0 * rank as f64 };
        llama.adapt(&VarBuilder::from_varmap(&adapters, DType::F32, &Device::Cpu), &lora)?;
        seed(&adapters, 2)?;
        Ok((llama, adapters))
    }

    fn span(seen: std::ops::Range<usize>, own: std::ops::Range<usize>) -> Span {
        Span { seen, own }
    }

    /// Hidden states of a pass, and the gradients of its embeddings and of the adapters.
    fn there_and_back(
        llama: &Llama,
        x: &Tensor,
        pass: &Pass,
        grad: &Tensor,
    ) -> Result<(Tensor, Tensor, Vec<Learnt>)> {
        let (mut x, mut kept) = (x.clone(), Vec::new());
        for layer in 0..llama.config.num_hidden_layers {
            kept.push(llama.begin_layer(layer, &x, pass)?);
            x = llama.end_layer(layer, &kept[layer])?;
        }
        let hidden = llama.final_norm(&x)?;
        let mut learnt = Vec::new();
        let mut grad = llama.final_norm_back(&x, grad)?;
        for (layer, kept) in kept.iter().enumerate().rev() {
            grad = llama.layer_back(layer, kept, &grad, pass, Some(&mut learnt))?;
        }
        assert!(!hidden.track_op() && !grad.track_op() && learnt.iter().all(|(_, g)| !g.track_op()));
        Ok((hidden, grad, learnt))
    }

    fn weights(shape: (usize, usize)) -> Result<Tensor> {
        let values: Vec<f32> = (0..shape.0 * shape.1).map(|i| (i as f32 * 0.77).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    fn assert_same_gradients(got: &[Learnt], want: &BTreeMap<String, (Var, Tensor)>) -> Result<()> {
        assert_eq!(got.len(), want.len(), "each adapter, and nothing else");
        for (name, (var, want)) in want {
            let (_, got) =
                got.iter().find(|(id, _)| *id == var.id()).expect("a gradient by the variable's id");
            let size = want.abs()?.max_all()?.to_scalar::<f32>()?;
            let far = difference(got, want)?;
            assert!(far <= 1e-4 * (1.0 + size), "{name}: {far} of {size}");
        }
        Ok(())
    }

    /// Variables with their gradients, by name.
    type OfVars = BTreeMap<String, (Var, Tensor)>;

    /// Gradients of all variables of the graph of `y`.
    fn of_graph(y: &Tensor, adapters: &VarMap) -> Result<(candle_core::backprop::GradStore, OfVars)> {
        let store = y.backward()?;
        let data = adapters.data().lock().unwrap();
        let of =
            |(name, var): (&String, &Var)| (name.clone(), (var.clone(), store.get(var).unwrap().clone()));
        let all = data.iter().map(of).collect();
        Ok((store, all))
    }

    #[test]
    fn sequences_beside_each_other_pass_as_each_alone_through_candles_graph() -> Result<()> {
        // With few tokens the adapters stay beside the weights; with many they are added to them.
        for lengths in [[1, 2], [5, 7], [20, 30]] {
            let (llama, adapters) = adapted(8)?;
            let tokens = lengths[0] + lengths[1];
            let sequence: Vec<u32> = (0..tokens as u32).map(|i| (i * 7 + 3) % 30).collect();
            let x = Var::from_tensor(&llama.embed(&ids(&[sequence.as_slice()])?)?.squeeze(0)?)?;
            let alone = |at: usize, len: usize| -> Result<Tensor> {
                let x = x.narrow(0, at, len)?.contiguous()?.unsqueeze(0)?;
                llama.forward(&x, &Positions::after(0, 1, len), None)?.squeeze(0)
            };
            let want = Tensor::cat(&[alone(0, lengths[0])?, alone(lengths[0], lengths[1])?], 0)?;
            let grad = weights((tokens, 16))?;
            let (store, gradients) = of_graph(&(&want * &grad)?.sum_all()?, &adapters)?;
            let positions: Vec<u32> = (0..lengths[0] as u32).chain(0..lengths[1] as u32).collect();
            let all: Vec<u32> = (0..tokens as u32).collect();
            let spans = vec![span(0..0, 0..lengths[0]), span(0..0, lengths[0]..tokens)];
            let pass = llama.pass(spans, &positions, &all, &Device::Cpu)?;
            let (hidden, x_grad, learnt) = there_and_back(&llama, &x, &pass, &grad)?;
            assert!(difference(&hidden, &want)? < 3e-4);
            let want = store.get(&x).unwrap();
            assert!(difference(&x_grad, want)? < 1e-4 * (1.0 + want.abs()?.max_all()?.to_scalar::<f32>()?));
            assert_same_gradients(&learnt, &gradients)?;
        }
        Ok(())
    }

    #[test]
    fn answers_that_share_their_prompt_pass_as_each_with_a_prompt_of_its_own() -> Result<()> {
        let (llama, adapters) = adapted(4)?;
        let (prompt, answers) = ([3u32, 9, 27, 4], [[8u32, 1, 5], [2, 6, 11]]);
        let embed = |ids_of: &[u32]| llama.embed(&ids(&[ids_of])?)?.squeeze(0);
        let rows: Vec<Vec<u32>> = answers.iter().map(|answer| [&prompt[..], &answer[..]].concat()).collect();
        let grad = weights((6, 16))?;
        let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        let mut hidden = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let x = embed(row)?.unsqueeze(0)?;
            let y = llama.forward(&x, &Positions::after(0, 1, 7), None)?.squeeze(0)?.narrow(0, 4, 3)?;
            sum = (sum + (&y * &grad.narrow(0, 3 * i, 3)?)?.sum_all()?)?;
            hidden.push(y);
        }
        let (_, gradients) = of_graph(&sum, &adapters)?;
        let shared = [&prompt[..], &answers.concat()[..]].concat();
        let positions = [0, 1, 2, 3, 4, 5, 6, 4, 5, 6];
        let spans = vec![span(0..0, 0..4), span(0..4, 4..7), span(0..4, 7..10)];
        let pass = llama.pass(spans, &positions, &[4, 5, 6, 7, 8, 9], &Device::Cpu)?;
        let (got, _, learnt) = there_and_back(&llama, &embed(&shared)?, &pass, &grad)?;
        assert!(difference(&got, &Tensor::cat(&hidden, 0)?)? < 3e-4);
        assert_same_gradients(&learnt, &gradients)
    }

    #[test]
    fn words_pass_through_a_model_with_biases_and_sections_as_it_reads_them() -> Result<()> {
        let llama = qwen()?;
        let x = llama.embed(&ids(&[&[3, 9, 27, 4, 8]])?)?;
        let want = llama.forward(&x, &Positions::after(0, 1, 5), None)?.squeeze(0)?;
        let all = [0, 1, 2, 3, 4];
        let pass = llama.pass(vec![span(0..0, 0..5)], &all, &all, &Device::Cpu)?;
        let (hidden, _, learnt) = there_and_back(&llama, &x.squeeze(0)?, &pass, &weights((5, 16))?)?;
        assert!(difference(&hidden, &want)? < 1e-4);
        assert!(learnt.is_empty());
        Ok(())
    }

    #[test]
    fn adapters_that_do_not_learn_cost_no_gradient_and_wanted_tokens_must_be_there() -> Result<()> {
        let (llama, _) = adapted(2)?;
        let x = llama.embed(&ids(&[&[1, 2, 3]])?)?.squeeze(0)?;
        let spans = || vec![span(0..0, 0..3)];
        let pass = llama.pass(spans(), &[0, 1, 2], &[2], &Device::Cpu)?;
        let kept = llama.begin_layer(1, &x, &pass)?;
        assert_eq!(llama.end_layer(1, &kept)?.dims(), [1, 16]);
        let grad = weights((1, 16))?;
        let without = llama.layer_back(1, &kept, &grad, &pass, None)?;
        let mut learnt = Vec::new();
        let with = llama.layer_back(1, &kept, &grad, &pass, Some(&mut learnt))?;
        assert_eq!(difference(&without, &with)?, 0.0);
        assert_eq!(learnt.len(), 14);
        assert!(llama.pass(spans(), &[0, 1, 2], &[3], &Device::Cpu).is_err());
        assert!(llama.pass(spans(), &[0, 1, 2], &[2, 1], &Device::Cpu).is_err());
        assert!(llama.begin_layer(2, &x, &pass).is_err());
        Ok(())
    }
}
