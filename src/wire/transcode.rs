//! Messages of every method, to and from the JSON of proto3: driven by the compiled descriptors, so that what is added to the
//! protos can be said in JSON the same day.
//!
//! Output is canonical. Input is taken more strictly than the mapping asks for ([`strict`]): what could be understood in two ways, or
//! would be passed over, is refused. [`super::json`] is for people who read; this is for programs that call.

mod strict;

use std::fmt;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, Value};

/// Not a set of descriptors that go together.
#[derive(Debug, thiserror::Error)]
#[error("the descriptors of the API do not go together: {0}")]
pub struct DescriptorsError(#[from] prost_reflect::DescriptorError);

/// All methods and messages that there are words for.
#[derive(Clone)]
pub struct Vocabulary {
    pool: DescriptorPool,
}

impl Vocabulary {
    /// Of several encoded sets of descriptors; files that are in more than one must be the same.
    ///
    /// # Errors
    /// [`DescriptorsError`].
    pub fn new(sets: &[&[u8]]) -> Result<Self, DescriptorsError> {
        let mut pool = DescriptorPool::new();
        for set in sets {
            pool.decode_file_descriptor_set(*set)?;
        }
        Ok(Self { pool })
    }

    /// Every method of every service.
    pub fn methods(&self) -> impl Iterator<Item = Method> + '_ {
        self.pool.services().flat_map(|service| service.methods().map(Method::of).collect::<Vec<_>>())
    }

    /// A message by its full name, such as `google.rpc.ErrorInfo`.
    #[must_use]
    pub fn message(&self, name: &str) -> Option<Words> {
        self.pool.get_message_by_name(name).map(Words)
    }
}

impl Vocabulary {
    /// The details of an error (an encoded `google.rpc.Status`), in order.
    #[must_use]
    pub fn details(&self, status: &[u8]) -> Vec<Detail> {
        let found =
            self.message("google.rpc.Status").and_then(|Words(words)| DynamicMessage::decode(words, status).ok());
        let details = found.as_ref().and_then(|status| status.get_field_by_name("details"));
        let details = details.as_deref().and_then(Value::as_list).unwrap_or_default();
        details.iter().filter_map(|detail| self.detail(detail.as_message()?)).collect()
    }

    /// What is in an `Any`.
    fn detail(&self, any: &DynamicMessage) -> Option<Detail> {
        let (url, encoded) = (any.get_field_by_name("type_url")?, any.get_field_by_name("value")?);
        let name = url.as_str()?.rsplit('/').next()?.to_owned();
        let encoded = encoded.as_bytes()?.to_vec();
        let message = self.message(&name).and_then(|Words(words)| DynamicMessage::decode(words, &*encoded).ok());
        let readable = message.and_then(|message| serde_json::to_value(&message).ok());
        Some(Detail { name, encoded, readable })
    }
}

/// One detail of an error.
#[derive(Debug, PartialEq)]
pub struct Detail {
    /// Such as `google.rpc.ErrorInfo`.
    pub name: String,
    pub encoded: Vec<u8>,
    /// In JSON, where there are words for it.
    pub readable: Option<serde_json::Value>,
}

/// One method, as it is called.
#[derive(Debug, Clone)]
pub struct Method {
    /// Such as `/countersign.v1.DecisionPoint/Authorize`.
    pub path: String,
    pub input: Words,
    pub output: Words,
    pub streams: Streams,
}

/// Which side sends many messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    Neither,
    Server,
    /// The client, or both.
    Client,
}

impl Method {
    fn of(method: MethodDescriptor) -> Self {
        Self {
            path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
            input: Words(method.input()),
            output: Words(method.output()),
            streams: match (method.is_client_streaming(), method.is_server_streaming()) {
                (true, _) => Streams::Client,
                (false, true) => Streams::Server,
                (false, false) => Streams::Neither,
            },
        }
    }
}

/// How one kind of message is said. Cheap to clone.
#[derive(Clone)]
pub struct Words(MessageDescriptor);

/// Why a text is not the message that it should be: fit for whoever sent it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Misread {
    /// By its name in the protos, with what it is in; empty where it is the whole.
    pub field: String,
    pub message: String,
}

impl Words {
    /// The message that a text in JSON says, encoded.
    ///
    /// # Errors
    /// [`Misread`]
    pub fn read_json(&self, text: &[u8]) -> Result<Vec<u8>, Misread> {
        strict::check(&self.0, text)?;
        let mut reader = serde_json::Deserializer::from_slice(text);
        let message = DynamicMessage::deserialize(self.0.clone(), &mut reader);
        Ok(message.map_err(|error| strict::misread(String::new(), &error))?.encode_to_vec())
    }

    /// What an encoded message says, in JSON; `None` where it is no such message.
    #[must_use]
    pub fn write_json(&self, encoded: &[u8]) -> Option<Vec<u8>> {
        let message = DynamicMessage::decode(self.0.clone(), encoded).ok()?;
        serde_json::to_vec(&message).ok()
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.full_name())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{DESCRIPTORS, pb};
    use super::*;

    fn words(name: &str) -> Words {
        Vocabulary::new(&[DESCRIPTORS]).unwrap().message(&format!("countersign.v1.{name}")).unwrap()
    }

