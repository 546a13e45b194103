//! United Kingdom, Germany, France, Spain, Italy, Poland, the Netherlands, Sweden, Finland.

use super::{is_day, pair};
use crate::domain::DataKind;
use crate::masking::checksum::{compact, digits, is_monotone, luhn, mod_11_10, weighted};
use crate::masking::shape::{Check, Shape};

const NHS: &[&str] = &["nhs", "national health", "health service", "health number"];
const NINO: &[&str] = &["nino", "national insurance", "ni number", "ni no", "insurance"];
const DE_TAX: &[&str] = &[
    "steuer",
    "steuer-id",
    "steuerid",
    "steueridentifikationsnummer",
    "idnr",
    "steuernummer",
    "tax",
    "tin",
    "steuerliche",
];
const DE_SOCIAL: &[&str] = &[
    "sozialversicherung",
    "sozialversicherungsnummer",
    "rentenversicherung",
    "rentenversicherungsnummer",
    "svnr",
    "rvnr",
    "versicherungsnummer",
];
const NIR: &[&str] = &["nir", "insee", "s\u{e9}curit\u{e9} sociale", "securite sociale", "num\u{e9}ro de s\u{e9}cu"];
const NIF: &[&str] = &["dni", "nif", "nie", "documento", "identidad"];
const FISCAL: &[&str] = &["codice fiscale", "cf", "fiscale"];
const PESEL: &[&str] = &["pesel"];
const BSN: &[&str] = &["bsn", "burgerservicenummer", "burgerservice", "sofinummer", "sofi"];
const PERSONNUMMER: &[&str] = &["personnummer", "pnr", "person nr", "personal identity", "samordningsnummer"];
const HETU: &[&str] = &["hetu", "henkil\u{f6}tunnus", "henkilotunnus"];

pub const SHAPES: &[Shape] = &[
    Shape {
        words: NHS,
        ..Shape::sure(
            DataKind::UK_NHS,
            "[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}",
            Check::Valid(nhs),
            30,
            "NHS number, check digit right",
        )
    },
    Shape {
        words: NINO,
        ..Shape::sure(
            DataKind::UK_NINO,
            "[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-Da-d]",
            Check::Valid(nino),
            80,
            "national insurance number",
        )
    },
    Shape {
        words: DE_TAX,
        ..Shape::sure(
            DataKind::DE_TAX_ID,
            "[1-9][0-9]{10}|[1-9][0-9] [0-9]{3} [0-9]{3} [0-9]{3}",
            Check::Valid(tax_id),
            60,
            "Steuer-ID, check digit right",
        )
    },
    Shape {
        words: DE_SOCIAL,
        ..Shape::sure(
            DataKind::DE_SOCIAL_SECURITY,
            "[0-9]{2} ?[0-3][0-9][01][0-9][0-9]{2} ?[A-Z] ?[0-9]{3}",
            Check::Valid(de_social),
            85,
            "Rentenversicherungsnummer, check digit right",
        )
    },
    Shape {
        words: NIR,
        ..Shape::sure(
            DataKind::FR_NIR,
            "[1-478] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[ABab]) ?[0-9]{3} ?[0-9]{3}[ /]?[0-9]{2}",
            Check::Valid(nir),
            90,
            "NIR, key right",
        )
    },
    Shape {
        words: NIF,
        ..Shape::sure(DataKind::ES_NIF, "[0-9]{8}[- ]?[A-Za-z]", Check::Valid(nif), 80, "NIF, check letter right")
    },
    Shape {
        words: NIF,
        ..Shape::sure(
            DataKind::ES_NIE,
            "[XYZxyz][- ]?[0-9]{7}[- ]?[A-Za-z]",
            Check::Valid(nif),
            85,
            "NIE, check letter right",
        )
    },
    Shape {
        words: FISCAL,
        ..Shape::sure(
            DataKind::IT_FISCAL_CODE,
            "[A-Za-z]{6}[0-9LMNP-Vlmnp-v]{2}[ABCDEHLMPRSTabcdehlmprst][0-9LMNP-Vlmnp-v]{2}[A-Za-z][0-9LMNP-Vlmnp-v]{3}[A-Za-z]",
            Check::Valid(fiscal),
            95,
            "codice fiscale, check letter right",
        )
    },
    Shape {
        words: PESEL,
        ..Shape::sure(DataKind::PL_PESEL, "[0-9]{11}", Check::Valid(pesel), 60, "PESEL, check digit and date right")
    },
    Shape {
        words: BSN,
        supported: 95,
        ..Shape::sure(
            DataKind::NL_BSN,
            "[0-9]{8,9}|[0-9]{4}[. ][0-9]{2}[. ][0-9]{3}|[0-9]{3}[. ][0-9]{3}[. ][0-9]{3}",
            Check::Valid(bsn),
            10,
            "burgerservicenummer, eleven-proof",
        )
    },
    Shape {
        words: PERSONNUMMER,
        ..Shape::sure(
            DataKind::SE_PERSONNUMMER,
            "(?:19|20)?[0-9]{6}[-+][0-9]{4}",
            Check::Valid(personnummer),
            75,
            "personnummer, check digit and date right",
        )
    },
    Shape {
        words: PERSONNUMMER,
        ..Shape::sure(
            DataKind::SE_PERSONNUMMER,
            "(?:19|20)?[0-9]{10}",
            Check::Valid(personnummer),
            20,
            "personnummer, check digit and date right",
        )
    },
    Shape {
        words: HETU,
        ..Shape::sure(
            DataKind::FI_PERSONAL_IDENTITY_CODE,
            "[0-3][0-9][01][0-9][0-9]{2}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]",
            Check::Valid(hetu),
            95,
            "henkil\u{f6}tunnus, check character right",
        )
    },
];

