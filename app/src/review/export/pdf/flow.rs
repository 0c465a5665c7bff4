//! Words into lines, and lines and pictures into pages, from top to bottom.

use egui::Color32;

use super::super::Error;
use super::super::patches::Png;
use super::typeface::Typeface;

/// A4 in points.
pub(super) const PAGE: [f32; 2] = [595.0, 842.0];
pub(super) const LEFT: f32 = 50.0;
pub(super) const RIGHT: f32 = PAGE[0] - 50.0;
const TOP: f32 = 50.0;
/// Below it stands what every page says.
pub(super) const BOTTOM: f32 = PAGE[1] - 64.0;
/// From one line to the next, in sizes.
const LEADING: f32 = 1.4;
/// A picture's width, and the gap between two.
const PICTURE: f32 = 155.0;
const GAP: f32 = 15.0;
/// A picture that is taller is made smaller.
const TALLEST: f32 = 300.0;

/// Which of the fonts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    Regular,
    Semibold,
}

/// What goes along a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    None,
    Struck,
    Under,
}

/// A piece of a paragraph that looks the same throughout.
#[derive(Clone, Debug)]
pub(super) struct Run<'a> {
    pub text: &'a str,
    pub face: Face,
    pub colour: Color32,
    pub line: Line,
}

impl<'a> Run<'a> {
    pub(super) fn new(text: &'a str, colour: Color32) -> Self {
        Self { text, face: Face::Regular, colour, line: Line::None }
    }
}

/// A picture with what stands below it.
pub(super) struct Figure {
    pub caption: String,
    /// The scale bar's share of the width.
    pub bar: Option<f32>,
    pub png: Option<Png>,
}

/// Something at its place on a page. Points from the upper left corner; a text's is the left end of its base line.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Text { x: f32, y: f32, size: f32, face: Face, colour: Color32, text: String },
    Area { x: f32, y: f32, width: f32, height: f32, colour: Color32 },
    Picture { x: f32, y: f32, width: f32, height: f32, png: Png },
}

/// Pages that are being filled.
pub(super) struct Flow {
    pages: Vec<Vec<Item>>,
    y: f32,
    regular: Typeface,
    semibold: Typeface,
}

