//! `hcnd sandbox` as its users meet it: exit codes, the network inside, and that it leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails must fail the test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use hcn_tests::traffic::{PORT, ask_tcp_at, seen_as, serve, serve_as, wait_for_outside};
use hcn_tests::{
    Background, Caller, Node, Sandbox, built_hcnd, descendants, eventually, in_sandbox, is_running,
    netns_exec, run, run_ok,
};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;

const BOTH: [Caller; 2] = [Caller::Tester, Caller::OrdinaryUser];
const SECONDS_10: Duration = Duration::from_secs(10);

fn sh(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    for caller in BOTH {
        for code in [0, 7, 255] {
            let ended = Sandbox::new().started_by(caller).run(&sh(&format!("exit {code}")));
            assert_eq!(ended.code, Some(code), "{ended}");
            assert_eq!(ended.stderr, "", "{ended}");
        }
    }
}

#[test]
fn a_command_killed_by_a_signal_gives_128_and_its_number() {
    for caller in BOTH {
        let ended = Sandbox::new().started_by(caller).run(&sh("kill -KILL $$"));
        assert_eq!(ended.code, Some(128 + 9), "{ended}");
    }
}

#[test]
fn a_command_that_does_not_exist_gives_127() {
    for caller in BOTH {
        for name in ["no-such-command", "/no/such/command", "./no-such-command"] {
            let ended = Sandbox::new().started_by(caller).run(&[name]);
            assert_eq!(ended.code, Some(127), "{ended}");
            assert!(ended.stderr.contains(&format!("cannot run {name}: not found")), "{ended}");
        }
    }
}

#[test]
fn a_command_that_is_not_executable_gives_126() {
    for caller in BOTH {
        let ended = Sandbox::new().started_by(caller).run(&["/etc/passwd"]);
        assert_eq!(ended.code, Some(126), "{ended}");
        assert!(ended.stderr.contains("cannot run /etc/passwd: Permission denied"), "{ended}");
    }
}

#[test]
fn arguments_input_and_working_directory_reach_the_command_unchanged() {
    let script = r#"test "$PWD" = "$1" && test "$2" = "two words" && test "$3" = --log"#;
    let here = std::env::current_dir().unwrap();
    let ended = Sandbox::new().run(&["sh", "-c", script, "sh", here.to_str().unwrap(), "two words", "--log"]);
    assert_eq!(ended.code, Some(0), "{ended}");
}

#[test]
fn the_command_finds_hcnd_by_its_environment() {
    in_sandbox!(Sandbox::new(), { the_environment_leads_to_hcnd() });
}

#[test]
fn the_command_of_an_ordinary_user_finds_hcnd_by_its_environment() {
    in_sandbox!(Sandbox::as_ordinary_user(), { the_environment_leads_to_hcnd() });
}

fn the_environment_leads_to_hcnd() {
    assert_eq!(std::env::var("HCND_SANDBOX").unwrap(), "1");
    let socket = std::env::var("HCND_SOCKET").unwrap();
    assert_eq!(socket, "/run/hcnd/hcnd.sock");
    std::os::unix::net::UnixStream::connect(socket).unwrap();
    let hns = std::env::var("HCND_HNS_SOCKET").unwrap();
    assert_eq!(hns, "/run/hcnd/hns.sock");
    std::os::unix::net::UnixStream::connect(hns).unwrap();
    let hcnd = run_ok(&sh("command -v hcnd"));
    let path = std::env::var("PATH").unwrap();
    assert!(path.starts_with(Path::new(&hcnd).parent().unwrap().to_str().unwrap()), "{hcnd} {path}");
    assert_eq!(fs::read_link("/proc/1/exe").unwrap(), Path::new(hcnd.trim()));
    assert!(Path::new("/run/hcnd/hcnd.log").exists());
}

#[test]
fn inside_the_uplink_leads_to_outside() {
    in_sandbox!(Sandbox::new(), { the_uplink_leads_to_outside() });
}

#[test]
fn inside_the_uplink_of_an_ordinary_user_leads_to_outside() {
    in_sandbox!(Sandbox::as_ordinary_user(), { the_uplink_leads_to_outside() });
}

