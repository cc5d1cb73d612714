//! The DNS servers of one bridge, by UDP and TCP, and what they ask the host's own servers.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Shared;
use crate::book::Book;
use crate::dns::{Found, Header, Query, failure, is_answer, rcode};

/// How long a server of the host is waited for; the next is asked then. Clients give up after 5 s.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long a connection may be idle (RFC 7766 section 6.2.3 asks for seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Questions of all clients of an address that wait for the host's servers, and of one of them.
const QUESTIONS: Limits = Limits { all: 256, one: 64 };
/// Connections likewise.
const CONNECTIONS: Limits = Limits { all: 64, one: 16 };
/// No question is longer than a frame.
const LONGEST: usize = 1500;

/// How much is borne.
#[derive(Clone, Copy)]
struct Limits {
    all: usize,
    one: usize,
}

/// How much there is, by client.
#[derive(Default)]
struct Load(Mutex<HashMap<IpAddr, usize>>);

/// A place that is taken until it is dropped.
struct Place {
    load: Arc<Load>,
    client: IpAddr,
}

impl Load {
    fn take(self: &Arc<Self>, client: IpAddr, limits: Limits) -> Option<Place> {
        let mut by_client = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = by_client.get(&client).copied().unwrap_or_default();
        if own >= limits.one || by_client.values().sum::<usize>() >= limits.all {
            return None;
        }
        by_client.insert(client, own + 1);
        Some(Place { load: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_client = self.load.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                by_client.remove(&self.client);
            }
        }
    }
}

/// What can be said of a message at once.
enum Said {
    Answer(Vec<u8>),
    /// The host's servers have to be asked; `own` = what they do not know is not there.
    Ask {
        own: bool,
    },
    Nothing,
}

fn say(shared: &Shared, bridge: &str, message: &[u8], by_udp: bool) -> Said {
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(code) => {
            let answer = code.zip(Header::read(message)).map(|(code, header)| failure(header.id, code));
            return answer.map_or(Said::Nothing, Said::Answer);
        }
    };
    let mut books = shared.books();
    let Some(zone) = books.get_mut(bridge).and_then(Book::zone) else { return Said::Nothing };
    match zone.find(&query) {
        Found::Records(records) => Said::Answer(query.answer(&records, by_udp)),
        Found::Refused(code) => Said::Answer(query.code(code)),
        Found::Elsewhere { own } => Said::Ask { own },
    }
}

pub(super) async fn serve_udp(shared: Arc<Shared>, bridge: String, socket: UdpSocket) {
    let load = Arc::new(Load::default());
    let mut asked: JoinSet<(Vec<u8>, SocketAddr)> = JoinSet::new();
    let mut datagram = [0; LONGEST];
    loop {
        let (length, client) = tokio::select! {
            Some(done) = asked.join_next(), if !asked.is_empty() => {
                if let Ok((answer, client)) = done {
                    send(&socket, &answer, client).await;
                }
                continue;
            }
            received = socket.recv_from(&mut datagram) => match received {
                Ok(received) => received,
                Err(error) => {
                    super::pause(&bridge, "DNS", &error).await;
                    continue;
                }
            },
        };
        let message = &datagram[..length];
        match say(&shared, &bridge, message, true) {
            Said::Nothing => {}
            Said::Answer(answer) => send(&socket, &answer, client).await,
            Said::Ask { own } => match load.take(client.ip(), QUESTIONS) {
                Some(place) => {
                    let (shared, message) = (Arc::clone(&shared), message.to_vec());
                    asked.spawn(async move {
                        let _place = place;
                        (ask(&shared, &message, own, true).await, client)
                    });
                }
                None => send(&socket, &code(message, rcode::FAILURE), client).await,
            },
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%error, %client, "cannot answer a question for a name");
    }
}

pub(super) async fn serve_tcp(shared: Arc<Shared>, bridge: String, socket: TcpListener) {
    let load = Arc::new(Load::default());
    let mut connections = JoinSet::new();
    loop {
        let (stream, client) = tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = socket.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    super::pause(&bridge, "DNS", &error).await;
                    continue;
                }
            },
        };
        // One too many is closed.
        let Some(place) = load.take(client.ip(), CONNECTIONS) else { continue };
        let (shared, bridge) = (Arc::clone(&shared), bridge.clone());
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = converse(&shared, &bridge, stream).await {
                tracing::debug!(%error, %client, "a connection for names ended");
            }
        });
    }
}

