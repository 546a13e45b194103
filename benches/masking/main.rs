//! How well and how fast is masking? Finds what the generator hid, counts what it should not have found, and times clean and
//! labelled text. `cargo bench --bench masking -- DIR` writes `corpus.json` for `presidio.py` and `ours.json` beside it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a tool: it stops where something is wrong")]

mod corpus;

use std::collections::BTreeMap;

use countersign::domain::{DataKind, MaskRules};
use countersign::masking::{Budget, Custom, Keyring, Masker, Mode, Profile};
use serde_json::json;

use corpus::{Random, Sample};

const SEED: u64 = 20_261_123;
const ROUNDS: usize = 40;
const CLEAN_BYTES: usize = 32 << 20;

#[derive(Default)]
struct Score {
    right: u32,
    missed: u32,
    wrong: u32,
}

fn main() {
    let dir = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let masker = Masker::new(Custom::default(), Keyring::default()).unwrap();
    let profile = Profile {
        tenant: "bench".into(),
        rules: MaskRules::everything(),
        mode: Mode::Strict,
        budget: Budget::default(),
    };
    let mut random = Random::new(SEED);
    let (positives, negatives) = (corpus::positives(&mut random, ROUNDS), corpus::negatives(&mut random, ROUNDS));

    let (mut scores, mut false_positives) = (BTreeMap::<String, Score>::new(), 0);
    for sample in positives.iter().chain(&negatives) {
        let found = masker.find(&profile, &sample.text, 0).unwrap();
        false_positives += u32::from(sample.labels.is_empty() && !found.is_empty());
        score(sample, &found.iter().map(|found| (found.kind, found.span.clone())).collect::<Vec<_>>(), &mut scores);
    }
    println!("{:<28} {:>9} {:>9} {:>9}", "kind", "precision", "recall", "F1");
    for (kind, score) in &scores {
        let (precision, recall, f1) = score.rates();
        println!("{kind:<28} {precision:>9.3} {recall:>9.3} {f1:>9.3}");
    }
    println!("hard negatives with a finding: {false_positives} of {}", negatives.len());

    let labelled: String = positives.iter().chain(&negatives).map(|sample| format!("{}\n", sample.text)).collect();
    let clean = corpus::prose(CLEAN_BYTES);
    let (clean_speed, labelled_speed) =
        (speed(&masker, &profile, &clean), speed(&masker, &profile, &labelled.repeat(8)));
    let single = speed(&masker, &profile, &clean.replace('\n', " "));
    println!("clean {clean_speed:.0} MB/s, in one line {single:.0} MB/s, labelled {labelled_speed:.1} MB/s");
    for (name, unit) in [
        ("a", "a"),
        ("0", "0"),
        ("@", "a@"),
        ("eyJ", "-eyJ"),
        ("password", "password="),
        ("digits", "12 "),
        ("<", "<"),
        ("://", "a://"),
        ("%", "%25"),
        ("-----BEGIN ", "-----BEGIN "),
    ] {
        println!("pathological {name:<12} {:.1} MB/s", speed(&masker, &profile, &unit.repeat((10 << 20) / unit.len())));
    }

    let Some(dir) = dir else { return };
    let rates = scores.iter().map(|(kind, score)| {
        (kind.clone(), json!({"right": score.right, "missed": score.missed, "wrong": score.wrong}))
    });
    let ours = json!({
        "kinds": rates.collect::<serde_json::Map<_, _>>(), "false_positives": false_positives, "negatives": negatives.len(),
        "clean_mb_per_s": clean_speed, "labelled_mb_per_s": labelled_speed,
    });
    let samples: Vec<_> = positives
        .iter()
        .chain(&negatives)
        .map(|sample| {
            json!({"text": sample.text, "labels": sample.labels.iter().map(|(kind, span)| {
            let place = |byte| sample.text[..byte].chars().count();
            json!([kind, place(span.start), place(span.end)])
        }).collect::<Vec<_>>()})
        })
        .collect();
    std::fs::write(format!("{dir}/ours.json"), ours.to_string()).unwrap();
    std::fs::write(format!("{dir}/corpus.json"), json!(samples).to_string()).unwrap();
}

/// A finding is right if its kind is the label's and it covers at least half of what both cover together.
fn score(sample: &Sample, found: &[(DataKind, std::ops::Range<usize>)], scores: &mut BTreeMap<String, Score>) {
    let mut used = vec![false; found.len()];
    for (kind, span) in &sample.labels {
        let hit = found.iter().position(|(is, at)| {
            let both = span.end.min(at.end).saturating_sub(span.start.max(at.start));
            is.as_str() == *kind && both * 2 >= span.end.max(at.end) - span.start.min(at.start)
        });
        let score = scores.entry((*kind).to_owned()).or_default();
        match hit {
            Some(at) => {
                used[at] = true;
                score.right += 1;
            }
            None => {
                score.missed += 1;
                if std::env::var_os("SHOW_MISSED").is_some() {
                    println!("missed {kind} {:?} in {:?}: {found:?}", &sample.text[span.clone()], sample.text);
                }
            }
        }
    }
    for (_, (kind, span)) in used.iter().zip(found).filter(|(used, _)| !**used) {
        scores.entry(kind.to_string()).or_default().wrong += 1;
        if std::env::var_os("SHOW_WRONG").is_some() {
            println!("wrong {kind} {:?} in {:?}", &sample.text[span.clone()], sample.text);
        }
    }
}

impl Score {
    fn rates(&self) -> (f64, f64, f64) {
        let of = |part: u32, whole: u32| if whole == 0 { 1.0 } else { f64::from(part) / f64::from(whole) };
        let (precision, recall) = (of(self.right, self.right + self.wrong), of(self.right, self.right + self.missed));
        (
            precision,
            recall,
            if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 },
        )
    }
}

fn speed(masker: &Masker, profile: &Profile, text: &str) -> f64 {
    let began = spent();
    let masked = masker.text(profile, text).unwrap();
    std::hint::black_box(masked);
    text.len() as f64 / 1e6 / (spent() - began)
}

/// Seconds that this thread had a core: others on the machine do not count.
fn spent() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
