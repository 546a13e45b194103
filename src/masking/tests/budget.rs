//! Strict masking ends when its time is up, and what had not been searched by then never comes out. Time is a count of
//! questions here: the same on every machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{masker, profile};
use crate::masking::{Budget, JsonStream, MaskError, Mode, Profile, TextStream};

const LINE: &str = "mail jane@example.com, card 4242 4242 4242 4242\n";

/// Lets so many searches begin.
fn after(searches: usize, mode: Mode) -> Profile {
    let asked = Arc::new(AtomicUsize::new(0));
    let budget = Budget::until(move || asked.fetch_add(1, Ordering::Relaxed) >= searches);
    Profile { mode, budget, ..profile("ALL") }
}

#[test]
fn a_text_that_takes_too_long_is_not_masked_at_all() {
    let masker = masker();
    for searches in 0..8 {
        let text = LINE.repeat(5);
        assert_eq!(masker.text(&after(searches, Mode::Strict), &text).unwrap_err(), MaskError::Timeout);
        let json =
            r#"{"ssn": "219-09-9999", "note": "[\"jane@example.com\"]", "a": ["jane@example.com", 4242424242424242]}"#;
        assert_eq!(masker.json(&after(searches, Mode::Strict), json).unwrap_err(), MaskError::Timeout, "{searches}");
    }
    let columns = ["ssn".to_owned(), "note".to_owned()];
    let rows = vec![vec!["219-09-9999".to_owned(), LINE.to_owned()]; 9];
    assert_eq!(masker.rows(&after(9, Mode::Strict), &columns, rows).unwrap_err(), MaskError::Timeout);
}

#[test]
fn of_a_stream_what_came_out_before_its_time_was_up_was_masked_and_nothing_comes_after() {
    let (masker, text) = (masker(), LINE.repeat(9));
    for searches in 0..18 {
        let profile = after(searches, Mode::Strict);
        let (mut stream, mut out) = (TextStream::new(&masker, &profile), String::new());
        assert_eq!(stream.push(text.as_bytes(), &mut out), Err(MaskError::Timeout), "{searches}");
        // Each line is searched twice: once to find, once to see that nothing is left.
        assert_eq!(out, "mail <EMAIL_ADDRESS>, card <CREDIT_CARD>\n".repeat(searches / 2));
        let profile = after(searches, Mode::Strict);
        let (mut stream, mut out) = (JsonStream::new(&masker, &profile), String::new());
        let json = format!("[{}]", vec![r#""jane@example.com", 4242424242424242"#; 18].join(","));
        assert_eq!(stream.push(json.as_bytes(), &mut out), Err(MaskError::Timeout));
        assert!(!out.contains("jane") && !out.contains("4242"), "{out}");
    }
}

#[test]
fn a_lenient_profile_withholds_the_rest() {
    let masked = masker().text(&after(2, Mode::Lenient), &LINE.repeat(3)).unwrap().0;
    assert_eq!(masked, "mail <EMAIL_ADDRESS>, card <CREDIT_CARD>\n<REDACTED>\n<REDACTED>\n");
    let json = masker().json(&after(0, Mode::Lenient), r#"{"ssn": "219-09-9999", "a": ["x", 7]}"#).unwrap().0;
    assert_eq!(json, r#"{"<REDACTED>": "<REDACTED>", "<REDACTED>": ["<REDACTED>", "<REDACTED>"]}"#);
}
