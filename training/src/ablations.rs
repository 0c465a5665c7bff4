//! Ablations: many small trainings that differ in one thing each, with several seeds, measured on the same held-out
//! questions (the paper's Fig. 1 and 4 and Table 4).
//!
//! Every training is an ordinary run in a folder of its own and every result a file, so that what was broken off goes on
//! where it stood; features of images are shared between the runs. In the folder:
//!
//! - `data/`: phantom fields to learn from and to be measured on;
//! - `decoders/`, `text-encoder/`, `bases/`: what arms start from, and are rewarded by;
//! - `runs/<arm>-<seed>/`: the runs;
//! - `records/<arm>-<seed>.json`: what each reached, and `.settings.json`, what it was made with;
//! - `ablations.md`, `ablations.json`: the tables, written anew after each seed.

mod base;
mod data;
mod measure;
mod settings;
mod tables;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use reinpath_model::package::{MANIFEST, Package};
use reinpath_model::prompt::ChatTokenizer;

use self::base::Parts;
use self::measure::{HeldOut, Record};
use self::settings::is_without_encoder;
pub use self::settings::{AblationsConfig, Arm, Comparison, Measure, PhantomData, PretrainSource, Stage};
use self::tables::{Records, Tables};
use crate::config::{self, PretrainConfig, RunConfig};
use crate::error::{Error, Result};
use crate::pretrain::{TEXT_ENCODER, alone};
use crate::reward;
use crate::run_folder::{RunFolder, write_whole};
use crate::{seed, three_stages};

/// Trains and measures every arm with every seed, and writes the tables; returns the file of the Markdown ones. What is in
/// the folder already is not done again. `asked` is set when a signal asks it to stop.
///
/// # Errors
/// [`Error::Stopped`] when it was asked to stop; the same call goes on from there.
pub fn run(config: &AblationsConfig, folder: &Path, asked: &Arc<AtomicBool>) -> Result<PathBuf> {
    config.check()?;
    let package = Package::open(&config.base)?;
    package.may_train()?;
    let has_encoder = package.folder.join(TEXT_ENCODER).is_dir() || config.text_encoder.is_some();
    if !has_encoder && config.needs_text_encoder()? {
        return Err(reward::Error::NoEncoder.into());
    }
    for part in ["runs", "records", "bases", "decoders"] {
        let part = folder.join(part);
        std::fs::create_dir_all(&part).map_err(Error::io(&part))?;
    }
    let data = folder.join("data");
    data::write(&config.data, package.manifest.patch, &data)?;
    let held_out = HeldOut::read(&data)?;
    let records = known(config, folder)?;
    let mut work = Work { config, folder, package, data, held_out, records, asked };
    for &seed in &config.seeds {
        for arm in &config.arms {
            work.arm(arm, seed)?;
        }
        work.write_tables()?;
    }
    Ok(work.markdown_file())
}

/// The records that are there.
fn known(config: &AblationsConfig, folder: &Path) -> Result<Records> {
    let mut records = Records::new();
    for arm in &config.arms {
        for &seed in &config.seeds {
            if let Some(record) = Record::read(&record_file(folder, arm, seed))? {
                records.insert((arm.name.clone(), seed), record);
            }
        }
    }
    Ok(records)
}

fn record_file(folder: &Path, arm: &Arm, seed: u64) -> PathBuf {
    folder.join("records").join(format!("{}-{seed}.json", arm.name))
}

/// An ablation at work.
struct Work<'a> {
    config: &'a AblationsConfig,
    folder: &'a Path,
    package: Package,
    data: PathBuf,
    held_out: HeldOut,
    records: Records,
    asked: &'a Arc<AtomicBool>,
}