fn the_uplink_leads_to_outside() {
    let addresses = run_ok(&["ip", "-br", "addr"]);
    let words: Vec<Vec<&str>> = addresses.lines().map(|line| line.split_whitespace().collect()).collect();
    let eth0 = words.iter().find(|words| words[0].starts_with("eth0@")).expect(&addresses);
    assert_eq!(eth0[1], "UP", "{addresses}");
    assert!(eth0.contains(&"203.0.113.10/24") && eth0.contains(&"2001:db8:ffff::10/64"), "{addresses}");
    assert!(words.iter().any(|words| words[0] == "lo" && words.contains(&"127.0.0.1/8")), "{addresses}");
    assert_eq!(words.len(), 2, "{addresses}");
    let link = run_ok(&["ip", "-br", "link", "show", "eth0"]);
    assert!(link.contains("52:54:00:00:00:0a"), "{link}");
    // Usable at once: no address may be waiting for duplicate detection. The link-local one is the kernel's.
    let global = run_ok(&["ip", "-6", "addr", "show", "scope", "global", "tentative"]);
    assert_eq!(global, "");

    let v4 = run_ok(&["ip", "-4", "route", "show", "default"]);
    assert!(v4.starts_with("default via 203.0.113.1 dev eth0"), "{v4}");
    let v6 = run_ok(&["ip", "-6", "route", "show", "default"]);
    assert!(v6.starts_with("default via 2001:db8:ffff::1 dev eth0"), "{v6}");

    assert!(run_ok(&["ip", "netns"]).starts_with("outside"));
    let outside = netns_exec("outside", &["ip", "-br", "addr"]);
    assert!(outside.stdout.contains("203.0.113.1/24 2001:db8:ffff::1/64"), "{outside}");
    run_ok(&["ping", "-c1", "-W2", "203.0.113.1"]);
    run_ok(&["ping", "-c1", "-W2", "2001:db8:ffff::1"]);
    for address in ["203.0.113.10", "2001:db8:ffff::10"] {
        let ping = netns_exec("outside", &["ping", "-c1", "-W2", address]);
        assert_eq!(ping.code, Some(0), "{ping}");
    }
}

#[test]
fn no_uplink_leaves_only_the_loopback_link() {
    in_sandbox!(Sandbox::as_ordinary_user().option("--no-uplink"), {
        let links = run_ok(&["ip", "-br", "link"]);
        assert_eq!(links.lines().count(), 1, "{links}");
        assert!(links.starts_with("lo") && links.contains("LOWER_UP"), "{links}");
        assert_eq!(run_ok(&["ip", "netns"]), "");
        run_ok(&["ping", "-c1", "-W2", "127.0.0.1"]);
        run_ok(&["ping", "-c1", "-W2", "::1"]);
    });
}

#[test]
fn run_is_private_and_shows_what_the_host_has_there() {
    let host: Vec<_> = fs::read_dir("/run").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for caller in BOTH {
        let script = "ls -A /run; touch /run/mine /run/hcnd/mine /run/netns/mine";
        let ended = Sandbox::new().started_by(caller).run(&sh(script));
        assert_eq!(ended.code, Some(0), "{ended}");
        let inside: Vec<&str> = ended.stdout.lines().collect();
        for name in &host {
            assert!(inside.contains(&name.to_str().unwrap()), "{} {ended}", name.display());
        }
        for path in ["/run/mine", "/run/hcnd/mine", "/run/netns/mine"] {
            assert!(!Path::new(path).exists(), "{path} is on the host");
        }
    }
}

#[test]
fn etc_netns_is_writable_inside_and_absent_outside() {
    let before = Path::new("/etc/netns").exists();
    for caller in BOTH {
        let script = "mkdir /etc/netns/mine && echo nameserver 192.0.2.53 > /etc/netns/mine/resolv.conf && \
                      ip netns add mine && ip netns exec mine cat /etc/resolv.conf && test -s /etc/passwd";
        let ended = Sandbox::new().started_by(caller).run(&sh(script));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "nameserver 192.0.2.53\n"), "{ended}");
    }
    assert_eq!(Path::new("/etc/netns").exists(), before);
    assert!(!Path::new("/etc/netns/mine").exists());
}

