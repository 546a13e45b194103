//! Links: who gets one, who loses it, and what is not believed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::key::Key;
use super::links::{Account, CODE_LIFETIME, Entered, Links, Product};
use crate::domain::{Credential, EntityUid, Identity, PrincipalKind, ProofMethod, Timestamp};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn alice() -> Identity {
    let mut alice = Identity::imagined("User", "alice", &["privacy"]);
    alice.proof.authenticated_at = Some(NOW);
    let acr = Some("strong".into());
    alice.proof.credential = Some(Arc::new(Credential { issued_at: Some(NOW), acr, ..Credential::default() }));
    alice
}

fn account(user: &str) -> Account {
    Account { product: Product::Slack, workspace: "T1".into(), user: user.into() }
}

fn links(dir: &Path) -> Links {
    Links::open(dir, Key::imagined(1)).unwrap()
}

#[test]
fn a_code_links_one_account_once_and_a_click_is_no_login() {
    let dir = tempfile::tempdir().unwrap();
    let code = links(dir.path()).begin(&alice(), NOW).unwrap().unwrap();
    // Another replica, or another life.
    let links = links(dir.path());
    assert_eq!(links.person(&account("U1")).unwrap(), None);
    assert_eq!(links.enter(&account("U1"), "guess", NOW).unwrap(), Entered::Refused);
    assert_eq!(links.enter(&account("U1"), &format!(" {code}\n"), NOW).unwrap(), Entered::Linked);
    assert_eq!(links.enter(&account("U2"), &code, NOW).unwrap(), Entered::Refused, "used");
    assert_eq!(links.person(&account("U2")).unwrap(), None);
    let person = links.person(&account("U1")).unwrap().unwrap();
    assert!(person.is_same_as(&alice()) && person.groups == alice().groups);
    let credential = person.proof.credential.as_deref().unwrap();
    assert_eq!((person.proof.method, person.proof.authenticated_at), (ProofMethod::Chat, None));
    assert_eq!((credential.acr.as_ref(), credential.issued_at), (None, Some(NOW)));
    assert_eq!(credential.client.as_deref(), Some("slack:T1/U1"));
}

#[test]
fn a_code_is_good_for_ten_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let links = links(dir.path());
    let code = links.begin(&alice(), NOW).unwrap().unwrap();
    assert_eq!(links.enter(&account("U1"), &code, NOW.after(CODE_LIFETIME)).unwrap(), Entered::Refused);
    assert_eq!(links.person(&account("U1")).unwrap(), None);
}

#[test]
fn a_link_ends_when_its_person_says_so_and_stays_whatever_others_say() {
    let dir = tempfile::tempdir().unwrap();
    let links = links(dir.path());
    let code = links.begin(&alice(), NOW).unwrap().unwrap();
    links.enter(&account("U1"), &code, NOW).unwrap();
    let mut bob = alice();
    (bob.uid, bob.subject) = (EntityUid::new("User", "bob"), "bob".into());
    links.revoke(&bob, "slack:T1/U1").unwrap();
    assert!(links.of(&bob).unwrap().is_empty() && links.person(&account("U1")).unwrap().is_some());
    links.revoke(&alice(), "slack:T1/U1").unwrap();
    // A login brings nothing back.
    links.logged_in(&alice()).unwrap();
    assert_eq!((links.person(&account("U1")).unwrap(), links.of(&alice()).unwrap()), (None, Vec::new()));
}

#[test]
fn a_login_renews_what_is_known_of_the_person() {
    let dir = tempfile::tempdir().unwrap();
    let links = links(dir.path());
    links.logged_in(&alice()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("people")).unwrap().count(), 0, "nobody who is not linked is kept");
    let code = links.begin(&alice(), NOW).unwrap().unwrap();
    links.enter(&account("U1"), &code, NOW).unwrap();
    let mut later = alice();
    later.groups.clear();
    links.logged_in(&later).unwrap();
    assert!(links.person(&account("U1")).unwrap().unwrap().groups.is_empty());
}

#[test]
fn who_is_no_person_alone_gets_no_code() {
    let dir = tempfile::tempdir().unwrap();
    let links = links(dir.path());
    let agent = Identity { kind: PrincipalKind::Agent, ..alice() };
    let mut clicked = alice();
    clicked.proof.method = ProofMethod::Chat;
    let lent = Identity { on_behalf_of: Some(Box::new(alice())), ..alice() };
    for nobody in [agent, clicked, lent] {
        assert_eq!(links.begin(&nobody, NOW).unwrap(), None);
    }
}

#[test]
fn a_file_that_was_made_or_moved_without_the_key_links_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let links = links(dir.path());
    let code = links.begin(&alice(), NOW).unwrap().unwrap();
    links.enter(&account("U1"), &code, NOW).unwrap();
    let file = |user: &str| dir.path().join("accounts").join(account(user).file());
    fs::copy(file("U1"), file("U2")).unwrap();
    assert_eq!(links.person(&account("U2")).unwrap(), None);
    assert_eq!(links.of(&alice()).unwrap().len(), 1);
    assert_eq!(Links::open(dir.path(), Key::imagined(2)).unwrap().person(&account("U1")).unwrap(), None);
    fs::write(file("U3"), "{}").unwrap();
    assert_eq!(links.person(&account("U3")).unwrap(), None);
    let text = fs::read_to_string(file("U1")).unwrap();
    assert!(!text.contains("alice") && !text.contains("slack"));
}

#[test]
fn an_older_login_brings_no_groups_back() {
    let dir = tempfile::tempdir().unwrap();
    let links = links(dir.path());
    let earlier = links.begin(&alice(), NOW).unwrap().unwrap();
    let code = links.begin(&alice(), NOW).unwrap().unwrap();
    links.enter(&account("U1"), &code, NOW).unwrap();
    // Her group was taken away, and she logged in again.
    let mut demoted = alice();
    demoted.groups.clear();
    let issued_at = Some(NOW.after(CODE_LIFETIME / 2));
    demoted.proof.credential = Some(Arc::new(Credential { issued_at, ..Credential::default() }));
    links.logged_in(&demoted).unwrap();
    assert_eq!(links.enter(&account("U2"), &earlier, NOW).unwrap(), Entered::Linked);
    links.logged_in(&alice()).unwrap();
    for user in ["U1", "U2"] {
        assert!(links.person(&account(user)).unwrap().unwrap().groups.is_empty(), "{user}");
    }
}

#[test]
fn nobody_takes_the_codes_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let links = links(dir.path());
    let mut codes = Vec::new();
    for second in 0..20 {
        codes.push(links.begin(&alice(), NOW.after(Duration::from_secs(second))).unwrap().unwrap());
    }
    assert_eq!(fs::read_dir(dir.path().join("codes")).unwrap().count(), 3, "the oldest of one person end");
    assert_eq!(links.enter(&account("U1"), &codes[0], NOW).unwrap(), Entered::Refused);
    assert_eq!(links.enter(&account("U1"), &codes[19], NOW).unwrap(), Entered::Linked);
}
