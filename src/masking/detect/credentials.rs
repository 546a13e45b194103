//! Secrets that only their surroundings give away: a value beside a telling name, the user and password in a URL, a private
//! key between its marks.

use std::ops::Range;

use crate::domain::DataKind;
use crate::masking::checksum::entropy;
use crate::masking::finding::{Confidence, Finding, Layer};

/// Longest value beside a name, in bytes.
const VALUE_BYTES_MAX: usize = 512;
/// How many letters may follow a telling name within one identifier (`password_for_import`).
const NAME_TAIL_BYTES_MAX: usize = 24;
/// From here on a value is as mixed as keys are, in bits per character.
const ENTROPY_MIN: f64 = 3.0;

/// What tells a password, whatever it looks like.
pub const PASSWORD_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "passwort",
    "kennwort",
    "mot de passe",
    "contrase\u{f1}a",
    "senha",
    "wachtwoord",
    "has\u{142}o",
    "l\u{f6}senord",
    "salasana",
];

/// What tells a key, if it looks like one.
pub const KEY_NAMES: &[&str] = &[
    "secret",
    "api_key",
    "apikey",
    "api-key",
    "api key",
    "access_key",
    "accesskey",
    "access key",
    "auth_token",
    "authtoken",
    "access_token",
    "accesstoken",
    "refresh_token",
    "token",
    "credential",
    "private_key",
    "signing_key",
    "encryption_key",
];

pub const PEM_BEGIN: &str = "-----BEGIN ";
pub const PEM_END: &str = "-----END ";

/// Schemes whose URL as a whole is a connection string.
const DATABASES: &[&str] = &[
    "postgres",
    "postgresql",
    "mysql",
    "mariadb",
    "mongodb",
    "mongodb+srv",
    "redis",
    "rediss",
    "amqp",
    "amqps",
    "mssql",
    "sqlserver",
    "jdbc",
    "oracle",
    "nats",
];

/// Words that stand where a value would, and are none.
const NO_VALUES: &[&str] = &[
    "null",
    "none",
    "nil",
    "true",
    "false",
    "undefined",
    "required",
    "optional",
    "string",
    "empty",
    "yes",
    "no",
    "and",
    "or",
    "is",
    "the",
    "a",
    "for",
    "redacted",
    "hidden",
    "reset",
    "str",
    "bytes",
    "text",
    "varchar",
    "expired",
    "invalid",
    "missing",
];

fn finding(kind: DataKind, span: Range<usize>, confidence: Confidence, why: &'static str) -> Finding {
    Finding { kind, span, confidence, why, layer: Layer::Plain }
}

