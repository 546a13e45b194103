//! Any key set: a token by a key that is not in it is never let in.
#![no_main]

#[path = "../house.rs"]
mod house;

use std::sync::Arc;

use countersign::identity::{IssuerSettings, Verifier};
use house::{LITERALS, NOW, Signer, Source, wait};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| {
    thread_local! {
        static TOKEN: String = Signer::new().token(format!(
            r#"{{"iss":"{}","aud":"countersign","sub":"alice","client_id":"portal","exp":1800000300}}"#, LITERALS[0],
        ).as_bytes());
    }
    let mut settings = IssuerSettings::new("people", LITERALS[0], "countersign");
    settings.user_clients = vec!["portal".to_owned()];
    let verifier =
        Verifier::with_sources(vec![(settings, Arc::new(Source(document.to_vec())))]).expect("safe settings");
    TOKEN.with(|token| assert!(wait(verifier.verify(token, NOW)).is_err(), "let in by a key that nobody published"));
});
