//! The part of Python's pickle format that PyTorch's state dicts are written in, read as data.
//!
//! Nothing is called or imported: a pickle that asks for anything but tensors in dictionaries gives values that are of
//! no use. Values lie in one list and name one another by their places in it, so that a pickle that repeats itself or
//! nests without end costs memory in proportion to its length, and what it may cost in all is limited by its reader.

use std::collections::BTreeMap;

/// Longer than any state dict's: names and shapes of 10,000 tensors are 1 MB.
const LONGEST: usize = 8 << 20;

/// More axes than any tensor of a model has.
const MOST_DIMENSIONS: usize = 8;

/// A value's place in the list of all.
pub(super) type Place = usize;

/// What a pickle holds.
#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool,
    Int(i64),
    Text(String),
    /// A tuple or a list.
    Sequence(Vec<Place>),
    /// Keys and values.
    Dict(Vec<(Place, Place)>),
    /// The name of a class or a function, `module name`.
    Global(String),
    /// What lies outside the pickle.
    Persistent(Place),
    /// What a function was to be called with.
    Called {
        function: Place,
        arguments: Place,
    },
    /// Something of no use here.
    Other,
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Place,
}

impl Pickle {
    /// Reads a pickle of protocol 2 to 5 in at most about `budget` bytes of memory.
    pub(super) fn read(bytes: &[u8], budget: usize) -> Result<Self, String> {
        if bytes.len() > LONGEST {
            return Err(format!("its pickle has {} bytes, more than any list of tensors needs", bytes.len()));
        }
        let mut machine = Machine { bytes, ..Machine::default() };
        while machine.step()? {
            if machine.taken() > budget {
                return Err("its pickle makes more values than the file could need".to_owned());
            }
        }
        let root = machine.pop()?;
        Ok(Self { values: machine.values, root })
    }

    pub(super) fn root(&self) -> Place {
        self.root
    }

    pub(super) fn get(&self, place: Place) -> &Value {
        self.values.get(place).unwrap_or(&Value::Other)
    }

