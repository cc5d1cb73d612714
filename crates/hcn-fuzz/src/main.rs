//! The fuzzer: libFuzzer with the target that HCN_FUZZ_TARGET names. `scripts/fuzz` builds and runs it.
#![no_main]
#![allow(clippy::expect_used, reason = "nobody runs it otherwise than by the script")]

use std::sync::OnceLock;

use hcn_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(|octets: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("HCN_FUZZ_TARGET").unwrap_or_default();
        hcn_fuzz::target(&name).expect("HCN_FUZZ_TARGET names a target")
    });
    target(octets);
});
