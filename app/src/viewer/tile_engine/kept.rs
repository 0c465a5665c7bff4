//! Decoded tiles in main memory that are not wanted at the moment: the rest of a large tile of the file, and what came too late.

use std::sync::Arc;

use lru::LruCache;

use super::super::tile_cache::SlideKey;
use super::super::tile_pixels::{TILE_BYTES, TilePixels};
use crate::slide::TileId;

/// Bounded in bytes; the one kept the longest makes room.
pub(super) struct Kept {
    tiles: LruCache<(SlideKey, TileId), Arc<TilePixels>>,
    most: usize,
}

impl Kept {
    /// For `bytes` at the most.
    pub(super) fn new(bytes: usize) -> Self {
        Self { tiles: LruCache::unbounded(), most: bytes / TILE_BYTES }
    }

    pub(super) fn put(&mut self, key: SlideKey, tile: TileId, pixels: Arc<TilePixels>) {
        self.tiles.put((key, tile), pixels);
        while self.tiles.len() > self.most {
            self.tiles.pop_lru();
        }
    }

    pub(super) fn take(&mut self, key: SlideKey, tile: TileId) -> Option<Arc<TilePixels>> {
        self.tiles.pop(&(key, tile))
    }

    /// Forgets a slide.
    pub(super) fn forget(&mut self, key: SlideKey) {
        let of_slide: Vec<_> =
            self.tiles.iter().map(|(place, _)| *place).filter(|(of, _)| *of == key).collect();
        for place in of_slide {
            self.tiles.pop(&place);
        }
    }

    pub(super) fn clear(&mut self) {
        self.tiles.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        self.tiles.len() * TILE_BYTES
    }
}
