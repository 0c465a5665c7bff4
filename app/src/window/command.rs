//! What the user wants: panels and keys send commands, `update.rs` carries them out. One list gives names and keys.

use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use egui::{Key, KeyboardShortcut, Modifiers, Pos2, Vec2};
use reinpath_model::stage::AnswerStage;

use super::answer_view::QuestionText;
use super::patches::PatchId;
use super::read::annotate::AnnotateCommand;
use super::read::navigate::{self, key_map};
use super::read::{self, ReadCommand};
use super::review::{self, ReviewCommand};
use super::state::{Mode, Tool};
use super::train::{TrainCommand, keys};
use super::widgets::leave_escape_to_dialog;
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::viewport::SlideRect;

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
    Read(ReadCommand),
    Review(ReviewCommand),
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
    /// Turns the slide clockwise by radians, around the middle of the viewer.
    Turn(f64),
    /// Turns the slide to radians clockwise of upright.
    TurnTo(f64),
    /// Neither turned nor mirrored.
    TurnUpright,
    /// Exchanges left and right of the screen.
    Mirror,
    LookAt((f64, f64)),
    /// Shows all of a rectangle of level-0 pixels, as large as it can be.
    LookAtRegion(SlideRect),
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
    /// Gives the model at most so many pixels of a patch from now on, where it takes patches of any size.
    MaxPixels(u64),
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
#[derive(Debug)]
pub struct Named {
    /// What the user reads, and what changed keys are remembered by.
    pub name: &'static str,
    /// As long as the user does not change them.
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

pub(super) const fn ctrl_alt(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::ALT), key)
}

pub(super) const fn shift(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::SHIFT, key)
}

pub(super) const fn alt(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::ALT, key)
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
    named("Zoom in", &[key(Key::Plus), key(Key::Equals), shift(Key::ArrowUp)], false, || {
        Command::View(ViewCommand::Zoom(ZOOM))
    }),
    named("Zoom out", &[key(Key::Minus), shift(Key::ArrowDown)], false, || {
        Command::View(ViewCommand::Zoom(1.0 / ZOOM))
    }),
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

pub(super) fn scroll(x: f32, y: f32) -> Command {
    Command::View(ViewCommand::Scroll(Vec2::new(x, y)))
}

/// Every command of both modes that has a name.
pub fn all() -> impl Iterator<Item = &'static Named> {
    NAMED.iter().chain(read::named()).chain(review::named()).chain(keys::NAMED)
}

/// The first keys of a command as text, such as `Ctrl+O`; empty when it has none.
pub fn keys_of(ctx: &egui::Context, name: &str) -> String {
    let keys = key_map::of(ctx);
    keys.map.keys(name).first().map_or_else(String::new, |keys| ctx.format_shortcut(keys))
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

    pub fn read(&self, command: ReadCommand) {
        self.send(Command::Read(command));
    }

    pub fn review(&self, command: ReviewCommand) {
        self.send(Command::Review(command));
    }

    pub fn train(&self, command: TrainCommand) {
        self.send(Command::Train(command));
    }
}

/// Whether a command is about slides, so that its keys are free in the training mode.
fn is_about_slides(command: &Command) -> bool {
    use Command::{Ask, CloseShown, Patch, Read, Review, ShowNext, Tool, View};
    match command {
        Read(ReadCommand::Navigate(wish)) => !navigate::is_for_both_modes(wish),
        command => {
            matches!(
                command,
                View(_) | Patch(_) | Tool(_) | Ask(_) | Read(_) | Review(_) | CloseShown | ShowNext(_)
            )
        }
    }
}

/// Whether a command can be given in a mode.
pub fn works_in(mode: Mode, command: &Command) -> bool {
    match mode {
        Mode::Read => !matches!(command, Command::Train(_)),
        Mode::Train => !is_about_slides(command),
    }
}

