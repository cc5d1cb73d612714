//! Prints what attaching and detaching an endpoint costs, and what the kernel alone charges for it: the least
//! messages that do the same, encoded before, in turns with ours. Run it as root in namespaces of its own:
//! `unshare -n -m target/release/examples/measure [ENDPOINTS [ROUNDS]]`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hcn_dataplane::{
    Address, Bridge, Dataplane, LinkId, Mac, Netns, NetnsFile, Object, Op, Plan, Route, Veth,
};
use hcn_linux::{Config, Linux};
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sched::{CloneFlags, setns};

const BRIDGE: &str = "hcn00000001";

fn endpoint(n: usize) -> Vec<Object> {
    let link = LinkId { netns: Netns::Named(format!("M{n}")), name: "eth0".into() };
    let [.., high, low] = n.to_be_bytes();
    vec![
        Object::Veth(Veth {
            name: format!("hve{n:08x}"),
            alias: format!("hcn endpoint {n}"),
            bridge: BRIDGE.into(),
            peer: link.clone(),
            mac: Mac([2, 0, 0, 0, high, low]),
            mtu: 1500,
            ipv6: false,
        }),
        Object::Address(Address {
            link: link.clone(),
            address: format!("10.7.{high}.{low}/16").parse().unwrap(),
            prefix_route: true,
        }),
        Object::Route(Route {
            link,
            destination: "0.0.0.0/0".parse().unwrap(),
            gateway: Some("10.7.255.1".parse().unwrap()),
            metric: 0,
        }),
    ]
}

fn create(objects: Vec<Object>) -> Plan {
    Plan { ops: objects.into_iter().map(Op::Create).collect() }
}

fn remove(objects: &[Object]) -> Plan {
    let ops = objects
        .iter()
        .rev()
        .map(|object| Op::Remove { object: object.clone(), implied: !matches!(object, Object::Veth(_)) });
    Plan { ops: ops.collect() }
}

fn timed(linux: &mut Linux, plan: &Plan) -> Duration {
    let start = Instant::now();
    let applied = linux.apply(plan).unwrap();
    let took = start.elapsed();
    linux.settle(applied);
    took
}

/// Waits without letting the processor fall asleep, as the floor program does not either.
fn rest(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// The least that attaches and detaches: one batch on the host (pair, plugged in and up; alias by name, which a
/// service must not do), one in the namespace
/// (peer up, address, route); and one message to unplug. Indexes are asked for outside the measured time.
struct Floor {
    host: Socket,
    inside: Socket,
    netns: File,
    sequence: u32,
}

impl Floor {
    fn open(netns: &Path) -> Self {
        let home = File::open("/proc/thread-self/ns/net").unwrap();
        let netns = File::open(netns).unwrap();
        let host = Socket::new(NETLINK_ROUTE).unwrap();
        setns(&netns, CloneFlags::CLONE_NEWNET).unwrap();
        let inside = Socket::new(NETLINK_ROUTE).unwrap();
        setns(&home, CloneFlags::CLONE_NEWNET).unwrap();
        Self { host, inside, netns, sequence: 0 }
    }

    fn encode(&mut self, messages: Vec<(u16, RouteNetlinkMessage)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let count = messages.len();
        for (index, (flags, message)) in messages.into_iter().enumerate() {
            let mut header = NetlinkHeader::default();
            self.sequence += 1;
            header.sequence_number = self.sequence;
            header.flags = flags | NLM_F_REQUEST | if index + 1 == count { NLM_F_ACK } else { 0 };
            let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
            message.finalize();
            let offset = bytes.len();
            bytes.resize(offset + message.buffer_len(), 0);
            message.serialize(&mut bytes[offset..]);
        }
        bytes
    }

    fn exchange(socket: &Socket, bytes: &[u8]) {
        let mut answer = [0; 4096];
        socket.send(bytes, 0).unwrap();
        socket.recv(&mut &mut answer[..], 0).unwrap();
        assert_eq!((answer[4], &answer[16..20]), (2, &[0; 4][..]));
    }

    /// What attaching and detaching take.
    fn round(&mut self) -> (Duration, Duration) {
        const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
        let up = |message: &mut LinkMessage, up| {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        };
        let mut peer = LinkMessage::default();
        peer.attributes =
            vec![LinkAttribute::IfName("floor0".into()), LinkAttribute::NetNsFd(self.netns.as_raw_fd())];
        let mut pair = LinkMessage::default();
        up(&mut pair, true);
        pair.attributes = vec![
            LinkAttribute::IfName("floor".into()),
            LinkAttribute::Controller(index_of(&self.host, BRIDGE)),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        let mut described = LinkMessage::default();
        described.attributes = vec![
            LinkAttribute::IfName("floor".into()),
            LinkAttribute::Other(DefaultNla::new(20, b"hcn endpoint floor".to_vec())),
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])]),
        ];
        let host = self.encode(vec![
            (NEW, RouteNetlinkMessage::NewLink(pair)),
            (0, RouteNetlinkMessage::SetLink(described)),
        ]);
        let start = Instant::now();
        Self::exchange(&self.host, &host);
        let mut attach = start.elapsed();
        let peer = index_of(&self.inside, "floor0");
        let mut quiet = LinkMessage::default();
        quiet.header.index = peer;
        quiet.attributes =
            vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])])];
        let mut eth = LinkMessage::default();
        eth.header.index = peer;
        up(&mut eth, true);
        let mut address = AddressMessage::default();
        address.header.family = AddressFamily::Inet;
        address.header.prefix_len = 16;
        address.header.index = peer;
        address.attributes = vec![AddressAttribute::Local("10.9.0.2".parse().unwrap())];
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.table = 254;
        route.header.protocol = RouteProtocol::Static;
        route.header.kind = RouteType::Unicast;
        let gateway: IpAddr = "10.9.0.1".parse().unwrap();
        route.attributes = vec![RouteAttribute::Gateway(gateway.into()), RouteAttribute::Oif(peer)];
        let inside = self.encode(vec![
            (0, RouteNetlinkMessage::SetLink(quiet)),
            (0, RouteNetlinkMessage::SetLink(eth)),
            (NEW, RouteNetlinkMessage::NewAddress(address)),
            (NEW, RouteNetlinkMessage::NewRoute(route)),
        ]);
        let start = Instant::now();
        Self::exchange(&self.inside, &inside);
        attach += start.elapsed();
        rest(Duration::from_millis(5));

        let mut unplug = LinkMessage::default();
        unplug.header.index = index_of(&self.host, "floor");
        up(&mut unplug, false);
        unplug.attributes = vec![LinkAttribute::Controller(0)];
        let mut delete = LinkMessage::default();
        delete.header.index = index_of(&self.host, "floor");
        let unplug = self.encode(vec![(0, RouteNetlinkMessage::SetLink(unplug))]);
        let delete = self.encode(vec![(0, RouteNetlinkMessage::DelLink(delete))]);
        let start = Instant::now();
        Self::exchange(&self.host, &unplug);
        let detach = start.elapsed();
        Self::exchange(&self.host, &delete);
        (attach, detach)
    }
}

