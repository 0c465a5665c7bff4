//! The left side: open slides, and the patches of the one in view with what the model receives of each.

use egui::{
    Button, CornerRadius, Frame, Margin, Rect, Response, Sense, Stroke, StrokeKind, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};

use super::command::{Command, CommandSender, PatchCommand, ViewCommand};
use super::patches::{self, MOST_PARTS, PatchLook, PatchPicture, PatchPlace};
use super::read::ReadCommand;
use super::read::survey::SurveyCommand;
use super::read::views::{masked, tray};
use super::state::{AppState, SlideStatus, SlideTab, Tool};
use super::theme;
use super::widgets::{caption, hairline, tick_box, title, warning};
use crate::slide::SlideInfo;

/// Draws the panel.
pub(super) fn ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    tray::folder_ui(ui, state, commands);
    judge(state, commands);
    egui::ScrollArea::vertical().id_salt("slides panel").auto_shrink(false).show(ui, |ui| {
        tray::head_ui(ui, state, commands);
        if state.slides.is_empty() {
            caption(ui, "None open.");
        }
        for slide in &state.slides {
            slide_ui(ui, state, slide, commands);
        }
        let Some(slide) = state.shown_slide() else { return };
        let Some(info) = slide.info() else { return };
        ui.add_space(theme::GRID);
        hairline(ui);
        patches_head_ui(ui, slide, commands);
        if slide.patches.places().is_empty() {
            no_patches_ui(ui, state, commands);
        }
        for (at, place) in slide.patches.places().iter().enumerate() {
            patch_ui(ui, state, slide, info, at, place, commands);
        }
    });
}

/// Patches whose picture came since are judged: whether there is tissue, and whether it is in focus.
fn judge(state: &AppState, commands: &CommandSender) {
    let Some(slide) = state.shown_slide().filter(|_| state.model.info().is_some()) else { return };
    let survey = &state.read.survey;
    let is_new = |place: &PatchPlace| {
        !survey.is_judged(slide.key, place.id)
            && matches!(slide.patches.picture(place.id), Some(PatchPicture::Ready(_)))
    };
    if slide.info().is_some() && slide.patches.places().iter().any(is_new) {
        commands.read(ReadCommand::Survey(SurveyCommand::Judge(slide.key)));
    }
}

fn slide_ui(ui: &mut Ui, state: &AppState, slide: &SlideTab, commands: &CommandSender) {
    let shown = state.shown == Some(slide.key);
    let name = state.name_of(slide);
    let response = card(ui, slide.key.0, shown, |ui| {
        ui.horizontal(|ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(44.0, 44.0), Sense::hover());
            if let Some(picture) = &slide.overview {
                paint_inside(ui, rect, &picture.texture, picture.aspect());
            } else {
                ui.painter().rect_filled(rect, 0.0, theme::of(ui).field);
            }
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 2.0;
                ui.add(egui::Label::new(name.as_str()).truncate().selectable(false));
                let words = match &slide.status {
                    SlideStatus::Opening { .. } => "Opening".to_owned(),
                    SlideStatus::Failed { .. } => "Could not be opened".to_owned(),
                    SlideStatus::Open { info } => {
                        let mpp = info.mpp.map_or("scale unknown".to_owned(), |mpp| {
                            let origin =
                                if info.mpp_origin == crate::slide::MppOrigin::Inferred { "?" } else { "" };
                            format!("{:.3}{origin} µm/px", mpp.mean())
                        });
                        format!("{} × {} px\n{mpp}", info.width(), info.height())
                    }
                };
                caption(ui, words);
            });
        });
    });
    response.widget_info(|| WidgetInfo::selected(egui::Role::Button, true, shown, format!("Slide {name}")));
    if let SlideStatus::Open { info } = &slide.status {
        let path = slide.path.display().to_string();
        let mut about = vec![path, info.format.clone(), info.mpp_source.clone()];
        about.extend(info.notes.iter().cloned());
        about.retain(|line| !line.is_empty());
        let about: Vec<String> = about.iter().map(|line| masked(state, line)).collect();
        response.clone().on_hover_text(about.join("\n"));
    }
    tray::draggable(&response, slide);
    if response.clicked() {
        commands.send(Command::Show(slide.key));
    }
    if shown {
        tray::labels_ui(ui, state, slide, commands);
    }
}

