//! Base64 within a text: looked into where it decodes to text, to a limit of layers and bytes.

use std::ops::Range;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::MaskError;
use super::finding::{Finding, Layer};
use super::scan::Scanner;
use crate::domain::DataKind;

/// Runs of letters and digits from here on may be a part of base64.
pub const RUN_BYTES_MIN: usize = 8;
/// Shorter than this, base64 holds nothing worth finding.
const ENCODED_BYTES_MIN: usize = 20;
/// Longer is not looked into.
pub const ENCODED_BYTES_MAX: usize = 48 * 1024;

const LOOSE: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LOOSE);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LOOSE);

/// Adds one finding for each base64 that holds any, of the kind of the surest.
pub fn find(
    scanner: &Scanner,
    text: &str,
    runs: &[Range<usize>],
    layers: usize,
    wanted: &dyn Fn(&DataKind) -> bool,
    found: &mut Vec<Finding>,
) -> Result<(), MaskError> {
    let mut done = 0;
    for run in runs {
        if run.start < done {
            continue;
        }
        let span = whole(text, run);
        done = span.end;
        if !(ENCODED_BYTES_MIN..=ENCODED_BYTES_MAX).contains(&span.len()) || layers == 0 {
            continue;
        }
        let Some((inner, _)) = text.get(span.clone()).and_then(decode) else { continue };
        let inside = scanner.find(&inner, 0, wanted, &|_| true)?;
        if let Some(surest) = inside.into_iter().max_by_key(|finding| finding.confidence) {
            found.push(Finding { span, why: "within base64", layer: Layer::Base64, ..surest });
        }
    }
    Ok(())
}

/// The text that base64 holds, and the form to write it again.
pub fn decode(encoded: &str) -> Option<(String, Form)> {
    let is_url_safe = encoded.contains(['-', '_']);
    let engine = if is_url_safe { URL_SAFE } else { STANDARD };
    let inner = String::from_utf8(engine.decode(encoded).ok()?).ok()?;
    let is_text = !inner.chars().any(|letter| letter.is_control() && !letter.is_whitespace());
    is_text
        .then_some((inner, Form { is_url_safe, is_padded: encoded.ends_with('=') || encoded.len().is_multiple_of(4) }))
}

/// How some base64 was written.
#[derive(Clone, Copy)]
pub struct Form {
    is_url_safe: bool,
    is_padded: bool,
}

impl Form {
    pub fn encode(self, inner: &str) -> String {
        let padded = if self.is_url_safe { URL_SAFE.encode(inner) } else { STANDARD.encode(inner) };
        if self.is_padded { padded } else { padded.trim_end_matches('=').to_owned() }
    }
}

/// The whole run of base64 around a run of letters and digits.
fn whole(text: &str, run: &Range<usize>) -> Range<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let bytes = text.as_bytes();
    let behind = bytes
        .get(..run.start)
        .unwrap_or_default()
        .iter()
        .rev()
        .take(ENCODED_BYTES_MAX)
        .take_while(|byte| is_part(byte))
        .count();
    let ahead = bytes.get(run.end..).unwrap_or_default().iter().take_while(|byte| is_part(byte)).count();
    let end = run.end + ahead;
    let padding = bytes.get(end..).unwrap_or_default().iter().take(2).take_while(|byte| **byte == b'=').count();
    run.start - behind..end + padding
}