#[test]
fn proc_and_sys_are_those_of_the_sandbox() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        // PID 1, hcnd and the test itself; whatever else runs on the host is not seen.
        let pids = fs::read_dir("/proc").unwrap().filter(|entry| {
            entry.as_ref().is_ok_and(|entry| entry.file_name().to_str().unwrap().parse::<u32>().is_ok())
        });
        assert_eq!(pids.count(), 3);
        let mut links: Vec<_> =
            fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name()).collect();
        links.sort();
        assert_eq!(links, ["eth0", "lo"]);
        let log = fs::read_to_string("/run/hcnd/hcnd.log").unwrap();
        assert!(!log.contains("sandbox: "), "something could not be had: {log}");
    });
}

/// What a sandbox could leave behind.
fn traces() -> Vec<String> {
    let mut netns: Vec<String> = fs::read_dir("/run/netns")
        .map(|entries| entries.map(|entry| entry.unwrap().path().display().to_string()).collect())
        .unwrap_or_default();
    netns.sort();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let exist =
        ["/run/netns", "/run/hcnd", "/etc/netns"].map(|path| format!("{path} {}", Path::new(path).exists()));
    [netns, mounts.lines().map(str::to_owned).collect(), exist.to_vec()].concat()
}

#[test]
fn nothing_is_left_on_the_host() {
    let links = || run_ok(&["ip", "-o", "link"]);
    let before = (links(), traces());
    for caller in BOTH {
        // With what a command may add inside, and a process that outlives it.
        let script = "(sleep 1000 &); ip link add left type bridge && ip netns add left && \
                      mkdir -p /run/left /etc/netns/left && mount -t tmpfs tmpfs /mnt";
        let (mut sandbox, inside) = started(caller, &until_hup(script));
        sandbox.signal(Signal::SIGHUP);
        let ended = sandbox.wait(SECONDS_10);
        assert_eq!(ended.code, Some(0), "{ended}");
        assert_all_gone(&inside);
    }
    assert_eq!((links(), traces()), before);
}

/// Shell that does `steps`, reports that, and waits for HUP to end well.
fn until_hup(steps: &str) -> String {
    format!("trap 'exit 0' HUP; {{ {steps}; }} || exit 1; echo started; while :; do sleep 0.01; done")
}

/// Shell function for inside: PID 1 is an hcnd too.
const PID_OF_HCND: &str = r#"pid_of_hcnd() {
    for dir in /proc/[0-9]*; do
        test "$(cat $dir/comm)" = hcnd && test $dir != /proc/1 && echo ${dir#/proc/}
    done
}"#;

fn assert_all_gone(pids: &[Pid]) {
    eventually("every process of the sandbox is gone", || !pids.iter().any(|pid| is_running(*pid)));
}

/// A sandbox whose command has reported to be running, and everything inside it.
fn started(caller: Caller, script: &str) -> (Background, Vec<Pid>) {
    let mut sandbox = Sandbox::new().started_by(caller).start(&sh(script));
    sandbox.wait_for_stdout("started");
    let inside = descendants(sandbox.pid());
    assert!(inside.len() >= 3, "PID 1, hcnd and the command: {inside:?}");
    assert!(inside.iter().all(|pid| is_running(*pid)));
    (sandbox, inside)
}

#[test]
fn term_reaches_the_command_and_the_whole_tree_ends() {
    for caller in BOTH {
        let script = "trap 'echo terminated; exit 3' TERM; sleep 1000 & echo started; wait";
        let (mut sandbox, inside) = started(caller, script);
        sandbox.signal(Signal::SIGTERM);
        let ended = sandbox.wait(SECONDS_10);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), "started\nterminated\n"), "{ended}");
        assert_all_gone(&inside);
    }
}

