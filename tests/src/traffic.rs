//! Packets between network namespaces: servers that say who asked, and clients that ask.

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::cmsg_space;
use nix::libc::in6_pktinfo;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::Ipv6RecvPacketInfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
};

use crate::process::{Finished, eventually, netns_exec, run, run_ok};
use crate::time::patience;

/// Where servers listen that are not told otherwise.
pub const PORT: u16 = 7777;
/// Longer than any answer takes in one machine; short enough for a test of silence.
const PATIENCE: Duration = Duration::from_millis(1000);

/// The namespace of the sandbox's host.
pub const HOST: &str = "";

/// Runs `work` in a thread in a network namespace, given by its name or by the path of its file.
///
/// # Panics
/// There is no such namespace, or `work` panics.
pub fn in_netns<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            if netns != HOST {
                let file = File::open(Path::new("/run/netns").join(netns)).unwrap();
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            }
            work()
        });
        entered.join().unwrap()
    })
}

/// Serves TCP and UDP of both families in a namespace until the test ends; the answer is the address of whom asked.
pub fn serve(netns: &str) {
    serve_as(netns, PORT, "");
}

/// The same on another port, with the server's name and a blank before the answer.
pub fn serve_as(netns: &str, port: u16, name: &str) {
    let name = if name.is_empty() { String::new() } else { format!("{name} ") };
    serve_with(netns, port, move |_, peer| format!("{name}{peer}"));
}

/// The same with the server's name and the address that was asked, as it sees it.
pub fn serve_asked(netns: &str, port: u16, name: &str) {
    let name = name.to_owned();
    serve_with(netns, port, move |asked, _| format!("{name} {asked}"));
}

/// The same with an answer that is made of the address that was asked and that of whom asked. By UDP it is filled up with
/// blanks to the length of the question.
fn serve_with(netns: &str, port: u16, answer: impl Fn(IpAddr, IpAddr) -> String + Clone + Send + 'static) {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let (tcp, udp) = in_netns(netns, || (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap()));
    let said = answer.clone();
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            // The client may be gone before it is answered.
            let (Ok(own), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { continue };
            let said = said(own.ip().to_canonical(), peer.ip().to_canonical());
            let _ = stream.write_all(said.as_bytes());
        }
    });
    setsockopt(&udp, Ipv6RecvPacketInfo, &true).unwrap();
    thread::spawn(move || while answer_udp(udp.as_raw_fd(), &answer).is_ok() {});
}

/// Answers from the address that was asked, whatever the routes back prefer.
fn answer_udp(socket: RawFd, answer: &impl Fn(IpAddr, IpAddr) -> String) -> nix::Result<()> {
    let mut question = [0; 8192];
    let mut control = cmsg_space!(in6_pktinfo);
    let mut buffers = [IoSliceMut::new(&mut question)];
    let asked = recvmsg::<SockaddrIn6>(socket, &mut buffers, Some(&mut control), MsgFlags::empty())?;
    let peer = asked.address.unwrap();
    let Some(ControlMessageOwned::Ipv6PacketInfo(mut at)) = asked.cmsgs()?.next() else { return Ok(()) };
    at.ipi6_ifindex = 0;
    let own = IpAddr::from(Ipv6Addr::from(at.ipi6_addr.s6_addr)).to_canonical();
    let mut answer = answer(own, peer.ip().to_canonical());
    if asked.bytes > answer.len() {
        answer.push_str(&" ".repeat(asked.bytes - answer.len()));
    }
    // The client may be gone.
    let _ = sendmsg(
        socket,
        &[IoSlice::new(answer.as_bytes())],
        &[ControlMessage::Ipv6PacketInfo(&at)],
        MsgFlags::empty(),
        Some(&peer),
    );
    Ok(())
}

/// As whom a server sees a client over TCP.
///
/// # Errors
/// Nothing came back in time.
pub fn ask_tcp(netns: &str, server: &str) -> io::Result<String> {
    ask_tcp_at(netns, server, PORT)
}

