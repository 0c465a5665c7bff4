//! `reinpath model list`: the packages on this machine, or the published models that are known by name.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Context;
use clap::Args;
use reinpath_model::package::{KNOWN, Known};
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::models::{self, Listed};
use crate::places::Places;

/// Arguments of `reinpath model list`.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Published models instead, which the program knows by name: what they take, their licences, how to get them
    #[arg(long)]
    known: bool,
    /// One JSON object a package, {"type": "model", "data": {…}}, or a published model ("known")
    #[arg(long)]
    json: bool,
}

pub(super) fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let text = if arguments.known { known(arguments.json) } else { packages(arguments.json)? };
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
}

fn packages(as_json: bool) -> Result<String, Failure> {
    let places = Places::find().map_err(anyhow::Error::from)?;
    let listed = models::list(&places).map_err(anyhow::Error::from)?;
    Ok(if as_json {
        listed.iter().map(|listed| format!("{}\n", data(listed))).collect::<Vec<String>>().concat()
    } else if listed.is_empty() {
        format!(
            "There is no model package: `reinpath model get OWNER/NAME` downloads what one is made from, `reinpath model \
             list --known` names models that can be had, and finished packages belong in {}.\n",
            models::folder(&places).display()
        )
    } else {
        table(&listed)
    })
}

/// The published models, a paragraph each.
fn known(as_json: bool) -> String {
    let paragraph = |known: &Known| {
        let lines =
            [models::sizes_in_words(known), models::licence_in_words(known), models::command_for(known)];
        format!("{}\n  {}\n", known.name, lines.join("\n  "))
    };
    let line = |known: &Known| format!("{}\n", known_data(known));
    let told = KNOWN.iter().map(|known| if as_json { line(known) } else { paragraph(known) });
    told.collect::<Vec<String>>().concat()
}

fn known_data(known: &Known) -> Value {
    let memory: BTreeMap<&str, u64> = models::memory_of(known).collect();
    let data = json!({
        "name": known.name,
        "repository": known.repository,
        "bytes": models::download_bytes(known),
        "memory": memory,
        "licence": known.licence,
        "gated": known.is_gated,
        "allows": known.allows,
        "refuses_training": known.refuses_training,
    });
    json!({ "type": "known", "data": data })
}

fn data(listed: &Listed) -> Value {
    // Not the path itself: one that is no Unicode would be no JSON.
    let folder = listed.folder.to_string_lossy();
    let data = match &listed.package {
        Ok(measured) => {
            let manifest = &measured.package.manifest;
            json!({
                "folder": folder,
                "demo": listed.is_demo,
                "name": manifest.name,
                "bytes": measured.bytes,
                "precision": manifest.language.precision,
                "licence": manifest.licence,
                "allows": manifest.terms.as_ref().map(|terms| &terms.allows),
                "untrainable": models::untrainable(&measured.package),
                "hash": measured.package.hash,
            })
        }
        Err(error) => json!({ "folder": folder, "demo": listed.is_demo, "error": error.to_string() }),
    };
    json!({ "type": "model", "data": data })
}

/// Name, size, precision, licence and folder in columns, and below them what the licence allows where that is known; a broken
/// package's name and what is wrong with it.
fn table(listed: &[Listed]) -> String {
    let rows: Vec<Result<[String; 5], [String; 2]>> = listed.iter().map(row).collect();
    let mut widths = [0; 4];
    for row in rows.iter().flatten() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [name_width, size_width, precision_width, licence_width] = widths;
    let line = |row: Result<[String; 5], [String; 2]>| match row {
        Ok([name, size, precision, licence, folder]) => format!(
            "{name:<name_width$}  {size:>size_width$}  {precision:<precision_width$}  {licence:<licence_width$}  {folder}\n"
        ),
        Err([name, error]) => format!("{name:<name_width$}  broken: {error}\n"),
    };
    rows.into_iter().map(line).zip(listed).map(|(line, listed)| line + &allows(listed)).collect()
}

/// A line about what a package's licence allows, where that is known.
fn allows(listed: &Listed) -> String {
    let terms = listed.package.as_ref().ok().and_then(|measured| measured.package.manifest.terms.as_ref());
    terms.map_or_else(String::new, |terms| format!("  {}\n", terms.allows))
}

fn row(listed: &Listed) -> Result<[String; 5], [String; 2]> {
    let folder = listed.folder.display().to_string();
    match &listed.package {
        Ok(measured) => {
            let manifest = &measured.package.manifest;
            let licence = match manifest.licence.as_str() {
                "" => "no licence stated",
                licence => licence,
            };
            Ok([
                manifest.name.clone(),
                models::size_in_words(measured.bytes),
                manifest.language.precision.clone(),
                licence.to_owned(),
                folder,
            ])
        }
        Err(error) => {
            let name = listed.folder.file_name().unwrap_or_default().to_string_lossy();
            Err([name.into_owned(), error.to_string()])
        }
    }
}

#[cfg(test)]
mod tests {
    use reinpath_model::package;

    use super::*;

    #[test]
    fn published_models_are_told_with_all_that_is_to_be_known_before_they_are_downloaded() {
        let text = known(false);
        assert_eq!(text.lines().count(), 4 * KNOWN.len(), "{text}");
        assert!(text.contains("\n  reinpath model add Patho-R1-7B --language "), "{text}");
        let lines: Vec<Value> =
            known(true).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
        assert_eq!(lines.len(), KNOWN.len());
        for (line, known) in lines.iter().zip(KNOWN) {
            assert_eq!(
                (line["type"].as_str(), line["data"]["name"].as_str()),
                (Some("known"), Some(known.name))
            );
            assert_eq!(line["data"]["refuses_training"].as_str(), known.refuses_training);
            assert!(line["data"]["memory"]["q4_k_m"].as_u64() < line["data"]["bytes"].as_u64(), "{line}");
        }
    }

    #[test]
    fn a_broken_package_stands_in_the_list_with_its_reason() {
        let listed = Listed {
            folder: "models/broken".into(),
            is_demo: false,
            package: Err(package::Error::Missing("models/broken".into())),
        };
        let text = table(std::slice::from_ref(&listed));
        assert!(text.starts_with("broken  broken: there is no model package here"), "{text}");
        let line = data(&listed);
        assert!(line["data"]["error"].as_str().unwrap().ends_with("models/broken"), "{line}");
    }
}
