//! A sentence as a row: its words with terms and doubts marked, its number, and what it rests on.
//!
//! A term has a solid line below it and a doubt a dotted one; a sentence that is rested on has its number in bold as well as a tint.

use std::ops::Range;
use std::sync::Arc;

use egui::text::{CCursor, LayoutJob, TextFormat};
use egui::{
    Align2, FontId, Galley, Rect, Response, RichText, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo, pos2, vec2,
};
use reinpath_model::stage::AnswerStage;

use super::super::super::theme;
use super::super::super::widgets::{caption, title, warning};
use super::cards::View;
use super::glossary_window::GlossaryWindow;
use crate::chain::glossary::Term;
use crate::chain::{Chain, Sentence, indices_of};

/// Points left of the words, for the number.
const GUTTER: f32 = 18.0;
/// The widest that the card of a term becomes.
const TERM_WIDTH: f32 = 320.0;
/// Points between dots, and half of their size.
const DOTS: (f32, f32) = (3.0, 0.9);
/// How much of the stage's colour lies behind a sentence that is rested on.
const TINT: f32 = 0.25;

/// How a row is pointed out.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Keys are about it.
    pub(super) is_focused: bool,
    /// The sentence that is pointed out rests on it.
    pub(super) is_rested_on: bool,
}

/// Words with something to be said about them.
struct Spot {
    bytes: Range<usize>,
    term: Option<usize>,
    probability: Option<f32>,
}

/// Draws the words.
pub(super) fn ui(
    ui: &mut Ui,
    view: View<'_>,
    at: usize,
    look: Look,
    glossary: &mut GlossaryWindow,
) -> Response {
    let sentence = &view.read.chain.sentences[at];
    let text = view.read.text.stage(sentence.stage);
    let words = &text[sentence.bytes.clone()];
    let marks_terms = view.state.settings.review.marks_terms;
    let mut job = job(ui, text, sentence, marks_terms);
    job.wrap.max_width = (ui.available_width() - GUTTER).max(1.0);
    let galley = ui.painter().layout_job(job);
    let (_, rect) = ui.allocate_space(vec2(ui.available_width(), galley.size().y));
    let id = ui.make_persistent_id(("sentence", &view.shown.answer.id, sentence.stage, sentence.index));
    let response = ui.interact(rect, id, Sense::click());
    response.widget_info(|| WidgetInfo::selected(egui::Role::Button, true, look.is_focused, words));
    let origin = rect.min + vec2(GUTTER, 0.0);
    paint(ui, sentence, look, rect, &galley, origin.to_vec2());
    for (n, spot) in spots(sentence, marks_terms).into_iter().enumerate() {
        let chars = chars_of(words, sentence.bytes.start, &spot.bytes);
        for (part, area) in parts(&galley, chars).into_iter().enumerate() {
            let area = area.translate(origin.to_vec2());
            if spot.probability.is_some() {
                doubt(ui, area);
            }
            let hover = ui.interact(area, id.with(("spot", n, part)), Sense::hover());
            hover.on_hover_ui(|ui| {
                let term = spot.term.and_then(|term| view.state.review.chain.glossary.terms().get(term));
                spot_ui(ui, term, spot.probability, glossary);
            });
        }
    }
    if let Some(likelihood) = sentence.likelihood {
        let mean = format!("Its words were {} likely, as a mean", per_cent(likelihood));
        // After its words' own cards: of several, the first is shown.
        return response.on_hover_ui(|ui| {
            caption(ui, mean);
        });
    }
    response
}

/// What the sentence rests on, and what is missing, once the answer is over.
pub(super) fn captions_ui(ui: &mut Ui, view: View<'_>, at: usize, look: Look) {
    let chain = &view.read.chain;
    let sentence = &chain.sentences[at];
    let answer = view.shown.answer;
    if !answer.is_over() {
        return;
    }
    if let Some(words) = rests_on(chain, sentence) {
        indented(ui, |ui| caption(ui, words));
    }
    if sentence.stage == AnswerStage::Conclusion && !sentence.is_supported {
        indented(ui, |ui| warning(ui, "⚠ not supported by any observation"));
    }
    let maps = view.state.review.chain.maps.get(&answer.id);
    if let (true, true, Some(maps)) = (look.is_focused, view.state.review.chain.is_map_shown, maps)
        && indices_of(maps, view.read.text.stage(sentence.stage), sentence.stage, sentence.index).is_empty()
    {
        indented(ui, |ui| {
            caption(ui, "There is no map of this sentence: it has no word that could be seen.")
        });
    }
}

