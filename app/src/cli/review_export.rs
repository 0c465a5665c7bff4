//! `reinpath review export`: reviewed answers as a report, a table, rows to train on, without a window.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::Failure;
use crate::case::Id;
use crate::places::Places;
use crate::review::Selection;
use crate::review::export::{self, Form};
use crate::store::Store;

/// Arguments of `reinpath review export`.
#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// Where to write it: a file, or a new folder for rows
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// html, pdf, json, csv, geojson or rows (default: by the ending of the path, rows without one)
    #[arg(long, value_name = "FORM", value_parser = form)]
    form: Option<Form>,
    /// This answer only; may be given more than once (default: everything with a verdict)
    #[arg(long = "answer", value_name = "ID", conflicts_with = "case")]
    answers: Vec<String>,
    /// All answers of this case only
    #[arg(long, value_name = "ID")]
    case: Option<String>,
    /// Tell what slides are called, where they lie, and who judged
    #[arg(long)]
    names: bool,
    /// The store (default: the window's)
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Folder of the patches' pixels (default: `patches` beside the store)
    #[arg(long, value_name = "FOLDER")]
    patches: Option<PathBuf>,
    /// One JSON object, {"type": "exported", "data": {…}}
    #[arg(long)]
    json: bool,
}

fn form(text: &str) -> Result<Form, String> {
    let names = Form::ALL.map(Form::name).join(", ");
    Form::from_name(text).ok_or_else(|| format!("there is no form “{text}”, only {names}"))
}

impl ExportArguments {
    /// As it is asked for, or as the path's ending says.
    fn form(&self) -> Result<Form, Failure> {
        if let Some(form) = self.form {
            return Ok(form);
        }
        let ending = self.output.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let Some(ending) = ending else { return Ok(Form::Rows) };
        let named = Form::from_name(&ending).filter(|form| !form.is_folder());
        named.ok_or_else(|| Failure::Usage(format!("say by --form what “.{ending}” is to be")))
    }

    fn selection(&self) -> Selection {
        match &self.case {
            Some(case) => Selection::Case(Id(case.clone())),
            None if self.answers.is_empty() => Selection::Reviewed,
            None => Selection::Answers(self.answers.iter().cloned().map(Id).collect()),
        }
    }
}

pub(super) fn export(arguments: &ExportArguments) -> Result<(), Failure> {
    let form = arguments.form()?;
    let path = match &arguments.store {
        Some(path) => path.clone(),
        None => Places::find().map_err(anyhow::Error::from)?.data.join("store.sqlite"),
    };
    if !path.is_file() {
        // Opening would make one.
        return Err(anyhow::anyhow!("there is no store of reviews: {}", path.display()).into());
    }
    let beside = || path.parent().unwrap_or(Path::new("")).join("patches");
    let patches = arguments.patches.clone().unwrap_or_else(beside);
    let store = Store::open(&path).map_err(anyhow::Error::from)?;
    let collection = store.collect(&arguments.selection()).map_err(anyhow::Error::from)?;
    let sentence = export::write(form, &collection, arguments.names, Some(&patches), &arguments.output)
        .map_err(anyhow::Error::from)?;
    let text = if arguments.json {
        let data = serde_json::json!({
            "form": form.name(),
            "path": arguments.output,
            "answers": collection.reviewed.len(),
            "log": collection.head.to_string(),
            "sentence": sentence,
        });
        serde_json::json!({"type": "exported", "data": data}).to_string()
    } else {
        sentence
    };
    writeln!(io::stdout().lock(), "{text}").context("cannot write to stdout")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ExportArguments,
    }

    fn parsed(words: &[&str]) -> Result<ExportArguments, clap::Error> {
        let words = std::iter::once("export").chain(words.iter().copied());
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    #[test]
    fn the_form_is_asked_for_or_told_by_the_ending() {
        for (words, form) in [
            (&["-o", "a.HTML"][..], Form::Html),
            (&["-o", "folder"], Form::Rows),
            (&["-o", "a.txt", "--form", "csv"], Form::Csv),
            (&["-o", "a.geojson"], Form::GeoJson),
        ] {
            assert_eq!(parsed(words).unwrap().form().unwrap(), form, "{words:?}");
        }
        for words in [&["-o", "a.txt"][..], &["-o", "a.rows"]] {
            assert!(matches!(parsed(words).unwrap().form(), Err(Failure::Usage(_))), "{words:?}");
        }
        let refused = parsed(&["-o", "a", "--form", "poem"]).unwrap_err().to_string();
        assert!(refused.contains("there is no form “poem”, only html"), "{refused}");
    }

    #[test]
    fn answers_or_a_case_or_all_are_exported() {
        assert_eq!(parsed(&["-o", "a"]).unwrap().selection(), Selection::Reviewed);
        let two = parsed(&["-o", "a", "--answer", "x", "--answer", "y"]).unwrap().selection();
        assert_eq!(two, Selection::Answers(vec![Id("x".to_owned()), Id("y".to_owned())]));
        let case = parsed(&["-o", "a", "--case", "c"]).unwrap().selection();
        assert_eq!(case, Selection::Case(Id("c".to_owned())));
        assert!(parsed(&["-o", "a", "--case", "c", "--answer", "x"]).is_err());
        assert!(parsed(&[]).is_err(), "a path is needed");
    }

    #[test]
    fn a_store_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.sqlite");
        let arguments = parsed(&["-o", "a.html", "--store", store.to_str().unwrap()]).unwrap();
        let Err(Failure::Failed(error)) = export(&arguments) else { panic!("it was exported") };
        assert!(error.to_string().ends_with("store.sqlite"), "{error}");
        assert!(!store.exists());
    }
}
