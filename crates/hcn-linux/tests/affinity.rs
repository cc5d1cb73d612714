//! Do clients stay with their back ends, whoever else comes and goes; and is a service without back ends refused?
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod traffic;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::*;
use hcn_dataplane::{Affinity, Dataplane, Object, Op, Plan, Protocol, Service};
use hcn_linux::Linux;
use traffic::*;

const TCP: Protocol = Protocol::Tcp;
const UDP: Protocol = Protocol::Udp;
/// The first port of back ends; each has one.
const FIRST: u16 = 10_000;

/// Back ends on A, by number.
struct Backends {
    v6: bool,
    sockets: BTreeMap<u16, UdpSocket>,
}

impl Backends {
    fn open(v6: bool, numbers: &[u16]) -> Self {
        let numbers = numbers.to_vec();
        let sockets = inside("A", move || {
            let open = |n: u16| {
                let socket = UdpSocket::bind(("::", FIRST + n)).unwrap();
                socket.set_nonblocking(true).unwrap();
                (n, socket)
            };
            numbers.into_iter().map(open).collect()
        });
        Self { v6, sockets }
    }

    fn address(&self, number: u16) -> SocketAddr {
        socket(if self.v6 { "fd07::2" } else { "10.7.0.2" }, FIRST + number)
    }

    /// A service with these of them, and its members.
    fn service(&self, front_end: (&str, u16), group: u32, numbers: &[u16]) -> (Object, Service) {
        let addresses: Vec<SocketAddr> = numbers.iter().map(|number| self.address(*number)).collect();
        let mut service = service(UDP, front_end, &addresses);
        let affinity = Affinity { group, members: numbers.iter().map(|number| u32::from(*number)).collect() };
        service.affinity = Some(affinity.clone());
        (Object::Affinity(affinity), service)
    }

    /// Who gets what clients send, each by a new flow.
    fn chosen(&self, clients: u16, to: SocketAddr, salt: u16) -> Vec<Option<u16>> {
        self.from([198, 18], clients, to, salt)
    }

    fn from(&self, [a, b]: [u8; 2], clients: u16, to: SocketAddr, salt: u16) -> Vec<Option<u16>> {
        let v6 = self.v6;
        let ask = move |client: u16| {
            let [high, low] = client.to_be_bytes();
            let from: SocketAddr = match v6 {
                false => (Ipv4Addr::new(a, b, high, low), 20_000 + salt).into(),
                true => (Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, client), 20_000 + salt).into(),
            };
            UdpSocket::bind(from).unwrap().send_to(&client.to_be_bytes(), to).unwrap();
        };
        for socket in self.sockets.values() {
            while socket.recv(&mut [0; 2]).is_ok() {}
        }
        inside("outside", move || (0..clients).for_each(ask));
        let mut chosen = vec![None; usize::from(clients)];
        let mut left = usize::from(clients);
        for _ in 0..200 {
            for (number, socket) in &self.sockets {
                let mut client = [0; 2];
                while socket.recv(&mut client).is_ok() {
                    chosen[usize::from(u16::from_be_bytes(client))] = Some(*number);
                    left -= 1;
                }
            }
            if left == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        chosen
    }
}

