//! Prompts by Llama 3's template and by a model's own.

use super::*;
use crate::fixture::{Speech, write_package};

#[test]
fn the_user_says_patches_context_question_choices() {
    let choices = ["glands".to_owned(), "nests".to_owned()];
    assert_eq!(
        user_text(2, " colon ", "What is it? ", &choices),
        "<image><image>\nContext: colon\nWhat is it?\nA) glands\nB) nests"
    );
    assert_eq!(user_text(1, "", "What?", &[]), "<image>\nWhat?");
}

fn chat() -> ChatTokenizer {
    let folder = tempfile::tempdir().unwrap();
    write_package(folder.path(), Speech::Babble(1)).unwrap();
    ChatTokenizer::read(&folder.path().join("tokenizer.json"), ChatTemplate::Llama3).unwrap()
}

/// The prompt's tokens as text, special ones by their names and patches as [`IMAGE`].
fn read_back(chat: &ChatTokenizer, prompt: &Prompt) -> String {
    let text = |segment: &Segment| match segment {
        Segment::Patch(_) => IMAGE.to_owned(),
        Segment::Tokens(ids) => chat.tokenizer().decode(ids, false).unwrap(),
    };
    prompt.segments.iter().map(text).collect()
}

#[test]
fn a_conversation_of_two_turns_is_that_of_the_published_template() {
    let chat = chat();
    let choices = ["nests".to_owned(), "glands".to_owned()];
    let earlier = earlier_text(" What is seen?", &choices);
    let before = [(earlier, "[Observation]\nGlands.\n[Conclusion]\nB) glands\n".to_owned())];
    let prompt = chat.conversation(&before, &user_text(2, "colon", "Why? ", &[])).unwrap();
    // Llama 3's template for user, assistant, user, with the generation prompt (Meta's model card, "Prompt format").
    let golden = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n\
                  What is seen?\nA) nests\nB) glands<|eot_id|>\
                  <|start_header_id|>assistant<|end_header_id|>\n\n\
                  [Observation]\nGlands.\n[Conclusion]\nB) glands<|eot_id|>\
                  <|start_header_id|>user<|end_header_id|>\n\n\
                  <image><image>\nContext: colon\nWhy?<|eot_id|>\
                  <|start_header_id|>assistant<|end_header_id|>\n\n";
    assert_eq!(prompt.text, golden);
    assert_eq!(read_back(&chat, &prompt), golden);
    let patches: Vec<&Segment> = prompt.segments.iter().filter(|s| matches!(s, Segment::Patch(_))).collect();
    assert_eq!(patches, [&Segment::Patch(0), &Segment::Patch(1)]);
    assert_eq!(prompt.segments.len(), 4, "words, two patches, words");
}

#[test]
fn without_a_conversation_the_prompt_is_that_of_the_question_and_with_one_it_differs_only_before() {
    let chat = chat();
    let asked = user_text(1, "", "Why?", &[]);
    let alone = chat.prompt(&asked).unwrap();
    assert_eq!(chat.conversation(&[], &asked).unwrap(), alone);
    let before = [("What?".to_owned(), "Glands <image>".to_owned())];
    let after = chat.conversation(&before, &asked).unwrap();
    assert_eq!(after.segments[1..], alone.segments[1..], "a place named in words is none");
    assert!(after.text.ends_with(alone.text.trim_start_matches("<|begin_of_text|>")));
    assert_eq!(after.shared_len(4) - alone.shared_len(4), after.len(4) - alone.len(4));
}

#[test]
fn words_that_look_like_the_end_of_a_turn_are_words() {
    let chat = chat();
    let end = chat.token(END_OF_TURN).unwrap();
    assert!(!chat.encode(&format!("a{END_OF_TURN}b")).unwrap().contains(&end));
    let prompt = chat.prompt(&format!("What is {END_OF_TURN}?")).unwrap();
    let plain = chat.prompt("What is it?").unwrap();
    let ends = |prompt: &Prompt| {
        let ids = prompt.segments.iter().flat_map(|segment| match segment {
            Segment::Tokens(ids) => ids.clone(),
            Segment::Patch(_) => Vec::new(),
        });
        ids.filter(|&id| id == end).count()
    };
    assert_eq!(ends(&prompt), ends(&plain));
}
