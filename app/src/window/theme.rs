//! Every colour, font and size of the window, in a dark and a light theme.
//!
//! Greys are neutral in both, because colour is judged beside them; one accent marks what is selected. The stages have the colours of
//! Okabe and Ito, darkened where they are text on light. No other file names a colour.

use std::sync::Arc;

use egui::style::{Selection, TextCursorStyle, WidgetVisuals};
use egui::{
    Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Shadow, Stroke, Style,
    TextStyle, Theme, Visuals, vec2,
};
use reinpath_model::stage::AnswerStage;

/// Points.
pub const TOP_BAR: f32 = 36.0;
pub const STATUS_BAR: f32 = 22.0;
pub const LEFT_PANEL: f32 = 220.0;
pub const RIGHT_PANEL: f32 = 400.0;
pub const GRID: f32 = 8.0;
pub const BODY: f32 = 13.0;
pub const CAPTION: f32 = 11.0;
pub const HEADING: f32 = 16.0;
pub const RADIUS: u8 = 4;
/// The side of a patch's thumbnail.
pub const THUMBNAIL: f32 = 88.0;
/// The longer side of the overview.
pub const OVERVIEW: f32 = 168.0;

const SEMIBOLD: &str = "semibold";

/// The colours of one theme.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    pub panel: Color32,
    pub raised: Color32,
    pub field: Color32,
    pub hover: Color32,
    pub hairline: Color32,
    pub text: Color32,
    /// Captions and what is not in use; still readable.
    pub weak: Color32,
    /// Around the slide.
    pub surround: Color32,
    pub accent: Color32,
    pub on_accent: Color32,
    /// Around what has the keyboard's focus.
    pub focus: Color32,
    pub warning: Color32,
    pub error: Color32,
    /// Words of Observation, Analysis, Conclusion.
    stages: [Color32; 3],
}

const DARK: Palette = Palette {
    panel: Color32::from_gray(0x1f),
    raised: Color32::from_gray(0x32),
    field: Color32::from_gray(0x16),
    hover: Color32::from_gray(0x42),
    hairline: Color32::from_gray(0x40),
    text: Color32::from_gray(0xe8),
    weak: Color32::from_gray(0xa9),
    surround: Color32::from_gray(0x26),
    accent: Color32::from_rgb(0x2b, 0x6f, 0xc9),
    on_accent: Color32::WHITE,
    focus: Color32::from_rgb(0x6a, 0xa8, 0xf5),
    warning: Color32::from_rgb(0xe8, 0xb3, 0x39),
    error: Color32::from_rgb(0xff, 0x8f, 0x85),
    stages: [
        Color32::from_rgb(0x56, 0xb4, 0xe9),
        Color32::from_rgb(0xe6, 0x9f, 0x00),
        Color32::from_rgb(0x00, 0xb8, 0x87),
    ],
};

const LIGHT: Palette = Palette {
    panel: Color32::from_gray(0xf4),
    raised: Color32::from_gray(0xe6),
    field: Color32::WHITE,
    hover: Color32::from_gray(0xd8),
    hairline: Color32::from_gray(0xc8),
    text: Color32::from_gray(0x1a),
    weak: Color32::from_gray(0x5a),
    surround: Color32::from_gray(0xc4),
    accent: Color32::from_rgb(0x1f, 0x62, 0xbd),
    on_accent: Color32::WHITE,
    focus: Color32::from_rgb(0x1f, 0x62, 0xbd),
    warning: Color32::from_rgb(0x85, 0x55, 0x00),
    error: Color32::from_rgb(0xb3, 0x1d, 0x12),
    stages: [
        Color32::from_rgb(0x0b, 0x62, 0x96),
        Color32::from_rgb(0x85, 0x55, 0x00),
        Color32::from_rgb(0x00, 0x6b, 0x4e),
    ],
};

/// Drawn over tissue, which is light or dark anywhere: a light line in a dark casing.
pub const MARK: Color32 = Color32::WHITE;
/// A selected patch on tissue.
pub const MARK_SELECTED: Color32 = Color32::from_rgb(0x5c, 0xd6, 0xff);
pub const MARK_CASING: Color32 = Color32::from_black_alpha(0xb4);
/// What a crop takes away.
pub const SCRIM: Color32 = Color32::from_black_alpha(0x8c);
/// Behind words that lie on the slide.
pub const PLATE: Color32 = Color32::from_black_alpha(0xc8);
/// Under the overview's and the thumbnails' pictures before they are there.
pub const BLANK: Color32 = Color32::from_gray(0x80);

/// The colours in use.
pub fn palette(theme: Theme) -> &'static Palette {
    match theme {
        Theme::Dark => &DARK,
        Theme::Light => &LIGHT,
    }
}

/// The colours that `ui` is drawn with.
pub fn of(ui: &egui::Ui) -> &'static Palette {
    if ui.visuals().dark_mode { &DARK } else { &LIGHT }
}

impl Palette {
    /// The colour of a stage's words and marks.
    pub fn stage(&self, stage: AnswerStage) -> Color32 {
        self.stages[stage as usize]
    }
}

/// The colour of a slide's background.
pub fn slide_background([r, g, b]: [u8; 3]) -> Color32 {
    Color32::from_rgb(r, g, b)
}

/// Semibold, for headings and what must stand out.
pub fn semibold(size: f32) -> FontId {
    FontId::new(size, FontFamily::Name(SEMIBOLD.into()))
}

