//! India, Australia, Singapore.

use crate::domain::DataKind;
use crate::masking::checksum::{compact, digits, is_monotone, verhoeff, weighted};
use crate::masking::shape::{Check, Shape};

const AADHAAR: &[&str] = &["aadhaar", "aadhar", "uidai", "uid"];
const PAN: &[&str] = &["pan", "permanent account", "income tax"];
const TFN: &[&str] = &["tfn", "tax file"];
const ABN: &[&str] = &["abn", "business number"];
const ACN: &[&str] = &["acn", "company number"];
const MEDICARE: &[&str] = &["medicare"];
const NRIC: &[&str] = &["nric", "fin", "identity card"];

pub const SHAPES: &[Shape] = &[
    Shape {
        words: AADHAAR,
        ..Shape::sure(
            DataKind::IN_AADHAAR,
            "[2-9][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}",
            Check::Valid(aadhaar),
            75,
            "Aadhaar, check digit right",
        )
    },
    Shape {
        words: AADHAAR,
        ..Shape::sure(DataKind::IN_AADHAAR, "[2-9][0-9]{11}", Check::Valid(aadhaar), 30, "Aadhaar, check digit right")
    },
    Shape {
        words: PAN,
        ..Shape::sure(
            DataKind::IN_PAN,
            "[A-Z]{3}[ABCFGHJLPT][A-Z][0-9]{4}[A-Z]",
            Check::None,
            80,
            "permanent account number",
        )
    },
    Shape {
        words: TFN,
        ..Shape::sure(
            DataKind::AU_TFN,
            "[0-9]{3} ?[0-9]{3} ?[0-9]{3}",
            Check::Valid(tfn),
            10,
            "tax file number, check digit right",
        )
    },
    Shape {
        words: ABN,
        ..Shape::sure(
            DataKind::AU_ABN,
            "[0-9]{2} [0-9]{3} [0-9]{3} [0-9]{3}",
            Check::Valid(abn),
            65,
            "business number, check digits right",
        )
    },
    Shape {
        words: ABN,
        ..Shape::sure(DataKind::AU_ABN, "[0-9]{11}", Check::Valid(abn), 40, "business number, check digits right")
    },
    Shape {
        words: ACN,
        ..Shape::sure(
            DataKind::AU_ACN,
            "[0-9]{3} ?[0-9]{3} ?[0-9]{3}",
            Check::Valid(acn),
            10,
            "company number, check digit right",
        )
    },
    Shape {
        words: MEDICARE,
        ..Shape::sure(
            DataKind::AU_MEDICARE,
            "[2-6][0-9]{3} ?[0-9]{5} ?[0-9]{1,2}",
            Check::Valid(medicare),
            30,
            "Medicare number, check digit right",
        )
    },
    Shape {
        words: NRIC,
        ..Shape::sure(
            DataKind::SG_NRIC_FIN,
            "[STFGMstfgm][0-9]{7}[A-Za-z]",
            Check::Valid(nric),
            90,
            "NRIC or FIN, check letter right",
        )
    },
];

fn aadhaar(text: &str) -> bool {
    let digits = digits(text);
    verhoeff(&digits) && !is_monotone(&digits)
}

fn tfn(text: &str) -> bool {
    let digits = digits(text);
    weighted(&digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11) && !is_monotone(&digits)
}

fn abn(text: &str) -> bool {
    let digits = digits(text);
    let sum = weighted(&digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    digits.first() != Some(&0) && sum.checked_sub(10).is_some_and(|sum| sum.is_multiple_of(89))
}

fn acn(text: &str) -> bool {
    let digits = digits(text);
    let check = (10 - weighted(&digits, &[8, 7, 6, 5, 4, 3, 2, 1]) % 10) % 10;
    digits.get(8) == Some(&check) && !is_monotone(&digits)
}

fn medicare(text: &str) -> bool {
    let digits = digits(text);
    digits.get(8) == Some(&(weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10)) && !is_monotone(&digits)
}

fn nric(text: &str) -> bool {
    let code = compact(text);
    let series = code.chars().next().unwrap_or_default();
    let (offset, letters) = match series {
        'S' => (0, "JZIHGFEDCBA"),
        'T' => (4, "JZIHGFEDCBA"),
        'F' => (0, "XWUTRQPNMLK"),
        'G' => (4, "XWUTRQPNMLK"),
        _ => (3, "XWUTRQPNJLK"),
    };
    let sum = offset + weighted(&digits(&code), &[2, 7, 6, 5, 4, 3, 2]);
    letters.chars().nth((sum % 11) as usize) == code.chars().last()
}
