//! What the data of a run say about it: parts that are trained on and measured on, and what the check of each data set found,
//! weighed for this run.

use std::path::{Path, PathBuf};

use reinpath_training::config::{DataSource, RunConfig};
use reinpath_training::dataset::{self, FindingKind, rows_file, split_name};
use reinpath_training::event::Finding;

/// The files of rows that the run uses, each once, in the order of the settings.
pub(super) fn files(config: &RunConfig) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for source in trained(config).chain(&config.evaluation.data) {
        let file = file_of(source);
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}

/// Parts of data sets that the run would train on and be measured on.
pub(super) fn overlaps(config: &RunConfig) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for measured in &config.evaluation.data {
        let is_same =
            |source: &DataSource| source.split == measured.split && file_of(source) == file_of(measured);
        if trained(config).any(is_same) {
            let finding = Finding {
                finding: format!(
                    "The run would be measured on what it trains on, the part {}: {}",
                    split_name(measured.split),
                    measured.folder.display()
                ),
                cure: Some(
                    "Set `split` in `evaluation.data` to `validation` or `test`; `reinpath-train dataset split` makes \
                     such parts."
                        .to_owned(),
                ),
                is_fatal: true,
            };
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

/// What the check of a file of rows found, for this run; `None` of what does not concern it. Fatal is what would stop the run and
/// the training program does not find by itself, and what would make the run's figures worthless.
pub(super) fn of_check(found: &dataset::Finding, file: &Path, config: &RunConfig) -> Option<Finding> {
    use FindingKind::{
        BrokenRow, ImageMark, Leakage, NoRows, NotHeldOut, RepeatedId, WithoutStages, WithoutText,
    };
    let is_fatal = match found.kind {
        // Rows of other kinds than a stage takes are passed over, and what is held out may lie elsewhere.
        WithoutStages | WithoutText | NotHeldOut => return None,
        NoRows | BrokenRow | RepeatedId | ImageMark => true,
        Leakage => {
            trained(config).any(|source| file_of(source) == file)
                && config.evaluation.data.iter().any(|source| file_of(source) == file)
        }
        _ => false,
    };
    let sentence = found.sentence.trim_end_matches('.');
    Some(Finding {
        finding: format!("{sentence}: {}", file.display()),
        cure: Some("The Check beside the data shows the rows.".to_owned()),
        is_fatal,
    })
}

fn trained(config: &RunConfig) -> impl Iterator<Item = &DataSource> {
    let alignment = config.alignment.iter().flat_map(|stage| &stage.data);
    let cold_start = config.cold_start.iter().flat_map(|stage| &stage.data);
    let grpo = config.grpo.iter().flat_map(|stage| &stage.data);
    alignment.chain(cold_start).chain(grpo)
}

/// Its file of rows as an absolute path, so that the same file by another path is the same.
fn file_of(source: &DataSource) -> PathBuf {
    let file = rows_file(&source.folder);
    std::path::absolute(&file).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(evaluation: &str) -> RunConfig {
        let text = format!(
            "name = \"a\"\nseed = 1\nbase = \"base\"\n[cold_start]\noptimisation = {{}}\n\
             data = [{{ folder = \"one\" }}, {{ folder = \"two\" }}]\n[grpo]\noptimisation = {{}}\n\
             data = [{{ folder = \"./one\" }}]\n[evaluation]\ndata = [{evaluation}]"
        );
        toml::from_str(&text).unwrap()
    }

    fn found(kind: FindingKind) -> dataset::Finding {
        let sentence = "2 rows with something.".to_owned();
        dataset::Finding { kind, stops: kind.stops(), sentence, count: 2, places: Vec::new() }
    }

    #[test]
    fn each_file_of_rows_is_looked_through_once() {
        let files = files(&config(
            "{ folder = \"three\", split = \"test\" }, { folder = \"two\", split = \"test\" }",
        ));
        let here = std::env::current_dir().unwrap();
        assert_eq!(files, ["one", "two", "three"].map(|name| here.join(name).join("rows.jsonl")));
    }

    #[test]
    fn a_part_that_is_trained_on_cannot_be_measured_on() {
        let found = overlaps(&config(
            "{ folder = \"one\", split = \"train\" }, { folder = \"one\", split = \"test\" }",
        ));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].is_fatal && found[0].finding.ends_with("the part train: one"), "{found:?}");
        assert!(overlaps(&config("{ folder = \"one\", split = \"validation\" }")).is_empty());
        assert!(overlaps(&config("")).is_empty());
    }

    #[test]
    fn leakage_is_fatal_where_both_sides_of_it_are_used() {
        let config = config("{ folder = \"one\", split = \"test\" }");
        let file = |name: &str| std::path::absolute(name).unwrap().join("rows.jsonl");
        let leaks = |name: &str| of_check(&found(FindingKind::Leakage), &file(name), &config).unwrap();
        assert!(leaks("one").is_fatal);
        assert!(!leaks("two").is_fatal, "nothing is measured on it");
        assert!(leaks("two").finding.starts_with("2 rows with something: "), "{:?}", leaks("two"));
    }

    #[test]
    fn what_the_run_does_not_use_does_not_stop_it() {
        let config = config("");
        let weighed = |kind| of_check(&found(kind), Path::new("one/rows.jsonl"), &config);
        assert!(weighed(FindingKind::BrokenRow).is_some_and(|finding| finding.is_fatal));
        assert!(weighed(FindingKind::MissingImage).is_some_and(|finding| !finding.is_fatal));
        assert!(weighed(FindingKind::LongAnswer).is_some_and(|finding| finding.cure.is_some()));
        assert_eq!(weighed(FindingKind::WithoutStages), None);
    }
}
