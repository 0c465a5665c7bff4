//! Where the tokens of a sequence stand: at one number each while they are words, at time, row and column while they are
//! an image's (multimodal rotary positions: `get_rope_index`, transformers `modeling_qwen2_5_vl.py` at 00b676f8f048).
//!
//! Words count on by one; all tokens of an image have the time of its beginning, and what follows it stands after the
//! longer of its sides. A place is therefore no index into a cache, and what is written after a prompt must know its
//! course.

use std::sync::Arc;

use crate::package::Grid;

/// The places of a sequence, from its first token on without end. Without images, which is the default, token i stands
/// at i.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Time, row and column of the first tokens.
    places: Arc<Vec<[u32; 3]>>,
    /// The place of the first token after them, from where every token stands one further.
    next: u32,
}

/// A stretch of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// So many words.
    Words(usize),
    Image(Grid),
}

impl Course {
    /// The course of a sequence that begins with these stretches and goes on in words.
    pub fn of(stretches: impl IntoIterator<Item = Stretch>) -> Self {
        let (mut places, mut next) = (Vec::new(), 0u32);
        for stretch in stretches {
            match stretch {
                Stretch::Words(count) => {
                    places.extend((next..).take(count).map(|place| [place; 3]));
                    next += count as u32;
                }
                Stretch::Image(Grid { rows, cols }) => {
                    let (rows, cols) = (rows as u32, cols as u32);
                    places.extend(
                        (0..rows)
                            .flat_map(|row| (0..cols).map(move |column| [next, next + row, next + column])),
                    );
                    next += rows.max(cols);
                }
            }
        }
        Self { places: Arc::new(places), next }
    }

    /// Where token `index` of the sequence stands.
    pub fn place(&self, index: usize) -> [u32; 3] {
        let after = || [self.next + (index - self.places.len()) as u32; 3];
        self.places.get(index).copied().unwrap_or_else(after)
    }

    /// The places of `count` tokens from `from` on.
    pub fn places(&self, from: usize, count: usize) -> impl Iterator<Item = [u32; 3]> + '_ {
        (from..from + count).map(|index| self.place(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_on_and_an_image_takes_as_many_places_as_its_longer_side() {
        let plain = Course::default();
        assert_eq!(plain.places(5, 2).collect::<Vec<_>>(), [[5; 3], [6; 3]]);
        let image = Stretch::Image(Grid { rows: 2, cols: 3 });
        let course = Course::of([Stretch::Words(2), image, Stretch::Words(1), image]);
        let want = [
            [0, 0, 0],
            [1, 1, 1],
            [2, 2, 2],
            [2, 2, 3],
            [2, 2, 4],
            [2, 3, 2],
            [2, 3, 3],
            [2, 3, 4],
            [5, 5, 5],
            [6, 6, 6],
        ];
        assert_eq!(course.places(0, 10).collect::<Vec<_>>(), want);
        // 15 tokens were read, but what follows stands at 9.
        assert_eq!(course.places(15, 2).collect::<Vec<_>>(), [[9; 3], [10; 3]]);
    }
}
