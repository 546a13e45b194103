//! Any claims under a good signature: who is let in is somebody in an issuer's namespace, while the token lasts, and with
//! an actor never a person.
#![no_main]

#[path = "../house.rs"]
mod house;

use countersign::domain::PrincipalKind;
use house::{House, NAMESPACES, NOW};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|claims: &[u8]| {
    thread_local! {
        static HOUSE: House = House::new();
    }
    HOUSE.with(|house| {
        let Some(Ok(verified)) = house.verifier.verify_now(&house.token(claims), NOW) else { return };
        let identity = verified.identity();
        assert!(!verified.expires_at().is_due(NOW), "expired");
        for one in identity.chain() {
            let id = one.uid.id.split_once('/').filter(|(namespace, _)| NAMESPACES.contains(namespace));
            assert!(id.is_some_and(|(_, id)| !id.is_empty()), "outside of the namespaces: {}", one.uid);
        }
        let is_delegated = identity.on_behalf_of.is_some();
        assert!(!is_delegated || identity.kind != PrincipalKind::User, "a person who is an actor: {}", identity.uid);
    });
});
