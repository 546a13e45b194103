//! How well it finds what the generator of `benches/masking` hid, with a floor for each kind, and how rarely it errs on what only
//! looks like it. The same text is held beside Presidio by `benches/masking/presidio.py`.

#[path = "../../../benches/masking/corpus.rs"]
mod corpus;

use std::collections::BTreeMap;

use super::{masker, profile};
use corpus::{Random, Sample};

/// Another seed than the benchmark's.
const SEED: u64 = 7;
const ROUNDS: usize = 12;
/// What is known by form or check digit.
const FLOOR: f64 = 0.97;
/// Names that nothing announces are not found.
const FLOOR_OF_NAMES: f64 = 0.70;

/// Right, missed and wrong findings of each kind.
fn scores(samples: &[Sample]) -> BTreeMap<String, [u32; 3]> {
    let (masker, profile) = (masker(), profile("ALL"));
    let mut scores = BTreeMap::<String, [u32; 3]>::new();
    for sample in samples {
        let mut found = masker.find(&profile, &sample.text, 0).unwrap();
        for (kind, span) in &sample.labels {
            let is_hit = |found: &crate::masking::Finding| {
                let both = span.end.min(found.span.end).saturating_sub(span.start.max(found.span.start));
                found.kind.as_str() == *kind
                    && both * 2 >= span.end.max(found.span.end) - span.start.min(found.span.start)
            };
            let hit = found.iter().position(is_hit);
            scores.entry((*kind).to_owned()).or_default()[usize::from(hit.is_none())] += 1;
            hit.map(|at| found.remove(at));
        }
        for wrong in found {
            scores.entry(wrong.kind.to_string()).or_default()[2] += 1;
        }
    }
    scores
}

#[test]
fn every_kind_is_found_as_well_as_promised() {
    let samples = corpus::positives(&mut Random::new(SEED), ROUNDS);
    let scores = scores(&samples);
    assert_eq!(scores.len(), crate::domain::DataKind::BUILT_IN.len(), "every kind is in the corpus");
    let below = scores.iter().filter_map(|(kind, [right, missed, wrong])| {
        let f1 = f64::from(2 * right) / f64::from(2 * right + missed + wrong);
        let floor = if kind == "PERSON" { FLOOR_OF_NAMES } else { FLOOR };
        (f1 < floor).then(|| format!("{kind}: F1 {f1:.3}: {right} right, {missed} missed, {wrong} wrong"))
    });
    let below: Vec<_> = below.collect();
    assert!(below.is_empty(), "{}", below.join("\n"));
}

#[test]
fn case_70_fewer_than_one_in_a_hundred_hard_negatives_is_taken_for_something() {
    let samples = corpus::negatives(&mut Random::new(SEED), 30);
    let (masker, profile) = (masker(), profile("ALL"));
    let wrong = samples.iter().filter(|sample| !masker.find(&profile, &sample.text, 0).unwrap().is_empty());
    let wrong: Vec<_> = wrong.map(|sample| &*sample.text).collect();
    assert!(wrong.len() * 100 < samples.len(), "{} of {}: {wrong:?}", wrong.len(), samples.len());
}

#[test]
fn prose_is_left_as_it_is() {
    let prose = corpus::prose(10_000);
    let (masked, counts) = masker().text(&profile("ALL"), &prose).unwrap();
    assert_eq!(masked, prose);
    assert!(counts.is_empty());
}

/// Ten times the text takes about ten times as long; a search that goes back would take a hundred times as long or for ever.
#[test]
fn a_long_line_of_almost_anything_ends() {
    let (masker, profile) = (masker(), profile("ALL"));
    for unit in [
        "a",
        "0",
        "a@",
        "-eyJ",
        "password=",
        "12 ",
        "<",
        "a://",
        "%25",
        "-----BEGIN PRIVATE KEY-----",
        "Alice Al",
        "\u{e9}",
    ] {
        let text = unit.repeat(200_000 / unit.len());
        let masked = masker.text(&profile, &text).map(|(masked, _)| masked);
        assert!(masked.is_ok(), "{unit}: {masked:?}");
    }
}
