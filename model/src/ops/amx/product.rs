//! A product of two matrices in the tile unit.
//!
//! Some inputs of a block of rows are split into their parts, so that they stay in the second cache while all panels of 32
//! columns go past them. A panel is split when its turn comes: the rows of a block share that work. Sums wait where the
//! unit can read them again, 32 rows and columns in one page of memory, until the last inputs are in; then they are
//! finished, as whoever wants the product says.

#![expect(unsafe_code, reason = "functions for a kind of processor are unsafe to call")]

use std::arch::x86_64::__mmask16;
use std::cell::RefCell;
use std::ops::Range;

use super::split::{split_pair, split_row, transpose};
use super::{NO_SUMS, NOTHING, Parts, SIDE, STEP, Sums, Unit};
use crate::ops::lanes::{self, LANES};
use crate::ops::pages::ask_for_large;

/// Inputs that are summed before sums go to memory.
const DEPTH: usize = 512;
/// Rows of a block: with so many inputs, in parts, they and what goes past them fit the second cache.
const BLOCK: usize = 384;
/// Panels whose sums wait at a time, however many columns there are: with a block of rows 6 MiB a thread.
const PANELS: usize = 128;

/// Lines of values, so far apart.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Lines<'a> {
    pub(in crate::ops) values: &'a [f32],
    pub(in crate::ops) stride: usize,
}

impl<'a> Lines<'a> {
    fn part(self, line: usize, range: Range<usize>) -> &'a [f32] {
        &self.values[line * self.stride..][range]
    }
}

