//! What the user wants: panels and keys send commands, `update.rs` carries them out. One list gives names and keys.

use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use egui::{Key, KeyboardShortcut, Modifiers, Pos2, Vec2};
use reinpath_model::stage::AnswerStage;

use super::answer_view::QuestionText;
use super::patches::PatchId;
use super::state::{Mode, Tool};
use super::train::{TrainCommand, keys};
use crate::viewer::tile_cache::SlideKey;

/// A wish of the user.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Ask for files with a dialog.
    PickSlides,
    Open(PathBuf),
    Show(SlideKey),
    /// The tab this many further to the right.
    ShowNext(i32),
    Close(SlideKey),
    CloseShown,
    /// Try a slide that failed once more.
    Retry(SlideKey),
    Tool(Tool),
    View(ViewCommand),
    Patch(PatchCommand),
    Ask(AskCommand),
    Model(ModelCommand),
    Train(TrainCommand),
    Mode(Mode),
    ToggleTheme,
    ToggleLeftPanel,
    ToggleFrameTimes,
    AcceptNotice,
    DismissProblem(u64),
    /// What a slide's tiles failed with.
    DismissUnreadable(SlideKey),
    Copy(String),
    Quit,
}

/// Wishes about what the viewer shows. Screen positions are points of the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ViewCommand {
    Fit,
    /// Around the middle of the viewer.
    Zoom(f64),
    ZoomAt(Pos2, f64),
    /// Moves the slide by points.
    Pan(Vec2),
    /// Moves what is seen by fractions of the viewer's size.
    Scroll(Vec2),
    /// Level-0 pixels per physical screen pixel; the second number is physical pixels per point.
    Scale(f64, f32),
    LookAt((f64, f64)),
    /// Puts a patch into the middle without changing the scale.
    LookAtPatch(PatchId),
}

/// Wishes about the patches of the slide in view. Places are level-0 pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PatchCommand {
    /// A square of the model's size around a place.
    PlaceSquare((f64, f64)),
    DrawRectangle((f64, f64), (f64, f64)),
    Select(Option<PatchId>),
    Remove(PatchId),
    RemoveSelected,
    MoveTo(PatchId, usize),
    InQuestion(PatchId, bool),
    Split(PatchId),
    KeepWhole(PatchId),
    Undo,
    Redo,
}

/// Wishes about questions.
#[derive(Clone, Debug, PartialEq)]
pub enum AskCommand {
    Ask(Box<QuestionText>),
    Stop,
    /// The last question once more, about the same patches of the same slide.
    Again,
    CopyAnswer,
    ToggleCard(AnswerStage),
}

/// Wishes about the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelCommand {
    /// Shows the picker, or hides it.
    Choose,
    /// Reads anew which packages there are.
    ReadList,
    /// Ask for a package's folder with a dialog.
    PickFolder,
    /// Answer with the package in this folder from now on.
    Use(PathBuf),
    CancelLoad,
}

/// A command with a name and keys.
pub struct Named {
    pub name: &'static str,
    pub keys: &'static [KeyboardShortcut],
    pub command: fn() -> Command,
    /// Whether the keys also work while text is typed.
    pub while_typing: bool,
}

pub(super) const fn key(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::NONE, key)
}

pub(super) const fn ctrl(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND, key)
}

pub(super) const fn ctrl_shift(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key)
}

pub(super) const fn named(
    name: &'static str,
    keys: &'static [KeyboardShortcut],
    while_typing: bool,
    command: fn() -> Command,
) -> Named {
    Named { name, keys, command, while_typing }
}

/// How far an arrow key goes, as a fraction of the viewer.
const SCROLL: f32 = 0.2;
/// How much a key zooms.
pub const ZOOM: f64 = 1.5;

/// Every command that has a key. Ctrl+Enter asks, which needs the question's text and is therefore the Ask panel's own.
pub const NAMED: &[Named] = &[
    named("Open slide…", &[ctrl(Key::O)], true, || Command::PickSlides),
    named("Close slide", &[ctrl(Key::W)], false, || Command::CloseShown),
    named(
        "Previous slide",
        &[KeyboardShortcut::new(Modifiers::CTRL.plus(Modifiers::SHIFT), Key::Tab)],
        true,
        || Command::ShowNext(-1),
    ),
    named("Next slide", &[KeyboardShortcut::new(Modifiers::CTRL, Key::Tab)], true, || Command::ShowNext(1)),
    named("Quit", &[ctrl(Key::Q)], true, || Command::Quit),
    named("Choose model", &[ctrl(Key::M)], true, || Command::Model(ModelCommand::Choose)),
    named("Move tool", &[key(Key::M)], false, || Command::Tool(Tool::Pan)),
    named("Patch tool", &[key(Key::P)], false, || Command::Tool(Tool::Patch)),
    named("Fit slide", &[key(Key::Num0)], false, || Command::View(ViewCommand::Fit)),
    named("Zoom in", &[key(Key::Plus), key(Key::Equals)], false, || Command::View(ViewCommand::Zoom(ZOOM))),
    named("Zoom out", &[key(Key::Minus)], false, || Command::View(ViewCommand::Zoom(1.0 / ZOOM))),
    named("Scroll left", &[key(Key::ArrowLeft)], false, || scroll(-SCROLL, 0.0)),
    named("Scroll right", &[key(Key::ArrowRight)], false, || scroll(SCROLL, 0.0)),
    named("Scroll up", &[key(Key::ArrowUp)], false, || scroll(0.0, -SCROLL)),
    named("Scroll down", &[key(Key::ArrowDown)], false, || scroll(0.0, SCROLL)),
    named("Remove patch", &[key(Key::Delete), key(Key::Backspace)], false, || {
        Command::Patch(PatchCommand::RemoveSelected)
    }),
    named("Redo", &[ctrl_shift(Key::Z), ctrl(Key::Y)], false, || Command::Patch(PatchCommand::Redo)),
    named("Undo", &[ctrl(Key::Z)], false, || Command::Patch(PatchCommand::Undo)),
    named("Stop", &[key(Key::Escape)], true, || Command::Ask(AskCommand::Stop)),
    named("Read", &[ctrl(Key::Num1)], true, || Command::Mode(Mode::Read)),
    named("Train", &[ctrl(Key::Num2)], true, || Command::Mode(Mode::Train)),
    named("Switch theme", &[ctrl(Key::T)], true, || Command::ToggleTheme),
    named("Fold slides panel", &[ctrl(Key::B)], true, || Command::ToggleLeftPanel),
    named("Frame times", &[key(Key::F12)], true, || Command::ToggleFrameTimes),
];

