//! Which frame is being handed to the GPU, and how long that took: one for all that the viewer draws.

use std::time::{Duration, Instant};

use eframe::egui_wgpu::CallbackResources;

/// Lives in egui's callback resources. egui prepares all callbacks of a frame before it finishes any of them.
#[derive(Debug, Default)]
pub(in crate::viewer) struct FrameClock {
    frame: u64,
    is_finishing: bool,
    spent: Duration,
}

impl FrameClock {
    /// Calls `prepare` with the number of the frame, and counts and returns the time that it took; `None`, and no call, without a clock.
    pub(in crate::viewer) fn timed(
        resources: &mut CallbackResources,
        prepare: impl FnOnce(&mut CallbackResources, u64),
    ) -> Option<Duration> {
        let started = Instant::now();
        let frame = resources.get_mut::<Self>()?.begin();
        prepare(resources, frame);
        let spent = started.elapsed();
        if let Some(clock) = resources.get_mut::<Self>() {
            clock.spent += spent;
        }
        Some(spent)
    }

    /// Something is prepared; the number of its frame.
    fn begin(&mut self) -> u64 {
        if self.is_finishing {
            self.is_finishing = false;
            self.frame += 1;
        }
        self.frame
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
        let mut resources = CallbackResources::default();
        resources.insert(FrameClock::default());
        let mut frames = Vec::new();
        let mut prepare = |resources: &mut CallbackResources| {
            FrameClock::timed(resources, |_, frame| {
                std::thread::sleep(Duration::from_millis(1));
                frames.push(frame);
            })
        };
        let spent = [prepare(&mut resources), prepare(&mut resources)];
        let spent = spent.map(|time| time.expect("there is a clock"));
        assert!(spent.iter().all(|time| *time >= Duration::from_millis(1)), "{spent:?}");
        let clock: &mut FrameClock = resources.get_mut().expect("it was put there");
        assert_eq!([clock.finish(), clock.finish()], [Some(spent[0] + spent[1]), None]);
        prepare(&mut resources);
        assert_eq!(frames, [0, 0, 1]);
    }

    #[test]
    fn a_frame_in_which_nothing_was_prepared_has_no_time() {
        let mut clock = FrameClock::default();
        assert_eq!([clock.begin(), clock.begin()], [0, 0]);
        assert_eq!(clock.finish(), None);
        assert_eq!([clock.begin(), clock.begin()], [1, 1]);
    }

    #[test]
    fn without_a_clock_nothing_is_prepared() {
        let mut resources = CallbackResources::default();
        assert_eq!(FrameClock::timed(&mut resources, |_, _| panic!("there is no frame")), None);
    }
}
