//! An answer as it is written, for people or as JSON lines.

use std::io::{self, Write};

use anyhow::Context;
use reinpath_model::event::{AskEvent, Finished, Stamp, Stop};
use reinpath_model::stage::AnswerStage;
use serde::Serialize;

pub(super) fn warn(sentence: &str) -> anyhow::Result<()> {
    writeln!(io::stderr().lock(), "warning: {sentence}").context("cannot write to stderr")
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Form {
    /// For people: headings with their text as it comes.
    Headings,
    /// For people: the whole text as it was generated, once it has ended.
    Raw,
    /// JSON lines, as they come.
    Json,
}

/// Writes an answer to stdout; for people, warnings and the stamp go to stderr.
pub(in crate::cli) struct Printer {
    form: Form,
    /// Whether nothing is shown to people.
    pub(in crate::cli) is_quiet: bool,
    stamp: Option<Box<Stamp>>,
    /// Whether something of the answer was written.
    pub(super) has_begun: bool,
    inside_line: bool,
    /// What is written once it has ended ([`Form::Raw`]): the tokens so far, in the place of what a worker before this version does not
    /// tell.
    held: String,
}

impl Printer {
    pub(in crate::cli) fn new(form: Form) -> Self {
        Self { form, is_quiet: false, stamp: None, has_begun: false, inside_line: false, held: String::new() }
    }

    pub(super) fn print(&mut self, event: &AskEvent) -> anyhow::Result<()> {
        if self.form == Form::Json {
            self.has_begun = true;
            return write_json(event);
        }
        if self.is_quiet {
            return Ok(());
        }
        match event {
            AskEvent::Started { stamp } => {
                stamp.warnings.iter().try_for_each(|warning| warn(warning))?;
                self.stamp = Some(stamp.clone());
                Ok(())
            }
            AskEvent::Stage { .. } | AskEvent::Token { .. } if self.form == Form::Raw => {
                self.has_begun = true;
                if let AskEvent::Token { text, .. } = event {
                    self.held.push_str(text);
                }
                Ok(())
            }
            AskEvent::Stage { stage } => self.heading(*stage),
            AskEvent::Token { text, .. } => self.text(text),
            AskEvent::Finished(finished) => self.finished(finished),
            AskEvent::Failed { .. } => Ok(()),
        }
    }

    fn heading(&mut self, stage: AnswerStage) -> anyhow::Result<()> {
        self.end_line()?;
        let gap = if self.has_begun { "\n" } else { "" };
        self.has_begun = true;
        write(&format!("{gap}{}\n", stage.name()))
    }

    fn text(&mut self, text: &str) -> anyhow::Result<()> {
        self.has_begun = true;
        self.inside_line = !text.ends_with('\n');
        write(text)
    }

    pub(super) fn end_line(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.inside_line) { write("\n") } else { Ok(()) }
    }

    /// Writes what was held back.
    pub(super) fn end_text(&mut self) -> anyhow::Result<()> {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.text(&held)?;
        }
        self.end_line()
    }

    fn finished(&mut self, finished: &Finished) -> anyhow::Result<()> {
        if self.form == Form::Raw && !finished.raw.is_empty() {
            self.held.clone_from(&finished.raw);
        }
        self.end_text()?;
        match finished.stop {
            Stop::MaxTokens => warn(&format!("the answer was cut after {} tokens", finished.tokens))?,
            Stop::Cancelled => warn("the answer was stopped")?,
            Stop::End if !finished.format_ok => warn("the answer does not have its stages in order")?,
            Stop::End => {}
        }
        if let Some(line) = finished.options_line() {
            writeln!(io::stderr().lock(), "{line}").context("cannot write to stderr")?;
        }
        let stamp = self.stamp.as_deref().map(stamp_line).unwrap_or_default();
        let rate = finished.tokens as f64 / finished.decode_secs.max(1e-9);
        let Finished { tokens, prefill_secs, .. } = finished;
        writeln!(
            io::stderr().lock(),
            "{stamp}; first words after {prefill_secs:.2} s, {tokens} tokens, {rate:.0} a second"
        )
        .context("cannot write to stderr")
    }
}

/// A value as a line of its own.
pub(in crate::cli) fn write_json(event: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(event).context("an event cannot be written as JSON")?;
    line.push('\n');
    write(&line)
}

/// At once, so that words are read as they are written.
pub(in crate::cli) fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
}

/// What made the answer, on one line.
fn stamp_line(stamp: &Stamp) -> String {
    let short = |hash: &str| hash.chars().take(8).collect::<String>();
    let slide =
        stamp.slide.as_ref().map_or_else(String::new, |slide| format!("slide {}, ", short(&slide.hash)));
    let scale = match stamp.patches.first().and_then(|patch| patch.mpp) {
        Some(mpp) => format!("{mpp:.3} µm per pixel"),
        None => "level-0 pixels of unknown scale".to_owned(),
    };
    format!(
        "{slide}{scale}, model {} ({}), {} on {}, seed {}, version {}",
        stamp.package,
        short(&stamp.package_hash),
        stamp.precision,
        stamp.device,
        stamp.sampling.seed,
        stamp.version
    )
}
