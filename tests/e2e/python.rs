//! Does the client in Python do what a client must?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::path::Path;

use hcn_tests::kernel::{assert_unchanged, dump};
use hcn_tests::{Sandbox, in_sandbox, run};

#[test]
fn a_client_of_the_standard_library_calls_and_listens() {
    in_sandbox!(Sandbox::new(), {
        let before = dump();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/everything.py");
        // Nothing is left beside the sources.
        let ended = run(&["python3".as_ref(), "-B".as_ref(), program.as_os_str()]);
        assert!(ended.code == Some(0) && ended.stdout == "done\n", "{ended}");
        assert_unchanged(&before, "the network is deleted");
    });
}
