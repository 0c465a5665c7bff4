//! Memory of tiles that nobody shows any more, for those that are decoded next.
//!
//! What was used last is given first: it is still in the processor's cache, where memory that is new to a thread is not. Of the time that a
//! tile takes, writing to cold memory was a twelfth.

use std::sync::{Mutex, PoisonError};

use super::TILE_PX;

/// Of each: RGBA with room for the copies of half and a quarter of the size that the window makes.
pub(crate) const BYTES: usize = {
    let side = TILE_PX as usize;
    side * side * 4 + side * side + side * side / 4
};
/// As many as come in a frame or two; more goes back to the system.
const MOST: usize = 32;

static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Empty memory with room for `bytes` at least.
pub(crate) fn take(bytes: usize) -> Vec<u8> {
    let spare = (bytes <= BYTES).then(|| lock(Vec::pop)).flatten();
    spare.unwrap_or_else(|| Vec::with_capacity(bytes.max(BYTES)))
}

/// Keeps memory for later, where it has the usual size.
pub(crate) fn give(mut memory: Vec<u8>) {
    if !(BYTES..BYTES * 2).contains(&memory.capacity()) {
        return;
    }
    memory.clear();
    let too_much = lock(|spare| {
        if spare.len() < MOST {
            spare.push(memory);
            return None;
        }
        Some(memory)
    });
    // The system takes its time: not while others wait.
    drop(too_much);
}

/// Keeps nothing.
pub(crate) fn forget() {
    drop(lock(std::mem::take));
}

fn lock<T>(work: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> T {
    work(&mut SPARE.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_comes_back_empty_and_other_sizes_do_not() {
        let mut memory = take(7);
        assert_eq!(memory.capacity(), BYTES);
        memory.extend([9; 40]);
        give(memory);
        assert!(take(BYTES).is_empty());
        assert_eq!(take(BYTES + 1).capacity(), BYTES + 1);
        give(Vec::with_capacity(12));
        assert!(take(12).capacity() >= BYTES);
    }
}
