//! The table of keys. `section!` writes a section down once, as a reader of the documentation would, and makes of it the
//! struct, its defaults, and its part of the table.

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

/// One key with its documentation and a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// With its section, such as `journal.dir`.
    pub key: String,
    /// What it means and its unit, a line each.
    pub docs: &'static [&'static str],
    /// As TOML would have it; null where nothing is set.
    pub value: Value,
    /// When what it names is read again without a restart; the value itself never is.
    pub read_again: Option<&'static str>,
    /// Whether it says where a secret lies ([`crate::config::values::Setting::IS_PLACE_OF_SECRET`]).
    pub is_place_of_secret: bool,
}

/// One table of the file.
pub trait Section {
    fn name(&self) -> &'static str;
    /// What it is about, a line each.
    fn about(&self) -> &'static [&'static str];
    /// Its keys with the values they have, in the order of the documentation.
    fn entries(&self) -> Vec<Entry>;
    /// Sets a key (without the section's name); `None` if there is no such key.
    ///
    /// # Errors
    /// What was expected instead of `raw`.
    fn set(&mut self, key: &str, raw: &Value) -> Option<Result<(), String>>;
    /// What editors are told of its keys, in the order of `entries`.
    fn schemas(&self, generator: &mut SchemaGenerator) -> Vec<Schema>;
}

macro_rules! section {
    ($(#[doc = $about:literal])+ $Name:ident $name:literal {
        $( $(#[doc = $doc:literal])+ $key:ident: $Type:ty = $default:expr $(, read_again $again:literal)?; )+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Name { $( $(#[doc = $doc])+ pub $key: $Type, )+ }

        impl Default for $Name {
            fn default() -> Self {
                Self { $( $key: $default, )+ }
            }
        }

        impl $crate::config::Section for $Name {
            fn name(&self) -> &'static str {
                $name
            }

            fn about(&self) -> &'static [&'static str] {
                &[$( $about, )+]
            }

            fn entries(&self) -> Vec<$crate::config::Entry> {
                vec![$( $crate::config::Entry {
                    key: concat!($name, ".", stringify!($key)).to_owned(),
                    docs: &[$( $doc, )+],
                    value: $crate::config::values::Setting::show(&self.$key),
                    read_again: { let again: &[&'static str] = &[$($again)?]; again.first().copied() },
                    is_place_of_secret: <$Type as $crate::config::values::Setting>::IS_PLACE_OF_SECRET,
                }, )+]
            }

            fn set(&mut self, key: &str, raw: &serde_json::Value) -> Option<Result<(), String>> {
                match key {
                    $( stringify!($key) => {
                        Some($crate::config::values::Setting::read(raw).map(|value| self.$key = value))
                    } )+
                    _ => None,
                }
            }

            fn schemas(&self, generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
                vec![$( <$Type as $crate::config::values::Setting>::schema(generator), )+]
            }
        }
    };
}

pub(super) use section;