    pub(super) fn text(&self, place: Place) -> Option<&str> {
        match self.get(place) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn size(&self, place: Place) -> Option<usize> {
        match self.get(place) {
            Value::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    pub(super) fn sequence(&self, place: Place) -> Option<&[Place]> {
        match self.get(place) {
            Value::Sequence(places) => Some(places),
            _ => None,
        }
    }

    pub(super) fn sizes(&self, place: Place) -> Option<Vec<usize>> {
        let places = self.sequence(place).filter(|places| places.len() <= MOST_DIMENSIONS)?;
        places.iter().map(|&place| self.size(place)).collect()
    }

    /// The entries of a dictionary; an `OrderedDict` is one.
    pub(super) fn entries(&self, place: Place) -> Option<impl Iterator<Item = (&str, Place)>> {
        let Value::Dict(entries) = self.get(place) else { return None };
        Some(entries.iter().filter_map(|&(key, value)| Some((self.text(key)?, value))))
    }

    /// The arguments of a call of `function`, such as `torch._utils _rebuild_tensor_v2`.
    pub(super) fn call(&self, place: Place, name: &str) -> Option<&[Place]> {
        let Value::Called { function, arguments } = self.get(place) else { return None };
        match self.get(*function) {
            Value::Global(global) if global == name => self.sequence(*arguments),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Place>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, Place>,
    /// Places that sequences and dictionaries hold.
    items: usize,
    /// Bytes of names that were put together, which are not in the pickle as such.
    names: usize,
}

impl Machine<'_> {
    /// Bytes of memory, about; the texts lie in the pickle, too.
    fn taken(&self) -> usize {
        self.values.len() * size_of::<Value>()
            + self.names
            + (self.stack.len() + self.marks.len() + self.items) * size_of::<Place>()
            + self.memo.len() * 2 * size_of::<(u32, Place)>()
    }

    fn take(&mut self, n: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| "its pickle is cut off".to_owned())?;
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn number(&mut self, n: usize) -> Result<u64, String> {
        Ok(self.take(n)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or("its pickle is cut off")?;
        let line = self.take(end)?;
        let line = String::from_utf8_lossy(line).into_owned();
        self.at += 1;
        Ok(line)
    }

    fn text(&mut self, n: usize) -> Result<(), String> {
        let text = String::from_utf8_lossy(self.take(n)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Place, String> {
        // What lies below the last mark is not this operation's.
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(place) if self.stack.len() >= floor => Ok(place),
            _ => Err("its pickle takes more than it has".to_owned()),
        }
    }

    fn top(&mut self) -> Result<Place, String> {
        self.stack.last().copied().ok_or_else(|| "its pickle takes more than it has".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Place>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        let places = self.stack.split_off(mark.ok_or("its pickle has no mark where one is needed")?);
        self.items += places.len();
        Ok(places)
    }

    fn tuple(&mut self, n: usize) -> Result<(), String> {
        let mut places = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        places.reverse();
        self.items += n;
        self.push(Value::Sequence(places));
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let place = *self.memo.get(&key).ok_or("its pickle recalls what it never kept")?;
        self.stack.push(place);
        Ok(())
    }

    fn extend(&mut self, items: Vec<Place>) -> Result<(), String> {
        let top = self.top()?;
        if let Value::Sequence(places) = &mut self.values[top] {
            places.extend(items);
        }
        Ok(())
    }

    fn set(&mut self, items: &[Place]) -> Result<(), String> {
        let top = self.top()?;
        if let Value::Dict(entries) = &mut self.values[top] {
            entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let is_dict =
            matches!(&self.values[function], Value::Global(name) if name == "collections OrderedDict");
        self.push(if is_dict { Value::Dict(Vec::new()) } else { Value::Called { function, arguments } });
        Ok(())
    }

    /// Does the next operation; `false` at the end.
    fn step(&mut self) -> Result<bool, String> {
        let code = self.number(1)? as u8;
        match code {
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'.' => return Ok(false),
            b'(' => self.marks.push(self.stack.len()),
            // The state of an object (b) is of no use here; the object stays.
            b'0' | b'b' => drop(self.pop()?),
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            b'K' => self.integer(1)?,
            b'M' => self.integer(2)?,
            b'J' => {
                let value = self.number(4)? as u32;
                self.push(Value::Int(i64::from(value.cast_signed())));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Other);
            }
            0x8c => {
                let n = self.number(1)? as usize;
                self.text(n)?;
            }
            b'X' => {
                let n = self.number(4)? as usize;
                self.text(n)?;
            }
            b'c' => {
                let name = format!("{} {}", self.line()?, self.line()?);
                self.push(Value::Global(name));
            }
            0x93 => self.stacked_global()?,
            b')' | b']' => self.push(Value::Sequence(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b't' => {
                let places = self.pop_to_mark()?;
                self.push(Value::Sequence(places));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            b'Q' => {
                let place = self.pop()?;
                self.push(Value::Persistent(place));
            }
            b'R' | 0x81 => self.call()?,
            _ => self.memory(code)?,
        }
        Ok(true)
    }

    fn memory(&mut self, code: u8) -> Result<(), String> {
        match code {
            0x94 => {
                let key = self.memo.len() as u32;
                self.remember(key)
            }
            b'q' => {
                let key = self.number(1)? as u32;
                self.remember(key)
            }
            b'r' => {
                let key = self.number(4)? as u32;
                self.remember(key)
            }
            b'h' => {
                let key = self.number(1)? as u32;
                self.recall(key)
            }
            b'j' => {
                let key = self.number(4)? as u32;
                self.recall(key)
            }
            _ => Err(format!("its pickle has the operation {code:#04x}, which no list of tensors needs")),
        }
    }

    fn integer(&mut self, n: usize) -> Result<(), String> {
        let value = self.number(n)?;
        self.push(Value::Int(value as i64));
        Ok(())
    }

    /// An integer of any length; one of more than eight bytes is no size.
    fn long(&mut self) -> Result<(), String> {
        let n = self.number(1)? as usize;
        if n > 8 {
            self.take(n)?;
            self.push(Value::Other);
            return Ok(());
        }
        let unused = 64 - 8 * n as u32;
        let value = self.number(n)?.checked_shl(unused).unwrap_or(0).cast_signed();
        self.push(Value::Int(value.checked_shr(unused).unwrap_or(0)));
        Ok(())
    }

    fn stacked_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let global = match (&self.values[module], &self.values[name]) {
            (Value::Text(module), Value::Text(name)) => format!("{module} {name}"),
            _ => return Err("its pickle names something by what is no name".to_owned()),
        };
        self.names += global.len();
        self.push(Value::Global(global));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENOUGH: usize = 1 << 20;

    #[test]
    fn integers_of_every_length() {
        for (bytes, value) in [
            (&b"K\xff."[..], 255),
            (b"M\x01\x02.", 513),
            (b"J\xff\xff\xff\xff.", -1),
            (b"\x8a\x00.", 0),
            (b"\x8a\x01\xff.", -1),
            (b"\x8a\x02\x00\x01.", 256),
        ] {
            let pickle = Pickle::read(bytes, ENOUGH).unwrap();
            assert!(matches!(pickle.get(pickle.root()), Value::Int(v) if *v == value), "{pickle:?}");
        }
    }

    #[test]
    fn bombs_end_when_they_have_cost_what_they_may() {
        // A million times the pair of what was before.
        let mut doubling = b"\x80\x02)q\x00".to_vec();
        (0..1_000_000).for_each(|_| doubling.extend_from_slice(b"h\x00h\x00\x86q\x00"));
        doubling.push(b'.');
        assert!(Pickle::read(&doubling, ENOUGH).unwrap_err().contains("more values"));
        // A list in a list in a list …
        let mut nested = b"]q\x00".to_vec();
        (0..1_000_000).for_each(|_| nested.extend_from_slice(b"h\x00]q\x00a"));
        nested.push(b'.');
        assert!(Pickle::read(&nested, ENOUGH).unwrap_err().contains("more values"));
        assert!(Pickle::read(&b"N".repeat(1 << 20), ENOUGH).unwrap_err().contains("more values"));
        // Names put together of a long text, again and again.
        let mut names = [&b"X"[..], &100_000u32.to_le_bytes(), &b"a".repeat(100_000), b"q\x00"].concat();
        names.extend(b"h\x00h\x00\x93".repeat(100_000));
        assert!(Pickle::read(&names, ENOUGH).unwrap_err().contains("more values"));
    }

    #[test]
    fn a_call_is_a_value_like_any_other_and_nothing_is_called() {
        let system = b"cos\nsystem\nX\x04\x00\x00\x00true\x85R.";
        let pickle = Pickle::read(system, ENOUGH).unwrap();
        let Value::Called { function, .. } = pickle.get(pickle.root()) else { panic!("{pickle:?}") };
        assert!(matches!(pickle.get(*function), Value::Global(name) if name == "os system"));
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        for bytes in [
            &b""[..],
            b"K",
            b"X\xff\xff\xff\xffa.",
            b"t.",
            b"(.",
            b"\x86.",
            b"h\x07.",
            b"\xf0.",
            b"cos\nsystem",
        ] {
            assert!(Pickle::read(bytes, ENOUGH).is_err(), "{bytes:?}");
        }
    }
}
