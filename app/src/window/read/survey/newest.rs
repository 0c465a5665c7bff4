//! A thread that does the newest of what it was asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use crossbeam_channel::{Sender, bounded};

/// What waits to be done, by what it is about.
type Wishes<K, W> = Arc<Mutex<BTreeMap<K, W>>>;

/// A thread that carries out the newest wish about each thing; those that came before it and were not begun are forgotten. Dropping this
/// ends the thread once it has done what it is at.
pub(super) struct Newest<K, W> {
    wishes: Wishes<K, W>,
    wake: Sender<()>,
}

impl<K: Ord + Send + 'static, W: Send + 'static> Newest<K, W> {
    /// `work` returns false when nobody hears it any more.
    pub(super) fn start(name: &str, mut work: impl FnMut(W) -> bool + Send + 'static) -> Self {
        let (wake, woken) = bounded::<()>(1);
        let wishes: Wishes<K, W> = Arc::default();
        let asked = Arc::clone(&wishes);
        let run = move || {
            for () in woken {
                while let Some(wish) = first(&asked) {
                    if !work(wish) {
                        return;
                    }
                }
            }
        };
        if let Err(error) = Builder::new().name(name.to_owned()).spawn(run) {
            tracing::error!("cannot start the thread {name}: {error}");
        }
        Self { wishes, wake }
    }

    pub(super) fn ask(&self, about: K, wish: W) {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner).insert(about, wish);
        // Full: it was told already, and will find this wish.
        self.wake.try_send(()).ok();
    }
}

/// Taken out by a function of its own, so that nothing is locked while it is carried out.
fn first<K: Ord, W>(wishes: &Mutex<BTreeMap<K, W>>) -> Option<W> {
    wishes.lock().unwrap_or_else(PoisonError::into_inner).pop_first().map(|(_, wish)| wish)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_each_thing_the_newest_wish_is_carried_out() {
        let (done, results) = bounded(8);
        let (go, gate) = bounded::<()>(8);
        let thread = Newest::start("newest-test", move |wish: &'static str| {
            done.send(wish).unwrap();
            gate.recv().is_ok()
        });
        let next = || results.recv_timeout(Duration::from_secs(20));
        thread.ask(1, "first");
        assert_eq!(next(), Ok("first"));
        // It is at work until the gate opens.
        for (about, wish) in [(1, "forgotten"), (2, "of another"), (1, "newest")] {
            thread.ask(about, wish);
        }
        for expected in ["newest", "of another"] {
            go.send(()).unwrap();
            assert_eq!(next(), Ok(expected));
        }
        go.send(()).unwrap();
        drop(thread);
        assert!(next().is_err(), "the thread has ended, and nothing else was done");
    }
}
