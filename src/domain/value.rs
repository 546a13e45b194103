//! Values, typed as Cedar types them. Never a double: 64-bit integers survive every hop.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entity::EntityUid;

/// A record's fields, in the order of their names.
pub type Attributes = BTreeMap<Arc<str>, Value>;

/// How deep sets and records may nest; deeper is refused at the edge, so that no recursion below can run away.
pub const VALUE_DEPTH_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Bool(bool),
    Long(i64),
    String(Arc<str>),
    Entity(EntityUid),
    /// Unordered; duplicates mean nothing.
    Set(Vec<Value>),
    Record(Attributes),
    /// A value with a constructor, such as `ip("10.0.0.1")`.
    Extension {
        function: ExtensionFunction,
        argument: Arc<str>,
    },
}

/// Cedar's extension constructors that take one string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtensionFunction {
    Ip,
    Decimal,
    Datetime,
    Duration,
}

impl ExtensionFunction {
    pub const ALL: [Self; 4] = [Self::Ip, Self::Decimal, Self::Datetime, Self::Duration];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Decimal => "decimal",
            Self::Datetime => "datetime",
            Self::Duration => "duration",
        }
    }

    /// The function of that name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }
}

impl Value {
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self::String(text.into())
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let content = match self {
            Self::Bool(_) | Self::Long(_) => 0,
            Self::String(text) | Self::Extension { argument: text, .. } => text.len(),
            Self::Entity(uid) => uid.type_name.len() + uid.id.len(),
            Self::Set(members) => members.iter().map(Self::size).sum(),
            Self::Record(fields) => fields_size(fields),
        };
        size_of::<Self>() + content
    }
}

/// About how many bytes of memory a record's fields take.
pub(super) fn fields_size(fields: &Attributes) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.size()).sum()
}
