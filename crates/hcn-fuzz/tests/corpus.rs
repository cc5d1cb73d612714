//! Everything in the corpora, and so everything that was ever found, holds. What libFuzzer does with it is mutate it:
//! `scripts/fuzz`.
#![allow(clippy::unwrap_used, reason = "what fails must fail the test")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use hcn_fuzz::TARGETS;

#[test]
fn whatever_was_found_before_holds() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let entries: Vec<_> =
            fs::read_dir(corpora.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!entries.is_empty(), "{name} has no corpus");
        for entry in entries {
            let octets = fs::read(&entry).unwrap();
            // What it says of itself is printed with the test.
            if catch_unwind(|| target(&octets)).is_err() {
                failed.push(entry);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
