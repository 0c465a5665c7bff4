//! Occlusion maps: how much less likely each sentence becomes when a place of the patch cannot be seen (Zeiler and Fergus,
//! "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2).
//!
//! Pixels are hidden, before any encoder sees them: an encoder tells each of its tokens of all of the picture, so that a
//! hidden token may hide little. On phantom tissue these maps point at what a sentence names where the cheaper ones do not
//! (`reinpath-train evaluate --benchmark pointing`). The price is a reading of patch and answer for each place.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;

use super::Places;
use super::deletion::{RANDOM_MASKS, Reader, fall, log_fall, random_masks, top_fifth};
use super::sentences::Sentence;
use super::tam::{bounds, stretch};
use crate::answer::Question;
use crate::package::Grid;
use crate::patch::Patch;
use crate::reinpath::{Error, ReinPath};

/// Cells a side that what the model sees of a patch is cut into.
const SIDE: usize = 7;
/// Cells a side that are hidden at a time; the next place is one cell on.
const WINDOW: usize = 2;
/// Places that are hidden one after the other.
const WINDOWS: usize = (SIDE - WINDOW + 1) * (SIDE - WINDOW + 1);
/// Pictures that are looked at together.
const AT_ONCE: usize = 4;

/// The maps of all sentences.
pub(super) struct Occlusion {
    /// Per sentence, values from 0 to 1 at the image tokens of all patches.
    pub(super) grids: Vec<Vec<f32>>,
    /// Per patch and sentence, how much its probability falls without the fifth of the cells that its map points at.
    pub(super) falls: Vec<Vec<f64>>,
    /// The same without a random fifth, the mean of several.
    pub(super) random: Vec<Vec<f64>>,
}

/// What is read again and again.
pub(super) struct Scene<'a, 'r> {
    pub(super) model: &'a ReinPath,
    pub(super) question: &'a Question,
    pub(super) places: &'a Places,
    pub(super) sentences: &'a [Sentence],
    /// The log-probabilities of the answer with nothing hidden, and how long it took to read them.
    pub(super) whole: &'a [f64],
    pub(super) reading: Duration,
    pub(super) reader: &'a mut Reader<'r>,
}

/// What the patches of a question hide of the answer: `None` where that would take longer than `patience`, as the reading
/// with nothing hidden tells beforehand and each further one more exactly.
pub(super) fn occlusion(
    scene: &mut Scene<'_, '_>,
    rng: &mut ChaCha8Rng,
    patience: Duration,
) -> Result<Option<Occlusion>, Error> {
    let patches = scene.question.patches.len();
    let readings = patches * (WINDOWS + RANDOM_MASKS + scene.sentences.len());
    let masks: Vec<_> = (0..patches).map(|_| random_masks(rng, SIDE * SIDE)).collect();
    if scene.reading.as_secs_f64() * readings as f64 > patience.as_secs_f64() {
        return Ok(None);
    }
    let mut of_patches = Vec::with_capacity(patches);
    let mut time = Watch { begun: Instant::now(), read: 0, readings, patience };
    // The last patch first: see `Reader::read_masked`.
    for patch in (0..patches).rev() {
        let Some(found) = scene.of_patch(patch, &masks[patch], &mut time)? else { return Ok(None) };
        of_patches.push(found);
    }
    of_patches.reverse();
    let grids = (0..scene.sentences.len())
        .map(|sentence| {
            let of_patch = |(found, grid): (&OfPatch, &Grid)| resized(&found.maps[sentence], *grid);
            let mut values: Vec<f32> =
                of_patches.iter().zip(&scene.places.grids).flat_map(of_patch).collect();
            let range = bounds(values.iter().copied());
            stretch(&mut values, range);
            values
        })
        .collect();
    let (falls, random) = of_patches.into_iter().map(|found| (found.falls, found.random)).unzip();
    Ok(Some(Occlusion { grids, falls, random }))
}

/// Whether there is time for all readings.
struct Watch {
    begun: Instant,
    read: usize,
    readings: usize,
    patience: Duration,
}

impl Watch {
    /// After as many more readings.
    fn has_time(&mut self, count: usize) -> bool {
        self.read += count;
        let all = self.begun.elapsed().as_secs_f64() * self.readings as f64 / self.read.max(1) as f64;
        all <= self.patience.as_secs_f64()
    }
}

/// What was found of one patch, per sentence.
struct OfPatch {
    maps: Vec<[f32; SIDE * SIDE]>,
    falls: Vec<f64>,
    random: Vec<f64>,
}