impl Work<'_> {
    /// Trains and measures an arm, or does nothing where that is done.
    fn arm(&mut self, arm: &Arm, seed: u64) -> Result<()> {
        if self.asked.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let start = self.start(arm, seed)?;
        let run = match &arm.stages[..] {
            [] => None,
            _ => Some(self.with_text_encoder(self.config.run_config(arm, seed, &start, &self.data)?)?),
        };
        self.check_settings(arm, seed, run.as_ref())?;
        let key = (arm.name.clone(), seed);
        if self.records.contains_key(&key) {
            return Ok(());
        }
        let begin = Instant::now();
        let package = match run {
            Some(run) => train(run, &self.run_folder(arm, seed), self.asked)?,
            None => start.clone(),
        };
        check_adapters(&start, &package)?;
        let training_secs = begin.elapsed().as_secs_f64();
        let asked = self.asked;
        let goes_on = || !asked.load(Ordering::Relaxed);
        let measured = self.held_out.measure(&package, arm.measure, &goes_on)?;
        let record = Record { arm: arm.name.clone(), seed, training_secs, measured };
        record.write(&record_file(self.folder, arm, seed))?;
        tell(&record)?;
        self.records.insert(key, record);
        Ok(())
    }

    /// The package that an arm starts from.
    fn start(&self, arm: &Arm, seed: u64) -> Result<PathBuf> {
        if let Some(after) = &arm.after {
            let before = self.config.arm(after);
            let missing = || Error::Benchmark(format!("there is no arm “{after}”"));
            return self.result(before.ok_or_else(missing)?, seed);
        }
        let decoder = match &arm.decoder {
            None => None,
            Some(name) => Some(self.decoder(name)?),
        };
        let encoders: Vec<&str> = arm.encoders.iter().map(|kind| kind.name()).collect();
        let encoders = if encoders.is_empty() { "all".to_owned() } else { encoders.join("-") };
        let name = format!("{encoders}-{}-{seed}", arm.decoder.as_deref().unwrap_or("own"));
        let parts = Parts {
            package: &self.package,
            encoders: &arm.encoders,
            decoder: decoder.as_deref(),
            seed: seed::of(seed, &["ablation", "projector"], 0),
        };
        base::write(&parts, &self.folder.join("bases").join(name))
    }

    /// The package that an arm leads to.
    fn result(&self, arm: &Arm, seed: u64) -> Result<PathBuf> {
        if arm.stages.is_empty() {
            return self.start(arm, seed);
        }
        Ok(RunFolder::new(self.run_folder(arm, seed)).package())
    }

    fn run_folder(&self, arm: &Arm, seed: u64) -> PathBuf {
        self.folder.join("runs").join(format!("{}-{seed}", arm.name))
    }

    /// The folder of one of the ablation's own decoders, which is trained where it is not there yet.
    fn decoder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join("decoders").join(name);
        let missing = || Error::Benchmark(format!("there is no decoder “{name}”"));
        let source = self.config.decoders.get(name).ok_or_else(missing)?;
        let (config, tokenizer) = self.made_by(source, &folder)?;
        alone::decoder(&config, &tokenizer, &folder)?;
        Ok(folder)
    }

    /// A run with the ablation's own text encoder where it needs one and the package brings none; it is trained where it is
    /// not there yet.
    fn with_text_encoder(&self, mut run: RunConfig) -> Result<RunConfig> {
        let is_needed = is_without_encoder(&run) && !self.package.folder.join(TEXT_ENCODER).is_dir();
        if let (true, Some(source), Some(grpo)) = (is_needed, &self.config.text_encoder, &mut run.grpo) {
            let folder = self.folder.join(TEXT_ENCODER);
            let (config, tokenizer) = self.made_by(source, &folder)?;
            grpo.reward.text_encoder = Some(alone::text_encoder(&config, &tokenizer, &folder)?);
        }
        Ok(run)
    }

    /// What a part of stage 0 is trained with. Its settings are kept beside its folder, or are those that were.
    fn made_by(&self, source: &PretrainSource, folder: &Path) -> Result<(PretrainConfig, ChatTokenizer)> {
        let config: PretrainConfig = config::read_changed(&source.pretrain, &source.changes)?;
        let settings = serde_json::to_string(&(&config, &self.package.hash));
        let settings = settings.map_err(|e| Error::Benchmark(e.to_string()))?;
        keep(&folder.with_extension("settings.json"), &settings)?;
        let language = &self.package.manifest.language;
        let tokenizer = ChatTokenizer::read(&self.package.file(&language.tokenizer), language.chat_template)?;
        Ok((config, tokenizer))
    }

    /// Keeps what an arm is made with, or refuses to go on where it was made with something else.
    fn check_settings(&self, arm: &Arm, seed: u64, run: Option<&RunConfig>) -> Result<()> {
        let decoder = arm.decoder.as_ref().and_then(|name| self.config.decoders.get(name));
        let whole = (arm, run, decoder, &self.config.data, &self.package.hash);
        let settings = serde_json::to_string(&whole).map_err(|e| Error::Benchmark(e.to_string()))?;
        keep(&record_file(self.folder, arm, seed).with_extension("settings.json"), &settings)
    }

    fn markdown_file(&self) -> PathBuf {
        self.folder.join("ablations.md")
    }

    fn write_tables(&self) -> Result<()> {
        let tables = Tables::new(self.config, &self.records);
        let json = serde_json::to_string_pretty(&tables).map_err(|e| Error::Benchmark(e.to_string()))?;
        write_whole(&self.folder.join("ablations.json"), json.as_bytes())?;
        write_whole(&self.markdown_file(), tables.markdown().as_bytes())
    }
}

