//! The threads behind cases: the keeper, which owns the store, and the one that keeps the pixels of patches.

use std::sync::Arc;
use std::thread::Builder;

use super::super::super::event::Event;
use super::super::super::read::ReadPlaces;
use super::super::super::workers::{EventSender, Workers};
use super::super::ReviewEvent;
use super::super::export::ExportEvent;
use super::super::verdicts::VerdictsEvent;
use super::patch_files::{Cut, PatchFiles};
use super::{CasesEffect, CasesEvent};
use crate::store::Error;
use crate::store::case_keeper::{CaseKeeper, CaseNews};

/// Said where no thread can be had for the store.
const NO_THREAD: &str =
    "Cases cannot be kept: the system gives no thread. What is asked now is lost when the window closes.";

/// The threads: `cases` owns the store, `case-patches` cuts patches.
pub(in crate::window) struct CasesDesk {
    events: EventSender,
    /// `None` where its thread could not be started.
    keeper: Option<CaseKeeper>,
    /// `None` where pixels are not kept.
    patches: Option<PatchFiles>,
    has_complained: bool,
}

impl CasesDesk {
    pub(in crate::window) fn new(events: EventSender, places: &ReadPlaces) -> Self {
        let to = events.clone();
        let keeper = CaseKeeper::start(places.store.clone(), move |news| tell(&to, news));
        let keeper = keeper.map_err(|error| tracing::error!("cases cannot be kept: {error}")).ok();
        let patches = places.patches.clone().map(|folder| PatchFiles::start(folder, events.clone()));
        Self { events, keeper, patches, has_complained: false }
    }

    pub(in crate::window) fn carry_out(&mut self, effect: CasesEffect, workers: &Workers) {
        if let Some(patches) = &mut self.patches {
            patches.flush();
        }
        match effect {
            CasesEffect::Keeper(job) => match &mut self.keeper {
                Some(keeper) => keeper.offer(job),
                None => self.complain(),
            },
            CasesEffect::Flush => {
                if let Some(keeper) = &mut self.keeper {
                    keeper.flush();
                }
            }
            CasesEffect::KeepPatches { slide, question, mpp } => {
                if let (Some(patches), Some(slide)) = (&mut self.patches, workers.handle(slide)) {
                    patches.keep(Cut { slide, question, mpp });
                }
            }
        }
    }

    /// Once; not from the window's own thread, which empties the channel of events.
    fn complain(&mut self) {
        if std::mem::replace(&mut self.has_complained, true) {
            return;
        }
        let events = self.events.clone();
        let said = Builder::new().name("cases-not-kept".to_owned()).spawn(move || {
            let news = CasesEvent::Failed(NO_THREAD.to_owned());
            events.send(Event::Review(ReviewEvent::Cases(news)));
        });
        if let Err(error) = said {
            tracing::error!("{NO_THREAD} {error}");
        }
    }
}

/// What the store says, on its thread.
fn tell(events: &EventSender, news: CaseNews) {
    events.send(Event::Review(told(news)));
}

fn told(news: CaseNews) -> ReviewEvent {
    let news = match news {
        CaseNews::Appended(entry) => return ReviewEvent::Verdicts(VerdictsEvent::Appended(entry)),
        CaseNews::NotAppended(error) => {
            let sentence = error.to_string();
            return ReviewEvent::Verdicts(match error {
                Error::Refused { .. } => VerdictsEvent::Refused(sentence),
                _ => VerdictsEvent::NotKept(sentence),
            });
        }
        CaseNews::Collected { number, what } => {
            let what = what.map_err(|error| error.to_string());
            return ReviewEvent::Export(ExportEvent::Collected { number, what });
        }
        CaseNews::Listed { search, list } => CasesEvent::Listed { search, list: Arc::new(list) },
        CaseNews::Opened { case, entries, maps, at } => CasesEvent::Opened { case, entries, maps, at },
        CaseNews::Saved => CasesEvent::Saved,
        CaseNews::Waiting(error) => CasesEvent::Waiting(error.to_string()),
        CaseNews::Failed(error) => CasesEvent::Failed(error.to_string()),
    };
    ReviewEvent::Cases(news)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_the_store_says_goes_to_the_part_that_it_is_about() {
        let busy = || Error::Busy { path: PathBuf::from("store.sqlite") };
        assert!(matches!(
            told(CaseNews::NotAppended(busy())),
            ReviewEvent::Verdicts(VerdictsEvent::NotKept(sentence)) if sentence.ends_with("store.sqlite")
        ));
        let refused =
            Error::Refused { reason: "no such answer".to_owned(), path: PathBuf::from("store.sqlite") };
        assert!(matches!(
            told(CaseNews::NotAppended(refused)),
            ReviewEvent::Verdicts(VerdictsEvent::Refused(_))
        ));
        let collected = told(CaseNews::Collected { number: 3, what: Err(busy()) });
        assert!(matches!(collected, ReviewEvent::Export(ExportEvent::Collected { number: 3, what: Err(_) })));
        assert!(matches!(
            told(CaseNews::Waiting(busy())),
            ReviewEvent::Cases(CasesEvent::Waiting(sentence)) if sentence.ends_with("store.sqlite")
        ));
        let listed = told(CaseNews::Listed { search: "glands".to_owned(), list: Vec::new() });
        assert!(matches!(
            listed,
            ReviewEvent::Cases(CasesEvent::Listed { search, list }) if search == "glands" && list.is_empty()
        ));
    }
}
