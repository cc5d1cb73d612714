//! Questions for names, and a server that answers them in its own way (RFC 1035).

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::traffic::in_netns;

/// Longer than a server of the host is waited for.
const PATIENCE: Duration = Duration::from_millis(2500);
const HEADER: usize = 12;

/// Types of records.
pub const A: u16 = 1;
/// A name of an address.
pub const PTR: u16 = 12;
/// An IPv6 address.
pub const AAAA: u16 = 28;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Code of the answer.
    pub code: u8,
    /// It is cut off.
    pub cut: bool,
    /// Addresses and names.
    pub answers: Vec<String>,
}

/// The answer that has all there is.
#[must_use]
pub fn said(answers: &[&str]) -> Said {
    Said { code: 0, cut: false, answers: answers.iter().map(|answer| (*answer).to_owned()).collect() }
}

/// The answer without any, with a code.
#[must_use]
pub fn nothing(code: u8) -> Said {
    Said { code, cut: false, answers: Vec::new() }
}

/// Asks by UDP.
///
/// # Errors
/// Nothing came back in time.
pub fn by_udp(netns: &str, server: &str, name: &str, kind: u16) -> io::Result<Said> {
    let server: IpAddr = server.parse().unwrap();
    in_netns(netns, || {
        let any: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((server, 53))?;
        socket.send(&question(name, kind))?;
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer)?;
        Ok(read(&answer[..length]))
    })
}

/// Asks by TCP.
///
/// # Errors
/// Nothing came back in time.
pub fn by_tcp(netns: &str, server: &str, name: &str, kind: u16) -> io::Result<Said> {
    let server = SocketAddr::new(server.parse().unwrap(), 53);
    in_netns(netns, || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&framed(&question(name, kind)))?;
        Ok(read(&unframed(&mut stream)?))
    })
}

/// Asks by both, which must say the same.
#[must_use]
pub fn ask(netns: &str, server: &str, name: &str, kind: u16) -> Said {
    let udp = by_udp(netns, server, name, kind)
        .unwrap_or_else(|error| panic!("{name} by UDP of {server}: {error}"));
    let tcp = by_tcp(netns, server, name, kind)
        .unwrap_or_else(|error| panic!("{name} by TCP of {server}: {error}"));
    assert_eq!(udp, tcp, "{name} by UDP and by TCP of {server}");
    udp
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend([kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
    bytes
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

fn unframed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// The text of an uncompressed name, and what follows it.
fn name(mut bytes: &[u8]) -> (String, &[u8]) {
    let mut labels = Vec::new();
    loop {
        let (label, rest) = bytes[1..].split_at(bytes[0].into());
        bytes = rest;
        if label.is_empty() {
            return (labels.join("."), bytes);
        }
        labels.push(String::from_utf8_lossy(label).into_owned());
    }
}

fn read(bytes: &[u8]) -> Said {
    assert_eq!((bytes[..2].to_vec(), bytes[2] & 0x80), (vec![0x12, 0x34], 0x80), "{bytes:?}");
    let mut rest = name(&bytes[HEADER..]).1[4..].to_vec();
    let mut answers = Vec::new();
    for _ in 0..u16::from_be_bytes([bytes[6], bytes[7]]) {
        let length = usize::from(u16::from_be_bytes([rest[10], rest[11]]));
        let data = rest[12..12 + length].to_vec();
        answers.push(match rest[3] {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
            28 => Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
            _ => name(&data).0,
        });
        rest.drain(..12 + length);
    }
    Said { code: bytes[3] & 15, cut: bytes[2] & 2 != 0, answers }
}

/// A server in a namespace. It knows every name by one address, `none.*` by none; `long.*` it answers by TCP only, and
/// `silent.*` not at all; to `guess.*` it answers with a wrong identifier first.
#[derive(Debug, Clone, Default)]
pub struct Server(Arc<Mutex<Vec<(String, SocketAddr)>>>);

impl Server {
    /// Begins to serve at port 53 of an address.
    #[must_use]
    pub fn start(netns: &str, address: &str, knows: Ipv4Addr) -> Self {
        let at = SocketAddr::new(address.parse().unwrap(), 53);
        let (udp, tcp) = in_netns(netns, || (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap()));
        let server = Self::default();
        let by_udp = server.clone();
        thread::spawn(move || {
            let mut question = [0; 1500];
            while let Ok((length, client)) = udp.recv_from(&mut question) {
                let asked = &question[..length];
                let name = by_udp.note(asked, client);
                if name.starts_with("guess.") {
                    let mut wrong = answer(asked, &name, [192, 0, 2, 66].into(), true);
                    wrong[0] ^= 1;
                    let _ = udp.send_to(&wrong, client);
                }
                if !name.starts_with("silent.") {
                    let _ = udp.send_to(&answer(asked, &name, knows, true), client);
                }
            }
        });
        let by_tcp = server.clone();
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                while let Ok(asked) = unframed(&mut stream) {
                    let name = by_tcp.note(&asked, stream.peer_addr().unwrap());
                    let _ = stream.write_all(&framed(&answer(&asked, &name, knows, false)));
                }
            }
        });
        server
    }

    fn note(&self, question: &[u8], client: SocketAddr) -> String {
        let asked = name(&question[HEADER..]).0;
        self.0.lock().unwrap().push((asked.clone(), client));
        asked
    }

    /// Who asked for a name.
    #[must_use]
    pub fn who_asked(&self, name: &str) -> Vec<SocketAddr> {
        let asked = self.0.lock().unwrap();
        asked.iter().filter(|(asked, _)| asked == name).map(|(_, client)| *client).collect()
    }
}

fn answer(question: &[u8], name: &str, knows: Ipv4Addr, by_udp: bool) -> Vec<u8> {
    let mut bytes = question.to_vec();
    (bytes[2], bytes[3]) = (0x81, 0x80);
    if name.starts_with("none.") {
        bytes[3] |= 3;
    } else if name.starts_with("long.") && by_udp {
        bytes[2] |= 2;
    } else {
        bytes[7] = 1;
        bytes.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        bytes.extend(knows.octets());
    }
    bytes
}
