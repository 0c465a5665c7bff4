//! The right side's part about colours, and the pointer that picks the background.

use std::ops::RangeInclusive;

use egui::{
    Color32, CornerRadius, CursorIcon, Response, RichText, Sense, Slider, Stroke, StrokeKind, Ui, vec2,
};

use super::super::super::command::{CommandSender, keys_of};
use super::super::super::state::{AppState, Tool};
use super::super::super::theme;
use super::super::super::viewer_panel::PaneFrame;
use super::super::super::widgets::{caption, hairline, tick_box, title, toggle, warning};
use super::super::ReadCommand;
use super::choices::STRONGEST;
use super::{ColourCommand, Icc, SlideColour, StainPair};
use crate::viewer::colour::StainChannel;

/// How much of a stain its swatch shows.
const SWATCH_AMOUNT: f32 = 0.6;
const SWATCH: egui::Vec2 = vec2(36.0, 16.0);

/// What is kept from frame to frame: nothing but what is being done.
#[derive(Default)]
pub(in crate::window) struct ColourPanel {}

#[expect(clippy::unused_self, reason = "panels are called alike, also one that keeps nothing")]
impl ColourPanel {
    /// The right side's part.
    pub(in crate::window) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let slide = state.shown.and_then(|key| state.read.colour.slides.get(&key));
        let Some(slide) = slide else {
            caption(ui, "Open a slide to change how it looks.");
            return;
        };
        egui::ScrollArea::vertical().auto_shrink([false, true]).show(ui, |ui| {
            let part = Part { state, slide, commands };
            part.light_ui(ui);
            hairline(ui);
            part.white_ui(ui);
            hairline(ui);
            part.icc_ui(ui);
            hairline(ui);
            part.stain_ui(ui);
            hairline(ui);
            part.all_ui(ui);
        });
    }

    /// The pointer while the background is being picked: a click chooses the place that is to become white.
    pub(in crate::window) fn pointer(&mut self, ui: &Ui, frame: &PaneFrame<'_>, response: &Response) {
        if response.hovered() {
            ui.ctx().set_cursor_icon(CursorIcon::Crosshair);
        }
        let at = response.interact_pointer_pos().filter(|_| response.clicked());
        let Some(at) = at else { return };
        let (x, y) = frame.viewport.slide_from_screen(frame.screen, at);
        let (width, height) = frame.viewport.slide_size();
        if (0.0..width).contains(&x) && (0.0..height).contains(&y) {
            let wish = ColourCommand::WhiteAt(frame.slide.key, (x, y));
            frame.commands.read(ReadCommand::Colour(wish));
        }
    }
}

/// The panel of one slide.
struct Part<'a> {
    state: &'a AppState,
    slide: &'a SlideColour,
    commands: &'a CommandSender,
}

