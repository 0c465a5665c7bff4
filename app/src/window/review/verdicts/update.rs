//! Every change of what is thought of answers, by keys and by buttons.

use reinpath_model::stage::AnswerStage;

use super::super::super::read::Side;
use super::super::super::state::AppState;
use super::super::super::update::Effect;
use super::super::chain::{self, ChainCommand};
use super::super::{ReviewCommand, cases};
use super::{VerdictsCommand, standing, waiting};
use crate::case::Id;
use crate::review::verdict::{self, Action, Decision, Standing, Target, Verdict};
use crate::window::review;

/// The answer in view, with what is thought of it.
struct Subject {
    answer: Id,
    sentences: Vec<(AnswerStage, usize, String)>,
    /// The text of each stage.
    stages: [String; 3],
    standing: Standing,
}

impl Subject {
    /// Of an answer that is over: what is still written cannot be judged.
    fn in_view(state: &AppState) -> Option<Self> {
        let shown = cases::shown(state).filter(|shown| shown.answer.is_over())?;
        let text = shown.answer.text();
        Some(Self {
            answer: shown.answer.id.clone(),
            sentences: verdict::sentences(&text),
            stages: AnswerStage::ALL.map(|stage| text.stage(stage).trim().to_owned()),
            standing: standing(state, &shown.answer.id),
        })
    }

    /// What was generated; `None` of what the answer does not have.
    fn generated(&self, target: Target) -> Option<&str> {
        match target {
            Target::Answer => None,
            Target::Stage(stage) => {
                Some(self.stages[stage as usize].as_str()).filter(|text| !text.is_empty())
            }
            Target::Sentence(stage, index) => {
                let mut sentences = self.sentences.iter();
                let found = sentences.find(|(of, place, _)| (*of, *place) == (stage, index));
                found.map(|(_, _, text)| text.as_str())
            }
        }
    }

    fn targets(&self) -> impl DoubleEndedIterator<Item = Target> {
        self.sentences.iter().map(|(stage, index, _)| Target::Sentence(*stage, *index))
    }

    fn is_undecided(&self, target: Target) -> bool {
        self.standing.at(target).is_none()
    }

    /// The sentence that keys are about, or the first that was not judged.
    fn here(&self, state: &AppState) -> Option<Target> {
        let focus = chain::focus(state).map(|(stage, index)| Target::Sentence(stage, index));
        let focus = focus.filter(|target| self.generated(*target).is_some());
        focus.or_else(|| self.targets().find(|target| self.is_undecided(*target)))
    }

    /// What reasons and comments are about: what was decided last, or the sentence that keys are about.
    fn remarked(&self, state: &AppState) -> Option<(Target, &Verdict)> {
        let last = state.review.verdicts.last.as_ref();
        let last = last.filter(|(answer, _)| *answer == self.answer).map(|(_, target)| *target);
        let of = |target: Target| self.standing.at(target).map(|verdict| (target, verdict));
        last.and_then(of).or_else(|| self.here(state).and_then(of))
    }

    /// A decision as it is meant: an edit that changes nothing accepts, and one that leaves nothing rejects. `None`: of nothing.
    fn meant(&self, target: Target, decision: Decision) -> Option<Decision> {
        let generated = self.generated(target);
        match decision {
            Decision::Edit(text) => Some(match (text.trim(), generated?) {
                ("", _) => Decision::Reject,
                (text, generated) if text == generated => Decision::Accept,
                (text, _) => Decision::Edit(text.to_owned()),
            }),
            decision => (target == Target::Answer || generated.is_some()).then_some(decision),
        }
    }
}

/// Carries out a wish.
pub(super) fn command(state: &mut AppState, wish: VerdictsCommand) -> Vec<Effect> {
    match wish {
        VerdictsCommand::Reviewer(name) => rename(state, &name),
        VerdictsCommand::EndEdit(text) => end_edit(state, text),
        VerdictsCommand::EndComment(text) => end_comment(state, text),
        // Nobody judges what another tab hides: the key shows the answer, and means it when it is pressed again.
        wish if state.read.side != Side::Ask && !matches!(wish, VerdictsCommand::Decide(..)) => {
            state.read.side = Side::Ask;
            Vec::new()
        }
        wish => match Subject::in_view(state) {
            Some(subject) => about(state, &subject, wish),
            None => Vec::new(),
        },
    }
}