fn indented(ui: &mut Ui, contents: impl FnOnce(&mut Ui) -> Response) {
    ui.horizontal_wrapped(|ui| {
        ui.add_space(GUTTER);
        contents(ui);
    });
}

/// As in `rests on 1, 3`: sentences are counted from 1 within their stage.
pub(super) fn rests_on(chain: &Chain, sentence: &Sentence) -> Option<String> {
    let of_stage = |stage: AnswerStage| {
        let on = sentence.rests_on.iter().filter_map(|&at| chain.sentences.get(at));
        let numbers: Vec<String> =
            on.filter(|on| on.stage == stage).map(|on| (on.index + 1).to_string()).collect();
        (!numbers.is_empty()).then(|| numbers.join(", "))
    };
    let observations = of_stage(AnswerStage::Observation);
    match sentence.stage {
        AnswerStage::Observation => None,
        AnswerStage::Analysis => observations.map(|numbers| format!("rests on {numbers}")),
        AnswerStage::Conclusion => {
            let analysis = of_stage(AnswerStage::Analysis).map(|numbers| format!("Analysis {numbers}"));
            let observations = observations.map(|numbers| format!("Observation {numbers}"));
            let parts: Vec<String> = observations.into_iter().chain(analysis).collect();
            (!parts.is_empty()).then(|| format!("rests on {}", parts.join(" and ")))
        }
    }
}

/// The words, with a line below each term.
fn job(ui: &Ui, text: &str, sentence: &Sentence, marks_terms: bool) -> LayoutJob {
    let palette = theme::of(ui);
    let plain = TextFormat::simple(FontId::proportional(theme::BODY), palette.text);
    let line = Stroke::new(1.0, palette.stage(sentence.stage));
    let marked = TextFormat { underline: line, ..plain.clone() };
    let mut job = LayoutJob::default();
    let mut append = |bytes: Range<usize>, format: &TextFormat| {
        if !bytes.is_empty() {
            job.append(&text[bytes], 0.0, format.clone());
        }
    };
    let mut at = sentence.bytes.start;
    for (bytes, _) in sentence.terms.iter().filter(|_| marks_terms) {
        append(at..bytes.start, &plain);
        append(bytes.clone(), &marked);
        at = bytes.end;
    }
    append(at..sentence.bytes.end, &plain);
    job
}

fn paint(ui: &Ui, sentence: &Sentence, look: Look, rect: Rect, galley: &Arc<Galley>, origin: Vec2) {
    let palette = theme::of(ui);
    let painter = ui.painter();
    if look.is_focused {
        painter.rect_filled(rect, 3.0, palette.hover);
    }
    let (font, colour) = if look.is_rested_on {
        painter.rect_filled(rect, 3.0, palette.stage(sentence.stage).gamma_multiply(TINT));
        (theme::semibold(theme::CAPTION), palette.text)
    } else {
        (FontId::proportional(theme::CAPTION), palette.weak)
    };
    let at = rect.left_top() + vec2(2.0, 2.0);
    painter.text(at, Align2::LEFT_TOP, (sentence.index + 1).to_string(), font, colour);
    painter.galley(origin.to_pos2(), Arc::clone(galley), palette.text);
}

/// Dots below words that were unlikely.
fn doubt(ui: &Ui, area: Rect) {
    let y = area.bottom() + 0.5;
    let ends = [pos2(area.left() + DOTS.1, y), pos2(area.right(), y)];
    ui.painter().extend(Shape::dotted_line(&ends, theme::of(ui).weak, DOTS.0, DOTS.1));
}

/// Terms, with the doubts in them, and doubts outside of terms.
fn spots(sentence: &Sentence, marks_terms: bool) -> Vec<Spot> {
    let mut spots: Vec<Spot> = Vec::new();
    for (bytes, term) in sentence.terms.iter().filter(|_| marks_terms) {
        spots.push(Spot { bytes: bytes.clone(), term: Some(*term), probability: None });
    }
    for (bytes, probability) in &sentence.doubts {
        let holds = |spot: &&mut Spot| {
            spot.term.is_some() && spot.bytes.start <= bytes.start && bytes.end <= spot.bytes.end
        };
        match spots.iter_mut().find(holds) {
            Some(spot) => {
                let before = spot.probability.unwrap_or(1.0);
                spot.probability = Some(before.min(*probability));
            }
            None => {
                spots.push(Spot { bytes: bytes.clone(), term: None, probability: Some(*probability) });
            }
        }
    }
    spots
}

