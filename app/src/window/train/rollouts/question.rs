//! A question as the policy got it: its patches, its words, its options; and what its answers are held against.

use egui::{Frame, Margin, Rect, RichText, Sense, Ui, WidgetInfo, pos2, vec2};
use reinpath_training::rollout_record::RolloutRecord;

use super::super::super::command::CommandSender;
use super::super::super::picture::Picture;
use super::super::super::theme;
use super::super::super::widgets::{caption, title, warning};
use super::super::TrainCommand;
use super::super::staged;
use super::step_view::Staged;
use super::{RolloutsCommand, RolloutsState};

/// The side of a patch.
const PATCH: f32 = 128.0;

/// Draws it.
pub(super) fn ui(
    ui: &mut Ui,
    record: &RolloutRecord,
    rollouts: &RolloutsState,
    texts: &Staged,
    commands: &CommandSender,
) {
    ui.horizontal_wrapped(|ui| {
        title(ui, &format!("Row {}", record.row));
        let about = "The answers to this row at all steps that asked it";
        if ui.button("How its answers changed").on_hover_text(about).clicked() {
            commands.train(TrainCommand::Rollouts(RolloutsCommand::History(record.row.clone())));
        }
    });
    patches_ui(ui, record, rollouts);
    words_ui(ui, record);
    caption(ui, "Reference answer");
    if record.reference.trim().is_empty() {
        caption(ui, "The row has none.");
    } else {
        Frame::new().fill(theme::of(ui).raised).inner_margin(Margin::same(8)).show(ui, |ui| {
            ui.set_width(ui.available_width());
            staged::ui(ui, &texts.reference);
        });
    }
}

/// The question, its options and the right one.
pub(super) fn words_ui(ui: &mut Ui, record: &RolloutRecord) {
    ui.label(RichText::new(&record.question).font(theme::semibold(theme::BODY)));
    for (letter, choice) in ('A'..).zip(&record.choices) {
        caption(ui, format!("{letter}) {choice}"));
    }
    match &record.label {
        Some(label) => caption(ui, format!("Right: {label}")),
        None => caption(ui, "No label: no answer can be told right or wrong."),
    };
}

/// In places of one size, so that nothing moves when they come.
fn patches_ui(ui: &mut Ui, record: &RolloutRecord, rollouts: &RolloutsState) {
    ui.horizontal_wrapped(|ui| {
        for (at, image) in record.images.iter().enumerate() {
            let picture = rollouts.pictures.get(image);
            let (rect, response) = ui.allocate_exact_size(vec2(PATCH, PATCH), Sense::hover());
            let name = format!("Patch {} of {}", at + 1, record.images.len());
            response.widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, name.as_str()));
            match picture {
                Some(Ok(picture)) => paint_inside(ui, rect, picture),
                _ => {
                    ui.painter().rect_filled(rect, 0.0, theme::of(ui).field);
                }
            }
            response.on_hover_text(image.as_str());
        }
    });
    for sentence in record.images.iter().filter_map(|image| rollouts.pictures.get(image)?.as_ref().err()) {
        warning(ui, sentence);
    }
}

fn paint_inside(ui: &Ui, rect: Rect, picture: &Picture) {
    let aspect = picture.aspect();
    let size = if aspect >= 1.0 {
        vec2(rect.width(), rect.width() / aspect)
    } else {
        vec2(rect.height() * aspect, rect.height())
    };
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    let inside = Rect::from_center_size(rect.center(), size);
    ui.painter().image(picture.texture.id(), inside, uv, egui::Color32::WHITE);
}
