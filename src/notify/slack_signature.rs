//! Whether a request is Slack's: signed with the app's secret, lately. Source: Slack, "Verifying requests from Slack" (scheme
//! `v0`, HMAC-SHA-256 over `v0:<timestamp>:<body>`, five minutes).
//!
//! The body is what came, byte for byte: what was parsed and written again is something else.

use aws_lc_rs::hmac;

use crate::domain::Timestamp;

/// How far the time of a request may be from ours, in seconds, either way.
pub const WINDOW_SECONDS: i64 = 300;
/// Secrets at the same time: the current one, and the one that it replaces.
const SECRETS_MAX: usize = 2;
/// Slack's have 32 characters.
const SECRET_CHARS_MIN: usize = 16;

/// A request proved to be Slack's; its signature names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proved(pub [u8; 32]);

/// Why it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    #[error("the request is not signed by the app's secret")]
    Signature,
    #[error("the request is older than five minutes, or from the future")]
    Time,
}

/// The app's signing secrets, never empty.
pub struct SigningSecrets(Vec<hmac::Key>);

impl SigningSecrets {
    /// One secret a line. The error does not repeat what it was given.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let plain = |line: &&str| line.len() >= SECRET_CHARS_MIN && line.bytes().all(|byte| byte.is_ascii_graphic());
        if !(1..=SECRETS_MAX).contains(&lines.len()) || !lines.iter().all(plain) {
            return Err("expected Slack's signing secret, and below it the one it replaces, if any".to_owned());
        }
        Ok(Self(lines.iter().map(|line| hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes())).collect()))
    }

    /// `timestamp` and `signature` are the headers `X-Slack-Request-Timestamp` and `X-Slack-Signature`.
    ///
    /// # Errors
    /// [`Unproved`].
    pub fn verify(&self, timestamp: &str, signature: &str, body: &[u8], now: Timestamp) -> Result<Proved, Unproved> {
        // INVARIANT: what is old is refused, however well it was signed once.
        let is_number = (1..=12).contains(&timestamp.len()) && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let at: i64 = timestamp.parse().ok().filter(|_| is_number).ok_or(Unproved::Signature)?;
        if (now.as_seconds() - at).abs() > WINDOW_SECONDS {
            return Err(Unproved::Time);
        }
        let signed = signature.strip_prefix("v0=").and_then(bytes).ok_or(Unproved::Signature)?;
        let message = [b"v0:", timestamp.as_bytes(), b":", body].concat();
        // Compared in constant time.
        let is_ours = self.0.iter().any(|key| hmac::verify(key, &message, &signed).is_ok());
        if is_ours { Ok(Proved(signed)) } else { Err(Unproved::Signature) }
    }
}

/// 64 lower-case hexadecimal digits.
fn bytes(text: &str) -> Option<[u8; 32]> {
    text.parse::<crate::domain::Binding>().ok().map(|digest| digest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const AT: &str = "1531420618";
    const BODY: &[u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn now(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// The example of Slack's documentation.
    #[test]
    fn the_published_example_is_believed_in_its_time_and_no_other() {
        let secrets = SigningSecrets::parse(SECRET).unwrap();
        let at = |seconds: i64| secrets.verify(AT, SIGNATURE, BODY, now(1_531_420_618 + seconds)).map(|_| ());
        assert_eq!((at(0), at(300), at(-300)), (Ok(()), Ok(()), Ok(())));
        assert_eq!((at(301), at(-301), at(86_400)), (Err(Unproved::Time), Err(Unproved::Time), Err(Unproved::Time)));
    }

    #[test]
    fn case_46_what_was_changed_or_signed_by_others_is_not_slacks() {
        let secrets = SigningSecrets::parse(SECRET).unwrap();
        let here = now(1_531_420_618);
        let verify = |at: &str, signature: &str, body: &[u8]| secrets.verify(at, signature, body, here).map(|_| ());
        let wrong = Err(Unproved::Signature);
        let reordered = [b"text=&".as_slice(), BODY].concat();
        assert_eq!(verify(AT, SIGNATURE, &reordered), wrong);
        assert_eq!(verify("1531420619", SIGNATURE, BODY), wrong);
        let last = format!("{}4", &SIGNATURE[..SIGNATURE.len() - 1]);
        for signature in ["", "v0=", "v1=00", &SIGNATURE[3..], &SIGNATURE.to_uppercase(), &last, &SIGNATURE[..30]] {
            assert_eq!(verify(AT, signature, BODY), wrong, "{signature}");
        }
        for at in ["", "+1531420618", "1531420618.0", " 1531420618", "-1", "99999999999999999999"] {
            assert_eq!(verify(at, SIGNATURE, BODY), wrong, "{at}");
        }
        let other = SigningSecrets::parse(&SECRET.replace('8', "9")).unwrap();
        assert_eq!(other.verify(AT, SIGNATURE, BODY, here), Err(Unproved::Signature));
        let both = SigningSecrets::parse(&format!("{}\n{SECRET}\n", SECRET.replace('8', "9"))).unwrap();
        assert!(both.verify(AT, SIGNATURE, BODY, here).is_ok());
    }

    #[test]
    fn case_46_without_a_secret_there_is_nothing_to_verify_with() {
        for none in ["", "\n \n", "short", "a secret with spaces in it", "0123456789abcdef\n".repeat(3).as_str()] {
            assert!(SigningSecrets::parse(none).is_err(), "{none}");
        }
    }
}
