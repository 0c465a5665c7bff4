//! The encoder of UNI's kind, without text: it learns what each cell shows (shares of the drawn components) and, from
//! the mean over the grid, the field's attributes. (UNI itself is self-supervised; a phantom's truth is at hand.)

use candle_core::{DType, Device, Result as ComputeResult, Tensor};
use candle_nn::{VarBuilder, VarMap};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::layers::Linear;
use reinpath_model::ops;
use reinpath_model::vit::Vit;

use super::Base;
use crate::error::Result;
use crate::event::EventSink;
use crate::fields::{EncoderExample, Symmetry, pixels};
use crate::init;
use crate::parallel::PARTS;
use crate::phantom::{Component, Truth};
use crate::stage::{Shuffle, StagePlan, train as train_stage};

/// Weight of the cells' loss against that of the attributes.
const CELL_WEIGHT: f64 = 4.0;

struct Labelled {
    /// Examples, turned; their pixels and cells are prepared in the part's own thread.
    examples: Vec<(usize, Symmetry)>,
    /// Per attribute, the class of each example; `None` where it does not apply.
    classes: Vec<Vec<Option<u32>>>,
}

struct Heads {
    vit: Vit,
    cells: Linear,
    attributes: Vec<Linear>,
}

/// Trains the second encoder; its tensors stand below `encoder.`.
pub(super) fn train(base: &Base<'_>, sink: &mut EventSink) -> Result<VarMap> {
    let (config, vars) = (base.config, VarMap::new());
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let spec = &config.encoders[1];
    let heads = Heads {
        vit: Vit::load(&vb.pp("encoder"), spec)?,
        cells: Linear::load_with_bias(&vb.pp("cells"), spec.width, Component::COUNT)?,
        attributes: class_counts()
            .into_iter()
            .enumerate()
            .map(|(i, n)| Linear::load_with_bias(&vb.pp(format!("attribute{i}")), spec.width, n))
            .collect::<ComputeResult<_>>()?,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed + 5);
    let mut shuffle = Shuffle::new(base.examples.len(), config.seed + 6);
    let plan = StagePlan { name: "attribute encoder", optimisation: &config.attributes, seed: config.seed };
    let batch = |_| {
        let picked = shuffle.take(config.attributes.batch);
        let mut part = |i: usize| labelled(base, &picked, i, &mut rng);
        Ok([part(0), part(1)])
    };
    let all = init::sorted_vars(&vars).into_iter().map(|(_, v)| (v, 1.0)).collect();
    init::seed(&vars, config.seed + 12)?;
    train_stage(&plan, all, sink, batch, |part: &Labelled| loss(base, &heads, part))?;
    Ok(vars)
}

/// The attributes as classes; those of an unreadable field but its quality do not apply.
fn classes(truth: &Truth) -> [Option<u32>; 9] {
    let seen = truth.is_assessable();
    let of = |class: u32| seen.then_some(class);
    [
        Some(truth.quality as u32),
        of(truth.pattern as u32),
        of(truth.cellularity as u32),
        truth.nuclear_size.filter(|_| seen).map(|v| v as u32),
        truth.pleomorphism.filter(|_| seen).map(|v| v as u32),
        of(truth.mitoses as u32),
        of(truth.lymphocytes as u32),
        of(truth.necrosis as u32),
        truth.stroma.filter(|_| seen).map(|v| v as u32),
    ]
}

fn class_counts() -> [usize; 9] {
    use crate::phantom::{
        Amount, Cellularity, Mitoses, NuclearSize, Pattern, Pleomorphism, Presence, Quality, Stroma,
    };
    [
        Quality::ALL.len(),
        Pattern::ALL.len(),
        Cellularity::ALL.len(),
        NuclearSize::ALL.len(),
        Pleomorphism::ALL.len(),
        Mitoses::ALL.len(),
        Amount::ALL.len(),
        Presence::ALL.len(),
        Stroma::ALL.len(),
    ]
}

fn labelled(base: &Base<'_>, picked: &[usize], part: usize, rng: &mut ChaCha8Rng) -> Labelled {
    let mine = picked.iter().skip(part).step_by(PARTS);
    let examples: Vec<_> = mine.map(|&i| (i, Symmetry::sample(rng))).collect();
    let per_example: Vec<[Option<u32>; 9]> =
        examples.iter().map(|&(i, _)| classes(&base.examples[i].truth)).collect();
    Labelled { examples, classes: (0..9).map(|i| per_example.iter().map(|c| c[i]).collect()).collect() }
}

/// Square roots of the shares, (examples, cells, components): small things count, too.
fn cell_targets(examples: &[(&EncoderExample, Symmetry)], grid: usize) -> ComputeResult<Tensor> {
    let shares = examples.iter().flat_map(|(e, turned)| turned.apply(&e.cells, grid, Component::COUNT));
    let roots: Vec<f32> = shares.map(f32::sqrt).collect();
    Tensor::from_vec(roots, (examples.len(), grid * grid, Component::COUNT), &Device::Cpu)
}

fn loss(base: &Base<'_>, heads: &Heads, part: &Labelled) -> ComputeResult<Tensor> {
    let spec = &base.config.encoders[1];
    let examples: Vec<_> = part.examples.iter().map(|&(i, turned)| (&base.examples[i], turned)).collect();
    let features = heads.vit.forward(&pixels(&examples, 1, spec)?)?;
    let cells = features.narrow(1, 1, features.dim(1)? - 1)?.contiguous()?;
    let targets = cell_targets(&examples, (spec.image_size / spec.patch_size) as usize)?;
    let error = (heads.cells.forward(&cells)? - targets)?.sqr()?.mean_all()?;
    let mut loss = (error * (CELL_WEIGHT / PARTS as f64))?;
    let field = cells.mean(1)?;
    for (head, classes) in heads.attributes.iter().zip(&part.classes) {
        let weight = 1.0 / (PARTS * classes.len()) as f32;
        let targets: Vec<u32> = classes.iter().map(|c| c.unwrap_or(0)).collect();
        let weights: Vec<f32> = classes.iter().map(|c| if c.is_some() { weight } else { 0.0 }).collect();
        loss = (loss + ops::cross_entropy(&head.forward(&field)?, &targets, &weights)?)?;
    }
    Ok(loss)
}
