//! Any bytes as an `AuthorizeRequest` in JSON: what is taken for a query says the same when it is written and read again.
#![no_main]

use std::sync::LazyLock;

use countersign::wire::transcode::{Vocabulary, Words};
use countersign::wire::{DESCRIPTORS, pb};
use libfuzzer_sys::fuzz_target;
use prost::Message;

static QUERY: LazyLock<Words> = LazyLock::new(|| {
    let vocabulary = Vocabulary::new(&[DESCRIPTORS]).expect("our own descriptors");
    vocabulary.message("countersign.v1.AuthorizeRequest").expect("a message of ours")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(encoded) = QUERY.read_json(bytes) else { return };
    let query = pb::AuthorizeRequest::decode(&*encoded).expect("a message");
    let written = QUERY.write_json(&encoded).expect("its JSON");
    let again = QUERY.read_json(&written).expect("it was a query a moment ago");
    assert_eq!(pb::AuthorizeRequest::decode(&*again).expect("a message"), query);
});