/// The value beside the name at `name`.
pub fn beside_name(text: &str, name: Range<usize>) -> Option<Finding> {
    let word = text.get(name.clone())?.to_lowercase();
    let is_password = PASSWORD_NAMES.contains(&&*word);
    let behind = text.get(..name.start)?.chars().next_back();
    if behind.is_some_and(|letter| {
        letter.is_alphanumeric() && !text.get(name.clone()).is_some_and(|name| name.starts_with(char::is_uppercase))
    }) {
        return None;
    }
    let (start, joined) = after_name(text, name.end)?;
    let span = value_at(text, start)?;
    let value = text.get(span.clone())?;
    if NO_VALUES.contains(&&*value.to_lowercase()) || is_reference(value) || !value.chars().any(char::is_alphanumeric) {
        return None;
    }
    let aws = value.len() == 40
        && text
            .get(name.start.saturating_sub(16)..span.start)
            .is_some_and(|around| around.to_lowercase().contains("aws"));
    let mixed = value.len() >= 8 && entropy(value) >= ENTROPY_MIN && value.bytes().any(|byte| byte.is_ascii_digit());
    let said = value.len() >= 4 && (mixed || value.bytes().any(|byte| !byte.is_ascii_lowercase()));
    match (is_password, joined) {
        _ if aws => Some(finding(DataKind::AWS_SECRET_KEY, span, 97, "forty characters beside a name of AWS")),
        (true, Join::Sign) if value.chars().count() >= 3 => {
            Some(finding(DataKind::PASSWORD, span, 90, "beside a name for passwords"))
        }
        (true, Join::Word) if said => Some(finding(DataKind::PASSWORD, span, 75, "said to be a password")),
        (false, Join::Sign) if mixed => {
            Some(finding(DataKind::API_KEY, span, 85, "mixed characters beside a name for keys"))
        }
        (false, Join::Word) if mixed && value.len() >= 16 => {
            Some(finding(DataKind::API_KEY, span, 70, "said to be a key"))
        }
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Join {
    /// `=`, `:`, `=>`.
    Sign,
    /// `is`, or only a space as on a command line.
    Word,
}

/// Where the value begins, past the rest of the name, quotes and what joins them.
fn after_name(text: &str, end: usize) -> Option<(usize, Join)> {
    let tail = text.get(end..)?;
    let named = tail.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-').count();
    if named > NAME_TAIL_BYTES_MAX {
        return None;
    }
    let rest = tail.get(named..)?;
    let signs = rest.bytes().take(12).take_while(|byte| b" \t\"'\\:=>`*".contains(byte)).count();
    let between = rest.get(..signs)?;
    let start = end + named + signs;
    if between.contains([':', '=']) {
        // The quote that opens the value belongs to it.
        let quote = usize::from(between.ends_with(['"', '\'', '`']));
        return Some((start - quote, Join::Sign));
    }
    let ahead = text.get(start..)?;
    let said = ["is ", "was ", "to ", "ist ", "es ", "est "].iter().find(|word| ahead.starts_with(**word));
    match said {
        Some(word) => Some((start + word.len(), Join::Word)),
        None => (between == " " && named == 0).then_some((start, Join::Word)),
    }
}

/// The value from `start`: to the closing quote, or to what cannot be part of one.
fn value_at(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = text.get(start..)?;
    let quote = rest.chars().next().filter(|letter| "\"'`".contains(*letter));
    let from = start + quote.map_or(0, char::len_utf8);
    let body = text.get(from..)?;
    let ends = |letter: char| match quote {
        Some(quote) => letter == quote || letter == '\n',
        None => letter.is_whitespace() || "\"'`,;<>)}]&".contains(letter),
    };
    let length = body
        .char_indices()
        .find(|(at, letter)| ends(*letter) || *at >= VALUE_BYTES_MAX)
        .map_or(body.len(), |(at, _)| at);
    let value = body.get(..length)?;
    let value =
        if quote.is_none() { value.trim_end_matches(['.', '!', '?', ':', '\\']) } else { value.trim_end_matches('\\') };
    (!value.is_empty()).then(|| from..from + value.len())
}

/// A place where a value will be put, not a value: `${PASSWORD}`, `{{ password }}`, `%s`, `os.environ`.
fn is_reference(value: &str) -> bool {
    // A closing brace ends the value where it is not in quotes.
    let inner =
        value.strip_prefix("${").or_else(|| value.strip_prefix("{{")).map(|inner| inner.trim_end_matches('}').trim());
    inner.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-:".contains(&byte)))
        || value == "%s"
        || value == "?"
        || value.starts_with("os.environ")
        || value.starts_with("process.env")
        || (value.starts_with('$')
            && value.len() > 1
            && value.bytes().skip(1).all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
}

/// User and password in the URL whose `://` is at `at`.
pub fn url_credentials(text: &str, at: usize) -> Option<Finding> {
    let scheme_bytes = text
        .get(..at)?
        .bytes()
        .rev()
        .take(24)
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.:".contains(byte))
        .count();
    let scheme = text.get(at - scheme_bytes..at)?;
    let from = at + 3;
    let rest = text.get(from..)?;
    let length = rest
        .char_indices()
        .find(|(place, letter)| letter.is_whitespace() || "\"'<>`".contains(*letter) || *place >= VALUE_BYTES_MAX)
        .map_or(rest.len(), |(end, _)| end);
    let url = rest.get(..length)?;
    let authority_end = url.find(['?', '#']).unwrap_or(url.len());
    let host = url.get(..authority_end)?.rfind('@')?;
    let (user, password) = url.get(..host)?.split_once(':')?;
    if password.is_empty() || user.contains('/') || is_reference(password) {
        return None;
    }
    let is_database = DATABASES.iter().any(|name| scheme.to_ascii_lowercase().split(':').any(|part| part == *name));
    if is_database {
        let whole = at - scheme_bytes..from + url.trim_end_matches(['.', ',', ';', ')']).len();
        return Some(finding(DataKind::CONNECTION_STRING, whole, 97, "address of a database with a password"));
    }
    Some(finding(DataKind::URL_CREDENTIALS, from..from + host, 96, "user and password before the host"))
}

/// The private key whose mark begins at `at`; to the end of the text where the closing mark is missing.
pub fn private_key(text: &str, at: usize) -> Option<Finding> {
    let rest = text.get(at..)?;
    let label = rest.get(PEM_BEGIN.len()..)?;
    let label = label.get(..label.find("-----")?)?;
    if label.len() > 40 || !label.contains("PRIVATE KEY") {
        return None;
    }
    let length = match rest.find(PEM_END) {
        Some(end) => {
            let mark = rest.get(end + PEM_END.len()..)?;
            end + PEM_END.len() + mark.find("-----").map_or(mark.len(), |close| close + 5)
        }
        None => rest.len(),
    };
    Some(finding(DataKind::PRIVATE_KEY, at..at + length, 100, "between the marks of a private key"))
}
