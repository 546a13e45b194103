//! What stands in place of a value, for each transform.

use super::{masker, profile};
use crate::domain::{DataKind, Transform};
use crate::masking::checksum::{digits, luhn};
use crate::masking::token::token_at;
use crate::masking::{Counts, Custom, Keyring, MaskError, Masker};

fn masked(rules: &str, text: &str) -> String {
    masker().text(&profile(rules), text).unwrap().0
}

#[test]
fn each_transform_leaves_what_it_says() {
    let text = "card 4242 4242 4242 4242, mail jane@example.com, password: hunter2";
    for (rules, expected) in [
        ("ALL", "card <CREDIT_CARD>, mail <EMAIL_ADDRESS>, password: <PASSWORD>"),
        ("ALL:redact", "card <REDACTED>, mail <REDACTED>, password: <REDACTED>"),
        ("ALL:partial", "card **** 4242, mail ***@example.com, password: ****"),
        ("CREDIT_CARD:partial", "card **** 4242, mail jane@example.com, password: hunter2"),
        ("SECRETS:redact, EMAIL_ADDRESS", "card 4242 4242 4242 4242, mail <EMAIL_ADDRESS>, password: <REDACTED>"),
    ] {
        assert_eq!(masked(rules, text), expected, "{rules}");
    }
}

#[test]
fn a_pseudonym_is_the_same_for_the_same_value_tenant_and_kind_only() {
    let (masker, profile) = (masker(), profile("ALL:pseudonym"));
    let of = |profile: &crate::masking::Profile, text: &str| masker.text(profile, text).unwrap().0;
    let one = of(&profile, "card 4242 4242 4242 4242");
    assert_eq!(one, of(&profile, "card 4242424242424242"));
    assert_ne!(one, of(&profile, "card 5555 5555 5555 4444"));
    let other = crate::masking::Profile { tenant: "other".into(), ..profile.clone() };
    assert_ne!(one, of(&other, "card 4242 4242 4242 4242"));
    let keyring = &masker.keyring;
    let (ssn, phone) =
        (keyring.pseudonym("acme", DataKind::US_SSN, "1"), keyring.pseudonym("acme", DataKind::PHONE_NUMBER, "1"));
    assert_ne!(
        ssn.unwrap().split(':').next_back().map(str::to_owned),
        phone.unwrap().split(':').next_back().map(str::to_owned)
    );
    // Of a secret every byte counts.
    assert_ne!(
        keyring.pseudonym("acme", DataKind::PASSWORD, "abc"),
        keyring.pseudonym("acme", DataKind::PASSWORD, "ABC")
    );
}

/// Where letters, separators and digits stand.
fn form(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect()
}

/// A number of each kind that keeps its form, as it stands in a text.
const FORMED: [(&str, &str, &str); 15] = [
    ("CREDIT_CARD", "card ", "4242 4242 4242 4242"),
    ("CREDIT_CARD", "card ", "3782-822463-10005"),
    ("ABA_ROUTING_NUMBER", "routing number ", "021000021"),
    ("UK_NHS", "NHS number ", "943 476 5919"),
    ("DE_TAX_ID", "Steuer-ID ", "86095742719"),
    ("PL_PESEL", "PESEL ", "44051401359"),
    ("NL_BSN", "BSN ", "111222333"),
    ("SE_PERSONNUMMER", "personnummer ", "811218-9876"),
    ("IN_AADHAAR", "Aadhaar ", "2341 2341 2346"),
    ("AU_TFN", "TFN ", "123 456 782"),
    ("AU_ABN", "ABN ", "51 824 753 556"),
    ("AU_ACN", "ACN ", "004 085 616"),
    ("BR_CPF", "CPF ", "111.444.777-35"),
    ("BR_CNPJ", "CNPJ ", "11.222.333/0001-81"),
    ("CA_SIN", "SIN ", "046 454 286"),
];