impl Flow {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self {
            pages: vec![Vec::new()],
            y: TOP,
            regular: Typeface::new(include_bytes!("../../../../../assets/fonts/Inter-Regular-tabular.otf"))?,
            semibold: Typeface::new(include_bytes!(
                "../../../../../assets/fonts/Inter-SemiBold-tabular.otf"
            ))?,
        })
    }

    pub(super) fn pages(&self) -> &[Vec<Item>] {
        &self.pages
    }

    pub(super) fn typeface(&self, face: Face) -> &Typeface {
        match face {
            Face::Regular => &self.regular,
            Face::Semibold => &self.semibold,
        }
    }

    pub(super) fn width(&self, face: Face, size: f32, text: &str) -> f32 {
        self.typeface(face).width(text, size)
    }

    /// Leaves room, but not at the top of a page.
    pub(super) fn space(&mut self, height: f32) {
        if self.y > TOP {
            self.y += height;
        }
    }

    /// Begins a new page where less than this is left.
    pub(super) fn keep(&mut self, height: f32) {
        if self.y + height > BOTTOM && self.y > TOP {
            self.pages.push(Vec::new());
            self.y = TOP;
        }
    }

    /// A line across the page.
    pub(super) fn rule(&mut self, colour: Color32) {
        self.keep(4.0);
        let y = self.y + 2.0;
        self.put(Item::Area { x: LEFT, y, width: RIGHT - LEFT, height: 0.75, colour });
        self.y += 4.0;
    }

    fn put(&mut self, item: Item) {
        if let Some(page) = self.pages.last_mut() {
            page.push(item);
        }
    }

    /// Runs one after the other, broken between words, and within words that are longer than a line.
    pub(super) fn paragraph(&mut self, runs: &[Run<'_>], size: f32, indent: f32) {
        let left = LEFT + indent;
        let mut x = left;
        self.begin_line(size);
        for run in runs {
            for word in run.text.split_inclusive(char::is_whitespace) {
                x = self.word(word, run, size, left, x);
            }
        }
        self.y += size * 0.25;
    }

    /// Puts a word with the white space after it; returns where the next one begins.
    fn word(&mut self, word: &str, run: &Run<'_>, size: f32, left: f32, mut x: f32) -> f32 {
        let bare = self.typeface(run.face).shown(word.trim_end());
        let width = self.width(run.face, size, &bare);
        if x + width > RIGHT && x > left {
            self.begin_line(size);
            x = left;
        }
        if x + width <= RIGHT {
            self.text(&bare, run, size, x, width);
            x += width;
        } else {
            x = self.broken(&bare, run, size, left);
        }
        if word.ends_with('\n') {
            self.begin_line(size);
            return left;
        }
        if word.ends_with(char::is_whitespace) { x + self.width(run.face, size, " ") } else { x }
    }

    /// A word that is longer than a line, letter by letter, from the left.
    fn broken(&mut self, word: &str, run: &Run<'_>, size: f32, left: f32) -> f32 {
        let (mut part, mut taken) = (String::new(), 0.0);
        for c in word.chars() {
            let width = self.width(run.face, size, c.encode_utf8(&mut [0; 4]));
            if left + taken + width > RIGHT {
                self.text(&part, run, size, left, taken);
                self.begin_line(size);
                part.clear();
                taken = 0.0;
            }
            part.push(c);
            taken += width;
        }
        self.text(&part, run, size, left, taken);
        left + taken
    }

    fn begin_line(&mut self, size: f32) {
        self.keep(size * LEADING);
        self.y += size * LEADING;
    }

    /// On the present line, which ends at `self.y`; goes on with what was written there last, where that looks the same.
    fn text(&mut self, text: &str, run: &Run<'_>, size: f32, x: f32, width: f32) {
        if text.is_empty() {
            return;
        }
        let (y, colour, face) = (self.y - size * 0.35, run.colour, run.face);
        let between = self.between(run, size, [x, y]);
        let last = self.pages.last_mut().and_then(|page| page.last_mut());
        if let (Some(between), Some(Item::Text { text: before, .. })) = (between, last) {
            before.push_str(between);
            before.push_str(text);
            return;
        }
        self.put(Item::Text { x, y, size, face, colour, text: text.to_owned() });
        let line = match run.line {
            Line::None => return,
            Line::Struck => y - size * 0.28,
            Line::Under => y + size * 0.12,
        };
        self.put(Item::Area { x, y: line, width, height: size * 0.07, colour });
    }

    /// What stands between the last words and those that begin here; `None` where they cannot be one text.
    fn between(&self, run: &Run<'_>, size: f32, [x, y]: [f32; 2]) -> Option<&'static str> {
        /// Sums of widths are not exact.
        const NEAR: f32 = 0.05;
        let Item::Text { x: from, y: line, size: last, face, colour, text } = self.pages.last()?.last()?
        else {
            return None;
        };
        if (*line, *last, *face, *colour, run.line) != (y, size, run.face, run.colour, Line::None) {
            return None;
        }
        let gap = x - from - self.width(run.face, size, text);
        let space = self.width(run.face, size, " ");
        if gap.abs() < NEAR {
            Some("")
        } else if (gap - space).abs() < NEAR {
            Some(" ")
        } else {
            None
        }
    }

    /// Pictures side by side, as many as fit, each with its scale bar and its caption.
    pub(super) fn figures(&mut self, figures: Vec<Figure>, size: f32, weak: Color32, text: Color32) {
        const ACROSS: usize = 3;
        let mut left = figures.into_iter();
        loop {
            let row: Vec<Figure> = left.by_ref().take(ACROSS).collect();
            if row.is_empty() {
                return;
            }
            let captions: Vec<Vec<String>> =
                row.iter().map(|figure| self.lines(&figure.caption, size)).collect();
            let height = row.iter().map(|figure| sides(figure)[1]).fold(0.0, f32::max) + 10.0;
            let below = captions.iter().map(Vec::len).max().unwrap_or_default() as f32 * size * LEADING;
            self.space(6.0);
            self.keep(height + below);
            let top = self.y;
            for ((figure, caption), x) in row.into_iter().zip(captions).zip(columns()) {
                self.figure(figure, [x, top], text);
                for (line, n) in caption.into_iter().zip(1_u8..) {
                    let y = top + height + f32::from(n) * size * LEADING - size * 0.35;
                    let face = Face::Regular;
                    self.put(Item::Text { x, y, size, face, colour: weak, text: line });
                }
            }
            self.y = top + height + below;
        }
    }

    fn figure(&mut self, figure: Figure, [x, y]: [f32; 2], colour: Color32) {
        let [width, height] = sides(&figure);
        let Some(png) = figure.png else { return };
        self.put(Item::Picture { x, y, width, height, png });
        if let Some(share) = figure.bar {
            let (y, length) = (y + height + 6.0, share * width);
            self.put(Item::Area { x, y, width: length, height: 1.5, colour });
            for end in [x, x + length - 1.0] {
                self.put(Item::Area { x: end, y: y - 3.0, width: 1.0, height: 4.5, colour });
            }
        }
    }

    /// A caption in lines that fit below a picture.
    fn lines(&self, text: &str, size: f32) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in self.regular.shown(text).split(' ') {
            let Some(last) = lines.last_mut() else { continue };
            let longer = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
            if last.is_empty() || self.regular.width(&longer, size) <= PICTURE {
                *last = longer;
            } else {
                lines.push(word.to_owned());
            }
        }
        lines
    }
}

fn columns() -> impl Iterator<Item = f32> {
    (0_u8..).map(|n| LEFT + f32::from(n) * (PICTURE + GAP))
}

/// Width and height on paper; nothing where there is no picture.
fn sides(figure: &Figure) -> [f32; 2] {
    let Some(png) = &figure.png else { return [0.0, 0.0] };
    let (width, height) = (png.width.max(1) as f32, png.height.max(1) as f32);
    let scale = (PICTURE / width).min(TALLEST / height);
    [width * scale, height * scale]
}
