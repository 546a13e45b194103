//! Text from outside, as HTML: escaped, kept apart from its surroundings, and with every character that deceives the eye shown
//! as its code point. Escaped first, shortened after: a character is never cut in two, nor its mark.

use std::fmt;

use askama::filters::HtmlSafe;
use unicode_security::skeleton;

use crate::domain::entity::deceives;

/// Characters of ASCII that structure names and addresses: what only looks like one of them changes where something goes.
const STRUCTURE: &str = "/.:@%\\&?#=";

/// HTML that is safe to show, made here only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    html: String,
    /// How many characters were left out.
    pub left_out: usize,
    /// Whether a character is not what it looks like.
    pub deceives: bool,
}

/// How many characters of a text are shown, and what becomes of its line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Line ends are marked: this is a name or a value, in which they do not belong.
    Line,
    /// Line ends are line ends: somebody wrote this.
    Prose,
}

impl Text {
    /// A name or a value, all of it.
    #[must_use]
    pub fn line(text: &str) -> Self {
        Self::shown(text, Shape::Line, usize::MAX)
    }

    /// At most so many characters of it.
    #[must_use]
    pub fn cut(text: &str, chars_max: usize) -> Self {
        Self::shown(text, Shape::Line, chars_max)
    }

    /// What somebody wrote, with its line ends.
    #[must_use]
    pub fn prose(text: &str, chars_max: usize) -> Self {
        Self::shown(text, Shape::Prose, chars_max)
    }

    fn shown(text: &str, shape: Shape, chars_max: usize) -> Self {
        let mut shown = Self::default();
        shown.html.push_str("<bdi>");
        let mut left = chars_max;
        for word in words(text) {
            let looks = Looks::of(word);
            for character in word.chars() {
                if left == 0 {
                    shown.left_out += 1;
                    continue;
                }
                left -= 1;
                shown.push(character, shape, looks);
            }
        }
        if text.is_empty() {
            shown.html.push_str("<span class=\"empty\">empty</span>");
        }
        shown.html.push_str("</bdi>");
        shown
    }

    fn push(&mut self, character: char, shape: Shape, looks: Looks) {
        match character {
            '&' => self.html.push_str("&amp;"),
            '<' => self.html.push_str("&lt;"),
            '>' => self.html.push_str("&gt;"),
            '"' => self.html.push_str("&quot;"),
            '\'' => self.html.push_str("&#39;"),
            '\n' if shape == Shape::Prose => self.html.push_str("<br>"),
            _ if deceives(character) || is_odd_space(character) => self.badge(character, name_of(character), None),
            _ => match looks.like(character) {
                Some(ascii) => self.badge(character, "looks like", Some((character, ascii))),
                None => self.html.push(character),
            },
        }
    }

    /// The code point, and where one can be seen the character itself.
    fn badge(&mut self, character: char, name: &str, looks: Option<(char, char)>) {
        self.deceives = true;
        let code = u32::from(character);
        let (seen, name) = match looks {
            Some((seen, ascii)) => (format!("{seen} "), format!("{name} {ascii}")),
            None => (String::new(), name.to_owned()),
        };
        // Names are ours and ASCII; a look-alike of `&` or `<` is named by the word.
        let name = name.replace('&', "and").replace(['<', '>', '"'], "");
        self.html.push_str(&format!(
            "<span class=\"code-point\" title=\"{name}\">{seen}U+{code:04X}<span class=\"unseen\"> {name}</span></span>"
        ));
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.html)
    }
}

impl HtmlSafe for Text {}

/// What the letters of one word look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// Each of its letters that looks like an ASCII letter is one that does not belong: the others *are* ASCII, or all of
    /// them only look it.
    Mixed,
    /// A word of another script.
    Own,
}

impl Looks {
    fn of(word: &str) -> Self {
        let mut letters = word.chars().filter(|character| character.is_alphanumeric()).peekable();
        let has_ascii = word.chars().any(|character| character.is_ascii_alphanumeric());
        let all_look_ascii =
            letters.peek().is_some() && letters.all(|letter| letter.is_ascii() || look_alike(letter).is_some());
        if has_ascii || all_look_ascii { Self::Mixed } else { Self::Own }
    }

    /// The ASCII character that this one would be taken for.
    fn like(self, character: char) -> Option<char> {
        if character.is_ascii() {
            return None;
        }
        let ascii = look_alike(character)?;
        let is_letter = self == Self::Mixed && ascii.is_ascii_alphanumeric();
        (is_letter || STRUCTURE.contains(ascii)).then_some(ascii)
    }
}

/// The one ASCII character that this one is confusable with (Unicode TR 39).
fn look_alike(character: char) -> Option<char> {
    let mut buffer = [0; 4];
    let mut prototype = skeleton(character.encode_utf8(&mut buffer));
    let first = prototype.next().filter(|first| first.is_ascii_graphic() && *first != character)?;
    prototype.next().is_none().then_some(first)
}

/// Blanks that are not the blank.
fn is_odd_space(character: char) -> bool {
    character.is_whitespace() && character != ' '
}

/// The text in runs of letters and digits, and what stands between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(|character: char| !character.is_alphanumeric())
}

fn name_of(character: char) -> &'static str {
    match character {
        '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => "line end",
        '\t' => "tab",
        '\u{0}' => "nul",
        '\u{1b}' => "escape",
        '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => "zero width",
        '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "changes direction",
        '\u{ad}' => "hidden hyphen",
        '\u{e0000}'..='\u{e007f}' => "invisible tag",
        _ if character.is_whitespace() => "unusual blank",
        _ => "invisible",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        let html = Text::line(text).to_string();
        html.strip_prefix("<bdi>").and_then(|html| html.strip_suffix("</bdi>")).unwrap().to_owned()
    }

    #[test]
    fn nothing_that_comes_in_is_markup() {
        assert_eq!(html(r#"<script>alert('1')</script>&"#), "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;");
        assert_eq!(html(r#""onmouseover="x"#), "&quot;onmouseover=&quot;x");
    }

    #[test]
    fn what_cannot_be_seen_is_seen() {
        for hidden in ['\u{202e}', '\u{200b}', '\u{1b}', '\u{0}', '\u{a0}', '\u{e0041}', '\u{ad}', '\u{2066}', '\n'] {
            let text = Text::line(&format!("a{hidden}b"));
            let code = format!("U+{:04X}", u32::from(hidden));
            assert!(text.deceives && text.to_string().contains(&code), "{code}: {text}");
            assert!(!text.to_string().contains(hidden), "{code}");
        }
    }

    #[test]
    fn letters_that_look_like_others_are_told_apart() {
        for (text, code) in
            [("p\u{430}yroll", "U+0430"), ("\u{441}\u{43e}\u{440}", "U+0441"), ("s3:\u{2215}", "U+2215")]
        {
            let text = Text::line(text);
            assert!(text.deceives && text.to_string().contains(code), "{text}");
        }
        for honest in ["Größe", "Москва", "東京", "naïve café", "a-b_c.d", "“quoted” – it’s"] {
            assert!(!Text::line(honest).deceives, "{honest}: {}", Text::line(honest));
        }
    }

    #[test]
    fn a_text_is_cut_after_it_was_escaped_and_says_so() {
        let text = Text::cut("<\u{202e}ab", 2);
        assert_eq!(text.left_out, 2);
        assert!(
            text.to_string().starts_with("<bdi>&lt;<span") && text.to_string().ends_with("</span></bdi>"),
            "{text}"
        );
        assert_eq!(Text::prose("a\nb", 10).to_string(), "<bdi>a<br>b</bdi>");
    }
}
