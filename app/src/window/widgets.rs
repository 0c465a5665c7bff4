//! Small pieces that several panels are made of.

use egui::{
    Align2, Button, Checkbox, Context, CornerRadius, Frame, Id, IntoAtoms, Key, LayerId, Margin, Modifiers,
    Order, Response, RichText, Stroke, StrokeKind, Ui, Widget, WidgetText, Window,
};

use super::theme;

/// A caption: small and weak.
pub(super) fn caption(ui: &mut Ui, text: impl Into<String>) -> Response {
    ui.label(RichText::new(text).small().color(theme::of(ui).weak))
}

/// A heading of a part of a panel.
pub(super) fn title(ui: &mut Ui, text: &str) -> Response {
    ui.label(RichText::new(text).font(theme::semibold(theme::BODY)))
}

/// A thin line across the panel.
pub(super) fn hairline(ui: &mut Ui) {
    let rect = ui.available_rect_before_wrap();
    let line = Stroke::new(1.0, theme::of(ui).hairline);
    ui.painter().hline(rect.x_range(), rect.top(), line);
    ui.add_space(theme::GRID);
}

/// A sentence about what went wrong, with buttons below it.
pub(super) fn problem_ui(ui: &mut Ui, sentence: &str, buttons: impl FnOnce(&mut Ui)) {
    let palette = theme::of(ui);
    Frame::new()
        .fill(palette.raised)
        .stroke(Stroke::new(1.0, palette.error))
        .corner_radius(CornerRadius::same(theme::RADIUS))
        .inner_margin(Margin::same(8))
        .show(ui, |ui| {
            ui.label(RichText::new(sentence).color(palette.error));
            ui.horizontal(buttons);
        });
}

/// A sentence that deserves attention and stops nothing.
pub(super) fn warning(ui: &mut Ui, sentence: &str) -> Response {
    ui.label(RichText::new(sentence).small().color(theme::of(ui).warning))
}

/// The one button that a panel or a notice is about.
pub(super) fn main_button(ui: &Ui, words: &str) -> Button<'static> {
    let palette = theme::of(ui);
    Button::new(RichText::new(words).color(palette.on_accent)).fill(palette.accent)
}

/// A button that looks pressed while `on`.
pub(super) fn toggle(ui: &mut Ui, on: bool, text: impl Into<WidgetText>) -> Response {
    ui.add(Button::selectable(on, text.into()))
}

/// A box to tick, with an outline that can be seen on every ground.
#[expect(clippy::disallowed_methods, reason = "this is what stands in its place")]
pub(super) fn tick_box<'a>(on: &'a mut bool, words: impl IntoAtoms<'a>) -> impl Widget + 'a {
    let tick = Checkbox::new(on, words);
    move |ui: &mut Ui| {
        let line = Stroke::new(1.0, theme::of(ui).weak);
        // Only here: the theme's would be around buttons as well.
        ui.scope(|ui| {
            ui.visuals_mut().widgets.inactive.bg_stroke = line;
            ui.add(tick)
        })
        .inner
    }
}

/// A window over the others, in the middle until somebody moves it; Escape closes it like its own button.
pub(super) fn dialog<'a>(
    ui: &Ui,
    title: impl Into<WidgetText>,
    id: &str,
    is_open: &'a mut bool,
) -> Window<'a> {
    let (ctx, layer) = (ui.ctx(), LayerId::new(Order::Middle, Id::unique(id)));
    ctx.data_mut(|data| {
        let known = data.get_temp_mut_or_default::<Vec<LayerId>>(Id::unique(DIALOGS));
        if !known.contains(&layer) {
            known.push(layer);
        }
    });
    let is_meant =
        ctx.data(|data| data.get_temp::<Option<LayerId>>(Id::unique(ESCAPED))) == Some(Some(layer));
    if is_meant && ctx.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Escape)) {
        *is_open = false;
    }
    let middle = ctx.content_rect().center();
    Window::new(title).id(layer.id).open(is_open).pivot(Align2::CENTER_CENTER).default_pos(middle)
}

/// Where the layers of all [`dialog`]s are kept.
const DIALOGS: &str = "dialogs";
/// Where the layer of the one is kept that Escape closes in this frame.
const ESCAPED: &str = "escaped dialog";

/// Decides before anything is drawn which [`dialog`] Escape closes in this frame: the one in front; none where something else
/// takes the key. Returns whether there is one.
pub(super) fn leave_escape_to_dialog(ctx: &Context, is_taken: bool) -> bool {
    let known = ctx.data(|data| data.get_temp::<Vec<LayerId>>(Id::unique(DIALOGS))).unwrap_or_default();
    let in_front = ctx.memory(|memory| {
        let seen = |layer: &LayerId| known.contains(layer) && memory.areas().visible_last_frame(layer);
        memory.layer_ids().filter(seen).last()
    });
    let meant = in_front.filter(|_| !is_taken);
    ctx.data_mut(|data| data.insert_temp(Id::unique(ESCAPED), meant));
    meant.is_some()
}

/// Outlines what has the keyboard's focus, the same way everywhere.
pub(super) fn focus_ring(ui: &Ui) {
    let Some(id) = ui.memory(egui::Memory::focused) else { return };
    if let Some(response) = ui.ctx().read_response(id) {
        let painter =
            ui.ctx().layer_painter(response.layer_id).with_clip_rect(response.interact_rect.expand(3.0));
        let line = Stroke::new(2.0, theme::of(ui).focus);
        let corners = CornerRadius::same(theme::RADIUS);
        painter.rect_stroke(response.rect, corners, line, StrokeKind::Middle);
    }
}
