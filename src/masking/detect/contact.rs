//! E-mail addresses (RFC 5321, and RFC 6531 for other letters) and telephone numbers (E.164 and as countries write them).

use std::ops::Range;

use crate::domain::DataKind;
use crate::masking::checksum::{digits, is_monotone};
use crate::masking::finding::{Finding, Layer};
use crate::masking::shape::{Check, Edge, Shape};

/// Longest local part and longest domain, in bytes (RFC 5321 section 4.5.3.1).
const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 255;

const PHONE: &[&str] = &[
    "phone",
    "telephone",
    "tel",
    "mobile",
    "cell",
    "call",
    "fax",
    "contact",
    "whatsapp",
    "sms",
    "text",
    "dial",
    "reach",
    "ring",
    "number is",
    "telefon",
    "handy",
    "mobil",
    "rufnummer",
    "anrufen",
    "t\u{e9}l",
    "t\u{e9}l\u{e9}phone",
    "portable",
    "tel\u{e9}fono",
    "telefono",
    "m\u{f3}vil",
    "celular",
    "telefone",
    "cellulare",
    "telefoon",
    "puhelin",
    "hotline",
    "voicemail",
    "ph",
];

pub const SHAPES: &[Shape] = &[
    phone("\\+[0-9](?:[ ./-]{0,2}\\(?[0-9]\\)?){6,14}", international, 80, "number with its country's code"),
    phone("00[1-9](?:[ ./-]?\\(?[0-9]\\)?){7,14}", subscriber, 30, "number with 00 and a country's code"),
    phone(
        "(?:1[ .-])?(?:\\([2-9][0-9]{2}\\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}(?: ?(?:x|ext\\.?) ?[0-9]{1,5})?",
        subscriber,
        65,
        "North American number, as it is written",
    ),
    phone("1?[2-9][0-9]{2}[2-9][0-9]{6}", subscriber, 10, "ten digits beside a word for telephone"),
    phone("0[1-9](?:[ .-][0-9]{2}){4}", subscriber, 65, "French number, as it is written"),
    phone("\\(?0[1-9][0-9]{1,4}\\)?[ /-][0-9]{3,4}[ -]?[0-9]{3,5}", subscriber, 55, "number with an area's code"),
    phone("0[1-9](?:[ /-]?[0-9]){8,10}", subscriber, 25, "digits from 0 beside a word for telephone"),
    phone(
        "[1-9][0-9]{1,4}[ /-][0-9]{2,4}(?:[ -][0-9]{2,4}){1,3}",
        subscriber,
        10,
        "groups of digits beside a word for telephone",
    ),
    phone("[67][0-9]{8}", subscriber, 5, "nine digits beside a word for telephone"),
];

const fn phone(pattern: &'static str, holds: fn(&str) -> bool, alone: u8, why: &'static str) -> Shape {
    Shape {
        words: PHONE,
        supported: 90,
        edge: Edge::Alone,
        ..Shape::sure(DataKind::PHONE_NUMBER, pattern, Check::Valid(holds), alone, why)
    }
}

fn subscriber(text: &str) -> bool {
    let digits = digits(text);
    (9..=20).contains(&digits.len()) && !is_monotone(&digits)
}

/// Eight to fifteen digits, and no country's code begins with 0.
fn international(text: &str) -> bool {
    let digits = digits(text);
    let balanced = text.matches('(').count() == text.matches(')').count();
    (8..=15).contains(&digits.len()) && digits.first() != Some(&0) && balanced && !is_monotone(&digits)
}

/// The e-mail address around the `@` at `at`.
pub fn email(text: &str, at: usize) -> Option<Finding> {
    let local = text.get(..at)?.char_indices().rev().take_while(|(_, letter)| is_local(*letter)).last()?.0;
    // A dot at an end belongs to the sentence.
    let local = local + text.get(local..at)?.bytes().take_while(|byte| b".-+'".contains(byte)).count();
    let host = text.get(at + 1..)?;
    let length = host.char_indices().find(|(_, letter)| !is_host(*letter)).map_or(host.len(), |(end, _)| end);
    let host = host.get(..length)?.trim_end_matches(['.', '-']);
    let span = local..at + 1 + host.len();
    let fits = (1..=LOCAL_BYTES_MAX).contains(&(at - local)) && host.len() <= DOMAIN_BYTES_MAX;
    (fits && is_domain(host)).then(|| found(span))
}

fn found(span: Range<usize>) -> Finding {
    Finding { kind: DataKind::EMAIL_ADDRESS, span, confidence: 95, why: "address with a domain", layer: Layer::Plain }
}

fn is_local(letter: char) -> bool {
    letter.is_alphanumeric() || "!#$%&'+-/=?^_`{|}~.".contains(letter) && !"=/'`{}|&?!#$^".contains(letter)
}

fn is_host(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '.' || letter == '-'
}

/// Labels between dots, the last one of letters.
fn is_domain(host: &str) -> bool {
    let Some((head, top)) = host.rsplit_once('.') else { return false };
    let labelled = head.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    let is_punycode = top.starts_with("xn--");
    labelled && top.chars().count() >= 2 && (is_punycode || top.chars().all(char::is_alphabetic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_to_its_last_letter_and_no_further() {
        for (text, expected) in [
            ("write to jane.doe+x@mail.example.co.uk.", Some("jane.doe+x@mail.example.co.uk")),
            ("<jane@example.com>", Some("jane@example.com")),
            ("mail=jane@example.com&x=1", Some("jane@example.com")),
            ("j\u{f6}rg@m\u{fc}ller.de", Some("j\u{f6}rg@m\u{fc}ller.de")),
            ("...jane@example.com...", Some("jane@example.com")),
            ("jane@localhost", None),
            ("@handle", None),
            ("a @ b.com", None),
            ("x@1.2.3", None),
            ("pkg@1.2.0", None),
        ] {
            let found = email(text, text.find('@').unwrap()).map(|found| &text[found.span]);
            assert_eq!(found, expected, "{text}");
        }
    }
}
