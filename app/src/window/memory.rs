//! How much memory this process has, sampled off the window thread and told when it changes; and what the machine has.

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

/// Main memory of this machine, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineMemory {
    pub total: u64,
    /// What programs can still have.
    pub free: u64,
}

/// Main memory of this machine; known on Linux.
pub fn machine_memory() -> Option<MachineMemory> {
    parse_machine(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_machine(text: &str) -> Option<MachineMemory> {
    let bytes = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(MachineMemory { total: bytes("MemTotal:")?, free: bytes("MemAvailable:")? })
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
    fn the_machines_memory_is_what_programs_can_still_have() {
        let text = "MemTotal:       24000 kB\nMemFree:         1000 kB\nMemAvailable:   12000 kB\n";
        let memory = MachineMemory { total: 24_000 * 1024, free: 12_000 * 1024 };
        assert_eq!(parse_machine(text), Some(memory));
        assert_eq!(parse_machine("MemTotal: much kB\n"), None);
        assert!(machine_memory().is_some_and(|memory| memory.total >= memory.free));
    }

    #[test]
    fn the_peak_is_no_less_than_the_present() {
        let (resident, peak) = (resident_mib().unwrap(), peak_mib().unwrap());
        assert!(resident > 1.0 && peak >= resident * 0.99, "{resident} {peak}");
    }
}
