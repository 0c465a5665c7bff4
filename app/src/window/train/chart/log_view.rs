//! The log of a run: its newest lines, and those of all its lines in which something is found.

use std::time::Duration;

use egui::{Label, RichText, ScrollArea, TextEdit, TextStyle, Ui};

use super::super::super::command::CommandSender;
use super::super::super::theme;
use super::super::super::widgets::{caption, warning};
use super::super::TrainCommand;
use super::{ChartCommand, ChartState};
use crate::runs::log::{LogLevel, LogLine, LogPage};

/// Seconds after the last key before the log is searched.
const PAUSE: f64 = 0.3;

/// What is being typed into the search.
#[derive(Default)]
pub(super) struct Search {
    text: String,
    /// Seconds since the window opened at which it was changed, until it is sent.
    typed_at: Option<f64>,
}

/// Draws search and lines.
pub(super) fn ui(ui: &mut Ui, search: &mut Search, state: &ChartState, commands: &CommandSender) {
    search_ui(ui, search, commands);
    if let Some(sentence) = &state.log_fault {
        warning(ui, sentence);
        return;
    }
    caption(ui, in_words(&state.log, &state.search));
    lines_ui(ui, &state.log.lines);
}

fn search_ui(ui: &mut Ui, search: &mut Search, commands: &CommandSender) {
    ui.horizontal(|ui| {
        let label = ui.label("Search");
        let edit = TextEdit::singleline(&mut search.text).desired_width(240.0).hint_text("in all lines");
        let field = ui.add(edit).labelled_by(label.id);
        let now = ui.input(|input| input.time);
        if field.changed() {
            search.typed_at = Some(now);
        }
        if ui.add_enabled(!search.text.is_empty(), egui::Button::new("Clear")).clicked() {
            search.text.clear();
            search.typed_at = Some(now - PAUSE);
        }
        if let Some(since) = search.typed_at {
            if now - since >= PAUSE || field.lost_focus() {
                search.typed_at = None;
                commands.train(TrainCommand::Chart(ChartCommand::SearchLog(search.text.clone())));
            } else {
                ui.ctx().request_repaint_after(Duration::from_secs_f64(PAUSE - (now - since)));
            }
        }
    });
}

fn lines_ui(ui: &mut Ui, lines: &[LogLine]) {
    ui.spacing_mut().item_spacing.y = 2.0;
    let height = ui.text_style_height(&TextStyle::Monospace);
    // It follows its end only where the user has left it there.
    let scroll = ScrollArea::both().id_salt("log").auto_shrink([false, false]).stick_to_bottom(true);
    scroll.show_rows(ui, height, lines.len(), |ui, rows| {
        for line in &lines[rows.start.min(lines.len())..rows.end.min(lines.len())] {
            let palette = theme::of(ui);
            let (word, colour) = match line.level {
                LogLevel::Error => ("Error: ", palette.error),
                LogLevel::Warning => ("Warning: ", palette.warning),
                LogLevel::Other => ("", palette.text),
            };
            let text = RichText::new(format!("{word}{}", line.text)).monospace().color(colour);
            ui.add(Label::new(text).extend());
        }
    });
}

/// What is shown of the log.
fn in_words(page: &LogPage, search: &str) -> String {
    let shown = page.lines.len();
    let lines = |count: usize| if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
    match page.found {
        Some(found) if found > shown => {
            format!("\u{201c}{search}\u{201d} is in {}, the newest {shown} of them:", lines(found))
        }
        Some(found) => format!("\u{201c}{search}\u{201d} is in {}", lines(found)),
        None if shown == 0 => "The log is empty.".to_owned(),
        None if page.bytes_before > 0 => format!("The newest {}; a search goes through all", lines(shown)),
        None => lines(shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_how_much_of_the_log_is_shown() {
        let line = LogLine { text: "x".to_owned(), level: LogLevel::Other };
        let page = |count: usize, found, bytes_before| LogPage {
            lines: vec![line.clone(); count],
            found,
            bytes_before,
        };
        assert_eq!(in_words(&page(0, None, 0), ""), "The log is empty.");
        assert_eq!(in_words(&page(1, None, 0), ""), "1 line");
        assert_eq!(in_words(&page(3, None, 9), ""), "The newest 3 lines; a search goes through all");
        assert_eq!(in_words(&page(0, Some(0), 0), "nan"), "\u{201c}nan\u{201d} is in 0 lines");
        assert!(in_words(&page(3, Some(7), 0), "nan").contains("7 lines, the newest 3 of them"));
    }
}
