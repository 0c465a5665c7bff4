//! Answers in the forms in which models write them, however they are cut.

use super::*;

fn parse_in_pieces(text: &str, size: usize) -> (StagedAnswer, bool, String) {
    parse_as(AnswerForm::Staged, text, size)
}

fn parse_as(form: AnswerForm, text: &str, size: usize) -> (StagedAnswer, bool, String) {
    let mut parser = StageParser::of(form);
    let (mut answer, mut stage, mut outside) = (StagedAnswer::default(), None, String::new());
    let chars: Vec<char> = text.chars().collect();
    let mut pieces: Vec<Piece> =
        chars.chunks(size).flat_map(|c| parser.push(&c.iter().collect::<String>())).collect();
    pieces.extend(parser.finish());
    for piece in pieces {
        match (piece, stage) {
            (Piece::Stage(s), _) => stage = Some(s),
            (Piece::Text(t), Some(s)) => answer.stage_mut(s).push_str(&t),
            (Piece::Text(t), None) => outside.push_str(&t),
        }
    }
    (answer, parser.is_well_formed(), outside)
}

#[test]
fn reads_headings_in_the_forms_models_write() {
    for text in [
        "[Observation]\nGlands.\n[Analysis]\nSo.\n[Conclusion]\nB) tumour",
        "**Observation:** Glands.\n\n**Analysis:** So.\n\n**Conclusion:** B) tumour",
        "1. Observation\nGlands.\n2. Analysis\nSo.\n3. Conclusion\nB) tumour",
        "observation: Glands.\nanalysis: So.\nconclusion: B) tumour",
        "## Observation\nGlands.\n## Analysis\nSo.\n## Conclusion\nB) tumour",
        "[Observation] Glands.\n[Analysis] So.\n[Conclusion] B) tumour",
    ] {
        for size in [1, 2, 3, 7, 1000] {
            let (answer, well_formed, outside) = parse_in_pieces(text, size);
            assert_eq!(answer.observation.trim(), "Glands.", "{text:?} in pieces of {size}");
            assert_eq!(answer.analysis.trim(), "So.", "{text:?} in pieces of {size}");
            assert_eq!(answer.conclusion, "B) tumour", "{text:?} in pieces of {size}");
            assert!(well_formed && outside.is_empty(), "{text:?} in pieces of {size}");
        }
    }
}

#[test]
fn keeps_what_is_no_heading_and_marks_what_is_out_of_order() {
    let (answer, ok, _) =
        parse_in_pieces("[Observation]\nAnalysis shows\nAnalysis of glands.\n[Conclusion]\nx", 1);
    assert_eq!(answer.observation.trim(), "Analysis shows\nAnalysis of glands.");
    assert!(!ok, "a stage is missing");
    let (answer, ok, _) =
        parse_in_pieces("[Observation]\na\n[Analysis]\nb\n[Observation]\nc\n[Conclusion]\nd", 2);
    assert!(answer.analysis.contains("[Observation]") && answer.analysis.contains('c'));
    assert!(!ok, "a heading is repeated");
    let (_, ok, outside) = parse_in_pieces("Well.\n[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc", 3);
    assert_eq!((ok, outside.trim()), (false, "Well."));
}

#[test]
fn reads_think_and_answer_as_analysis_and_conclusion() {
    let (answer, ok, outside) = parse_in_pieces("<think>if a < b then c</think>\n<answer>B) x</answer>", 1);
    assert_eq!((answer.analysis.trim(), answer.conclusion.as_str()), ("if a < b then c", "B) x"));
    assert!(!ok && outside.is_empty());
}

#[test]
fn an_answer_in_tags_is_one_think_and_one_answer_whatever_its_lines_look_like() {
    let think = "Analysis: a gland.\nConclusion: so < b.\n\n1. Observation\nIt is.";
    for text in [
        format!("<think>{think}</think><answer>B. x</answer>"),
        format!("<think>\n{think}\n</think>\n\n<answer>\nB. x\n</answer>\n"),
        format!(" <think> {think}</think> <answer> B. x</answer>"),
        format!("<Think>{think}</Think>\n<Answer>B. x</Answer>"),
    ] {
        for size in [1, 2, 7, 1000] {
            let (answer, ok, outside) = parse_as(AnswerForm::Think, &text, size);
            let read = (answer.analysis.as_str(), answer.conclusion.as_str());
            assert_eq!(read, (think, "B. x"), "{text:?} in pieces of {size}");
            assert!(ok && outside.is_empty(), "{text:?} in pieces of {size}");
            let (same, ok, _) = parse_in_pieces(&text, size);
            assert!(same == answer && !ok, "it is read alike, but has no observation");
        }
    }
    for bad in [
        "<think>a</think>",
        "<answer>b</answer>",
        "<think>a</think><answer></answer>",
        "<think> </think><answer>b</answer>",
        "<think>a</think><answer>b",
        "<think>a<answer>b</answer>",
        "<think>a</think><answer>b</answer> c",
        "x<think>a</think><answer>b</answer>",
        "<think>a</think>x<answer>b</answer>",
        "<think>a</think><think>a</think><answer>b</answer>",
        "<think>a</think><answer>b</answer><answer>b</answer>",
        "<think>a</answer><answer>b</answer>",
        "[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc",
        "a",
        "",
    ] {
        for size in [1, 2, 7] {
            let (_, ok, _) = parse_as(AnswerForm::Think, bad, size);
            assert!(!ok, "{bad:?} in pieces of {size}");
        }
    }
}

#[test]
fn strict_format_is_the_papers() {
    let good = "[Observation]\na\n[Analysis]\nb\nb\n[Conclusion]\nc";
    assert!(is_strictly_formatted(good));
    let same = StagedAnswer { observation: "a".into(), analysis: "b\nb".into(), conclusion: "c".into() };
    assert_eq!(same.to_text(), good);
    for bad in [
        "x\n[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc",
        "[Observation]\na\n[Conclusion]\nc\n[Analysis]\nb",
        "[Observation]\na\n[Analysis]\n[Conclusion]\nc",
        "[Observation]\na\n[Analysis]\nb\n[Conclusion]\n",
        "**Observation**\na\n[Analysis]\nb\n[Conclusion]\nc",
        "[Observation]\na\n[Observation]\na\n[Analysis]\nb\n[Conclusion]\nc",
        "",
    ] {
        assert!(!is_strictly_formatted(bad), "{bad:?}");
    }
}

#[test]
fn extracts_the_choice() {
    let choices: Vec<String> = ["glands", "tumour nests", "tumour", "no tumour"].map(String::from).into();
    for (text, want) in [
        ("B) tumour nests", Some(1)),
        ("(C)", Some(2)),
        ("D", Some(3)),
        ("Answer: A", Some(0)),
        ("**B.** tumour nests", Some(1)),
        ("tumour nests are seen", Some(1)),
        ("There are glands.", Some(0)),
        ("A tumour with glands", None),
        ("E) none", None),
        ("cannot be assessed", None),
        ("", None),
    ] {
        assert_eq!(extract_choice(text, &choices), want, "{text:?}");
    }
    let truth: Vec<String> = ["True", "False"].map(String::from).into();
    assert_eq!(extract_choice("True, the cellularity is high", &truth), Some(0));
    assert_eq!(extract_choice("False.", &truth), Some(1));
    assert_eq!(extract_choice("The field cannot be assessed", &truth), None);
}
