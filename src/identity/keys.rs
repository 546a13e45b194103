//! An issuer's published keys (RFC 7517), made ready once: every key is pinned to one algorithm, and those that could
//! not protect anything are left out with a reason. The signature itself is aws-lc's work; what it does not look at
//! (`use`, `key_ops`, key strength, which key is for which algorithm) is looked at here.

use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::compact::Header;
use super::json::{self, Json, Members};
use super::refusal::Reason;
use super::settings::Algorithm;

/// The most keys that one issuer may publish; a longer set is refused whole.
pub const KEYS_MAX: usize = 64;

/// RFC 7518 section 3.3; the upper bound keeps one verification cheap.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// All usable keys of one issuer at one time.
pub struct KeySet {
    keys: Vec<Key>,
    /// Why keys of the document are not used, by code.
    pub left_out: Vec<&'static str>,
}

/// A public key for one algorithm.
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    /// Parsed, so that a token pays for its signature alone.
    ready: ParsedPublicKey,
    /// The channels that it signs for; of the Bot Connector's keys alone.
    endorsements: Vec<String>,
}

/// Why a whole document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("the key set is not strict JSON with a `keys` array")]
    Malformed,
    #[error("the key set holds more than {KEYS_MAX} keys")]
    TooManyKeys,
}

impl KeySet {
    /// Reads a JWK set. `allowed` decides what an RSA key without `alg` is for: the first RSA algorithm in it. `uses` are
    /// those values of `use` that make a key one for tokens.
    pub fn parse(document: &[u8], allowed: &[Algorithm], uses: &[&str]) -> Result<Self, KeySetError> {
        let members = json::parse_object(document).map_err(|_| KeySetError::Malformed)?;
        let Some(Json::Array(jwks)) = members.get("keys") else { return Err(KeySetError::Malformed) };
        if jwks.len() > KEYS_MAX {
            return Err(KeySetError::TooManyKeys);
        }
        let mut set = Self { keys: Vec::new(), left_out: Vec::new() };
        for jwk in jwks {
            match jwk.as_object().ok_or("malformed_key").and_then(|jwk| Key::read(jwk, allowed, uses)) {
                Ok(key) => set.add(key),
                Err(reason) => set.left_out.push(reason),
            }
        }
        Ok(set)
    }

    /// The one key for a token with this header.
    pub fn find(&self, header: &Header) -> Result<&Key, Reason> {
        let mut known = false;
        let mut fitting = self.keys.iter().filter(|key| {
            let has_id = header.key_id.is_none() || header.key_id == key.id;
            known |= has_id;
            has_id && key.algorithm == header.algorithm
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(Reason::AmbiguousKey),
            (None, _) if known => Err(Reason::AlgKeyMismatch),
            (None, _) => Err(Reason::UntrustedKey),
        }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The same key published twice is one key.
    fn add(&mut self, key: Key) {
        let is_same = |other: &Key| {
            other.id == key.id && other.algorithm == key.algorithm && other.ready.as_ref() == key.ready.as_ref()
        };
        if !self.keys.iter().any(is_same) {
            self.keys.push(key);
        }
    }
}

impl Key {
    /// Its `kid`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether it signs for this channel, as keys of the Bot Connector say. Source: as of [`super::bot`].
    pub fn is_endorsed_for(&self, channel: &str) -> bool {
        self.endorsements.iter().any(|endorsed| endorsed == channel)
    }

    /// Whether `signature` over `signed` was made with this key's private half, by its one algorithm.
    pub fn verify(&self, signed: &str, signature: &[u8]) -> Result<(), Reason> {
        self.ready.verify_sig(signed.as_bytes(), signature).map_err(|_| Reason::BadSignature)
    }

    fn read(jwk: &Members, allowed: &[Algorithm], uses: &[&str]) -> Result<Self, &'static str> {
        let kty = text(jwk, "kty")?.ok_or("malformed_key")?;
        if kty == "oct" {
            return Err("symmetric_key_in_jwks");
        }
        if jwk.contains_key("d") {
            return Err("private_key_in_jwks");
        }
        refuse_by_purpose(jwk, uses)?;
        let algorithm = pinned_algorithm(jwk, kty, allowed)?;
        let ready = match algorithm {
            Algorithm::RS256 => rsa(jwk, &signature::RSA_PKCS1_2048_8192_SHA256)?,
            Algorithm::RS384 => rsa(jwk, &signature::RSA_PKCS1_2048_8192_SHA384)?,
            Algorithm::RS512 => rsa(jwk, &signature::RSA_PKCS1_2048_8192_SHA512)?,
            Algorithm::PS256 => rsa(jwk, &signature::RSA_PSS_2048_8192_SHA256)?,
            Algorithm::PS384 => rsa(jwk, &signature::RSA_PSS_2048_8192_SHA384)?,
            Algorithm::PS512 => rsa(jwk, &signature::RSA_PSS_2048_8192_SHA512)?,
            Algorithm::ES256 => elliptic_curve(jwk, &signature::ECDSA_P256_SHA256_FIXED, 32)?,
            Algorithm::ES384 => elliptic_curve(jwk, &signature::ECDSA_P384_SHA384_FIXED, 48)?,
            Algorithm::EdDSA => ed25519(jwk)?,
        };
        Ok(Self { id: text(jwk, "kid")?.map(str::to_owned), algorithm, ready, endorsements: endorsements(jwk) })
    }
}

/// None where there are none that can be read: then the key signs for no channel.
fn endorsements(jwk: &Members) -> Vec<String> {
    let Some(Json::Array(named)) = jwk.get("endorsements") else { return Vec::new() };
    named.iter().filter_map(Json::as_text).map(str::to_owned).collect()
}

fn refuse_by_purpose(jwk: &Members, uses: &[&str]) -> Result<(), &'static str> {
    let is_for_signatures = text(jwk, "use")?.is_none_or(|purpose| uses.contains(&purpose));
    let may_verify = match jwk.get("key_ops") {
        None => true,
        Some(Json::Array(operations)) => operations.iter().any(|operation| operation.as_text() == Some("verify")),
        Some(_) => false,
    };
    if is_for_signatures && may_verify { Ok(()) } else { Err("key_not_for_signatures") }
}

