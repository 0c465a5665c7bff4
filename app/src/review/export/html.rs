//! The report as one HTML file that needs nothing else: styles and pictures are in it, no script, and nothing is fetched.
//!
//! It is written so that it is XML too, and everything that a person or a model wrote is escaped.

use std::fmt::Write as _;

use egui::{Color32, Theme};
use reinpath_model::stage::AnswerStage;

use super::document::{AnswerDocument, CaseDocument, Judgement, QuestionDocument, SentenceDocument};
use super::patches::{Bar, Gallery, Seen, bar, seen};
use super::{Document, count};
use crate::case::utc;
use crate::review::difference::{self, Piece};
use crate::review::replay::stamp_lines;
use crate::window::theme;

/// The whole file.
pub(super) fn page(document: &Document, gallery: &mut Gallery) -> String {
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    // Whatever somebody may have smuggled into a text, nothing is run or fetched.
    out += "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"/>\n";
    out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";
    writeln!(out, "<meta name=\"keywords\" content=\"{}\"/>", escaped(&document.log)).ok();
    write!(out, "<title>ReinPath review</title>\n<style>\n{}</style>\n</head>\n<body>\n", style()).ok();
    write!(
        out,
        "<header>\n<h1>ReinPath review</h1>\n<p class=\"notice\">{}</p>\n",
        escaped(&document.notice)
    )
    .ok();
    let answers = count(document.answers().count(), "answer");
    let written = utc(document.written);
    write!(
        out,
        "<p class=\"weak\">{answers}. Written {written} UTC by {}.</p>\n</header>\n",
        escaped(&document.program)
    )
    .ok();
    for case in &document.cases {
        case_html(&mut out, case, gallery);
    }
    writeln!(
        out,
        "<footer class=\"weak\">The log of verdicts when this was written: {}</footer>",
        escaped(&document.log)
    )
    .ok();
    out + "</body>\n</html>\n"
}

/// The colours of the window's light theme, by the names that the style sheet has for them.
fn style() -> String {
    let palette = theme::palette(Theme::Light);
    let [observation, analysis, conclusion] = AnswerStage::ALL.map(|stage| palette.stage(stage));
    let colours = [
        ("ground", palette.field),
        ("text", palette.text),
        ("weak", palette.weak),
        ("line", palette.hairline),
        ("warning", palette.warning),
        ("error", palette.error),
        ("observation", observation),
        ("analysis", analysis),
        ("conclusion", conclusion),
    ];
    let named = |(name, colour): (&str, Color32)| {
        format!("--{name}: #{:02x}{:02x}{:02x};", colour.r(), colour.g(), colour.b())
    };
    format!(":root {{ {} }}\n{}", colours.map(named).join(" "), include_str!("report.css"))
}

fn case_html(out: &mut String, case: &CaseDocument, gallery: &mut Gallery) {
    let slide = &case.slide;
    let name = slide.name.as_ref().map(|name| format!(": {}", escaped(name))).unwrap_or_default();
    write!(out, "<section>\n<h2><bdi>Slide {}{name}</bdi></h2>\n", slide.number).ok();
    for text in [&case.title, &slide.path].into_iter().flatten() {
        writeln!(out, "<p class=\"weak\" dir=\"auto\">{}</p>", escaped(text)).ok();
    }
    writeln!(out, "<p class=\"weak\">BLAKE3 {}</p>", escaped(&slide.hash)).ok();
    for question in &case.questions {
        question_html(out, question, gallery);
    }
    *out += "</section>\n";
}

fn question_html(out: &mut String, question: &QuestionDocument, gallery: &mut Gallery) {
    let asked = &question.question;
    write!(out, "<article>\n<h3 dir=\"auto\">{}</h3>\n", escaped(asked.text.trim())).ok();
    writeln!(out, "<p class=\"weak\">Asked {} UTC</p>", utc(asked.asked)).ok();
    if !asked.choices.is_empty() {
        let choice = |choice: &String| format!("<li dir=\"auto\">{}</li>", escaped(choice));
        let choices: String = asked.choices.iter().map(choice).collect();
        writeln!(out, "<ol type=\"A\">{choices}</ol>").ok();
    }
    if !asked.context.trim().is_empty() {
        writeln!(out, "<p dir=\"auto\">Context: {}</p>", escaped(asked.context.trim())).ok();
    }
    let mut shown = Vec::new();
    for (at, answer) in (1..).zip(&question.answers) {
        let patches = seen(asked, &answer.record);
        // Answers to one question mostly saw the same.
        if at == 1 || patches != shown {
            patches_html(out, &patches, gallery);
        }
        shown = patches;
        answer_html(out, at, answer);
    }
    *out += "</article>\n";
}

