//! The fuzzer: libFuzzer with the target that HCN_FUZZ_TARGET names. `scripts/fuzz` builds and runs it.
#![no_main]
#![allow(clippy::expect_used, reason = "nobody runs it otherwise than by the script")]

use std::path::Path;
use std::sync::OnceLock;

use hcn_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

/// Writes the seeds in place of fuzzing: HCN_FUZZ_TARGET=seeds HCN_FUZZ_SEEDS=FOLDER, in the repository's.
fn seeds(_: &[u8]) {
    let folder = std::env::var_os("HCN_FUZZ_SEEDS").expect("HCN_FUZZ_SEEDS names a folder");
    hcn_fuzz::seeds::write(Path::new("tests/conformance/cases"), Path::new(&folder));
}

fuzz_target!(|octets: &[u8]| {
    let target = TARGET.get_or_init(|| match std::env::var("HCN_FUZZ_TARGET").as_deref() {
        Ok("seeds") => seeds,
        name => hcn_fuzz::target(name.unwrap_or_default()).expect("HCN_FUZZ_TARGET names a target"),
    });
    target(octets);
});