#[test]
fn every_forwarded_signal_reaches_the_command_once() {
    let script = "for name in TERM INT HUP QUIT WINCH; do trap \"echo $name\" $name; done; echo started; \
                  while :; do sleep 0.01; done";
    let (mut sandbox, _) = started(Caller::Tester, script);
    for (signal, name) in [
        (Signal::SIGWINCH, "WINCH"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGTERM, "TERM"),
    ] {
        sandbox.signal(signal);
        sandbox.wait_for_stdout(&format!("{name}\n"));
    }
    assert_eq!(sandbox.stdout(), "started\nWINCH\nINT\nHUP\nQUIT\nTERM\n");
}

#[test]
fn no_signal_is_blocked_in_the_command() {
    let ended = Sandbox::new().run(&["grep", "SigBlk", "/proc/self/status"]);
    assert_eq!(ended.stdout, "SigBlk:\t0000000000000000\n", "{ended}");
}

#[test]
fn killing_the_outer_process_kills_everything_inside() {
    for caller in BOTH {
        let (mut sandbox, inside) = started(caller, "trap '' TERM HUP; sleep 1000 & echo started; wait");
        sandbox.signal(Signal::SIGKILL);
        let ended = sandbox.wait(SECONDS_10);
        assert_eq!(ended.signal, Some(Signal::SIGKILL as i32), "{ended}");
        assert_all_gone(&inside);
    }
}

#[test]
fn a_signal_during_the_start_ends_the_sandbox() {
    for wait_ms in 0..20 {
        let mut sandbox = Sandbox::new().start(&["sleep", "1000"]);
        // Before the outer process blocks signals it dies like any program.
        std::thread::sleep(Duration::from_millis(wait_ms));
        let inside = descendants(sandbox.pid());
        sandbox.signal(Signal::SIGTERM);
        let ended = sandbox.wait(SECONDS_10);
        assert!(ended.code == Some(128 + 15) || ended.signal == Some(15), "after {wait_ms} ms: {ended}");
        assert_all_gone(&inside);
    }
}

#[test]
fn ctrl_c_reaches_the_command_once_and_not_hcnd() {
    // `script` gives the sandbox a terminal, and Ctrl-C is typed into it when the command waits. It runs a shell,
    // whichever $SHELL names: that must not stay in between, where Ctrl-C reaches it, too.
    let dir = tempfile::tempdir().unwrap();
    let (go, done, inside) = (dir.path().join("go"), dir.path().join("done"), dir.path().join("inside"));
    let command = "trap 'echo interrupted' INT; echo started; sleep 1000; sleep 0.3; kill -0 $(pid_of_hcnd) && \
                   echo hcnd lives";
    fs::write(&inside, format!("{PID_OF_HCND}\n{command}\n")).unwrap();
    let terminal = r#"(while ! test -e "$1"; do sleep 0.01; done; printf '\003'
        while ! test -e "$2"; do sleep 0.01; done) | script -qec "exec $3 sandbox -- sh $4" /dev/null"#;
    let mut sandbox =
        Background::start(std::process::Command::new("sh").args(["-c", terminal, "sh"]).args([
            &go,
            &done,
            &built_hcnd(),
            &inside,
        ]));
    sandbox.wait_for_stdout("started");
    fs::write(&go, "").unwrap();
    sandbox.wait_for_stdout("hcnd lives");
    fs::write(&done, "").unwrap();
    let ended = sandbox.wait(SECONDS_10);
    assert_eq!(ended.stdout.matches("interrupted").count(), 1, "{ended}");
    assert_eq!((ended.code, ended.stdout.contains("hcnd sandbox:")), (Some(0), false), "{ended}");
}

#[test]
fn pid_1_reaps_orphans() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        // Each subshell ends at once and leaves its child to PID 1.
        run_ok(&sh("for i in 1 2 3 4 5 6 7 8; do (sleep 0.05 &) ; done"));
        eventually("no child of PID 1 is left but hcnd and this test", || {
            // A zombie is still listed here.
            descendants(Pid::from_raw(1)).len() == 2
        });
    });
}