/// Sets fonts and both themes.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    for theme in [Theme::Dark, Theme::Light] {
        ctx.set_style_of(theme, style(theme));
    }
}

fn fonts() -> FontDefinitions {
    // What Inter lacks is taken from egui's own fonts.
    let mut fonts = FontDefinitions::default();
    let regular = FontData::from_static(include_bytes!("../../../assets/fonts/Inter-Regular-tabular.otf"));
    let semibold = FontData::from_static(include_bytes!("../../../assets/fonts/Inter-SemiBold-tabular.otf"));
    fonts.font_data.insert("inter".to_owned(), Arc::new(regular));
    fonts.font_data.insert("inter-semibold".to_owned(), Arc::new(semibold));
    let proportional = fonts.families.entry(FontFamily::Proportional).or_default();
    let fallbacks = proportional.clone();
    proportional.insert(0, "inter".to_owned());
    let with_semibold = std::iter::once("inter-semibold".to_owned()).chain(fallbacks).collect();
    fonts.families.insert(FontFamily::Name(SEMIBOLD.into()), with_semibold);
    fonts
}

fn style(theme: Theme) -> Style {
    let palette = palette(theme);
    let mut style = Style { visuals: visuals(theme, palette), ..Style::default() };
    style.text_styles = [
        (TextStyle::Body, FontId::proportional(BODY)),
        (TextStyle::Button, FontId::proportional(BODY)),
        (TextStyle::Small, FontId::proportional(CAPTION)),
        (TextStyle::Heading, semibold(HEADING)),
        (TextStyle::Monospace, FontId::monospace(12.0)),
    ]
    .into();
    style.spacing.item_spacing = vec2(GRID, GRID);
    style.spacing.button_padding = vec2(GRID, 4.0);
    style.spacing.interact_size = vec2(28.0, 26.0);
    style.spacing.menu_margin = Margin::same(6);
    style.spacing.scroll = egui::style::ScrollStyle::thin();
    style.animation_time = 0.0;
    style
}

fn visuals(theme: Theme, palette: &Palette) -> Visuals {
    let mut visuals = match theme {
        Theme::Dark => Visuals::dark(),
        Theme::Light => Visuals::light(),
    };
    let line = Stroke::new(1.0, palette.hairline);
    let text = Stroke::new(1.0, palette.text);
    let widget = |fill: Color32, border: Stroke| WidgetVisuals {
        // Boxes to tick and the grooves of sliders; buttons have the weak one.
        bg_fill: palette.field,
        weak_bg_fill: fill,
        bg_stroke: border,
        corner_radius: CornerRadius::same(RADIUS),
        fg_stroke: text,
        expansion: 0.0,
    };
    visuals.widgets.noninteractive = widget(palette.panel, line);
    visuals.widgets.inactive = widget(palette.raised, Stroke::NONE);
    visuals.widgets.hovered = widget(palette.hover, Stroke::new(1.0, palette.weak));
    visuals.widgets.active = widget(palette.hover, Stroke::new(2.0, palette.accent));
    visuals.widgets.open = widget(palette.hover, line);
    visuals.selection = Selection { bg_fill: palette.accent, stroke: Stroke::new(1.0, palette.on_accent) };
    visuals.override_text_color = None;
    visuals.weak_text_color = Some(palette.weak);
    visuals.hyperlink_color = palette.stage(AnswerStage::Observation);
    visuals.faint_bg_color = palette.raised;
    visuals.extreme_bg_color = palette.field;
    visuals.text_edit_bg_color = Some(palette.field);
    visuals.code_bg_color = palette.raised;
    visuals.warn_fg_color = palette.warning;
    visuals.error_fg_color = palette.error;
    visuals.panel_fill = palette.panel;
    visuals.window_fill = palette.panel;
    visuals.window_stroke = line;
    visuals.window_corner_radius = CornerRadius::same(RADIUS);
    visuals.menu_corner_radius = CornerRadius::same(RADIUS);
    let shadow = Shadow { offset: [0, 2], blur: 8, spread: 0, color: Color32::from_black_alpha(80) };
    visuals.window_shadow = shadow;
    visuals.popup_shadow = shadow;
    visuals.text_cursor = TextCursorStyle { stroke: Stroke::new(1.5, palette.text), ..visuals.text_cursor };
    visuals
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2.1.
    fn luminance(colour: Color32) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(colour.r()) + 0.7152 * linear(colour.g()) + 0.0722 * linear(colour.b())
    }

    fn contrast(a: Color32, b: Color32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_text_can_be_read() {
        for theme in [Theme::Dark, Theme::Light] {
            let p = palette(theme);
            let texts = [p.text, p.weak, p.warning, p.error, p.stages[0], p.stages[1], p.stages[2]];
            for (n, text) in texts.into_iter().enumerate() {
                for ground in [p.panel, p.raised, p.field] {
                    assert!(contrast(text, ground) >= 4.5, "{theme:?} {n} {}", contrast(text, ground));
                }
            }
            assert!(contrast(p.on_accent, p.accent) >= 4.5);
            assert!(contrast(p.text, p.hover) >= 4.5);
        }
        assert!(contrast(MARK, Color32::from_gray(0x37)) >= 4.5, "words on a plate over white glass");
    }

    #[test]
    fn the_greys_have_no_tint() {
        for p in [&DARK, &LIGHT] {
            for grey in [p.panel, p.raised, p.field, p.hover, p.hairline, p.text, p.weak, p.surround] {
                assert!(grey.r() == grey.g() && grey.g() == grey.b(), "{grey:?}");
            }
        }
    }
}
