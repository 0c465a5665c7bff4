//! How each level of a slide is cut into cells for display: what a [`TileId`] counts.
//!
//! Where whole tiles of the file are decoded, cells follow the file's own tiles, so that none is decoded twice; everywhere else they are
//! squares of [`TILE_PX`]. No cell is larger than that: it is what a layer of the renderer's textures holds.

use super::{Region, SlideInfo, TILE_PX, TileId, resample};

/// The cells of every level.
#[derive(Clone, Debug, PartialEq)]
pub struct TileGrid {
    /// Finest first, as in [`SlideInfo::levels`].
    pub levels: Vec<GridLevel>,
}

/// The cells of one level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GridLevel {
    /// Pixels of this level.
    pub width: u32,
    /// Pixels of this level.
    pub height: u32,
    /// Level-0 pixels per pixel of this level.
    pub downsample: f64,
    /// Width and height of a cell in pixels of this level, at most [`TILE_PX`] each way.
    pub cell: (u32, u32),
    /// Columns and rows of cells that one tile of the file holds.
    pub per_file_tile: (u32, u32),
}

impl GridLevel {
    /// Columns and rows of cells.
    pub fn tiles(&self) -> (u32, u32) {
        (self.width.div_ceil(self.cell.0.max(1)), self.height.div_ceil(self.cell.1.max(1)))
    }

    /// Left, top, width and height of a cell in pixels of this level; `None` where there is none.
    pub fn place(&self, column: u32, row: u32) -> Option<(u32, u32, u32, u32)> {
        let (columns, rows) = self.tiles();
        if column >= columns || row >= rows {
            return None;
        }
        let (left, top) = (column * self.cell.0, row * self.cell.1);
        Some((left, top, self.cell.0.min(self.width - left), self.cell.1.min(self.height - top)))
    }
}

impl TileGrid {
    /// Squares of [`TILE_PX`] on every level.
    pub fn of(info: &SlideInfo) -> Self {
        let levels = info.levels.iter().map(|level| GridLevel {
            width: level.width,
            height: level.height,
            downsample: level.downsample,
            cell: (TILE_PX, TILE_PX),
            per_file_tile: (1, 1),
        });
        Self { levels: levels.collect() }
    }

    /// Columns and rows of cells of `level`; (0, 0) where there is no such level.
    pub fn tiles(&self, level: u32) -> (u32, u32) {
        self.levels.get(level as usize).map_or((0, 0), GridLevel::tiles)
    }

    /// The coarsest level that is at least as fine as `downsample`; level 0 when none is.
    pub fn level_for_downsample(&self, downsample: f64) -> u32 {
        resample::level_among(self.levels.iter().map(|level| level.downsample), downsample)
    }

    /// The cell in the left upper corner of the file's tile that holds `tile`.
    #[must_use]
    pub fn first_of_file_tile(&self, tile: TileId) -> TileId {
        let (across, down) = self.per_file_tile(tile.level);
        TileId { level: tile.level, column: tile.column / across * across, row: tile.row / down * down }
    }

    /// All cells of the file's tile that begins with `first`, row by row; those past the level's edge are left out.
    pub fn cells_of_file_tile(&self, first: TileId) -> impl Iterator<Item = TileId> + use<> {
        let (across, down) = self.per_file_tile(first.level);
        let (columns, rows) = self.tiles(first.level);
        let end = |from: u32, count: u32, all: u32| from.saturating_add(count).min(all);
        let (right, bottom) = (end(first.column, across, columns), end(first.row, down, rows));
        (first.row..bottom).flat_map(move |row| {
            (first.column..right).map(move |column| TileId { level: first.level, column, row })
        })
    }

    /// A cell as a region: its left upper corner in level-0 pixels, its size in pixels of its level.
    pub fn region(&self, tile: TileId) -> Option<Region> {
        let level = self.levels.get(tile.level as usize)?;
        let (left, top, w, h) = level.place(tile.column, tile.row)?;
        let origin = |at: u32| (f64::from(at) * level.downsample).round() as i64;
        Some(Region { x: origin(left), y: origin(top), w, h })
    }

    fn per_file_tile(&self, level: u32) -> (u32, u32) {
        let (across, down) = self.levels.get(level as usize).map_or((1, 1), |level| level.per_file_tile);
        (across.max(1), down.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(column: u32, row: u32) -> TileId {
        TileId { level: 0, column, row }
    }

    /// 1101 × 700 pixels in file tiles of 512.
    fn grid() -> TileGrid {
        let level =
            GridLevel { width: 1101, height: 700, downsample: 2.0, cell: (256, 256), per_file_tile: (2, 2) };
        TileGrid { levels: vec![level] }
    }

    #[test]
    fn cells_end_with_the_level() {
        let grid = grid();
        assert_eq!((grid.tiles(0), grid.tiles(1)), ((5, 3), (0, 0)));
        assert_eq!(grid.levels[0].place(4, 2), Some((1024, 512, 77, 188)));
        assert_eq!(grid.levels[0].place(5, 0), None);
        assert_eq!(grid.region(id(4, 2)), Some(Region { x: 2048, y: 1024, w: 77, h: 188 }));
        assert_eq!(grid.region(TileId { level: 3, column: 0, row: 0 }), None);
    }

    #[test]
    fn cells_know_their_tile_of_the_file() {
        let grid = grid();
        assert_eq!(grid.first_of_file_tile(id(3, 1)), id(2, 0));
        let cells: Vec<TileId> = grid.cells_of_file_tile(id(2, 0)).collect();
        assert_eq!(cells, [id(2, 0), id(3, 0), id(2, 1), id(3, 1)]);
        let cells: Vec<TileId> = grid.cells_of_file_tile(id(4, 2)).collect();
        assert_eq!(cells, [id(4, 2)], "the slide ends there");
    }
}
