//! The names of things in Redis.
//!
//! Everything is divided into [`SHARDS`] shards by the last four bits of the binding (or of the id, whose last byte is the
//! binding's; or of a hash). A shard's keys share one hash tag, so that a Redis Cluster keeps them on one node and a
//! script may touch all of them.

use sha2::{Digest, Sha256};

use crate::domain::{ApprovalId, Binding, EntityUid, IdempotencyKey};

pub const SHARDS: u8 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard(u8);

impl Shard {
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    pub fn of_binding(binding: &Binding) -> Self {
        Self::of(&binding.0)
    }

    pub fn of_approval(id: ApprovalId) -> Self {
        Self::of(id.as_bytes())
    }

    /// Where entities are that were put over the API: all in one place, so that one script changes several at once.
    pub const fn of_entities() -> Self {
        Self(0)
    }

    fn of(bytes: &[u8]) -> Self {
        Self(bytes.last().copied().unwrap_or(0) % SHARDS)
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    /// For tables with a row for each.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A hash by which something foreign is named, and its shard chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; 32]);

impl Name {
    pub fn of_key(key: &IdempotencyKey) -> Self {
        Self::of([&*key.caller.type_name, &*key.caller.id, &*key.key])
    }

    pub fn of_entity(uid: &EntityUid) -> Self {
        Self::of([&*uid.type_name, &*uid.id])
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Of texts, each with its length before it: no two lists of texts run together.
    fn of<const N: usize>(texts: [&str; N]) -> Self {
        let mut hash = Sha256::new();
        for text in texts {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        Self(hash.finalize().into())
    }

    pub fn shard(&self) -> Shard {
        Shard::of(&self.0)
    }
}

/// Makes keys.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn key(&self, shard: Shard, rest: &[u8]) -> Vec<u8> {
        let mut key = format!("{{{}:{:x}}}", self.prefix, shard.0).into_bytes();
        key.extend(rest);
        key
    }

    /// Hash: `epoch`, `head` (events so far), `pending`, `time` (the latest that was told), `after` (the epochs before this one), `lost` (why
    /// nothing in the shard is believed), `entities` (of the [one shard](Shard::of_entities) that has them: the newest change of them,
    /// the event that made it, and how many there are).
    pub fn head(&self, shard: Shard) -> Vec<u8> {
        self.key(shard, b"h")
    }

    /// List: what the approval is, then the records that made it so.
    pub fn approval(&self, id: ApprovalId) -> Vec<u8> {
        self.key(Shard::of_approval(id), &[b"a:", &id.as_bytes()[..]].concat())
    }

    /// Hash: binding -> the latest approval for it.
    pub fn slots(&self, shard: Shard) -> Vec<u8> {
        self.key(shard, b"s")
    }

    /// Sorted set: approvals by the microsecond at which time moves them on.
    pub fn due(&self, shard: Shard) -> Vec<u8> {
        self.key(shard, b"d")
    }

    /// Sorted set: all approvals, in the order of their ids, which is that of time.
    pub fn ids(&self, shard: Shard) -> Vec<u8> {
        self.key(shard, b"x")
    }

    /// Sorted set: settled approvals by the microsecond at which they may go.
    pub fn settled(&self, shard: Shard) -> Vec<u8> {
        self.key(shard, b"z")
    }

    /// Stream: what happened, one entry for each number of the head.
    pub fn events(&self, shard: Shard) -> Vec<u8> {
        self.key(shard, b"e")
    }

    /// Hash: name of an entity that was put over the API -> the record that says what is known of it.
    pub fn entities(&self) -> Vec<u8> {
        self.key(Shard::of_entities(), b"n")
    }

    /// What every shard has, its head first and its events last: what it is begun anew with.
    pub fn of_shard(&self, shard: Shard) -> [Vec<u8>; 6] {
        [self.head(shard), self.slots(shard), self.due(shard), self.ids(shard), self.settled(shard), self.events(shard)]
    }

    /// What was answered under an idempotency key, beside what it was about.
    pub fn answer(&self, shard: Shard, name: &Name) -> Vec<u8> {
        self.key(shard, &[b"i:", &name.0[..]].concat())
    }

    /// Whose query an idempotency key is.
    pub fn claim(&self, name: &Name) -> Vec<u8> {
        self.key(name.shard(), &[b"c:", &name.0[..]].concat())
    }

    /// Sorted set: the queries that wait for people, of one principal, that one caller asked for, by their deadlines.
    pub fn places(&self, principal: &Name, caller: &EntityUid) -> Vec<u8> {
        self.key(principal.shard(), &[b"p:", &principal.0[..], &Name::of_entity(caller).0[..]].concat())
    }

    /// Sorted set: what one caller opened for one principal within the last minute, by when. Beside the principal's places.
    pub fn openings(&self, principal: &Name, caller: &EntityUid) -> Vec<u8> {
        self.key(principal.shard(), &[b"o:", &principal.0[..], &Name::of_entity(caller).0[..]].concat())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_approval_is_in_the_shard_of_its_binding() {
        for last in 0..=255 {
            let mut binding = Binding([7; 32]);
            binding.0[31] = last;
            let id = ApprovalId::opened(Uuid::now_v7(), &binding);
            assert_eq!(Shard::of_approval(id), Shard::of_binding(&binding));
        }
    }

    #[test]
    fn every_key_of_a_shard_has_its_hash_tag_and_no_two_are_the_same() {
        let keys = Keys::new("x");
        let shard = Shard(0xb);
        let key = IdempotencyKey { caller: EntityUid::new("Agent", "a"), key: "k".into() };
        let name = Name::of_key(&key);
        let [answer, approval] = [keys.answer(shard, &name), keys.approval(ApprovalId::from_bytes([0xb; 16]))];
        let all: Vec<_> = keys.of_shard(shard).into_iter().chain([answer, approval]).collect();
        assert!(all.iter().all(|key| key.starts_with(b"{x:b}")));
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn names_do_not_run_together() {
        let key = |caller: &str, key: &str| {
            Name::of_key(&IdempotencyKey { caller: EntityUid::new("Agent", caller), key: key.into() })
        };
        assert_ne!(key("ab", "c"), key("a", "bc"));
    }
}
