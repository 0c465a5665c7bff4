//! The text of an answer by its stages, each in its colour and under its name, wherever the training mode shows one.

use egui::text::{LayoutJob, TextFormat};
use egui::{FontId, Label, Response, Ui};
use reinpath_model::stage::{AnswerStage, Piece, StageParser};

use super::super::theme::{self, Palette};

/// Text of one stage, or of none before the first heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) stage: Option<AnswerStage>,
    pub(super) text: String,
}

/// The stages of a text, in its order; their headings are taken out. A heading with nothing below it is there too.
pub(super) fn spans(text: &str) -> Vec<Span> {
    let mut parser = StageParser::default();
    let mut spans: Vec<Span> = Vec::new();
    for piece in parser.push(text).into_iter().chain(parser.finish()) {
        match (piece, spans.last_mut()) {
            (Piece::Stage(stage), _) => spans.push(Span { stage: Some(stage), text: String::new() }),
            (Piece::Text(text), Some(span)) => span.text.push_str(&text),
            (Piece::Text(text), None) => spans.push(Span { stage: None, text }),
        }
    }
    for span in &mut spans {
        span.text.truncate(span.text.trim_end().len());
    }
    spans
}

/// Draws the text under its stages' names.
pub(super) fn ui(ui: &mut Ui, spans: &[Span]) -> Response {
    let mut job = LayoutJob::default();
    append(&mut job, theme::of(ui), spans);
    ui.add(Label::new(job).wrap())
}

fn append(job: &mut LayoutJob, palette: &Palette, spans: &[Span]) {
    let plain = TextFormat::simple(FontId::proportional(theme::BODY), palette.text);
    for (place, span) in spans.iter().enumerate() {
        let between = if place == 0 { "" } else { "\n" };
        if let Some(stage) = span.stage {
            let head = TextFormat::simple(theme::semibold(theme::BODY), palette.stage(stage));
            job.append(&format!("{between}{}\n", stage.name()), 0.0, head);
        }
        let text = if span.text.is_empty() { "(nothing)" } else { span.text.as_str() };
        job.append(text, 0.0, plain.clone());
    }
    if spans.is_empty() {
        let weak = TextFormat::simple(FontId::proportional(theme::BODY), palette.weak);
        job.append("(an empty answer)", 0.0, weak);
    }
}

/// What stands for an answer that is not opened: its conclusion, or its beginning where it has none.
pub(super) fn first_line(spans: &[Span]) -> String {
    let conclusion = spans.iter().find(|span| span.stage == Some(AnswerStage::Conclusion));
    let (name, text) = match (conclusion, spans.first()) {
        (Some(span), _) => ("Conclusion: ", span.text.as_str()),
        (None, Some(span)) => ("No conclusion: ", span.text.as_str()),
        (None, None) => ("An empty answer", ""),
    };
    format!("{name}{}", text.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<(Option<AnswerStage>, String)> {
        spans(text).into_iter().map(|span| (span.stage, span.text)).collect()
    }

    #[test]
    fn a_staged_text_is_split_at_its_headings() {
        let text =
            "[Observation]\nPink cells.\n[Analysis]\nThey crowd.\nSo it grows.\n[Conclusion]\nB) tumour";
        let expected = [
            (Some(AnswerStage::Observation), "Pink cells.".to_owned()),
            (Some(AnswerStage::Analysis), "They crowd.\nSo it grows.".to_owned()),
            (Some(AnswerStage::Conclusion), "B) tumour".to_owned()),
        ];
        assert_eq!(told(text), expected);
        assert_eq!(first_line(&spans(text)), "Conclusion: B) tumour");
    }

    #[test]
    fn text_before_the_first_heading_belongs_to_no_stage() {
        let expected = [(None, "Well,".to_owned()), (Some(AnswerStage::Conclusion), "True".to_owned())];
        assert_eq!(told("Well,\n[Conclusion]\nTrue"), expected);
    }

    #[test]
    fn an_answer_without_stages_and_an_empty_one_are_shown_as_they_are() {
        assert_eq!(told("la la la"), [(None, "la la la".to_owned())]);
        assert_eq!(first_line(&spans("la la la")), "No conclusion: la la la");
        assert!(spans("").is_empty());
        assert_eq!(first_line(&[]), "An empty answer");
        let cut = spans("[Observation]\nPink.\n[Analysis]\n");
        assert_eq!(cut.len(), 2, "{cut:?}");
        assert!(cut[1].text.is_empty());
    }

    #[test]
    fn every_stage_is_named_and_has_its_colour() {
        let palette = theme::palette(egui::Theme::Dark);
        let mut job = LayoutJob::default();
        append(&mut job, palette, &spans("[Observation]\nPink.\n[Analysis]\n"));
        assert_eq!(job.text, "Observation\nPink.\nAnalysis\n(nothing)");
        let colours: Vec<_> = job.sections.iter().map(|section| section.format.color).collect();
        let [observation, analysis] =
            [AnswerStage::Observation, AnswerStage::Analysis].map(|stage| palette.stage(stage));
        assert_eq!(colours, [observation, palette.text, analysis, palette.text]);
    }
}