/// The kernel's own number of a link of the socket's namespace. Asked by netlink, since /sys shows the namespace it was mounted in.
fn index_of(socket: &Socket, name: &str) -> u32 {
    let mut question = LinkMessage::default();
    question.attributes = vec![LinkAttribute::IfName(name.into())];
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let question = NetlinkPayload::InnerMessage(RouteNetlinkMessage::GetLink(question));
    let mut question = NetlinkMessage::new(header, question);
    question.finalize();
    let mut bytes = vec![0; question.buffer_len()];
    question.serialize(&mut bytes);
    socket.send(&bytes, 0).unwrap();
    let mut answer = [0; 8192];
    socket.recv(&mut &mut answer[..], 0).unwrap();
    assert_eq!(answer[4], 16, "no link {name}");
    u32::from_ne_bytes([answer[20], answer[21], answer[22], answer[23]])
}

fn line(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_micros();
    println!("{name}: p50 {} µs, p95 {} µs, {} samples", at(50), at(95), times.len());
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().unwrap());
    let (endpoints, rounds) = (arguments.next().unwrap_or(1), arguments.next().unwrap_or(100));
    let folder = std::env::temp_dir().join(format!("hcn-measure-{}", std::process::id()));
    let config = Config { netns_dir: folder.join("netns"), netns_etc: PathBuf::from("/nonexistent") };
    let mut linux = Linux::start(config).unwrap();
    let bridge = Bridge {
        name: BRIDGE.into(),
        alias: "measure".into(),
        mac: Mac([2, 0, 0, 0, 255, 1]),
        mtu: 1500,
        ipv6: false,
    };
    timed(&mut linux, &create(vec![Object::Bridge(bridge)]));
    let netns = |n: usize| Object::Netns(NetnsFile { name: format!("M{n}"), alias: String::new() });
    let mut namespaces = Vec::new();
    for n in 2..endpoints + 2 {
        namespaces.push(timed(&mut linux, &create(vec![netns(n)])));
    }
    for n in 2..endpoints + 1 {
        timed(&mut linux, &create(endpoint(n)));
    }
    let last = endpoint(endpoints + 1);
    let (mut attaches, mut detaches) = (Vec::new(), Vec::new());
    let mut floor = Floor::open(&folder.join("netns").join(format!("M{}", endpoints + 1)));
    let (mut floor_attaches, mut floor_detaches) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (attach, detach) = floor.round();
        floor_attaches.push(attach);
        floor_detaches.push(detach);
        rest(Duration::from_millis(30));
        attaches.push(timed(&mut linux, &create(last.clone())));
        rest(Duration::from_millis(5));
        detaches.push(timed(&mut linux, &remove(&last)));
        // The reaper's work is not to be measured with the next attach.
        rest(Duration::from_millis(80));
    }
    println!("with {endpoints} endpoints on the bridge:");
    line("create a namespace", namespaces);
    let share = |ours: &[Duration], floor: &[Duration]| {
        let middle = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort();
            times[times.len() / 2].as_secs_f64()
        };
        middle(ours) / middle(floor)
    };
    println!(
        "attach is {:.2} of the floor, detach {:.2}",
        share(&attaches, &floor_attaches),
        share(&detaches, &floor_detaches)
    );
    line("attach", attaches);
    line("  floor", floor_attaches);
    line("detach", detaches);
    line("  floor (unplugging alone)", floor_detaches);
    for n in 2..endpoints + 1 {
        timed(&mut linux, &remove(&endpoint(n)));
    }
    let all = (2..endpoints + 2).map(netns).collect::<Vec<_>>();
    let start = Instant::now();
    timed(&mut linux, &remove(&[]));
    let plan = Plan { ops: all.into_iter().map(|object| Op::Remove { object, implied: false }).collect() };
    timed(&mut linux, &plan);
    drop(linux);
    println!("all gone after {} ms", start.elapsed().as_millis());
    let _ = nix::mount::umount(&folder.join("netns"));
    let _ = std::fs::remove_dir_all(folder);
}
