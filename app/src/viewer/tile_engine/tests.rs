//! The queue driven by hand, and the threads with a source that a test holds back.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::queue::{Batch, Queue};
use super::*;
use crate::slide::{DecodedTile, Error, GridLevel, Pixels, Request, SlideReply, Ticket, TileGrid};
use crate::viewer::tile_pixels::TILE_BYTES;

const A: SlideKey = SlideKey(1);
const B: SlideKey = SlideKey(2);
/// Bytes of a tile in the file of the test.
const LENGTH: u32 = 1000;

/// A slide of 16 × 16 tiles, `apart` bytes between their beginnings; tiles of row 15 belong to the child.
struct Fake {
    grid: TileGrid,
    apart: u64,
    /// Reads that have begun, and those that have ended.
    begun: AtomicU64,
    reads: Mutex<Vec<(u64, usize)>>,
    decoded: Mutex<Vec<TileId>>,
    /// Reads wait as long as this is set.
    is_hung: AtomicBool,
    asked: Mutex<Vec<(u64, TileId, Arc<AtomicBool>)>>,
    tickets: AtomicU64,
}

impl Fake {
    fn new(apart: u64) -> Arc<Self> {
        Self::with_level(apart, 1)
    }

    /// With tiles of the file that are `cells` cells wide and high.
    fn with_level(apart: u64, cells: u32) -> Arc<Self> {
        let level = GridLevel {
            width: 4096,
            height: 4096,
            downsample: 1.0,
            cell: (256, 256),
            per_file_tile: (cells, cells),
        };
        Arc::new(Self {
            grid: TileGrid { levels: vec![level] },
            apart,
            begun: AtomicU64::new(0),
            reads: Mutex::default(),
            decoded: Mutex::default(),
            is_hung: AtomicBool::new(false),
            asked: Mutex::default(),
            tickets: AtomicU64::new(0),
        })
    }

    fn asked(&self) -> Vec<(u64, TileId, Arc<AtomicBool>)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TileSource for Fake {
    fn grid(&self) -> &TileGrid {
        &self.grid
    }

    fn span(&self, tile: TileId) -> Option<(u64, u32)> {
        (tile.row < 15).then_some((u64::from(tile.row * 16 + tile.column) * self.apart, LENGTH))
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        while self.is_hung.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push((offset, bytes.len()));
        Ok(())
    }

    fn decode(&self, tile: TileId, _bytes: &[u8]) -> Result<DecodedTile, Error> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner).push(tile);
        if tile.column == 13 {
            return Err(Error::Read { place: String::new(), reason: "damaged".into(), path: "a".into() });
        }
        let side = 256 * self.grid.levels[0].per_file_tile.0;
        Ok(DecodedTile { rgba: vec![9; (side * side * 4) as usize], width: side, height: side, first: tile })
    }

    fn ask(&self, tile: TileId, _replies: &Sender<SlideReply>) -> Result<Ticket, Error> {
        let (ticket, cancelled) = Ticket::of(self.tickets.fetch_add(1, Ordering::Relaxed));
        let asked = (ticket.id(), tile, cancelled);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        Ok(ticket)
    }

    fn most_asked(&self) -> usize {
        3
    }

    fn most_asked_ahead(&self) -> usize {
        1
    }
}

impl Queue {
    /// Wishes that are all in view.
    fn want_all(&mut self, key: SlideKey, wanted: &[TileId]) -> bool {
        self.want(key, wanted, wanted.len())
    }
}

fn id(column: u32, row: u32) -> TileId {
    TileId { level: 0, column, row }
}

fn opened(source: &Arc<Fake>) -> (Queue, Receiver<SlideReply>) {
    let mut queue = Queue::new(8 * TILE_BYTES, 2, 8);
    let (replies, receiver) = bounded(8);
    queue.open(A, 0, Arc::<Fake>::clone(source), replies);
    (queue, receiver)
}

fn units(batch: &Batch) -> Vec<TileId> {
    batch.units.iter().map(|(first, _)| *first).collect()
}

/// Reads the next batch.
fn read(queue: &mut Queue) -> Vec<TileId> {
    let batch = queue.next_read().unwrap();
    let (tiles, bytes) = (units(&batch), vec![0; batch.length]);
    queue.finish_read(batch, Some(&bytes));
    tiles
}

