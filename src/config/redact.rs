//! What of the configuration is not for every reader. Secrets are in files and never values here; yet arguments of a command that
//! asks a key management service, and what stands behind the host of an address, may be as good as one.

use serde_json::{Map, Value};

/// In the place of what is left out.
const REDACTED: &str = "***";
/// Keys whose list is a command.
const COMMANDS: [&str; 3] = ["from", "pseudonym_key", "format_key"];

/// The value of the key with this full name, without what may be a secret.
#[must_use]
pub fn redacted(key: &str, value: Value) -> Value {
    let name = key.rsplit('.').next().unwrap_or(key);
    match value {
        Value::String(text) if key == "notify.targets.url" => address(&text, Path::LeaveOut).into(),
        Value::String(text) => address(&text, Path::Show).into(),
        Value::Array(words) if COMMANDS.contains(&name) => command(words),
        Value::Array(values) => values.into_iter().map(|value| redacted(key, value)).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| (name.clone(), redacted(&format!("{key}.{name}"), value));
            Value::Object(fields.into_iter().map(field).collect::<Map<_, _>>())
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// The program stays, its arguments do not.
fn command(words: Vec<Value>) -> Value {
    let mut words = words.into_iter();
    let program = words.next();
    program.into_iter().chain(words.next().map(|_| REDACTED.into())).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Show,
    /// Whoever knows the path of a hook can post to it.
    LeaveOut,
}

/// An address without user, password and query; anything else as it is.
fn address(text: &str, path: Path) -> String {
    let Some(mut url) = reqwest::Url::parse(text).ok().filter(reqwest::Url::has_host) else { return text.to_owned() };
    let shown = url.clone();
    // Each can only fail for an address without a host.
    if !url.username().is_empty() || url.password().is_some() {
        let _ = url.set_username(REDACTED);
        let _ = url.set_password(None);
    }
    if url.query().is_some() {
        url.set_query(Some(REDACTED));
    }
    if path == Path::LeaveOut && !matches!(url.path(), "" | "/") {
        url.set_path(REDACTED);
    }
    if url == shown { text.to_owned() } else { url.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_left_out_and_all_else_is_as_it_is() {
        for (key, value, shown) in [
            ("masking.format_key", json!(["kms", "decrypt", "hunter2"]), json!(["kms", "***"])),
            ("masking.format_key", json!("file:/etc/key"), json!("file:/etc/key")),
            (
                "journal.sealing_keys",
                json!([{"id": "a", "from": ["kms", "x"]}]),
                json!([{"id": "a", "from": ["kms", "***"]}]),
            ),
            (
                "notify.targets",
                json!([{"url": "https://hooks.example/T0/hunter2?k=hunter2", "to": ["a@b.example"]}]),
                json!([{"url": "https://hooks.example/***?***", "to": ["a@b.example"]}]),
            ),
            (
                "identity.issuers",
                json!([{"issuer": "https://a.example/x", "keys": {"jwks_url": "https://u:hunter2@a.example/k"}}]),
                json!([{"issuer": "https://a.example/x", "keys": {"jwks_url": "https://***@a.example/k"}}]),
            ),
            ("web.scopes", json!(["profile"]), json!(["profile"])),
            ("limits.waits_max", json!(7), json!(7)),
            ("grpc.listen", json!("127.0.0.1:7443"), json!("127.0.0.1:7443")),
        ] {
            assert_eq!(redacted(key, value), shown, "{key}");
        }
    }
}
