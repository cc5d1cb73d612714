//! How does hcnd start and end? By hand inside a sandbox: signals, its socket, its configuration, its state, a second
//! one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, DUAL, v2};
use hcn_tests::conformance::{delete_everything, snapshot};
use hcn_tests::kernel::{assert_unchanged, differences, dump, enter_own_namespaces, settled_dump};
use hcn_tests::service::{sandbox_hcnd, sandbox_socket};
use hcn_tests::traffic::{HOST, seen_as, serve};
use hcn_tests::{
    Background, Finished, Sandbox, built_hcnd, eventually, in_sandbox, is_running, patience, run,
};
use nix::sys::signal::{Signal, kill};
use serde_json::json;
use tempfile::TempDir;

/// Longer than a clean end takes.
const END: Duration = Duration::from_secs(10);

/// An hcnd that was started by hand.
struct Hcnd {
    process: Background,
    socket: PathBuf,
    store: PathBuf,
    _folder: TempDir,
}

impl Hcnd {
    /// Starts one, in this thread's namespaces, and waits until it listens.
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("hcnd.sock");
        let store = folder.path().join("state.redb");
        let process = start(&["--socket", socket.to_str().unwrap(), "--store", store.to_str().unwrap()]);
        wait_for(&socket);
        Self { process, socket, store, _folder: folder }
    }

    /// Starts another one on the same socket and with the same state.
    fn start_again(&mut self) {
        let (socket, store) = (self.socket.to_str().unwrap(), self.store.to_str().unwrap());
        self.process = start(&["--socket", socket, "--store", store]);
        eventually("the new one listens", || UnixStream::connect(&self.socket).is_ok());
    }

    fn end(&mut self, signal: Signal) -> Finished {
        self.process.signal(signal);
        self.process.wait(END)
    }
}

fn start(arguments: &[&str]) -> Background {
    // As in the sandbox, hcnd is on the path.
    Background::start(Command::new("hcnd").args(arguments).env_remove("HCND_SOCKET"))
}

/// Runs one that must not get as far as listening.
fn refused(arguments: &[&str]) -> Finished {
    let ended = start(arguments).wait(END);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended}");
    ended
}

fn wait_for(socket: &Path) {
    eventually("hcnd listens", || UnixStream::connect(socket).is_ok());
}

/// A network with an attached endpoint and all that belongs to it.
fn make_something(socket: &Path) {
    let mut client = Client::of(socket);
    let network = client.network(&DUAL);
    client.container(&network, &json!({"Dns": {"ServerList": ["192.0.2.53"]}}));
    let host = client.namespace("HostDefault");
    let endpoint = client.endpoint(&network, &json!({}));
    client.attach(&host, &endpoint);
}

#[test]
fn what_an_hcnd_made_outlives_it_and_the_next_one_goes_on_with_it() {
    in_sandbox!(Sandbox::new(), { outlives_it() });
}

#[test]
fn what_the_hcnd_of_an_ordinary_user_made_outlives_it() {
    in_sandbox!(Sandbox::as_ordinary_user(), { outlives_it() });
}

fn outlives_it() {
    let hcnd = sandbox_hcnd();
    let before = settled_dump();
    make_something(&sandbox_socket());
    let made = settled_dump();
    let documents = snapshot(&mut Client::new().wire);
    let started = Instant::now();
    kill(hcnd, Signal::SIGTERM).unwrap();
    eventually("hcnd has ended", || !is_running(hcnd));
    assert!(started.elapsed() < patience(Duration::from_secs(2)), "{:?}", started.elapsed());
    UnixStream::connect(sandbox_socket()).unwrap_err();
    // The tables stay with all that is in them; they have no owner then.
    let unowned = |mut dump: BTreeMap<String, BTreeSet<String>>| {
        let rules = dump.get_mut("rules").unwrap();
        let head =
            |line: &str| ["table inet hcnd", "table bridge hcnd"].iter().any(|start| line.starts_with(start));
        rules.retain(|line| !head(line) && !["flags", "flags owner"].contains(&line.as_str()));
        dump
    };
    assert_eq!(differences(&unowned(made.clone()), &unowned(dump())), [""; 0]);
    // Another one, started by hand, finds the state where the sandbox keeps it.
    let mut again = start(&["--socket", sandbox_socket().to_str().unwrap()]);
    wait_for(&sandbox_socket());
    assert_unchanged(&made, "the next one changed something");
    let mut client = Client::new();
    assert_eq!(snapshot(&mut client.wire), documents);
    delete_everything(&mut client.wire);
    assert_unchanged(&before, "something is left");
    again.signal(Signal::SIGINT);
    assert_eq!(again.wait(END).code, Some(0));
}

