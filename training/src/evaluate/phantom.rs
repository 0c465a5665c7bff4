//! Evaluation of a package on phantom fields that no training saw: the benchmark `phantom`.
//!
//! Answers are generated as a user gets them (greedy), and their conclusions are scored; beside it stand what a
//! classifier of six colour numbers reaches, and what is left when every question gets another question's patch.

use candle_core::Device;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use reinpath_model::answer::{BatchAnswer, Question};
use reinpath_model::package::Package;
use reinpath_model::patch::Patch;
use reinpath_model::reinpath::ReinPath;
use reinpath_model::request::Sampling;
use reinpath_model::stage::StagedAnswer;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fields::{FieldPlan, patch, sample_plans};
use crate::phantom::{
    AnswerScore, Claim, Limits, PhantomReport, QuestionItem, Tally, Truth, chance_when_permuted,
    colour_baseline, colour_summary, limited_set, score_answer,
};

/// Seed of the held-out fields; no configuration of training uses it.
pub const HELD_OUT_SEED: u64 = 900_001;
/// Fields that the colour classifier is fitted on.
const COLOUR_FIELDS: usize = 4_000;
/// Answers generated at once.
const BATCH: usize = 50;

/// The last event of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhantomFigures {
    pub seed: u64,
    /// Questions, in equal numbers of choice, true/false and open.
    pub n: usize,
    /// The claim that no field shows and no question names, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<String>,
    /// The claim that every field shows; then all questions are choices of tissue types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Share of right conclusions.
    pub accuracy: f64,
    pub balanced_accuracy: f64,
    pub interval_95: [f64; 2],
    pub stages_present: f64,
    pub parse_failures: usize,
    /// Right conclusions on fields that can be read, and on those that cannot.
    pub assessable: Tally,
    pub cannot_be_assessed: Tally,
    pub by_kind: std::collections::BTreeMap<String, Tally>,
    /// Choice questions on fields that can be read: right by the likeliest option after the written analysis, whatever
    /// was concluded (length-normalised log-likelihood).
    #[serde(default)]
    pub choice_by_likelihood: Tally,
    pub by_subtask: std::collections::BTreeMap<String, Tally>,
    pub by_class: std::collections::BTreeMap<String, Tally>,
    /// Statements of Observations that are true, by attribute.
    pub attributes: std::collections::BTreeMap<String, Tally>,
    /// Right answers of a nearest-neighbour classifier of six colour numbers on the choice questions.
    pub colour_only: Tally,
    /// Share of right conclusions when every question gets the patch of another.
    pub swapped_accuracy: f64,
    /// What a perfect reader would reach then.
    pub swapped_chance: f64,
    pub tokens: usize,
    pub secs: f64,
}

impl std::fmt::Display for PhantomFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let tally = |t: &Tally| format!("{} ({} of {})", percent(t.share().unwrap_or(0.0)), t.right, t.total);
        let limits = match (&self.without, &self.only) {
            (Some(claim), _) => format!(" without {claim}"),
            (None, Some(claim)) => format!(" with {claim} only"),
            (None, None) => String::new(),
        };
        writeln!(f, "{} held-out phantom fields{limits}, seed {}, greedy", self.n, self.seed)?;
        let [low, high] = self.interval_95.map(percent);
        writeln!(f, "conclusion right           {} (95 % interval {low} to {high})", percent(self.accuracy))?;
        writeln!(f, "balanced over classes      {}", percent(self.balanced_accuracy))?;
        for (kind, t) in &self.by_kind {
            writeln!(f, "  {kind:<25}{}", tally(t))?;
        }
        writeln!(f, "  {:<25}{}", "choice, by likelihood", tally(&self.choice_by_likelihood))?;
        for (subtask, t) in &self.by_subtask {
            writeln!(f, "  {subtask:<25}{}", tally(t))?;
        }
        writeln!(f, "stages present             {}", percent(self.stages_present))?;
        writeln!(
            f,
            "blank or blurred           {} answered \"cannot be assessed\"",
            tally(&self.cannot_be_assessed)
        )?;
        writeln!(f, "stated in Observations and true")?;
        for (attribute, t) in &self.attributes {
            writeln!(f, "  {attribute:<25}{}", tally(t))?;
        }
        writeln!(f, "colour-only classifier     {} of the choice questions", tally(&self.colour_only))?;
        writeln!(
            f,
            "patches swapped            {} (chance {})",
            percent(self.swapped_accuracy),
            percent(self.swapped_chance)
        )?;
        write!(f, "{} tokens, {:.0} s", self.tokens, self.secs)
    }
}

/// One question of the benchmark, as generated.
#[derive(Clone, Debug, Serialize)]
pub struct ScoredAnswer {
    pub question: String,
    pub choices: Vec<String>,
    pub label: Option<String>,
    pub text: String,
    pub is_right: bool,
}

/// Evaluates a package on `n` held-out fields. `each` gets every answer, and `false` from it stops.
pub fn phantom(
    package: &Package,
    n: usize,
    seed: u64,
    each: &mut dyn FnMut(ScoredAnswer) -> bool,
) -> Result<PhantomFigures> {
    phantom_limited(package, n, seed, Limits::default(), each)
}

