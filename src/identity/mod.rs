//! Who is asking: from a bearer token or a client certificate to a [`domain::Identity`](crate::domain::identity::Identity), or a refusal.
//!
//! Read in this order: [`settings`] says whom we trust, [`preset`] what is usual with whom, [`check`] what would be unsafe;
//! [`source`] fetches keys from the outside world, `ring` keeps them fresh, `keys` makes verifying keys of them; `compact`
//! and `json` take a token apart without trusting it, `claims` and [`profile`] check what it says, `mapping` turns it into
//! an identity (with `template`, [`groups`] and [`delegation`]), and [`verifier`] does all that in order. [`login`] does
//! so for a person at a web page, [`bot`] for a chat product that tells what people clicked. [`san`] and [`certificate`] do for client certificates what `mapping` does for tokens.
//!
//! Absent on purpose: no token, claim or signature is ever logged or kept (a cache key is a hash); no key named by a
//! token is ever fetched; no display claim decides anything; nothing here knows gRPC or Cedar.

pub mod bot;
pub mod certificate;
pub mod check;
pub mod condition;
pub mod delegation;
pub mod groups;
pub mod login;
pub mod preset;
pub mod profile;
pub mod refusal;
pub mod san;
pub mod settings;
pub mod source;
pub mod verifier;

mod claims;
mod compact;
mod duration_text;
mod json;
mod keys;
mod mapping;
mod meters;
mod ring;
mod template;

#[cfg(test)]
mod bot_tests;
#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod hostile_claims_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod login_tests;
#[cfg(test)]
mod mapping_tests;
#[cfg(test)]
mod preset_tests;
#[cfg(test)]
mod testing;

pub use bot::{BotSettings, BotVerifier, Origin};
pub use certificate::{Certificates, ClientCertificate};
pub use check::SettingsError;
pub use login::{IdTokenRules, LoginSettings, LoginVerifier};
pub use meters::{Meters, REASONS};
pub use refusal::{Reason, Refusal};
pub use settings::{IssuerSettings, KeyLocation, PrincipalRule};
pub use verifier::{IssuerHealth, VerifiedToken, Verifier};
