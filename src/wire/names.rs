//! Enumerations, one table each.

use super::pb;
use crate::domain::{Outcome, PrincipalKind, Reason, Report, Severity, Verdict};

/// Both directions of a closed enumeration; zero (unspecified) and unknown numbers are `None`.
macro_rules! enumeration {
    ($domain:ident { $($variant:ident = $wire:ident),* $(,)? }) => {
        impl From<$domain> for pb::$domain {
            fn from(value: $domain) -> Self {
                match value { $($domain::$variant => Self::$wire),* }
            }
        }

        impl pb::$domain {
            /// The domain's word for it; `None` where nothing was said.
            #[must_use]
            pub fn parse(number: i32) -> Option<$domain> {
                match Self::try_from(number).ok()? {
                    Self::Unspecified => None,
                    $(Self::$wire => Some($domain::$variant)),*
                }
            }
        }
    };
}

enumeration!(Outcome { Allow = Allow, Deny = Deny, Pending = Pending });
enumeration!(Severity { Low = Low, Medium = Medium, High = High, Critical = Critical });
enumeration!(Verdict { Approve = Approve, Reject = Reject });
enumeration!(Report { Succeeded = Succeeded, Failed = Failed, Unknown = Unknown });
enumeration!(PrincipalKind { User = User, Agent = Agent, Workload = Workload });

/// The reason with that code.
pub(super) fn reason(code: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.code() == code)
}
