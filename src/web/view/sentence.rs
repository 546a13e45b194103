//! What would be done, in a sentence: made of the query alone, never of what the agent says.

use super::text::Text;
use crate::domain::{EntityUid, Opening};

/// `report-bot` wants to *export* the dataset **customers**, for `frank`.
#[derive(Debug, Clone)]
pub struct Sentence {
    pub who: Text,
    /// The action's own name.
    pub verb: Text,
    /// What kind of thing: `dataset`.
    pub kind: Text,
    pub object: Text,
    pub beneficiary: Option<Text>,
}

impl Sentence {
    #[must_use]
    pub fn of(opening: &Opening) -> Self {
        let query = &opening.query;
        Self {
            who: Text::line(&query.principal.id),
            verb: Text::line(&words(&query.action.id)),
            kind: Text::line(&words(short(&query.resource))),
            object: Text::line(&query.resource.id),
            beneficiary: query.on_behalf_of.as_ref().map(|human| Text::line(&human.id)),
        }
    }

    /// Whether a character in it is not what it looks like.
    #[must_use]
    pub fn deceives(&self) -> bool {
        let parts = [&self.who, &self.verb, &self.kind, &self.object];
        parts.into_iter().chain(&self.beneficiary).any(|part| part.deceives)
    }
}

/// The last part of a type's name.
#[must_use]
pub fn short(uid: &EntityUid) -> &str {
    uid.type_name.rsplit("::").next().unwrap_or(&uid.type_name)
}

/// A name as people would say it: `rotate_secret` and `RotateSecret` are "rotate secret". Only letters change their case;
/// nothing is left out but the underscore.
#[must_use]
pub fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut before = None;
    for letter in name.chars() {
        let begins = letter.is_ascii_uppercase() && before.is_some_and(|before: char| before.is_ascii_lowercase());
        if begins {
            words.push(' ');
        }
        match letter {
            '_' if before.is_some() => words.push(' '),
            letter => words.push(letter.to_ascii_lowercase()),
        }
        before = Some(letter);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_words() {
        for (name, spoken) in
            [("rotate_secret", "rotate secret"), ("RotateSecret", "rotate secret"), ("export", "export"), ("_x", "_x")]
        {
            assert_eq!(words(name), spoken);
        }
        assert_eq!(short(&EntityUid::new("Acme::Warehouse::Dataset", "d")), "Dataset");
    }
}
