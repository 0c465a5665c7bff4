//! `reinpath model list`: the packages on this machine.

use std::io::{self, Write};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::models::{self, Listed};
use crate::places::Places;

/// Arguments of `reinpath model list`.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// One JSON object a package, {"type": "model", "data": {…}}
    #[arg(long)]
    json: bool,
}

pub(super) fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let places = Places::find().map_err(anyhow::Error::from)?;
    let listed = models::list(&places).map_err(anyhow::Error::from)?;
    let text = if arguments.json {
        listed.iter().map(|listed| format!("{}\n", data(listed))).collect::<Vec<String>>().concat()
    } else if listed.is_empty() {
        format!(
            "There is no model package: `reinpath model get OWNER/NAME` downloads what one is made from, and finished \
             packages belong in {}.\n",
            models::folder(&places).display()
        )
    } else {
        table(&listed)
    };
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
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
                "hash": measured.package.hash,
            })
        }
        Err(error) => json!({ "folder": folder, "demo": listed.is_demo, "error": error.to_string() }),
    };
    json!({ "type": "model", "data": data })
}

/// Name, size, precision, licence and folder in columns; a broken package's name and what is wrong with it.
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
    rows.into_iter().map(line).collect::<Vec<String>>().concat()
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