/// Decodes the next tile.
fn decode(queue: &mut Queue) -> TileId {
    let unit = queue.next_decode().unwrap();
    let pixels = Arc::new(TilePixels::whole(vec![0; 256 * 256 * 4]).unwrap());
    queue.deliver(&unit.origin, unit.first, pixels);
    queue.finish_decode(&unit.origin, unit.first, false);
    unit.first
}

fn taken(queue: &mut Queue, most: usize) -> Vec<TileId> {
    queue.take(most).iter().map(|arrived| arrived.tile).collect()
}

const FAR: u64 = 10 << 20;

#[test]
fn the_most_wanted_is_read_decoded_and_taken_first() {
    let (mut queue, _replies) = opened(&Fake::new(FAR));
    let wanted = [id(5, 5), id(4, 5), id(9, 9)];
    assert!(queue.want_all(A, &wanted));
    let batches = [queue.next_read().unwrap(), queue.next_read().unwrap(), queue.next_read().unwrap()];
    assert_eq!(batches.each_ref().map(units), [[id(5, 5)], [id(4, 5)], [id(9, 9)]].map(Vec::from));
    assert!(queue.next_read().is_none(), "everything is being read");
    let [first, second, third] = batches;
    for batch in [third, second, first] {
        let bytes = vec![0; batch.length];
        queue.finish_read(batch, Some(&bytes));
    }
    assert_eq!([decode(&mut queue), decode(&mut queue), decode(&mut queue)], wanted);
    assert_eq!(taken(&mut queue, 2), wanted[..2]);
    assert_eq!(taken(&mut queue, 9), wanted[2..]);
    assert!(queue.next_read().is_none(), "what was taken is not wanted again by itself");
    assert!(queue.want_all(A, &wanted), "a tile may be wanted again");
    assert!(queue.next_read().is_some());
}

#[test]
fn what_is_not_wanted_any_more_is_dropped_before_it_is_read_and_before_it_is_decoded() {
    let source = Fake::new(FAR);
    let (mut queue, _replies) = opened(&source);
    queue.want_all(A, &[id(0, 0), id(1, 0), id(2, 0)]);
    let (first, second) = (queue.next_read().unwrap(), queue.next_read().unwrap());
    queue.finish_read(first, Some(&[0; LENGTH as usize]));
    queue.want_all(A, &[id(7, 7)]);
    assert_eq!(queue.counters().dropped, 1, "(2, 0) was not read");
    queue.finish_read(second, Some(&[0; LENGTH as usize]));
    assert!(queue.next_decode().is_none(), "(0, 0) was read and (1, 0) came later");
    assert_eq!(queue.counters().dropped, 3);
    assert_eq!(read(&mut queue), [id(7, 7)]);
    assert_eq!(decode(&mut queue), id(7, 7));
}

#[test]
fn neighbours_in_the_file_are_read_together() {
    let (mut queue, _replies) = opened(&Fake::new(u64::from(LENGTH) + 50));
    queue.want_all(A, &[id(5, 0), id(7, 0), id(4, 0), id(9, 9)]);
    let batch = queue.next_read().unwrap();
    // Between rows there are more than enough bytes; from column 4 to 7 one is not wanted but bridged.
    assert_eq!(units(&batch), [id(4, 0), id(5, 0), id(7, 0)]);
    assert_eq!((batch.offset, batch.length), (4 * 1050, 3 * 1050 + 1000));
    assert_eq!(batch.units[1].1, 1050..2050);
    assert_eq!(read(&mut queue), [id(9, 9)], "144 tiles of a kilobyte away");
    let (mut queue, _replies) = opened(&Fake::new(400 << 10));
    queue.want_all(A, &[id(0, 0), id(1, 0)]);
    assert_eq!(units(&queue.next_read().unwrap()), [id(0, 0)], "too much between them");
}

#[test]
fn the_same_bytes_may_be_several_tiles() {
    let (mut queue, _replies) = opened(&Fake::new(0));
    queue.want_all(A, &[id(3, 1), id(8, 8)]);
    let batch = queue.next_read().unwrap();
    assert_eq!((units(&batch).len(), batch.length), (2, LENGTH as usize));
}

