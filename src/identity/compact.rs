//! Takes a token in JWS compact form (RFC 7515 section 3.1) apart. Nothing in it is believed yet: this only says what
//! it claims to be, and refuses every form that could be read in two ways.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::json::{self, Json, JsonError, Members};
use super::refusal::Reason;
use super::settings::Algorithm;

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The longest key id that is looked up.
const KEY_ID_BYTES_MAX: usize = 256;

/// The three parts, decoded.
pub struct Compact<'token> {
    /// What the signature is over: header, dot, payload, as sent.
    pub signed: &'token str,
    pub header: Header,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// What the header says, as far as it matters. Keys and addresses of keys in it (`jwk`, `jku`, `x5c`, `x5u`) are
/// ignored: a key is trusted because its issuer publishes it.
pub struct Header {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    /// `typ` in lower case without `application/`.
    pub token_type: Option<String>,
}

impl<'token> Compact<'token> {
    /// Decodes the parts and reads the header.
    pub fn parse(token: &'token str) -> Result<Self, Reason> {
        refuse_by_form(token)?;
        let segments: Vec<&str> = token.splitn(6, '.').collect();
        match segments.as_slice() {
            [header, payload, signature] => {
                let header = Header::read(&json::parse_object(&decode(header)?)?)?;
                let signed = token.get(..token.len() - signature.len() - 1).ok_or(Reason::Malformed)?;
                Ok(Self { signed, header, payload: decode(payload)?, signature: decode(signature)? })
            }
            [_, _, _, _, _] => Err(Reason::EncryptedNotSupported),
            _ => Err(Reason::Malformed),
        }
    }
}

impl Header {
    fn read(members: &Members) -> Result<Self, Reason> {
        if members.contains_key("enc") || members.contains_key("zip") || members.contains_key("p2c") {
            return Err(Reason::EncryptedNotSupported);
        }
        let algorithm = text(members, "alg")?.ok_or(Reason::Malformed)?;
        let algorithm = Algorithm::from_name(algorithm).ok_or(Reason::AlgNotAllowed)?;
        // We understand no extension, so whatever is critical is too much (RFC 7515 section 4.1.11).
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(Reason::CritNotUnderstood);
        }
        if text(members, "cty")?.is_some_and(|content| plain_type(content) == "jwt") {
            return Err(Reason::NestedNotSupported);
        }
        let key_id = text(members, "kid")?;
        if key_id.is_some_and(|id| id.len() > KEY_ID_BYTES_MAX) {
            return Err(Reason::TooLarge);
        }
        Ok(Self { algorithm, key_id: key_id.map(str::to_owned), token_type: text(members, "typ")?.map(plain_type) })
    }
}

/// A media type as `typ` and `cty` abbreviate it (RFC 7515 section 4.1.9).
pub fn plain_type(media_type: &str) -> String {
    let lower = media_type.to_ascii_lowercase();
    lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
}

impl From<JsonError> for Reason {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Malformed => Self::Malformed,
            JsonError::TooDeep => Self::TooLarge,
        }
    }
}

fn refuse_by_form(token: &str) -> Result<(), Reason> {
    if token.trim().is_empty() || token.trim().eq_ignore_ascii_case("bearer") {
        return Err(Reason::MissingToken);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Reason::TooLarge);
    }
    let is_expected = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if token.bytes().all(is_expected) { Ok(()) } else { Err(Reason::Malformed) }
}

/// Canonical base64url only: padding and stray bits in the last character are refused, so that one token has one form.
fn decode(segment: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| Reason::Malformed)
}

fn text<'a>(members: &'a Members, name: &str) -> Result<Option<&'a str>, Reason> {
    match members.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err(Reason::Malformed),
    }
}
