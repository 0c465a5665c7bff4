//! The encoder of UNI's kind, without text: it learns what each cell shows (shares of the drawn components) and, from
//! the mean over the grid, the field's attributes. (UNI itself is self-supervised; a phantom's truth is at hand.)

use candle_core::{DType, Device, Result as ComputeResult, Tensor};
use candle_nn::ops::log_softmax;
use candle_nn::{VarBuilder, VarMap};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::layers::Linear;
use reinpath_model::ops;
use reinpath_model::vit::Vit;

use super::Base;
use crate::error::Result;
use crate::event::{EventSink, RunEvent};
use crate::fields::{EncoderExample, Symmetry, pixels};
use crate::init;
use crate::parallel::PARTS;
use crate::phantom::{
    Amount, Cellularity, Component, Mitoses, NuclearSize, Pattern, Pleomorphism, Presence, Quality, Stroma,
    Truth,
};
use crate::stage::{Shuffle, StagePlan, train as train_stage};

/// Weight of the cells' loss against that of the attributes.
const CELL_WEIGHT: f64 = 4.0;
/// Fields at the end of the list that are measured and never trained on.
const HELD_OUT: usize = 400;
/// What a cell can show: the components, epithelial nuclei apart by their size and variation.
const CELL_CLASSES: usize = Component::COUNT + 3;

/// Weight of the head of pleomorphism against the others: how much nuclei vary is the hardest to read, and applies to
/// fewer than half of the fields.
const PLEOMORPHISM_WEIGHT: f32 = 3.0;

const STAGE: &str = "attribute encoder";
/// The attributes in the order of their heads.
const ATTRIBUTES: [&str; 9] = [
    "quality",
    "pattern",
    "cellularity",
    "nuclear_size",
    "pleomorphism",
    "mitoses",
    "lymphocytes",
    "necrosis",
    "stroma",
];

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
        cells: Linear::load_with_bias(&vb.pp("cells"), spec.width, CELL_CLASSES)?,
        attributes: class_counts()
            .into_iter()
            .enumerate()
            .map(|(i, n)| Linear::load_with_bias(&vb.pp(format!("attribute{i}")), spec.width, n))
            .collect::<ComputeResult<_>>()?,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed + 5);
    let trained_on = base.examples.len() - HELD_OUT.min(base.examples.len() / 10);
    let mut shuffle = Shuffle::new(trained_on, config.seed + 6);
    let plan = StagePlan { name: STAGE, optimisation: &config.attributes, seed: config.seed };
    let batch = |_| {
        let picked = shuffle.take(config.attributes.batch);
        let mut part = |i: usize| labelled(base, &picked, i, &mut rng);
        Ok([part(0), part(1)])
    };
    let all = init::sorted_vars(&vars).into_iter().map(|(_, v)| (v, 1.0)).collect();
    init::seed(&vars, config.seed + 12)?;
    train_stage(&plan, all, sink, batch, |part: &Labelled| loss(base, &heads, part))?;
    measure(base, &heads, trained_on, sink)?;
    Ok(vars)
}

