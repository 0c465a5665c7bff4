//! The threads behind the runs: one that looks for runs and follows those in view, one that samples the machine, and one while a
//! dialog is open. They start with the first wish, so that a window that only reads slides has none of them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use reinpath_training::machine::Sampler;
use reinpath_training::run_folder::RunState;

use super::super::{TrainEvent, TrainPlaces};
use super::{RunsEffect, RunsEvent};
use crate::runs::RunKey;
use crate::runs::follower::{Followed, RunFollower};
use crate::runs::list;
use crate::runs::told::{Listed, ListedRun, RunTold};
use crate::window::event::Event;
use crate::window::workers::{EventSender, with_dialog};

/// Time between two looks at a run that goes on, and at one that does not.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
const BETWEEN_LOOKS_AT_REST: Duration = Duration::from_secs(2);
/// While a long run is read, the window is told of it no more often than this.
const BETWEEN_NEWS: Duration = Duration::from_millis(100);
/// Time between two looks for runs, while one is followed.
const BETWEEN_LISTS: Duration = Duration::from_secs(5);
const BETWEEN_SAMPLES: Duration = Duration::from_secs(2);
/// With nothing to do.
const LONG: Duration = Duration::from_mins(10);

/// The hold on the threads; dropping it ends them, but no run.
pub(in crate::window::train) struct RunsDesk {
    events: EventSender,
    places: TrainPlaces,
    threads: Option<Threads>,
}

struct Threads {
    asked: Arc<Mutex<Asked>>,
    /// One place: who finds it taken need not wake the thread again.
    wake: Sender<()>,
    _alive: Sender<()>,
}

/// The last wishes that the thread has not taken yet: only the last ones count, so that none is lost to a channel that is full.
#[derive(Default)]
struct Asked {
    follow: Option<Vec<RunKey>>,
    /// Look for runs, in these folders too.
    list: Option<Vec<PathBuf>>,
}

impl RunsDesk {
    pub(in crate::window::train) fn new(events: EventSender, places: TrainPlaces) -> Self {
        Self { events, places, threads: None }
    }

    pub(in crate::window::train) fn carry_out(&mut self, effect: RunsEffect) {
        match effect {
            RunsEffect::ReadList => self.ask(|asked| asked.list = Some(Vec::new())),
            RunsEffect::ReadListAlso(also) => self.ask(|asked| asked.list = Some(also)),
            RunsEffect::Follow(keys) => self.ask(|asked| asked.follow = Some(keys)),
            RunsEffect::PickFolder => self.pick(),
        }
    }

    fn ask(&mut self, wish: impl FnOnce(&mut Asked)) {
        let threads = self.threads.get_or_insert_with(|| Threads::start(&self.events, &self.places));
        // The thread holds it for as long as it takes to copy a few pointers.
        wish(&mut locked(&threads.asked));
        threads.wake.try_send(()).ok();
    }

    fn pick(&self) {
        let events = self.events.clone();
        spawn("train-runs-dialog", move || {
            let instead = "Type the path of the run's folder instead.";
            let pick = || rfd::FileDialog::new().set_title("Open a run's folder").pick_folder();
            let picked = with_dialog(instead, || pick().map(|folder| vec![folder]));
            send(&events, RunsEvent::Picked(picked.map(|folders| folders.into_iter().next())));
        });
    }
}