impl Scene<'_, '_> {
    fn of_patch(
        &mut self,
        patch: usize,
        masks: &[Vec<usize>],
        time: &mut Watch,
    ) -> Result<Option<OfPatch>, Error> {
        let sentences = self.sentences;
        let shown = &self.question.patches[patch];
        let cover = Cover::of(shown, self.model.crop(shown)?);
        let windows: Vec<Vec<usize>> = (0..WINDOWS).map(window).collect();
        let (mut sums, mut counts) = (vec![[0.0; SIDE * SIDE]; sentences.len()], [0.0_f32; SIDE * SIDE]);
        for hidden in windows.chunks(AT_ONCE) {
            let falls = self.falls_without(patch, &cover, hidden, log_fall)?;
            for (window, falls) in hidden.iter().zip(&falls) {
                for &cell in window {
                    counts[cell] += 1.0;
                    sums.iter_mut().zip(falls).for_each(|(sum, fall)| sum[cell] += *fall as f32);
                }
            }
            if !time.has_time(hidden.len()) {
                return Ok(None);
            }
        }
        let mut maps = sums;
        for map in &mut maps {
            map.iter_mut().zip(counts).for_each(|(sum, count)| *sum /= count);
        }
        let mut random = vec![0.0; sentences.len()];
        for hidden in masks.chunks(AT_ONCE) {
            for falls in self.falls_without(patch, &cover, hidden, fall)? {
                random.iter_mut().zip(falls).for_each(|(sum, fall)| *sum += fall / masks.len() as f64);
            }
            if !time.has_time(hidden.len()) {
                return Ok(None);
            }
        }
        let tops: Vec<Vec<usize>> = maps.iter().map(|map| top_fifth(map)).collect();
        let mut falls = Vec::with_capacity(sentences.len());
        for hidden in tops.chunks(AT_ONCE) {
            for of_all in self.falls_without(patch, &cover, hidden, fall)? {
                // Of each hidden picture, that of the sentence whose map it hides.
                falls.push(of_all[falls.len()]);
            }
            if !time.has_time(hidden.len()) {
                return Ok(None);
            }
        }
        Ok(Some(OfPatch { maps, falls, random }))
    }

    /// How much each sentence falls, by this measure, without some cells of a patch: of each choice of cells, per sentence.
    fn falls_without(
        &mut self,
        patch: usize,
        cover: &Cover,
        hidden: &[Vec<usize>],
        fall: fn(&Sentence, &[f64], &[f64]) -> f64,
    ) -> Result<Vec<Vec<f64>>, Error> {
        let Self { model, question, places, reader, .. } = self;
        let shown = &question.patches[patch];
        let pictures: Vec<Patch> = hidden.iter().map(|cells| cover.without(shown, cells)).collect();
        let cancel = reader.cancel();
        let seen = model.look(&pictures, question.max_pixels, &mut || !cancel.load(Ordering::Relaxed))?;
        let images = model.images(&seen)?;
        let mut falls = Vec::with_capacity(hidden.len());
        for image in &images.embeddings {
            let read = reader.read_with(places.patches[patch], image)?;
            falls.push(self.sentences.iter().map(|sentence| fall(sentence, self.whole, &read)).collect());
        }
        Ok(falls)
    }
}

/// The cells of a place that is hidden.
fn window(number: usize) -> Vec<usize> {
    let places = SIDE - WINDOW + 1;
    let (top, left) = (number / places, number % places);
    (top..top + WINDOW).flat_map(|row| (left..left + WINDOW).map(move |col| row * SIDE + col)).collect()
}

/// A patch as it is hidden: what the model sees of it, in pixels, and the mean colour of that, which tells nothing of a place
/// and keeps stain and brightness.
struct Cover {
    columns: [usize; SIDE + 1],
    rows: [usize; SIDE + 1],
    colour: [u8; 3],
}

impl Cover {
    fn of(patch: &Patch, [left, top, width, height]: [f64; 4]) -> Self {
        let edges = |start: f64, length: f64, end: u32| {
            let edge = |cell: usize| start + length * cell as f64 / SIDE as f64;
            std::array::from_fn(|cell| edge(cell).round().clamp(0.0, f64::from(end)) as usize)
        };
        let (columns, rows) = (edges(left, width, patch.width), edges(top, height, patch.height));
        let (mut sums, mut count) = ([0_u64; 3], 0);
        for row in rows[0]..rows[SIDE] {
            let start = row * patch.width as usize;
            let pixels = &patch.rgb[3 * (start + columns[0])..3 * (start + columns[SIDE])];
            for pixel in pixels.as_chunks::<3>().0 {
                (0..3).for_each(|c| sums[c] += u64::from(pixel[c]));
                count += 1;
            }
        }
        let colour = sums.map(|sum| sum.checked_div(count).unwrap_or(0) as u8);
        Self { columns, rows, colour }
    }

