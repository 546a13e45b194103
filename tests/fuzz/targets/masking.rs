//! Any bytes as text and as JSON: nothing panics, pieces give what the whole gives, and twice is once.
#![no_main]

use std::sync::LazyLock;

use countersign::domain::MaskRules;
use countersign::masking::{Budget, Custom, JsonStream, Keyring, Masker, Mode, Profile, TextStream};
use libfuzzer_sys::fuzz_target;

static MASKER: LazyLock<Masker> = LazyLock::new(|| {
    let keyring = Keyring::default().with_pseudonym_key(&[7; 32]).and_then(|keys| keys.with_format_key(&[9; 32]));
    let keyring = keyring.and_then(|keys| keys.with_sealing_key("k1", &[8; 32]));
    Masker::new(Custom::default(), keyring.expect("keys")).expect("detectors that compile")
});

fn profile(rules: &str) -> Profile {
    Profile {
        tenant: "t".into(),
        rules: MaskRules::parse(rules).expect("rules"),
        mode: Mode::Strict,
        budget: Budget::default(),
    }
}

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (cut, which, bytes) = input;
    let rules = ["ALL", "ALL:redact", "ALL:partial", "ALL:pseudonym", "ALL:format"];
    let profile = profile(rules[usize::from(which) % rules.len()]);
    let at = usize::from(cut) % (bytes.len() + 1);
    let text = |pieces: [&[u8]; 2]| {
        let (mut stream, mut out) = (TextStream::new(&MASKER, &profile), String::new());
        pieces.iter().try_for_each(|piece| stream.push(piece, &mut out)).ok()?;
        stream.finish(&mut out).ok().map(|_| out)
    };
    let json = |pieces: [&[u8]; 2]| {
        let (mut stream, mut out) = (JsonStream::new(&MASKER, &profile), String::new());
        pieces.iter().try_for_each(|piece| stream.push(piece, &mut out)).ok()?;
        stream.finish(&mut out).ok().map(|_| out)
    };
    let (head, tail) = bytes.split_at(at);
    assert_eq!(text([bytes, b""]), text([head, tail]), "pieces matter");
    assert_eq!(json([bytes, b""]), json([head, tail]), "pieces matter");
    if let Some(once) = text([bytes, b""]) {
        assert_eq!(text([once.as_bytes(), b""]).as_deref(), Some(&*once), "twice is not once");
    }
    if let Some(once) = json([bytes, b""]) {
        assert_eq!(json([once.as_bytes(), b""]).as_deref(), Some(&*once), "twice is not once");
    }
});
