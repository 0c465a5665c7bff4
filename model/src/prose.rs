//! Sentences and words of a text: where each begins and ends.
//!
//! A simple rule, for English: a full stop, question or exclamation mark before white space ends a sentence, and so
//! does a line break; an abbreviation, a single letter, the number of a list or a small letter after the stop says
//! that it does not. Maps, verdicts and exports all count sentences by it.

use std::ops::Range;

/// Words before a full stop that ends no sentence, in lower case and without the stop.
const ABBREVIATIONS: &str = "al approx avg ca cf dr e.g esp fig figs i.e incl prof resp viz vs";

/// Words that stand for nothing one could see.
const STOP_WORDS: &str = "about above after all also although an and any are as at be because been before being below \
    between both but by can could did do does each either few for from had has have hence here how however if in into \
    is it its may might more most much must neither no nor not of on only or other our out over own per same shall \
    should since so some such than that the their them then there therefore these they this those through thus to too \
    under until up upon us very was we were what when where whether which while will with within without would";

/// What may stand between a full stop and the white space after it, or before a sentence's first word.
const AROUND: [char; 12] = ['"', '\'', '”', '“', '’', '‘', ')', '(', ']', '[', '*', '_'];

/// Bytes of each sentence of a text, without the white space around it.
pub fn split(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut add = |start: usize, end: usize| {
        let sentence = &text[start..end];
        let begin = start + sentence.len() - sentence.trim_start().len();
        let trimmed = sentence.trim();
        if !trimmed.is_empty() {
            ranges.push(begin..begin + trimmed.len());
        }
    };
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let end = match c {
            '\n' => at,
            '.' | '!' | '?' if is_end(&text[start..at], c, rest) => {
                text.len() - rest.trim_start_matches(AROUND).len()
            }
            _ => continue,
        };
        add(start, end);
        start = end;
    }
    add(start, text.len());
    ranges
}

/// Whether the mark ends the sentence that goes before it.
fn is_end(before: &str, mark: char, rest: &str) -> bool {
    let rest = rest.trim_start_matches(AROUND);
    let next = rest.trim_start();
    if rest.len() == next.len() && !rest.is_empty() {
        // Inside a number or an abbreviation.
        return false;
    }
    if next.starts_with(char::is_lowercase) {
        return false;
    }
    let before = before.trim_start_matches(|c: char| c.is_whitespace() || AROUND.contains(&c));
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default().trim_start_matches(AROUND);
    let is_letter = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    let is_list_number = word == before && !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    let is_abbreviation = is_in(ABBREVIATIONS, word);
    mark != '.' || !(is_letter || is_list_number || is_abbreviation)
}

/// Bytes of each word: letters and digits without a gap.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    for (at, c) in text.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
        let end = at + c.len_utf8();
        match words.last_mut() {
            Some(word) if word.end == at => word.end = end,
            _ => words.push(at..end),
        }
    }
    words
}

/// Whether a word can be seen in a picture: no stop word and no single letter, such as that of a choice.
pub fn has_content(word: &str) -> bool {
    let is_letter = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    !is_letter && !is_in(STOP_WORDS, word)
}

/// Whether a list of words in lower case has this one.
fn is_in(list: &str, word: &str) -> bool {
    let word = word.to_lowercase();
    list.split_whitespace().any(|listed| listed == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_end_where_a_reader_ends_them() {
        let cases: [(&str, &[&str]); 10] = [
            ("Glands are seen. They are regular.", &["Glands are seen.", "They are regular."]),
            ("Nuclei of 7.5 µm, i.e. small. No mitoses!", &["Nuclei of 7.5 µm, i.e. small.", "No mitoses!"]),
            ("Cells, e.g. lymphocytes, vs. Tumour cells.", &["Cells, e.g. lymphocytes, vs. Tumour cells."]),
            ("1. Glands. \n2. Stroma\n", &["1. Glands.", "2. Stroma"]),
            ("The grade is 2. Necrosis is absent", &["The grade is 2.", "Necrosis is absent"]),
            ("B. tumour nests", &["B. tumour nests"]),
            ("(See Fig. 2.) \"Is it?\" Yes…", &["(See Fig. 2.)", "\"Is it?\"", "Yes…"]),
            ("As in Lee et al. This is so.", &["As in Lee et al. This is so."]),
            (" \n . ", &["."]),
            ("", &[]),
        ];
        for (text, want) in cases {
            assert_eq!(parts(text), want, "{text:?}");
        }
    }
}
