//! Everything in the corpora, and so everything that was ever found, holds. What libFuzzer does with it is mutate it:
//! `scripts/fuzz`.
#![allow(clippy::unwrap_used, reason = "what fails must fail the test")]

use std::fs;
use std::path::Path;

use hcn_fuzz::TARGETS;

#[test]
fn whatever_was_found_before_holds() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let mut entries: Vec<_> =
            fs::read_dir(corpora.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        assert!(!entries.is_empty(), "{name} has no corpus");
        for entry in entries {
            // A test that fails shows what it printed last.
            println!("{}", entry.display());
            target(&fs::read(&entry).unwrap());
        }
    }
}
