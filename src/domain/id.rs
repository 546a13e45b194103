//! Names the server gives out, unguessable enough not to collide, ordered by time, opaque to callers; and the one that others
//! give to a call.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use super::binding::Binding;

/// Why a text is not an id of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected `{prefix}` and 32 lower-case hexadecimal digits")]
pub struct MalformedId {
    prefix: &'static str,
}

/// Where a call is traced: a `traceparent` as W3C Trace Context writes it. Only of calls that are sampled: others leave no trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(pub Arc<str>);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            /// Exactly what `Display` writes; one id has one spelling.
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let malformed = MalformedId { prefix: $prefix };
                let digits = text.strip_prefix($prefix).ok_or(malformed)?;
                let canonical = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if !canonical {
                    return Err(malformed);
                }
                Uuid::try_parse(digits).map(Self).map_err(|_| malformed)
            }
        }
    };
}

id!(
    /// Names one approval, for its whole life and in the journal for ever.
    ApprovalId,
    "apr_"
);
id!(
    /// Names one decision: one query asked and answered once.
    DecisionId,
    "dec_"
);

impl ApprovalId {
    /// The id of a new approval. Its last byte is the binding's, so that a store that is divided by bindings finds an
    /// approval by its id alone; the rest of `uuid` orders ids by time and keeps them apart.
    #[must_use]
    pub fn opened(uuid: Uuid, binding: &Binding) -> Self {
        let mut bytes = uuid.into_bytes();
        if let (Some(last), Some(of_binding)) = (bytes.last_mut(), binding.0.last()) {
            *last = *of_binding;
        }
        Self::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_is_found_where_its_binding_is() {
        let binding = Binding([0x5c; 32]);
        let id = ApprovalId::opened(Uuid::from_u128(u128::MAX), &binding);
        assert_eq!(id.as_bytes().last(), binding.0.last());
        assert_eq!(id.as_bytes()[..15], [0xff; 15]);
    }

    #[test]
    fn an_id_has_exactly_one_spelling() {
        let id = ApprovalId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in
            [id.to_string().to_uppercase(), format!(" {id}"), format!("{id}0"), id.to_string().replace("apr_", "dec_")]
        {
            assert!(other.parse::<ApprovalId>().is_err(), "{other}");
        }
    }
}
