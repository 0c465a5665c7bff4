//! How long the window thread took for its last frames: F12 shows it, `reinpath self-test` collects it frame by frame.
//!
//! Measured is the time on the clock from the beginning of `logic` to the end of `ui` plus `prepare` (so waiting counts), and, where
//! the system tells it, the processor time of the thread from frame to frame, which also holds what egui and wgpu do.

use std::collections::VecDeque;
use std::time::Duration;

/// Frames that are remembered.
const MOST_FRAMES: usize = 600;

/// What one frame took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameTime {
    /// logic and ui.
    pub work: Duration,
    /// Handing tiles to the GPU, in the frame before.
    pub prepare: Duration,
    /// Processor time of the whole thread since the frame before; `None` when the system does not tell.
    pub processor: Option<Duration>,
}

impl FrameTime {
    /// What counts against the limit.
    pub fn own(&self) -> Duration {
        self.work + self.prepare
    }
}

/// The last frames, oldest first.
#[derive(Clone, Debug, Default)]
pub struct FrameTimes {
    frames: VecDeque<FrameTime>,
    last_processor: Option<Duration>,
}

impl FrameTimes {
    pub fn push(&mut self, work: Duration, prepare: Duration) {
        let now = thread_time();
        let processor = now.zip(self.last_processor).map(|(now, before)| now.saturating_sub(before));
        self.last_processor = now;
        if self.frames.len() == MOST_FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(FrameTime { work, prepare, processor });
    }

    /// Of the frame that was just drawn.
    pub fn last(&self) -> Option<FrameTime> {
        self.frames.back().copied()
    }

    pub fn longest(&self) -> Duration {
        self.frames.iter().map(FrameTime::own).max().unwrap_or_default()
    }

    /// One line.
    pub fn in_words(&self) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let last = self.last().unwrap_or_default();
        let processor =
            last.processor.map_or_else(String::new, |time| format!(", thread {:.1} ms", ms(time)));
        format!(
            "frame {:.1} ms, longest of {} {:.1} ms{processor}",
            ms(last.own()),
            self.frames.len(),
            ms(self.longest())
        )
    }
}

/// Processor time of the calling thread.
#[cfg(unix)]
fn thread_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(unix))]
fn thread_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_frame_is_found_and_old_ones_are_forgotten() {
        let mut times = FrameTimes::default();
        times.push(Duration::from_millis(30), Duration::from_millis(5));
        assert_eq!(times.longest(), Duration::from_millis(35));
        for _ in 0..MOST_FRAMES {
            times.push(Duration::from_millis(2), Duration::ZERO);
        }
        assert_eq!((times.frames.len(), times.longest()), (MOST_FRAMES, Duration::from_millis(2)));
        assert!(times.in_words().starts_with("frame 2.0 ms, longest of 600 2.0 ms"));
    }

    #[cfg(unix)]
    #[test]
    fn processor_time_goes_on() {
        let before = thread_time().unwrap();
        let mut sum = 0_u64;
        while thread_time().unwrap() < before + Duration::from_millis(1) {
            sum = sum.wrapping_add(1);
        }
        assert!(sum > 0);
    }
}
