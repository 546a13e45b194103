//! Text for the terminal: colours become styles, long lines are wrapped and never cut, and nothing else that a terminal would
//! obey is let through, wherever it came from.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::domain::entity::Legible;

/// Text with our own colours (`ESC [ n m`) as lines of at most `width` columns.
pub fn lines(text: &str, width: u16) -> Vec<Line<'static>> {
    text.lines().flat_map(|line| wrapped(&styled(line), usize::from(width.max(1)))).collect()
}

fn styled(line: &str) -> Vec<(char, Style)> {
    let mut style = Style::default();
    let mut out = Vec::new();
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        // Behind a whole character there always is a boundary.
        rest = rest.get(next.len_utf8()..).unwrap_or_default();
        if next == '\u{1b}'
            && let Some((code, after)) = rest.strip_prefix('[').and_then(|code| code.split_once('m'))
            && let Some(changed) = changed(style, code)
        {
            (style, rest) = (changed, after);
            continue;
        }
        push(&mut out, next, style);
    }
    out
}

/// The styles that the command line writes; anything else is text.
fn changed(style: Style, code: &str) -> Option<Style> {
    Some(match code {
        "0" => Style::default(),
        "1" => style.add_modifier(Modifier::BOLD),
        "2" => style.add_modifier(Modifier::DIM),
        "31" => style.fg(Color::Red),
        "32" => style.fg(Color::Green),
        "33" => style.fg(Color::Yellow),
        _ => return None,
    })
}

/// INVARIANT: what is no plain character reaches the terminal as its number.
fn push(out: &mut Vec<(char, Style)>, next: char, style: Style) {
    let shown = Legible(next.encode_utf8(&mut [0; 4])).to_string();
    out.extend(shown.chars().map(|part| (part, style)));
}

fn wrapped(line: &[(char, Style)], width: usize) -> Vec<Line<'static>> {
    let mut out = Vec::new();
    let (mut row, mut used) = (Line::default(), 0);
    for (next, style) in line {
        let span = Span::styled(next.to_string(), *style);
        let columns = span.width();
        if used + columns > width && used > 0 {
            out.push(std::mem::take(&mut row));
            used = 0;
        }
        used += columns;
        match row.spans.last_mut().filter(|last| last.style == *style) {
            Some(last) => last.content.to_mut().push(*next),
            None => row.spans.push(span),
        }
    }
    out.push(row);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(lines: &[Line<'_>]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_are_wrapped_and_nothing_is_lost() {
        assert_eq!(plain(&lines("abcdef\n\ngh", 4)), ["abcd", "ef", "", "gh"]);
        assert_eq!(plain(&lines("広いabc", 4)), ["広い", "abc"], "by columns, not by characters");
    }

    #[test]
    fn colours_of_ours_are_styles_and_all_else_is_text() {
        let painted = lines("\u{1b}[31mred\u{1b}[0m", 80);
        assert_eq!((plain(&painted), painted[0].spans[0].style.fg), (vec!["red".to_owned()], Some(Color::Red)));
        for hostile in ["\u{1b}[2J", "\u{1b}]0;title\u{7}", "a\u{202e}b", "a\u{200b}b", "\u{9b}31m", "\u{1b}[31;5mx"] {
            let shown = plain(&lines(hostile, 80)).concat();
            assert!(shown.contains("\\u{"), "{shown}");
            let bad = |next: char| next.is_control() || matches!(next, '\u{202a}'..='\u{202e}' | '\u{200b}');
            assert!(!shown.chars().any(bad), "{shown:?}");
        }
    }
}
