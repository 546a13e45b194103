//! Any text, sealed and opened again: what was there comes back, but for what was withheld; and a token that we did not write,
//! or that was changed, does not open.
#![no_main]

use std::sync::LazyLock;

use countersign::domain::MaskRules;
use countersign::masking::token::{Payload, token_at};
use countersign::masking::{Budget, Custom, Keyring, Masker, Mode, Profile};
use libfuzzer_sys::fuzz_target;

static MASKER: LazyLock<Masker> = LazyLock::new(|| {
    let keyring = Keyring::default().with_sealing_key("k1", &[8; 32]).expect("a key");
    Masker::new(Custom::default(), keyring).expect("detectors that compile")
});

fn profile(tenant: &str) -> Profile {
    let rules = MaskRules::parse("ALL:seal").expect("rules");
    Profile { tenant: tenant.into(), rules, mode: Mode::Strict, budget: Budget::default() }
}

/// Opens every sealed token; whether there was one.
fn opened(tenant: &str, text: &str) -> (String, bool) {
    let (mut out, mut at, mut any) = (String::new(), 0, false);
    while let Some(begin) = text[at..].find('<').map(|begin| at + begin) {
        out.push_str(&text[at..begin]);
        let token = token_at(text, begin).filter(|token| matches!(token.payload, Payload::Sealed { .. }));
        match token.and_then(|token| Some((MASKER.open(tenant, &token).ok()?, token.span.end))) {
            Some((value, end)) => {
                out.push_str(&value);
                (at, any) = (end, true);
            }
            None => {
                out.push('<');
                at = begin + 1;
            }
        }
    }
    out.push_str(&text[at..]);
    (out, any)
}

/// Kinds and `<REDACTED>` stand where something was withheld for good.
fn withheld(text: &str) -> usize {
    let bare = |at: usize| token_at(text, at).is_some_and(|token| matches!(token.payload, Payload::None));
    text.match_indices('<').filter(|(at, _)| bare(*at)).count()
}

fuzz_target!(|input: (u16, &str)| {
    let (place, text) = input;
    assert!(!opened("t", text).1, "nobody but we can seal");
    let Ok((masked, _)) = MASKER.text(&profile("t"), text) else { return };
    assert!(!opened("other", &masked).1, "it opens for another tenant");
    // What is found around a token is sealed with the token in it.
    let (mut now, mut any) = opened("t", &masked);
    while any {
        (now, any) = opened("t", &now);
    }
    // Within base64 it is sealed as well; that is opened by whoever decodes it.
    let is_encoded = MASKER
        .find(&profile("t"), text, 0)
        .is_ok_and(|found| found.iter().any(|finding| matches!(finding.layer, countersign::masking::Layer::Base64)));
    if !is_encoded && withheld(&masked) == withheld(text) {
        assert_eq!(now, text, "what was sealed did not come back");
    }
    // One byte of a token changed: it does not open.
    if let Some(begin) = masked.find(":s1.k1.") {
        let end = masked[begin..].find('>').map_or(masked.len(), |end| begin + end);
        let begins = begin + ":s1.k1.".len();
        if begins == end {
            return;
        }
        let at = begins + usize::from(place) % (end - begins);
        let mut changed = masked.into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        if let Ok(changed) = String::from_utf8(changed) {
            let begin = changed[..begin].rfind('<').unwrap_or_default();
            let token = token_at(&changed, begin);
            assert!(token.is_none_or(|token| MASKER.open("t", &token).is_err()), "a forged token opens");
        }
    }
});
