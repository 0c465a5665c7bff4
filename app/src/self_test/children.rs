//! How much memory the processes have had that this one started.

/// The most that each running child of this process has had, together, in MiB; known on Linux, `None` elsewhere.
pub(super) fn peak_mib() -> Option<f64> {
    let own = format!("PPid:\t{}", std::process::id());
    let mut kib = 0.0;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        // A process may end while the list is read.
        let Some(status) =
            is_process.then(|| std::fs::read_to_string(entry.path().join("status")).ok()).flatten()
        else {
            continue;
        };
        if status.lines().any(|line| line == own) {
            kib += peak_kib(&status).unwrap_or_default();
        }
    }
    Some(kib / 1024.0)
}

fn peak_kib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_peak_is_read_in_kib() {
        assert_eq!(peak_kib("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n"), Some(2048.0));
        assert_eq!(peak_kib("Name:\tx\n"), None);
    }

    #[test]
    fn a_child_is_counted() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        // Its memory is that of this process until it has become its own program.
        let found = peak_mib().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found > 0.0, "{found}");
    }
}