/// The same at another port.
///
/// # Errors
/// Nothing came back in time.
pub fn ask_tcp_at(netns: &str, server: &str, port: u16) -> io::Result<String> {
    let server = SocketAddr::new(server.parse().unwrap(), port);
    in_netns(netns, || {
        let mut stream = TcpStream::connect_timeout(&server, patience(PATIENCE))?;
        stream.set_read_timeout(Some(patience(PATIENCE)))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// As whom a server sees a client over UDP.
///
/// # Errors
/// Nothing came back in time.
pub fn ask_udp(netns: &str, server: &str) -> io::Result<String> {
    ask_udp_at(netns, server, PORT)
}

/// The same at another port.
///
/// # Errors
/// Nothing came back in time.
pub fn ask_udp_at(netns: &str, server: &str, port: u16) -> io::Result<String> {
    Flow::open(netns, server, port).ask()
}

/// Datagrams to one server by one socket, so one flow: the kernel remembers what became of the first.
pub struct Flow(UdpSocket);

impl Flow {
    /// From a namespace to a port of a server.
    #[must_use]
    pub fn open(netns: &str, server: &str, port: u16) -> Self {
        let server: IpAddr = server.parse().unwrap();
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = in_netns(netns, || UdpSocket::bind((any, 0)).unwrap());
        socket.set_read_timeout(Some(patience(PATIENCE))).unwrap();
        socket.connect((server, port)).unwrap();
        Self(socket)
    }

    /// As whom the server sees this one.
    ///
    /// # Errors
    /// Nothing came back in time.
    pub fn ask(&self) -> io::Result<String> {
        self.0.send(b"?")?;
        let mut answer = [0; 64];
        let length = self.0.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

/// As whom a server sees a client, which must be the same over TCP and UDP, and ping must pass too.
#[must_use]
pub fn seen_as(netns: &str, server: &str) -> String {
    let place = if netns == HOST { "the host" } else { netns };
    let seen = ask_tcp(netns, server).unwrap_or_else(|error| panic!("TCP from {place} to {server}: {error}"));
    let by_udp =
        ask_udp(netns, server).unwrap_or_else(|error| panic!("UDP from {place} to {server}: {error}"));
    assert_eq!(seen, by_udp, "TCP and UDP from {place} to {server}");
    let ping = ping(netns, server);
    assert_eq!(ping.code, Some(0), "from {place}: {ping}");
    seen
}

/// Sends one echo request and waits for its reply.
#[must_use]
pub fn ping(netns: &str, address: &str) -> Finished {
    echo(netns, address, PATIENCE)
}

/// Whether an echo request stays without a reply; a hundred times longer than one takes is waited.
#[must_use]
pub fn is_silent(netns: &str, address: &str) -> bool {
    echo(netns, address, Duration::from_millis(300)).code != Some(0)
}

/// Sends one echo request and waits so long for its reply.
fn echo(netns: &str, address: &str, time: Duration) -> Finished {
    let seconds = patience(time).as_secs_f64().to_string();
    let argv = ["ping", "-n", "-c", "1", "-W", &seconds, address];
    if netns == HOST { run(&argv) } else { netns_exec(netns, &argv) }
}

/// The host's addresses on its second uplink, if a test gives it one, and those behind it.
pub const SECOND: [&str; 2] = ["198.51.100.10", "2001:db8:eeee::10"];
/// Whom the second uplink leads to.
pub const BEHIND: [&str; 2] = ["198.51.100.1", "2001:db8:eeee::1"];

/// A second way outside, `up2`, whose addresses are not those of the first.
pub fn second_uplink() {
    run_ok(&["ip", "link", "add", "up2", "type", "veth", "peer", "name", "up2", "netns", "outside"]);
    for (netns, ends) in [(None, SECOND), (Some("outside"), BEHIND)] {
        let ip = |argv: &[&str]| {
            let mut all = vec!["ip"];
            all.extend(netns.iter().flat_map(|netns| ["-n", netns]));
            all.extend(argv);
            run_ok(&all);
        };
        ip(&["addr", "add", &format!("{}/24", ends[0]), "dev", "up2"]);
        ip(&["addr", "add", &format!("{}/64", ends[1]), "dev", "up2", "nodad"]);
        ip(&["link", "set", "up2", "up"]);
    }
}

/// Waits until an address of the uplink is usable: the sandbox starts while the kernel still settles it.
pub fn wait_for_outside() {
    for address in ["203.0.113.1", "2001:db8:ffff::1"] {
        eventually("the uplink carries packets", || ping(HOST, address).code == Some(0));
    }
}

/// Writes a sysctl of the host's namespace; whether the kernel has it.
#[must_use]
pub fn set_sysctl(name: &str, value: &str) -> bool {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    match fs::write(&path, value) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => panic!("{path}: {error}"),
    }
}