fn scroll(x: f32, y: f32) -> Command {
    Command::View(ViewCommand::Scroll(Vec2::new(x, y)))
}

/// The keys of a command as text, such as `Ctrl+O`; empty when it has none.
pub fn keys_of(ctx: &egui::Context, name: &str) -> String {
    let found = NAMED.iter().chain(keys::NAMED).find(|named| named.name == name);
    found.and_then(|named| named.keys.first()).map_or_else(String::new, |keys| ctx.format_shortcut(keys))
}

/// Commands in one frame: far more than a person and a script can send.
const MOST_COMMANDS: usize = 1024;

/// Where panels put commands. Clones share one queue.
#[derive(Clone)]
pub struct CommandSender {
    sender: Sender<Command>,
}

impl CommandSender {
    /// The sender, and the receiver that is drained once a frame.
    pub fn new() -> (Self, Receiver<Command>) {
        let (sender, receiver) = bounded(MOST_COMMANDS);
        (Self { sender }, receiver)
    }

    /// Sends without waiting.
    pub fn send(&self, command: Command) {
        if let Err(TrySendError::Full(command)) = self.sender.try_send(command) {
            tracing::warn!("more commands in a frame than are kept, dropped {command:?}");
        }
    }

    pub fn view(&self, command: ViewCommand) {
        self.send(Command::View(command));
    }

    pub fn patch(&self, command: PatchCommand) {
        self.send(Command::Patch(command));
    }

    pub fn ask(&self, command: AskCommand) {
        self.send(Command::Ask(command));
    }

    pub fn model(&self, command: ModelCommand) {
        self.send(Command::Model(command));
    }

    pub fn train(&self, command: TrainCommand) {
        self.send(Command::Train(command));
    }
}

/// Whether a command is about slides, so that its keys are free in the training mode.
fn is_about_slides(command: &Command) -> bool {
    use Command::{Ask, CloseShown, Patch, ShowNext, Tool, View};
    matches!(command, View(_) | Patch(_) | Tool(_) | Ask(_) | CloseShown | ShowNext(_))
}

/// Sends the commands whose keys were pressed.
pub fn send_for_keys(ctx: &egui::Context, mode: Mode, commands: &CommandSender) {
    // In an open menu arrows go from row to row, not over the slide.
    let typing = ctx.text_edit_focused() || egui::Popup::is_any_open(ctx);
    // Escape is for the nearest first: an open menu, or what the pointer is drawing or dragging.
    let escape_is_taken = egui::Popup::is_any_open(ctx) || ctx.input(|input| input.pointer.any_down());
    let of_mode = if mode == Mode::Train { keys::NAMED } else { &[] };
    for named in of_mode.iter().chain(NAMED) {
        if mode == Mode::Train && is_about_slides(&(named.command)()) {
            continue;
        }
        let is_escape = named.keys.iter().any(|keys| keys.logical_key == Key::Escape);
        if (typing && !named.while_typing) || (escape_is_taken && is_escape) {
            continue;
        }
        let pressed = ctx.input_mut(|input| named.keys.iter().any(|keys| input.consume_shortcut(keys)));
        if pressed {
            commands.send((named.command)());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_each_given_once() {
        let all = || NAMED.iter().chain(keys::NAMED);
        let mut names: Vec<&str> = all().map(|named| named.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
        let of_training =
            NAMED.iter().filter(|named| !is_about_slides(&(named.command)())).chain(keys::NAMED);
        given_once(NAMED.iter());
        given_once(of_training);
    }

    fn given_once<'a>(commands: impl Iterator<Item = &'a Named>) {
        let keys: Vec<KeyboardShortcut> = commands.flat_map(|named| named.keys).copied().collect();
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key), "{key:?} is given twice");
        }
    }

    #[test]
    fn more_modifiers_come_first_so_that_the_shorter_shortcut_does_not_take_the_longer_ones_key() {
        let at = |name: &str| NAMED.iter().position(|named| named.name == name);
        assert!(at("Redo") < at("Undo"));
        assert!(at("Previous slide") < at("Next slide"));
    }
}
