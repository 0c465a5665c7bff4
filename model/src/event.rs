//! The one stream of an answer: window, command line and evaluation all read these events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::frame::{self, Frame};
use crate::request::{Exchange, Sampling};
use crate::stage::{AnswerStage, StagedAnswer};

/// What happens while an answer is made, in this order: started, then stages and tokens, then finished or failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum AskEvent {
    Started {
        stamp: Box<Stamp>,
    },
    /// A heading was read.
    Stage {
        stage: AnswerStage,
    },
    /// Text was written. `stage` is `None` before the first heading; heading tokens are not sent.
    Token {
        index: usize,
        stage: Option<AnswerStage>,
        text: String,
        logprob: f32,
    },
    Finished(Finished),
    /// Instead of finished.
    Failed {
        error: String,
    },
}

impl AskEvent {
    /// The event as a frame that answers request `id`.
    pub fn to_frame(&self, id: u64) -> Result<Frame, frame::Error> {
        let kind = self.kind();
        let mut value = serde_json::to_value(self)
            .map_err(|source| frame::Error::Data { kind: kind.to_owned(), source })?;
        Frame::new(id, kind, &value["data"].take())
    }

    /// The event that a frame carries; `None` when its kind is no event of an answer.
    pub fn from_frame(frame: &Frame) -> Option<Result<Self, frame::Error>> {
        if !["started", "stage", "token", "finished", "failed"].contains(&frame.kind.as_str()) {
            return None;
        }
        let value = serde_json::json!({"type": frame.kind, "data": frame.data});
        let parsed = Self::deserialize(value);
        Some(parsed.map_err(|source| frame::Error::Data { kind: frame.kind.clone(), source }))
    }

    /// Whether nothing comes after it.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Failed { .. })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stage { .. } => "stage",
            Self::Token { .. } => "token",
            Self::Finished(_) => "finished",
            Self::Failed { .. } => "failed",
        }
    }
}

/// The whole answer, and how it came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finished {
    pub answer: StagedAnswer,
    /// The letter of the choice that the conclusion names (`True` and `False` for a true/false question).
    pub choice: Option<String>,
    pub format_ok: bool,
    /// Generated tokens, headings included.
    pub tokens: usize,
    pub prefill_secs: f64,
    pub decode_secs: f64,
    pub stop: Stop,
    /// How likely each option of the question is as the conclusion of this answer; empty where there are no options or
    /// no conclusion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionScore>,
    /// The whole text as it was generated, headings and tags included; empty in answers that were kept before there was
    /// this.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub raw: String,
}

impl Finished {
    /// How a question ends that was cancelled before anything of it was written.
    pub fn cancelled_before_it_began() -> Self {
        Self {
            answer: StagedAnswer::default(),
            choice: None,
            format_ok: false,
            tokens: 0,
            prefill_secs: 0.0,
            decode_secs: 0.0,
            stop: Stop::Cancelled,
            raw: String::new(),
            options: Vec::new(),
        }
    }

    /// How likely each option is beside the others, in words; `None` where there are none.
    pub fn options_line(&self) -> Option<String> {
        let weights: Vec<f64> = self.options.iter().map(|option| f64::from(option.logprob).exp()).collect();
        let sum: f64 = weights.iter().sum();
        if weights.is_empty() || sum <= 0.0 {
            return None;
        }
        let share = |(option, weight): (&OptionScore, &f64)| {
            format!("{} {:.0} %", option.letter, 100.0 * weight / sum)
        };
        let shares: Vec<String> = self.options.iter().zip(&weights).map(share).collect();
        Some(format!("Likelihood of the options, per token: {}", shares.join(", ")))
    }
}

/// How likely an option is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OptionScore {
    /// `A`, `B` and so on.
    pub letter: String,
    /// Mean natural logarithm of the probability of its tokens.
    pub logprob: f32,
    pub tokens: usize,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    End,
    MaxTokens,
    Cancelled,
}

