//! `reinpath-train dataset …`: data sets looked through, counted, shown, cut and imported from the command line.
//!
//! People get sentences and tables; `--json` prints one object a line, `finding` for each finding and `finished` last.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use reinpath_model::package::Package;
use serde::Serialize;
use serde_json::json;

use crate::dataset::{
    self, CheckOptions, Dataset, ImportPlan, Purpose, Selection, Shares, SourceRow, Table, TokenMeasure,
    grouped, write_whole,
};
use crate::rows::{Row, Split};
use crate::subtask::Subtasks;
use crate::tissue_cli::LungArgs;

/// What can be done with a data set. DATA is its folder, or a file of rows beside the images.
#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Looks for what would stop a run: broken rows, missing images, leakage, answers without stages, rows too long
    Check(CheckArguments),
    /// Counts rows and answer lengths by sub-task, kind and part
    Stats(StatsArguments),
    /// Shows rows as the model gets them: the prompt, its ids, where the images stand, the encoders' pixels
    Preview(PreviewArguments),
    /// Takes rows for the cold start: the longest chains of reasoning, evenly over the sub-tasks
    Select(SelectArguments),
    /// Divides a data set into parts that share no patient, slide, source cluster or image
    Split(SplitArguments),
    /// Makes rows of a published data set: LLaVA's JSON or PathGen's
    Import(ImportArguments),
    /// Writes rows about labelled lung patches: what is measured in them, questions and staged answers
    Lung(LungArgs),
}

/// Arguments of `dataset check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    data: PathBuf,
    /// Package to hold the rows against: how long they are in its tokens, at what scale it expects images
    #[arg(long)]
    model: Option<PathBuf>,
    /// File of the sub-tasks that rows may name; by default the program's own
    #[arg(long)]
    subtasks: Option<PathBuf>,
    /// Reads every image to its end, and compares pixels between the parts
    #[arg(long)]
    decode: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Arguments of `dataset stats`.