impl Part<'_> {
    fn send(&self, wish: ColourCommand) {
        self.commands.read(ReadCommand::Colour(wish));
    }

    fn light_ui(&self, ui: &mut Ui) {
        title(ui, "Light");
        let choices = &self.slide.choices;
        let per_cent = |value: f64| format!("{:+.0} %", value * 100.0);
        let times = |value: f64| format!("{value:.2}");
        let factors = 1.0 / STRONGEST..=STRONGEST;
        let brightness = Scale { name: "Brightness", range: -1.0..=1.0, is_factor: false };
        if let Some(value) = brightness.ui(ui, choices.brightness, per_cent) {
            self.send(ColourCommand::Brightness(value));
        }
        let contrast = Scale { name: "Contrast", range: factors.clone(), is_factor: true };
        if let Some(value) = contrast.ui(ui, choices.contrast, times) {
            self.send(ColourCommand::Contrast(value));
        }
        let gamma = Scale { name: "Gamma", range: factors, is_factor: true };
        if let Some(value) = gamma.ui(ui, choices.gamma, times) {
            self.send(ColourCommand::Gamma(value));
        }
    }

    fn white_ui(&self, ui: &mut Ui) {
        title(ui, "White");
        ui.horizontal(|ui| {
            let is_picking = self.state.tool == Tool::White;
            let tip = format!(
                "A click on clear glass makes its colour white ({}).",
                keys_of(ui.ctx(), "Pick white background")
            );
            if toggle(ui, is_picking, "Pick background").on_hover_text(tip).clicked() {
                self.send(ColourCommand::PickWhite);
            }
            if let Some([red, green, blue]) = self.slide.choices.white {
                swatch(ui, Color32::from_rgb(red, green, blue));
                caption(ui, format!("{red}, {green}, {blue}"));
                if ui.button("Reset white").clicked() {
                    self.send(ColourCommand::ResetWhite);
                }
            } else if self.slide.white_wish.is_some() {
                ui.spinner();
            } else {
                caption(ui, "As the slide has it");
            }
        });
    }

    fn icc_ui(&self, ui: &mut Ui) {
        title(ui, "Colour profile");
        let is_off = self.state.settings.read.is_icc_off;
        match &self.slide.icc {
            Icc::None => {
                caption(ui, "ICC: this slide has no profile. Its values are shown as sRGB.");
            }
            Icc::Reading => {
                caption(ui, "ICC: the profile is being read…");
            }
            Icc::Broken(failure) => {
                warning(ui, failure.said(self.state.settings.read.is_blinded));
                caption(ui, "The slide is shown without it.");
            }
            Icc::Known(profile) if profile.table.is_none() => {
                let words =
                    format!("ICC: {}. Its colours are sRGB: nothing to convert.", profile.description);
                caption(ui, words);
            }
            Icc::Known(profile) => {
                let words = format!("ICC: {}, {}", profile.description, if is_off { "off" } else { "on" });
                let mut is_on = !is_off;
                let tip = "Colours are converted from the scanner's to sRGB, relative colorimetric. For all slides.";
                if ui.add(tick_box(&mut is_on, words)).on_hover_text(tip).changed() {
                    self.send(ColourCommand::SwitchIcc);
                }
            }
        }
    }

    fn stain_ui(&self, ui: &mut Ui) {
        title(ui, "Stains");
        let choices = &self.slide.choices;
        ui.horizontal_wrapped(|ui| {
            let pairs = [
                (StainPair::HaematoxylinEosin, "H&E"),
                (StainPair::HaematoxylinDab, "H-DAB"),
                (StainPair::Estimated, "From this slide"),
            ];
            for (pair, name) in pairs {
                if toggle(ui, choices.pair == pair, name).clicked() {
                    self.send(ColourCommand::Stains(pair));
                }
            }
            if self.slide.stain_wish.is_some() {
                ui.spinner();
            }
        });
        if let Some(failure) = &self.slide.stain_fault {
            warning(ui, failure.said(self.state.settings.read.is_blinded));
        }
        let second = match choices.pair {
            StainPair::HaematoxylinEosin => "Eosin",
            StainPair::HaematoxylinDab => "DAB",
            StainPair::Estimated => "Second stain",
        };
        if toggle(ui, choices.shown.is_none(), "All, as the slide is").clicked() {
            self.send(ColourCommand::Show(None));
        }
        let channels = [
            (StainChannel::First, "Haematoxylin"),
            (StainChannel::Second, second),
            (StainChannel::Residual, "Residual"),
        ];
        for (channel, name) in channels {
            ui.horizontal(|ui| {
                let [red, green, blue] =
                    choices.vectors.colour(channel, SWATCH_AMOUNT).map(|value| (value * 255.0).round() as u8);
                swatch(ui, Color32::from_rgb(red, green, blue));
                if toggle(ui, choices.shown == Some(channel), name).clicked() {
                    self.send(ColourCommand::Show(Some(channel)));
                }
                let [red, green, blue] = choices.vectors.vector(channel);
                caption(ui, format!("{red:.2}, {green:.2}, {blue:.2}"))
                    .on_hover_text("Optical density of red, green and blue, together of length 1");
            });
        }
    }

    fn all_ui(&self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            let is_changed = self.slide.choices != super::Choices::default();
            if ui.add_enabled(is_changed, egui::Button::new("Reset colours")).clicked() {
                self.send(ColourCommand::Reset);
            }
            let has_others = self.state.read.colour.slides.len() > 1;
            if ui.add_enabled(has_others, egui::Button::new("Apply to all open slides")).clicked() {
                self.send(ColourCommand::ApplyToAll);
            }
        });
        ui.label(RichText::new("The model sees the slide's own pixels.").small().color(theme::of(ui).weak))
            .on_hover_text("What is changed here changes the screen alone: patches, answers and exports stay as they are.");
    }
}

/// A slider with its name.
struct Scale {
    name: &'static str,
    range: RangeInclusive<f32>,
    /// Whether doubling and halving are equal steps.
    is_factor: bool,
}

impl Scale {
    /// The new value, when it was changed.
    fn ui(self, ui: &mut Ui, value: f32, words: impl Fn(f64) -> String) -> Option<f32> {
        let mut value = value;
        // What is no factor is shown in per cent, and typed with or without the sign.
        let scale = if self.is_factor { 1.0 } else { 100.0 };
        let parse = move |text: &str| {
            let number = text.trim().trim_end_matches('%').trim().trim_start_matches('+').parse::<f64>();
            number.ok().map(|number| number / scale)
        };
        let slider = Slider::new(&mut value, self.range)
            .logarithmic(self.is_factor)
            .custom_formatter(move |value, _| words(value))
            .custom_parser(parse)
            .text(self.name);
        ui.add(slider).changed().then_some(value)
    }
}

/// A small area of a colour.
fn swatch(ui: &mut Ui, colour: Color32) {
    let (rect, _) = ui.allocate_exact_size(SWATCH, Sense::hover());
    let corners = CornerRadius::same(2);
    ui.painter().rect_filled(rect, corners, colour);
    let line = Stroke::new(1.0, theme::of(ui).hairline);
    ui.painter().rect_stroke(rect, corners, line, StrokeKind::Inside);
}