/// Everything needed to make the same answer again.
///
/// The worker fills in what it knows (model, patches as received); the program that read the slide adds `slide` and
/// each patch's `source`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stamp {
    pub slide: Option<SlideStamp>,
    pub patches: Vec<PatchStamp>,
    /// Name of the model package.
    pub package: String,
    /// BLAKE3 of the package's manifest and files, in hexadecimal.
    pub package_hash: String,
    /// The active one of the package's alternative adapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Precision of the arithmetic, such as `f32`.
    pub precision: String,
    pub question: String,
    pub choices: Vec<String>,
    pub context: String,
    /// Earlier questions and answers that the model read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Exchange>,
    /// The prompt as the tokenizer got it; `<image>` stands for the tokens of one patch.
    pub prompt: String,
    pub sampling: Sampling,
    pub device: String,
    /// Version of the program that generated.
    pub version: String,
    /// Tissues of which the slide must declare one, since the package knows no other; empty where it need not.
    #[serde(default)]
    pub declared_tissues: Vec<String>,
    /// Sentences about what lies outside what the package knows.
    pub warnings: Vec<String>,
    /// The most pixels of a patch that the model was given, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
    /// What the model's licence says against learning from the answer, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<String>,
}

/// The slide that patches were cut from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlideStamp {
    pub path: String,
    /// BLAKE3 over the slide's sampled content, in hexadecimal.
    pub hash: String,
}

/// A patch as the model received it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatchStamp {
    pub source: Option<PatchSource>,
    pub width: u32,
    pub height: u32,
    /// Microns per pixel of these pixels; `None` when unknown.
    pub mpp: Option<f64>,
    /// BLAKE3 of the RGB rows, in hexadecimal.
    pub blake3: String,
    pub encoders: Vec<EncoderStamp>,
}

/// Where on the slide a patch comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatchSource {
    /// x, y, width, height in level-0 pixels.
    pub region: [i64; 4],
    /// The level whose pixels were read.
    pub level: u32,
    /// Level-0 microns per pixel; `None` when unknown.
    pub slide_mpp: Option<f64>,
    /// `trusted`, `inferred` or `missing`.
    pub mpp_origin: String,
    /// Degrees by which the patch was turned clockwise around its middle before the model received it; 0: not at all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turned: f64,
}

/// What one encoder made of a patch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EncoderStamp {
    pub name: String,
    /// Height and width of the pixel tensor.
    pub tensor: [usize; 2],
    /// Microns per pixel of the tensor; `None` when unknown.
    pub effective_mpp: Option<f64>,
    /// x, y, width, height of what the centre crop keeps, in pixels of the patch.
    pub crop: [f64; 4],
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(degrees: &f64) -> bool {
    *degrees == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_way_through_a_frame() {
        let finished = Finished {
            answer: StagedAnswer::default(),
            choice: Some("B".to_owned()),
            format_ok: true,
            tokens: 3,
            prefill_secs: 0.5,
            decode_secs: 0.25,
            stop: Stop::MaxTokens,
            raw: String::new(),
            options: vec![OptionScore { letter: "B".to_owned(), logprob: -0.25, tokens: 4 }],
        };
        assert_eq!(finished.options_line().as_deref(), Some("Likelihood of the options, per token: B 100 %"));
        let token = AskEvent::Token { index: 2, stage: None, text: "é\n".to_owned(), logprob: -0.5 };
        for event in [
            AskEvent::Started { stamp: Box::default() },
            AskEvent::Stage { stage: AnswerStage::Analysis },
            token,
            AskEvent::Finished(finished),
            AskEvent::Failed { error: "no".to_owned() },
        ] {
            let frame = event.to_frame(9).unwrap();
            assert_eq!(frame.id, 9);
            assert_eq!(AskEvent::from_frame(&frame).unwrap().unwrap(), event);
            let line = serde_json::to_value(&event).unwrap();
            assert_eq!((line["type"].as_str(), &line["data"]), (Some(frame.kind.as_str()), &frame.data));
        }
        assert!(AskEvent::from_frame(&Frame::new(1, "hello", &()).unwrap()).is_none());
    }
}