fn patches_html(out: &mut String, patches: &[Seen], gallery: &mut Gallery) {
    *out += "<div class=\"patches\">\n";
    for patch in patches {
        *out += "<figure>";
        let words = escaped(&patch.in_words());
        let scale = if let Some((_, png)) = gallery.file(patch.pixels.as_deref()) {
            let data = base64::encode(&png.bytes);
            write!(out, "<img alt=\"{words}\" src=\"data:image/png;base64,{data}\"/>").ok();
            bar(png.width, patch.mpp).map(|Bar { share, label }| {
                write!(out, "<div class=\"bar\" style=\"width:{:.3}%\"></div>", share * 100.0).ok();
                label
            })
        } else {
            *out += "<p class=\"weak\">The pixels of this patch are not kept.</p>";
            None
        };
        let scale = scale.map_or_else(|| "scale unknown".to_owned(), |label| format!("bar: {label}"));
        writeln!(out, "<figcaption>{words}, {scale}</figcaption></figure>").ok();
    }
    *out += "</div>\n";
}

fn answer_html(out: &mut String, number: usize, answer: &AnswerDocument) {
    let [accepted, edited, rejected, open] = answer.counts();
    write!(out, "<section class=\"answer\">\n<h4>{} {number}</h4>\n", escaped(&answer.purpose())).ok();
    writeln!(out, "<p class=\"weak\">Sentences: {accepted} accepted, {edited} edited, {rejected} rejected, {open} not judged.</p>"
    ).ok();
    for stage in AnswerStage::ALL {
        stage_html(out, answer, stage);
    }
    if let Some(failed) = &answer.record.failed {
        writeln!(out, "<p dir=\"auto\">It ended early. {}</p>", escaped(failed)).ok();
    }
    maps_html(out, answer);
    if let Some(stamp) = &answer.record.stamp {
        *out += "<details><summary>How this answer came about</summary>\n<table>\n";
        for (name, value) in stamp_lines(stamp) {
            let (name, value) = (escaped(name), escaped(&value));
            writeln!(out, "<tr><th>{name}</th><td dir=\"auto\">{value}</td></tr>").ok();
        }
        writeln!(out, "<tr><th>Answer</th><td>BLAKE3 {}</td></tr>", escaped(&answer.hash)).ok();
        *out += "</table></details>\n";
    }
    *out += "</section>\n";
}

fn stage_html(out: &mut String, answer: &AnswerDocument, stage: AnswerStage) {
    if answer.text.stage(stage).trim().is_empty() && answer.corrected.stage(stage).trim().is_empty() {
        return;
    }
    let name = stage.name();
    write!(out, "<h5 class=\"{}\">{name}</h5>\n<ul class=\"sentences\">\n", name.to_lowercase()).ok();
    if answer.is_rewritten(stage) {
        let pieces = difference_html(answer.text.stage(stage).trim(), answer.corrected.stage(stage).trim());
        let words = answer.of_stage(stage).next().map_or_else(String::new, verdict_html);
        writeln!(out, "<li class=\"edited\" dir=\"auto\"><bdi>{pieces}</bdi>{words}</li>").ok();
    } else {
        for sentence in answer.of_stage(stage) {
            sentence_html(out, sentence);
        }
    }
    *out += "</ul>\n";
}

fn sentence_html(out: &mut String, sentence: &SentenceDocument) {
    let class = match sentence.verdict {
        None => "open",
        Some(Judgement::Accepted) => "accepted",
        Some(Judgement::Edited) => "edited",
        Some(Judgement::Rejected) => "rejected",
    };
    let text = match &sentence.edited {
        Some(edited) => difference_html(&sentence.text, edited),
        None => escaped(&sentence.text),
    };
    let words = verdict_html(sentence);
    writeln!(out, "<li class=\"{class}\" dir=\"auto\"><bdi class=\"said\">{text}</bdi>{words}</li>").ok();
}

fn verdict_html(sentence: &SentenceDocument) -> String {
    let words = escaped(&sentence.verdict_words());
    let entry = sentence.entry.map(|entry| format!(", entry {entry}")).unwrap_or_default();
    let mut html = format!("<span class=\"verdict\">{words}{entry}</span>");
    if !sentence.comment.trim().is_empty() {
        write!(html, " <bdi class=\"weak\">“{}”</bdi>", escaped(sentence.comment.trim())).ok();
    }
    html
}

fn difference_html(before: &str, after: &str) -> String {
    let piece = |piece: &Piece<'_>| match piece {
        Piece::Same(text) => escaped(text),
        Piece::Removed(text) => format!("<del>{}</del>", escaped(text)),
        Piece::Added(text) => format!("<ins>{}</ins>", escaped(text)),
    };
    difference::words(before, after).iter().map(piece).collect()
}

fn maps_html(out: &mut String, answer: &AnswerDocument) {
    if answer.maps.is_empty() {
        return;
    }
    *out += "<details><summary>Where its sentences look: the deletion test</summary>\n<table>\n";
    *out += "<tr><th>Sentence</th><th>Patch</th><th>Map</th><th>Fall in points of probability</th><th>of random cells</th></tr>\n";
    for map in &answer.maps {
        writeln!(
            out,
            "<tr><td dir=\"auto\">{}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{:.0}</td></tr>",
            escaped(&map.sentence),
            map.patch + 1,
            map.method.name(),
            100.0 * map.fall,
            100.0 * map.random_fall
        )
        .ok();
    }
    *out += "</table></details>\n";
}

/// A text as HTML and XML have it, in elements and in attributes; what XML has no words for becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\t' | '\n' => out.push(c),
            // A lone carriage return would be read as a line break.
            '\r' => out += "&#13;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