/// A box that can be clicked and is outlined when it is selected, of the panel's width.
fn card(ui: &mut Ui, salt: u64, selected: bool, add: impl FnOnce(&mut Ui)) -> Response {
    let palette = theme::of(ui);
    let stroke = if selected { Stroke::new(2.0, palette.accent) } else { Stroke::new(2.0, palette.panel) };
    let frame = Frame::new()
        .stroke(stroke)
        .corner_radius(CornerRadius::same(theme::RADIUS))
        .inner_margin(Margin::same(4));
    // The box senses clicks beneath what is in it, so that its buttons get theirs; drags, so that a slide can be put into a pane.
    let builder = UiBuilder::new().id_salt(("card", salt)).sense(Sense::click_and_drag());
    let shown = ui.scope_builder(builder, |ui| {
        ui.style_mut().interaction.selectable_labels = false;
        frame.show(ui, |ui| {
            ui.set_width(ui.available_width());
            add(ui);
        });
    });
    shown.response
}

/// Paints a picture into the middle of `rect`.
pub(super) fn paint_inside(ui: &Ui, rect: Rect, texture: &egui::TextureHandle, aspect: f32) {
    let size = if aspect >= 1.0 {
        vec2(rect.width(), rect.width() / aspect)
    } else {
        vec2(rect.height() * aspect, rect.height())
    };
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    let inside = Rect::from_center_size(rect.center(), size);
    ui.painter().image(texture.id(), inside, uv, egui::Color32::WHITE);
}

fn patches_head_ui(ui: &mut Ui, slide: &SlideTab, commands: &CommandSender) {
    ui.horizontal(|ui| {
        title(ui, "Patches");
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            if ui.add_enabled(slide.patches.can_redo(), Button::new("Redo").small()).clicked() {
                commands.patch(PatchCommand::Redo);
            }
            if ui.add_enabled(slide.patches.can_undo(), Button::new("Undo").small()).clicked() {
                commands.patch(PatchCommand::Undo);
            }
        });
    });
}

fn no_patches_ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    if state.tool == Tool::Patch {
        caption(ui, "Click on the slide to place a patch, or drag a rectangle.");
        return;
    }
    caption(ui, "Mark what you want to ask about.");
    if ui.button("Mark a patch").clicked() {
        commands.send(Command::Tool(Tool::Patch));
    }
}

fn patch_ui(
    ui: &mut Ui,
    state: &AppState,
    slide: &SlideTab,
    info: &SlideInfo,
    at: usize,
    place: &PatchPlace,
    commands: &CommandSender,
) {
    let (number, selected) = (at + 1, slide.patches.selected == Some(place.id));
    let picture = slide.patches.picture(place.id);
    let asked = state.max_pixels();
    let model = state.model.info();
    let tokens = model.and_then(|model| patches::tokens_in_words(&place.region, model, info.mpp, asked));
    let look = match picture {
        Some(PatchPicture::Ready(look)) => Some(look.as_ref()),
        _ => None,
    };
    let response = card(ui, place.id.0, selected, |ui| {
        ui.horizontal_top(|ui| {
            thumbnail_ui(ui, picture, theme::THUMBNAIL);
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 2.0;
                title(ui, &format!("Patch {number}"));
                caption(ui, patches::size_in_words(&place.region, info.mpp));
                if let Some(tokens) = tokens {
                    caption(ui, tokens);
                }
                if let Some(look) = look {
                    caption(ui, seen_at(look));
                }
                in_question_ui(ui, number, place, commands);
            });
        });
        if let Some(PatchPicture::Failed(sentence)) = picture {
            warning(ui, &masked(state, sentence));
        }
        if let Some(model) = model {
            let flaws = state.read.survey.flaws(slide.key, place.id);
            let flaws = patches::flaw_sentences(flaws, info, model);
            for sentence in patches::warnings(place, look, info, model, asked).iter().chain(&flaws) {
                warning(ui, sentence);
            }
            let counts = patches::split_counts(&place.region, model, info.mpp, asked);
            if let Some(counts) = counts.filter(|_| !place.kept_whole) {
                split_ui(ui, place, counts, commands);
            }
        }
        if selected {
            order_ui(ui, slide, at, place, commands);
        }
    });
    response
        .widget_info(|| WidgetInfo::selected(egui::Role::Button, true, selected, format!("Patch {number}")));
    if response.clicked() {
        commands.patch(PatchCommand::Select(Some(place.id)));
    }
    if response.double_clicked() {
        commands.view(ViewCommand::LookAtPatch(place.id));
    }
}

