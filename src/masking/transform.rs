//! What stands in place of a value.

use super::MaskError;
use super::keys::Keyring;
use super::token::{REDACTED, is_host};
use crate::domain::{DataKind, KindGroup, Transform};

/// How many letters and digits a value must have for four of them to stay.
const SHOWN_FROM: usize = 8;
const SHOWN: usize = 4;

/// The value of this kind, transformed.
///
/// # Errors
/// [`MaskError::NoKey`] where the transform needs one.
pub fn apply(
    transform: Transform,
    keyring: &Keyring,
    tenant: &str,
    kind: DataKind,
    value: &str,
) -> Result<String, MaskError> {
    match transform {
        Transform::Redact => Ok(format!("<{REDACTED}>")),
        // What keeps its form is made by the masker, which sees whether it would be found again.
        Transform::Replace | Transform::Format => Ok(format!("<{kind}>")),
        Transform::Partial => Ok(partial(kind, value)),
        Transform::Pseudonym => keyring.pseudonym(tenant, kind, value),
        Transform::Seal => keyring.seal(tenant, kind, value),
    }
}

/// Of a secret nothing stays; of an address where it leads.
fn partial(kind: DataKind, value: &str) -> String {
    if kind == DataKind::EMAIL_ADDRESS
        && let Some((_, domain)) = value.rsplit_once('@').filter(|(_, domain)| is_host(domain))
    {
        return format!("***@{domain}");
    }
    let shown: Vec<char> = value.chars().filter(char::is_ascii_alphanumeric).collect();
    let last =
        shown.len().checked_sub(SHOWN).filter(|_| shown.len() >= SHOWN_FROM && kind.group() == KindGroup::Personal);
    match last.and_then(|from| shown.get(from..)) {
        Some(last) => format!("**** {}", last.iter().collect::<String>()),
        None => "****".to_owned(),
    }
}