    /// The patch without some of the cells.
    fn without(&self, patch: &Patch, cells: &[usize]) -> Patch {
        let mut hidden = patch.clone();
        for cell in cells {
            let (row, col) = (cell / SIDE, cell % SIDE);
            for y in self.rows[row]..self.rows[row + 1] {
                let start = y * patch.width as usize;
                let pixels = 3 * (start + self.columns[col])..3 * (start + self.columns[col + 1]);
                hidden.rgb[pixels].as_chunks_mut().0.fill(self.colour);
            }
        }
        hidden
    }
}

/// A map on the grid of the patch's image tokens: each takes the mean of the cells that it lies on.
fn resized(map: &[f32; SIDE * SIDE], grid: Grid) -> Vec<f32> {
    let cells = |at: usize, count: usize| at * SIDE / count..((at + 1) * SIDE).div_ceil(count);
    let value = |token: usize| {
        let (rows, cols) = (cells(token / grid.cols, grid.rows), cells(token % grid.cols, grid.cols));
        let all: Vec<f32> = rows.flat_map(|row| cols.clone().map(move |col| map[row * SIDE + col])).collect();
        all.iter().sum::<f32>() / all.len() as f32
    };
    (0..grid.tokens()).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_hidden_and_those_in_the_middle_as_often() {
        let mut counts = [0; SIDE * SIDE];
        (0..WINDOWS).flat_map(window).for_each(|cell| counts[cell] += 1);
        assert_eq!(counts[0], 1);
        assert_eq!((counts[SIDE + 1], counts[3 * SIDE + 3]), (4, 4));
        assert!(counts.iter().all(|&count| count > 0));
    }

    #[test]
    fn hidden_cells_get_the_mean_of_what_is_seen_and_all_else_stays() {
        // Black but for what is not seen, which is white, and one bright pixel; 14 × 7 pixels are seen, from (3, 2).
        let (width, height) = (20, 11);
        let is_seen = |x: usize, y: usize| (3..17).contains(&x) && (2..9).contains(&y);
        let colour = |x, y| match (x, y) {
            (3, 2) => [196, 98, 0],
            _ if is_seen(x, y) => [0; 3],
            _ => [255; 3],
        };
        let rgb = (0..width * height).flat_map(|i| colour(i % width, i / width)).collect();
        let patch = Patch::new(width as u32, height as u32, None, rgb).unwrap();
        // The third cell of the first row, and the first of the last.
        let hidden = Cover::of(&patch, [2.6, 2.4, 14.0, 7.0]).without(&patch, &[2, 6 * SIDE]);
        let changed = (0..width * height).filter(|i| hidden.rgb[3 * i..][..3] != patch.rgb[3 * i..][..3]);
        let changed: Vec<(usize, usize)> = changed.map(|i| (i % width, i / width)).collect();
        assert_eq!(changed, [(7, 2), (8, 2), (3, 8), (4, 8)]);
        assert_eq!(hidden.rgb[3 * (2 * width + 7)..][..3], [2, 1, 0]);
        let tiny = Patch::new(3, 2, None, vec![9; 18]).unwrap();
        let all: Vec<usize> = (0..SIDE * SIDE).collect();
        assert_eq!(Cover::of(&tiny, [0.5, 0.0, 2.0, 2.0]).without(&tiny, &all).rgb, tiny.rgb);
    }

    #[test]
    fn a_map_is_drawn_on_whatever_grid_the_tokens_have() {
        let map: [f32; SIDE * SIDE] = std::array::from_fn(|i| i as f32);
        assert_eq!(resized(&map, Grid::square(7)), map);
        assert_eq!(resized(&map, Grid::square(1)), [24.0], "all that is there counts");
        let fine = resized(&map, Grid { rows: 14, cols: 21 });
        assert_eq!((fine[0], fine[2], fine[3], fine[21], fine[13 * 21 + 20]), (0.0, 0.0, 1.0, 0.0, 48.0));
        // Rows 0 to 3 and 3 to 6, of which the middle one counts for both; columns 0 to 2, 2 to 4 and 4 to 6.
        let coarse = resized(&map, Grid { rows: 2, cols: 3 });
        assert_eq!(coarse, [11.5, 13.5, 15.5, 32.5, 34.5, 36.5]);
    }

    #[test]
    fn patience_ends_what_would_take_too_long() {
        // Ten of fifty readings took a second: all would take five.
        let Some(begun) = Instant::now().checked_sub(Duration::from_secs(1)) else { return };
        let watch =
            |patience| Watch { begun, read: 0, readings: 50, patience: Duration::from_secs(patience) };
        assert!(watch(10).has_time(10));
        assert!(!watch(3).has_time(10));
    }
}