/// Trains, or goes on with a training that was broken off; returns the package.
fn train(config: RunConfig, folder: &Path, asked: &Arc<AtomicBool>) -> Result<PathBuf> {
    let folder = RunFolder::new(folder);
    if folder.package().join(MANIFEST).is_file() {
        return Ok(folder.package());
    }
    if folder.config_file().is_file() {
        three_stages::resume(&folder, asked)
    } else {
        three_stages::run(config, &folder, asked)
    }
}

/// Writes the text of settings, or compares it with what is there.
fn keep(path: &Path, settings: &str) -> Result<()> {
    if !path.is_file() {
        return write_whole(path, settings.as_bytes());
    }
    let found = std::fs::read_to_string(path).map_err(Error::io(path))?;
    (found == settings).then_some(()).ok_or_else(|| {
        let reason =
            "this was made with other settings: work in another folder, or remove what was made with them";
        Error::Benchmark(format!("{reason}: {}", path.display()))
    })
}

/// What one arm has learned must not be lost by the next, whose adapters begin anew.
fn check_adapters(start: &Path, package: &Path) -> Result<()> {
    if start == package {
        return Ok(());
    }
    let (before, after) = (Package::open(start)?.manifest, Package::open(package)?.manifest);
    let is_same = |name: &String| matches!((before.files.get(name), after.files.get(name)), (Some(a), Some(b)) if a == b);
    let of_adapters = |name: &&String| {
        before.adapters.iter().any(|adapter| Path::new(name.as_str()).starts_with(&adapter.folder))
    };
    let is_merged = !before.language.weights.iter().all(is_same);
    let is_there = before.adapters.iter().all(|adapter| after.adapters.contains(adapter))
        && before.files.keys().filter(of_adapters).all(is_same);
    (is_merged || is_there).then_some(()).ok_or_else(|| {
        let reason = "the run's package has lost the adapters of the one that it started from";
        Error::Benchmark(format!("{reason}: {}", package.display()))
    })
}

/// A line on stdout about what was measured.
fn tell(record: &Record) -> Result<()> {
    let measured = record.measured.as_ref();
    let line = serde_json::json!({"type": "arm", "data": {
        "arm": record.arm,
        "seed": record.seed,
        "training_secs": record.training_secs,
        "figures": measured.map(|measured| &measured.figures),
        "by_likelihood": measured.map(|measured| measured.by_likelihood),
    }});
    writeln!(std::io::stdout().lock(), "{line}").map_err(Error::io(Path::new("stdout")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_have_changed_are_not_mixed_with_old_results() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-1.settings.json");
        keep(&path, "one").unwrap();
        keep(&path, "one").unwrap();
        let error = keep(&path, "two").unwrap_err().to_string();
        assert!(error.contains("other settings") && error.ends_with("a-1.settings.json"), "{error}");
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-1.json");
        assert_eq!(Record::read(&path).unwrap(), None);
        let record = Record { arm: "a".to_owned(), seed: 1, training_secs: 2.5, measured: None };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), Some(record));
        std::fs::write(&path, "{").unwrap();
        assert!(Record::read(&path).unwrap_err().to_string().ends_with("a-1.json"));
    }
}
