//! How much memory this process has: sampled off the window thread, told when it changes.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::event::Event;
use super::workers::EventSender;

const PAUSE: Duration = Duration::from_secs(2);
/// Smaller changes are not worth drawing the window.
const WORTH_TELLING_MIB: f64 = 8.0;

/// Samples until the other end of `until_gone` is dropped; ends at once where the system does not tell.
pub(super) fn watch(events: &EventSender, until_gone: &Receiver<()>) {
    let mut told = f64::NEG_INFINITY;
    while let Some(now) = resident_mib() {
        if (now - told).abs() >= WORTH_TELLING_MIB {
            told = now;
            if !events.send(Event::Memory(now)) {
                return;
            }
        }
        if until_gone.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Memory of this process in MiB; known on Linux.
pub fn resident_mib() -> Option<f64> {
    status_mib("VmRSS:")
}

/// The most it has had.
pub fn peak_mib() -> Option<f64> {
    status_mib("VmHWM:")
}

fn status_mib(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_no_less_than_the_present() {
        let (resident, peak) = (resident_mib().unwrap(), peak_mib().unwrap());
        assert!(resident > 1.0 && peak >= resident * 0.99, "{resident} {peak}");
    }
}
