//! What stands where a value was. Tokens are recognized when a text is masked again, so that masking twice changes nothing;
//! what only looks like one is searched like any other text.
//!
//! ```text
//! <US_SSN>                          the kind
//! <REDACTED>                        not even the kind
//! <EMAIL_ADDRESS:kqzvxwtrpnmbghjl..> a pseudonym: 24 consonants, so that no number can be smuggled in as one
//! <EMAIL_ADDRESS:s1.KEY.BASE64URL>  sealed: recognized only where our own key opens it
//! ```

use std::ops::Range;

use crate::domain::DataKind;

pub const REDACTED: &str = "REDACTED";
/// Begins the payload of a sealed token, and names its form.
pub const SEALED: &str = "s1.";
/// Letters of a pseudonym: words cannot be written with them.
pub const CONSONANTS: &[u8; 16] = b"bcdfghjkmnpqrtvx";
/// Letters of one pseudonym: 96 bits.
pub const PSEUDONYM_LETTERS: usize = 24;
/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 96 * 1024;

/// A token in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<'t> {
    pub span: Range<usize>,
    /// `None` for `<REDACTED>`.
    pub kind: Option<DataKind>,
    pub payload: Payload<'t>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'t> {
    None,
    Pseudonym,
    /// The id of the key, and the sealed bytes as base64url.
    Sealed {
        key: &'t str,
        sealed: &'t str,
    },
}

/// The token that begins with the `<` at `at`.
pub fn token_at(text: &str, at: usize) -> Option<Token<'_>> {
    let body = text.get(at..)?.strip_prefix('<')?;
    let length = body.bytes().take(TOKEN_BYTES_MAX).position(|byte| !is_token(byte))?;
    let span = at..at + length + 2;
    let body = body.get(..length).filter(|_| body.as_bytes().get(length) == Some(&b'>'))?;
    if body == REDACTED {
        return Some(Token { span, kind: None, payload: Payload::None });
    }
    let (name, payload) = body.split_once(':').map_or((body, None), |(name, payload)| (name, Some(payload)));
    let payload = match payload {
        None => Payload::None,
        Some(letters) if is_pseudonym(letters) => Payload::Pseudonym,
        Some(sealed) => {
            let (key, sealed) = sealed.strip_prefix(SEALED)?.split_once('.')?;
            Payload::Sealed { key, sealed }
        }
    };
    Some(Token { span, kind: Some(DataKind::parse(name)?), payload })
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':' | b'.')
}

fn is_pseudonym(letters: &str) -> bool {
    letters.len() == PSEUDONYM_LETTERS && letters.bytes().all(|letter| CONSONANTS.contains(&letter))
}

/// What `partial` leaves: `****`, `**** 4242`, `***@example.com`.
pub fn is_partial(value: &str) -> bool {
    let rest = value.strip_prefix("****").map(|rest| rest.strip_prefix(' ').unwrap_or(rest));
    rest.is_some_and(|rest| rest.is_empty() || rest.len() == 4 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        || value.strip_prefix("***@").is_some_and(is_host)
}

/// Whether it is the name of a host and no more: nothing hides behind an `@` then.
pub fn is_host(name: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-');
    name.contains('.') && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_could_have_written_is_a_token() {
        let kqz = "b".repeat(PSEUDONYM_LETTERS);
        for (text, is) in [
            ("<US_SSN>".to_owned(), true),
            ("<REDACTED>".to_owned(), true),
            ("<X_BADGE>".to_owned(), true),
            (format!("<US_SSN:{kqz}>"), true),
            ("<US_SSN:s1.k1.AAAA>".to_owned(), true),
            ("<div>".to_owned(), false),
            ("<US_SSN:123-45-6789>".to_owned(), false),
            (format!("<US_SSN:{}>", "4".repeat(PSEUDONYM_LETTERS)), false),
            ("<US_SSN".to_owned(), false),
            ("<US_SSN >".to_owned(), false),
        ] {
            assert_eq!(token_at(&text, 0).map(|token| token.span), is.then_some(0..text.len()), "{text}");
        }
    }
}
