//! The report as a PDF: A4, the same that the HTML tells.
//!
//! `typeface` measures words as the fonts draw them, `flow` breaks them into lines and pages, `draw` makes the file (by krilla). The
//! log's head stands among the keywords, and as a comment behind the file's end where those are packed.

use egui::{Color32, Theme};
use reinpath_model::stage::AnswerStage;

use super::document::{AnswerDocument, CaseDocument, Judgement, QuestionDocument, SentenceDocument};
use super::patches::{Gallery, Seen, bar, seen};
use super::{Document, Error, count};
use crate::case::utc;
use crate::review::difference::{self, Piece};
use crate::review::replay::stamp_lines;
use crate::window::theme::{self, Palette};

mod draw;
mod flow;
mod typeface;

use self::flow::{Face, Figure, Flow, Line, Run};

/// Points.
const BODY: f32 = 9.5;
const SMALL: f32 = 8.0;
const INDENT: f32 = 10.0;

/// The whole file.
///
/// # Errors
/// A font or a picture that the file cannot hold.
pub(super) fn bytes(document: &Document, gallery: &mut Gallery) -> Result<Vec<u8>, Error> {
    let flow = laid_out(document, gallery)?;
    draw::bytes(&flow, document)
}

fn laid_out(document: &Document, gallery: &mut Gallery) -> Result<Flow, Error> {
    let mut report = Report { flow: Flow::new()?, palette: theme::palette(Theme::Light) };
    report.heading("ReinPath review", 18.0);
    report.boxed(&document.notice);
    let answers = count(document.answers().count(), "answer");
    report.weak(&format!("{answers}. Written {} UTC by {}.", utc(document.written), document.program));
    report.weak(&format!("The log of verdicts when this was written: {}", document.log));
    for case in &document.cases {
        report.case(case, gallery);
    }
    Ok(report.flow)
}

/// Writes a document down the pages.
struct Report {
    flow: Flow,
    palette: &'static Palette,
}

impl Report {
    fn heading(&mut self, text: &str, size: f32) {
        self.flow.space(size * 0.7);
        let run = Run { face: Face::Semibold, ..Run::new(text, self.palette.text) };
        self.flow.keep(size * 4.0);
        self.flow.paragraph(&[run], size, 0.0);
    }

    fn weak(&mut self, text: &str) {
        self.flow.paragraph(&[Run::new(text, self.palette.weak)], SMALL, 0.0);
    }

    /// What must be read.
    fn boxed(&mut self, text: &str) {
        self.flow.space(4.0);
        self.flow.rule(self.palette.warning);
        self.flow.paragraph(&[Run::new(text, self.palette.text)], BODY, 0.0);
        self.flow.rule(self.palette.warning);
        self.flow.space(4.0);
    }

    fn case(&mut self, case: &CaseDocument, gallery: &mut Gallery) {
        let slide = &case.slide;
        let name = slide.name.as_ref().map(|name| format!(": {name}")).unwrap_or_default();
        self.heading(&format!("Slide {}{name}", slide.number), 14.0);
        self.flow.rule(self.palette.hairline);
        for text in [&case.title, &slide.path].into_iter().flatten() {
            self.weak(text);
        }
        self.weak(&format!("BLAKE3 {}", slide.hash));
        for question in &case.questions {
            self.question(question, gallery);
        }
    }

    fn question(&mut self, question: &QuestionDocument, gallery: &mut Gallery) {
        let asked = &question.question;
        self.heading(asked.text.trim(), 11.0);
        self.weak(&format!("Asked {} UTC", utc(asked.asked)));
        for (letter, choice) in ('A'..='Z').zip(&asked.choices) {
            let line = format!("{letter}) {choice}");
            self.flow.paragraph(&[Run::new(&line, self.palette.text)], BODY, INDENT);
        }
        if !asked.context.trim().is_empty() {
            let line = format!("Context: {}", asked.context.trim());
            self.flow.paragraph(&[Run::new(&line, self.palette.text)], BODY, 0.0);
        }
        let mut shown = Vec::new();
        for (at, answer) in (1..).zip(&question.answers) {
            let patches = seen(asked, &answer.record);
            if at == 1 || patches != shown {
                self.patches(&patches, gallery);
            }
            shown = patches;
            self.answer(at, answer);
        }
    }

    fn patches(&mut self, patches: &[Seen], gallery: &mut Gallery) {
        let figure = |patch: &Seen| {
            let png = gallery.file(patch.pixels.as_deref()).map(|(_, png)| png);
            let bar = png.as_ref().and_then(|png| bar(png.width, patch.mpp));
            let scale = match (&png, &bar) {
                (None, _) => "The pixels of this patch are not kept.".to_owned(),
                (Some(_), None) => "scale unknown".to_owned(),
                (Some(_), Some(bar)) => format!("bar: {}", bar.label),
            };
            Figure {
                caption: format!("{}, {scale}", patch.in_words()),
                bar: bar.map(|bar| bar.share as f32),
                png,
            }
        };
        let figures: Vec<Figure> = patches.iter().map(figure).collect();
        self.flow.figures(figures, SMALL, self.palette.weak, self.palette.text);
    }

