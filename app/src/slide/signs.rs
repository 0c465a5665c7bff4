//! Signs of life of the child while a large plain image is decoded, which can take longer than the parent's patience.
//!
//! A sign is given only while the process computes: a read that hangs on a dead network drive uses no processor and stays
//! silent, so the parent gives up on it as on any other. OpenSlide's C code gets no such grace.

use std::io;
use std::thread::{self, Builder};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

/// Time between two signs.
const BEAT: Duration = Duration::from_secs(1);
/// No image that fits in memory takes longer to decode; whatever does is an endless loop.
const LONGEST: u32 = 60;
/// Processor time between two signs that counts as computing.
const BUSY: Duration = Duration::from_millis(10);

/// Does `work` and calls `alive` about once a second as long as it computes.
pub(super) fn while_busy<T>(alive: &(dyn Fn() + Sync), work: impl FnOnce() -> T) -> io::Result<T> {
    let (done, waiting) = bounded::<()>(0);
    thread::scope(|scope| {
        Builder::new().name("slide-signs".to_string()).spawn_scoped(scope, move || {
            let mut before = processor_time();
            for _ in 0..LONGEST {
                if waiting.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let now = processor_time();
                if now.saturating_sub(before) >= BUSY {
                    alive();
                }
                before = now;
            }
        })?;
        let result = work();
        drop(done);
        Ok(result)
    })
}

/// Processor time that this process has used.
#[cfg(unix)]
fn processor_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Elsewhere than on Unix no signs are given.
#[cfg(not(unix))]
fn processor_time() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn computing_gives_signs_and_returns() {
        let signs = AtomicU32::new(0);
        let alive = || {
            signs.fetch_add(1, Ordering::Relaxed);
        };
        let started = Instant::now();
        let sum = while_busy(&alive, || {
            let mut sum = 0_u64;
            while signs.load(Ordering::Relaxed) == 0 && started.elapsed() < Duration::from_secs(20) {
                sum = sum.wrapping_mul(31).wrapping_add(1);
            }
            sum
        });
        assert!(sum.is_ok() && signs.load(Ordering::Relaxed) >= 1);
    }
}
