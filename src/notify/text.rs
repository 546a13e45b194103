//! Text for people in other products: legible first, then escaped for the place it goes to, then cut. A cut never falls into
//! an escape, and what was cut shows it.

use crate::domain::{Legible, Timestamp};

/// At the end of what was cut.
const CUT: char = '…';

/// Legible prose of at most `chars` characters.
pub fn plain(text: &str, chars: usize) -> String {
    cut(Legible(text).to_string().chars().map(String::from), chars)
}

/// The same for Slack, where three characters are control. Source: Slack, "Formatting text for app surfaces".
pub fn slack(text: &str, chars: usize) -> String {
    cut(Legible(text).to_string().chars().map(escaped), chars)
}

/// Lines for Slack, whole; `None` if they are more than `chars` characters.
pub fn lines(lines: &[String], chars: usize) -> Option<String> {
    let escaped: Vec<String> =
        lines.iter().map(|line| Legible(line).to_string().chars().map(escaped).collect()).collect();
    let text = escaped.join("\n");
    (text.chars().count() <= chars).then_some(text)
}

/// Whether nothing of the text is cut at `chars` in Slack.
pub fn fits_slack(text: &str, chars: usize) -> bool {
    lines(&[text.to_owned()], chars).is_some()
}

fn escaped(character: char) -> String {
    match character {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        _ => String::from(character),
    }
}

/// A moment as people read it, in UTC and to the second.
pub fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros())
        .map_or_else(|_| "never".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn cut(pieces: impl Iterator<Item = String>, chars: usize) -> String {
    let mut out = String::new();
    let (mut length, mut last) = (0, 0);
    for piece in pieces {
        let more = piece.chars().count();
        if length + more > chars {
            out.truncate(last);
            out.push(CUT);
            return out;
        }
        out.push_str(&piece);
        length += more;
        // The last end that leaves room for the sign.
        if length < chars {
            last = out.len();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_deceive_or_steer_is_shown_instead() {
        assert_eq!(plain("a\u{202e}b\n\"c\"", 100), "a\\u{202e}b\\u{a}\"c\"");
        assert_eq!(slack("<!channel> & <@U1>", 100), "&lt;!channel&gt; &amp; &lt;@U1&gt;");
    }

    #[test]
    fn a_cut_shows_and_never_falls_into_an_escape() {
        assert_eq!(slack("<<<", 12), "&lt;&lt;&lt;");
        assert_eq!(slack("<<<", 11), "&lt;&lt;…");
        assert_eq!(slack("a<", 4), "a…");
        assert_eq!((plain("abc", 3), plain("abcd", 3), plain("ab", 0)), ("abc".into(), "ab…".into(), "…".into()));
    }
}
