//! Pages as a PDF file, with the notice, the log's head and the number below each.

use egui::{Color32, Theme};
use krilla::Document as Pdf;
use krilla::color::rgb::Color;
use krilla::geom::{PathBuilder, Point, Rect, Size, Transform};
use krilla::image::Image;
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule};
use krilla::surface::Surface;
use krilla::text::{Font, TextDirection};

use super::super::{Document, Error};
use super::flow::{BOTTOM, Face, Flow, Item, LEFT, PAGE, RIGHT};
use super::rgb;
use crate::window::theme;

/// Points.
const FOOT: f32 = 7.0;
/// What the foot of each page says first.
const NOTICE: &str = "For research use only. Not for diagnosis.";

/// The file.
pub(super) fn bytes(flow: &Flow, document: &Document) -> Result<Vec<u8>, Error> {
    let fonts = Fonts::new(flow)?;
    let mut pdf = Pdf::new();
    let keywords = vec!["ReinPath review".to_owned(), document.log.clone()];
    let metadata = Metadata::new().title("ReinPath review".to_owned()).keywords(keywords);
    pdf.set_metadata(metadata.creator(document.program.clone()));
    let count = flow.pages().len();
    for (number, items) in (1..).zip(flow.pages()) {
        let settings =
            PageSettings::from_wh(PAGE[0], PAGE[1]).ok_or_else(|| broken("the page has no size"))?;
        let mut page = pdf.start_page_with(settings);
        let mut surface = page.surface();
        // Whatever fails, the surface must be finished before it is dropped.
        let drawn = items.iter().try_for_each(|item| fonts.draw(&mut surface, item));
        let drawn = drawn.and_then(|()| fonts.foot(&mut surface, flow, &document.log, number, count));
        surface.finish();
        page.finish();
        drawn?;
    }
    let mut bytes = pdf.finish().map_err(|error| broken(&format!("{error:?}")))?;
    // Where the keywords are packed, who looks for the head in the file's bytes finds it here; a reader stops at `%%EOF` before it.
    let is_there = bytes.windows(document.log.len()).any(|bytes| bytes == document.log.as_bytes());
    if !is_there {
        bytes.extend_from_slice(format!("\n% {}\n", document.log).as_bytes());
    }
    Ok(bytes)
}

fn broken(reason: &str) -> Error {
    Error::Content(format!("the PDF cannot be made, {reason}"))
}

struct Fonts {
    regular: Font,
    semibold: Font,
}

impl Fonts {
    fn new(flow: &Flow) -> Result<Self, Error> {
        let font = |face: Face| {
            let bytes = flow.typeface(face).bytes.to_vec();
            Font::new(bytes.into(), 0).ok_or_else(|| broken("its font cannot be read"))
        };
        Ok(Self { regular: font(Face::Regular)?, semibold: font(Face::Semibold)? })
    }

    fn draw(&self, surface: &mut Surface<'_>, item: &Item) -> Result<(), Error> {
        match item {
            Item::Text { x, y, size, face, colour, text } => {
                let font = match face {
                    Face::Regular => &self.regular,
                    Face::Semibold => &self.semibold,
                };
                surface.set_fill(Some(fill(*colour)));
                let at = Point::from_xy(*x, *y);
                surface.draw_text(at, font.clone(), *size, text, false, TextDirection::LeftToRight);
            }
            Item::Area { x, y, width, height, colour } => {
                // What is too thin for a rectangle is not seen either.
                let Some(rect) = Rect::from_xywh(*x, *y, *width, *height) else { return Ok(()) };
                let mut path = PathBuilder::new();
                path.push_rect(rect);
                if let Some(path) = path.finish() {
                    surface.set_fill(Some(fill(*colour)));
                    surface.draw_path(&path);
                }
            }
            Item::Picture { x, y, width, height, png } => {
                let image =
                    Image::from_png(png.bytes.clone().into(), true).map_err(|reason| broken(&reason))?;
                let size = Size::from_wh(*width, *height).ok_or_else(|| broken("a picture has no size"))?;
                surface.push_transform(&Transform::from_translate(*x, *y));
                surface.draw_image(image, size);
                surface.pop();
            }
        }
        Ok(())
    }

    fn foot(
        &self,
        surface: &mut Surface<'_>,
        flow: &Flow,
        log: &str,
        number: usize,
        count: usize,
    ) -> Result<(), Error> {
        let colour = theme::palette(Theme::Light).weak;
        let numbers = format!("Page {number} of {count}");
        let right = RIGHT - flow.width(Face::Regular, FOOT, &numbers);
        for (x, y, text) in [
            (LEFT, BOTTOM + 20.0, NOTICE),
            (right, BOTTOM + 20.0, numbers.as_str()),
            (LEFT, BOTTOM + 31.0, log),
        ] {
            let text = flow.typeface(Face::Regular).shown(text);
            self.draw(surface, &Item::Text { x, y, size: FOOT, face: Face::Regular, colour, text })?;
        }
        Ok(())
    }
}

fn fill(colour: Color32) -> Fill {
    let [r, g, b] = rgb(colour);
    Fill { paint: Color::new(r, g, b).into(), opacity: NormalizedF32::ONE, rule: FillRule::default() }
}
