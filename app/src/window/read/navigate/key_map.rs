//! Which keys a command has: the program's own, unless the user chose others. As text, such as `Ctrl+Shift+K`, they are remembered.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use egui::{Context, Id, Key, KeyboardShortcut, Modifiers};

use super::super::super::command::{self, Named};
use super::super::super::state::Mode;

/// Changed keys by the names of their commands, as the settings remember them.
pub type ChangedKeys = BTreeMap<String, Vec<String>>;

/// Modifiers as they are written, in this order. `Ctrl` is what egui calls command: the Command key on a Mac, Control elsewhere.
const MODIFIERS: [(&str, Modifiers); 5] = [
    ("Ctrl", Modifiers::COMMAND),
    ("Control", Modifiers::CTRL),
    ("Cmd", Modifiers::MAC_CMD),
    ("Alt", Modifiers::ALT),
    ("Shift", Modifiers::SHIFT),
];

/// A shortcut as text, the same on every system.
pub fn to_text(shortcut: KeyboardShortcut) -> String {
    let held = MODIFIERS.iter().filter(|(_, one)| shortcut.modifiers.plus(*one) == shortcut.modifiers);
    let words = held.map(|(word, _)| *word).chain([shortcut.logical_key.name()]);
    words.collect::<Vec<_>>().join("+")
}

/// A shortcut from its text.
///
/// # Errors
/// A sentence that names the text, when it names no key or an unknown modifier.
pub fn from_text(text: &str) -> Result<KeyboardShortcut, String> {
    let fault = || format!("`{text}` names no keys: expected something such as Ctrl+Shift+K.");
    let mut words: Vec<&str> = text.split('+').map(str::trim).collect();
    let key = words.pop().and_then(Key::from_name).ok_or_else(fault)?;
    let mut modifiers = Modifiers::NONE;
    for word in words {
        let (_, one) =
            MODIFIERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).ok_or_else(fault)?;
        modifiers |= *one;
    }
    Ok(KeyboardShortcut::new(modifiers, key))
}

/// What was pressed as a shortcut that works on every system: Ctrl and the Command key are the same wish.
pub fn pressed(modifiers: Modifiers, key: Key) -> KeyboardShortcut {
    let command = if modifiers.command {
        Modifiers::COMMAND
    } else if modifiers.ctrl {
        Modifiers::CTRL
    } else {
        Modifiers::NONE
    };
    let others = Modifiers { alt: modifiers.alt, shift: modifiers.shift, ..Modifiers::NONE };
    KeyboardShortcut::new(command.plus(others), key)
}

/// Whether a key only changes what others mean, so that it is no shortcut by itself.
pub fn is_modifier(key: Key) -> bool {
    use Key::{
        AltLeft, AltRight, CapsLock, ControlLeft, ControlRight, Fn, NumLock, ScrollLock, ShiftLeft,
        ShiftRight, SuperLeft, SuperRight,
    };
    matches!(
        key,
        AltLeft
            | AltRight
            | CapsLock
            | ControlLeft
            | ControlRight
            | Fn
            | NumLock
            | ScrollLock
            | ShiftLeft
            | ShiftRight
            | SuperLeft
            | SuperRight
    )
}

/// Whether two shortcuts are the same keys of the keyboard.
pub fn are_same(a: KeyboardShortcut, b: KeyboardShortcut) -> bool {
    let held = |shortcut: KeyboardShortcut| {
        let Modifiers { alt, ctrl, shift, mac_cmd, command } = shortcut.modifiers;
        (alt, shift, ctrl || mac_cmd || command)
    };
    a.logical_key == b.logical_key && held(a) == held(b)
}

/// A shortcut and its command.
#[derive(Debug)]
struct Bound {
    shortcut: KeyboardShortcut,
    named: &'static Named,
    /// Whether it is given in the reading mode, and in the training mode.
    works: [bool; 2],
}

/// The keys of all commands.
#[derive(Debug)]
pub struct KeyMap {
    /// Those with more modifiers first: a pattern without Shift also fits a press with it.
    bound: Vec<Bound>,
    of: BTreeMap<&'static str, Vec<KeyboardShortcut>>,
    /// What could not be understood in the settings, as sentences.
    pub faults: Vec<String>,
}

impl Default for KeyMap {
    fn default() -> Self {
        Self::new(&ChangedKeys::new())
    }
}

impl KeyMap {
    /// The program's keys, with what the user changed. Names that are not known here may be another version's and are left alone.
    pub fn new(changed: &ChangedKeys) -> Self {
        let mut map = Self { bound: Vec::new(), of: BTreeMap::new(), faults: Vec::new() };
        for named in command::all() {
            let keys = match changed.get(named.name) {
                None => named.keys.to_vec(),
                Some(texts) => map.understood(named.name, texts),
            };
            let wish = (named.command)();
            let works = [Mode::Read, Mode::Train].map(|mode| command::works_in(mode, &wish));
            map.bound.extend(keys.iter().map(|&shortcut| Bound { shortcut, named, works }));
            map.of.insert(named.name, keys);
        }
        map.bound.sort_by_key(|bound| Reverse(count(bound.shortcut.modifiers)));
        map
    }