impl Threads {
    fn start(events: &EventSender, places: &TrainPlaces) -> Self {
        let (wake, woken) = bounded(1);
        let (alive, until_gone) = bounded(0);
        let asked = Arc::new(Mutex::new(Asked::default()));
        let follows = Follows {
            events: events.clone(),
            runs: places.runs.clone(),
            also: Vec::new(),
            followed: Vec::new(),
            list: Vec::new(),
            list_due: None,
        };
        let wishes = Arc::clone(&asked);
        spawn("train-runs", move || follows.work(&wishes, &woken));
        let events = events.clone();
        spawn("train-machine", move || sample(&events, &until_gone));
        Self { asked, wake, _alive: alive }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = Builder::new().name(name.to_owned()).spawn(work) {
        // As with every thread of the window: nothing that depends on it will happen.
        tracing::error!("cannot start the thread {name}: {error}");
    }
}

fn locked(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// False when the window is gone.
fn send(events: &EventSender, news: RunsEvent) -> bool {
    events.send(Event::Train(TrainEvent::Runs(news)))
}

fn sample(events: &EventSender, until_gone: &Receiver<()>) {
    let mut sampler = Sampler::new();
    while until_gone.recv_timeout(BETWEEN_SAMPLES) == Err(RecvTimeoutError::Timeout) {
        if !send(events, RunsEvent::Machine(sampler.sample())) {
            return;
        }
    }
}

/// What the thread that follows runs works with.
struct Follows {
    events: EventSender,
    /// Where runs lie.
    runs: Option<PathBuf>,
    also: Vec<PathBuf>,
    followed: Vec<FollowedRun>,
    /// As it was told last.
    list: Vec<ListedRun>,
    /// `None`: not before it is asked for.
    list_due: Option<Instant>,
}

struct FollowedRun {
    key: RunKey,
    follower: RunFollower,
    due: Instant,
    /// Time between two looks.
    pause: Duration,
    /// What is known and was not told yet.
    untold: Option<Arc<RunTold>>,
    /// When it was last told.
    told: Option<Instant>,
}

impl Follows {
    /// Works until the desk or the window is gone.
    fn work(mut self, asked: &Mutex<Asked>, woken: &Receiver<()>) {
        while self.take_wishes(asked) && self.look() {
            let dues = self.followed.iter().map(|run| run.due).chain(self.list_due);
            let next = dues.min().unwrap_or_else(|| Instant::now() + LONG);
            if woken.recv_deadline(next) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// False when the window is gone.
    fn take_wishes(&mut self, asked: &Mutex<Asked>) -> bool {
        let Asked { follow, list } = std::mem::take(&mut *locked(asked));
        if let Some(keys) = follow {
            self.follow(keys);
        }
        let Some(also) = list else { return true };
        self.also = also;
        self.tell_list(true)
    }

    fn follow(&mut self, keys: Vec<RunKey>) {
        self.followed.retain(|run| keys.contains(&run.key));
        for run in &mut self.followed {
            // Perhaps it was just started.
            run.due = Instant::now();
        }
        for key in keys {
            if self.followed.iter().all(|run| run.key != key) {
                self.followed.push(FollowedRun::new(key));
            }
        }
        self.list_due = (!self.followed.is_empty()).then(|| Instant::now() + BETWEEN_LISTS);
    }

    /// Looks at what is due; false when the window is gone.
    fn look(&mut self) -> bool {
        let now = Instant::now();
        if self.list_due.is_some_and(|due| due <= now) && !self.tell_list(false) {
            return false;
        }
        let events = &self.events;
        self.followed.iter_mut().filter(|run| run.due <= now).all(|run| run.look(events))
    }

    /// Tells which runs there are, where it was asked for or is new; false when the window is gone.
    fn tell_list(&mut self, is_asked_for: bool) -> bool {
        let list = list::find(self.runs.as_deref(), &self.also);
        self.list_due = (!self.followed.is_empty()).then(|| Instant::now() + BETWEEN_LISTS);
        if !is_asked_for && list == self.list {
            return true;
        }
        self.list.clone_from(&list);
        send(&self.events, RunsEvent::List(list))
    }
}

impl FollowedRun {
    fn new(key: RunKey) -> Self {
        let follower = RunFollower::new(key.clone());
        Self { key, follower, due: Instant::now(), pause: BETWEEN_LOOKS, untold: None, told: None }
    }

    /// Looks once; false when the window is gone.
    fn look(&mut self, events: &EventSender) -> bool {
        let Followed { told, has_more } = self.follower.poll();
        if let Some(told) = told {
            let is_at_rest = match &told.listed {
                Listed::Known(state) => !matches!(state, RunState::Running(_)),
                Listed::Unreadable(_) => true,
                Listed::NeverBegan => false,
            };
            self.pause = if is_at_rest { BETWEEN_LOOKS_AT_REST } else { BETWEEN_LOOKS };
            self.untold = Some(told);
        }
        let now = Instant::now();
        self.due = if has_more { now } else { now + self.pause };
        let is_time = !has_more || self.told.is_none_or(|last| now.duration_since(last) >= BETWEEN_NEWS);
        match self.untold.take_if(|_| is_time) {
            Some(told) => {
                self.told = Some(now);
                send(events, RunsEvent::Told(told))
            }
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use reinpath_training::event::{RunEvent, Step};

    use super::*;
    use crate::runs::told::StageTold;

    /// The next news that `wanted` takes something from.
    fn await_news<T>(news: &Receiver<Event>, wanted: impl Fn(RunsEvent) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(30);
        while let Ok(event) = news.recv_deadline(end) {
            if let Event::Train(TrainEvent::Runs(event)) = event
                && let Some(found) = wanted(event)
            {
                return found;
            }
        }
        panic!("it was not told in time");
    }

    fn step(step: usize) -> String {
        let event = RunEvent::Step(Step {
            stage: "grpo".to_owned(),
            step,
            loss: 1.0,
            learning_rate: 1.0,
            gradient_norm: 1.0,
            secs: 1.0,
            measures: std::collections::BTreeMap::new(),
        });
        serde_json::to_string(&event).unwrap() + "\n"
    }

    #[test]
    fn runs_are_listed_and_followed_while_the_desk_is_there() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("asked.toml"), "").unwrap();
        let (events, news) = EventSender::new(egui::Context::default());
        let places = TrainPlaces { runs: Some(place.path().to_owned()), ..TrainPlaces::default() };
        let mut desk = RunsDesk::new(events, places);
        assert!(desk.threads.is_none(), "nothing was asked for");
        desk.carry_out(RunsEffect::ReadList);
        let list = await_news(&news, |news| match news {
            RunsEvent::List(list) => Some(list),
            _ => None,
        });
        let [run] = list.as_slice() else { panic!("{list:?}") };
        assert_eq!((run.key.folder(), &run.state), (folder.as_path(), &Listed::NeverBegan));
        desk.carry_out(RunsEffect::Follow(vec![run.key.clone()]));
        let steps = |wanted: usize| {
            await_news(&news, move |news| match news {
                RunsEvent::Told(told) => {
                    told.stages.first().map(StageTold::step).filter(|&step| step == wanted)
                }
                _ => None,
            })
        };
        std::fs::write(folder.join("events.jsonl"), step(1)).unwrap();
        steps(1);
        std::fs::write(folder.join("events.jsonl"), [step(1), step(2)].concat()).unwrap();
        steps(2);
        assert!(await_news(&news, |news| matches!(news, RunsEvent::Machine(_)).then_some(true)));
        drop(desk);
        // The threads hold the other ends: when they are gone, nothing can come any more.
        let end = Instant::now() + Duration::from_secs(30);
        while !matches!(news.recv_deadline(end), Err(RecvTimeoutError::Disconnected)) {
            assert!(Instant::now() < end, "the threads go on");
        }
    }
}
