//! Every change of what exports show, and what they ask of the store, of the desk and of the training mode.

use std::path::Path;

use super::super::super::command::Command;
use super::super::super::state::{AppState, Mode};
use super::super::super::train::setup::SetupCommand;
use super::super::super::train::{self, TrainCommand};
use super::super::super::update::{self, Effect, complain};
use super::super::ReviewEffect;
use super::super::cases;
use super::{ExportCommand, ExportEffect, ExportEvent, Gathered, Which, Work};
use crate::case;
use crate::review::Selection;
use crate::review::export::teach::{SETTINGS, Teaching};
use crate::store::case_keeper::CaseJob;

/// Where the window keeps the rows of the demo, beside the runs' folder.
const DEMO_ROWS: &str = "demo-rows/train";

/// Carries out a wish.
pub(in crate::window::review) fn command(state: &mut AppState, wish: ExportCommand) -> Vec<Effect> {
    let export = &mut state.review.export;
    match wish {
        ExportCommand::Toggle => toggle(state),
        ExportCommand::TellNames(tells) => export.tells_names = tells,
        ExportCommand::To(path) => export.to = path,
        ExportCommand::Form(form) => {
            export.form = form;
            export.to.set_extension(form.ending());
        }
        ExportCommand::Which(which) => export.which = which,
        ExportCommand::Pick(form) => {
            if !export.is_picking {
                export.is_picking = true;
                return vec![effect(ExportEffect::Pick(form))];
            }
        }
        ExportCommand::Export(form, which) => {
            let (tells_names, to) = (export.tells_names, export.to.clone());
            if to.as_os_str().is_empty() {
                let sentence = "Say where the export is to be written: type a path or pick one.";
                complain(state, sentence.to_owned());
                return Vec::new();
            }
            return begin(state, Work::Write { form, tells_names, to }, which);
        }
        ExportCommand::Teach => return teach(state),
        ExportCommand::DismissNews => export.news = None,
    }
    Vec::new()
}

/// Takes in what happened.
pub(in crate::window::review) fn event(state: &mut AppState, news: ExportEvent) -> Vec<Effect> {
    let export = &mut state.review.export;
    match news {
        ExportEvent::Collected { number, what } => {
            // What was asked for before is not waited for any more.
            let Some((_, work)) = export.pending.take_if(|(wanted, _)| *wanted == number) else {
                return Vec::new();
            };
            match what {
                Ok(collection) => {
                    export.running = Some("Writing the export".to_owned());
                    let collection = Gathered((*collection).into());
                    return vec![effect(ExportEffect::Write { collection, work })];
                }
                Err(sentence) => failed(state, sentence),
            }
        }
        ExportEvent::Written { what: Ok(sentence) } => {
            export.running = None;
            export.news = Some(sentence);
        }
        ExportEvent::Written { what: Err(sentence) } => failed(state, sentence),
        ExportEvent::RowsWritten { folder, news } => {
            export.running = None;
            export.news = Some(news);
            return open_training(state, &folder);
        }
        ExportEvent::Picked { form, path } => {
            export.is_picking = false;
            match path {
                Ok(Some(path)) => (export.form, export.to) = (form, path),
                Ok(None) => {}
                Err(sentence) => complain(state, sentence),
            }
        }
    }
    Vec::new()
}

fn effect(effect: ExportEffect) -> Effect {
    Effect::Review(ReviewEffect::Export(effect))
}

fn failed(state: &mut AppState, sentence: String) {
    state.review.export.running = None;
    complain(state, sentence);
}

/// The answers that its window offers; `None` where there are none of them.
pub(super) fn selection(state: &AppState, which: Which) -> Option<Selection> {
    match which {
        Which::Answer => {
            let shown = cases::shown(state)?;
            shown.answer.is_over().then(|| Selection::Answers(vec![shown.answer.id.clone()]))
        }
        Which::Case => state.review.cases.open.as_ref().map(|open| Selection::Case(open.case.id.clone())),
        Which::Reviewed => Some(Selection::Reviewed),
    }
}

