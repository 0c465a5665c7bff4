//! The pointing game: of a model that always says the same, whose every figure is known beforehand, and of the demo
//! model.

use std::path::Path;
use std::process::Command;

use candle_core::Device;
use reinpath_model::fixture::{Speech, write_package};
use reinpath_model::package::Package;
use reinpath_model::reinpath::ReinPath;
use reinpath_tests::{program, root};
use reinpath_training::error::Error;
use reinpath_training::evaluate::pointing::{Pointed, PointingFigures, of_package};

/// What a model says of every field: true of fat alone.
const FAT: [&str; 6] =
    ["[Observation]\n", "Fat fills", " the field.", "\n[Analysis]\nSo it", " is.\n[Conclusion]\n", "Fat."];

fn load(folder: &Path) -> ReinPath {
    let package = Package::open(folder).expect("the package is whole");
    ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).expect("the package loads")
}

#[test]
fn a_sentence_counts_where_it_is_true_and_what_it_names_is_there() {
    let folder = tempfile::tempdir().unwrap();
    write_package(folder.path(), Speech::Script(&FAT)).unwrap();
    let model = load(folder.path());
    let mut told: Vec<Pointed> = Vec::new();
    let figures = of_package(&model, 270, 5, &mut |sentence| {
        told.push(sentence.clone());
        true
    })
    .unwrap();
    // 270 fields, so that every topic meets every value; 7 % cannot be read.
    assert_eq!((figures.fields, figures.sentences, told.len()), (251, 251, 251));
    assert!(told.iter().all(|sentence| sentence.sentence == "Fat fills the field."));
    let (fat, other): (Vec<&Pointed>, Vec<&Pointed>) = told.iter().partition(|s| s.is_true == Some(true));
    assert_eq!(figures.false_sentences, other.len());
    assert!(!fat.is_empty() && other.len() > fat.len(), "{} and {}", fat.len(), other.len());
    assert!(other.iter().all(|sentence| sentence.hit.is_none() && sentence.structures.is_empty()));
    let hits: Vec<_> =
        fat.iter().filter_map(|sentence| sentence.hit.zip(sentence.structures.get("fat"))).collect();
    for (hit, of_fat) in &hits {
        assert_eq!(hit, *of_fat, "the sentence names nothing else");
        // The fixture's grid has four cells.
        assert!([0.25, 0.5, 0.75, 1.0].contains(&hit.chance), "{hit:?}");
        if hit.chance == 1.0 {
            assert_eq!(
                (hit.occlusion, hit.tam, hit.relative_attention),
                (1.0, 1.0, 1.0),
                "whatever is brightest hits"
            );
        }
    }
    assert!(hits.iter().any(|(hit, _)| hit.chance == 1.0), "{hits:?}");
    let all = figures.all.unwrap();
    let sum: f64 = hits.iter().map(|(hit, _)| hit.occlusion - hit.chance).sum();
    assert_eq!(all.n, hits.len());
    assert!((all.occlusion_above_chance.mean - sum / hits.len() as f64).abs() < 1e-12);
    assert_eq!(figures.by_structure.keys().collect::<Vec<_>>(), ["fat"]);
    // Whatever else was said of a field was the same: there is no false sentence to put in its place.
    assert_eq!((figures.deletion.true_is_larger.total, figures.deletion.auc), (0, None));
    let stopped = of_package(&model, 30, 5, &mut |_| false);
    assert!(matches!(stopped, Err(Error::Stopped)));
}

#[test]
fn the_demo_model_is_measured_by_the_command_and_twice_to_the_same_figures() {
    let measure = || {
        let output = Command::new(program("reinpath-train"))
            .current_dir(root())
            .args(["evaluate", "--model", "assets/models/demo", "--benchmark", "pointing"])
            .args(["--limit", "24", "--seed", "11", "--json"])
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("stdout is text");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect();
        let (last, told) = lines.split_last().expect("there are figures");
        assert_eq!(last["type"], "finished");
        let figures: PointingFigures =
            serde_json::from_value(last["data"].clone()).expect("they are figures");
        let told: Vec<serde_json::Value> = told.iter().map(|line| line["data"].clone()).collect();
        (PointingFigures { secs: 0.0, ..figures }, told)
    };
    let (figures, told) = measure();
    assert!(figures.fields >= 20 && figures.sentences == told.len(), "{figures}");
    let all = figures.all.expect("its sentences name structures");
    assert!(all.n > 10 && all.chance > 0.0 && all.chance < 1.0, "{figures}");
    for sentence in told.iter().filter(|sentence| !sentence["hit"].is_null()) {
        let of = |key: &str| sentence["hit"][key].as_f64().expect("a share");
        assert!(
            (0.0..=1.0).contains(&of("occlusion"))
                && (0.0..=1.0).contains(&of("tam"))
                && of("chance") > 0.0
                && of("chance") <= 1.0
        );
    }
    // At most one sentence of a field was replaced, and only a true one.
    let replaced: Vec<_> = told.iter().filter(|sentence| !sentence["replaced_by"].is_null()).collect();
    assert_eq!(replaced.len(), figures.deletion.true_is_larger.total);
    assert!(!replaced.is_empty() && replaced.len() <= figures.fields);
    assert!(replaced.iter().all(|sentence| sentence["is_true"] == true));
    let again = measure();
    assert_eq!((figures, told), again);
}
