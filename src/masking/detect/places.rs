//! Where people live: streets with a house number, and what of a town follows. Towns and countries alone are nobody's.

use regex::Regex;

use crate::domain::DataKind;
use crate::masking::finding::{Finding, Layer};
use crate::masking::shape::{Check, Shape};

/// How far around a word for a street an address can reach, in bytes.
const BEHIND_BYTES: usize = 64;
const AHEAD_BYTES: usize = 120;

const HOME: &[&str] =
    &["address", "postcode", "zip", "postal", "live", "lives", "ship", "deliver", "home", "street", "plz", "adresse"];

pub const SHAPES: &[Shape] = &[
    Shape {
        words: HOME,
        ..Shape::sure(
            DataKind::LOCATION,
            "[A-Z]{1,2}[0-9][0-9A-Z]? [0-9][ABD-HJLNP-UW-Z]{2}",
            Check::None,
            60,
            "British postcode",
        )
    },
    Shape {
        words: &["zip", "zip code", "postal code", "plz", "code postal"],
        supported: 60,
        ..Shape::sure(DataKind::LOCATION, "[0-9]{5}(?:-[0-9]{4})?", Check::None, 0, "postal code")
    },
];

/// Words for streets; an address stands around one.
pub const STREETS: &[&str] = &[
    "street",
    " st",
    "avenue",
    " ave",
    " road",
    " rd",
    "boulevard",
    " blvd",
    " lane",
    " ln",
    " drive",
    " dr",
    " court",
    " ct",
    " square",
    " terrace",
    " highway",
    " hwy",
    " close",
    " crescent",
    "stra\u{df}e",
    "strasse",
    "str.",
    "weg ",
    "platz ",
    "allee ",
    "gasse ",
    " rue ",
    "chemin ",
    "calle ",
    "avenida ",
    "plaza ",
    "paseo ",
    "via ",
    "viale ",
    "piazza ",
    "corso ",
    "rua ",
    "ul. ",
    "straat ",
    "laan ",
    "gracht ",
    "katu ",
    "gatan ",
    "v\u{e4}gen ",
    "po box ",
    "p.o. box ",
];

/// Addresses as countries write them.
pub struct Addresses(Vec<Regex>);

impl Addresses {
    /// # Errors
    /// A pattern that is none.
    pub fn new() -> Result<Self, regex::Error> {
        let patterns = [
            r"(?i:\bP\.?O\.? Box) \d{1,6}",
            concat!(
                r"\b\d{1,5}[A-Za-z]?,? (?:(?:[NSEW]|North|South|East|West)\.? )?(?:[A-Z0-9][\p{L}0-9'.-]{0,20} ){1,4}",
                r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Terrace|Highway|Hwy|Close|Crescent)\b\.?",
                r"(?:,? (?:Apt|Apartment|Suite|Unit|Flat|#)\.? ?[0-9A-Za-z-]{1,6})?(?:, [A-Z][\p{L}'.-]{1,20}(?: [A-Z][\p{L}'.-]{1,20}){0,2})?",
                r"(?:,? [A-Z]{2},? \d{5}(?:-\d{4})?|,? [A-Z]{1,2}\d[0-9A-Z]? \d[A-Z]{2})?"
            ),
            concat!(
                r"\b(?:\p{Lu}[\p{L}-]{1,30}(?:stra\u{df}e|strasse|str\.|weg|platz|allee|gasse|straat|laan|gracht|katu|gatan|v\u{e4}gen)|",
                r"(?:\p{Lu}[\p{L}-]{1,20} ){1,2}(?:Stra\u{df}e|Strasse|Weg|Platz|Allee)) \d{1,4} ?[a-zA-Z]?\b",
                r"(?:, (?:[A-Z]{1,2}-)?\d{4,5}(?: ?[A-Z]{2})? \p{Lu}[\p{L}-]{1,25}(?: (?:am|an der|im) \p{Lu}\p{L}{1,20})?)?"
            ),
            concat!(
                r"\b\d{1,4}(?: bis| ter)?,? (?:rue|avenue|boulevard|place|chemin|all\u{e9}e|quai) (?:de |du |des |de la |d'|l')?(?:la |l')?",
                r"\p{Lu}[\p{L}'-]{1,25}(?: (?:de |du |des )?\p{Lu}[\p{L}'-]{1,25}){0,3}(?:, \d{5} \p{Lu}[\p{L}-]{1,25})?"
            ),
            concat!(
                r"\b(?i:calle|avenida|plaza|paseo|via|viale|piazza|corso|rua|ul\.) (?:de la |de |del |della |dei |da |do |dos |das )?\p{Lu}[\p{L}'.-]{1,25}",
                r"(?: (?:de |del |di |da )?\p{Lu}[\p{L}'.-]{1,25}){0,3},? (?:n\.? ?\u{ba}? ?)?\d{1,4}[A-Za-z]?\b(?:/\d{1,3})?(?:, \d{2}-?\d{3}(?:-\d{3})? \p{Lu}[\p{L}-]{1,25})?"
            ),
        ];
        let compiled = patterns.iter().map(|pattern| Regex::new(pattern)).collect::<Result<_, _>>()?;
        Ok(Self(compiled))
    }

    /// The addresses around the word for a street at `at`.
    pub fn around(&self, text: &str, at: usize, found: &mut Vec<Finding>) {
        let mut from = at.saturating_sub(BEHIND_BYTES);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let mut to = text.len().min(at + AHEAD_BYTES);
        while !text.is_char_boundary(to) {
            to -= 1;
        }
        let Some(near) = text.get(from..to) else { return };
        for matched in self.0.iter().flat_map(|pattern| pattern.find_iter(near)) {
            let span = from + matched.start()..from + matched.end();
            // One that does not reach the word is another word's.
            if span.start <= at + 1 && at < span.end {
                found.push(Finding {
                    kind: DataKind::LOCATION,
                    span,
                    confidence: 75,
                    why: "street with a number",
                    layer: Layer::Plain,
                });
            }
        }
    }
}
