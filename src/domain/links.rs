//! Which accounts are one human. Issuers cannot know it, and addresses prove nothing: somebody who answers for it writes it
//! down. Linked accounts never countersign each other's actions, and all their votes are one.

use std::collections::BTreeMap;

use super::entity::EntityUid;
use super::identity::Identity;

/// The link table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links(BTreeMap<EntityUid, usize>);

/// Why a table of links is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("{0} is linked with nothing")]
    Alone(EntityUid),
    #[error("{0} stands in two sets of links; write one set")]
    Twice(EntityUid),
    #[error("a set of links is empty")]
    Empty,
}

impl Links {
    /// Sets of accounts, each of one human.
    pub fn new(sets: impl IntoIterator<Item = Vec<EntityUid>>) -> Result<Self, LinkError> {
        let mut linked = BTreeMap::new();
        for (number, set) in sets.into_iter().enumerate() {
            match set.as_slice() {
                [] => return Err(LinkError::Empty),
                [alone] => return Err(LinkError::Alone(alone.clone())),
                [..] => {}
            }
            for account in set {
                if linked.insert(account.clone(), number).is_some() {
                    return Err(LinkError::Twice(account));
                }
            }
        }
        Ok(Self(linked))
    }

    /// Whether two identities are one being, by what is proven or by what is written down.
    #[must_use]
    pub fn are_one(&self, one: &Identity, other: &Identity) -> bool {
        one.is_same_as(other) || self.are_linked(&one.uid, &other.uid)
    }

    /// Whether two accounts are one, or linked.
    #[must_use]
    pub fn are_linked(&self, one: &EntityUid, other: &EntityUid) -> bool {
        one == other || self.0.get(one).is_some_and(|set| self.0.get(other) == Some(set))
    }

    /// The sets, as they were written but for their order.
    #[must_use]
    pub fn sets(&self) -> Vec<Vec<&EntityUid>> {
        let mut sets: BTreeMap<usize, Vec<&EntityUid>> = BTreeMap::new();
        for (account, number) in &self.0 {
            sets.entry(*number).or_default().push(account);
        }
        sets.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(id: &str) -> EntityUid {
        EntityUid::new("User", id)
    }

    #[test]
    fn accounts_of_one_set_are_linked_and_those_of_two_are_not() {
        let links = Links::new([vec![uid("a"), uid("b"), uid("c")], vec![uid("x"), uid("y")]]).unwrap();
        assert!(links.are_linked(&uid("a"), &uid("c")) && links.are_linked(&uid("y"), &uid("x")));
        assert!(!links.are_linked(&uid("a"), &uid("x")) && !links.are_linked(&uid("q"), &uid("r")));
        assert!(!links.are_linked(&uid("a"), &EntityUid::new("Agent", "b")), "the type is part of the name");
        assert!(links.are_linked(&uid("q"), &uid("q")));
    }

    #[test]
    fn a_table_that_could_mean_two_things_is_refused() {
        assert_eq!(Links::new([vec![uid("a")]]), Err(LinkError::Alone(uid("a"))));
        assert_eq!(Links::new([vec![uid("a"), uid("b")], vec![uid("b"), uid("c")]]), Err(LinkError::Twice(uid("b"))));
        assert_eq!(Links::new([vec![uid("a"), uid("a")]]), Err(LinkError::Twice(uid("a"))));
        assert_eq!(Links::new([vec![]]), Err(LinkError::Empty));
    }
}