/// Answers what comes over a connection, one after the other.
async fn converse(shared: &Shared, bridge: &str, mut stream: TcpStream) -> io::Result<()> {
    while let Some(message) = timeout(IDLE, read(&mut stream)).await.map_err(io::Error::other)?? {
        let answer = match say(shared, bridge, &message, false) {
            Said::Nothing => return Ok(()),
            Said::Answer(answer) => answer,
            Said::Ask { own } => ask(shared, &message, own, false).await,
        };
        timeout(IDLE, write(&mut stream, &answer)).await.map_err(io::Error::other)??;
    }
    Ok(())
}

/// A message with its length before it (RFC 1035 section 4.2.2); none at the end.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length?,
    };
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    // In one piece: some servers take no length that comes alone.
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

fn code(message: &[u8], code: u8) -> Vec<u8> {
    Query::read(message).map(|query| query.code(code)).unwrap_or_default()
}

/// The answer of the host's servers: of the first that knows one, else of the last.
async fn ask(shared: &Shared, message: &[u8], own: bool, by_udp: bool) -> Vec<u8> {
    let servers = servers(shared);
    let mut last = code(message, if own && servers.is_empty() { rcode::NO_NAME } else { rcode::FAILURE });
    for server in servers {
        let asked = async {
            if by_udp { ask_by_udp(server, message).await } else { ask_by_tcp(server, message).await }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => {
                let failed = [rcode::FAILURE, rcode::REFUSED, rcode::NOT_IMPLEMENTED];
                let done = Header::read(&answer).is_some_and(|header| !failed.contains(&header.code()));
                last = answer;
                if done {
                    break;
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, %server, "cannot ask a server for a name"),
            Err(_) => tracing::debug!(%server, "a server for names does not answer"),
        }
    }
    last
}

/// The host's servers, but for ourselves.
fn servers(shared: &Shared) -> Vec<SocketAddr> {
    let listed = shared.upstream.lock().unwrap_or_else(PoisonError::into_inner).servers().to_vec();
    let books = shared.books();
    let is_ours = |server: &SocketAddr| {
        books.values().flat_map(Book::host).any(|address| address.addr() == server.ip())
    };
    listed.into_iter().filter(|server| !is_ours(server)).collect()
}

/// The question with an identifier that nobody can guess, and the identifier.
fn disguise(message: &[u8]) -> (Vec<u8>, u16) {
    let [a, b, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    let mut disguised = message.to_vec();
    disguised[..2].copy_from_slice(&[a, b]);
    (disguised, u16::from_be_bytes([a, b]))
}

/// The answer with the client's own identifier.
fn reveal(mut answer: Vec<u8>, message: &[u8]) -> Vec<u8> {
    answer[..2].copy_from_slice(&message[..2]);
    answer
}

fn unreadable() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

/// By a socket of its own, so that the port cannot be guessed either.
async fn ask_by_udp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let query = Query::read(message).map_err(|_| unreadable())?;
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // From now on the kernel takes nothing from others.
    socket.connect(server).await?;
    let (question, id) = disguise(message);
    socket.send(&question).await?;
    let mut answer = vec![0; query.most()];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(&answer[..length], &query, id) {
            answer.truncate(length);
            return Ok(reveal(answer, message));
        }
    }
}

async fn ask_by_tcp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let query = Query::read(message).map_err(|_| unreadable())?;
    let mut stream = TcpStream::connect(server).await?;
    let (question, id) = disguise(message);
    write(&mut stream, &question).await?;
    let answer = read(&mut stream).await?.unwrap_or_default();
    if is_answer(&answer, &query, id) { Ok(reveal(answer, message)) } else { Err(unreadable()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_does_not_take_the_places_of_all() {
        let load = Arc::new(Load::default());
        let limits = Limits { all: 3, one: 2 };
        let client = |last| IpAddr::from([10, 7, 0, last]);
        let first = load.take(client(1), limits).unwrap();
        let _second = load.take(client(1), limits).unwrap();
        assert!(load.take(client(1), limits).is_none());
        let _third = load.take(client(2), limits).unwrap();
        assert!(load.take(client(3), limits).is_none());
        drop(first);
        assert!(load.take(client(3), limits).is_some());
    }
}
