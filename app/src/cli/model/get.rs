//! `reinpath model get`: a repository of the Hugging Face Hub, downloaded into the cache that its tools share or into a folder.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use reinpath_model::package::KNOWN;
use serde_json::{Value, json};

use crate::cli::{Failure, interrupts};
use crate::hub::{self, Fetched, News, Pattern, Repository, Revision, Settings, Wanted};
use crate::models;

/// Arguments of `reinpath model get`.
#[derive(Debug, Args)]
#[command(
    after_help = "HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean to the Hub's other \
                        tools. Ctrl-C keeps what came; the same command goes on from there."
)]
pub(super) struct GetArguments {
    /// The repository, as in the address of its page
    #[arg(value_name = "OWNER/NAME")]
    repository: Repository,
    /// Branch, tag or commit
    #[arg(long, value_name = "REV", default_value = "main")]
    revision: Revision,
    /// Only files whose names match, such as "*.json"; up to several times
    #[arg(long, value_name = "GLOB")]
    include: Vec<Pattern>,
    /// Put the files into this folder instead of the cache; files of the same names there are replaced
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Ask nobody: say where the cache has the files
    #[arg(long)]
    offline: bool,
    /// One JSON object a line: started, file, finished or failed
    #[arg(long)]
    json: bool,
}

/// Downloads and prints the folder in which the files are; the terms of a model that is known are told beside it.
pub(super) fn get(arguments: &GetArguments) -> Result<(), Failure> {
    let result = try_get(arguments);
    if let Err(Failure::Failed(error)) = &result
        && arguments.json
    {
        // The reader of the stream learns of the end there, whatever it was.
        write(&event("failed", &json!({ "error": format!("{error:#}") })))?;
    }
    result
}

fn try_get(arguments: &GetArguments) -> Result<(), Failure> {
    if let Some(note) = note(&arguments.repository.to_string()) {
        writeln!(io::stderr().lock(), "{note}").context("cannot write to stderr")?;
    }
    // Nobody takes its messages: Ctrl-C ends the process at once, wherever it is, for partial files are always good to go on from.
    let _interrupted = interrupts(Arc::new(AtomicBool::new(false)))?;
    let mut settings = Settings::from_environment().map_err(anyhow::Error::from)?;
    settings.is_offline |= arguments.offline;
    let wanted = Wanted {
        repository: arguments.repository.clone(),
        revision: arguments.revision.clone(),
        include: arguments.include.clone(),
        output: arguments.output.clone(),
    };
    let bar = bar()?;
    let mut written: anyhow::Result<()> = Ok(());
    let fetched = hub::get(&settings, &wanted, &mut |news: News<'_>| {
        draw(&bar, news);
        if arguments.json
            && written.is_ok()
            && let Some(line) = line(news, &wanted)
        {
            written = write(&line);
        }
    });
    bar.finish_and_clear();
    let fetched = fetched.map_err(anyhow::Error::from)?;
    written?;
    let last = if arguments.json {
        finished(&fetched)
    } else {
        let mut line = fetched.folder.into_os_string().into_encoded_bytes();
        line.push(b'\n');
        line
    };
    write(&last)?;
    Ok(())
}

/// What is to be known of a published model before it is downloaded, and what comes after.
fn note(repository: &str) -> Option<String> {
    let known = KNOWN.iter().find(|known| known.repository.eq_ignore_ascii_case(repository))?;
    let licence = models::licence_in_words(known);
    let next = "`reinpath model add NAME --language FOLDER` makes a package of the folder.";
    Some(format!("{}: {licence} {next}", known.name))
}

/// Draws on stderr, and nothing where that is no terminal.
fn bar() -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(
        "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left  {msg}",
    )
    .context("the progress bar is misdescribed")?;
    Ok(ProgressBar::new(0).with_style(style).with_message("asking for the list of files"))
}

fn draw(bar: &ProgressBar, news: News<'_>) {
    match news {
        News::Begun { bytes, .. } => bar.set_length(bytes),
        News::File { name } => bar.set_message(name.to_owned()),
        News::Waiting { name } if bar.is_hidden() => {
            tracing::warn!("another process is downloading {name}, which is waited for");
        }
        News::Waiting { name } => bar.set_message(format!("another process is downloading {name}: waiting")),
        News::Progress { bytes, is_received } => {
            bar.set_position(bytes);
            if !is_received {
                // What was there already says nothing about how fast the rest comes.
                bar.reset_eta();
            }
        }
        News::Have { .. } => {}
    }
}

/// What is worth a line to a reader of JSON.
fn line(news: News<'_>, wanted: &Wanted) -> Option<Vec<u8>> {
    match news {
        News::Begun { commit, files, bytes } => {
            let data = json!({
                "repository": wanted.repository.to_string(),
                "revision": wanted.revision.to_string(),
                "commit": commit,
                "files": files,
                "bytes": bytes,
            });
            Some(event("started", &data))
        }
        News::Have { name, bytes, fetched } => {
            Some(event("file", &json!({ "name": name, "bytes": bytes, "fetched_bytes": fetched })))
        }
        News::File { .. } | News::Waiting { .. } | News::Progress { .. } => None,
    }
}

fn finished(fetched: &Fetched) -> Vec<u8> {
    let data = json!({
        "folder": fetched.folder.to_string_lossy(),
        "commit": fetched.commit,
        "files": fetched.files,
        "bytes": fetched.bytes,
        "fetched_bytes": fetched.fetched,
    });
    event("finished", &data)
}

fn event(name: &str, data: &Value) -> Vec<u8> {
    format!("{}\n", json!({ "type": name, "data": data })).into_bytes()
}

/// At once, so that a reader sees files as they come.
fn write(line: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line).and_then(|()| stdout.flush()).context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terms_of_a_known_model_are_told_before_it_is_downloaded() {
        for known in KNOWN {
            let told = note(&known.repository.to_uppercase()).unwrap();
            assert!(told.starts_with(known.name) && told.contains(known.licence), "{told}");
            assert!(told.contains(known.allows) && told.contains("reinpath model add"), "{told}");
        }
        assert_eq!(note("MahmoodLab/CONCH"), None);
    }
}
