//! JSON files that are lists, element by element, so that a problem can name its line: a parser of the whole list would
//! only say what is wrong.

use std::ops::Range;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::problem::{Problem, line_at};
use super::source::SourceFile;

/// What is wrong, and where in the text.
#[derive(Debug, PartialEq, Eq)]
pub struct JsonFault {
    pub span: Range<usize>,
    pub message: String,
}

/// Where each element of a list stands.
pub fn elements(text: &str) -> Result<Vec<Range<usize>>, JsonFault> {
    serde_json::from_str::<Vec<IgnoredAny>>(text).map_err(|error| fault(text, &error))?;
    Ok(split(text))
}

/// One element.
pub fn parse<T: DeserializeOwned>(text: &str, element: &Range<usize>) -> Result<T, JsonFault> {
    let own = text.get(element.clone()).unwrap_or_default();
    serde_json::from_str(own).map_err(|error| {
        let fault = fault(own, &error);
        JsonFault { span: element.start + fault.span.start..element.start + fault.span.end, message: fault.message }
    })
}

/// A problem in a JSON file, at its place.
pub fn in_json(file: &SourceFile, fault: &JsonFault) -> Problem {
    let line = line_at(&file.text, fault.span.start);
    Problem::in_file(&file.path, &*fault.message).at_line(line).marking(&file.text, fault.span.clone())
}

/// A parser's error without its place, which counts from the beginning of what was parsed.
fn fault(text: &str, error: &serde_json::Error) -> JsonFault {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
    let start = offset(text, error.line(), error.column());
    let end = text.get(start..).and_then(|rest| rest.chars().next()).map_or(start, |found| start + found.len_utf8());
    JsonFault { span: start..end, message: message.to_owned() }
}

/// The last byte that the parser looked at, or the character that it is in.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let offset = (before + column.saturating_sub(1)).min(text.len());
    (0..=offset).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// The elements of what is known to be a list.
fn split(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut current: Option<Range<usize>> = None;
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let ends = !in_string && ((depth == 1 && byte == b',') || depth == 0);
        let begins = depth > 0 && !(depth == 1 && byte == b'[' && found.is_empty() && current.is_none());
        if ends {
            found.extend(current.take());
        } else if begins && !byte.is_ascii_whitespace() {
            current = Some(current.map_or(at, |current| current.start)..at + 1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        elements(text).unwrap().into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn elements_are_found_whatever_is_in_them() {
        let list = r#" [ {"a": [1, 2, {}]} , [["x"], []], "],\\\"[" ,[ ], 1 ] "#;
        assert_eq!(texts(list), [r#"{"a": [1, 2, {}]}"#, r#"[["x"], []]"#, r#""],\\\"[""#, "[ ]", "1"]);
        assert_eq!(texts("[]"), [""; 0]);
        assert_eq!(texts("[[]]"), ["[]"]);
    }

    #[test]
    fn a_fault_is_where_the_parser_stopped() {
        let text = "[\n {\"é\": 1},\n {\"b\" 2}\n]";
        let fault = elements(text).unwrap_err();
        assert_eq!((&text[fault.span], &*fault.message), ("2", "expected `:`"));
        assert!(elements("{}").is_err() && elements("").is_err() && elements(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn a_fault_in_an_element_counts_from_the_files_beginning() {
        let text = "[1,\n \"x\"]";
        let spans = elements(text).unwrap();
        assert_eq!(parse::<u8>(text, &spans[0]), Ok(1));
        assert_eq!(parse::<u8>(text, &spans[1]).unwrap_err().span, 7..8);
    }
}
