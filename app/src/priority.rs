//! Who goes first where more threads want a core than there are cores.

/// A share of about a third beside a thread that has not stepped back.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Lets the window's thread go before the calling one: a frame that comes late is seen, a tile that comes a moment later is not. Other
/// systems than Linux keep their order.
pub(crate) fn step_back() {
    #[cfg(target_os = "linux")]
    {
        // There each thread has a priority of its own, and may lower it. What was started far back stays there.
        let thread = Some(rustix::thread::gettid());
        let niceness = rustix::process::getpriority_process(thread).unwrap_or(0).max(NICENESS);
        if let Err(error) = rustix::process::setpriority_process(thread, niceness) {
            tracing::debug!("a thread keeps its priority: {error}");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;
    use rustix::thread::gettid;

    #[test]
    fn a_thread_steps_back_alone() {
        let before = getpriority_process(Some(gettid())).unwrap();
        let step_back = || {
            super::step_back();
            getpriority_process(Some(gettid())).unwrap()
        };
        let other = std::thread::Builder::new().name("behind".to_string()).spawn(step_back).unwrap();
        assert_eq!(other.join().unwrap(), super::NICENESS.max(before));
        assert_eq!(getpriority_process(Some(gettid())).unwrap(), before);
    }
}
