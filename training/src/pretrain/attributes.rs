//! The encoder of UNI's kind, without text: it learns what each cell shows (shares of the drawn components) and, from
//! the mean over the grid, the field's attributes. (UNI itself is self-supervised; a phantom's truth is at hand.)
//!
//! Where there are real patches, it learns their classes and what was measured in them in the same batches; and the
//! encoder of CONCH's kind is taken through the same, since captions alone teach it too little of so few patches.

use candle_core::{DType, Device, Result as ComputeResult, Tensor};
use candle_nn::ops::log_softmax;
use candle_nn::{VarBuilder, VarMap};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::layers::Linear;
use reinpath_model::ops;
use reinpath_model::vit::Vit;

use super::Base;
use super::patches::{Drawing, PatchHeads, Patches, Shown};
use crate::config::Optimisation;
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
const FURTHER: &str = "tissue encoder";
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
    /// Views of real patches beside them.
    patches: Option<Shown>,
}

struct Heads {
    /// The encoder's place among the encoders.
    at: usize,
    vit: Vit,
    cells: Linear,
    attributes: Vec<Linear>,
    /// For real patches; none where there are none.
    patches: Option<PatchHeads>,
}

/// One encoder's training.
struct Training<'a> {
    stage: &'static str,
    optimisation: &'a Optimisation,
    /// What its random numbers come from.
    seed: u64,
    /// Variables: the encoder's own and those of its heads, in one map or in two, then those of the heads for patches.
    maps: [&'a VarMap; 3],
}

/// Trains the second encoder; its tensors stand below `encoder.`.
pub(super) fn train(base: &Base<'_>, sink: &mut EventSink) -> Result<VarMap> {
    let (config, vars, of_patches) = (base.config, VarMap::new(), VarMap::new());
    let training = Training {
        stage: STAGE,
        optimisation: &config.attributes,
        seed: config.seed + 5,
        maps: [&vars, &vars, &of_patches],
    };
    let heads = Heads::load(base, 1, training.maps)?;
    init::seed(&vars, config.seed + 12)?;
    init::seed(&of_patches, config.seed + 34)?;
    training.run(base, &heads, sink)?;
    Ok(vars)
}

/// Takes the first encoder, whose tensors are in `vars`, through the same with real patches; nothing where there are
/// none.
pub(super) fn train_further(base: &Base<'_>, vars: &VarMap, sink: &mut EventSink) -> Result<()> {
    let Some(patches) = &base.patches else { return Ok(()) };
    let (config, own, of_patches) = (base.config, VarMap::new(), VarMap::new());
    let training = Training {
        stage: FURTHER,
        optimisation: patches.optimisation(),
        seed: config.seed + 30,
        maps: [vars, &own, &of_patches],
    };
    let heads = Heads::load(base, 0, training.maps)?;
    init::seed(&own, config.seed + 32)?;
    init::seed(&of_patches, config.seed + 33)?;
    training.run(base, &heads, sink)
}

impl Heads {
    /// Makes the heads of the encoder `at`, and it itself where it is not in its map yet.
    fn load(base: &Base<'_>, at: usize, maps: [&VarMap; 3]) -> Result<Self> {
        let [encoder, own, of_patches] =
            maps.map(|map| VarBuilder::from_varmap(map, DType::F32, &Device::Cpu));
        let spec = &base.config.encoders[at];
        Ok(Self {
            at,
            vit: Vit::load(&encoder.pp("encoder"), spec)?,
            cells: Linear::load_with_bias(&own.pp("cells"), spec.width, CELL_CLASSES)?,
            attributes: class_counts()
                .into_iter()
                .enumerate()
                .map(|(i, n)| Linear::load_with_bias(&own.pp(format!("attribute{i}")), spec.width, n))
                .collect::<ComputeResult<_>>()?,
            patches: match &base.patches {
                Some(patches) => Some(patches.heads(&of_patches, spec.width)?),
                None => None,
            },
        })
    }
}

impl Training<'_> {
    fn run(&self, base: &Base<'_>, heads: &Heads, sink: &mut EventSink) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let trained_on = base.examples.len() - HELD_OUT.min(base.examples.len() / 10);
        let mut shuffle = Shuffle::new(trained_on, self.seed + 1);
        let mut drawing = base.patches.as_ref().map(|patches| patches.drawing(self.seed + 60));
        let plan = StagePlan { name: self.stage, optimisation: self.optimisation, seed: base.config.seed };
        let batch = |_| {
            let picked = shuffle.take(self.optimisation.batch);
            let mut part = |i: usize| labelled(base, &picked, i, &mut rng);
            let mut parts = [part(0), part(1)];
            if let (Some(patches), Some(drawing)) = (&base.patches, &mut drawing) {
                add_patches(&mut parts, patches, heads.at, base, drawing);
            }
            Ok(parts)
        };
        let [encoder, own, of_patches] = self.maps;
        let mut all = init::sorted_vars(encoder);
        if !std::ptr::eq(encoder, own) {
            all.retain(|(name, _)| name.starts_with("encoder."));
            all.extend(init::sorted_vars(own));
        }
        all.extend(init::sorted_vars(of_patches));
        let all = all.into_iter().map(|(_, var)| (var, 1.0)).collect();
        train_stage(&plan, all, sink, batch, |part: &Labelled| loss(base, heads, part))?;
        measure(base, heads, self.stage, trained_on, sink)
    }
}

fn add_patches(
    parts: &mut [Labelled; PARTS],
    patches: &Patches<'_>,
    at: usize,
    base: &Base<'_>,
    drawing: &mut Drawing,
) {
    for (part, shown) in parts.iter_mut().zip(patches.draw(at, &base.config.encoders[at], drawing)) {
        part.patches = Some(shown);
    }
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
    Labelled { examples, classes: (0..ATTRIBUTES.len()).map(of).collect(), patches: None }
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
    let spec = &base.config.encoders[heads.at];
    let examples: Vec<_> = part.examples.iter().map(|&(i, turned)| (&base.examples[i], turned)).collect();
    let features = heads.vit.forward(&pixels(&examples, heads.at, spec)?)?;
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
    if let (Some(patches), Some(of_patches), Some(shown)) = (&base.patches, &heads.patches, &part.patches) {
        let spec = &base.config.encoders[heads.at];
        loss = (loss + patches.loss(&heads.vit, of_patches, spec, shown)?)?;
    }
    Ok(loss)
}

/// How often each attribute of fields that were not trained on is read right, and the class of such patches.
fn measure(base: &Base<'_>, heads: &Heads, stage: &str, from: usize, sink: &mut EventSink) -> Result<()> {
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
        sink.send(&RunEvent::Measured { stage: stage.to_owned(), measure: name.to_owned(), right, total })?;
    }
    match (&base.patches, &heads.patches) {
        (Some(patches), Some(of_patches)) => {
            patches.measure(&heads.vit, of_patches, &base.config.encoders[heads.at], stage, sink)
        }
        _ => Ok(()),
    }
}
