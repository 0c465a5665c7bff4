//! The labelled lung patches beside the checkout: rows that can be read, parts that share no tissue, and measurements
//! that tell the classes apart on tissue that nothing was fitted on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reinpath_training::rows::read_rows;
use reinpath_training::tissue::{Lexicon, SetOptions, write_set};

const OPTIONS: SetOptions = SetOptions { seed: 1, questions: 2, captions: 1, views: 0 };

/// What a figure counts as where it does not apply: a patch without open spaces is far from any.
const FIGURES: [(&str, f64); 8] = [
    ("open_space", 0.0),
    ("wall_depth", 112.0),
    ("nuclei_along_spaces", 0.0),
    ("red_cells", 0.0),
    ("nuclear_share", 0.0),
    ("nuclear_area", 0.0),
    ("area_variation", 0.0),
    ("elongation", 1.0),
];

/// A patch as `measured.jsonl` has it.
struct Patch {
    class: String,
    is_test: bool,
    figures: [f64; 8],
}

#[expect(clippy::unwrap_used, reason = "called by tests alone")]
fn measured(folder: &Path) -> Vec<Patch> {
    let text = std::fs::read_to_string(folder.join("measured.jsonl")).unwrap();
    let patch = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        Patch {
            class: line["class"].as_str().unwrap().to_owned(),
            is_test: line["split"] == "test",
            figures: FIGURES.map(|(name, absent)| line["measures"][name].as_f64().unwrap_or(absent)),
        }
    };
    text.lines().map(patch).collect()
}

/// The mean and the deviation of each figure.
fn spread(patches: &[&Patch]) -> [(f64, f64); 8] {
    std::array::from_fn(|at| {
        let n = patches.len() as f64;
        let mean = patches.iter().map(|patch| patch.figures[at]).sum::<f64>() / n;
        let variance = patches.iter().map(|patch| (patch.figures[at] - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt().max(1e-9))
    })
}

/// The mean over the classes of the share that the nearest class mean gets right on the part `test`.
fn balanced_accuracy(patches: &[Patch]) -> f64 {
    let train: Vec<&Patch> = patches.iter().filter(|patch| !patch.is_test).collect();
    let all = spread(&train);
    let classes: BTreeSet<&str> = patches.iter().map(|patch| patch.class.as_str()).collect();
    let centre = |class: &str| {
        let of_class: Vec<&Patch> = train.iter().copied().filter(|patch| patch.class == class).collect();
        spread(&of_class).map(|(mean, _)| mean)
    };
    let centres: Vec<(&str, [f64; 8])> = classes.iter().map(|class| (*class, centre(class))).collect();
    let distance = |patch: &Patch, centre: &[f64; 8]| -> f64 {
        (0..8).map(|at| ((patch.figures[at] - centre[at]) / all[at].1).powi(2)).sum()
    };
    let mut tallies = BTreeMap::<&str, (f64, f64)>::new();
    for patch in patches.iter().filter(|patch| patch.is_test) {
        let nearest = centres.iter().min_by(|a, b| distance(patch, &a.1).total_cmp(&distance(patch, &b.1)));
        let (right, n) = tallies.entry(&patch.class).or_default();
        *right += f64::from(nearest.is_some_and(|(class, _)| *class == patch.class));
        *n += 1.0;
    }
    tallies.values().map(|(right, n)| right / n).sum::<f64>() / tallies.len() as f64
}

#[test]
fn what_is_measured_tells_real_classes_apart_on_held_out_tissue() {
    let Some(lung) = reinpath_tests::shared("data/images/labelled/lc25000_lung") else { return };
    let out = tempfile::tempdir().unwrap();
    let summary = write_set(&lung, out.path(), &OPTIONS).unwrap();
    assert!(summary.images > 1000 && summary.without_findings == 0, "{summary:?}");

    let rows = read_rows(&out.path().join("rows.jsonl")).unwrap();
    assert_eq!(rows.len(), summary.images * 3);
    let mut parts = BTreeMap::<&str, BTreeSet<_>>::new();
    for row in &rows {
        parts.entry(row.more["source_tissue_cluster"].as_str().unwrap()).or_default().insert(row.split);
    }
    assert!(parts.values().all(|parts| parts.len() == 1), "a piece of tissue is in one part alone");

    let accuracy = balanced_accuracy(&measured(out.path()));
    println!("balanced accuracy of the measurements on held-out tissue: {accuracy:.3}");
    assert!(accuracy >= 0.8, "the measurements reach {accuracy:.3}");
}

#[test]
fn the_benchmark_names_the_classes_as_the_words_do() {
    let text =
        std::fs::read_to_string(reinpath_tests::root().join("assets/benchmarks/lc25000-lung.toml")).unwrap();
    let file: toml::Table = text.parse().unwrap();
    let lexicon = Lexicon::shipped();
    let classes = file["class"].as_array().unwrap();
    assert_eq!(classes.len(), lexicon.classes.len());
    for class in classes {
        let known = lexicon.class(class["folder"].as_str().unwrap()).unwrap();
        assert_eq!(class["name"].as_str().unwrap(), lexicon.value(known.states[0]).label);
    }
}
