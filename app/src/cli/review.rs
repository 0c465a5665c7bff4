//! `reinpath review`: the log of verdicts verified, cases listed, answers exported.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, review_export};
use crate::case::{Listed, utc};
use crate::places::Places;
use crate::review::log::Head;
use crate::review::verify::{against, heads_in, verify};
use crate::store::Store;

/// Cases that are listed.
const MOST_LISTED: usize = 10_000;
/// Files that are looked through for the log's head: larger ones are pictures.
const MOST_BYTES: u64 = 1 << 30;

/// Arguments of `reinpath review`.
#[derive(Debug, Args)]
pub(super) struct ReviewArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write reviewed answers as JSON, HTML, PDF, GeoJSON, a table, or rows to train on
    Export(Box<review_export::ExportArguments>),
    /// List cases, those that were changed last first
    List(ListArguments),
    /// Look at every entry of the log of verdicts: whether any was changed, taken out, or cut off since an export
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Only cases with these words in their title, questions or answers
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    search: String,
    #[command(flatten)]
    store: StoreArgument,
    /// One JSON object a line, {"type": "case", "data": {…}}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct VerifyArguments {
    #[command(flatten)]
    store: StoreArgument,
    /// An export of any form, or a folder of rows, that has seen the log; up to several times
    #[arg(long, value_name = "EXPORT")]
    against: Vec<PathBuf>,
    /// One JSON object, {"type": "verified", "data": {…}}
    #[arg(long)]
    json: bool,
}

/// Which store is meant.
#[derive(Debug, Args)]
pub(super) struct StoreArgument {
    /// The store [default: the user's own, store.sqlite in the data folder]
    #[arg(long = "store", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl StoreArgument {
    /// Where it is. It must be there: reading makes none.
    pub(super) fn path(&self) -> Result<PathBuf, Failure> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => Places::find().map_err(anyhow::Error::from)?.data.join("store.sqlite"),
        };
        if path.is_file() {
            Ok(path)
        } else {
            Err(Failure::Failed(anyhow!("there is no store: {}", path.display())))
        }
    }

    /// Opens it.
    pub(super) fn open(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.path()?).map_err(anyhow::Error::from)?)
    }
}

pub(super) fn review(arguments: &ReviewArguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Export(arguments) => review_export::export(arguments),
        Command::List(arguments) => list(arguments),
        Command::Verify(arguments) => verify_log(arguments),
    }
}

fn verify_log(arguments: &VerifyArguments) -> Result<(), Failure> {
    let path = arguments.store.path()?;
    let store = arguments.store.open()?;
    let head = verify(&store)
        .map_err(anyhow::Error::from)?
        .map_err(|fault| anyhow!("the log of verdicts is not whole, {fault}: {}", path.display()))?;
    for export in &arguments.against {
        for seen in heads_of(export)? {
            against(&store, &seen)
                .map_err(anyhow::Error::from)?
                .map_err(|fault| anyhow!("{fault}: {}", export.display()))?;
        }
    }
    let text = if arguments.json {
        format!(
            "{}\n",
            json!({"type": "verified", "data": {"entries": head.entries, "head": head.to_string()}})
        )
    } else {
        in_words(&head, arguments.against.len())
    };
    print(&text)
}

fn in_words(head: &Head, exports: usize) -> String {
    let entries = if head.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", head.entries) };
    let seen = match exports {
        0 => String::new(),
        1 => ", and has all that the export has seen".to_owned(),
        _ => format!(", and has all that the {exports} exports have seen"),
    };
    format!("The log of verdicts is whole: {entries}{seen}.\n{head}\n")
}

/// The heads of an export; of a folder those of its files.
fn heads_of(export: &Path) -> anyhow::Result<Vec<Head>> {
    let read = |path: &Path| -> anyhow::Result<Vec<Head>> {
        let unreadable = || format!("the export cannot be read: {}", path.display());
        if std::fs::metadata(path).with_context(unreadable)?.len() > MOST_BYTES {
            bail!("the export is too large to be one of ours: {}", path.display());
        }
        Ok(heads_in(&std::fs::read(path).with_context(unreadable)?))
    };
    let mut heads = Vec::new();
    if export.is_dir() {
        let unreadable = || format!("the folder cannot be read: {}", export.display());
        for entry in std::fs::read_dir(export).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            if path.is_file() {
                heads.extend(read(&path)?);
            }
        }
    } else {
        heads = read(export)?;
    }
    if heads.is_empty() {
        bail!("the export does not name the log that it was made of: {}", export.display());
    }
    Ok(heads)
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let store = arguments.store.open()?;
    let cases = store.cases(&arguments.search, None, MOST_LISTED).map_err(anyhow::Error::from)?;
    let line = if arguments.json { as_json } else { as_line };
    print(&cases.iter().map(line).collect::<String>())
}

fn as_json(listed: &Listed) -> String {
    let Listed { case, answers, reviewed, begun, found, answer } = listed;
    let data = json!({
        "id": case.id,
        "title": case.title,
        "slide": {"hash": case.slide.hash, "name": case.slide.name},
        "created": utc(case.created),
        "changed": utc(case.changed),
        "answers": answers,
        "reviewed": reviewed,
        "begun": begun,
        "found": found,
        "answer": answer,
    });
    format!("{}\n", json!({"type": "case", "data": data}))
}

fn as_line(listed: &Listed) -> String {
    let Listed { case, answers, reviewed, begun, found, .. } = listed;
    let name = if case.slide.name.is_empty() { "(hidden)" } else { &case.slide.name };
    let title = case.title.split_whitespace().collect::<Vec<_>>().join(" ");
    let found = if found.is_empty() || *found == case.title { String::new() } else { format!("  {found}\n") };
    let (changed, id) = (utc(case.changed), &case.id.0);
    format!(
        "{changed}  {name}  {title}\n  {answers} answers, {reviewed} reviewed, {begun} begun, {id}\n{found}"
    )
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Id;
    use crate::store::samples;

    #[test]
    fn a_whole_log_is_told_with_its_head() {
        let head = Head { entries: 1, ..Head::default() };
        let text = in_words(&head, 2);
        assert!(
            text.starts_with(
                "The log of verdicts is whole: 1 entry, and has all that the 2 exports have seen."
            )
        );
        assert!(text.ends_with(&format!("{head}\n")));
    }

    #[test]
    fn a_case_is_a_line_for_people_and_for_programs() {
        let mut case = samples::case("c", "s", 0);
        case.title = "Two\nlines".to_owned();
        let found = "glands are seen".to_owned();
        let answer = Some(Id("a".to_owned()));
        let listed = Listed { case, answers: 3, reviewed: 1, begun: 2, found, answer };
        let line = as_line(&listed);
        assert!(line.starts_with("1970-01-01 00:00:00  s.svs  Two lines\n"), "{line}");
        assert!(line.contains("3 answers, 1 reviewed, 2 begun, c\n  glands"), "{line}");
        let json: serde_json::Value = serde_json::from_str(&as_json(&listed)).unwrap();
        assert_eq!((json["type"].as_str(), json["data"]["answer"].as_str()), (Some("case"), Some("a")));
    }

    #[test]
    fn an_export_without_a_head_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, "{}").unwrap();
        assert!(heads_of(&path).unwrap_err().to_string().contains("does not name the log"));
        assert!(heads_of(folder.path()).is_err());
        std::fs::write(folder.path().join("about.txt"), Head::default().to_string()).unwrap();
        assert_eq!(heads_of(folder.path()).unwrap(), [Head::default()]);
        assert!(heads_of(&folder.path().join("nonesuch")).is_err());
    }
}
