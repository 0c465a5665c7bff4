//! Phantom tissue: procedural H&E-like fields whose truth is known, with captions, questions and staged answers.
//!
//! The demo model is made from these fields alone, so that the program works with nothing downloaded and so that
//! every sentence of an answer can be checked against what was drawn. A phantom is a drawing, not tissue.

mod answer;
mod baseline;
mod caption;
mod claim;
mod drill;
mod lexicon;
mod limits;
mod plain_text;
mod question;
mod render;
mod report;
mod score;
mod sentence;
mod slide;
mod topic;
mod truth;

pub(crate) use answer::OPTION;
pub use answer::{CANNOT_BE_ASSESSED, decisive};
pub use baseline::{ColourSummary, colour_baseline, colour_summary};
pub use caption::{caption, full_caption};
pub use claim::{Attribute, Claim, named_claim};
pub use drill::option_drill;
pub(crate) use drill::{Link, with_key, word_drill, words_of};
pub use lexicon::{Wording, claims, statements, wording, wordings};
pub use limits::{Limits, limited_set};
pub(crate) use plain_text::Quiz;
#[cfg(test)]
pub(crate) use plain_text::tests::assert_plain_and_decided;
pub use plain_text::{Decided, Decision, PlainText, describe};
pub use question::{QuestionItem, ask, ask_any, balanced_set};
pub use render::{Component, District, Field, World, draw};
pub use report::{PhantomReport, Tally};
pub use score::{AnswerScore, chance_when_permuted, score_answer};
pub(crate) use sentence::{framed, one_thing, sentence};
pub use slide::{SlideError, write_demo_slide};
pub use topic::{Outcome, Topic};
pub use truth::{
    Amount, Cellularity, Mitoses, NuclearSize, Pattern, Pleomorphism, Presence, Quality, Stroma, Truth,
};
