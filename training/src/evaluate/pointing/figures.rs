//! The figures of the benchmark `pointing`: hits against chance with an interval over fields, and the deletion test.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Hit, Pointed};
use crate::phantom::Tally;
use crate::statistics::{Difference, Unit, paired_bootstrap};

/// How often maps of each method hit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pointing {
    /// Sentences.
    pub n: usize,
    /// Mean share of cells that hold what is named.
    pub chance: f64,
    /// Share of hits of maps of occlusion, and by how much it is above chance (bootstrap over fields).
    pub occlusion: f64,
    pub occlusion_above_chance: Difference,
    /// The same of token activation maps.
    pub tam: f64,
    pub tam_above_chance: Difference,
    /// The same of relative attention.
    pub relative_attention: f64,
    pub relative_attention_above_chance: Difference,
}

/// The deletion test of true sentences beside that of false ones in their place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deletion {
    /// Pairs in which the true sentence's number is the larger.
    pub true_is_larger: Tally,
    /// Wilson's interval of that share.
    pub interval_95: Option<[f64; 2]>,
    /// How probable it is that the number of a true sentence is larger than that of a false one, of any pair.
    pub auc: Option<f64>,
    /// Means.
    pub mean_true: Option<f64>,
    pub mean_false: Option<f64>,
}

/// The last event of the benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointingFigures {
    pub seed: u64,
    /// Fields that were asked about: those that can be read.
    pub fields: usize,
    /// Sentences of Observations that have a map.
    pub sentences: usize,
    /// Sentences that state something false of their field.
    pub false_sentences: usize,
    /// Sentences that name a structure which is there; `None` where there are none.
    pub all: Option<Pointing>,
    pub by_structure: BTreeMap<String, Pointing>,
    pub deletion: Deletion,
    pub secs: f64,
}

impl std::fmt::Display for PointingFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        writeln!(
            f,
            "{} readable phantom fields, seed {}: {} sentences of Observations, {} of them false",
            self.fields, self.seed, self.sentences, self.false_sentences
        )?;
        writeln!(
            f,
            "{:<20}{:>6}{:>9}{:>9}  above chance (95 %)",
            "brightest cell on", "n", "hits", "chance"
        )?;
        let above = |d: &Difference| {
            let [low, high] = d.interval_95.map(|x| 100.0 * x);
            format!("{:+.1} ({low:+.1} to {high:+.1}) points", 100.0 * d.mean)
        };
        let line = |f: &mut std::fmt::Formatter<'_>, name: &str, p: &Pointing| {
            let (hits, chance) = (percent(p.occlusion), percent(p.chance));
            writeln!(f, "{name:<20}{:>6}{:>9}{chance:>9}", p.n, "")?;
            writeln!(f, "{:<26}{hits:>9}{:>9}  {}", "  occlusion", "", above(&p.occlusion_above_chance))?;
            for (method, hits, difference) in [
                ("  token activation", p.tam, &p.tam_above_chance),
                ("  relative attention", p.relative_attention, &p.relative_attention_above_chance),
            ] {
                writeln!(f, "{method:<26}{:>9}{:>9}  {}", percent(hits), "", above(difference))?;
            }
            Ok(())
        };
        for (name, pointing) in &self.by_structure {
            line(f, name, pointing)?;
        }
        match &self.all {
            Some(all) => line(f, "all", all)?,
            None => writeln!(f, "no sentence names a structure that is there")?,
        }
        let Deletion { true_is_larger, interval_95, auc, .. } = &self.deletion;
        if let (Some(share), Some([low, high]), Some(auc)) = (true_is_larger.share(), interval_95, auc) {
            writeln!(
                f,
                "deletion test larger for the true sentence than for a false one in its place: {} ({} of {}, 95 % \
                 interval {} to {}), AUC {auc:.3}",
                percent(share),
                true_is_larger.right,
                true_is_larger.total,
                percent(*low),
                percent(*high)
            )?;
        }
        write!(f, "{:.0} s", self.secs)
    }
}

/// Adds up what was told of all sentences.
pub(super) fn figures(told: &[Pointed], fields: usize, seed: u64, secs: f64) -> PointingFigures {
    let all: Vec<(usize, Hit)> = told.iter().filter_map(|s| Some((s.field, s.hit?))).collect();
    let names: BTreeSet<&str> = told.iter().flat_map(|s| s.structures.keys().copied()).collect();
    let by_structure = names.into_iter().filter_map(|name| {
        let hits: Vec<(usize, Hit)> =
            told.iter().filter_map(|s| Some((s.field, *s.structures.get(name)?))).collect();
        Some((name.to_owned(), pointing(&hits, seed)?))
    });
    PointingFigures {
        seed,
        fields,
        sentences: told.len(),
        false_sentences: told.iter().filter(|s| s.is_true == Some(false)).count(),
        all: pointing(&all, seed),
        by_structure: by_structure.collect(),
        deletion: deletion(told),
        secs,
    }
}

