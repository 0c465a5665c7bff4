//! Masks of cells made whole: narrow gaps bridged, specks and holes taken away. After Gonzalez and Woods, *Digital Image Processing*,
//! chapter 9; squares instead of discs, so that each line is passed over once.

/// Bridges gaps of up to twice `radius` cells, without letting the outline grow. What is around the mask is not set.
pub(super) fn close(mask: &[bool], columns: usize, radius: usize) -> Vec<bool> {
    if radius == 0 || columns == 0 {
        return mask.to_vec();
    }
    // A margin for what grows past the edge; without it all that is near the edge would stay grown.
    let wide = columns + 2 * radius;
    let mut grown = vec![false; (mask.len() / columns + 2 * radius) * wide];
    for (row, cells) in mask.chunks_exact(columns).enumerate() {
        let start = (row + radius) * wide + radius;
        grown[start..start + columns].copy_from_slice(cells);
    }
    let without: Vec<bool> = dilate(&grown, wide, radius).iter().map(|cell| !cell).collect();
    let shrunk = dilate(&without, wide, radius);
    let rows = shrunk.chunks_exact(wide).skip(radius).take(mask.len() / columns);
    rows.flat_map(|row| row[radius..radius + columns].iter().map(|cell| !cell)).collect()
}

/// Every cell that has one that is set no further than `radius` away, along x and along y.
fn dilate(mask: &[bool], columns: usize, radius: usize) -> Vec<bool> {
    let rows = mask.len().checked_div(columns).unwrap_or(0);
    let across = spread(mask, rows, (columns, 1), columns, radius);
    spread(&across, columns, (1, columns), rows, radius)
}

/// Lines of `length` cells each: `(from one line to the next, from one cell to the next)`.
fn spread(
    mask: &[bool],
    lines: usize,
    (line_step, cell_step): (usize, usize),
    length: usize,
    radius: usize,
) -> Vec<bool> {
    let mut spread = vec![false; mask.len()];
    for line in 0..lines {
        let place = |at: usize| line * line_step + at * cell_step;
        // How many of the cells around the current one are set.
        let mut set = (0..radius.min(length)).filter(|&at| mask[place(at)]).count();
        for at in 0..length {
            if at + radius < length && mask[place(at + radius)] {
                set += 1;
            }
            spread[place(at)] = set > 0;
            if at >= radius && mask[place(at - radius)] {
                set -= 1;
            }
        }
    }
    spread
}

/// Turns connected groups of cells that are `value` over, where they have fewer cells than `smallest`. Neighbours share a side.
pub(super) fn drop_small(mask: &mut [bool], columns: usize, value: bool, smallest: usize) {
    if smallest < 2 || columns == 0 {
        return;
    }
    let mut seen = vec![false; mask.len()];
    let mut group: Vec<usize> = Vec::new();
    let mut from = 0;
    while let Some(start) = (from..mask.len()).find(|&at| mask[at] == value && !seen[at]) {
        from = start + 1;
        group.clear();
        group.push(start);
        seen[start] = true;
        let mut next = 0;
        while let Some(&cell) = group.get(next) {
            next += 1;
            let column = cell % columns;
            let left = (column > 0).then(|| cell - 1);
            let right = (column + 1 < columns).then_some(cell + 1);
            let above = cell.checked_sub(columns);
            for neighbour in [left, right, above, Some(cell + columns)].into_iter().flatten() {
                if mask.get(neighbour) == Some(&value) && !seen[neighbour] {
                    seen[neighbour] = true;
                    group.push(neighbour);
                }
            }
        }
        if group.len() < smallest {
            for &cell in &group {
                mask[cell] = !value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&str]) -> Vec<bool> {
        rows.iter().flat_map(|row| row.chars().map(|cell| cell == '#')).collect()
    }

    #[test]
    fn a_narrow_gap_is_bridged_and_the_outline_stays() {
        let mask = of(&["........", ".##.##..", ".##.##..", "........"]);
        assert_eq!(close(&mask, 8, 1), of(&["........", ".#####..", ".#####..", "........"]));
        assert_eq!(close(&mask, 8, 0), mask);
        let far = of(&["##....##"]);
        assert_eq!(close(&far, 8, 1), far, "four cells are no narrow gap");
    }

    #[test]
    fn a_radius_longer_than_the_mask_is_no_trouble() {
        assert_eq!(close(&of(&["#."]), 2, 5), [true, false]);
        assert_eq!(close(&of(&["#.#"]), 3, 5), [true; 3]);
        assert!(close(&[], 0, 3).is_empty());
    }

    #[test]
    fn specks_and_holes_below_the_size_go_and_larger_ones_stay() {
        let mut mask = of(&["#....", "...##", "...##", "....."]);
        drop_small(&mut mask, 5, true, 4);
        assert_eq!(mask, of(&[".....", "...##", "...##", "....."]));
        let mut mask = of(&["####", "#.##", "####", "##.."]);
        drop_small(&mut mask, 4, false, 2);
        assert_eq!(mask, of(&["####", "####", "####", "##.."]));
    }

    #[test]
    fn cells_at_both_ends_of_neighbouring_rows_do_not_touch() {
        let mut mask = of(&["..#", "#.."]);
        drop_small(&mut mask, 3, true, 2);
        assert_eq!(mask, of(&["...", "..."]));
    }
}
