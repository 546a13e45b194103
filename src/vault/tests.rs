//! Sealing and opening, and what must not open.

use std::sync::Arc;

use super::*;
use crate::domain::{PolicyDigest, Refused, Started};

fn key(byte: u8) -> [u8; KEY_BYTES] {
    [byte; KEY_BYTES]
}

fn vault(keys: &[(&str, u8)]) -> Vault {
    let keys: Vec<(&str, [u8; KEY_BYTES])> = keys.iter().map(|(id, byte)| (*id, key(*byte))).collect();
    Vault::new(keys.iter().map(|(id, bytes)| (*id, &bytes[..]))).unwrap()
}

fn fact(field: &str) -> Fact {
    let (method, reason, request_id) = ("Authorize".into(), "invalid_argument".into(), "r".into());
    Fact::Refused(Refused { method, reason, field: Some(field.into()), caller: None, approval: None, request_id })
}

const AT: Timestamp = Timestamp::from_micros(7);

fn place(sequence: u64) -> Place {
    Place::Journal { sequence, at: AT }
}

fn sealed(vault: &Vault, sequence: u64) -> Vec<u8> {
    vault.seal(vault.draft(&fact("context.sesame")), place(sequence)).unwrap()
}

fn open(vault: &Vault, sequence: u64, payload: &[u8]) -> Result<Fact, String> {
    vault.open(sequence, AT, payload, place(sequence)).map(|record| record.fact).map_err(|error| error.to_string())
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn what_is_sealed_is_not_to_be_read_and_opens_as_it_was() {
    let vault = vault(&[("a", 1)]);
    let payload = sealed(&vault, 3);
    assert!(is_sealed(&payload) && !holds(&payload, "sesame") && holds(&payload, "Authorize"));
    assert_eq!(open(&vault, 3, &payload), Ok(fact("context.sesame")));
    assert!(payload.len() <= vault.draft(&fact("context.sesame")).bytes_max());
    assert_ne!(sealed(&vault, 3), payload, "no two seals are the same");
}

#[test]
fn no_byte_of_it_and_no_other_place_may_be_changed() {
    let vault = vault(&[("a", 1)]);
    let payload = sealed(&vault, 3);
    for position in 0..payload.len() {
        for bit in [1, 128] {
            let mut spoiled = payload.clone();
            spoiled[position] ^= bit;
            assert_ne!(open(&vault, 3, &spoiled), Ok(fact("context.sesame")), "byte {position}");
            assert!(open(&vault, 3, &spoiled).is_err(), "byte {position}: something else was read");
        }
    }
    let broken = Err("its seal does not open: it was changed, or is not in its place".to_owned());
    assert_eq!(open(&vault, 4, &payload), broken);
    let later = Place::Journal { sequence: 3, at: Timestamp::from_micros(8) };
    assert!(vault.open(3, AT, &payload, later).is_err());
    assert!(vault.open_shared(AT, &payload).is_err());
}

#[test]
fn parts_of_two_records_are_not_one() {
    let vault = vault(&[("a", 1)]);
    let parts = |payload: &[u8]| match record::look(0, AT, payload).unwrap() {
        Written::Sealed(sealed) => sealed,
        Written::Clear(_) => panic!("in clear"),
    };
    let one = parts(&sealed(&vault, 3));
    let other = fact("context.other");
    let other = Fact::Refused(match other {
        Fact::Refused(refused) => Refused { method: "Mask".into(), ..refused },
        _ => unreachable!(),
    });
    let two = parts(&vault.seal(vault.draft(&other), place(3)).unwrap());
    let mixed = record::envelope(pb::Sealed { sealed: two.sealed, ..one });
    assert!(open(&vault, 3, &mixed).is_err());
}

#[test]
fn the_first_key_seals_and_those_behind_it_open() {
    let (old, both) = (vault(&[("a", 1)]), vault(&[("b", 2), ("a", 1)]));
    let (before, after) = (sealed(&old, 1), sealed(&both, 2));
    assert!(open(&both, 1, &before).is_ok() && open(&both, 2, &after).is_ok());
    let said = open(&old, 2, &after).unwrap_err();
    assert!(said.starts_with("it is sealed with the key `b`, which is not among"), "{said}");
    let said = open(&vault(&[("b", 3)]), 2, &after).unwrap_err();
    assert!(said.starts_with("the key `b` is not the one that sealed it"), "{said}");
}

#[test]
fn without_a_key_it_is_written_in_clear_and_nothing_sealed_is_read() {
    let (none, some) = (Vault::default(), vault(&[("a", 1)]));
    let clear = sealed(&none, 1);
    assert!(!is_sealed(&clear) && holds(&clear, "sesame"));
    assert!(open(&some, 1, &clear).is_ok(), "what was written before there was a key");
    assert!(open(&none, 1, &sealed(&some, 1)).is_err());
    let bytes = key(1);
    let opening = Vault::opening_only([("a", &bytes[..])]).unwrap();
    assert!(!is_sealed(&sealed(&opening, 1)) && open(&opening, 1, &sealed(&some, 1)).is_ok());
}

#[test]
fn keys_of_one_server_seal_nothing_that_others_read() {
    let alone = vault(&[("kept-1", 1)]).alone();
    let shared = alone.share(alone.draft(&fact("context.sesame"))).unwrap();
    assert_eq!(Vault::default().open_shared(AT, &shared).unwrap().fact, fact("context.sesame"));
    assert!(is_sealed(&sealed(&alone, 1)));
    let everybody = vault(&[("a", 1)]);
    let shared = everybody.share(everybody.draft(&fact("context.sesame"))).unwrap();
    assert!(is_sealed(&shared) && everybody.open_shared(AT, &shared).is_ok());
}

#[test]
fn what_holds_nothing_personal_stays_as_it_is() {
    let vault = vault(&[("a", 1)]);
    let fact = Fact::Started(Started { version: "1".into(), digest: PolicyDigest([1; 32]) });
    let payload = vault.seal(vault.draft(&fact), place(1)).unwrap();
    assert!(!is_sealed(&payload));
    assert_eq!(open(&vault, 1, &payload), Ok(fact));
}

#[test]
fn a_data_key_serves_for_so_many_records_and_keys_of_old_records_are_kept_within_a_bound() {
    let vault = vault(&[("a", 1)]);
    let first = vault.current().unwrap();
    for _ in 1..RECORDS_PER_DATA_KEY {
        assert!(Arc::ptr_eq(&vault.current().unwrap(), &first));
    }
    let second = vault.current().unwrap();
    assert!(!Arc::ptr_eq(&second, &first) && second.wrapped() != first.wrapped());
    for _ in 0..2 * OPENED_MAX {
        *lock(&vault.0.current) = None;
        let payload = sealed(&vault, 1);
        assert!(open(&vault, 1, &payload).is_ok());
    }
    assert!(lock(&vault.0.opened).len() <= OPENED_MAX);
}

#[test]
fn ids_and_lengths_of_keys_are_checked() {
    let bytes = key(1);
    for (id, bytes, error) in
        [("", &bytes[..], KeyError::Id), ("a b", &bytes[..], KeyError::Id), ("a", &bytes[..31], KeyError::Length)]
    {
        assert_eq!(Vault::new([(id, bytes)]).err(), Some(error));
    }
    assert_eq!(Vault::new([("a", &bytes[..]), ("a", &bytes[..])]).err(), Some(KeyError::Twice("a".into())));
}