/// Clients of any address of these prefixes.
fn many_clients() {
    sh("ip -n outside route add local 198.18.0.0/16 dev lo");
    inside("outside", || std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").unwrap());
    sh("ip -n outside -6 route add local 2001:db8:18::/64 dev lo");
    sh("ip route add 198.18.0.0/16 via 192.0.2.2 && ip -6 route add 2001:db8:18::/64 via 2001:db8::2");
}

/// The plan that turns services and their group into others in place.
fn exchange(from: &[(Object, Service)], to: &[(Object, Service)]) -> Plan {
    let group = Op::Change { from: from[0].0.clone(), to: to[0].0.clone() };
    let services = from.iter().zip(to).map(|((_, from), (_, to))| Op::Change {
        from: Object::Service(from.clone()),
        to: Object::Service(to.clone()),
    });
    Plan { ops: [group].into_iter().chain(services).collect() }
}

fn learned() -> usize {
    let list = |family: char| sh(&format!("nft list map inet hcnd learned{family}"));
    ['4', '6'].map(|family| list(family).matches("expires").count()).iter().sum()
}

#[test]
fn a_client_stays_with_its_back_end_whoever_comes_and_goes() {
    isolated("a_client_stays_with_its_back_end_whoever_comes_and_goes", || {
        let mut linux = place();
        many_clients();
        let before = at_rest();
        for (vip, v6) in [(VIP, false), (VIP6, true)] {
            let ends = Backends::open(v6, &[1, 2, 3, 4, 5]);
            let group = 10 + u32::from(v6);
            // Two ports of one load balancer.
            let both = |numbers: &[u16]| [81, 82].map(|port| ends.service((vip, port), group, numbers));
            let objects = |services: &[(Object, Service)]| -> Vec<Object> {
                let services_only = services.iter().map(|(_, service)| Object::Service(service.clone()));
                [services[0].0.clone()].into_iter().chain(services_only).collect()
            };
            let three = both(&[1, 2, 3]);
            done(&mut linux, &create(objects(&three)));
            let mut salt = 0;
            let mut ask = |port: u16| {
                salt += 1;
                ends.chosen(150, socket(vip, port), salt)
            };
            let first = ask(81);
            assert!(first.iter().all(Option::is_some), "{first:?}");
            for number in 1..=3 {
                assert!(first.contains(&Some(number)), "{first:?}");
            }
            assert_eq!(ask(81), first);
            assert_eq!(ask(82), first, "the other port");
            // More, in another order; fewer; none of those who are asked for goes.
            let (five, four) = (both(&[5, 3, 2, 4, 1]), both(&[4, 1, 2, 3]));
            done(&mut linux, &exchange(&three, &five));
            assert_eq!(ask(81), first, "more back ends");
            done(&mut linux, &exchange(&five, &four));
            assert_eq!(ask(82), first, "fewer back ends");
            // One goes: its clients find another one, which they keep when somebody takes its place.
            let two = both(&[4, 1, 3]);
            let applied = apply(&mut linux, &exchange(&four, &two));
            let second = ask(81);
            for (old, new) in first.iter().zip(&second) {
                match old {
                    Some(2) => assert!(new.is_some_and(|new| new != 2), "{second:?}"),
                    stays => assert_eq!(stays, new),
                }
            }
            linux.undo(applied).unwrap();
            assert_eq!(ask(81), second, "a change was taken back");
            done(&mut linux, &exchange(&four, &two));
            assert_eq!(ask(82), second);
            let other = both(&[5, 4, 1, 3]);
            done(&mut linux, &exchange(&two, &other));
            assert_eq!(ask(81), second);
            assert!(learned() >= 150);
            done(&mut linux, &remove(&objects(&other)));
            assert!(ask(81).iter().all(Option::is_none));
        }
        // What is known of clients goes by itself.
        settles_at(&before, "services came and went");
    });
}

#[test]
fn groups_know_their_own_clients() {
    isolated("groups_know_their_own_clients", || {
        let mut linux = place();
        many_clients();
        let ends = Backends::open(false, &[1, 2]);
        let (one_group, one) = ends.service((VIP, 81), 1, &[1]);
        let (two_group, two) = ends.service((VIP, 82), 2, &[2]);
        let (any_group, any) = ends.service(("0.0.0.0", 83), 3, &[2, 1]);
        done(&mut linux, &create([one_group, two_group, any_group]));
        for service in [&one, &two, &any] {
            add(&mut linux, service);
        }
        let mut at_port = Vec::new();
        for round in 0..3 {
            let ask = |address: &str, port| ends.chosen(20, socket(address, port), 10 * port + round);
            assert_eq!(ask(VIP, 81), [Some(1); 20]);
            assert_eq!(ask(VIP, 82), [Some(2); 20]);
            let chosen = ask("192.0.2.1", 83);
            assert!(chosen.contains(&Some(1)) && chosen.contains(&Some(2)), "{chosen:?}");
            at_port.push(chosen);
        }
        assert!(at_port.iter().all(|chosen| *chosen == at_port[0]));
        assert_eq!(learned(), 60);
    });
}

#[test]
fn where_there_is_no_room_for_more_clients_a_hash_chooses() {
    isolated("where_there_is_no_room_for_more_clients_a_hash_chooses", || {
        let mut linux = place();
        many_clients();
        let ends = Backends::open(false, &[1, 2, 3]);
        let (group, service) = ends.service((VIP, 81), 1, &[1, 2, 3]);
        done(&mut linux, &create([group]));
        add(&mut linux, &service);
        let early = ends.chosen(100, socket(VIP, 81), 0);
        // More clients than there is room for; what they send is not looked at.
        inside("outside", || {
            for client in 100..u16::MAX {
                let [high, low] = client.to_be_bytes();
                let from = (Ipv4Addr::new(198, 18, high, low), 21_000);
                UdpSocket::bind(from).unwrap().send_to(b"?", (VIP, 81)).unwrap();
            }
        });
        sh("ip -n outside route add local 198.19.0.0/16 dev lo");
        let _ = ends.from([198, 19], 200, socket(VIP, 81), 1);
        assert_eq!(learned(), 65_535);
        // Those who are known stay whoever comes; others are served as long as nobody comes or goes.
        assert_eq!(ends.chosen(100, socket(VIP, 81), 2), early);
        let strangers = |salt: u16| ends.from([198, 19], 100, socket(VIP, 81), salt);
        let first = strangers(3);
        assert!((1..=3).all(|number| first.contains(&Some(number))), "{first:?}");
        assert_eq!(strangers(4), first);
        assert_eq!(learned(), 65_535);
    });
}

/// Whether connections are refused at once, rather than dropped or served.
fn refused(from: &str, protocol: Protocol, to: SocketAddr) -> Result<(), String> {
    let found = (0..3).map(|_| told(from, protocol, to)).find(|found| *found != "silence");
    match found.as_deref() {
        Some("refused") => Ok(()),
        // What the host itself sends by UDP is not even sent.
        Some(text) if (from, protocol) == ("", UDP) && text.contains("not permitted") => Ok(()),
        other => Err(format!("{protocol} from {from:?} to {to}: {other:?}")),
    }
}

#[test]
fn without_back_ends_all_are_refused() {
    isolated("without_back_ends_all_are_refused", || {
        let mut linux = place();
        for bridged in ["1", "0"] {
            for family in ["iptables", "ip6tables"] {
                sh(&format!("echo {bridged} > /proc/sys/net/bridge/bridge-nf-call-{family}"));
            }
            for (vip, any, up) in [(VIP, "0.0.0.0", "192.0.2.1"), (VIP6, "::", "2001:db8::1")] {
                for (front_end, to) in [((vip, 81), vip), ((any, 82), up)] {
                    for protocol in [TCP, UDP] {
                        let to = socket(to, front_end.1);
                        let mut none = service(protocol, front_end, &[]);
                        none.from_host = true;
                        add(&mut linux, &none);
                        for from in ["outside", "A", "B", ""] {
                            refused(from, protocol, to).unwrap();
                        }
                        take(&mut linux, &none);
                    }
                }
            }
        }
    });
}

/// Gives back each octet that it gets.
fn echo(netns: &str, port: u16) {
    let listener = inside(netns, move || TcpListener::bind(("::", port)).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut octet = [0];
                while stream.read_exact(&mut octet).is_ok() && stream.write_all(&octet).is_ok() {}
            });
        }
    });
}

