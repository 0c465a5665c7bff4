//! Questions: whether one can be asked now, asking it, and stopping. What is kept of them, and how they are sent, is `review::cases`'s.

use super::super::answer_view::{Phase, QuestionText, text_of};
use super::super::command::AskCommand;
use super::super::review::cases;
use super::super::review::verdicts::VerdictsCommand;
use super::super::review::{self, ReviewCommand};
use super::super::state::{AppState, PackageState, Tool};
use super::{Effect, complain, patch_update};

/// Carries out a wish about questions.
pub(super) fn ask(state: &mut AppState, wish: AskCommand) -> Vec<Effect> {
    match wish {
        AskCommand::Ask(text) => start_asking(state, &text),
        AskCommand::Again => ask_again(state),
        // The nearest first: what is being typed about an answer.
        AskCommand::Stop if state.review.verdicts.editing.is_some() => {
            review::command(state, ReviewCommand::Verdicts(VerdictsCommand::EndEdit(None)))
        }
        AskCommand::Stop if state.review.verdicts.commenting.is_some() => {
            review::command(state, ReviewCommand::Verdicts(VerdictsCommand::EndComment(None)))
        }
        AskCommand::Stop => stop(state),
        AskCommand::CopyAnswer => {
            let shown = cases::shown(state);
            shown.map(|shown| Effect::CopyText(text_of(shown.question, shown.answer))).into_iter().collect()
        }
        AskCommand::ToggleCard(stage) => {
            if let Some(answer) = &mut state.answer {
                answer.toggle(stage);
            }
            Vec::new()
        }
        AskCommand::MaxPixels(pixels) => limit_pixels(state, pixels),
    }
}

/// Patches are given to the model in another size from now on, and shown as it is given them.
fn limit_pixels(state: &mut AppState, pixels: u64) -> Vec<Effect> {
    let before = state.max_pixels();
    state.settings.max_pixels = Some(pixels);
    let mut effects = vec![Effect::SaveSettings(state.settings.clone())];
    if state.max_pixels() != before {
        effects.extend(patch_update::read_all(state));
    }
    effects
}

/// Said where patches are marked and none of them is asked about.
pub(in crate::window) const NO_PATCH_TICKED: &str = "No patch is ticked: tick Ask beside a patch.";

/// Why a question cannot be asked now, as one sentence that says what to do; `None` when it can.
pub fn obstacle(state: &AppState, text: &QuestionText) -> Option<String> {
    if state.model.chosen.is_some() {
        return Some(cases::STILL_READING.to_owned());
    }
    if let PackageState::Failed(sentence) = &state.model.package {
        return Some(sentence.clone());
    }
    let Some(slide) = state.shown_slide().filter(|slide| slide.info().is_some()) else {
        return Some("Open a slide first.".to_owned());
    };
    if state.model.info().is_none() {
        return Some(cases::STILL_READING.to_owned());
    }
    if slide.patches.places().is_empty() {
        return Some("Mark a patch first: choose the patch tool and click on the slide.".to_owned());
    }
    if slide.patches.in_question().next().is_none() {
        return Some(NO_PATCH_TICKED.to_owned());
    }
    if text.question.trim().is_empty() {
        return Some("Type a question first, or choose one.".to_owned());
    }
    if text.choices.len() == 1 {
        return Some("A choice needs at least two options.".to_owned());
    }
    None
}

/// Ends the answer that is being written, and takes back what waits for its end; where there is neither, the tool is put away.
fn stop(state: &mut AppState) -> Vec<Effect> {
    let has_waited = cases::clear_queue(state);
    match &mut state.answer {
        Some(answer) if answer.is_running() => {
            answer.phase = Phase::Stopping;
            vec![Effect::StopAsking { id: answer.id }]
        }
        _ if has_waited => Vec::new(),
        _ => {
            state.tool = Tool::Pan;
            Vec::new()
        }
    }
}

fn start_asking(state: &mut AppState, text: &QuestionText) -> Vec<Effect> {
    // What is in the way is shown by the Ask panel.
    if state.is_asking() || obstacle(state, text).is_some() {
        return Vec::new();
    }
    cases::ask(state, text)
}

/// The last question about what it was about, whatever is shown and ticked now.
fn ask_again(state: &mut AppState) -> Vec<Effect> {
    let Some(last) = state.answer.as_ref().filter(|answer| !answer.is_running()) else { return Vec::new() };
    let subject = last.subject.clone();
    if let Some(sentence) = cases::no_model(state) {
        complain(state, sentence);
        return Vec::new();
    }
    let Some(wanted) = state.review.cases.asked.clone() else { return Vec::new() };
    let slide = state.slides.iter().find(|slide| slide.path == subject.slide && slide.info().is_some());
    let Some(slide) = slide.map(|slide| slide.key) else {
        let path = subject.slide.display();
        complain(state, format!("Open the slide of the last question again to ask once more: {path}"));
        return Vec::new();
    };
    cases::send(state, cases::Wanted { slide, ..wanted })
}