/// The same on fields and questions within limits.
pub fn phantom_limited(
    package: &Package,
    n: usize,
    seed: u64,
    limits: Limits,
    each: &mut dyn FnMut(ScoredAnswer) -> bool,
) -> Result<PhantomFigures> {
    if let Some(fault) = limits.fault() {
        return Err(Error::Setting(fault));
    }
    let begin = std::time::Instant::now();
    let model = ReinPath::load(package, &Device::Cpu, &mut |_, _| true)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let items = limited_set(&mut rng, n, limits);
    let plans: Vec<FieldPlan> =
        items.iter().map(|(truth, _)| FieldPlan { truth: *truth, seed: rng.random() }).collect();
    let patches = draw_patches(&plans, &model)?;

    let answers = answer(&model, &items, &patches)?;
    let tokens = answers.iter().map(|a| a.tokens.len()).sum();
    let mut scores = Vec::new();
    for ((truth, item), answer) in items.iter().zip(&answers) {
        let score = score(truth, item, &answer.text);
        let scored = ScoredAnswer {
            question: item.question.clone(),
            choices: item.choices.clone(),
            label: item.label.clone(),
            text: answer.text.clone(),
            is_right: score.is_right,
        };
        scores.push(score);
        if !each(scored) {
            return Err(Error::Stopped);
        }
    }
    let report = PhantomReport::new(&scores);

    // Every question with the patch of the one half a set further on.
    let mut swapped = patches.clone();
    swapped.rotate_left(n / 2);
    let swapped_scores: Vec<AnswerScore> = (answer(&model, &items, &swapped)?.iter())
        .zip(&items)
        .map(|(answer, (truth, item))| score(truth, item, &answer.text))
        .collect();
    let swapped_report = PhantomReport::new(&swapped_scores);

    let assessable = scores.iter().filter(|s| s.is_assessable);
    let mut readable = Tally::default();
    assessable.for_each(|s| readable.add(s.is_right));
    let (low, high) = report.overall.wilson_95().unwrap_or((0.0, 1.0));
    Ok(PhantomFigures {
        seed,
        n,
        without: limits.without.map(Claim::name),
        only: limits.only.map(Claim::name),
        accuracy: report.overall.share().unwrap_or(0.0),
        balanced_accuracy: report.balanced_accuracy().unwrap_or(0.0),
        interval_95: [low, high],
        stages_present: report.stages_present.share().unwrap_or(0.0),
        parse_failures: report.parse_failures,
        assessable: readable,
        cannot_be_assessed: report.cannot_be_assessed,
        by_kind: report.by_kind,
        choice_by_likelihood: choice_by_likelihood(&model, &items, &answers)?,
        by_subtask: report.by_subtask,
        by_class: report.by_class,
        attributes: report.attributes,
        colour_only: colour_only(&items, &patches, model.manifest().patch)?,
        swapped_accuracy: swapped_report.overall.share().unwrap_or(0.0),
        swapped_chance: chance_when_permuted(&items).unwrap_or(0.0),
        tokens,
        secs: begin.elapsed().as_secs_f64(),
    })
}

fn draw_patches(plans: &[FieldPlan], model: &ReinPath) -> Result<Vec<Patch>> {
    plans.par_iter().map(|plan| patch(plan, model.manifest().patch)).collect()
}

fn score(truth: &Truth, item: &QuestionItem, text: &str) -> AnswerScore {
    let (answer, is_well_formed) = StagedAnswer::parse(text);
    score_answer(truth, item, &answer, is_well_formed)
}

fn answer(model: &ReinPath, items: &[(Truth, QuestionItem)], patches: &[Patch]) -> Result<Vec<BatchAnswer>> {
    let sampling = Sampling { max_tokens: model.manifest().generation.max_tokens, ..Sampling::default() };
    let mut answers = Vec::with_capacity(items.len());
    for (items, patches) in items.chunks(BATCH).zip(patches.chunks(BATCH)) {
        let questions: Vec<Question> = items
            .iter()
            .zip(patches)
            .map(|((_, item), patch)| Question {
                patches: vec![patch.clone()],
                question: item.question.clone(),
                choices: item.choices.clone(),
                context: item.context.clone().unwrap_or_default(),
                history: Vec::new(),
                max_pixels: None,
            })
            .collect();
        answers.extend(model.answer_batch(&questions, 1, &sampling, &mut |_| true)?);
    }
    Ok(answers)
}

fn choice_by_likelihood(
    model: &ReinPath,
    items: &[(Truth, QuestionItem)],
    answers: &[BatchAnswer],
) -> Result<Tally> {
    let mut tally = Tally::default();
    for ((_, item), answer) in items.iter().zip(answers) {
        let Some(label) = item.label.as_ref().filter(|_| !item.choices.is_empty()) else { continue };
        let ids: Vec<u32> = answer.tokens.iter().map(|token| token.id).collect();
        let options = model.score_options(&answer.prompt, &ids, &item.choices)?;
        let best = options.iter().max_by(|a, b| a.logprob.total_cmp(&b.logprob));
        tally.add(best.is_some_and(|option| option.letter == *label));
    }
    Ok(tally)
}

fn colour_only(
    items: &[(Truth, QuestionItem)],
    patches: &[Patch],
    spec: reinpath_model::package::PatchSpec,
) -> Result<Tally> {
    let mut rng = ChaCha8Rng::seed_from_u64(HELD_OUT_SEED + 1);
    let known = sample_plans(COLOUR_FIELDS, &mut rng)
        .par_iter()
        .map(|plan| Ok((colour_summary(&patch(plan, spec)?.rgb), plan.truth)))
        .collect::<Result<Vec<_>>>()?;
    let asked: Vec<_> = (items.iter().zip(patches))
        .map(|((truth, item), patch)| (colour_summary(&patch.rgb), *truth, item.clone()))
        .collect();
    Ok(colour_baseline(&known, &asked))
}
