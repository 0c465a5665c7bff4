//! In which order the answers to a question stand.

use std::cmp::Ordering;

use reinpath_model::event::Stop;
use reinpath_training::rollout_record::AnswerRecord;

/// A column of the table of answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Column {
    /// The order in which they were drawn.
    #[default]
    Number,
    IsRight,
    Reward,
    Advantage,
    /// A part of the reward, by name.
    Part(String),
    Tokens,
    Stop,
    /// Sum of the tokens' log-probabilities.
    Logprob,
}

/// By which column, and whether the largest comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    pub by: Column,
    pub is_descending: bool,
}

impl Sort {
    /// After a column's head was pressed: by it, the largest first, but for the order of drawing; once more, the other way
    /// round.
    #[must_use]
    pub fn pressed(&self, column: Column) -> Self {
        if self.by == column {
            return Self { by: column, is_descending: !self.is_descending };
        }
        let is_descending = column != Column::Number;
        Self { by: column, is_descending }
    }

    /// Places of the answers in this order. Equals stay in the order of drawing, and what was not scored comes last either
    /// way.
    pub fn order(&self, answers: &[AnswerRecord]) -> Vec<usize> {
        let mut places: Vec<usize> = (0..answers.len()).collect();
        if self.by == Column::Number {
            if self.is_descending {
                places.reverse();
            }
            return places;
        }
        places.sort_by(|&a, &b| self.compare(self.key(&answers[a]), self.key(&answers[b])));
        places
    }

    fn compare(&self, a: Option<f64>, b: Option<f64>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.is_descending => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }

    /// `None` of a part that was not scored.
    fn key(&self, answer: &AnswerRecord) -> Option<f64> {
        Some(match &self.by {
            Column::Number => 0.0,
            Column::IsRight => f64::from(u8::from(answer.is_right)),
            Column::Reward => answer.reward,
            Column::Advantage => answer.advantage,
            Column::Part(name) => *answer.rewards.get(name)?,
            Column::Tokens => answer.tokens as f64,
            Column::Stop => match answer.stop {
                Stop::End => 0.0,
                Stop::MaxTokens => 1.0,
                Stop::Cancelled => 2.0,
            },
            Column::Logprob => answer.logprob,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;

    fn sorted(answers: &[AnswerRecord], by: Column, is_descending: bool) -> Vec<usize> {
        Sort { by, is_descending }.order(answers)
    }

    #[test]
    fn answers_stand_as_they_were_drawn_until_a_column_is_pressed() {
        let answers = [answer("a", 1.0), answer("b", 3.0), answer("c", 2.0)];
        let sort = Sort::default();
        assert_eq!(sort.order(&answers), [0, 1, 2]);
        let sort = sort.pressed(Column::Reward);
        assert_eq!(sort.order(&answers), [1, 2, 0], "the largest first");
        let sort = sort.pressed(Column::Reward);
        assert_eq!(sort.order(&answers), [0, 2, 1]);
        let sort = sort.pressed(Column::Number);
        assert_eq!(sort.order(&answers), [0, 1, 2]);
        assert_eq!(sort.pressed(Column::Number).order(&answers), [2, 1, 0]);
    }

    #[test]
    fn equals_keep_the_order_of_drawing_both_ways() {
        let answers = [answer("a", 1.0), answer("b", 2.0), answer("c", 1.0), answer("d", 2.0)];
        assert_eq!(sorted(&answers, Column::Reward, true), [1, 3, 0, 2]);
        assert_eq!(sorted(&answers, Column::Reward, false), [0, 2, 1, 3]);
        assert_eq!(sorted(&[], Column::Reward, false), [0_usize; 0]);
    }

    #[test]
    fn what_was_not_scored_comes_last_both_ways() {
        let mut answers = [answer("a", 1.0), answer("b", 2.0), answer("c", 3.0)];
        answers[1].rewards.insert("semantic".to_owned(), -0.5);
        answers[2].rewards.insert("semantic".to_owned(), 0.5);
        let semantic = || Column::Part("semantic".to_owned());
        assert_eq!(sorted(&answers, semantic(), true), [2, 1, 0]);
        assert_eq!(sorted(&answers, semantic(), false), [1, 2, 0]);
    }

    #[test]
    fn every_column_sorts() {
        let mut answers = [answer("a", 1.0), answer("b", 2.0)];
        answers[1] = AnswerRecord {
            tokens: 99,
            stop: Stop::MaxTokens,
            logprob: 5.0,
            advantage: 4.0,
            is_right: true,
            ..answers[1].clone()
        };
        let columns = [Column::IsRight, Column::Advantage, Column::Tokens, Column::Stop, Column::Logprob];
        for column in columns {
            assert_eq!(sorted(&answers, column.clone(), true), [1, 0], "{column:?}");
            assert_eq!(sorted(&answers, column, false), [0, 1]);
        }
    }
}