#[test]
fn a_few_tiles_are_read_ahead_and_no_more() {
    let (mut queue, _replies) = opened(&Fake::new(FAR));
    let many: Vec<TileId> = (0..24).map(|n| id(n % 12, n / 12)).collect();
    queue.want_all(A, &many);
    assert!(queue.is_starving() && queue.is_running_out());
    for _ in 0..16 {
        read(&mut queue);
    }
    assert!(queue.next_read().is_none(), "sixteen wait for two decoders");
    assert!(!queue.is_starving() && !queue.is_running_out());
    for left in (8..16).rev() {
        decode(&mut queue);
        assert_eq!(queue.is_running_out(), left == 8, "{left} are left");
    }
    assert!(queue.next_read().is_some());
}

#[test]
fn a_large_tile_of_the_file_is_decoded_once_for_all_its_cells() {
    let source = Fake::with_level(FAR, 2);
    let (mut queue, _replies) = opened(&source);
    queue.want_all(A, &[id(3, 1), id(2, 0)]);
    assert_eq!(read(&mut queue), [id(2, 0)]);
    assert!(queue.next_read().is_none());
    let unit = queue.next_decode().unwrap();
    for cell in source.grid.cells_of_file_tile(unit.first) {
        queue.deliver(&unit.origin, cell, Arc::new(TilePixels::whole(vec![0; 256 * 256 * 4]).unwrap()));
    }
    queue.finish_decode(&unit.origin, unit.first, false);
    assert_eq!(taken(&mut queue, 9), [id(3, 1), id(2, 0)]);
    assert_eq!(queue.counters().cache_bytes, 2 * TILE_BYTES as u64, "the others are kept");
    queue.want_all(A, &[id(3, 0)]);
    assert_eq!(taken(&mut queue, 9), [id(3, 0)], "without reading anything");
    queue.drop_caches();
    assert_eq!(queue.counters().cache_bytes, 0);
}

#[test]
fn memory_is_bounded_and_what_came_too_late_is_kept() {
    let (mut queue, _replies) = opened(&Fake::new(FAR));
    for column in 0..12 {
        queue.want_all(A, &[id(column, 0)]);
        read(&mut queue);
        decode(&mut queue);
    }
    assert_eq!(queue.counters().cache_bytes, 8 * TILE_BYTES as u64);
    queue.want_all(A, &[id(9, 0), id(0, 0)]);
    assert_eq!(taken(&mut queue, 9), [id(9, 0)]);
}

#[test]
fn of_two_slides_the_one_wanted_last_comes_first_and_neither_starves() {
    let (mut queue, _replies) = opened(&Fake::new(FAR));
    let (replies, _receiver) = bounded(8);
    queue.open(B, 1, Fake::new(FAR), replies);
    queue.want_all(A, &[id(0, 0), id(1, 0)]);
    queue.want_all(B, &[id(0, 1), id(1, 1)]);
    let order: Vec<TileId> = (0..4).map(|_| units(&queue.next_read().unwrap())[0]).collect();
    assert_eq!(order, [id(0, 1), id(0, 0), id(1, 1), id(1, 0)]);
}

#[test]
fn the_child_gets_what_only_it_can_read_and_a_few_at_a_time() {
    let source = Fake::new(FAR);
    let (mut queue, _replies) = opened(&source);
    let wanted: Vec<TileId> = (0..6).map(|n| id(n, 15)).chain([id(13, 0)]).collect();
    queue.want_all(A, &wanted);
    assert!(!queue.ask_children());
    assert_eq!(source.asked().iter().map(|asked| asked.1).collect::<Vec<_>>(), wanted[..3]);
    let pixels = || Arc::new(TilePixels::whole(vec![0; 256 * 256 * 4]).unwrap());
    assert!(queue.answered((A, 0), 0, Ok(pixels())), "the first that can be taken");
    assert!(!queue.answered((A, 0), 0, Ok(pixels())), "answered already");
    assert!(!queue.answered((A, 7), 1, Ok(pixels())), "of another opening of the slide");
    queue.ask_children();
    assert_eq!(source.asked().len(), 4);
    // A damaged tile of the file is asked for too.
    assert_eq!(read(&mut queue), [id(13, 0)]);
    let unit = queue.next_decode().unwrap();
    queue.finish_decode(&unit.origin, unit.first, true);
    queue.want_all(A, &[id(13, 0), id(2, 15)]);
    let cancelled: Vec<bool> = source.asked().iter().map(|asked| asked.2.load(Ordering::Relaxed)).collect();
    assert_eq!(cancelled, [true, true, false, true], "answered, not wanted, wanted, not wanted");
    queue.ask_children();
    assert_eq!(source.asked().last().map(|asked| asked.1), Some(id(13, 0)));
}

