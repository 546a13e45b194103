//! Cards, accounts and tax numbers of businesses: ISO/IEC 7812 (cards), ISO 13616 (IBAN), the ABA's routing numbers.

use crate::domain::DataKind;
use crate::masking::checksum::{compact, digits, is_monotone, luhn, mod_11_10, mod_97, weighted};
use crate::masking::shape::{Check, Edge, Shape};

const CARD: &[&str] = &[
    "card",
    "credit",
    "debit",
    "visa",
    "mastercard",
    "amex",
    "american express",
    "cc",
    "pan",
    "karte",
    "kreditkarte",
    "carte",
    "tarjeta",
    "carta",
    "payment",
    "discover",
    "jcb",
    "maestro",
    "kaart",
    "kort",
    "cartao",
    "cart\u{e3}o",
];
const BANK: &[&str] =
    &["account", "acct", "bank", "checking", "savings", "deposit", "konto", "kontonummer", "direct debit", "payee"];
const ROUTING: &[&str] = &["routing", "aba", "rtn", "transit"];
const VAT: &[&str] = &[
    "vat",
    "ust",
    "ust-id",
    "ustid",
    "umsatzsteuer",
    "tva",
    "iva",
    "btw",
    "moms",
    "partita iva",
    "p.iva",
    "mwst",
    "tax id",
    "cif",
    "nip",
];
const IBAN: &[&str] = &["iban", "account", "konto", "bank", "compte", "cuenta", "conto", "rekening"];

pub const SHAPES: &[Shape] = &[
    card("[0-9]{13,19}"),
    card("[0-9]{4}(?:[ -][0-9]{4}){3}(?:[ -][0-9]{3})?"),
    card("[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}"),
    Shape {
        edge: Edge::Word,
        words: IBAN,
        ..Shape::sure(
            DataKind::IBAN_CODE,
            "[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?",
            Check::Valid(iban),
            95,
            "IBAN of its country's length, check digits right",
        )
    },
    Shape {
        words: ROUTING,
        supported: 95,
        ..Shape::sure(
            DataKind::ABA_ROUTING_NUMBER,
            "[0-9]{9}|[0-9]{4}-[0-9]{4}-[0-9]",
            Check::Valid(routing),
            10,
            "routing number, check digit right",
        )
    },
    Shape {
        words: BANK,
        supported: 60,
        ..Shape::sure(
            DataKind::US_BANK_NUMBER,
            "[0-9]{8,17}",
            Check::Valid(not_monotone),
            3,
            "digits beside a word for an account",
        )
    },
    Shape {
        words: VAT,
        ..Shape::sure(
            DataKind::VAT_NUMBER,
            "(?:ATU[0-9]{8}|BE ?[01][0-9]{9}|BE ?[01][0-9]{3}\\.[0-9]{3}\\.[0-9]{3}|DE ?[0-9]{9}|FR ?[0-9A-Z]{2} ?[0-9]{9}|GB ?[0-9]{3} ?[0-9]{4} ?[0-9]{2}|IT ?[0-9]{11}|NL ?[0-9]{9}B[0-9]{2}|PL ?[0-9]{10}|ES ?[A-Z][0-9]{7}[A-Z0-9]|SE ?[0-9]{10}01|FI ?[0-9]{8}|DK ?[0-9]{8}|PT ?[0-9]{9}|IE ?[0-9]{7}[A-W][A-I]?)",
            Check::Valid(vat),
            85,
            "VAT number of its country, check digits right",
        )
    },
    Shape {
        words: VAT,
        supported: 85,
        ..Shape::sure(
            DataKind::VAT_NUMBER,
            "[0-9]{11}",
            Check::Valid(italian_vat),
            10,
            "Italian VAT number, check digit right",
        )
    },
];

const fn card(pattern: &'static str) -> Shape {
    Shape {
        words: CARD,
        ..Shape::sure(
            DataKind::CREDIT_CARD,
            pattern,
            Check::Valid(is_card),
            80,
            "card number of a brand, check digit right",
        )
    }
}

/// Ranges of the brands and their lengths, and Luhn.
fn is_card(text: &str) -> bool {
    let digits = digits(text);
    let lead = |count: usize| digits.iter().take(count).fold(0, |value, digit| value * 10 + digit);
    let branded = match digits.len() {
        13 => lead(1) == 4,
        14 => (300..=305).contains(&lead(3)) || matches!(lead(2), 36 | 38 | 39),
        15 => matches!(lead(2), 34 | 37),
        16 => {
            matches!(lead(1), 4)
                || (51..=55).contains(&lead(2))
                || (2221..=2720).contains(&lead(4))
                || matches!(lead(2), 62 | 65)
                || matches!(lead(4), 6011)
                || (644..=649).contains(&lead(3))
                || (3528..=3589).contains(&lead(4))
        }
        17..=19 => lead(2) == 62 || (lead(1) == 4 && digits.len() == 19) || matches!(lead(2), 50 | 63 | 67),
        _ => false,
    };
    branded && luhn(&digits) && !is_monotone(&digits)
}