    fn query(text: &str) -> Result<pb::AuthorizeRequest, Misread> {
        Ok(pb::AuthorizeRequest::decode(&*words("AuthorizeRequest").read_json(text.as_bytes())?).unwrap())
    }

    #[test]
    fn a_query_is_read_by_either_name_of_its_fields_and_numbers_survive() {
        let written = json!({
            "action": {"type": "Action", "id": "export"},
            "approvalId": "apr_1",
            "at_least_revision": "18446744073709551615",
            "wait": "5.5s",
            "context": {"rows": {"long": "9007199254740993"}, "few": {"long": 3}},
            "entities": [{"uid": {"type": "Group", "id": "g"}, "tags": {"t": {"set": {"values": [{"bool": true}]}}}}],
            "justification": null,
        });
        let read = query(&written.to_string()).unwrap();
        assert_eq!((&*read.approval_id, read.at_least_revision), ("apr_1", u64::MAX));
        assert_eq!(read.wait, Some(prost_types::Duration { seconds: 5, nanos: 500_000_000 }));
        let long = |name: &str| read.context[name].kind.clone();
        assert_eq!(long("rows"), Some(pb::value::Kind::Long(9_007_199_254_740_993)));
        assert_eq!(long("few"), Some(pb::value::Kind::Long(3)));
    }

    #[test]
    fn what_could_be_understood_otherwise_is_refused_with_its_field() {
        for (text, field, why) in [
            (r#"{"colour":1}"#, "colour", "unknown field"),
            (r#"{"action":{"id":"a","kind":"x"}}"#, "action.kind", "unknown field"),
            (r#"{"approvalId":"a","approval_id":"b"}"#, "approval_id", "given twice"),
            (r#"{"justification":"a","justification":"b"}"#, "justification", "given twice"),
            (r#"{"context":{"a":{"long":"1"},"a":{"long":"2"}}}"#, "context.a", "given twice"),
            (r#"{"context":{"a":{"long":"1","string":"2"}}}"#, "context.a.string", "more than one of `kind`"),
            (r#"{"context":{"a":{"long":1.0}}}"#, "context.a.long", "an integer"),
            (r#"{"context":{"a":{"long":9223372036854775808}}}"#, "", "out of range"),
            (r#"{"context":{"a":{"long":1e3}}}"#, "context.a.long", "an integer"),
            (r#"{"context":{"a":{"bool":"true"}}}"#, "context.a.bool", "true or false"),
            (r#"{"context":{"a\u202e":{"x":1}}}"#, "context.a\\u{202e}.x", "unknown field"),
            (r#"{"entities":[{},{"uid":7}]}"#, "entities[1].uid", "an object"),
            (r#"{"entities":{}}"#, "entities", "a list"),
            (r#"{"action":[]}"#, "action", "an object"),
            (r#"{"justification":5}"#, "justification", "a string"),
            (r#"{"wait":5}"#, "wait", "a string"),
            (r#"{"wait":"soon"}"#, "", "duration"),
            ("[]", "", "an object"),
            ("null", "", "an object"),
            ("", "", "not JSON"),
            ("{", "", "not JSON"),
            ("{}{}", "", "not JSON"),
            ("{} x", "", "not JSON"),
            ("{\"justification\":\"\\ud800\"}", "justification", "not JSON"),
        ] {
            let misread = query(text).unwrap_err();
            assert_eq!(misread.field, field, "{text}: {misread}");
            assert!(misread.message.contains(why), "{text}: {misread}");
        }
        let state = words("DecideRequest").read_json(br#"{"verdict":"VERDICT_PERHAPS"}"#).unwrap_err();
        assert_eq!(state.field, "verdict");
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested = |depth: usize| {
            let (open, close) = (r#"{"record":{"fields":{"f":"#, "}}}");
            format!(r#"{{"context":{{"a":{}{{"bool":true}}{}}}}}"#, open.repeat(depth), close.repeat(depth))
        };
        let deepest = query(&nested(32)).expect("as deep as any query may be");
        let opened = pb::Approval { context: deepest.context, ..pb::Approval::default() };
        let told = pb::AuthorizeResponse { approval: Some(opened), ..pb::AuthorizeResponse::default() };
        assert!(words("AuthorizeResponse").write_json(&told.encode_to_vec()).is_some(), "and it comes back");
        assert!(query(&nested(64)).unwrap_err().message.contains("recursion limit"));
        let many = |count: usize| format!(r#"{{"supportedObligations":[{}"mask"]}}"#, "\"\",".repeat(count));
        assert!(query(&many(100)).is_ok());
        assert!(query(&many(strict::VALUES_MAX)).unwrap_err().message.contains("more than"));
    }

    #[test]
    fn an_answer_is_written_as_proto3_has_it() {
        let answer = pb::AuthorizeResponse {
            outcome: pb::Outcome::Allow.into(),
            decision_id: "dec_1".into(),
            policy_revision: u64::MAX,
            ..pb::AuthorizeResponse::default()
        };
        let written = words("AuthorizeResponse").write_json(&answer.encode_to_vec()).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
        let expected =
            json!({"outcome": "OUTCOME_ALLOW", "decisionId": "dec_1", "policyRevision": "18446744073709551615"});
        assert_eq!(read, expected);
        assert_eq!(words("AuthorizeResponse").write_json(b"\xff"), None);
    }
}
