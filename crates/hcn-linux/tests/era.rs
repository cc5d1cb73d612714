//! What tells one run of the machine's network from the next.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::*;
use hcn_linux::era;
use nix::sched::{CloneFlags, unshare};

#[test]
fn each_network_namespace_is_an_era_and_stays_one() {
    isolated("each_network_namespace_is_an_era_and_stays_one", || {
        let here = era().unwrap();
        assert_eq!(here.boot_id.len(), 36, "{here:?}");
        assert_ne!(here.netns_cookie, 0);
        let mut eras = vec![here.clone()];
        for _ in 0..3 {
            let elsewhere = std::thread::spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                (era().unwrap(), era().unwrap())
            });
            let (first, again) = elsewhere.join().unwrap();
            assert_eq!(first, again);
            assert_eq!(first.boot_id, here.boot_id);
            assert!(!eras.contains(&first), "{first:?} among {eras:?}");
            eras.push(first);
        }
        assert_eq!(std::thread::spawn(|| era().unwrap()).join().unwrap(), here);
    });
}
