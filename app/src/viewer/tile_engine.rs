//! Where display tiles come from: one queue for all slides of a window, decoded on every core.
//!
//! A slide's wishes are replaced as a whole, each frame, most wanted first; what is no longer among them is dropped before it is read or
//! decoded. Whole tiles of plain tiled TIFF files are read and decoded here, by Rust alone; every other tile comes from the slide's child
//! process. `tile_engine/queue.rs` decides what is done next, `wishes.rs` knows what each slide waits for, `work.rs` holds the threads that do it, `source.rs` says what they need of a
//! slide. After Slidescape's and deck.gl's tile queues; which tiles are wanted is `tile_plan.rs`'s business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::tile_cache::SlideKey;
use super::tile_pixels::TilePixels;
use crate::slide::{self, SlideHandle, TileId};

mod kept;
mod queue;
mod source;
mod wishes;
mod work;

#[cfg(test)]
mod tests;

use source::TileSource;
use work::Shared;

/// How the engine works; the default is that of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Threads that decode; 0: one for each core.
    pub decoders: usize,
    /// Threads that wait for the disk: more than cores, for files on a network.
    pub readers: usize,
    /// Bytes of decoded tiles in main memory at the most.
    pub cache_bytes: usize,
    /// Added to every read, to measure what a slow disk does.
    pub read_delay: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { decoders: 0, readers: 8, cache_bytes: 64 << 20, read_delay: Duration::ZERO }
    }
}

/// What the engine has done since the program began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct EngineCounters {
    /// Tiles decoded in this process.
    pub decoded_here: u64,
    /// Tiles that a slide's child process decoded.
    pub decoded_by_child: u64,
    /// Wishes that were taken back before anything was decoded for them.
    pub dropped: u64,
    /// Tiles that were still decoded when nobody wanted them any more.
    pub decoded_in_vain: u64,
    /// Bytes of decoded tiles in main memory.
    pub cache_bytes: u64,
    /// Bytes of textures.
    pub texture_bytes: u64,
    /// Tiles handed to the GPU.
    pub uploads: u64,
    /// Frames in which some of the view was drawn from coarser tiles than its own.
    pub frames_with_a_missing_tile: u64,
    /// Frames in which some of the slide in view was not drawn from any tile: must stay 0 after the first picture.
    pub frames_with_a_blank: u64,
}

/// Called from the engine's threads when tiles can be taken.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A finished tile.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub key: SlideKey,
    pub tile: TileId,
    pub pixels: Result<Arc<TilePixels>, slide::Error>,
}

/// The threads and their queue; clones are the same engine, whose threads end with the last of them.
#[derive(Clone)]
pub struct TileEngine {
    shared: Arc<Shared>,
    /// The threads hold the queue too, so they are told when nobody else does.
    _owner: Arc<Owner>,
    generations: Arc<AtomicU64>,
}

struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A thread that hangs in a read of a dead drive ends with the program: nothing waits for it.
        self.shared.stop();
    }
}

impl TileEngine {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(settings: EngineSettings, wake: Wake) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(settings, wake));
        let owner = Arc::new(Owner { shared: Arc::clone(&shared) });
        work::start(&shared)?;
        Ok(Self { shared, _owner: owner, generations: Arc::default() })
    }

    /// An engine without threads, which gives no tiles.
    pub fn idle() -> Self {
        let shared = Arc::new(Shared::new(EngineSettings::default(), Arc::new(|| ())));
        Self { _owner: Arc::new(Owner { shared: Arc::clone(&shared) }), shared, generations: Arc::default() }
    }

    /// Begins to serve a slide; wishes for it come by [`Self::want`].
    pub fn open(&self, key: SlideKey, slide: &SlideHandle) {
        self.open_source(key, Arc::new(slide.clone()));
    }

    /// Forgets a slide with its wishes and its tiles.
    pub fn close(&self, key: SlideKey) {
        self.shared.close(key);
    }

    /// Replaces all wishes of this slide, most wanted first. Never waits. Of several slides the one that was wanted last comes first, where
    /// their tiles are equally wanted.
    pub fn want(&self, key: SlideKey, wanted: &[TileId]) {
        self.shared.want(key, wanted, wanted.len());
    }

    /// The same, where only the first `in_view` of them are in view: of the others, a child process is asked for few at a time.
    pub fn want_ahead(&self, key: SlideKey, wanted: &[TileId], in_view: usize) {
        self.shared.want(key, wanted, in_view);
    }

    /// Finished tiles, most wanted first, at most `most`; each is given once. Where more are left, [`Wake`] is not called for them again.
    pub fn take(&self, most: usize) -> Vec<Arrived> {
        self.shared.take(most)
    }

    /// Figures since the start.
    pub fn counters(&self) -> EngineCounters {
        self.shared.queue().counters()
    }

    /// Forgets decoded tiles in main memory, for measuring.
    pub fn drop_caches(&self) {
        self.shared.queue().drop_caches();
    }

    fn open_source(&self, key: SlideKey, source: Arc<dyn TileSource>) {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        match work::listen(&self.shared, key, generation) {
            Ok(replies) => self.shared.queue().open(key, generation, source, replies),
            Err(error) => tracing::error!("cannot start the thread tile-replies: {error}"),
        }
    }
}