/// Carries out a wish about the answer in view.
fn about(state: &mut AppState, subject: &Subject, wish: VerdictsCommand) -> Vec<Effect> {
    match wish {
        VerdictsCommand::Decide(target, decision) => decide(state, subject, target, decision),
        VerdictsCommand::Sentence(decision) => match subject.here(state) {
            Some(target) => decide_and_step(state, subject, target, decision),
            None => Vec::new(),
        },
        VerdictsCommand::Stage(decision) => match subject.here(state) {
            Some(Target::Sentence(stage, _)) => {
                decide_and_step(state, subject, Target::Stage(stage), decision)
            }
            _ => Vec::new(),
        },
        VerdictsCommand::AcceptRest => accept_rest(state, subject),
        VerdictsCommand::Reason(reason) => remark(state, subject, |verdict| {
            if verdict.decision != Decision::Accept {
                verdict.reason = Some(reason);
            }
        }),
        VerdictsCommand::BeginEdit => begin_edit(state, subject),
        VerdictsCommand::BeginComment => {
            let target = subject.remarked(state).map(|(target, _)| target);
            let verdicts = &mut state.review.verdicts;
            (verdicts.commenting, verdicts.editing) = (target, None);
            verdicts.typing_of = Some(subject.answer.clone());
            Vec::new()
        }
        VerdictsCommand::Undo => take_back(state, subject),
        // Not of the answer in view alone.
        VerdictsCommand::EndEdit(_) | VerdictsCommand::EndComment(_) | VerdictsCommand::Reviewer(_) => {
            Vec::new()
        }
    }
}

/// A new name is that of what is decided from now on.
fn rename(state: &mut AppState, name: &str) -> Vec<Effect> {
    name.trim().clone_into(&mut state.settings.review.reviewer);
    vec![Effect::SaveSettings(state.settings.clone())]
}

fn decide(state: &mut AppState, subject: &Subject, target: Target, decision: Decision) -> Vec<Effect> {
    let Some(decision) = subject.meant(target, decision) else { return Vec::new() };
    let before = subject.standing.at(target);
    state.review.verdicts.last = Some((subject.answer.clone(), target));
    if before.is_some_and(|before| before.decision == decision && before.target == target) {
        return Vec::new();
    }
    // An edit of what was edited or rejected is for the same reason, until another is given.
    let is_for_same = matches!(decision, Decision::Edit(_));
    let before = before.filter(|before| is_for_same && before.target == target && before.reason.is_some());
    let (reason, comment) =
        before.map_or((None, String::new()), |before| (before.reason, before.comment.clone()));
    let verdict = Verdict { target, decision, reason, comment };
    vec![waiting::append(state, subject.answer.clone(), Action::Decide(verdict))]
}

fn decide_and_step(
    state: &mut AppState,
    subject: &Subject,
    target: Target,
    decision: Decision,
) -> Vec<Effect> {
    let mut effects = decide(state, subject, target, decision);
    effects.extend(step(state, target));
    effects
}

/// Puts the focus on the next sentence without a verdict, or on the first one; where there is none it stays on what was decided.
fn step(state: &mut AppState, decided: Target) -> Vec<Effect> {
    let Some(subject) = Subject::in_view(state) else { return Vec::new() };
    let targets: Vec<Target> = subject.targets().collect();
    let last = targets.iter().rposition(|target| decided.covers(*target));
    let (before, after) = targets.split_at(last.map_or(0, |last| last + 1));
    let next = after.iter().chain(before).find(|target| subject.is_undecided(**target));
    focus(state, next.copied().unwrap_or(decided))
}

