//! What the engine needs of a slide: its cells, the bytes of its file's tiles, and its child process for all others. Tests drive one by hand.

use std::io;

use crossbeam_channel::Sender;

use crate::slide::{
    DecodedTile, Error, Region, Request, SlideHandle, SlideReply, TILE_PX, Ticket, TileGrid, TileId,
};

/// A slide as the engine sees it.
pub(super) trait TileSource: Send + Sync {
    fn grid(&self) -> &TileGrid;

    /// Offset and length of the file's tile that holds `tile`; `None` where the child process must be asked.
    fn span(&self, tile: TileId) -> Option<(u64, u32)>;

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    fn decode(&self, tile: TileId, bytes: &[u8]) -> Result<DecodedTile, Error>;

    /// Asks the child process; dropping the ticket takes the wish back.
    fn ask(&self, tile: TileId, replies: &Sender<SlideReply>) -> Result<Ticket, Error>;

    /// How many tiles the child process is asked for at a time.
    fn most_asked(&self) -> usize;

    /// The same of tiles that are not in view yet: what is asked for cannot be taken back once it is being decoded, and what comes into view
    /// would wait for it.
    fn most_asked_ahead(&self) -> usize;
}

impl TileSource for SlideHandle {
    fn grid(&self) -> &TileGrid {
        SlideHandle::grid(self)
    }

    fn span(&self, tile: TileId) -> Option<(u64, u32)> {
        self.direct()?.span(tile)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.direct()
            .map_or_else(|| Err(io::ErrorKind::Unsupported.into()), |direct| direct.read_at(offset, bytes))
    }

    fn decode(&self, tile: TileId, bytes: &[u8]) -> Result<DecodedTile, Error> {
        match self.direct() {
            Some(direct) => direct.decode(tile, bytes),
            None => Err(Error::Dead { path: self.info().path.clone() }),
        }
    }

    fn ask(&self, tile: TileId, replies: &Sender<SlideReply>) -> Result<Ticket, Error> {
        let usual = SlideHandle::grid(self).levels.get(tile.level as usize);
        let is_usual = usual.is_none_or(|level| level.cell == (TILE_PX, TILE_PX));
        let of_file = self.direct().and_then(|direct| direct.jpeg2000(tile));
        let level = tile.level;
        let request = match (SlideHandle::grid(self).region(tile), of_file) {
            (Some(region), Some(tile)) => Request::Jpeg2000 { tile, level, region },
            (Some(Region { x, y, w, h }), None) if !is_usual => Request::Region { level, x, y, w, h },
            // A cell that is not there is refused by the child, in its words.
            _ => Request::Tile(tile),
        };
        self.request(request, replies)
    }

    fn most_asked(&self) -> usize {
        Self::most_in_flight()
    }

    fn most_asked_ahead(&self) -> usize {
        Self::most_read_ahead()
    }
}