/// The left matrix of a product.
#[derive(Clone, Copy)]
pub(in crate::ops) enum Left<'a> {
    /// A line for each row.
    Rows(Lines<'a>),
    /// A line for each input.
    Inputs(Lines<'a>),
}

/// The right matrix of a product.
#[derive(Clone, Copy)]
pub(in crate::ops) enum Right<'a> {
    /// A line for each input.
    Inputs(Lines<'a>),
    /// A line for each column.
    Columns(Lines<'a>),
    /// Panels of 32 columns, each with a line for each input; the last ends in zeros.
    Panels(&'a [f32]),
}

/// Where 32 rows and columns of a product are, of which there may be fewer.
pub(in crate::ops) struct Place {
    pub(in crate::ops) row: usize,
    pub(in crate::ops) rows: usize,
    pub(in crate::ops) column: usize,
    pub(in crate::ops) columns: usize,
}

impl Place {
    /// Which lanes of the two vectors of a row are in it.
    pub(in crate::ops) fn masks(&self) -> [__mmask16; 2] {
        [lanes::first(self.columns), lanes::first(self.columns.saturating_sub(LANES))]
    }
}

/// What becomes of the sums.
pub(in crate::ops) trait Finish {
    /// Asks memory for what will be read and written.
    fn ask(&self, _: &Place) {}

    /// Takes the sums.
    ///
    /// # Safety
    /// The processor has the vectors of AVX-512, and no other thread has this place.
    unsafe fn put(&self, sums: &mut Sums, place: &Place);
}

/// A product.
pub(in crate::ops) struct TileProduct<'a, F> {
    pub(in crate::ops) left: Left<'a>,
    pub(in crate::ops) right: Right<'a>,
    /// Columns of the left matrix, and rows of the right one.
    pub(in crate::ops) inner: usize,
    /// Columns of the product.
    pub(in crate::ops) columns: usize,
    pub(in crate::ops) finish: F,
}

/// What one product has written here, the next one writes over.
#[derive(Default)]
struct Room {
    /// Parts of the rows of a block: step after step of 32 rows, then of the next.
    rows: Vec<Parts>,
    /// Those of a panel.
    panel: Vec<Parts>,
    /// Of 32 columns, and then of the next, 32 rows after the other.
    sums: Vec<Sums>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

impl<F: Finish> TileProduct<'_, F> {
    /// Some rows of the product, at least one, and some panels of 32 of its columns.
    ///
    /// # Safety
    /// No other thread has the same rows and panels, and there is what [`Finish`] reads and writes of them.
    pub(in crate::ops) unsafe fn compute(&self, rows: Range<usize>, panels: Range<usize>) {
        let unit = Unit::new();
        let mut room = ROOM.take();
        for first in panels.clone().step_by(PANELS) {
            // SAFETY: who has the unit has these vectors; the caller answers for the rest.
            unsafe {
                self.compute_with(&unit, &mut room, rows.clone(), first..panels.end.min(first + PANELS));
            }
        }
        ROOM.set(room);
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn compute_with(&self, unit: &Unit, room: &mut Room, rows: Range<usize>, panels: Range<usize>) {
        let height = rows.len().div_ceil(rows.len().div_ceil(BLOCK)).next_multiple_of(SIDE);
        for first in rows.clone().step_by(height) {
            let rows = first..rows.end.min(first + height);
            let groups = rows.len().div_ceil(SIDE);
            let sums = room_for(&mut room.sums, groups * panels.len(), NO_SUMS);
            for start in (0..self.inner).step_by(DEPTH) {
                let span = start..self.inner.min(start + DEPTH);
                let steps = span.len().div_ceil(STEP);
                let left = room_for(&mut room.rows, groups * steps, NOTHING);
                let right = room_for(&mut room.panel, steps, NOTHING);
                self.split_rows(rows.clone(), span.clone(), left);
                for (panel, sums) in panels.clone().zip(sums.chunks_exact_mut(groups)) {
                    self.split_panel(panel, span.clone(), right);
                    self.pass(unit, (rows.clone(), panel, &span), (left, right, sums));
                }
            }
        }
    }

    /// Splits some inputs of rows.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn split_rows(&self, rows: Range<usize>, span: Range<usize>, parts: &mut [Parts]) {
        let steps = span.len().div_ceil(STEP);
        // What is not written of the last 32 rows belongs to rows that there are not, and nobody reads their sums.
        for (first, parts) in rows.clone().step_by(SIDE).zip(parts.chunks_exact_mut(steps)) {
            let rows = first..rows.end.min(first + SIDE);
            match self.left {
                Left::Rows(lines) => split_along(lines, rows, span.clone(), parts),
                Left::Inputs(lines) => {
                    split_across(lines, rows, span.clone(), parts);
                    transpose_all(parts);
                }
            }
        }
    }

    /// Splits some inputs of a panel.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn split_panel(&self, panel: usize, span: Range<usize>, parts: &mut [Parts]) {
        let columns = panel * SIDE..self.columns.min((panel + 1) * SIDE);
        match self.right {
            Right::Panels(values) => {
                let lines = Lines { values: &values[panel * self.inner * SIDE..], stride: SIDE };
                split_across(lines, 0..SIDE, span, parts);
            }
            Right::Inputs(lines) => split_across(lines, columns, span, parts),
            Right::Columns(lines) => {
                split_along(lines, columns, span, parts);
                transpose_all(parts);
            }
        }
    }

    /// Takes rows past a panel, both split.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn pass(
        &self,
        unit: &Unit,
        (rows, panel, span): (Range<usize>, usize, &Range<usize>),
        (parts, columns, sums): (&[Parts], &[Parts], &mut [Sums]),
    ) {
        let (is_first, is_last) = (span.start == 0, span.end == self.inner);
        // The same inputs of the next panel, in as many shares as there are products here. Where it is in pieces, what is
        // asked for is here already.
        let (ahead, share) = match self.right {
            Right::Panels(values) => {
                let next = values.as_ptr().wrapping_add(((panel + 1) * self.inner + span.start) * SIDE);
                (next, (span.len() * SIDE).div_ceil(sums.len()))
            }
            Right::Inputs(_) | Right::Columns(_) => (columns.as_ptr().cast(), 0),
        };
        let groups = rows.clone().step_by(SIDE).zip(parts.chunks_exact(columns.len())).zip(sums);
        for (group, ((row, parts), sums)) in groups.enumerate() {
            let column = panel * SIDE;
            let place = Place {
                row,
                rows: SIDE.min(rows.end - row),
                column,
                columns: SIDE.min(self.columns - column),
            };
            if is_last {
                self.finish.ask(&place);
            }
            let is_half = place.rows <= SIDE / 2;
            unit.multiply(parts, columns, sums, [is_first, is_half], ahead.wrapping_add(group * share));
            if is_last {
                // SAFETY: the features of this function are those of the vectors, and parts of a product are shared out
                // among threads.
                unsafe { self.finish.put(sums, &place) };
            }
        }
    }
}

/// The parts of lines of inputs, up to 32, as the unit reads those of rows.
#[target_feature(enable = "avx512f,avx512bw")]
fn split_along(from: Lines<'_>, lines: Range<usize>, span: Range<usize>, parts: &mut [Parts]) {
    for (i, line) in lines.enumerate() {
        for (values, parts) in from.part(line, span.clone()).chunks(STEP).zip(&mut *parts) {
            split_row(values, i, parts);
        }
    }
}

/// The parts of lines of up to 32 rows or columns, one for each input, as the unit reads those of columns.
#[target_feature(enable = "avx512f,avx512bw")]
fn split_across(from: Lines<'_>, range: Range<usize>, span: Range<usize>, parts: &mut [Parts]) {
    for (start, parts) in span.clone().step_by(STEP).zip(parts) {
        let input = |i: usize| if i < span.end { from.part(i, range.clone()) } else { &[] };
        for pair in 0..STEP / 2 {
            split_pair(input(start + 2 * pair), input(start + 2 * pair + 1), pair, parts);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn transpose_all(parts: &mut [Parts]) {
    for tile in parts.as_flattened_mut() {
        transpose(tile);
    }
}

/// Room for so many, which may hold anything.
fn room_for<T: Copy>(room: &mut Vec<T>, len: usize, nothing: T) -> &mut [T] {
    if room.len() < len {
        *room = Vec::with_capacity(len);
        ask_for_large(room);
        room.resize(len, nothing);
    }
    &mut room[..len]
}
