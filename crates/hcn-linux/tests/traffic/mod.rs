//! Servers and clients inside namespaces, and the place where they meet: an outside host, the host with a network, and
//! two containers on it.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unreachable_pub, reason = "a module of each test")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use hcn_dataplane::{Affinity, Family, Frontend, Object, Op, Plan, Protocol, Service, Source};
use hcn_linux::Linux;
use nix::sched::{CloneFlags, setns};

use crate::common::*;

/// Long enough for an answer on a busy machine.
const ANSWER: Duration = Duration::from_millis(700);
/// Where back ends listen.
pub const BACKEND_PORT: u16 = 7000;
pub const VIP: &str = "10.99.0.1";
pub const VIP6: &str = "fd99::1";

/// Runs `work` in a namespace, or in the host's if the name is empty.
pub fn inside<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = (!netns.is_empty()).then(|| File::open(format!("/run/netns/{netns}")).unwrap());
    let thread = std::thread::spawn(move || {
        if let Some(file) = file {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        }
        work()
    });
    thread.join().unwrap()
}

/// Answers everyone who asks by TCP or UDP with a name and the address that the question came from.
pub fn serve(netns: &str, port: u16, name: &'static str) {
    inside(netns, move || {
        let tcp = TcpListener::bind(("::", port)).unwrap();
        let udp = UdpSocket::bind(("::", port)).unwrap();
        let answer = move |from: SocketAddr| format!("{name} {}", from.ip().to_canonical());
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = tcp.accept() {
                let _ = stream.write_all(answer(from).as_bytes());
            }
        });
        std::thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 16]) {
                let _ = udp.send_to(answer(from).as_bytes(), from);
            }
        });
    });
}

/// Asks by a new connection, and gives the answer if there is one.
pub fn ask(netns: &str, protocol: Protocol, to: SocketAddr) -> Option<String> {
    inside(netns, move || match protocol {
        Protocol::Tcp => {
            let mut stream = TcpStream::connect_timeout(&to, patience(ANSWER)).ok()?;
            stream.set_read_timeout(Some(patience(ANSWER))).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        }
        _ => ask_by(&udp(to.ip()), to),
    })
}

/// What a client is told that asks by a new connection: "served", "refused" or another error, "silence" if nothing.
pub fn told(netns: &str, protocol: Protocol, to: SocketAddr) -> String {
    let kind = |error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionRefused => "refused".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "silence".to_owned(),
        _ => error.to_string(),
    };
    let asked = inside(netns, move || match protocol {
        Protocol::Tcp => TcpStream::connect_timeout(&to, patience(ANSWER)).map(drop),
        _ => {
            let socket = udp(to.ip());
            socket.set_read_timeout(Some(patience(ANSWER)))?;
            socket.connect(to)?;
            socket.send(b"?")?;
            socket.recv(&mut [0; 64]).map(drop)
        }
    });
    asked.map_or_else(kind, |()| "served".to_owned())
}

/// A UDP socket of the family of an address.
fn udp(to: IpAddr) -> UdpSocket {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    UdpSocket::bind((any, 0)).unwrap()
}

/// A UDP socket in a namespace, to ask by again and again.
pub fn asker(netns: &str, to: SocketAddr) -> UdpSocket {
    inside(netns, move || udp(to.ip()))
}

pub fn ask_by(socket: &UdpSocket, to: SocketAddr) -> Option<String> {
    socket.set_read_timeout(Some(patience(ANSWER))).unwrap();
    socket.send_to(b"?", to).ok()?;
    let mut answer = [0; 64];
    let (length, _) = socket.recv_from(&mut answer).ok()?;
    Some(String::from_utf8(answer[..length].to_vec()).unwrap())
}

/// The outside host, the host, and the containers A and B, both of which serve.
pub fn place() -> Linux {
    sh("mkdir -p /run/netns && ip netns add outside");
    sh("ip link add up0 type veth peer name eth0 netns outside && ip link set up0 up");
    sh("ip addr add 192.0.2.1/24 dev up0 && ip -6 addr add 2001:db8::1/64 dev up0 nodad");
    sh("ip route add default via 192.0.2.2 && ip -6 route add default via 2001:db8::2");
    sh("ip -n outside link set lo up && ip -n outside link set eth0 up");
    sh("ip -n outside addr add 192.0.2.2/24 dev eth0 && ip -n outside route add default via 192.0.2.1");
    sh("ip -n outside -6 addr add 2001:db8::2/64 dev eth0 nodad");
    sh("ip -n outside -6 route add default via 2001:db8::1");
    let mut linux = start();
    done(&mut linux, &create(network()));
    for (n, name) in [(2, "A"), (3, "B")] {
        done(&mut linux, &create([vec![netns(name)], endpoint(n, name)].concat()));
        serve(name, BACKEND_PORT, name);
    }
    linux
}

pub fn socket(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// A service of an address, or of a port if `address` is a family's wildcard.
pub fn service(protocol: Protocol, (address, port): (&str, u16), backends: &[SocketAddr]) -> Service {
    let address: IpAddr = address.parse().unwrap();
    Service {
        frontend: Frontend {
            family: Family::of(address),
            address: (!address.is_unspecified()).then_some(address),
            protocol,
            port,
        },
        backends: backends.to_vec(),
        affinity: None,
        only_from: Vec::new(),
        from_host: false,
        source: Source::Client,
        terminates: false,
    }
}

/// Lets clients stay with the back ends of a service, which are the members 1, 2 and so on.
pub fn stick(service: &mut Service, group: u32) -> Object {
    let members = (1..).take(service.backends.len()).collect();
    let affinity = Affinity { group, members };
    service.affinity = Some(affinity.clone());
    Object::Affinity(affinity)
}

/// The plan that changes a service in place, and the service after it.
pub fn changed(from: &Service, edit: impl FnOnce(&mut Service)) -> (Plan, Service) {
    let mut to = from.clone();
    edit(&mut to);
    let op = Op::Change { from: Object::Service(from.clone()), to: Object::Service(to.clone()) };
    (Plan { ops: vec![op] }, to)
}

pub fn add(linux: &mut Linux, service: &Service) {
    done(linux, &create([Object::Service(service.clone())]));
}

pub fn take(linux: &mut Linux, service: &Service) {
    done(linux, &remove(&[Object::Service(service.clone())]));
}