#[test]
fn what_keeps_its_form_keeps_length_and_separators_and_is_another_value_and_stays_it() {
    let masker = masker();
    for (kind, before, value) in FORMED {
        let text = format!("{before}{value}");
        for rules in [format!("{kind}:format"), "ALL:format".into()] {
            let profile = profile(&rules);
            let (once, counts) = masker.text(&profile, &text).unwrap();
            assert!(once != text && form(&once) == form(&text), "{text} became {once}");
            assert!(counts.keys().all(|found| found.as_str() == kind), "{counts:?}");
            assert_eq!(masker.text(&profile, &once).unwrap(), (once.clone(), Counts::new()), "twice");
            let (kind, now) = (DataKind::parse(kind).unwrap(), &once[before.len()..]);
            assert!(masker.keyring.is_formed("acme", kind, now).unwrap(), "{now} is known for what it is");
            assert!(!masker.keyring.is_formed("acme", kind, value).unwrap());
        }
    }
}

#[test]
fn what_kept_its_form_is_the_same_for_the_same_value_tenant_and_kind_only() {
    let keyring = masker().keyring;
    let of = |tenant, kind, value| keyring.format(tenant, kind, value, 0).unwrap();
    let one = of("acme", DataKind::CREDIT_CARD, "4242-4242-4242-4242").unwrap();
    assert_eq!(of("acme", DataKind::CREDIT_CARD, "4242424242424242").unwrap(), one.replace('-', ""));
    assert_ne!(of("other", DataKind::CREDIT_CARD, "4242-4242-4242-4242").unwrap(), one);
    assert_ne!(of("acme", DataKind::AU_ACN, "004085616"), of("acme", DataKind::CA_SIN, "004085616"));
    // Letters, too few digits, a wrong check digit, and kinds that have none.
    for (kind, value) in [
        (DataKind::CREDIT_CARD, "4242 4242 4242 424X"),
        (DataKind::CREDIT_CARD, "4242 4242 4242 4241"),
        (DataKind::CREDIT_CARD, "123456"),
        (DataKind::US_SSN, "219-09-9999"),
        (DataKind::PHONE_NUMBER, "+1 415 555 2671"),
    ] {
        assert_eq!(of("acme", kind, value), None, "{value}");
    }
    assert_eq!(masked("ALL:format", "mail jane@example.com"), "mail <EMAIL_ADDRESS>");
    assert_eq!(masked("ALL:format", "SSN: 219-09-9999, thanks"), "SSN: <US_SSN>, thanks");
}

#[test]
fn where_a_field_is_of_a_kind_that_keeps_its_form_what_is_no_number_of_it_is_replaced() {
    let (masker, profile) = (masker(), profile("CREDIT_CARD:format"));
    let mut stayed = 0;
    for last in 0..10 {
        let card = format!("4242 4242 4242 424{last}");
        let (seen, _) = masker.field(&profile, "credit_card", &card).unwrap();
        stayed += usize::from(seen == card);
        assert!(seen == card || seen == "<CREDIT_CARD>" || last == 2 && form(&seen) == form(&card), "{seen}");
    }
    // The one that the key would give: it cannot be told from what was masked.
    assert_eq!(stayed, 1);
    let (once, _) = masker.field(&profile, "credit_card", "4242 4242 4242 4242").unwrap();
    assert_eq!(masker.field(&profile, "credit_card", &once).unwrap(), (once, Counts::new()), "twice");
}

#[test]
fn a_card_that_kept_its_form_is_nobodys_and_stays_as_it_is() {
    let (masker, profile) = (masker(), profile("ALL:format"));
    let is_card = |text: &str| luhn(&digits(text));
    let mut all = std::collections::HashSet::new();
    for number in 0..100_u64 {
        let body = format!("4{:014}", number * 7_919);
        let card = (0..10).map(|last| format!("{body}{last}")).find(|card| is_card(card)).unwrap();
        let once = masker.text(&profile, &format!("card {card}")).unwrap().0;
        assert!(!once.contains(&card) && !is_card(&once), "{once}");
        assert_eq!(masker.text(&profile, &once).unwrap().0, once);
        assert!(all.insert(once), "two cards became one");
    }
}

