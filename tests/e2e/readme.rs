//! Every command of the README, and of the page on shells, does what it says there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails must fail the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use hcn_tests::{Background, Sandbox, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The commands of each shell block of a page.
fn blocks(page: &str) -> Vec<Vec<String>> {
    let page = fs::read_to_string(root().join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut parts = page.split("```sh\n");
    parts.next();
    for part in parts {
        let (block, _) = part.split_once("```").unwrap();
        blocks.push(block.lines().map(str::to_owned).collect());
    }
    blocks
}

#[test]
fn the_first_block_holds_the_two_commands_that_do_everything() {
    let first: Vec<String> =
        blocks("README.md")[0].iter().map(|line| line.split('#').next().unwrap().trim().to_owned()).collect();
    assert_eq!(first, ["./scripts/run", "./scripts/test"]);
}

#[test]
fn continuous_integration_calls_exactly_the_test_command() {
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    let commands: Vec<&str> = ci.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(commands, [r#"exec "$(dirname "$0")/../scripts/test""#]);
}

/// The demonstration builds, so the programs that others run may be replaced meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn the_demonstration_runs() {
    let _alone = ALONE.lock();
    let script = root().join("scripts/run");
    // It builds hcnd by itself, with fewer features of what others use than the tests do.
    let ran = Background::start(&mut Command::new(script)).wait(Duration::from_secs(300));
    assert_eq!(ran.code, Some(0), "{ran}");
    let printed = ran.stdout;
    for text in [
        "This is the container web1; your request came from 192.0.2.4",
        "This is the container web1; your request came from 2001:db8:1::4",
        "This is the gateway; your request came from 192.0.2.4",
        "This is outside; your request came from 203.0.113.10",
        "This is outside; your request came from 2001:db8:ffff::10",
        "curl -sS http://203.0.113.10:8080/\nThis is the container web1; your request came from 203.0.113.1\n",
        "This is the container web2; your request came from 203.0.113.1\n",
        "This is the container web2; your request came from 192.0.2.1\n",
        "downloaded 300000 bytes\n",
        "198.18.0.80  port 80, to web1 and web2 in turn",
    ] {
        assert!(printed.contains(text), "{text:?} is not in:\n{printed}");
    }
}

#[test]
fn the_demonstration_refuses_what_it_does_not_know() {
    let script = root().join("scripts/run");
    let ended = run(&[script.to_str().unwrap(), "--shelll"]);
    assert_eq!(ended.code, Some(2), "{ended}");
}

#[test]
fn the_commands_of_the_other_blocks_run_inside() {
    let commands: Vec<String> = blocks("README.md").into_iter().skip(1).flatten().collect();
    assert!(commands.len() > 5, "{commands:?}");
    let script = commands.join("\n");
    let _alone = ALONE.lock();
    let ended = Sandbox::new().run(&["bash", "-e", "-u", "-o", "pipefail", "-c", &script]);
    assert_eq!(ended.code, Some(0), "{ended}");
    for text in ["198.51.100.2/24", "2001:db8:2::2/64", r#""Name":"doc""#] {
        assert!(ended.stdout.contains(text), "{text:?} is not in:\n{ended}");
    }
}

#[test]
fn the_commands_of_the_page_on_shells_run_inside_and_say_what_it_says() {
    let page = "docs/clients/shell.md";
    let script = blocks(page).concat().join("\n");
    let _alone = ALONE.lock();
    let ended = Sandbox::new().run(&["bash", "-e", "-u", "-o", "pipefail", "-c", &script]);
    assert_eq!(ended.code, Some(0), "{ended}");
    for text in ["192.0.2.2\n", "there is no such network\n", "published already\n", "gone\n"] {
        assert!(ended.stdout.contains(text), "{text:?} is not in:\n{ended}");
    }
}
