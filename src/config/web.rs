//! What only the `[web]` table has: where browsers are sent back to, and where ID tokens differ from access tokens.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::values::Setting;
use crate::identity::IdTokenRules;

/// The origin of the inbox as browsers see it: `https://approvals.company.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Setting for PublicUrl {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "`https://`, a host, and a port where it is not 443, without anything behind (`http://` for a \
                        loopback address only)";
        let text = raw.as_str().ok_or(expected)?;
        let parsed = reqwest::Url::parse(text).map_err(|_| expected)?;
        let is_loopback = parsed.host_str().is_some_and(|host| {
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        });
        let is_secure = parsed.scheme() == "https" || (parsed.scheme() == "http" && is_loopback);
        // As browsers write it, so that it can be compared with what they send.
        if is_secure && parsed.origin().ascii_serialization() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(expected.to_owned())
        }
    }

    fn show(&self) -> Value {
        self.0.clone().into()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^https?://."})
    }
}

impl Setting for IdTokenRules {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "a table with `id`, `groups` or `required_claims`";
        serde_json::from_value(raw.clone()).map_err(|error| format!("{expected}; it has: {error}"))
    }

    fn show(&self) -> Value {
        // What could not be written is left out as a whole: the issuer's own rules then hold.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_origin_is_taken_as_browsers_write_it_or_not_at_all() {
        for good in ["https://a.example", "https://a.example:8443", "http://127.0.0.1:7480", "http://localhost:1"] {
            assert_eq!(PublicUrl::read(&json!(good)).unwrap().show(), json!(good));
        }
        for bad in [
            "http://a.example",
            "https://a.example/",
            "https://a.example/inbox",
            "https://a.example:443",
            "https://A.example",
            "https://user@a.example",
            "a.example",
            "javascript:alert(1)",
            "",
        ] {
            assert!(PublicUrl::read(&json!(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_for_id_tokens_are_read_strictly() {
        assert_eq!(IdTokenRules::read(&json!({})).unwrap(), IdTokenRules::default());
        let rules = json!({"id": "{sub}", "groups": [{"claim": "/roles"}]});
        assert_eq!(IdTokenRules::read(&rules).unwrap().groups.unwrap().len(), 1);
        assert!(IdTokenRules::read(&json!({"audience": "x"})).is_err());
    }
}
