//! Any bytes as a frame of the journal, and as what a frame holds: a record that can be read is the same record when it is
//! written and read again.
#![no_main]

use countersign::domain::Timestamp;
use countersign::{journal, wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    journal::fuzzing::frames(bytes);
    let (sequence, at) = (7, Timestamp::from_micros(1));
    let Ok(record) = wire::record::decode(sequence, at, bytes) else { return };
    let written = wire::record::encode(&record.fact);
    let again = wire::record::decode(sequence, at, &written).expect("a record that we wrote");
    assert_eq!(wire::record::encode(&again.fact), written);
});