#[test]
fn connections_end_with_their_back_end_once_a_change_is_settled() {
    isolated("connections_end_with_their_back_end_once_a_change_is_settled", || {
        let mut linux = place();
        for netns in ["A", "B"] {
            echo(netns, 7100);
        }
        for (vip, v6) in [(VIP, false), (VIP6, true)] {
            let [a, b] = if v6 { ["fd07::2", "fd07::3"] } else { ["10.7.0.2", "10.7.0.3"] };
            let [a, b] = [a, b].map(|address| socket(address, 7100));
            let to = socket(vip, 7100);
            let connect = |from| {
                let stream = inside(from, move || TcpStream::connect(to).unwrap());
                stream.set_read_timeout(Some(patience(Duration::from_secs(2)))).unwrap();
                stream
            };
            let says = |mut stream: &TcpStream| {
                stream.write_all(b"?")?;
                stream.read_exact(&mut [0])
            };
            let both = service(TCP, (vip, 7100), &[a]);
            add(&mut linux, &both);
            let goes = ["outside", "B", "A"].map(connect);
            let (plan, with_b) = changed(&both, |service| service.backends.push(b));
            done(&mut linux, &plan);
            let (plan, only_b) = changed(&with_b, |service| service.backends = vec![b]);
            done(&mut linux, &plan);
            let stays = connect("outside");
            let (plan, with_a) = changed(&only_b, |service| service.backends = vec![a, b]);
            done(&mut linux, &plan);
            // Without the flag they all went on; with it until the change is settled.
            let (plan, last) = changed(&with_a, |service| {
                service.backends = vec![b];
                service.terminates = true;
            });
            let applied = apply(&mut linux, &plan);
            goes.iter().for_each(|stream| says(stream).unwrap());
            linux.undo(applied).unwrap();
            goes.iter().for_each(|stream| says(stream).unwrap());
            done(&mut linux, &plan);
            for stream in &goes {
                let began = Instant::now();
                assert_eq!(says(stream).unwrap_err().kind(), ErrorKind::ConnectionReset);
                assert!(began.elapsed() < patience(Duration::from_millis(500)));
            }
            says(&stays).unwrap();
            // The last one goes, too: there is nobody to be sent to.
            let (plan, none) = changed(&last, |service| service.backends.clear());
            done(&mut linux, &plan);
            assert_eq!(says(&stays).unwrap_err().kind(), ErrorKind::ConnectionReset);
            take(&mut linux, &none);
        }
    });
}