#[test]
fn of_what_is_not_in_view_the_child_gets_fewer_at_a_time() {
    let source = Fake::new(FAR);
    let (mut queue, _replies) = opened(&source);
    let row: Vec<TileId> = (0..6).map(|n| id(n, 15)).collect();
    let asked = |source: &Fake| source.asked().iter().map(|asked| asked.1).collect::<Vec<_>>();
    queue.want(A, &row, 0);
    queue.ask_children();
    assert_eq!(asked(&source), row[..1]);
    queue.want(A, &row, 2);
    queue.ask_children();
    assert_eq!(asked(&source), row[..2], "those in view, and none ahead beside them");
    queue.want(A, &row, 5);
    queue.ask_children();
    assert_eq!(asked(&source), row[..3]);
}

#[test]
fn a_closed_slide_is_forgotten_with_its_work() {
    let (mut queue, _replies) = opened(&Fake::new(FAR));
    queue.want_all(A, &[id(0, 0), id(1, 0)]);
    let late = queue.next_read().unwrap();
    read(&mut queue);
    queue.close(A);
    assert!(queue.next_decode().is_none() && queue.next_read().is_none());
    let (replies, _receiver) = bounded(8);
    queue.open(A, 5, Fake::new(FAR), replies);
    queue.want_all(A, &[id(0, 0)]);
    queue.finish_read(late, Some(&[0; LENGTH as usize]));
    assert!(queue.next_decode().is_none(), "read before the slide was closed");
}

/// Waits for as many tiles as that.
fn wait_for(engine: &TileEngine, count: usize) -> Vec<Arrived> {
    let (begun, mut found) = (Instant::now(), Vec::new());
    while found.len() < count {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} of {count} tiles", found.len());
        found.extend(engine.take(count));
        std::thread::sleep(Duration::from_millis(1));
    }
    found
}

fn engine() -> (TileEngine, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let wake: Wake = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let settings =
        EngineSettings { decoders: 2, readers: 4, cache_bytes: 1 << 20, read_delay: Duration::ZERO };
    (TileEngine::start(settings, wake).unwrap(), calls)
}

#[test]
fn tiles_come_and_the_window_is_woken() {
    let (engine, calls) = engine();
    engine.open_source(A, Fake::new(FAR));
    let wanted: Vec<TileId> = (0..12).map(|n| id(n, 1)).collect();
    engine.want(A, &wanted);
    let found = wait_for(&engine, 12);
    let tiles: std::collections::BTreeSet<TileId> = found.iter().map(|arrived| arrived.tile).collect();
    assert!(wanted.iter().all(|tile| tiles.contains(tile)));
    assert!(found.iter().all(|arrived| arrived.pixels.as_ref().is_ok_and(|pixels| pixels.mips()[0][0] == 9)));
    assert!(calls.load(Ordering::Relaxed) >= 1);
    assert_eq!(engine.counters().decoded_here, 12);
}