    fn understood(&mut self, name: &str, texts: &[String]) -> Vec<KeyboardShortcut> {
        let mut keys = Vec::new();
        for text in texts {
            match from_text(text) {
                Ok(shortcut) => keys.push(shortcut),
                Err(sentence) => self.faults.push(format!("Keys of “{name}”: {sentence}")),
            }
        }
        keys
    }

    /// The keys of a command; none when the name is not known.
    pub fn keys(&self, name: &str) -> &[KeyboardShortcut] {
        self.of.get(name).map_or(&[], Vec::as_slice)
    }

    /// The command of what was pressed.
    pub fn find(&self, mode: Mode, modifiers: Modifiers, key: Key) -> Option<&'static Named> {
        let fits = |bound: &&Bound| {
            bound.shortcut.logical_key == key
                && modifiers.matches_logically(bound.shortcut.modifiers)
                && bound.works[usize::from(mode == Mode::Train)]
        };
        self.bound.iter().find(fits).map(|bound| bound.named)
    }

    /// The command that has these keys where the command with this name would use them, too.
    pub fn holder(&self, shortcut: KeyboardShortcut, name: &str) -> Option<&'static Named> {
        let wanted = command::all().find(|named| named.name == name)?;
        let wish = (wanted.command)();
        let works = [Mode::Read, Mode::Train].map(|mode| command::works_in(mode, &wish));
        let meets = |bound: &&Bound| {
            bound.named.name != name
                && are_same(bound.shortcut, shortcut)
                && bound.works.iter().zip(works).any(|(here, there)| *here && there)
        };
        self.bound.iter().find(meets).map(|bound| bound.named)
    }
}

fn count(modifiers: Modifiers) -> usize {
    let Modifiers { alt, ctrl, shift, mac_cmd, command } = modifiers;
    usize::from(alt) + usize::from(shift) + usize::from(ctrl || mac_cmd || command)
}

/// Gives a command these keys and no others, and takes them from the commands that had them; the names of those.
pub fn assign(changed: &mut ChangedKeys, name: &str, keys: &[KeyboardShortcut]) -> Vec<&'static str> {
    let mut robbed = Vec::new();
    for &shortcut in keys {
        // Another command may have each key in each mode.
        while let Some(holder) = KeyMap::new(changed).holder(shortcut, name) {
            let kept: Vec<_> = KeyMap::new(changed).keys(holder.name).to_vec();
            let kept = kept.into_iter().filter(|key| !are_same(*key, shortcut)).collect::<Vec<_>>();
            remember(changed, holder.name, &kept);
            robbed.push(holder.name);
        }
    }
    remember(changed, name, keys);
    robbed
}

/// Gives a command its own keys back; the names of the commands that had them meanwhile.
pub fn reset(changed: &mut ChangedKeys, name: &str) -> Vec<&'static str> {
    let own = command::all().find(|named| named.name == name).map_or(&[][..], |named| named.keys);
    assign(changed, name, own)
}

/// Only what differs from the program's own is remembered.
fn remember(changed: &mut ChangedKeys, name: &str, keys: &[KeyboardShortcut]) {
    if command::all().any(|named| named.name == name && named.keys == keys) {
        changed.remove(name);
    } else {
        changed.insert(name.to_owned(), keys.iter().map(|key| to_text(*key)).collect());
    }
}

/// What the keyboard means in this frame, for those who know no state.
#[derive(Clone, Debug, Default)]
pub struct Keyboard {
    pub map: Arc<KeyMap>,
    /// Whether Delete, undo and redo are about annotations.
    pub owned_by_annotations: bool,
    /// Whether a dialog takes all keys.
    pub is_dialog_open: bool,
}

fn id() -> Id {
    Id::unique("keys")
}

/// Leaves it for the rest of this frame and the beginning of the next.
pub fn set(ctx: &Context, keyboard: Keyboard) {
    ctx.data_mut(|data| data.insert_temp(id(), keyboard));
}

