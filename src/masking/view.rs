//! The same text as it reads once an encoding is undone, with the way back: percent signs (RFC 3986), backslash escapes (RFC
//! 8259), and characters that look like others (full-width and other scripts' digits, odd spaces and dashes, invisible ones).

use std::ops::Range;

/// A text and, for each of its bytes, where it began in the text it was made from.
pub struct View {
    pub text: String,
    origins: Vec<usize>,
}

impl View {
    /// Undoes one layer of percent signs and escapes and folds what looks alike. `None` where that changes nothing.
    pub fn of(text: &str) -> Option<Self> {
        let mut view = Self { text: String::with_capacity(text.len()), origins: Vec::with_capacity(text.len() + 1) };
        let (mut at, mut changed) = (0, false);
        while let Some(letter) = text.get(at..).and_then(|rest| rest.chars().next()) {
            let rest = text.get(at..).unwrap_or_default();
            let (read, length) = match letter {
                '%' => percent(rest).map_or((Some(letter), 1), |read| (Some(read), 3)),
                '\\' => escape(rest).map_or((Some(letter), 1), |(read, length)| (Some(read), length)),
                _ if letter.is_ascii() => (Some(letter), 1),
                _ => (fold(letter), letter.len_utf8()),
            };
            changed |= read != Some(letter);
            if let Some(read) = read {
                view.push(read, at);
            }
            at += length;
        }
        view.origins.push(at);
        changed.then_some(view)
    }

    fn push(&mut self, letter: char, origin: usize) {
        self.text.push(letter);
        self.origins.resize(self.text.len(), origin);
    }

    /// Where a part of the view stands in the text it was made from.
    pub fn origin(&self, span: &Range<usize>) -> Option<Range<usize>> {
        Some(*self.origins.get(span.start)?..*self.origins.get(span.end)?)
    }

    /// Where the view continues from a place of the text it was made from.
    pub fn place_of(&self, origin: usize) -> usize {
        self.origins.partition_point(|from| *from < origin)
    }
}

/// `%40`: printable ASCII only; a decoded control character would split what belongs together.
fn percent(rest: &str) -> Option<char> {
    let byte =
        u8::from_str_radix(rest.get(1..3).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))?, 16).ok()?;
    (byte.is_ascii_graphic() || byte == b' ').then_some(char::from(byte))
}

fn escape(rest: &str) -> Option<(char, usize)> {
    let simple = |letter| Some((letter, 2));
    match rest.as_bytes().get(1)? {
        b'"' => simple('"'),
        b'/' => simple('/'),
        b'\\' => simple('\\'),
        b'n' => simple('\n'),
        b't' => simple('\t'),
        b'r' => simple('\r'),
        b'u' => {
            let hex = rest.get(2..6).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            char::from_u32(u32::from_str_radix(hex, 16).ok()?).map(|letter| (fold(letter).unwrap_or(letter), 6))
        }
        _ => None,
    }
}

/// What a reader takes the character for; `None` for one that he does not see.
fn fold(letter: char) -> Option<char> {
    match u32::from(letter) {
        0x200B..=0x200D | 0x2060 | 0xFEFF | 0x00AD => None,
        0x00A0 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => Some(' '),
        0x2010..=0x2015 | 0x2212 | 0xFE63 => Some('-'),
        full @ 0xFF01..=0xFF5E => char::from_u32(full - 0xFEE0),
        code => Some(decimal(code).unwrap_or(letter)),
    }
}

/// The decimal digits of other scripts come in runs of ten.
fn decimal(code: u32) -> Option<char> {
    const ZEROS: [u32; 22] = [
        0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50, 0x0ED0,
        0x0F20, 0x1040, 0x17E0, 0x1810, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC,
    ];
    let zero = ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_in_a_view_is_found_where_it_came_from() {
        let text = "to jane%40example.com, \\u0034\u{ff12}";
        let view = View::of(text).unwrap();
        assert_eq!(view.text, "to jane@example.com, 42");
        assert_eq!(&text[view.origin(&(3..19)).unwrap()], "jane%40example.com");
        assert_eq!(&text[view.origin(&(21..23)).unwrap()], "\\u0034\u{ff12}");
        assert!(View::of("plain \u{e9} 100% \\d").is_none());
    }
}