/// The card of a word under the pointer.
fn spot_ui(ui: &mut Ui, term: Option<&Term>, probability: Option<f32>, glossary: &mut GlossaryWindow) {
    ui.set_max_width(TERM_WIDTH);
    if let Some(term) = term {
        title(ui, &term.name);
        ui.label(&term.meaning);
        if let Some(source) = &term.source {
            caption(ui, source);
        }
    }
    if let Some(probability) = probability {
        ui.label(RichText::new(format!("{} likely", per_cent(probability))).color(theme::of(ui).weak));
    }
    if let Some(term) = term
        && ui.small_button("Edit term").clicked()
    {
        glossary.open(Some(term));
    }
}

/// Never 0 % of what was written, and never 100 % of what could have been something else.
fn per_cent(probability: f32) -> String {
    match 100.0 * probability {
        p if p < 1.0 => "less than 1 %".to_owned(),
        p if (99.5..100.0).contains(&p) => "more than 99 %".to_owned(),
        p => format!("{p:.0} %"),
    }
}

/// The characters of a sentence that these bytes of its stage's text are.
fn chars_of(sentence: &str, start: usize, bytes: &Range<usize>) -> Range<usize> {
    let chars =
        |end: usize| sentence.get(..end.saturating_sub(start)).map_or(0, |before| before.chars().count());
    chars(bytes.start)..chars(bytes.end)
}

/// Where characters stand in a text that was laid out: a rectangle for each line that has some of them.
fn parts(galley: &Galley, chars: Range<usize>) -> Vec<Rect> {
    let begin = CCursor { index: chars.start.into(), prefer_next_row: true };
    let (begin, end) = (galley.layout_from_cursor(begin), galley.layout_from_cursor(CCursor::new(chars.end)));
    let rows = galley.rows.iter().enumerate().take(end.row + 1).skip(begin.row);
    let part = |(n, row): (usize, &egui::epaint::text::PlacedRow)| {
        let left = if n == begin.row { row.x_offset(begin.column) } else { 0.0 };
        let right = if n == end.row { row.x_offset(end.column) } else { row.rect().width() };
        Rect::from_min_max(pos2(row.pos.x + left, row.min_y()), pos2(row.pos.x + right, row.max_y()))
    };
    rows.map(part).filter(|part| part.width() > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::glossary::Glossary;
    use reinpath_model::stage::StagedAnswer;

    fn chain(observation: &str, analysis: &str, conclusion: &str) -> Chain {
        let text = StagedAnswer {
            observation: observation.to_owned(),
            analysis: analysis.to_owned(),
            conclusion: conclusion.to_owned(),
        };
        Chain::of(&text, &[], &Glossary::shipped(), 50)
    }

    #[test]
    fn what_a_sentence_rests_on_is_said_by_numbers() {
        let chain = chain("Glands. Fat. Necrosis.", "Dead tissue. Necrotic glands.", "Necrosis.");
        let said: Vec<_> = chain.sentences.iter().map(|sentence| rests_on(&chain, sentence)).collect();
        assert_eq!(said[..3], [None, None, None]);
        assert_eq!(said[3].as_deref(), Some("rests on 3"));
        assert_eq!(said[4].as_deref(), Some("rests on 1, 3"));
        assert_eq!(said[5].as_deref(), Some("rests on Observation 3 and Analysis 1, 2"));
    }

    #[test]
    fn a_doubt_in_a_term_belongs_to_the_terms_card() {
        let mut chain = chain("Crowded glands are seen.", "", "");
        let sentence = &mut chain.sentences[0];
        sentence.doubts = vec![(0..7, 0.4), (8..14, 0.3), (15..18, 0.2)];
        let told: Vec<_> =
            spots(sentence, true).into_iter().map(|s| (s.bytes, s.term.is_some(), s.probability)).collect();
        assert_eq!(told, [(0..14, true, Some(0.3)), (15..18, false, Some(0.2))]);
        assert_eq!(spots(sentence, false).len(), 3, "without terms each doubt is its own");
    }

    #[test]
    fn likelihoods_are_never_said_to_be_certain_or_impossible() {
        let said = [0.001, 0.414, 0.997, 1.0].map(per_cent);
        assert_eq!(said, ["less than 1 %", "41 %", "more than 99 %", "100 %"]);
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        let text = "Größe µm.";
        assert_eq!(chars_of(text, 10, &(18..21)), 6..8);
    }
}
