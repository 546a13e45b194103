//! A door for the fuzz targets (`tests/fuzz`), there only in their builds (`--cfg fuzzing`): frames without a disk.

use super::format::{decode, encode_open, seal};

/// Reads bytes as a frame, as they are and once more with the length and checksum that they should have: most bytes of a
/// fuzzer would go no further than these. What is read is written again to the same bytes.
///
/// # Panics
/// If it is not.
#[expect(clippy::panic, clippy::expect_used, reason = "a fuzz target tells by panicking")]
pub fn frames(bytes: &[u8]) {
    const SEED: u32 = 0;
    // Anything but a panic is fine.
    let _ = decode(bytes, SEED);
    let mut mended = bytes.to_vec();
    let Some((body, _)) = mended.split_last_chunk_mut::<4>() else { return };
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let Some(head) = body.first_chunk_mut::<4>() else { return };
    *head = length;
    let checksum = crc32c::crc32c_append(SEED, body).to_le_bytes();
    mended.truncate(bytes.len() - checksum.len());
    mended.extend(checksum);
    let Ok(view) = decode(&mended, SEED) else { return };
    let mut again = Vec::new();
    encode_open(&mut again, view.sequence, view.at_micros, &view.keys, view.payload);
    seal(&mut again, view.durable_before, &[0; 32], SEED).expect("a whole frame");
    let same = decode(&again, SEED).unwrap_or_else(|problem| panic!("{problem:?}"));
    assert_eq!(
        (same.sequence, same.at_micros, same.durable_before, same.keys.as_slice(), same.payload),
        (view.sequence, view.at_micros, view.durable_before, view.keys.as_slice(), view.payload)
    );
}
