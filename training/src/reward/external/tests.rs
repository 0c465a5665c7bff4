//! Programs that score well, badly, late and never.

use reinpath_model::event::Stop;

use super::super::tests_support::choice;
use super::*;

fn shell(script: &str, timeout_secs: f64) -> External {
    External::start(&format!("sh -c '{script}'"), timeout_secs).unwrap()
}

fn ask(external: &mut External) -> Result<Verdict, Error> {
    let candidate = Candidate { text: "[Conclusion]\nB".to_owned(), tokens: 3, stop: Stop::End };
    let (answer, _) = StagedAnswer::parse(&candidate.text);
    external.score(&choice(), &candidate, &answer)
}

fn unscored(external: &mut External) -> String {
    match ask(external).unwrap() {
        Verdict::Unscored(reason) => reason,
        Verdict::Score(score) => panic!("scored {score}"),
    }
}

/// Long enough for a busy machine, and never waited for by a test that passes.
const PATIENT: f64 = 60.0;

#[test]
fn scores_and_reasons_are_told_apart() {
    let mut external = shell(
        r#"while read -r line; do echo "{\"score\": 0.25}"; read -r line; echo "{\"reason\": \"blurred\"}"; done"#,
        PATIENT,
    );
    for _ in 0..3 {
        assert_eq!(ask(&mut external).unwrap(), Verdict::Score(0.25));
        assert_eq!(ask(&mut external).unwrap(), Verdict::Unscored("blurred".to_owned()));
    }
}

#[test]
fn the_program_sees_the_question_the_reference_and_the_answer() {
    // It gives the line back inside its reason, the quotes replaced.
    let script = r#"while read -r line; do printf "{\"reason\": \"%s\"}\n" "$(printf "%s" "$line" | tr "\"" "|")"; done"#;
    let seen = unscored(&mut shell(script, PATIENT));
    for part in [
        "|id|:1",
        "|question|:|What is the architecture?|",
        "|kind|:|choice|",
        "|label|:|B|",
        "|images|:[|img/0003.png|]",
        "|reference|:{|observation|:|Tumour nests with several mitoses.|",
        "|answer|:{|observation|:||,|analysis|:||,|conclusion|:|B|}",
    ] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
}

#[test]
fn a_program_that_is_silent_is_killed_and_in_the_end_given_up() {
    let mut external = shell("sleep 300; true", 0.05);
    let begin = Instant::now();
    for _ in 0..RESTARTS {
        assert_eq!(unscored(&mut external), "it took longer than 0.05 seconds");
    }
    let error = ask(&mut external).unwrap_err().to_string();
    assert!(error.contains("failed 4 times in a row") && error.ends_with(": sh"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_program_that_ends_is_started_again() {
    let mut external = shell(r#"read -r line; echo "{\"score\": 1}""#, PATIENT);
    let mut scores = 0;
    for _ in 0..8 {
        match ask(&mut external).unwrap() {
            Verdict::Score(_) => scores += 1,
            Verdict::Unscored(reason) => assert_eq!(reason, "it ended"),
        }
        // The end has time to be seen.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(scores >= 4, "every failure is followed by a score: {scores}");
}

#[test]
fn anything_but_a_score_is_no_score() {
    for (script, want) in [
        (r#"while read -r line; do echo "thinking…"; echo "{\"score\": 1}"; done"#, "“thinking…” instead of"),
        (r#"while read -r line; do echo "{\"points\": 1}"; done"#, "instead of a score"),
        (r#"while read -r line; do echo "{\"score\": null}"; done"#, "instead of a score"),
        (r#"while read -r line; do echo "{\"id\": 9, \"score\": 1}"; done"#, "another answer"),
    ] {
        let reason = unscored(&mut shell(script, PATIENT));
        assert!(reason.contains(want), "{reason}");
    }
}

#[test]
fn what_cannot_be_started_is_refused_at_once() {
    let refused = |command: &str, timeout: f64| External::start(command, timeout).unwrap_err().to_string();
    assert!(refused("no-such-program-of-anybody --fast", 1.0).ends_with(": no-such-program-of-anybody"));
    assert!(refused("scores 'unclosed", 1.0).contains("split into words"));
    assert!(refused("", 1.0).contains("split into words"));
    assert!(refused("sh", 0.0).contains("external_timeout"));
    assert!(refused("sh", f64::NAN).contains("external_timeout"));
}

#[test]
fn dropping_ends_the_whole_group() {
    let external = shell("sleep 300 & sleep 300", PATIENT);
    let said = external.running.as_ref().unwrap().said.clone();
    let begin = Instant::now();
    drop(external);
    // Its stdout ends only when everybody who holds it is gone, the inner sleep too.
    assert!(matches!(said.recv_timeout(Duration::from_secs(20)), Ok(Said::Ended)));
    assert!(begin.elapsed() < Duration::from_secs(20));
}
