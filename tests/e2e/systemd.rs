//! Does hcnd do what systemd expects of a service? It takes the sockets that are passed to it, says when it is ready,
//! alive and stopping, and leaves the sockets to the next one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails must fail the test")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use hcn_tests::client::{Client, DUAL};
use hcn_tests::kernel::enter_own_namespaces;
use hcn_tests::{Background, Sandbox, in_sandbox};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// What systemd does before it starts a service: listen, pass the sockets from descriptor 3 on, tell it so.
const PASS: &str = r#"
import fcntl, os, socket, sys
folder, usec = sys.argv[1:]
listeners = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
for listener, name in zip(listeners, ["/passed.sock", "/passed-hns.sock"]):
    listener.bind(folder + name)
    listener.listen()
for _ in range(2):
    child = os.fork()
    if child == 0:
        # Copies that are out of the way first.
        copies = [fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, 10) for listener in listeners]
        for place, copy in enumerate(copies):
            os.dup2(copy, 3 + place)
        os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()), NOTIFY_SOCKET=folder + "/notify",
                          LISTEN_FDNAMES="hcnd.socket:hns",
                          WATCHDOG_USEC=usec, WATCHDOG_PID=str(os.getpid()))
        os.execvp("hcnd", ["hcnd", "--socket", "/no/such/place", "--store", folder + "/state"])
    print("hcnd", child, flush=True)
    os.waitpid(child, 0)
"#;

#[test]
fn the_passed_sockets_are_served_and_systemd_is_told() {
    in_sandbox!(Sandbox::new(), {
        enter_own_namespaces();
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_str().unwrap();
        let told = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let next = || {
            let mut text = [0; 64];
            let length = told.recv(&mut text).expect("hcnd says something");
            String::from_utf8_lossy(&text[..length]).trim().to_owned()
        };
        let systemd = Background::start(Command::new("python3").args(["-c", PASS, path, "300000"]));
        assert_eq!(next(), "READY=1");
        let network = Client::of(&folder.path().join("passed.sock")).network(&DUAL);
        // Even what it does not know how to answer, HTTP answers.
        let mut http = UnixStream::connect(folder.path().join("passed-hns.sock")).unwrap();
        http.write_all(b"PUT / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        let started = Instant::now();
        for _ in 0..3 {
            assert_eq!(next(), "WATCHDOG=1");
        }
        // Three times in the interval.
        assert!(started.elapsed() < Duration::from_millis(600), "{:?}", started.elapsed());

        // The next one gets the same socket: who calls in between waits instead of failing.
        let pid = systemd.stdout().split_whitespace().nth(1).unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        let mut waiting = Client::of(&folder.path().join("passed.sock"));
        loop {
            match next().as_str() {
                "STOPPING=1" => break,
                other => assert_eq!(other, "WATCHDOG=1"),
            }
        }
        assert_eq!(next(), "READY=1");
        assert_eq!(Client::of(&folder.path().join("passed.sock")).ids("Network"), [network.as_str()]);
        drop(waiting.wire.call("io.hcn.Service.Ping", &serde_json::json!({})));
        systemd.signal(Signal::SIGTERM);
        let pid = systemd.stdout().split_whitespace().nth(3).unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    });
}