/// Lengths from the IBAN registry.
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
];

fn iban(text: &str) -> bool {
    let code = compact(text);
    let (Some(country), Some(head), Some(rest)) = (code.get(..2), code.get(..4), code.get(4..)) else { return false };
    let fits = IBAN_LENGTHS.iter().any(|(name, length)| *name == country && *length == code.len());
    fits && mod_97(&format!("{rest}{head}")) == Some(1)
}

fn routing(text: &str) -> bool {
    let digits = digits(text);
    let district = digits.iter().take(2).fold(0, |value, digit| value * 10 + digit);
    let issued = matches!(district, 1..=12 | 21..=32 | 61..=72 | 80);
    issued && weighted(&digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

fn not_monotone(text: &str) -> bool {
    !is_monotone(&digits(text))
}

fn italian_vat(text: &str) -> bool {
    let digits = digits(text);
    digits.len() == 11 && luhn(&digits) && !is_monotone(&digits)
}

/// The countries whose rule is public and simple are checked; of the others the form must do.
fn vat(text: &str) -> bool {
    let code = compact(text);
    let number = digits(code.get(2..).unwrap_or_default());
    let value = number.iter().fold(0_u64, |value, digit| value * 10 + u64::from(*digit));
    match code.get(..2) {
        Some("DE") => mod_11_10(&number),
        Some("IT") => luhn(&number),
        Some("BE") => 97 - value / 100 % 97 == value % 100,
        Some("PL") => weighted(&number, &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == number.last().copied().unwrap_or(11),
        Some("DK") => weighted(&number, &[2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11),
        Some("FI") => weighted(&number, &[7, 9, 10, 5, 8, 4, 2, 1]).is_multiple_of(11),
        Some("PT") => {
            let rest = weighted(&number, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
            number.last().copied() == Some(if rest < 2 { 0 } else { 11 - rest })
        }
        Some("GB") => {
            let sum = weighted(&number, &[8, 7, 6, 5, 4, 3, 2]) + (value % 100) as u32;
            sum.is_multiple_of(97) || (sum + 55).is_multiple_of(97)
        }
        // Newer ones have letters in their key, whose rule is not public.
        Some("FR") => number.len() != 11 || value / 1_000_000_000 == (12 + 3 * (value % 1_000_000_000 % 97)) % 97,
        Some("AT") => (luhn_sum(number.get(..7).unwrap_or_default()) + 4 + last(&number)).is_multiple_of(10),
        Some("SE") => luhn(number.get(..10).unwrap_or_default()),
        // Those of companies have the eleven-proof, those of people ISO/IEC 7064.
        Some("NL") => {
            let sum = weighted(&number, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
            number.get(8) == Some(&sum) || mod_97(&code) == Some(1)
        }
        Some("IE") => {
            let more = code.chars().nth(10).map_or(0, |letter| u32::from(letter) - u32::from('A') + 1);
            let check = (weighted(&number, &[8, 7, 6, 5, 4, 3, 2]) + 9 * more) % 23;
            code.chars().nth(9) == "WABCDEFGHIJKLMNOPQRSTUV".chars().nth(check as usize)
        }
        Some("ES") => spanish_vat(code.get(2..).unwrap_or_default()),
        Some(_) => true,
        None => false,
    }
}

fn last(digits: &[u32]) -> u32 {
    digits.last().copied().unwrap_or_default()
}

/// As in Luhn's check, the second digit doubled, and every other after it.
fn luhn_sum(digits: &[u32]) -> u32 {
    let doubled = |(place, digit): (usize, &u32)| if place % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit };
    digits.iter().enumerate().map(doubled).sum()
}

/// Of a company: a digit or a letter for the same check. Of people with a letter in front the form must do.
fn spanish_vat(code: &str) -> bool {
    let (Some(kind), Some(check)) = (code.chars().next(), code.chars().last()) else { return false };
    if "KLMXYZ".contains(kind) {
        return true;
    }
    let number = digits(code.get(1..8).unwrap_or_default());
    let sum = luhn_sum(&std::iter::once(0).chain(number).collect::<Vec<_>>());
    let right = (10 - sum % 10) % 10;
    check.to_digit(10) == Some(right) || "JABCDEFGHI".chars().nth(right as usize) == Some(check)
}