/// The members of a service come and go while the last message of each plan is refused, one by one.
#[test]
fn what_is_refused_leaves_the_members_as_they_were() {
    isolated("what_is_refused_leaves_the_members_as_they_were", || {
        let mut linux: Linux = start();
        let ends = |numbers: &[u16]| {
            let ends = Backends { v6: false, sockets: BTreeMap::new() };
            let mut of_them = ends.service((VIP, 81), 5, numbers);
            // A flow that is not deleted fails no plan.
            of_them.1.frontend.protocol = TCP;
            [of_them]
        };
        let (from, to) = (ends(&[1, 2, 3]), ends(&[4, 3]));
        done(&mut linux, &create([from[0].0.clone(), Object::Service(from[0].1.clone())]));
        let before = at_rest();
        let plan = exchange(&from, &to);
        for message in 0.. {
            linux.fail_message(message);
            match linux.apply(&plan) {
                Ok(applied) => {
                    assert!(linux.fault_pending());
                    linux.undo(applied).unwrap();
                    break;
                }
                Err(error) => assert!(error.undo.is_none(), "{error}"),
            }
            settles_at(&before, "a message was refused");
        }
        settles_at(&before, "the change was taken back");
        // The same group twice is an error that says so.
        let error = linux.apply(&create([to[0].0.clone()])).unwrap_err();
        assert_eq!(error.source.errno, Some(17));
    });
}
