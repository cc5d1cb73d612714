//! A kernel that refuses all of a transaction, with more answers than fit the socket: it is told once, and why.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{config, isolated, sh};
use hcn_dataplane::{Dataplane as _, State};
use hcn_linux::Linux;

#[test]
fn a_table_of_another_program_is_told_as_that() {
    isolated("a_table_of_another_program_is_told_as_that", || {
        let mut linux = Linux::start(config()).unwrap();
        let mut nft = Command::new("nft").arg("-i").stdin(Stdio::piped()).spawn().unwrap();
        let mut typed = nft.stdin.take().unwrap();
        writeln!(typed, "add table inet hcnd {{ flags owner; }}").unwrap();
        let deadline = Instant::now() + common::patience(Duration::from_secs(30));
        while !sh("nft list tables").contains("inet hcnd") {
            assert!(Instant::now() < deadline, "nft makes no table");
        }
        let refused = linux.adopt(&State::new()).unwrap_err();
        assert_eq!(refused.errno, Some(libc::EPERM), "{refused}");
        assert!(refused.message.contains("it belongs to another program"), "{refused}");
        // Once the other one has ended, its table is gone and hcnd has its own.
        drop(typed);
        nft.wait().unwrap();
        linux.adopt(&State::new()).unwrap();
        assert!(sh("nft list tables").contains("inet hcnd"));
    });
}
