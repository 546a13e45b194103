//! Dates of birth: any date is harmless until a word says that somebody was born on it.

use crate::domain::DataKind;
use crate::masking::shape::{Check, Shape};

const BIRTH: &[&str] = &[
    "born",
    "birth",
    "dob",
    "d.o.b",
    "birthday",
    "birthdate",
    "geboren",
    "geburtsdatum",
    "geb",
    "geburtstag",
    "n\u{e9} le",
    "n\u{e9}e le",
    "naissance",
    "nacimiento",
    "nacido",
    "nacida",
    "nato il",
    "nata il",
    "nascita",
    "nascimento",
    "nascido",
    "geboortedatum",
    "urodzenia",
    "f\u{f6}delsedatum",
    "f\u{f6}dd",
    "syntym\u{e4}aika",
];

const MONTH: &str = "a day and a year beside a word for birth";

pub const SHAPES: &[Shape] = &[
    date("[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}"),
    date("[0-9]{1,2}[-/.] ?[0-9]{1,2}[-/.] ?(?:[0-9]{4}|[0-9]{2})"),
    date("[0-9]{1,2}(?:st|nd|rd|th|\\.)? (?:de |of )?[A-Za-z]{3,10}\\.?,? (?:de )?[0-9]{4}"),
    date("[A-Z][a-z]{2,9}\\.? [0-9]{1,2}(?:st|nd|rd|th)?,? [0-9]{4}"),
];

const fn date(pattern: &'static str) -> Shape {
    Shape {
        words: BIRTH,
        supported: 85,
        ..Shape::sure(DataKind::DATE_OF_BIRTH, pattern, Check::Valid(is_date), 2, MONTH)
    }
}

/// A year that somebody alive can be born in, or two digits.
fn is_date(text: &str) -> bool {
    let numbers = text.split(|letter: char| !letter.is_ascii_digit()).filter(|part| !part.is_empty());
    numbers
        .filter_map(|part| part.parse::<u32>().ok().filter(|_| part.len() == 4))
        .all(|year| (1890..2100).contains(&year))
}