fn in_question_ui(ui: &mut Ui, number: usize, place: &PatchPlace, commands: &CommandSender) {
    let mut asked = place.in_question;
    let check = ui.add(tick_box(&mut asked, "Ask")).on_hover_text("The question is about this patch");
    if check.accessible_name(format!("Ask about patch {number}")).changed() {
        commands.patch(PatchCommand::InQuestion(place.id, asked));
    }
}

fn seen_at(look: &PatchLook) -> String {
    look.mpp.map_or_else(
        || format!("level\u{a0}{}", look.level),
        |mpp| format!("{mpp:.2} µm/px, level\u{a0}{}", look.level),
    )
}

fn split_ui(ui: &mut Ui, place: &PatchPlace, (across, down): (u32, u32), commands: &CommandSender) {
    let count = across.saturating_mul(down);
    if count > MOST_PARTS {
        caption(
            ui,
            format!(
                "Much larger than the model's square: it would take {count} patches, at most {MOST_PARTS} are made at once."
            ),
        );
    } else {
        caption(ui, format!("The model's square fits {across} × {down} times."));
    }
    ui.horizontal_wrapped(|ui| {
        if count <= MOST_PARTS && ui.small_button(format!("Split into {count}")).clicked() {
            commands.patch(PatchCommand::Split(place.id));
        }
        if ui.small_button("Keep whole").clicked() {
            commands.patch(PatchCommand::KeepWhole(place.id));
        }
    });
}

fn order_ui(ui: &mut Ui, slide: &SlideTab, at: usize, place: &PatchPlace, commands: &CommandSender) {
    // Wrapped, so that no panel grows because a patch was selected: the slide must stay where it is.
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(2.0, 2.0);
        ui.spacing_mut().button_padding.x = 6.0;
        if ui.add_enabled(at > 0, Button::new("Up").small()).clicked() {
            commands.patch(PatchCommand::MoveTo(place.id, at - 1));
        }
        let last = at + 1 == slide.patches.places().len();
        if ui.add_enabled(!last, Button::new("Down").small()).clicked() {
            commands.patch(PatchCommand::MoveTo(place.id, at + 1));
        }
        if ui.small_button("Show").on_hover_text("Move the slide to this patch").clicked() {
            commands.view(ViewCommand::LookAtPatch(place.id));
        }
        if ui.small_button("Remove").clicked() {
            commands.patch(PatchCommand::Remove(place.id));
        }
    });
}

/// The patch as the model receives it; what its crop takes away is dimmed and the rest outlined.
pub(super) fn thumbnail_ui(ui: &mut Ui, picture: Option<&PatchPicture>, side: f32) {
    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::hover());
    response
        .widget_info(|| WidgetInfo::labeled(egui::Role::Image, true, "The patch as the model receives it"));
    ui.painter().rect_filled(rect, 0.0, theme::BLANK);
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    match picture {
        Some(PatchPicture::Ready(look)) => match &look.whole {
            None => {
                paint_inside(ui, rect, &look.given.texture, look.given.aspect());
            }
            Some((whole, [x, y, w, h])) => {
                let aspect = whole.aspect();
                let size = if aspect >= 1.0 { vec2(side, side / aspect) } else { vec2(side * aspect, side) };
                let all = Rect::from_center_size(rect.center(), size);
                ui.painter().image(whole.texture.id(), all, uv, egui::Color32::WHITE);
                ui.painter().rect_filled(all, 0.0, theme::SCRIM);
                let corner = all.min + vec2(x * all.width(), y * all.height());
                let kept = Rect::from_min_size(corner, vec2(w * all.width(), h * all.height()));
                ui.painter().image(look.given.texture.id(), kept, uv, egui::Color32::WHITE);
                let line = Stroke::new(1.0, theme::MARK_SELECTED);
                ui.painter().rect_stroke(kept, 0.0, line, StrokeKind::Inside);
            }
        },
        Some(PatchPicture::Failed(_)) => {}
        None => {
            egui::Spinner::new().paint_at(ui, Rect::from_center_size(rect.center(), vec2(16.0, 16.0)));
        }
    }
}
