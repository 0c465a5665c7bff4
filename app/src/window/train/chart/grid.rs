//! Plots in two columns, of which only those in view are drawn.

use egui::{Rect, ScrollArea, Ui, UiBuilder, vec2};

use super::super::super::theme::GRID;

/// Points: from the top of a row to the top of the next.
const ROW: f32 = 232.0;
/// Points: below this, a second column would leave too little to each.
const NARROWEST: f32 = 260.0;

/// Draws `count` cells, each with the number it has; those out of view are not asked for.
pub(super) fn ui(ui: &mut Ui, salt: &str, count: usize, mut cell: impl FnMut(&mut Ui, usize)) {
    let columns = if ui.available_width() >= 2.0 * NARROWEST { 2 } else { 1 };
    let scroll = ScrollArea::vertical().id_salt(salt).auto_shrink([false, false]);
    scroll.show_viewport(ui, |ui, viewport| {
        ui.set_height(count.div_ceil(columns) as f32 * ROW);
        let area = ui.max_rect();
        let width = (area.width() - GRID * (columns - 1) as f32) / columns as f32;
        for n in in_view(viewport.top(), viewport.bottom(), columns, count) {
            let place = vec2((n % columns) as f32 * (width + GRID), (n / columns) as f32 * ROW);
            let rect = Rect::from_min_size(area.min + place, vec2(width, ROW - GRID));
            cell(&mut ui.new_child(UiBuilder::new().id_salt(n).max_rect(rect)), n);
        }
    });
}

/// The cells that lie at least partly between two heights of the whole grid.
fn in_view(top: f32, bottom: f32, columns: usize, count: usize) -> std::ops::Range<usize> {
    let first = (top.max(0.0) / ROW).floor() as usize * columns;
    let end = ((bottom.max(0.0) / ROW).ceil() as usize * columns).min(count);
    first.min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_in_view_are_drawn() {
        assert_eq!(in_view(0.0, 2.0 * ROW, 2, 11), 0..4);
        assert_eq!(in_view(0.5 * ROW, 2.5 * ROW, 2, 11), 0..6);
        assert_eq!(in_view(4.2 * ROW, 9.0 * ROW, 2, 11), 8..11);
        assert_eq!(in_view(50.0 * ROW, 60.0 * ROW, 1, 11), 11..11);
        assert_eq!(in_view(-10.0, 0.0, 2, 11), 0..0);
    }
}