fn focus(state: &mut AppState, target: Target) -> Vec<Effect> {
    let Target::Sentence(stage, index) = target else { return Vec::new() };
    review::command(state, ReviewCommand::Chain(ChainCommand::Focus(Some((stage, index)))))
}

fn accept_rest(state: &mut AppState, subject: &Subject) -> Vec<Effect> {
    let undecided: Vec<Target> = subject.targets().filter(|target| subject.is_undecided(*target)).collect();
    // A reason that comes afterwards is still that of what was rejected or edited before.
    let last = state.review.verdicts.last.clone().filter(|(answer, _)| *answer == subject.answer);
    let accept = |target: &Target| decide(state, subject, *target, Decision::Accept);
    let effects = undecided.iter().flat_map(accept).collect();
    if last.is_some() {
        state.review.verdicts.last = last;
    }
    effects
}

/// The same decision with another reason or comment: the newest holds.
fn remark(state: &mut AppState, subject: &Subject, change: impl FnOnce(&mut Verdict)) -> Vec<Effect> {
    let Some((target, verdict)) = subject.remarked(state) else { return Vec::new() };
    if verdict.target != target && matches!(verdict.decision, Decision::Edit(_)) {
        // The text of a whole stage is not that of its sentence.
        return Vec::new();
    }
    let mut changed = Verdict { target, ..verdict.clone() };
    change(&mut changed);
    if changed.reason == verdict.reason && changed.comment == verdict.comment {
        return Vec::new();
    }
    vec![waiting::append(state, subject.answer.clone(), Action::Decide(changed))]
}

fn begin_edit(state: &mut AppState, subject: &Subject) -> Vec<Effect> {
    let Some(target) = subject.here(state) else { return Vec::new() };
    let verdicts = &mut state.review.verdicts;
    (verdicts.editing, verdicts.commenting) = (Some(target), None);
    verdicts.typing_of = Some(subject.answer.clone());
    focus(state, target)
}

/// The answer in view, if it is the one that something was typed about.
fn typed_about(state: &AppState) -> Option<Subject> {
    Subject::in_view(state)
        .filter(|subject| state.review.verdicts.typing_of.as_ref() == Some(&subject.answer))
}

fn end_edit(state: &mut AppState, text: Option<String>) -> Vec<Effect> {
    let target = state.review.verdicts.editing.take();
    let (Some(target), Some(text)) = (target, text) else { return Vec::new() };
    let Some(subject) = typed_about(state) else { return Vec::new() };
    decide_and_step(state, &subject, target, Decision::Edit(text))
}

fn end_comment(state: &mut AppState, text: Option<String>) -> Vec<Effect> {
    let target = state.review.verdicts.commenting.take();
    let (Some(target), Some(text)) = (target, text) else { return Vec::new() };
    let Some(subject) = typed_about(state) else { return Vec::new() };
    state.review.verdicts.last = Some((subject.answer.clone(), target));
    remark(state, &subject, |verdict| text.trim().clone_into(&mut verdict.comment))
}

/// Takes back the reviewer's own newest decision about the answer, and goes to what it was about.
fn take_back(state: &mut AppState, subject: &Subject) -> Vec<Effect> {
    let reviewer = state.settings.review.reviewer.clone();
    let verdicts = &mut state.review.verdicts;
    let drafts = verdicts.waiting.iter().enumerate().rev();
    let own = drafts.filter(|(_, draft)| draft.answer == subject.answer && draft.reviewer == reviewer);
    let newest = own.filter(|(at, _)| !verdicts.taken_back.contains(at)).find_map(|(at, draft)| {
        let Action::Decide(verdict) = &draft.action else { return None };
        Some((at, verdict.target))
    });
    verdicts.last = None;
    if let Some((at, target)) = newest {
        // The log gives it its number, by which it is taken back then.
        verdicts.taken_back.insert(at);
        verdicts.revision += 1;
        return focus(state, target);
    }
    let Some((number, target)) = subject.standing.last_by(&reviewer) else { return Vec::new() };
    let mut effects = vec![waiting::append(state, subject.answer.clone(), Action::Undo(number))];
    effects.extend(focus(state, target));
    effects
}