#[derive(Debug, Args)]
pub struct StatsArguments {
    data: PathBuf,
    /// Package in whose tokens answers are measured; without it, in words
    #[arg(long)]
    model: Option<PathBuf>,
    /// File of the sub-tasks, for their order and domains; by default the program's own
    #[arg(long)]
    subtasks: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Arguments of `dataset preview`.
#[derive(Debug, Args)]
pub struct PreviewArguments {
    data: PathBuf,
    /// Package that the rows are prepared for
    #[arg(long)]
    model: PathBuf,
    /// Id of a row; by default the first row is shown
    #[arg(long = "row")]
    rows: Vec<String>,
    /// Folder for the encoders' pixels as PNG files
    #[arg(short)]
    out: Option<PathBuf>,
    /// One JSON object a line, with all ids
    #[arg(long)]
    json: bool,
}

/// Arguments of `dataset select`.
#[derive(Debug, Args)]
pub struct SelectArguments {
    data: PathBuf,
    /// Rows to take of the part for training
    #[arg(long)]
    count: usize,
    /// Decides between chains of equal length
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

/// Arguments of `dataset split`.
#[derive(Debug, Args)]
pub struct SplitArguments {
    data: PathBuf,
    /// Share of the rows for evaluation during runs
    #[arg(long, default_value_t = 0.1)]
    validation: f64,
    /// Share of the rows for the last evaluation
    #[arg(long, default_value_t = 0.1)]
    test: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

/// Arguments of `dataset import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The published file: a JSON list or JSON lines
    file: PathBuf,
    /// Folder in which the images lie, relative to the rows
    #[arg(long, default_value = "")]
    images: String,
    /// Takes every answer as a caption, as in LLaVA's data for alignment
    #[arg(long)]
    captions: bool,
    /// Part that all rows belong to: train, validation or test
    #[arg(long, value_parser = part)]
    split: Option<Split>,
    /// Where the rows come from
    #[arg(long)]
    source: Option<String>,
    /// Under which licence they are
    #[arg(long)]
    licence: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Where rows are written to, and what is told.
#[derive(Debug, Args)]
struct Output {
    /// File of rows to write, or the folder for its rows.jsonl; it lies beside the images
    #[arg(short)]
    out: PathBuf,
    /// Replaces the file if it is there
    #[arg(long)]
    force: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Executes a command; an error is what ends the program with exit code 1.
pub fn execute(command: DatasetCommand) -> anyhow::Result<()> {
    match command {
        DatasetCommand::Check(arguments) => check(&arguments),
        DatasetCommand::Stats(arguments) => stats(&arguments),
        DatasetCommand::Preview(arguments) => preview(&arguments),
        DatasetCommand::Select(arguments) => select(&arguments),
        DatasetCommand::Split(arguments) => split(&arguments),
        DatasetCommand::Import(arguments) => import(arguments),
        DatasetCommand::Lung(arguments) => arguments.run(&mut std::io::stdout().lock()),
    }
}

/// The part of a data set with this name, for clap.
pub fn part(name: &str) -> Result<Split, String> {
    dataset::split_named(name).ok_or_else(|| "the parts are train, validation and test".to_owned())
}

fn check(arguments: &CheckArguments) -> anyhow::Result<()> {
    let dataset = Dataset::read(&arguments.data)?;
    let subtasks = subtasks(arguments.subtasks.as_deref())?;
    let package = arguments.model.as_deref().map(Package::open).transpose()?;
    let measure = package.as_ref().map(TokenMeasure::open).transpose()?;
    let options = CheckOptions {
        decode: arguments.decode,
        patch: package.as_ref().map(|package| package.manifest.patch),
        measure: measure.as_ref().map(|measure| measure as &dyn dataset::Measure),
        ..CheckOptions::new(&subtasks)
    };
    let report = dataset::check(&dataset, &options);
    if arguments.json {
        report.findings.iter().try_for_each(|finding| line("finding", finding))?;
    }
    tell(arguments.json, &report)?;
    match report.stops() {
        0 => Ok(()),
        1 => bail!("one thing must be mended before a run: {}", dataset.path.display()),
        n => bail!("{n} things must be mended before a run: {}", dataset.path.display()),
    }
}

fn stats(arguments: &StatsArguments) -> anyhow::Result<()> {
    let dataset = Dataset::read(&arguments.data)?;
    let subtasks = subtasks(arguments.subtasks.as_deref())?;
    let package = arguments.model.as_deref().map(Package::open).transpose()?;
    let measure = package.as_ref().map(TokenMeasure::open).transpose()?;
    let measure = measure.as_ref().map(|measure| measure as &dyn dataset::Measure);
    let stats = dataset::stats(&dataset, &subtasks, measure)
        .map_err(|reason| anyhow::anyhow!("{reason}: {}", dataset.path.display()))?;
    tell(arguments.json, &stats)
}

fn preview(arguments: &PreviewArguments) -> anyhow::Result<()> {
    let dataset = Dataset::read(&arguments.data)?;
    let package = Package::open(&arguments.model)?;
    let measure = TokenMeasure::open(&package)?;
    let path = dataset.path.display();
    let shown: Vec<(usize, &Row)> = if arguments.rows.is_empty() {
        dataset.rows().take(1).collect()
    } else {
        let row = |id: &String| {
            let found = dataset.rows().find(|(_, row)| row.id == *id);
            found.with_context(|| format!("there is no row with the id “{id}”: {path}"))
        };
        arguments.rows.iter().map(row).collect::<anyhow::Result<_>>()?
    };
    ensure!(!shown.is_empty(), "there is no row to show: {path}");
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out)
            .with_context(|| format!("the folder cannot be made: {}", out.display()))?;
    }
    for (at, (number, row)) in shown.into_iter().enumerate() {
        let row = SourceRow::new(row.clone(), number, &dataset.folder);
        // Named by its line: an id may hold anything.
        let name = format!("row{number}");
        let view = dataset::preview(&package, &measure, &row, &name, arguments.out.as_deref())?;
        if arguments.json {
            line("preview", &view)?;
        } else {
            let gap = if at > 0 { "\n" } else { "" };
            write!(std::io::stdout().lock(), "{gap}{view}")?;
        }
    }
    Ok(())
}

fn select(arguments: &SelectArguments) -> anyhow::Result<()> {
    ensure!(arguments.count > 0, "at least one row must be taken (--count)");
    let dataset = Dataset::read(&arguments.data)?;
    let out = output_beside(&dataset, &arguments.output)?;
    let path = dataset.path.clone();
    let rows = dataset.into_rows()?;
    let rows: Vec<&Row> = rows.iter().filter(|row| dataset::part_of(row) == Split::Train).collect();
    let taken = dataset::select(&rows, arguments.count, arguments.seed);
    ensure!(
        !taken.is_empty(),
        "no row of the part train can be used for {}, which needs answers in three stages: {}",
        Purpose::ColdStart.name(),
        path.display()
    );
    write_whole(&out, taken.iter().map(|&at| rows[at]))?;
    let subtasks = dataset::selection(&rows, &taken);
    tell(
        arguments.output.json,
        &Selected { path: out, taken: taken.len(), wanted: arguments.count, subtasks },
    )
}

fn split(arguments: &SplitArguments) -> anyhow::Result<()> {
    let dataset = Dataset::read(&arguments.data)?;
    let out = output_beside(&dataset, &arguments.output)?;
    let path = dataset.path.clone();
    let mut rows = dataset.into_rows()?;
    let shares = Shares { validation: arguments.validation, test: arguments.test };
    let report = dataset::split(&mut rows, shares, arguments.seed)
        .map_err(|reason| anyhow::anyhow!("{reason}: {}", path.display()))?;
    write_whole(&out, &rows)?;
    tell(arguments.output.json, &report)
}

fn import(arguments: ImportArguments) -> anyhow::Result<()> {
    let out = dataset::rows_file(&arguments.output.out);
    not_there(&out, arguments.output.force)?;
    let folder = folder_of(&out);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the folder cannot be made: {}", folder.display()))?;
    let plan = ImportPlan {
        images: arguments.images,
        captions: arguments.captions,
        split: arguments.split,
        source: arguments.source,
        licence: arguments.licence,
    };
    let imported = dataset::import(&arguments.file, &out, &plan)?;
    tell(arguments.output.json, &imported)
}

fn subtasks(file: Option<&Path>) -> anyhow::Result<Subtasks> {
    Ok(file.map_or_else(|| Ok(Subtasks::shipped()), Subtasks::read)?)
}

/// The file to write rows of a data set to. They name their images from where they lie, so it lies there too.
fn output_beside(dataset: &Dataset, output: &Output) -> anyhow::Result<PathBuf> {
    let out = dataset::rows_file(&output.out);
    let real = |folder: &Path| std::fs::canonicalize(folder).ok();
    let (own, wanted) = (real(&folder_of(&dataset.path)), real(&folder_of(&out)));
    ensure!(
        own.is_some() && own == wanted,
        "rows are found beside the images that they name, so write them into {}, not to {}",
        folder_of(&dataset.path).display(),
        out.display()
    );
    not_there(&out, output.force)?;
    Ok(out)
}

/// The folder of a file; one without a folder lies in the working folder.
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn not_there(file: &Path, force: bool) -> anyhow::Result<()> {
    ensure!(force || !file.exists(), "the file is there already, --force replaces it: {}", file.display());
    Ok(())
}

/// What `select` did.
#[derive(Debug, Serialize)]
struct Selected {
    path: PathBuf,
    taken: usize,
    wanted: usize,
    subtasks: Vec<Selection>,
}

impl Display for Selected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} rows taken: {}\n", grouped(self.taken), self.path.display())?;
        let mut table = Table::new(&["sub-task", "rows", "taken", "mean words", "of those taken"]);
        for s in &self.subtasks {
            table.row(vec![
                s.subtask.clone().unwrap_or_else(|| "(none)".to_owned()),
                grouped(s.rows),
                grouped(s.taken),
                format!("{:.1}", s.chain_words),
                format!("{:.1}", s.taken_chain_words),
            ]);
        }
        write!(f, "{table}")?;
        writeln!(f, "Words are those of Observation and Analysis.")?;
        if self.taken < self.wanted {
            writeln!(f, "There were no more than these rows with all three stages.")?;
        }
        Ok(())
    }
}

/// The last thing that a command tells.
fn tell<T: Serialize + Display>(json: bool, done: &T) -> anyhow::Result<()> {
    if json {
        return line("finished", done);
    }
    write!(std::io::stdout().lock(), "{done}").context("stdout cannot be written to")
}

fn line(kind: &str, data: &impl Serialize) -> anyhow::Result<()> {
    let data = serde_json::to_value(data)?;
    writeln!(std::io::stdout().lock(), "{}", json!({"type": kind, "data": data}))
        .context("stdout cannot be written to")
}
