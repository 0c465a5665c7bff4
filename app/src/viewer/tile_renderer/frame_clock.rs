//! Which frame is being handed to the GPU, and how long that took: one for all that the viewer draws.

use std::time::Duration;

/// Lives in egui's callback resources. egui prepares all callbacks of a frame before it finishes any of them.
#[derive(Debug, Default)]
pub(in crate::viewer) struct FrameClock {
    frame: u64,
    is_finishing: bool,
    spent: Duration,
}

impl FrameClock {
    /// To be called when something is prepared; the number of the frame.
    pub(in crate::viewer) fn begin(&mut self) -> u64 {
        if self.is_finishing {
            self.is_finishing = false;
            self.frame += 1;
        }
        self.frame
    }

    /// What preparing took.
    pub(in crate::viewer) fn spend(&mut self, time: Duration) {
        self.spent += time;
    }

    /// What all preparing of this frame took, for the first that asks when it is finished.
    pub(in crate::viewer) fn finish(&mut self) -> Option<Duration> {
        self.is_finishing = true;
        (!self.spent.is_zero()).then(|| std::mem::take(&mut self.spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_of_a_frame_share_its_number_and_their_time_is_told_once() {
        let mut clock = FrameClock::default();
        assert_eq!([clock.begin(), clock.begin()], [0, 0]);
        clock.spend(Duration::from_millis(1));
        clock.spend(Duration::from_millis(2));
        assert_eq!([clock.finish(), clock.finish()], [Some(Duration::from_millis(3)), None]);
        assert_eq!([clock.begin(), clock.begin()], [1, 1]);
        assert_eq!(clock.finish(), None);
    }
}
