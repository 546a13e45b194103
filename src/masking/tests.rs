//! What masking promises, held against it: what is found and what is not, that pieces do not matter, that twice is once, that
//! JSON stays JSON, that what was sealed can be opened, and how well it finds what a generator hid.

mod budget;
mod detectors;
mod nearly;
mod promises;
mod quality;
mod transforms;

use super::{Budget, Custom, CustomRules, Keyring, Masker, Mode, Profile};
use crate::domain::{DataKind, MaskRules};

pub fn masker() -> Masker {
    let keyring = Keyring::default().with_pseudonym_key(&[7; 32]).unwrap().with_format_key(&[9; 32]).unwrap();
    let keyring = keyring.with_sealing_key("k1", &[8; 32]).unwrap();
    Masker::new(Custom::new(rules()).unwrap(), keyring).unwrap()
}

fn rules() -> CustomRules {
    let badge = DataKind::parse("X_BADGE").unwrap();
    let project = DataKind::parse("X_PROJECT").unwrap();
    CustomRules {
        patterns: vec![(badge, r"\bBDG-\d{6}\b".to_owned())],
        words: vec![(project, vec!["Bluebird".to_owned(), "Red Kite".to_owned()])],
        fields: vec![(badge, vec!["badge".to_owned()])],
    }
}

pub fn profile(rules: &str) -> Profile {
    Profile {
        tenant: "acme".into(),
        rules: MaskRules::parse(rules).unwrap(),
        mode: Mode::Strict,
        budget: Budget::default(),
    }
}
