//! Ports that are held: no program gets them, and none that has one loses it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use common::*;
use hcn_dataplane::{Dataplane, Family, HeldPort, Object, Op, Plan, Protocol, ReservedPorts, State};

fn held(family: Family, protocol: Protocol) -> Object {
    Object::HeldPort(HeldPort { family, protocol, port: 8080 })
}

/// Whether a program can have the port; as servers do, TCP asks for SO_REUSEADDR.
fn free(protocol: Protocol, address: &str) -> bool {
    let address: SocketAddr = format!("{address}:8080").parse().unwrap();
    let bound = match protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        _ => UdpSocket::bind(address).map(drop),
    };
    match bound {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            false
        }
    }
}

#[test]
fn a_held_port_is_no_programs_until_its_removal_is_settled() {
    isolated("a_held_port_is_no_programs_until_its_removal_is_settled", || {
        let mut linux = start();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let other = if protocol == Protocol::Tcp { Protocol::Udp } else { Protocol::Tcp };
            for (family, addresses, others) in [
                (Family::V4, ["0.0.0.0", "127.0.0.1"], "[::1]"),
                // The wildcard of IPv6 means both families.
                (Family::V6, ["[::]", "[::1]"], "127.0.0.1"),
            ] {
                let taken = || addresses.iter().all(|address| !free(protocol, address));
                let held = held(family, protocol);
                let plan = create([held.clone()]);
                let applied = apply(&mut linux, &plan);
                assert!(taken());
                assert!(!free(protocol, "[::]"), "which includes the held one");
                assert!(free(protocol, others));
                assert!(addresses.iter().all(|address| free(other, address)));
                linux.undo(applied).unwrap();
                assert!(addresses.iter().all(|address| free(protocol, address)));

                done(&mut linux, &plan);
                let removal = remove(std::slice::from_ref(&held));
                let applied = apply(&mut linux, &removal);
                assert!(taken(), "it may still be wanted back");
                // By who comes next before that, too.
                let again = apply(&mut linux, &plan);
                linux.undo(again).unwrap();
                linux.undo(applied).unwrap();
                assert!(taken());
                let replace = Plan { ops: [removal.ops.clone(), vec![Op::Create(held)]].concat() };
                done(&mut linux, &replace);
                assert!(taken());
                done(&mut linux, &removal);
                assert!(addresses.iter().all(|address| free(protocol, address)));
            }
        }
    });
}

#[test]
fn a_port_of_a_program_is_not_taken_from_it() {
    isolated("a_port_of_a_program_is_not_taken_from_it", || {
        let mut linux = start();
        let _tcp = TcpListener::bind("127.0.0.1:8080").unwrap();
        let _udp = UdpSocket::bind("[::]:8080").unwrap();
        for (family, protocol) in
            [(Family::V4, Protocol::Tcp), (Family::V4, Protocol::Udp), (Family::V6, Protocol::Udp)]
        {
            let error = linux.apply(&create([held(family, protocol)])).unwrap_err();
            assert_eq!(error.source.errno, Some(libc::EADDRINUSE));
            let message = format!("{protocol} port 8080 is used by a program of the host");
            assert!(error.source.message.ends_with(&message), "{}", error.source);
        }
        // Nothing holds ports of SCTP.
        done(&mut linux, &create([held(Family::V4, Protocol::Sctp)]));
        done(&mut linux, &remove(&[held(Family::V4, Protocol::Sctp)]));
    });
}

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

fn list() -> String {
    let mut text = vec![0; 1 << 16];
    let length = std::fs::File::open(RESERVED).unwrap().read(&mut text).unwrap();
    String::from_utf8_lossy(&text[..length]).trim().to_owned()
}

#[test]
fn reserved_ports_are_not_chosen_for_programs_and_those_of_others_stay() {
    isolated("reserved_ports_are_not_chosen_for_programs_and_those_of_others_stay", || {
        // A long list, of which the kernel gives only what the first read has room for.
        let others: Vec<String> = (0..400).map(|number| (1001 + 2 * number).to_string()).collect();
        let others = others.join(",");
        std::fs::write(RESERVED, format!("{others}\n")).unwrap();
        let long = Object::ReservedPorts(ReservedPorts { first: 3000, last: 3009 });
        let mut linux = start();
        done(&mut linux, &create([long.clone()]));
        assert_eq!(list(), format!("{others},3000-3009"));
        done(&mut linux, &remove(&[long]));
        assert_eq!(list(), others);
        drop(linux);

        std::fs::write(RESERVED, "50,40000-40002\n").unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40011").unwrap();
        let mut linux = start();
        let reserved = Object::ReservedPorts(ReservedPorts { first: 40_001, last: 40_009 });
        let plan = create([reserved.clone()]);
        let applied = apply(&mut linux, &plan);
        assert_eq!(list(), "50,40000-40009");
        linux.undo(applied).unwrap();
        assert_eq!(list(), "50,40000-40002");
        done(&mut linux, &plan);
        let chosen = || TcpListener::bind("127.0.0.1:0").map(|socket| socket.local_addr().unwrap().port());
        let sockets: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| [40_010, 40_011].contains(port)), "{ports:?}");
        assert_eq!(chosen().unwrap_err().kind(), ErrorKind::AddrInUse);

        // One that comes after a kill finds them, and takes them off the list without knowing who put them there.
        drop(linux);
        let mut linux = start();
        let wanted: State = [reserved.clone()].into_iter().collect();
        assert_eq!(linux.adopt(&wanted).unwrap(), wanted);
        done(&mut linux, &remove(&[reserved]));
        assert_eq!(list(), "50,40000");
    });
}