    fn answer(&mut self, number: usize, answer: &AnswerDocument) {
        let [accepted, edited, rejected, open] = answer.counts();
        self.heading(&format!("{} {number}", answer.purpose()), BODY + 0.5);
        self.weak(&format!(
            "Sentences: {accepted} accepted, {edited} edited, {rejected} rejected, {open} not judged."
        ));
        for stage in AnswerStage::ALL {
            self.stage(answer, stage);
        }
        if let Some(failed) = &answer.record.failed {
            self.weak(&format!("It ended early. {failed}"));
        }
        for map in &answer.maps {
            self.weak(&format!(
                "Deletion test of “{}” on patch {} ({}): a fall of {:.0} points of probability, of random cells {:.0}.",
                map.sentence,
                map.patch + 1,
                map.method.name(),
                100.0 * map.fall,
                100.0 * map.random_fall
            ));
        }
        if let Some(stamp) = &answer.record.stamp {
            self.flow.space(4.0);
            for (name, value) in stamp_lines(stamp) {
                self.weak(&format!("{name}: {value}"));
            }
        }
        self.weak(&format!("Answer: BLAKE3 {}", answer.hash));
    }

    fn stage(&mut self, answer: &AnswerDocument, stage: AnswerStage) {
        let (before, after) = (answer.text.stage(stage).trim(), answer.corrected.stage(stage).trim());
        if before.is_empty() && after.is_empty() {
            return;
        }
        let run = Run { face: Face::Semibold, ..Run::new(stage.name(), self.palette.stage(stage)) };
        self.flow.space(4.0);
        self.flow.keep(BODY * 4.0);
        self.flow.paragraph(&[run], BODY, 0.0);
        if answer.is_rewritten(stage) {
            let mut runs = self.difference(before, after);
            let words = answer.of_stage(stage).next().map(verdict_words).unwrap_or_default();
            runs.push(Run::new(&words, self.palette.warning));
            self.flow.paragraph(&runs, BODY, INDENT);
        } else {
            for sentence in answer.of_stage(stage) {
                self.sentence(sentence);
            }
        }
    }

    fn sentence(&mut self, sentence: &SentenceDocument) {
        let mut runs = match &sentence.edited {
            Some(edited) => self.difference(&sentence.text, edited),
            None => vec![Run::new(&sentence.text, self.palette.text)],
        };
        let colour = match sentence.verdict {
            None | Some(Judgement::Accepted) => self.palette.weak,
            Some(Judgement::Edited) => self.palette.warning,
            Some(Judgement::Rejected) => {
                for run in &mut runs {
                    run.line = Line::Struck;
                }
                self.palette.error
            }
        };
        let words = verdict_words(sentence);
        runs.push(Run::new(&words, colour));
        self.flow.paragraph(&runs, BODY, INDENT);
    }

    fn difference<'a>(&self, before: &'a str, after: &'a str) -> Vec<Run<'a>> {
        let run = |piece: Piece<'a>| match piece {
            Piece::Same(text) => Run::new(text, self.palette.text),
            Piece::Removed(text) => Run { line: Line::Struck, ..Run::new(text, self.palette.weak) },
            Piece::Added(text) => {
                Run { line: Line::Under, face: Face::Semibold, ..Run::new(text, self.palette.text) }
            }
        };
        difference::words(before, after).into_iter().map(run).collect()
    }
}

/// What stands behind a sentence.
fn verdict_words(sentence: &SentenceDocument) -> String {
    let entry = sentence.entry.map(|entry| format!(", entry {entry}")).unwrap_or_default();
    let comment = sentence.comment.trim();
    let comment = if comment.is_empty() { String::new() } else { format!(" “{comment}”") };
    format!("  [{}{entry}]{comment}", sentence.verdict_words())
}

/// Parts of a colour as krilla takes them.
fn rgb(colour: Color32) -> [u8; 3] {
    [colour.r(), colour.g(), colour.b()]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HOSTILE, collection, hostile};
    use super::flow::Item;
    use super::*;

    fn words(flow: &Flow) -> String {
        let texts = flow.pages().iter().flatten().filter_map(|item| match item {
            Item::Text { text, .. } => Some(text.as_str()),
            Item::Area { .. } | Item::Picture { .. } => None,
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pages_tell_what_was_judged_and_no_name() {
        let document = Document::of(&collection(), false).unwrap();
        let flow = laid_out(&document, &mut Gallery::new(None)).unwrap();
        let words = words(&flow);
        for part in
            ["Observation", "rejected: not visible", "Slide 1", "research use only", "reinpath-log:3:"]
        {
            assert!(words.contains(part), "{part} is not in {words}");
        }
        for name in ["S26-1", "anna", "Dr. Who"] {
            assert!(!words.contains(name), "{name} is in {words}");
        }
        let document = Document::of(&collection(), true).unwrap();
        let named = laid_out(&document, &mut Gallery::new(None)).unwrap();
        assert!(self::words(&named).contains("S26-1.svs"));
    }

    #[test]
    fn hostile_texts_fill_pages_and_stay_inside_them() {
        let document = Document::of(&hostile(), false).unwrap();
        let flow = laid_out(&document, &mut Gallery::new(None)).unwrap();
        assert!(flow.pages().len() > 10, "{} pages", flow.pages().len());
        for item in flow.pages().iter().flatten() {
            let Item::Text { x, y, size, face, text, .. } = item else { continue };
            let right = x + flow.width(*face, *size, text);
            assert!(right <= flow::RIGHT + 0.1, "{text:?} ends at {right}");
            assert!(*y <= flow::BOTTOM + 0.1 && *y > 0.0);
            assert!(!text.contains(['\n', '\u{202e}', '😀']), "{text:?}");
        }
        assert!(words(&flow).contains("</script>") && HOSTILE.contains("</script>"));
    }
}