#[test]
fn clients_find_the_next_hcnd_after_an_upgrade() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let (program, socket) = (folder.path().join("hcnd"), folder.path().join("hcnd.sock"));
        let store = folder.path().join("state.redb");
        let start = || {
            // As a package manager brings a new program: another file in the place of the one that runs.
            fs::copy(built_hcnd(), program.with_extension("new")).unwrap();
            fs::rename(program.with_extension("new"), &program).unwrap();
            let mut command = Command::new(&program);
            command.arg("--socket").arg(&socket).arg("--store").arg(&store).env_remove("HCND_SOCKET");
            let hcnd = Background::start(&mut command);
            wait_for(&socket);
            hcnd
        };
        let watch = |option: &[&str]| {
            let mut command = Command::new("hcnctl");
            Background::start(command.arg("--socket").arg(&socket).arg("events").args(option))
        };
        let mut hcnd = start();
        let (mut once, always) = (watch(&[]), watch(&["--reconnect"]));
        let mut old = Client::of(&socket);
        let network = old.network(&DUAL);
        let handle = old.ok("Network.Open", &json!({"id": network}))["handle"].clone();
        eventually("both are told", || {
            let namespace = old.namespace("Host");
            old.delete("Namespace", &namespace);
            [&once, &always].iter().all(|watcher| watcher.stdout().contains("namespace delete"))
        });
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            hcnd.signal(signal);
            hcnd.wait(END);
            hcnd = start();
            // The connection ended with the one that it led to, and with it its handles; IDs are the same.
            old.wire.call("io.hcn.Service.Ping", &json!({})).unwrap_err();
            old = Client::of(&socket);
            assert_eq!(old.ids("Network"), [network.as_str()]);
            old.refused("Network.Query", &json!({"handle": handle, "query": v2()}));
            let before = always.stdout().len();
            eventually("it is told again", || {
                let namespace = old.namespace("Host");
                old.delete("Namespace", &namespace);
                always.stdout()[before..].contains(&format!("namespace delete {namespace}"))
            });
        }
        let ended = once.wait(END);
        assert!(ended.code == Some(6) && ended.stderr.contains("hcnd ended the subscription"), "{ended}");
        assert_eq!(
            always.stderr().matches("until the next one is not told").count(),
            2,
            "{}",
            always.stderr()
        );
        old.delete("Network", &network);
        hcnd.signal(Signal::SIGTERM);
        assert_eq!(hcnd.wait(END).code, Some(0));
    });
}

#[test]
fn at_the_end_calls_are_answered_and_subscribers_told() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let mut hcnd = Hcnd::start();
        let (mut subscriber, mut client) = (Client::of(&hcnd.socket), Client::of(&hcnd.socket));
        subscriber.wire.send("io.hcn.Events.Subscribe", &json!({}), true).unwrap();
        assert_eq!(subscriber.wire.receive().unwrap().parameters["registered"], true);
        for _ in 0..20 {
            client.wire.send("io.hcn.Namespace.Create", &json!({"settings": v2()}), false).unwrap();
        }
        assert_eq!(client.wire.receive().unwrap().error, None);
        let ended = hcnd.end(Signal::SIGTERM);
        assert_eq!(ended.code, Some(0), "{ended}");
        let mut made = 1;
        for _ in 1..20 {
            let reply = client.wire.receive().unwrap();
            assert!([None, Some(0x803b_0020)].contains(&reply.hresult()), "{}", reply.raw);
            made += usize::from(reply.error.is_none());
        }
        client.wire.receive().unwrap_err();
        let last = loop {
            let event = subscriber.wire.receive().unwrap().parameters;
            if event["kind"].is_null() {
                break event;
            }
        };
        assert_eq!(last["notification"], 0x0100_0000, "{last}");
        assert_eq!(fs::read_dir("/run/netns").unwrap().count(), made);
    });
}

#[test]
fn idle_and_half_spoken_clients_do_not_delay_the_end() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let mut hcnd = Hcnd::start();
        let idle = UnixStream::connect(&hcnd.socket).unwrap();
        let mut half = UnixStream::connect(&hcnd.socket).unwrap();
        half.write_all(b"{\"method\":").unwrap();
        let started = Instant::now();
        assert_eq!(hcnd.end(Signal::SIGTERM).code, Some(0));
        assert!(started.elapsed() < patience(Duration::from_secs(1)), "{:?}", started.elapsed());
        drop(idle);
    });
}

