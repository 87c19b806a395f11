//! What the system tests share: root or a reason, the repository's root, commands with a deadline.
//!
//! A test that needs root or a foreign daemon and cannot have it prints `skipped: why`; where `CI` is set it fails.
