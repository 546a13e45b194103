//! The key under which servers of a test seal, where several of them or the test itself must open what one has written.

use std::path::Path;

use countersign::vault::Vault;

/// A key, and one that is not it.
pub const KEY: [u8; 32] = [42; 32];

/// Opens and seals with it.
pub fn vault() -> Vault {
    Vault::new([("test", &KEY[..])]).unwrap()
}

/// What opens the journal of a server that kept its key beside it, or sealed with [`KEY`].
pub fn of_kept(dir: &Path) -> Vault {
    let kept = countersign::vault::kept::find(dir).unwrap();
    let keys = kept.iter().map(|kept| (&*kept.id, &*kept.bytes)).chain([("test", &KEY[..])]);
    Vault::opening_only(keys).unwrap()
}

/// The configuration of a server that seals with [`KEY`].
pub fn sections(dir: &Path) -> String {
    let file = dir.join("test-key");
    std::fs::write(&file, "2a".repeat(32)).unwrap();
    format!("[journal]\nsealing_keys = [{{ id = \"test\", from = \"file:{}\" }}]\n", file.display())
}