/// What a named command means now: while annotations own the keys of editing, it is about them rather than about patches.
pub(super) fn meant(named: &Named, owned_by_annotations: bool) -> Command {
    let command = (named.command)();
    let wish = match &command {
        Command::Patch(PatchCommand::RemoveSelected) => AnnotateCommand::RemoveSelected,
        Command::Patch(PatchCommand::Undo) => AnnotateCommand::Undo,
        Command::Patch(PatchCommand::Redo) => AnnotateCommand::Redo,
        _ => return command,
    };
    if owned_by_annotations { Command::Read(ReadCommand::Annotate(wish)) } else { command }
}

/// Sends the commands whose keys were pressed.
pub fn send_for_keys(ctx: &egui::Context, mode: Mode, commands: &CommandSender) {
    let keys = key_map::of(ctx);
    if keys.is_dialog_open {
        // The command list and the dialog for a place take all keys.
        leave_escape_to_dialog(ctx, true);
        return;
    }
    // In an open menu arrows go from row to row, not over the slide.
    let typing = ctx.text_edit_focused() || egui::Popup::is_any_open(ctx);
    // Escape is for the nearest first: an open menu, what the pointer is drawing or dragging, a question or a window over the others.
    let is_busy = egui::Popup::is_any_open(ctx) || ctx.input(|input| input.pointer.any_down());
    let is_taken = is_busy || ctx.memory(|memory| memory.top_modal_layer().is_some());
    let escape_is_taken = leave_escape_to_dialog(ctx, is_taken) || is_taken;
    // A button that was gone to with Tab is pressed with these.
    let presses = ctx.egui_wants_keyboard_input();
    // A slider, which nothing but dragging moves, is moved with these.
    let focused = ctx.memory(egui::Memory::focused).and_then(|id| ctx.read_response(id));
    let slides = focused.is_some_and(|widget| widget.sense.senses_drag() && !widget.sense.senses_click());
    ctx.input_mut(|input| {
        input.events.retain(|event| {
            let egui::Event::Key { key, modifiers, pressed: true, .. } = event else { return true };
            let Some(named) = keys.map.find(mode, *modifiers, *key) else { return true };
            let is_press = modifiers.is_none() && matches!(key, Key::Enter | Key::Space);
            let is_slide = modifiers.is_none() && matches!(key, Key::ArrowLeft | Key::ArrowRight);
            if (typing && !named.while_typing)
                || (escape_is_taken && *key == Key::Escape)
                || (presses && is_press)
                || (slides && is_slide)
            {
                return true;
            }
            commands.send(meant(named, keys.owned_by_annotations));
            false
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_each_given_once() {
        let mut names: Vec<&str> = all().map(|named| named.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
        for mode in [Mode::Read, Mode::Train] {
            given_once(all().filter(|named| works_in(mode, &(named.command)())));
        }
    }

    fn given_once<'a>(commands: impl Iterator<Item = &'a Named>) {
        let keys: Vec<KeyboardShortcut> = commands.flat_map(|named| named.keys).copied().collect();
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key), "{key:?} is given twice");
        }
    }

    #[test]
    fn commands_about_slides_leave_their_keys_to_training() {
        let names = |mode: Mode| {
            let of_mode = all().filter(move |named| works_in(mode, &(named.command)()));
            of_mode.map(|named| named.name).collect::<Vec<_>>()
        };
        let (reading, training) = (names(Mode::Read), names(Mode::Train));
        for name in ["Zoom in", "Undo", "Go to place…", "Turn clockwise"] {
            assert!(reading.contains(&name) && !training.contains(&name), "{name}");
        }
        for name in ["Command list", "Full screen", "Quit"] {
            assert!(reading.contains(&name) && training.contains(&name), "{name}");
        }
        assert!(training.contains(&"Start run") && !reading.contains(&"Start run"));
    }

    #[test]
    fn the_keys_of_editing_are_the_annotations_while_one_of_them_is_selected() {
        let undo = NAMED.iter().find(|named| named.name == "Undo").unwrap();
        assert_eq!(meant(undo, false), Command::Patch(PatchCommand::Undo));
        assert_eq!(meant(undo, true), Command::Read(ReadCommand::Annotate(AnnotateCommand::Undo)));
        let fit = NAMED.iter().find(|named| named.name == "Fit slide").unwrap();
        assert_eq!(meant(fit, true), Command::View(ViewCommand::Fit));
    }
}