#[test]
fn after_a_jump_from_where_nothing_was_taken_tiles_come() {
    let (engine, _calls) = engine();
    engine.open_source(A, Fake::new(FAR));
    // All but the damaged column.
    let rows = |rows: std::ops::Range<u32>| -> Vec<TileId> {
        rows.flat_map(|row| (0..13).map(move |column| id(column, row))).collect()
    };
    for (before, after) in [(0..7, 8..10), (7..14, 0..2), (0..7, 8..10)] {
        let decoded = engine.counters().decoded_here;
        engine.want(A, &rows(before));
        // Until every thread waits: as much is decoded as anybody may have to take, and more is read.
        let begun = Instant::now();
        while engine.counters().decoded_here < decoded + 60 {
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing is decoded any more");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        engine.want(A, &rows(after));
        wait_for(&engine, 26);
    }
}

#[test]
fn a_read_that_hangs_stops_no_other_slide_and_not_the_end() {
    let (engine, _calls) = engine();
    let (hung, sound) = (Fake::new(FAR), Fake::new(FAR));
    hung.is_hung.store(true, Ordering::Relaxed);
    engine.open_source(A, Arc::<Fake>::clone(&hung));
    engine.open_source(B, Arc::<Fake>::clone(&sound));
    let wanted: Vec<TileId> = (0..10).map(|n| id(n, 1)).collect();
    engine.want(A, &wanted);
    std::thread::sleep(Duration::from_millis(50));
    engine.want(B, &wanted);
    assert!(wait_for(&engine, 10).iter().all(|arrived| arrived.key == B));
    engine.close(A);
    drop(engine);
    hung.is_hung.store(false, Ordering::Relaxed);
}

#[test]
fn while_nothing_comes_as_many_threads_read_as_one_slide_may_have() {
    // Three of the four.
    let (engine, _calls) = engine();
    let slow = Fake::new(FAR);
    slow.is_hung.store(true, Ordering::Relaxed);
    engine.open_source(A, Arc::<Fake>::clone(&slow));
    engine.want(A, &(0..10).map(|n| id(n, 1)).collect::<Vec<_>>());
    let (begun, all) = (Instant::now(), 3);
    while slow.begun.load(Ordering::Relaxed) < all {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?} reads have begun", slow.begun);
        std::thread::sleep(Duration::from_millis(2));
    }
    slow.is_hung.store(false, Ordering::Relaxed);
    assert_eq!(wait_for(&engine, 10).len(), 10);
}

#[test]
fn an_engine_that_is_dropped_with_work_lets_go_of_its_slides() {
    let (engine, _calls) = engine();
    let source = Fake::new(FAR);
    let other = engine.clone();
    engine.open_source(A, Arc::<Fake>::clone(&source));
    engine.want(A, &(0..15).map(|n| id(n, 2)).collect::<Vec<_>>());
    drop(engine);
    other.want(A, &[id(3, 3)]);
    drop(other);
    let begun = Instant::now();
    while Arc::strong_count(&source) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(20), "a thread still holds the slide");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn answers_of_a_child_arrive_as_tiles() {
    /// Answers at once.
    struct Quick(TileGrid);
    impl TileSource for Quick {
        fn grid(&self) -> &TileGrid {
            &self.0
        }
        fn span(&self, _tile: TileId) -> Option<(u64, u32)> {
            None
        }
        fn read(&self, _offset: u64, _bytes: &mut [u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn decode(&self, _tile: TileId, _bytes: &[u8]) -> Result<DecodedTile, Error> {
            Err(Error::Dead { path: "a".into() })
        }
        fn ask(&self, tile: TileId, replies: &Sender<SlideReply>) -> Result<Ticket, Error> {
            if tile.column == 1 {
                return Err(Error::Dead { path: "a".into() });
            }
            let (ticket, _) = Ticket::of(u64::from(tile.column));
            let image = image::RgbImage::from_pixel(30, 20, image::Rgb([1, 2, 3]));
            let result = Ok(Pixels { image, level: 0, mpp: None });
            let reply = SlideReply { id: ticket.id(), request: Request::Tile(tile), result };
            replies.send(reply).unwrap();
            Ok(ticket)
        }
        fn most_asked(&self) -> usize {
            2
        }
        fn most_asked_ahead(&self) -> usize {
            2
        }
    }
    let (engine, _calls) = engine();
    engine.open_source(A, Arc::new(Quick(Fake::new(0).grid.clone())));
    engine.want(A, &[id(0, 0), id(1, 0), id(2, 0), id(3, 0)]);
    let found = wait_for(&engine, 4);
    let failed: Vec<TileId> =
        found.iter().filter(|arrived| arrived.pixels.is_err()).map(|arrived| arrived.tile).collect();
    assert_eq!(failed, [id(1, 0)]);
    assert_eq!(engine.counters().decoded_by_child, 3);
}
