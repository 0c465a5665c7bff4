//! An answer's text with its stages told apart: by word and by colour.

use egui::{RichText, Ui};
use reinpath_model::stage::{AnswerStage, Piece, StageParser};

use crate::window::theme;

/// The text of an answer in the order in which it stands; a part before the first heading belongs to no stage.
pub(super) fn parts(text: &str) -> Vec<(Option<AnswerStage>, String)> {
    let mut parser = StageParser::default();
    let mut parts: Vec<(Option<AnswerStage>, String)> = Vec::new();
    for piece in parser.push(text).into_iter().chain(parser.finish()) {
        match (piece, parts.last_mut()) {
            (Piece::Stage(stage), _) => parts.push((Some(stage), String::new())),
            (Piece::Text(text), Some((_, last))) => last.push_str(&text),
            (Piece::Text(text), None) => parts.push((None, text)),
        }
    }
    parts
}

/// Draws it.
pub(super) fn ui(ui: &mut Ui, text: &str) {
    for (stage, text) in parts(text) {
        if let Some(stage) = stage {
            let colour = theme::of(ui).stage(stage);
            ui.label(RichText::new(stage.name()).font(theme::semibold(theme::CAPTION)).color(colour));
        }
        ui.label(text.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_apart_by_its_headings() {
        let text = "Well.\n[Observation]\nSolid nests.\n[Conclusion]\nB) nests";
        let parts: Vec<(Option<AnswerStage>, String)> =
            parts(text).into_iter().map(|(stage, text)| (stage, text.trim().to_owned())).collect();
        let want = [
            (None, "Well.".to_owned()),
            (Some(AnswerStage::Observation), "Solid nests.".to_owned()),
            (Some(AnswerStage::Conclusion), "B) nests".to_owned()),
        ];
        assert_eq!(parts, want);
    }

    #[test]
    fn a_text_without_headings_belongs_to_no_stage() {
        assert_eq!(parts("glands"), [(None, "glands".to_owned())]);
        assert!(parts("").is_empty());
    }
}