/// What was left; before the first frame, the program's own keys.
pub fn of(ctx: &Context) -> Keyboard {
    ctx.data(|data| data.get_temp(id())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortcut(text: &str) -> KeyboardShortcut {
        from_text(text).unwrap()
    }

    #[test]
    fn every_shortcut_is_read_from_the_text_it_is_written_as() {
        for &key in Key::ALL {
            for held in 0..1_u8 << MODIFIERS.len() {
                let on = MODIFIERS.iter().enumerate().filter(|(n, _)| held & (1 << n) != 0);
                let modifiers = on.fold(Modifiers::NONE, |all, (_, (_, one))| all.plus(*one));
                let written = KeyboardShortcut::new(modifiers, key);
                assert_eq!(from_text(&to_text(written)), Ok(written), "{}", to_text(written));
            }
        }
        assert_eq!(to_text(shortcut("shift + ctrl + k")), "Ctrl+Shift+K");
        for text in ["", "Ctrl+", "Ctrl+Nothing", "Hyper+K", "K+Ctrl"] {
            assert!(from_text(text).unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn the_shortcut_with_more_modifiers_wins() {
        let map = KeyMap::default();
        let found = |modifiers: Modifiers, key: Key| map.find(Mode::Read, modifiers, key).map(|n| n.name);
        let ctrl = Modifiers { ctrl: true, command: true, ..Modifiers::NONE };
        assert_eq!(found(ctrl, Key::Z), Some("Undo"));
        assert_eq!(found(ctrl.plus(Modifiers::SHIFT), Key::Z), Some("Redo"));
        assert_eq!(found(Modifiers::NONE, Key::R), Some("Turn clockwise"));
        assert_eq!(found(Modifiers::SHIFT, Key::R), Some("Turn back"));
        assert_eq!(found(Modifiers::ALT, Key::R), Some("Turn upright"));
        assert_eq!(found(Modifiers::SHIFT, Key::ArrowUp), Some("Zoom in"));
        assert_eq!(found(Modifiers::NONE, Key::ArrowUp), Some("Scroll up"));
        assert_eq!(found(Modifiers::SHIFT, Key::Plus), Some("Zoom in"), "many keyboards need Shift for +");
        assert_eq!(map.find(Mode::Train, Modifiers::NONE, Key::R).map(|n| n.name), None);
    }

    #[test]
    fn keys_that_are_given_away_are_taken_from_the_command_that_had_them() {
        let mut changed = ChangedKeys::new();
        let robbed = assign(&mut changed, "Turn clockwise", &[shortcut("M")]);
        assert_eq!(robbed, ["Move tool"]);
        let map = KeyMap::new(&changed);
        assert!(map.keys("Move tool").is_empty());
        assert_eq!(map.find(Mode::Read, Modifiers::NONE, Key::M).map(|n| n.name), Some("Turn clockwise"));
        assert_eq!(map.find(Mode::Read, Modifiers::NONE, Key::R).map(|n| n.name), None);
        assert_eq!(changed["Move tool"], Vec::<String>::new());

        assert_eq!(reset(&mut changed, "Move tool"), ["Turn clockwise"]);
        assert!(reset(&mut changed, "Turn clockwise").is_empty());
        assert!(changed.is_empty(), "nothing differs from the program's own: {changed:?}");
    }

    #[test]
    fn a_key_of_training_may_be_one_of_reading_too() {
        let mut changed = ChangedKeys::new();
        // Ctrl+Enter starts a run where no slide is read.
        assert!(assign(&mut changed, "Mirror", &[shortcut("Ctrl+Enter")]).is_empty());
        let map = KeyMap::new(&changed);
        let ctrl = Modifiers { ctrl: true, command: true, ..Modifiers::NONE };
        assert_eq!(map.find(Mode::Train, ctrl, Key::Enter).map(|n| n.name), Some("Start run"));
        assert_eq!(map.find(Mode::Read, ctrl, Key::Enter).map(|n| n.name), Some("Mirror"));
    }

    #[test]
    fn settings_that_are_not_understood_are_named_and_harm_nothing_else() {
        let changed = ChangedKeys::from([
            ("Mirror".to_owned(), vec!["Ctrl+Nonsense".to_owned(), "X".to_owned()]),
            ("Of another version".to_owned(), vec!["Y".to_owned()]),
        ]);
        let map = KeyMap::new(&changed);
        assert_eq!(map.keys("Mirror"), [shortcut("X")]);
        assert_eq!(map.faults.len(), 1);
        assert!(map.faults[0].contains("Mirror") && map.faults[0].contains("Ctrl+Nonsense"));
    }

    #[test]
    fn what_is_pressed_becomes_a_shortcut_of_every_system() {
        let linux = Modifiers { ctrl: true, command: true, shift: true, ..Modifiers::NONE };
        assert_eq!(to_text(pressed(linux, Key::K)), "Ctrl+Shift+K");
        let mac = Modifiers { mac_cmd: true, command: true, ..Modifiers::NONE };
        assert_eq!(to_text(pressed(mac, Key::K)), "Ctrl+K");
        assert_eq!(to_text(pressed(Modifiers { ctrl: true, ..Modifiers::NONE }, Key::K)), "Control+K");
        assert!(is_modifier(Key::ShiftLeft) && !is_modifier(Key::K));
    }
}
