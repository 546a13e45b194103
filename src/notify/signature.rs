//! Signatures of webhooks. Source: Standard Webhooks 1.0, symmetric scheme `v1` (HMAC-SHA-256 over id, timestamp and body).

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What every secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, as the specification has them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets of one endpoint: the current one, and those that are on their way in or out.
const SECRETS_MAX: usize = 4;

/// The secrets of one endpoint, never empty. A message carries a signature by each, so that one can be replaced by another
/// without a message that the receiver must refuse.
pub struct Secrets(Vec<hmac::Key>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {SECRETS_MAX} lines, each `{PREFIX}` and the Base64 of 24 to 64 bytes")]
pub struct NotSecrets;

impl Secrets {
    /// One secret a line.
    ///
    /// # Errors
    /// [`NotSecrets`], which does not repeat what it was given.
    pub fn parse(text: &str) -> Result<Self, NotSecrets> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if !(1..=SECRETS_MAX).contains(&lines.len()) {
            return Err(NotSecrets);
        }
        lines.into_iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp_seconds: i64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp_seconds}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn key(line: &str) -> Result<hmac::Key, NotSecrets> {
    let bytes = line.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok()).ok_or(NotSecrets)?;
    if SECRET_BYTES.contains(&bytes.len()) { Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes)) } else { Err(NotSecrets) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn the_published_example_is_signed_as_published() {
        let secrets = Secrets::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n").unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let signed = secrets.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body);
        assert_eq!(signed, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn the_vectors_of_others_are_met() {
        let Some(dir) = std::env::var_os("VECTORS_DIR") else {
            eprintln!("VECTORS_DIR is not set: the vectors of others were not run");
            return;
        };
        let text = std::fs::read_to_string(std::path::Path::new(&dir).join("webhooks/signatures.json")).unwrap();
        let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cases = vectors["standard_webhooks"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap();
            let secrets = Secrets::parse(text("secret")).unwrap();
            let signed = secrets.sign(
                text("webhook-id"),
                text("webhook-timestamp").parse().unwrap(),
                text("payload").as_bytes(),
            );
            assert_eq!(signed, text("webhook-signature"));
        }
    }

    #[test]
    fn each_secret_signs_and_none_is_shown() {
        let (one, two) = (format!("whsec_{}", STANDARD.encode([1; 24])), format!("whsec_{}", STANDARD.encode([2; 64])));
        let both = Secrets::parse(&format!("{one}\n\n{two}\n")).unwrap();
        let alone = |secret: &str| Secrets::parse(secret).unwrap().sign("a", 1, b"b");
        assert_eq!(both.sign("a", 1, b"b"), format!("{} {}", alone(&one), alone(&two)));
        assert_eq!(format!("{both:?}"), "***");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        let long = format!("whsec_{}", STANDARD.encode([1; 65]));
        let five = format!("whsec_{}\n", STANDARD.encode([1; 24])).repeat(5);
        for wrong in ["", "\n", "secret", "whsec_", "whsec_%%%", &short, &long, &five, &five.replacen("whsec_", "", 1)]
        {
            assert_eq!(Secrets::parse(wrong).err(), Some(NotSecrets), "{wrong}");
        }
    }
}