fn toggle(state: &mut AppState) {
    let is_open = !state.review.export.is_open;
    let has_answer = selection(state, Which::Answer).is_some();
    let exports = state.read.places.exports.clone();
    let export = &mut state.review.export;
    export.is_open = is_open;
    if !is_open {
        return;
    }
    export.which = if has_answer { Which::Answer } else { Which::Reviewed };
    if let Some(folder) = exports {
        // Another name each time, so that nothing is written over unasked.
        export.to = folder.join(format!("review-{}", moment()));
        export.to.set_extension(export.form.ending());
    }
}

/// Asks the store for the answers; what is made of them follows when they come.
fn begin(state: &mut AppState, work: Work, which: Selection) -> Vec<Effect> {
    if state.review.export.running.is_some() {
        complain(state, "An export is being written: wait until it is done.".to_owned());
        return Vec::new();
    }
    let number = state.new_id();
    let export = &mut state.review.export;
    export.running = Some("Reading the reviews".to_owned());
    export.news = None;
    export.pending = Some((number, work));
    vec![cases::keeper(CaseJob::Collect { number, which })]
}

fn teach(state: &mut AppState) -> Vec<Effect> {
    let Some(exports) = state.read.places.exports.clone() else {
        let sentence = "There is no folder for exports: export training rows into a folder of your own, and name it in the training mode.";
        complain(state, sentence.to_owned());
        return Vec::new();
    };
    let Some(package) = state.model.folder().map(Path::to_owned) else {
        complain(state, "There is no model that could be taught: choose one first.".to_owned());
        return Vec::new();
    };
    let moment = moment();
    let places = &state.train.places;
    let is_demo = places.demo_package.as_ref() == Some(&package);
    let runs = places.runs.as_ref().filter(|_| is_demo);
    let rehearsal = runs.and_then(|runs| Some(runs.parent()?.join(DEMO_ROWS)));
    let package = std::path::absolute(&package).unwrap_or(package);
    let teaching = Teaching { name: format!("Taught {moment}"), package, rehearsal };
    let folder = exports.join(format!("teach-{moment}"));
    begin(state, Work::Teach { folder, teaching }, Selection::Reviewed)
}

/// The training mode with the settings that were written beside the rows: they name the package in use, and those rows.
fn open_training(state: &mut AppState, folder: &Path) -> Vec<Effect> {
    state.review.export.is_open = false;
    let mut effects = update::command(state, Command::Mode(Mode::Train));
    let load = TrainCommand::Setup(SetupCommand::Load(folder.join(SETTINGS)));
    effects.extend(train::command(state, load));
    effects
}

