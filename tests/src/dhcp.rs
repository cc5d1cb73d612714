//! A DHCP client, as small as one can be (RFC 2131).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{BindToDevice, Broadcast};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};

use crate::traffic::in_netns;

/// Longer than an answer takes in one machine; short enough for a test of silence.
const PATIENCE: Duration = Duration::from_millis(1000);
/// Octets before the options, the cookie included.
const FIXED: usize = 240;

/// Types of messages.
pub const DISCOVER: u8 = 1;
/// The server's offer.
pub const OFFER: u8 = 2;
/// A request for an address.
pub const REQUEST: u8 = 3;
/// The address is given.
pub const ACK: u8 = 5;
/// It is not.
pub const NAK: u8 = 6;

/// What a server said.
#[derive(Debug, Clone)]
pub struct Told {
    /// Type of the message.
    pub kind: u8,
    /// The client's new address.
    pub address: Ipv4Addr,
    /// Who said it.
    pub from: SocketAddr,
    options: Vec<(u8, Vec<u8>)>,
}

impl Told {
    /// The value of an option.
    #[must_use]
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(found, _)| *found == code).map(|(_, value)| value.as_slice())
    }

    /// The address that an option is.
    #[must_use]
    pub fn address_of(&self, code: u8) -> Ipv4Addr {
        let octets: [u8; 4] = self.option(code).unwrap().try_into().unwrap();
        octets.into()
    }
}

/// A client on `eth0` of a namespace.
#[derive(Debug, Clone)]
pub struct Dhcp {
    /// The namespace.
    pub netns: String,
    /// Its MAC address, in HCN's form or Linux's.
    pub mac: String,
    /// The address that it says it has, to a server that it knows.
    pub has: Option<(Ipv4Addr, Ipv4Addr)>,
}

impl Dhcp {
    /// Sends a message with these options and waits for its answer.
    ///
    /// # Errors
    /// There was none.
    pub fn ask(&self, kind: u8, options: &[(u8, &[u8])]) -> io::Result<Told> {
        let message = self.message(kind, options);
        in_netns(&self.netns, || {
            let socket = self.socket()?;
            let server = self.has.map_or(Ipv4Addr::BROADCAST, |(_, server)| server);
            socket.send_to(&message, (server, 67))?;
            let until = Instant::now() + PATIENCE;
            let mut answer = [0; 1500];
            loop {
                let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                socket.set_read_timeout(Some(left))?;
                let (length, from) = socket.recv_from(&mut answer)?;
                // Others hear broadcasts, too.
                if answer[4..8] == message[4..8] && answer[28..34] == message[28..34] {
                    return Ok(read(&answer[..length], from));
                }
            }
        })
    }

    /// A client without an address may use this port of its link all the same.
    fn socket(&self) -> io::Result<UdpSocket> {
        let open: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&open, BindToDevice, &"eth0".into())?;
        setsockopt(&open, Broadcast, &true)?;
        bind(open.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 68))?;
        Ok(open.into())
    }

    fn message(&self, kind: u8, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED - 4];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&[0x5a, kind, 7, 7]);
        if let Some((address, _)) = self.has {
            bytes[12..16].copy_from_slice(&address.octets());
        }
        for (at, pair) in (28..).zip(self.mac.split([':', '-'])) {
            bytes[at] = u8::from_str_radix(pair, 16).unwrap();
        }
        bytes.extend([99, 130, 83, 99, 53, 1, kind]);
        for (code, value) in options {
            bytes.extend([*code, u8::try_from(value.len()).unwrap()]);
            bytes.extend(*value);
        }
        bytes.push(255);
        bytes
    }
}

fn read(bytes: &[u8], from: SocketAddr) -> Told {
    let mut options = Vec::new();
    let mut rest = &bytes[FIXED..];
    while let [code, length, after @ ..] = rest {
        if *code == 255 {
            break;
        }
        let (value, after) = after.split_at((*length).into());
        options.push((*code, value.to_vec()));
        rest = after;
    }
    let kind = options.iter().find(|(code, _)| *code == 53).map_or(0, |(_, value)| value[0]);
    let address: [u8; 4] = bytes[16..20].try_into().unwrap();
    Told { kind, address: address.into(), from, options }
}