/// The attributes as classes; those of an unreadable field but its quality do not apply.
fn classes(truth: &Truth) -> [Option<u32>; ATTRIBUTES.len()] {
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

fn class_counts() -> [usize; ATTRIBUTES.len()] {
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
    with_classes(base, examples)
}

fn with_classes(base: &Base<'_>, examples: Vec<(usize, Symmetry)>) -> Labelled {
    let per_example: Vec<_> = examples.iter().map(|&(i, _)| classes(&base.examples[i].truth)).collect();
    let of = |attribute: usize| per_example.iter().map(|classes| classes[attribute]).collect();
    Labelled { examples, classes: (0..ATTRIBUTES.len()).map(of).collect() }
}

/// What share of each cell is what, (examples · cells, classes), from the square roots of the areas: small things count,
/// too. What a blurred field shows cannot be seen: its rows are 0.
fn cell_targets(examples: &[(&EncoderExample, Symmetry)], grid: usize) -> ComputeResult<Tensor> {
    let mut targets = Vec::with_capacity(examples.len() * grid * grid * CELL_CLASSES);
    for (example, turned) in examples {
        let truth = &example.truth;
        let is_seen = truth.quality != Quality::Blurred;
        let large = usize::from(truth.nuclear_size == Some(NuclearSize::Large));
        let marked = usize::from(truth.pleomorphism == Some(Pleomorphism::Marked));
        for cell in turned.apply(&example.cells, grid, Component::COUNT).chunks_exact(Component::COUNT) {
            let at = targets.len();
            targets.extend(cell.iter().map(|share| if is_seen { share.sqrt() } else { 0.0 }));
            targets.extend([0.0; CELL_CLASSES - Component::COUNT]);
            if large + marked > 0 {
                let nucleus = at + Component::EpithelialNucleus as usize;
                targets.swap(nucleus, at + Component::COUNT - 1 + 2 * large + marked);
            }
            let sum: f32 = targets[at..].iter().sum::<f32>().max(1e-6);
            targets[at..].iter_mut().for_each(|share| *share /= sum);
        }
    }
    let rows = targets.len() / CELL_CLASSES;
    Tensor::from_vec(targets, (rows, CELL_CLASSES), &Device::Cpu)
}

/// (loss of the cells, logits of each attribute)
fn forward(base: &Base<'_>, heads: &Heads, part: &Labelled) -> ComputeResult<(Tensor, Vec<Tensor>)> {
    let spec = &base.config.encoders[1];
    let examples: Vec<_> = part.examples.iter().map(|&(i, turned)| (&base.examples[i], turned)).collect();
    let features = heads.vit.forward(&pixels(&examples, 1, spec)?)?;
    let cells = features.narrow(1, 1, features.dim(1)? - 1)?.contiguous()?;
    let targets = cell_targets(&examples, (spec.image_size / spec.patch_size) as usize)?;
    let shares = log_softmax(&heads.cells.forward(&cells)?.flatten_to(1)?, 1)?;
    let error = ((shares * &targets)?.sum_all()? / -(targets.dim(0)? as f64))?;
    let field = cells.mean(1)?;
    Ok((error, heads.attributes.iter().map(|head| head.forward(&field)).collect::<ComputeResult<_>>()?))
}

fn loss(base: &Base<'_>, heads: &Heads, part: &Labelled) -> ComputeResult<Tensor> {
    let (cells, attributes) = forward(base, heads, part)?;
    let mut loss = (cells * (CELL_WEIGHT / PARTS as f64))?;
    for ((name, logits), classes) in ATTRIBUTES.into_iter().zip(attributes).zip(&part.classes) {
        let importance = if name == "pleomorphism" { PLEOMORPHISM_WEIGHT } else { 1.0 };
        let weight = importance / (PARTS * classes.len()) as f32;
        let targets: Vec<u32> = classes.iter().map(|c| c.unwrap_or(0)).collect();
        let weights: Vec<f32> = classes.iter().map(|c| if c.is_some() { weight } else { 0.0 }).collect();
        loss = (loss + ops::cross_entropy(&logits, &targets, &weights)?)?;
    }
    Ok(loss)
}

/// How often each attribute of fields that were not trained on is read right.
fn measure(base: &Base<'_>, heads: &Heads, from: usize, sink: &mut EventSink) -> Result<()> {
    let mut tallies = [(0, 0); ATTRIBUTES.len()];
    let held_out: Vec<usize> = (from..base.examples.len()).collect();
    for chunk in held_out.chunks(50) {
        let examples: Vec<_> = chunk.iter().map(|&i| (i, Symmetry::default())).collect();
        let part = with_classes(base, examples);
        let (_, attributes) = forward(base, heads, &part)?;
        for ((logits, classes), tally) in attributes.iter().zip(&part.classes).zip(&mut tallies) {
            let read = logits.argmax(1)?.to_vec1::<u32>()?;
            let applies = classes.iter().zip(read).filter_map(|(class, read)| Some((*class)? == read));
            applies.for_each(|is_right| *tally = (tally.0 + usize::from(is_right), tally.1 + 1));
        }
    }
    for (name, (right, total)) in ATTRIBUTES.into_iter().zip(tallies) {
        sink.send(&RunEvent::Measured { stage: STAGE.to_owned(), measure: name.to_owned(), right, total })?;
    }
    Ok(())
}
