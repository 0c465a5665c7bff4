//! The window's own fonts on paper: how wide words are, and which characters there are.

use skrifa::charmap::Charmap;
use skrifa::instance::{LocationRef, Size};
use skrifa::metrics::GlyphMetrics;
use skrifa::{FontRef, MetadataProvider as _};

use super::super::Error;

/// Kerning may make words a little wider than their letters.
const SPARE: f32 = 1.02;
/// What stands for a character that the font lacks.
const LACKING: char = '?';

/// A font.
pub(super) struct Typeface {
    pub bytes: &'static [u8],
    letters: Charmap<'static>,
    widths: GlyphMetrics<'static>,
    units: f32,
}

impl Typeface {
    pub(super) fn new(bytes: &'static [u8]) -> Result<Self, Error> {
        let failed = |reason: String| Error::Content(format!("the font cannot be read, {reason}"));
        let font = FontRef::new(bytes).map_err(|error| failed(error.to_string()))?;
        let units = font.metrics(Size::unscaled(), LocationRef::default()).units_per_em;
        if units == 0 {
            return Err(failed("it has no size".to_owned()));
        }
        Ok(Self {
            bytes,
            letters: font.charmap(),
            widths: font.glyph_metrics(Size::unscaled(), LocationRef::default()),
            units: f32::from(units),
        })
    }

    /// A text in characters that the font has: spaces for white space, and `?` for what it lacks.
    pub(super) fn shown(&self, text: &str) -> String {
        let shown = |c: char| {
            let is_there = !is_unseen(c) && self.letters.map(c).is_some_and(|glyph| glyph.to_u32() != 0);
            if c.is_whitespace() {
                ' '
            } else if is_there {
                c
            } else {
                LACKING
            }
        };
        text.chars().map(shown).collect()
    }

    /// Points that a text takes at this size, with some to spare.
    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        let glyphs = text.chars().map(|c| self.letters.map(c).unwrap_or_default());
        let units: f32 = glyphs.filter_map(|glyph| self.widths.advance_width(glyph)).sum();
        units / self.units * size * SPARE
    }
}

/// Characters that show nothing and could turn others around.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
