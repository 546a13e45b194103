//! United States (SSA, IRS, states), Canada, Brazil.

use crate::domain::DataKind;
use crate::masking::checksum::{digits, is_monotone, luhn};
use crate::masking::shape::{Check, Edge, Shape};

const SSN: &[&str] = &["ssn", "social security", "social", "ss#", "taxpayer", "tin"];
const ITIN: &[&str] = &["itin", "individual taxpayer", "tax id", "taxpayer", "tin"];
const LICENCE: &[&str] = &["driver", "driver's", "drivers", "licence", "license", "permit", "dl", "driving", "lic"];
const PASSPORT: &[&str] =
    &["passport", "passeport", "pasaporte", "passaporto", "reisepass", "travel document", "paszport"];
const CPF: &[&str] = &["cpf", "cadastro", "contribuinte"];
const CNPJ: &[&str] = &["cnpj", "empresa"];
const SIN: &[&str] = &["sin", "social insurance", "nas", "assurance sociale"];

pub const SHAPES: &[Shape] = &[
    Shape {
        words: SSN,
        ..Shape::sure(
            DataKind::US_SSN,
            "[0-9]{3}-[0-9]{2}-[0-9]{4}",
            Check::Valid(ssn),
            85,
            "social security number, as it is written",
        )
    },
    Shape {
        words: SSN,
        ..Shape::sure(
            DataKind::US_SSN,
            "[0-9]{3} [0-9]{2} [0-9]{4}",
            Check::Valid(ssn),
            60,
            "social security number, with spaces",
        )
    },
    Shape {
        words: SSN,
        supported: 85,
        ..Shape::sure(
            DataKind::US_SSN,
            "[0-9]{9}",
            Check::Valid(ssn),
            5,
            "nine digits beside a word for social security",
        )
    },
    Shape {
        words: ITIN,
        ..Shape::sure(
            DataKind::US_ITIN,
            "9[0-9]{2}[- ][0-9]{2}[- ][0-9]{4}",
            Check::Valid(itin),
            80,
            "taxpayer number, as it is written",
        )
    },
    Shape {
        words: ITIN,
        supported: 85,
        ..Shape::sure(DataKind::US_ITIN, "9[0-9]{8}", Check::Valid(itin), 5, "nine digits beside a word for a taxpayer")
    },
    Shape {
        words: PASSPORT,
        supported: 85,
        ..Shape::sure(
            DataKind::US_PASSPORT,
            "[A-Za-z]{0,2}[0-9]{7,9}",
            Check::None,
            3,
            "digits beside a word for a passport",
        )
    },
    Shape {
        words: LICENCE,
        supported: 70,
        ..Shape::sure(
            DataKind::US_DRIVER_LICENSE,
            "[A-Z]{1,3}[0-9]{4,13}|[0-9]{7,12}|[A-Z][0-9]{3}-[0-9]{3,4}-[0-9]{2,4}(?:-[0-9]{3}-[0-9])?|[0-9]{2}-[0-9]{3}-[0-9]{4}",
            Check::None,
            3,
            "letters and digits beside a word for a driver's licence",
        )
    },
    Shape {
        edge: Edge::Word,
        words: CPF,
        ..Shape::sure(
            DataKind::BR_CPF,
            "[0-9]{3}\\.[0-9]{3}\\.[0-9]{3}-[0-9]{2}",
            Check::Valid(cpf),
            95,
            "CPF, check digits right",
        )
    },
    Shape {
        words: CPF,
        ..Shape::sure(DataKind::BR_CPF, "[0-9]{11}", Check::Valid(cpf), 40, "CPF, check digits right")
    },
    Shape {
        words: CNPJ,
        ..Shape::sure(
            DataKind::BR_CNPJ,
            "[0-9]{2}\\.[0-9]{3}\\.[0-9]{3}/[0-9]{4}-[0-9]{2}",
            Check::Valid(cnpj),
            95,
            "CNPJ, check digits right",
        )
    },
    Shape {
        words: CNPJ,
        ..Shape::sure(DataKind::BR_CNPJ, "[0-9]{14}", Check::Valid(cnpj), 40, "CNPJ, check digits right")
    },
    Shape {
        words: SIN,
        ..Shape::sure(
            DataKind::CA_SIN,
            "[0-9]{3}[ -][0-9]{3}[ -][0-9]{3}",
            Check::Valid(sin),
            55,
            "social insurance number, check digit right",
        )
    },
    Shape {
        words: SIN,
        ..Shape::sure(DataKind::CA_SIN, "[0-9]{9}", Check::Valid(sin), 10, "social insurance number, check digit right")
    },
];

fn parts(text: &str) -> (u32, u32, u32) {
    let digits = digits(text);
    let number = |from: usize, to: usize| {
        digits.get(from..to).unwrap_or_default().iter().fold(0, |value, digit| value * 10 + digit)
    };
    (number(0, 3), number(3, 5), number(5, 9))
}

fn ssn(text: &str) -> bool {
    let (area, group, serial) = parts(text);
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

fn itin(text: &str) -> bool {
    let (area, group, _) = parts(text);
    area >= 900 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

fn sin(text: &str) -> bool {
    let digits = digits(text);
    luhn(&digits) && digits.first() != Some(&8) && !is_monotone(&digits)
}

fn cpf(text: &str) -> bool {
    let digits = digits(text);
    !is_monotone(&digits) && check_digit(&digits, 9, 11) && check_digit(&digits, 10, 11)
}

fn cnpj(text: &str) -> bool {
    let digits = digits(text);
    !is_monotone(&digits) && check_digit(&digits, 12, 9) && check_digit(&digits, 13, 9)
}

/// The digit at `place` from those before it, weighted 2, 3 ... up to `weight_max` and again from the right.
fn check_digit(digits: &[u32], place: usize, weight_max: u32) -> bool {
    let Some(head) = digits.get(..place) else { return false };
    let sum: u32 = head.iter().rev().zip((2..=weight_max).cycle()).map(|(digit, weight)| digit * weight).sum();
    let check = if sum % 11 < 2 { 0 } else { 11 - sum % 11 };
    digits.get(place) == Some(&check)
}