#[test]
fn two_sandboxes_do_not_see_each_other() {
    let script =
        "ip netns add mine && ip link add mine type bridge && ! test -e /run/mine && touch /run/mine";
    let (mut first, _) = started(Caller::Tester, &until_hup(script));
    let (mut second, _) = started(Caller::OrdinaryUser, &until_hup(script));
    for sandbox in [&mut first, &mut second] {
        sandbox.signal(Signal::SIGHUP);
        let ended = sandbox.wait(SECONDS_10);
        assert_eq!(ended.code, Some(0), "{ended}");
    }
}

#[test]
fn a_sandbox_in_a_sandbox_works() {
    in_sandbox!(Sandbox::as_ordinary_user(), {
        let addresses = run_ok(&["hcnd", "sandbox", "--", "ip", "-br", "addr", "show", "eth0"]);
        assert!(addresses.contains("203.0.113.10/24"), "{addresses}");
    });
}

#[test]
fn the_end_of_hcnd_is_reported_and_the_command_goes_on() {
    let script =
        "kill -KILL $(cat /proc/1/task/1/children | cut -d' ' -f1); sleep 0.3; echo going on; exit 4";
    let ended = Sandbox::as_ordinary_user().run(&sh(script));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), "going on\n"), "{ended}");
    assert!(ended.stderr.contains("hcnd ended while the command runs: killed by SIGKILL"), "{ended}");
}

#[test]
fn an_hcnd_that_does_not_start_is_reported_with_its_log() {
    let sandbox = Sandbox::new().option("--config").option("/no/such/file.toml");
    let in_file = sandbox.run(&["true"]);
    let on_stderr = sandbox.option("--log").run(&["true"]);
    for ended in [&in_file, &on_stderr] {
        assert_eq!(ended.code, Some(125), "{ended}");
        assert!(ended.stderr.contains("hcnd ended before it was ready: exit code "), "{ended}");
        assert_eq!(ended.stderr.matches("No such file or directory").count(), 1, "{ended}");
    }
    assert!(in_file.stderr.contains("its log:"), "{in_file}");
    assert!(!on_stderr.stderr.contains("its log"), "{on_stderr}");
}

#[test]
fn where_user_namespaces_are_forbidden_it_says_what_to_do() {
    // Root without any capability, where the limit of user namespaces is 0.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all \
                  --inh-caps=-all \"$0\" sandbox -- true";
    let ended = run(&["unshare", "-Ur", "sh", "-c", script, built_hcnd().to_str().unwrap()]);
    assert_eq!(ended.code, Some(125), "{ended}");
    assert!(ended.stderr.contains("cannot make a user namespace"), "{ended}");
    assert!(ended.stderr.contains("sysctl -w user.max_user_namespaces="), "{ended}");
    assert!(ended.stderr.contains("run it as root"), "{ended}");
}

#[test]
fn several_hosts_share_a_segment_and_have_an_hcnd_each() {
    in_sandbox!(Sandbox::as_ordinary_user().nodes(3), {
        wait_for_outside();
        let nodes = [1, 2, 3].map(Node::new);
        let networks = nodes.map(|node| node.client().network(&["192.0.2.0/24"]));
        for (index, node) in nodes.into_iter().enumerate() {
            let listed = node.client().ok("Network.Enumerate", &json!({}));
            assert_eq!(listed["ids"], json!([networks[index]]));
            for address in nodes.iter().flat_map(|node| node.addresses()) {
                let ping = node.run(&["ping", "-c1", "-W2", &address]);
                assert_eq!(ping.code, Some(0), "{node:?}: {ping}");
            }
            let container = node.client().container(&networks[index], &json!({}));
            let place = node.place(&container.namespace);
            serve(&place);
            assert_eq!(seen_as(&node.netns(), "192.0.2.2"), "192.0.2.1");
            // Translated, as by a host of its own.
            serve_as("outside", PORT + 1 + u16::try_from(index).unwrap(), "");
            let asked = ask_tcp_at(&place, "203.0.113.1", PORT + 1 + u16::try_from(index).unwrap());
            assert_eq!(asked.unwrap(), node.addresses()[0]);
        }
    });
}
