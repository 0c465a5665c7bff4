//! The figures as data: their names are those of `reinpath self-test --json`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::viewer::tile_engine::EngineCounters;
use crate::window::frame_times::FrameTime;

/// What the window thread may take for a frame.
pub const FRAME_LIMIT_MS: f64 = 16.0;

/// All of them. Times of the window thread are per frame.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub slide: PathBuf,
    pub graphics: String,
    /// From the call to the first frame drawn.
    pub start_secs: f64,
    /// From asking for the slide to its first picture complete; asked after the first frame.
    pub open_secs: f64,
    /// From the wish to look at one of 60 random places until all of it is drawn from its own tiles, drawing included.
    pub field_p50_secs: f64,
    pub field_p95_secs: f64,
    pub field_p99_secs: f64,
    pub fields: usize,
    pub tiles_per_sec: f64,
    /// While the slide opens, the random places are looked at and an answer streams.
    #[serde(flatten)]
    pub frames: ThreadFigures,
    /// Of the window's process alone until then; the process that reads the slide has its own.
    pub peak_memory_mib: Option<f64>,
    pub frame_limit_ms: f64,
    /// Points on which the slide is shown while jumping and zooming; one is a pixel.
    pub view: [u32; 2],
    /// Whether the file's pages were dropped before it was opened and before the jumps; every cache of the program is empty then anyway.
    pub is_cold: bool,
    /// Added to every read.
    pub read_delay_ms: u64,
    /// Polygons that are shown while jumping and zooming.
    pub annotations: usize,
    /// Jumps to the neighbouring field, one view on, which was not seen before.
    pub jumps: Vec<Jumps>,
    /// A step of the zoom from the whole slide to its finest pixels and back, until its picture is complete; nothing is rasterised.
    pub zoom: Quantiles,
    /// The window thread while it zooms without waiting, one step a frame.
    pub zoom_frames: ThreadFigures,
    /// The window thread over all jumps and zooms.
    pub steady_frames: ThreadFigures,
    /// Frames of the jumps and zooms in which a coarser tile stood in for one of their own, of all their frames.
    pub share_of_frames_with_a_missing_tile: f64,
    /// Frames of the jumps and zooms in which a part of the slide was not drawn at all.
    pub frames_with_a_blank: u64,
    /// What rasterising a frame took, on the graphics device named above.
    pub drawing_p50_ms: f64,
    pub drawing_p95_ms: f64,
    /// What the tiles of the jumps and zooms cost.
    pub tiles: EngineCounters,
    /// At the end.
    pub peak_memory_of_all_mib: Option<f64>,
    /// Of the processes that read slides, together, at the end.
    pub children_peak_memory_mib: Option<f64>,
}

/// Jumps at one scale.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Jumps {
    /// Level-0 pixels a pixel of the screen.
    pub scale: f64,
    /// Whether frames were rasterised, so that the time holds it and the decoders had fewer processors.
    pub is_rasterised: bool,
    #[serde(flatten)]
    pub times: Quantiles,
}

/// How long something took that was done several times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    pub count: usize,
    pub p50_secs: f64,
    pub p95_secs: f64,
    pub p99_secs: f64,
}

impl Quantiles {
    /// Of times in any order.
    pub(super) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let [p50_secs, p95_secs, p99_secs] = [0.5, 0.95, 0.99].map(|q| quantile(&times, q));
        Self { count: times.len(), p50_secs, p95_secs, p99_secs }
    }
}

/// The window thread, frame by frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ThreadFigures {
    #[serde(rename = "frames")]
    pub count: usize,
    pub frames_over_limit: usize,
    /// The program's part of a frame on the clock, waiting included.
    pub longest_frame_ms: f64,
    pub frame_p99_ms: f64,
    pub frame_p999_ms: f64,
    /// Processor time of the window thread between two frames, with egui, wgpu and, without a graphics card, some of the drawing.
    pub longest_thread_ms: Option<f64>,
}

impl ThreadFigures {
    pub(super) fn of(frames: &[FrameTime]) -> Self {
        let mut own: Vec<f64> = frames.iter().map(|frame| ms(frame.own())).collect();
        own.sort_by(f64::total_cmp);
        Self {
            count: own.len(),
            frames_over_limit: own.iter().filter(|own| **own > FRAME_LIMIT_MS).count(),
            longest_frame_ms: quantile(&own, 1.0),
            frame_p99_ms: quantile(&own, 0.99),
            frame_p999_ms: quantile(&own, 0.999),
            longest_thread_ms: frames.iter().filter_map(|frame| frame.processor).max().map(ms),
        }
    }
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A value that occurred: of `sorted`, the smallest that is no less than a share of `q` of them; 0 of none.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(at - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let times: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let figures = Quantiles::of(times);
        assert_eq!(
            (figures.count, figures.p50_secs, figures.p95_secs, figures.p99_secs),
            (100, 50.0, 95.0, 99.0)
        );
        assert_eq!((quantile(&[3.0], 0.99), quantile(&[], 0.5)), (3.0, 0.0));
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }

    #[test]
    fn a_long_frame_at_the_beginning_of_a_long_run_is_counted() {
        let frame = |work_ms| FrameTime { work: Duration::from_millis(work_ms), ..FrameTime::default() };
        let mut all = vec![frame(40)];
        all.extend(vec![frame(3); 2000]);
        let figures = ThreadFigures::of(&all);
        assert_eq!((figures.count, figures.frames_over_limit), (2001, 1));
        assert_eq!((figures.longest_frame_ms, figures.frame_p99_ms, figures.frame_p999_ms), (40.0, 3.0, 3.0));
        assert_eq!(ThreadFigures::of(&[]), ThreadFigures::default());
    }
}
