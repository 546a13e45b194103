//! The `grpc.tls` table, and the rules in `[[identity.certificates]]`. What may stand in them is said where they are used.

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::values::Setting;
use crate::grpc::tls::Files;
use crate::identity::san::CertificateRule;

impl Setting for Files {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected =
            "a table such as `{ certificate = \"tls.crt\", key = \"tls.key\", client_ca = \"clients.crt\" }`";
        serde_json::from_value(raw.clone()).map_err(|error| format!("{expected}; it has: {error}"))
    }

    fn show(&self) -> Value {
        // What is left out if it could not be written is the whole table: the server then refuses to listen to others.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

impl Setting for Vec<CertificateRule> {
    fn read(raw: &Value) -> Result<Self, String> {
        let expected = "tables such as `[[identity.certificates]]` with `san`, `namespace`, `kind` and `entity_type`";
        let tables = raw.as_array().ok_or(expected)?;
        let read = |(index, table): (usize, &Value)| {
            let rule = serde_json::from_value(table.clone());
            rule.map_err(|error| format!("{expected}; number {} has: {error}", index + 1))
        };
        tables.iter().enumerate().map(read).collect()
    }

    fn show(&self) -> Value {
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
    fn a_certificate_is_never_a_users() {
        let rule = |kind: &str| json!([{"san": "spiffe://prod/**", "namespace": "prod", "kind": kind, "entity_type": "Workload"}]);
        assert_eq!(Vec::<CertificateRule>::read(&rule("workload")).unwrap().len(), 1);
        let refused = Vec::<CertificateRule>::read(&rule("user")).unwrap_err();
        assert!(refused.contains("number 1 has: unknown variant `user`, expected `agent` or `workload`"), "{refused}");
    }

    #[test]
    fn the_tls_table_is_taken_as_written_or_not_at_all() {
        let good = json!({"certificate": "a", "key": "b", "client_ca": "c", "client_auth": "optional"});
        assert_eq!(Files::read(&good).unwrap().show(), good);
        for bad in [json!({"certificate": "a"}), json!({"certificate": "a", "key": "b", "ca": "c"}), json!("a")] {
            assert!(Files::read(&bad).is_err(), "{bad}");
        }
        let lax = json!({"certificate": "a", "key": "b", "client_ca": "c", "client_auth": "none"});
        assert!(Files::read(&lax).is_err());
    }
}