#[test]
fn a_second_hcnd_is_refused_and_the_first_goes_on() {
    in_sandbox!(Sandbox::new(), {
        let mut client = Client::new();
        let network = client.network(&DUAL);
        let before = dump();
        let socket = sandbox_socket();
        let same_socket = refused(&["--socket", socket.to_str().unwrap()]);
        let folder = TempDir::new().unwrap();
        let other_socket = refused(&["--socket", folder.path().join("s").to_str().unwrap()]);
        for ended in [same_socket, other_socket] {
            assert!(ended.stderr.starts_with("hcnd: ") && ended.stderr.contains("another"), "{ended}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
        }
        assert_unchanged(&before, "the second one changed something");
        let container = client.container(&network, &json!({}));
        serve(HOST);
        assert_eq!(seen_as(&container.namespace, "192.0.2.1"), container.addresses[0]);
    });
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_by_name() {
    in_sandbox!(Sandbox::new(), {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("hcnd.toml");
        let name = file.to_str().unwrap();
        for (text, told) in [
            ("sockett = \"/run/x\"", "sockett"),
            ("[limits]\nhandels = 5", "handels"),
            ("[limits]\nhandles = \"many\"", "handles"),
            ("socket = ", "line 1"),
            ("[log]\nformat = \"morse\"", "morse"),
            ("[hns]\nversion = \"nine\"", "MAJOR.MINOR"),
            ("[hns]\nversion = \"99.0\"", "up to 16.0"),
        ] {
            fs::write(&file, text).unwrap();
            let ended = refused(&["--config", name]);
            assert!(ended.stderr.contains(name) && ended.stderr.contains(told), "{text}: {ended}");
        }
        let by_flag = run(&["hcnd", "--hns-version", "nine"]);
        assert!(by_flag.code == Some(2) && by_flag.stderr.contains("MAJOR.MINOR"), "{by_flag}");
        let missing = folder.path().join("missing.toml");
        let ended = refused(&["--config", missing.to_str().unwrap()]);
        assert!(ended.stderr.contains("missing.toml") && ended.stderr.contains("No such file"), "{ended}");
        fs::write(&file, "[log]\nfilter = \"hcnd=loud\"").unwrap();
        let ended = refused(&["--config", name]);
        assert!(ended.stderr.contains("hcnd=loud"), "{ended}");
    });
}

#[test]
fn the_command_line_wins_over_the_configuration_and_that_over_the_default() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("toml"), format!("socket = \"{}\"\n[limits]\nnesting = 8\n", at("a/sock").display()))
            .unwrap();
        let config = at("toml").to_str().unwrap().to_owned();
        let store = at("state").to_str().unwrap().to_owned();
        let mut by_file = start(&["--config", &config, "--store", &store]);
        wait_for(&at("a/sock"));
        // What the file says of limits holds too.
        let deep = json!({"settings": {"x": [[[[[[[[1]]]]]]]]}});
        assert_eq!(Client::of(&at("a/sock")).refused("Network.Create", &deep), 0x803b_001b);
        by_file.signal(Signal::SIGTERM);
        assert_eq!(by_file.wait(END).code, Some(0));
        let mut by_flag =
            start(&["--config", &config, "--store", &store, "--socket", at("b").to_str().unwrap()]);
        wait_for(&at("b"));
        UnixStream::connect(at("a/sock")).unwrap_err();
        by_flag.signal(Signal::SIGTERM);
        assert_eq!(by_flag.wait(END).code, Some(0));
    });
}

#[test]
fn after_a_kill_a_new_one_goes_on() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let mut hcnd = Hcnd::start();
        let clean = settled_dump();
        make_something(&hcnd.socket);
        let made = settled_dump();
        let documents = snapshot(&mut Client::of(&hcnd.socket).wire);
        hcnd.end(Signal::SIGKILL);
        assert!(hcnd.socket.exists(), "what a killed one leaves");
        hcnd.start_again();
        let mut client = Client::of(&hcnd.socket);
        assert_eq!(snapshot(&mut client.wire), documents);
        assert_unchanged(&made, "the new one changed something");
        let other = client.network(&["198.51.100.0/24", "2001:db8:99:1::/64"]);
        let container = client.container(&other, &json!({}));
        serve(HOST);
        assert_eq!(seen_as(&container.namespace, "198.51.100.1"), container.addresses[0]);
        assert_eq!(seen_as(&container.namespace, "2001:db8:99:1::1"), container.addresses[1]);
        delete_everything(&mut client.wire);
        assert_unchanged(&clean, "something is left");
        assert_eq!(hcnd.end(Signal::SIGTERM).code, Some(0));
    });
}

#[test]
fn what_is_not_in_the_records_is_removed_at_the_start_if_it_is_hcnds_own() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let mut hcnd = Hcnd::start();
        let clean = settled_dump();
        make_something(&hcnd.socket);
        hcnd.end(Signal::SIGKILL);
        fs::remove_file(&hcnd.store).unwrap();
        hcnd.start_again();
        assert_eq!(Client::of(&hcnd.socket).ids("Network"), [""; 0]);
        assert_unchanged(&clean, "something of the killed one is left");
        assert_eq!(hcnd.end(Signal::SIGTERM).code, Some(0));
    });
}
