//! Whole journals, through the public interface, and what a start makes of files that were tampered with.

mod concurrency;
mod full_disk;
mod reading;
mod recovery;
mod sealed;
mod support;
mod verifying;