fn nhs(text: &str) -> bool {
    let digits = digits(text);
    let check = 11 - weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    digits.last() == Some(&(check % 11)) && !is_monotone(&digits)
}

fn nino(text: &str) -> bool {
    let code = compact(text);
    !["BG", "GB", "NK", "KN", "TN", "NT", "ZZ"].iter().any(|never| code.starts_with(never))
}

/// Of the first ten digits exactly one occurs twice or three times.
fn tax_id(text: &str) -> bool {
    let digits = digits(text);
    let Some(head) = digits.get(..10) else { return false };
    let repeated: Vec<usize> =
        (0..10).map(|digit| head.iter().filter(|is| **is == digit).count()).filter(|count| *count > 1).collect();
    matches!(*repeated, [2 | 3]) && mod_11_10(&digits)
}

fn de_social(text: &str) -> bool {
    let code = compact(text);
    let expanded: Vec<u32> = code
        .chars()
        .flat_map(|letter| match letter.to_digit(10) {
            Some(digit) => vec![digit],
            None => {
                let place = u32::from(letter) - u32::from('A') + 1;
                vec![place / 10, place % 10]
            }
        })
        .collect();
    let weights = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
    let sum: u32 = expanded.iter().zip(weights).map(|(digit, weight)| digit * weight / 10 + digit * weight % 10).sum();
    expanded.len() == 13 && expanded.last() == Some(&(sum % 10)) && is_day(pair(&expanded, 2), pair(&expanded, 4))
}

/// Corsica's 2A and 2B count as 19 and 18.
fn nir(text: &str) -> bool {
    let code = compact(text).replace("2A", "19").replace("2B", "18");
    let month = code.get(3..5).and_then(|month| month.parse().ok()).unwrap_or(0);
    let (Some(head), Some(key)) = (
        code.get(..13).and_then(|head| head.parse::<u64>().ok()),
        code.get(13..).and_then(|key| key.parse::<u64>().ok()),
    ) else {
        return false;
    };
    matches!(month, 1..=12 | 20..=42 | 50..=99) && 97 - head % 97 == key
}

fn nif(text: &str) -> bool {
    let code = compact(text).replacen('X', "0", usize::from(text.starts_with(['X', 'x'])));
    let code = if text.starts_with(['Y', 'y']) { code.replacen('Y', "1", 1) } else { code };
    let code = if text.starts_with(['Z', 'z']) { code.replacen('Z', "2", 1) } else { code };
    let (Some(number), letter) = (code.get(..8).and_then(|head| head.parse::<usize>().ok()), code.chars().last())
    else {
        return false;
    };
    "TRWAGMYFPDXBNJZSQVHLCKE".chars().nth(number % 23) == letter
}

/// D.M. 23 December 1976: odd places by table, even ones by their place in the alphabet.
fn fiscal(text: &str) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let code = compact(text);
    let value = |letter: char| letter.to_digit(10).unwrap_or_else(|| u32::from(letter).saturating_sub(u32::from('A')));
    let sum: u32 = code
        .chars()
        .take(15)
        .enumerate()
        .map(|(place, letter)| match place % 2 {
            0 => ODD.get(value(letter) as usize).copied().unwrap_or(0),
            _ => value(letter),
        })
        .sum();
    code.chars().last().map(value) == Some(sum % 26)
}

/// The month tells the century: 80 more in the 19th, 20 more in the 21st.
fn pesel(text: &str) -> bool {
    let digits = digits(text);
    let sum = weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    digits.last() == Some(&((10 - sum % 10) % 10))
        && is_day(pair(&digits, 4), pair(&digits, 2) % 20)
        && !is_monotone(&digits)
}

fn bsn(text: &str) -> bool {
    let digits = digits(text);
    let padded: Vec<u32> =
        std::iter::repeat_n(0, 9_usize.saturating_sub(digits.len())).chain(digits.iter().copied()).collect();
    let sum = weighted(&padded, &[9, 8, 7, 6, 5, 4, 3, 2]);
    sum % 11 == padded.last().copied().unwrap_or(11) && !is_monotone(&digits)
}

/// A coordination number has 60 added to the day.
fn personnummer(text: &str) -> bool {
    let digits = digits(text);
    let Some(last) = digits.len().checked_sub(10).and_then(|from| digits.get(from..)) else { return false };
    luhn(last) && is_day(pair(last, 4) % 60, pair(last, 2))
}

fn hetu(text: &str) -> bool {
    let Some(number) =
        text.get(..6).zip(text.get(7..10)).and_then(|(date, serial)| format!("{date}{serial}").parse::<usize>().ok())
    else {
        return false;
    };
    let digits = digits(text);
    is_day(pair(&digits, 0), pair(&digits, 2))
        && "0123456789ABCDEFHJKLMNPRSTUVWXY".chars().nth(number % 31) == text.chars().last()
}