#[test]
fn what_was_sealed_opens_for_its_tenant_and_kind_and_nobody_else() {
    let keyring = masker().keyring;
    let sealed = keyring.seal("acme", DataKind::US_SSN, "219-09-9999").unwrap();
    assert_ne!(sealed, keyring.seal("acme", DataKind::US_SSN, "219-09-9999").unwrap());
    assert_eq!(keyring.open("acme", &token_at(&sealed, 0).unwrap()).unwrap(), "219-09-9999");
    assert_eq!(keyring.open("other", &token_at(&sealed, 0).unwrap()), Err(MaskError::Unopened));
    let renamed = sealed.replace("US_SSN", "US_ITIN");
    assert_eq!(keyring.open("acme", &token_at(&renamed, 0).unwrap()), Err(MaskError::Unopened));
    for place in sealed.find("s1.k1.").unwrap() + 6..sealed.len() - 2 {
        let mut changed = sealed.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(keyring.open("acme", &token_at(&changed, 0).unwrap()), Err(MaskError::Unopened), "at {place}");
    }
}

#[test]
fn a_key_that_was_rotated_out_of_use_still_opens_and_one_that_is_gone_does_not() {
    let old = Keyring::default().with_sealing_key("k1", &[1; 32]).unwrap();
    let sealed = old.seal("acme", DataKind::US_SSN, "1").unwrap();
    let rotated =
        Keyring::default().with_sealing_key("k2", &[2; 32]).unwrap().with_sealing_key("k1", &[1; 32]).unwrap();
    assert_eq!(rotated.open("acme", &token_at(&sealed, 0).unwrap()).unwrap(), "1");
    assert!(rotated.seal("acme", DataKind::US_SSN, "1").unwrap().contains(":s1.k2."));
    let gone = Keyring::default().with_sealing_key("k2", &[2; 32]).unwrap();
    assert_eq!(gone.open("acme", &token_at(&sealed, 0).unwrap()), Err(MaskError::Unopened));
}

#[test]
fn a_token_that_we_did_not_seal_is_searched_like_any_text() {
    let forged = "<PERSON:s1.k1.AKIAIOSFODNN7EXAMPLE>";
    assert_eq!(masked("ALL", forged), "<PERSON:s1.k1.<AWS_ACCESS_KEY>>");
    assert_eq!(masked("ALL", "<US_SSN:219-09-9999>"), "<US_SSN:<US_SSN>>");
}

#[test]
fn what_is_asked_for_must_be_possible() {
    let bare = Masker::new(Custom::default(), Keyring::default()).unwrap();
    assert_eq!(bare.check(&profile("ALL:seal").rules), Err(MaskError::NoKey(Transform::Seal)));
    assert_eq!(bare.check(&profile("ALL:pseudonym").rules), Err(MaskError::NoKey(Transform::Pseudonym)));
    assert_eq!(bare.check(&profile("ALL:format").rules), Err(MaskError::NoKey(Transform::Format)));
    assert!(matches!(bare.check(&profile("X_BADGE").rules), Err(MaskError::UnknownKind(_))));
    assert_eq!(bare.check(&profile("ALL:partial").rules), Ok(()));
    assert_eq!(bare.text(&profile("ALL:seal"), "jane@example.com").unwrap_err(), MaskError::NoKey(Transform::Seal));
}

#[test]
fn of_a_value_that_its_field_calls_an_address_nothing_stays_but_a_host() {
    let masker = masker();
    let field = |value: &str| masker.field(&profile("ALL:partial"), "email", value).unwrap().0;
    assert_eq!(field("jane@example.com"), "***@example.com");
    for value in [
        "https://u:p@h.example/secret=9f86d081884c7d659a2f",
        "jane@h.example/patients/zaphod",
        "jane@h.example, zaphod",
        "jane@4242424242424242.example",
    ] {
        let once = field(value);
        assert!(!once.contains("9f86d0") && !once.contains("patients") && !once.contains(" zaphod"), "{once}");
        assert_eq!(field(&once), once);
    }
}
