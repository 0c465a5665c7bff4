//! How a product is shared out among threads.

use std::ops::Range;

use rayon::prelude::*;

/// Fewer rows than this are not worth reading the right matrix for in another thread: it takes other columns instead.
const FEWEST: usize = 96;
/// Into how many parts the work of a thread is cut, so that none waits long for the last.
const TASKS_PER_THREAD: usize = 2;

/// Runs `f` with ranges of rows, multiples of `at_once` but for the last, and of panels, which together are all: on as many
/// threads as the present pool has.
pub(super) fn share(
    (rows, at_once): (usize, usize),
    panels: usize,
    f: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    let threads = rayon::current_num_threads();
    if threads == 1 {
        return f(0..rows, 0..panels);
    }
    let blocks = (rows / FEWEST).clamp(1, threads);
    let height = rows.div_ceil(blocks).next_multiple_of(at_once);
    let width = panels.div_ceil((threads * TASKS_PER_THREAD).div_ceil(blocks));
    let (down, across) = (rows.div_ceil(height), panels.div_ceil(width));
    (0..down * across).into_par_iter().for_each(|task| {
        let (row, panel) = (task / across * height, task % across * width);
        f(row..rows.min(row + height), panel..panels.min(panel + width));
    });
}
