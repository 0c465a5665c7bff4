//! Pictures that cost about as much to compress and decode as stained tissue: coarse and fine noise between pink and violet, with round
//! nuclei. They continue at their edges, so that one picture turned round at its edges is another tile.

use crate::seeded::Seeded;

const BACKGROUND: [f32; 3] = [240.0, 236.0, 241.0];
const EOSIN: [f32; 3] = [222.0, 148.0, 186.0];
const NUCLEUS: [f32; 3] = [92.0, 66.0, 140.0];
/// Distances in pixels between the points of the noise, and how strong each is.
const OCTAVES: [(u32, f32); 3] = [(64, 0.55), (16, 0.3), (4, 0.25)];
/// Grey levels up and down of the noise of each pixel: with it, a JPEG tile of quality 80 takes about as much as one of a scanner.
const GRAIN: f32 = 14.0;
/// Pixels that have one nucleus among them.
const NUCLEUS_EVERY: u32 = 1800;

/// A square picture, RGB row by row.
pub(super) fn picture(side: u32, seed: u64) -> Vec<u8> {
    let mut seeded = Seeded::new(seed);
    let length = (side * side) as usize;
    let mut density = vec![0.0_f32; length];
    for (step, strength) in OCTAVES {
        add_noise(&mut density, side, step, strength, &mut seeded);
    }
    let mut nuclei = vec![0.0_f32; length];
    for _ in 0..side * side / NUCLEUS_EVERY {
        add_nucleus(&mut nuclei, side, &mut seeded);
    }
    let mut rgb = Vec::with_capacity(length * 3);
    for (density, nucleus) in density.into_iter().zip(nuclei) {
        let grain = (seeded.fraction() as f32 - 0.5) * 2.0 * GRAIN;
        for ((background, eosin), stain) in BACKGROUND.into_iter().zip(EOSIN).zip(NUCLEUS) {
            let tissue = background + (eosin - background) * density.clamp(0.0, 1.0);
            let stained = tissue + (stain - tissue) * nucleus;
            rgb.push((stained + grain).round().clamp(0.0, 255.0) as u8);
        }
    }
    rgb
}

/// A picture turned round at its edges by so many columns and rows.
pub(super) fn rolled(rgb: &[u8], side: u32, columns: u32, rows: u32) -> Vec<u8> {
    let width = side as usize * 3;
    let across = (columns % side) as usize * 3;
    let mut turned = Vec::with_capacity(rgb.len());
    for row in 0..side {
        let from = ((row + rows) % side) as usize * width;
        turned.extend_from_slice(&rgb[from + across..from + width]);
        turned.extend_from_slice(&rgb[from..from + across]);
    }
    turned
}

/// Numbers at every `step` pixels, and between them what lies between.
fn add_noise(density: &mut [f32], side: u32, step: u32, strength: f32, seeded: &mut Seeded) {
    let points = side.div_ceil(step);
    let lattice: Vec<f32> = (0..points * points).map(|_| seeded.fraction() as f32).collect();
    let at = |column: u32, row: u32| lattice[((row % points) * points + column % points) as usize];
    for (index, value) in (0_u32..).zip(density) {
        let (x, y) = (index % side, index / side);
        let (column, row) = (x / step, y / step);
        let (right, down) = ((x % step) as f32 / step as f32, (y % step) as f32 / step as f32);
        let above = at(column, row) * (1.0 - right) + at(column + 1, row) * right;
        let below = at(column, row + 1) * (1.0 - right) + at(column + 1, row + 1) * right;
        *value += strength * (above * (1.0 - down) + below * down);
    }
}

fn add_nucleus(nuclei: &mut [f32], side: u32, seeded: &mut Seeded) {
    let (x, y) = (seeded.below(side.into()) as i32, seeded.below(side.into()) as i32);
    let radius = 5.0 + 6.0 * seeded.fraction() as f32;
    let longer = 1.0 + 0.6 * seeded.fraction() as f32;
    let reach = (radius * longer).ceil() as i32 + 1;
    for down in -reach..=reach {
        for right in -reach..=reach {
            let distance = (right as f32 / longer).hypot(down as f32);
            let inside = (radius - distance + 0.5).clamp(0.0, 1.0) * 0.9;
            let (column, row) = ((x + right).rem_euclid(side as i32), (y + down).rem_euclid(side as i32));
            let value = &mut nuclei[(row * side as i32 + column) as usize];
            *value = value.max(inside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rolled_picture_has_the_same_pixels_elsewhere() {
        let picture = picture(32, 5);
        assert_eq!(rolled(&picture, 32, 0, 0), picture);
        let turned = rolled(&picture, 32, 3, 30);
        let pixel = |rgb: &[u8], x: usize, y: usize| rgb[(y * 32 + x) * 3..][..3].to_vec();
        assert_eq!(pixel(&turned, 0, 0), pixel(&picture, 3, 30));
        assert_eq!(pixel(&turned, 31, 5), pixel(&picture, 2, 3));
    }
}