/// The figures of hits, each with the field that it belongs to; `None` of nothing.
fn pointing(hits: &[(usize, Hit)], seed: u64) -> Option<Pointing> {
    let mean = |of: fn(&Hit) -> f64| hits.iter().map(|(_, hit)| of(hit)).sum::<f64>() / hits.len() as f64;
    let above = |of: fn(&Hit) -> f64| {
        let mut units = BTreeMap::<usize, Unit>::new();
        for (field, hit) in hits {
            let unit = units.entry(*field).or_default();
            unit.difference += of(hit) - hit.chance;
            unit.pairs += 1;
        }
        paired_bootstrap(&[units.into_values().collect()], seed)
    };
    Some(Pointing {
        n: hits.len(),
        occlusion_above_chance: above(|hit| hit.occlusion)?,
        tam_above_chance: above(|hit| hit.tam)?,
        relative_attention_above_chance: above(|hit| hit.relative_attention)?,
        chance: mean(|hit| hit.chance),
        occlusion: mean(|hit| hit.occlusion),
        tam: mean(|hit| hit.tam),
        relative_attention: mean(|hit| hit.relative_attention),
    })
}

fn deletion(told: &[Pointed]) -> Deletion {
    let pairs: Vec<(f32, f32)> =
        told.iter().filter_map(|s| Some((s.difference, s.replaced_by.as_ref()?.1))).collect();
    let mut true_is_larger = Tally::default();
    for (of_true, of_false) in &pairs {
        true_is_larger.add(of_true > of_false);
    }
    let mean = |of: fn(&(f32, f32)) -> f32| {
        let sum: f64 = pairs.iter().map(|pair| f64::from(of(pair))).sum();
        (!pairs.is_empty()).then(|| sum / pairs.len() as f64)
    };
    Deletion {
        true_is_larger,
        interval_95: true_is_larger.wilson_95().map(|(low, high)| [low, high]),
        auc: auc(&pairs),
        mean_true: mean(|pair| pair.0),
        mean_false: mean(|pair| pair.1),
    }
}

/// The area under the receiver operating characteristic, with equal numbers as half a success (Mann and Whitney).
fn auc(pairs: &[(f32, f32)]) -> Option<f64> {
    let larger = |a: f32, b: f32| if a > b { 1.0 } else { f64::from(u8::from(a == b)) / 2.0 };
    let sum: f64 = pairs.iter().flat_map(|(a, _)| pairs.iter().map(move |(_, b)| larger(*a, *b))).sum();
    (!pairs.is_empty()).then(|| sum / (pairs.len() * pairs.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(field: usize, occlusion: f64, difference: f32, of_false: Option<f32>) -> Pointed {
        let hit = Hit { occlusion, tam: 0.5, relative_attention: 0.25, chance: 0.25 };
        Pointed {
            field,
            sentence: "Fat.".to_owned(),
            hit: Some(hit),
            structures: BTreeMap::from([("fat", hit)]),
            is_true: Some(true),
            difference,
            replaced_by: of_false.map(|difference| ("Mucin.".to_owned(), difference)),
        }
    }

    #[test]
    fn figures_are_those_that_can_be_counted_by_hand() {
        let told: Vec<Pointed> = (0..40)
            .map(|i| sentence(i / 2, f64::from(u8::from(i % 4 != 0)), i as f32, (i % 2 == 0).then_some(10.0)))
            .collect();
        let figures = figures(&told, 20, 3, 0.0);
        let all = figures.all.unwrap();
        assert_eq!((all.n, all.occlusion, all.chance, all.relative_attention), (40, 0.75, 0.25, 0.25));
        assert!((all.occlusion_above_chance.mean - 0.5).abs() < 1e-12);
        assert_eq!((all.tam, all.tam_above_chance.mean), (0.5, 0.25));
        let [low, high] = all.occlusion_above_chance.interval_95;
        assert!(low > 0.3 && high < 0.7 && low < 0.5, "{low} to {high}");
        assert_eq!(all.relative_attention_above_chance, Difference { mean: 0.0, interval_95: [0.0, 0.0] });
        assert_eq!(figures.by_structure["fat"], all);
        // True: 0, 2, 4 … 38 against 10 each time: 14 are larger, one is equal.
        assert_eq!(figures.deletion.true_is_larger, Tally { right: 14, total: 20 });
        assert!((figures.deletion.auc.unwrap() - 14.5 / 20.0).abs() < 1e-12);
        assert_eq!((figures.deletion.mean_true, figures.deletion.mean_false), (Some(19.0), Some(10.0)));
        let text = figures.to_string();
        assert!(text.contains("75.0 %") && text.contains("+50.0") && text.contains("AUC 0.725"), "{text}");
        let nothing = super::figures(&[], 0, 3, 0.0);
        assert_eq!((nothing.all, nothing.deletion.auc), (None, None));
        assert!(nothing.to_string().contains("no sentence names a structure"));
    }
}