/// Now, as a part of a file's name: `20261121-230604`.
fn moment() -> String {
    let digits: String = case::utc(case::now()).chars().filter(char::is_ascii_digit).collect();
    match digits.split_at_checked(8) {
        Some((day, time)) => format!("{day}-{time}"),
        None => digits,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::super::super::state::PackageState;
    use super::super::super::super::state::tests_support::model;
    use super::super::super::super::train::TrainEffect;
    use super::super::super::super::train::setup::SetupEffect;
    use super::super::super::cases::CasesEffect;
    use super::*;
    use crate::review::export::Form;

    /// A window with a folder for exports and a model.
    fn state() -> AppState {
        let mut state = AppState::default();
        state.read.places.exports = Some("/exports".into());
        state.model.package = PackageState::Known(std::sync::Arc::new(model()));
        state
    }

    /// The number of the order that the store was given.
    fn number(effects: &[Effect]) -> u64 {
        match effects {
            [Effect::Review(ReviewEffect::Cases(CasesEffect::Keeper(CaseJob::Collect { number, .. })))] => {
                *number
            }
            other => panic!("{other:?}"),
        }
    }

    fn collected(number: u64) -> ExportEvent {
        ExportEvent::Collected { number, what: Ok(Box::default()) }
    }

    #[test]
    fn an_export_is_read_then_written_then_told() {
        let mut state = state();
        command(&mut state, ExportCommand::Toggle);
        let export = &state.review.export;
        assert!(export.is_open && export.to.starts_with("/exports"), "{export:?}");
        assert_eq!(export.to.extension().unwrap(), "html");
        command(&mut state, ExportCommand::Form(Form::Pdf));
        let to = state.review.export.to.clone();
        assert_eq!(to.extension().unwrap(), "pdf");
        let effects = command(&mut state, ExportCommand::Export(Form::Pdf, Selection::Reviewed));
        let number = number(&effects);
        assert!(command(&mut state, ExportCommand::Teach).is_empty(), "one at a time");
        assert_eq!(state.problems.len(), 1);
        assert!(event(&mut state, collected(number + 1)).is_empty(), "what nobody waits for");
        let effects = event(&mut state, collected(number));
        let [Effect::Review(ReviewEffect::Export(ExportEffect::Write { work, .. }))] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(*work, Work::Write { form: Form::Pdf, tells_names: false, to });
        event(&mut state, ExportEvent::Written { what: Ok("1 answer written".to_owned()) });
        assert_eq!(state.review.export.running, None);
        assert_eq!(state.review.export.news.as_deref(), Some("1 answer written"));
    }

    #[test]
    fn what_cannot_be_read_or_written_is_said_and_ends_it() {
        let mut state = state();
        command(&mut state, ExportCommand::To("/exports/a.html".into()));
        let effects = command(&mut state, ExportCommand::Export(Form::Html, Selection::Reviewed));
        let what = Err("The store cannot be used.".to_owned());
        event(&mut state, ExportEvent::Collected { number: number(&effects), what });
        assert_eq!(state.review.export.running, None);
        assert_eq!(state.problems[0].sentence, "The store cannot be used.");
        command(&mut state, ExportCommand::To(PathBuf::new()));
        assert!(command(&mut state, ExportCommand::Export(Form::Html, Selection::Reviewed)).is_empty());
        assert!(state.problems[1].sentence.contains("type a path"));
    }

    #[test]
    fn teaching_needs_a_folder_and_a_model_and_ends_in_the_training_mode() {
        let mut state = state();
        state.train.places.runs = Some("/data/runs".into());
        state.train.places.demo_package = Some(model().folder);
        let effects = command(&mut state, ExportCommand::Teach);
        let effects = event(&mut state, collected(number(&effects)));
        let [
            Effect::Review(ReviewEffect::Export(ExportEffect::Write {
                work: Work::Teach { folder, teaching },
                ..
            })),
        ] = &effects[..]
        else {
            panic!("{effects:?}")
        };
        assert!(folder.starts_with("/exports") && teaching.package.ends_with("models/test"));
        assert_eq!(teaching.rehearsal.as_deref(), Some(Path::new("/data/demo-rows/train")));
        let folder = folder.clone();
        let news = ExportEvent::RowsWritten { folder: folder.clone(), news: "2 rows".to_owned() };
        let effects = event(&mut state, news);
        assert_eq!(state.mode, Mode::Train);
        let load = Effect::Train(TrainEffect::Setup(SetupEffect::ReadFile(folder.join("teach.toml"))));
        assert!(effects.contains(&load), "{effects:?}");

        state.train.places.demo_package = None;
        let effects = command(&mut state, ExportCommand::Teach);
        let effects = event(&mut state, collected(number(&effects)));
        assert!(
            format!("{effects:?}").contains("rehearsal: None"),
            "another model does not know the demo's rows"
        );
        let mut bare = AppState::default();
        assert!(command(&mut bare, ExportCommand::Teach).is_empty());
        assert!(bare.problems[0].sentence.starts_with("There is no folder for exports"));
        bare.read.places.exports = Some("/exports".into());
        assert!(command(&mut bare, ExportCommand::Teach).is_empty());
        assert!(bare.problems[1].sentence.starts_with("There is no model"));
    }

    #[test]
    fn a_dialogs_path_is_taken_and_a_closed_one_changes_nothing() {
        let mut state = state();
        assert_eq!(command(&mut state, ExportCommand::Pick(Form::Csv)).len(), 1);
        assert!(command(&mut state, ExportCommand::Pick(Form::Csv)).is_empty(), "one dialog at a time");
        event(&mut state, ExportEvent::Picked { form: Form::Csv, path: Ok(Some("/a.csv".into())) });
        assert_eq!(
            (state.review.export.form, state.review.export.to.as_path()),
            (Form::Csv, Path::new("/a.csv"))
        );
        event(&mut state, ExportEvent::Picked { form: Form::Pdf, path: Ok(None) });
        assert_eq!(state.review.export.form, Form::Csv);
        assert_eq!(selection(&state, Which::Reviewed), Some(Selection::Reviewed));
        assert_eq!((selection(&state, Which::Answer), selection(&state, Which::Case)), (None, None));
    }
}
