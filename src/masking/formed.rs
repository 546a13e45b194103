//! Values that keep their form: of a number with a check digit all digits but the last are encrypted (FF1), and the last is one
//! that is wrong. So a result is nobody's number, is not found when a text is masked again, and is known where the name of a
//! field tells what is in it. What has no check digit has no such place, and does not keep its form.

use super::MaskError;
use super::checksum::{digits, luhn};
use super::detect::{government, payment};
use super::ff1::{DIGITS_MAX, DIGITS_MIN, Ff1};
use super::shape::{Check, Shape};
use crate::domain::DataKind;

/// How many digits each kind has. Those of the same length may be taken for each other.
const LENGTHS: [(DataKind, std::ops::RangeInclusive<usize>); 14] = [
    (DataKind::CREDIT_CARD, 13..=19),
    (DataKind::ABA_ROUTING_NUMBER, 9..=9),
    (DataKind::UK_NHS, 10..=10),
    (DataKind::DE_TAX_ID, 11..=11),
    (DataKind::PL_PESEL, 11..=11),
    (DataKind::NL_BSN, 8..=9),
    (DataKind::SE_PERSONNUMMER, 10..=12),
    (DataKind::IN_AADHAAR, 12..=12),
    (DataKind::AU_TFN, 9..=9),
    (DataKind::AU_ABN, 11..=11),
    (DataKind::AU_ACN, 9..=9),
    (DataKind::BR_CPF, 11..=11),
    (DataKind::BR_CNPJ, 14..=14),
    (DataKind::CA_SIN, 9..=9),
];

/// What stands for the value: as many digits between the same separators. `None` for what is no such number.
///
/// # Errors
/// [`MaskError::Engine`] when AES fails.
pub fn form(ff1: &Ff1, tweak: &[u8], attempt: u8, kind: DataKind, value: &str) -> Result<Option<String>, MaskError> {
    let Some(digits) = digits_of(value).filter(|digits| fits(kind, digits.len()) && is_valid(kind, digits)) else {
        return Ok(None);
    };
    let Some((_, body)) = digits.split_last().filter(|(_, body)| (DIGITS_MIN..=DIGITS_MAX).contains(&body.len()))
    else {
        return Ok(None);
    };
    let mut other = ff1.encrypt(&[tweak, &[attempt]].concat(), body)?;
    let Some(last) = wrong_digit(ff1, tweak, &other)? else { return Ok(None) };
    other.push(last);
    let mut other = other.into_iter().map(|digit| char::from(b'0' + digit));
    let formed = value.chars().map(|letter| if letter.is_ascii_digit() { other.next().unwrap_or('0') } else { letter });
    Ok(Some(formed.collect()))
}

/// Whether the value ends with the wrong digit that [`form`] gives it. Of numbers that were merely mistyped one in nine does.
///
/// # Errors
/// [`MaskError::Engine`] when AES fails.
pub fn is_formed(ff1: &Ff1, tweak: &[u8], kind: DataKind, value: &str) -> Result<bool, MaskError> {
    let Some(digits) = digits_of(value).filter(|digits| fits(kind, digits.len())) else { return Ok(false) };
    let Some((last, body)) = digits.split_last() else { return Ok(false) };
    Ok(wrong_digit(ff1, tweak, body)? == Some(*last))
}

/// The digits between separators that stay; `None` where something else stands.
fn digits_of(value: &str) -> Option<Vec<u8>> {
    let is_kept = |byte: u8| byte.is_ascii_digit() || b" -./+".contains(&byte);
    value.bytes().all(is_kept).then(|| value.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect())
}

fn fits(kind: DataKind, length: usize) -> bool {
    LENGTHS.iter().any(|(formed, lengths)| *formed == kind && lengths.contains(&length))
}

/// A digit that makes it no number of any kind that is as long; the same for the same body, and of those that will do one that
/// the key decides. `None` if every digit is right for something.
fn wrong_digit(ff1: &Ff1, tweak: &[u8], body: &[u8]) -> Result<Option<u8>, MaskError> {
    let is_wrong = |last: &u8| {
        let whole = [body, &[*last]].concat();
        let is_right = |kind: &DataKind| fits(*kind, whole.len()) && is_valid(*kind, &whole);
        !LENGTHS.iter().any(|(kind, _)| is_right(kind))
    };
    let wrong: Vec<u8> = (0..10).filter(is_wrong).collect();
    let Some(choices) = u128::try_from(wrong.len()).ok().filter(|choices| *choices > 0) else { return Ok(None) };
    let choice = ff1.tag(tweak, body)? % choices;
    Ok(usize::try_from(choice).ok().and_then(|choice| wrong.get(choice)).copied())
}

/// Whether the check digit is right. Of a card that is all: also one of no brand is somebody's.
fn is_valid(kind: DataKind, digits: &[u8]) -> bool {
    let text: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
    if kind == DataKind::CREDIT_CARD {
        return luhn(&self::digits(&text));
    }
    let of_kind = |shape: &&Shape| shape.kind == kind;
    let mut shapes = [payment::SHAPES].iter().chain(government::SHAPES).copied().flatten().filter(of_kind);
    shapes.any(|shape| matches!(shape.check, Check::Valid(holds) if holds(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_policies_may_let_keep_its_form_has_a_check_here() {
        for (kind, _) in DataKind::BUILT_IN {
            assert_eq!(LENGTHS.iter().any(|(formed, _)| formed == kind), kind.keeps_form(), "{kind}");
        }
        // Nothing stands for what has no check: it would be right whatever its last digit.
        for (kind, lengths) in LENGTHS {
            assert!(
                !(0..10).all(|last| is_valid(kind, &[vec![1; lengths.start() - 1], vec![last]].concat())),
                "{kind}"
            );
        }
    }
}
