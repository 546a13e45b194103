//! Entities: the nouns of a query. A uid is a type and an id; both are Cedar's, so an id may hold *any* text, control and
//! right-to-left characters included. It is kept to the byte everywhere and escaped only where a person reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::away::ABSENCE;
use super::sessions::SESSIONS_ENDED;
use super::value::{Attributes, fields_size};

/// The name of one entity, such as `User::"alice"`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityUid {
    /// The qualified type, such as `Countersign::Approval`.
    pub type_name: Arc<str>,
    /// The id, verbatim.
    pub id: Arc<str>,
}

impl EntityUid {
    #[must_use]
    pub fn new(type_name: &str, id: &str) -> Self {
        Self { type_name: type_name.into(), id: id.into() }
    }

    /// What somebody types who knows what he countersigns: the id as it is shown, and the type where the id has nothing that
    /// could be typed. Never empty.
    #[must_use]
    pub fn to_type(&self) -> String {
        let shown = Shown(&self.id).to_string();
        let typed = shown.trim();
        if typed.is_empty() { self.type_name.to_string() } else { typed.to_owned() }
    }

    /// Whether this is [`EntityUid::to_type`], typed or pasted.
    #[must_use]
    pub fn is_typed(&self, given: &str) -> bool {
        let (given, id) = (given.trim(), self.id.trim());
        !given.is_empty() && (given == id || given == self.to_type())
    }
}

/// Cedar's notation with every character escaped that a terminal or a reader could be fooled by.
impl fmt::Display for EntityUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::\"{}\"", self.type_name, Shown(&self.id))
    }
}

impl fmt::Debug for EntityUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads what [`fmt::Display`] shows, and nothing else.
impl FromStr for EntityUid {
    type Err = NotAnEntity;

    fn from_str(text: &str) -> Result<Self, NotAnEntity> {
        let (type_name, quoted) = text.strip_suffix('"').and_then(|text| text.split_once("::\"")).ok_or(NotAnEntity)?;
        let id = unescaped(quoted).ok_or(NotAnEntity)?;
        if type_name.is_empty() || type_name.contains('"') {
            return Err(NotAnEntity);
        }
        Ok(Self::new(type_name, &id))
    }
}

/// Why a text names no entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an entity such as `User::\"alice\"`")]
pub struct NotAnEntity;

/// Undoes [`Shown`].
fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        rest = if let Some(after) = after.strip_prefix("u{") {
            let (digits, after) = after.split_once('}')?;
            plain.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
            after
        } else {
            let character = after.chars().next().filter(|character| matches!(character, '"' | '\\'))?;
            plain.push(character);
            after.get(1..)?
        };
    }
    plain.push_str(rest);
    // A quotation mark that is not escaped ends an id; what follows would be something else.
    (!text.replace("\\\\", "").replace("\\\"", "").contains('"')).then_some(plain)
}

/// Text as people may see it: control, bidirectional, zero-width and other invisible characters, quotes and
/// backslashes as `\u{..}` escapes, everything else as it is.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                _ if deceives(character) => write!(f, "\\u{{{:x}}}", u32::from(character))?,
                _ => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}

/// Prose as people may see it: what deceives as in [`Shown`], quotes and backslashes as they are.
pub struct Legible<'a>(pub &'a str);

impl fmt::Display for Legible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                _ if deceives(character) => write!(f, "\\u{{{:x}}}", u32::from(character))?,
                _ => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}

/// Whether a character is invisible or changes how its neighbours are shown.
/// Source: Unicode `Cc`, `Cf`, `Zl`, `Zp`, variation selectors, tags, and the blank letters used as camouflage.
#[must_use]
pub fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// An entity with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    pub uid: EntityUid,
    pub attributes: Attributes,
    /// Direct parents (`in`).
    pub parents: Vec<EntityUid>,
    pub tags: Attributes,
}

impl Entity {
    /// An entity of which nothing but its place in the hierarchy is known.
    #[must_use]
    pub fn bare(uid: EntityUid, parents: Vec<EntityUid>) -> Self {
        Self { uid, attributes: Attributes::new(), parents, tags: Attributes::new() }
    }

    /// About how many bytes of memory it takes: for budgets, not for accounts.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + fields_size(&self.attributes) + fields_size(&self.tags) + self.parents.len() * 64
    }
}

/// Entity data: what is known of entities, by name.
pub type EntityData = BTreeMap<EntityUid, Arc<Entity>>;

/// Whether entities of this type are what the service itself remembers, beside those that were put. Nobody else can put, list or
/// delete them, and policies do not see them.
#[must_use]
pub fn is_kept_for_the_service(type_name: &str) -> bool {
    [ABSENCE, SESSIONS_ENDED].contains(&type_name)
}

/// Takes away what goes and puts what comes. What is put again as it was stays the very same to those who compare.
pub fn change_entities(data: &mut EntityData, put: &[Arc<Entity>], gone: &[EntityUid]) {
    for uid in gone {
        data.remove(uid);
    }
    for entity in put {
        if data.get(&entity.uid).is_none_or(|old| old != entity) {
            data.insert(entity.uid.clone(), entity.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_something_to_type() {
        let typed = |id: &str| EntityUid::new("Dataset", id).to_type();
        assert_eq!(
            (typed("customers"), typed(" a b "), typed("a\u{202e}")),
            ("customers".into(), "a b".into(), "a\\u{202e}".into())
        );
        assert_eq!((typed(""), typed("  ")), ("Dataset".into(), "Dataset".into()));
        for id in ["", " ", "customers"] {
            let uid = EntityUid::new("Dataset", id);
            assert!(
                !uid.is_typed("") && !uid.is_typed(" \n") && uid.is_typed(&format!(" {} ", uid.to_type())),
                "{id:?}"
            );
        }
        assert!(EntityUid::new("Dataset", "a\u{202e}").is_typed("a\u{202e}"), "pasted");
    }

    #[test]
    fn characters_that_deceive_are_shown_as_code_points() {
        let uid = EntityUid::new("User", "a\u{0}b\u{202e}c\"\\\u{200b}é\u{e0041}");
        assert_eq!(uid.to_string(), r#"User::"a\u{0}b\u{202e}c\"\\\u{200b}é\u{e0041}""#);
    }
}