/// One key, one algorithm (RFC 8725 section 3.1): the one it states, else the one that its type implies.
fn pinned_algorithm(jwk: &Members, kty: &str, allowed: &[Algorithm]) -> Result<Algorithm, &'static str> {
    let is_rsa = |algorithm: &Algorithm| !matches!(algorithm, Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA);
    let implied = match (kty, text(jwk, "crv")?) {
        ("RSA", _) => allowed.iter().copied().find(is_rsa).unwrap_or(Algorithm::RS256),
        ("EC", Some("P-256")) => Algorithm::ES256,
        ("EC", Some("P-384")) => Algorithm::ES384,
        ("OKP", Some("Ed25519")) => Algorithm::EdDSA,
        _ => return Err("unknown_key_type"),
    };
    match text(jwk, "alg")? {
        None => Ok(implied),
        Some(name) => match Algorithm::from_name(name) {
            Some(stated) if stated == implied || (is_rsa(&stated) && is_rsa(&implied)) => Ok(stated),
            Some(_) | None => Err("unknown_key_algorithm"),
        },
    }
}

fn rsa(jwk: &Members, check: &'static RsaParameters) -> Result<ParsedPublicKey, &'static str> {
    let (modulus, exponent) = (unsigned(jwk, "n")?, unsigned(jwk, "e")?);
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    let is_weak = !RSA_BITS.contains(&bits) || !is_odd(&modulus) || !is_odd(&exponent) || exponent == [1];
    if is_weak || has_roca_fingerprint(&modulus) {
        return Err("weak_key");
    }
    RsaPublicKeyComponents { n: modulus, e: exponent }.to_parsed_public_key(check).map_err(|_| "malformed_key")
}

fn elliptic_curve(
    jwk: &Members,
    check: &'static EcdsaVerificationAlgorithm,
    coordinate_bytes: usize,
) -> Result<ParsedPublicKey, &'static str> {
    let (x, y) = (decoded(jwk, "x")?, decoded(jwk, "y")?);
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return Err("malformed_key");
    }
    // SEC 1: an uncompressed point. Parsing refuses one that does not lie on the curve.
    ParsedPublicKey::new(check, [[4_u8].as_slice(), &x, &y].concat()).map_err(|_| "malformed_key")
}

fn ed25519(jwk: &Members) -> Result<ParsedPublicKey, &'static str> {
    let point = decoded(jwk, "x")?;
    if point.len() != 32 {
        return Err("malformed_key");
    }
    if is_of_small_order(&point) {
        return Err("weak_key");
    }
    ParsedPublicKey::new(&signature::ED25519, point).map_err(|_| "malformed_key")
}

/// Whether an Ed25519 point has an order that divides eight: with such a key anybody can sign.
/// Source: the list of libsodium's `ge25519_has_small_order`, the sign bit ignored.
fn is_of_small_order(point: &[u8]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let Some((last, [first, middle @ ..])) = point.split_last() else { return true };
    let last = last & 0x7f;
    // 0, 1; p - 1, p, p + 1: little-endian.
    let is_zero_or_one = *first <= 1 && last == 0 && middle.iter().all(|byte| *byte == 0);
    let is_near_p = (0xec..=0xee).contains(first) && last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    let is_order_8 = ORDER_8.iter().any(|weak| weak.get(..31) == point.get(..31) && weak.last() == Some(&last));
    is_zero_or_one || is_near_p || is_order_8
}

/// Whether a modulus comes from the broken Infineon generator (ROCA, CVE-2017-15361): its remainder modulo each small
/// prime is then a power of 65537. About one sound key in 10^8 would be refused too.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
        109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|prime| {
        let remainder = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        std::iter::successors(Some(1), |power| Some(power * (65_537 % prime) % prime))
            .take(*prime as usize)
            .any(|power| power == remainder)
    })
}

/// A Base64urlUInt (RFC 7518 section 2) without leading zeros.
fn unsigned(jwk: &Members, name: &str) -> Result<Vec<u8>, &'static str> {
    Ok(decoded(jwk, name)?.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn decoded(jwk: &Members, name: &str) -> Result<Vec<u8>, &'static str> {
    let encoded = text(jwk, name)?.ok_or("malformed_key")?;
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "malformed_key")
}

fn text<'a>(jwk: &'a Members, name: &str) -> Result<Option<&'a str>, &'static str> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err("malformed_key"),
    }
}
