//! The blocking client: one call after the other, or several at once with [`Client::request_all`].

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hcn_ipc::frame::Decoder;
use hcn_ipc::params::{Finding, Status};
use hcn_schema::call::Kind;
use hcn_schema::hns::HnsVersion;
use hcn_schema::{Guid, Raw};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Created, Error, Event, Registration, Request, Result, Target, reply, request};

/// Requests that are written before the first answer is read: so few that a socket takes them even while the
/// service waits for us to read its answers.
const TOGETHER: usize = 64;

/// A connection to hcnd.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: UnixStream,
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl Client {
    /// Connects to the socket; see [`crate::default_socket`].
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .map_err(|source| Error::Unreachable { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), stream, decoder: reply::decoder(), chunk: vec![0; reply::CHUNK] })
    }

    /// How long to wait for an answer before the connection is taken for lost; none = for ever, as it is at first. After
    /// such a loss the client is of no use.
    ///
    /// # Errors
    /// The socket's; a duration of zero.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    /// Whether the service is still at the other end, as far as can be known without asking it.
    pub fn is_connected(&self) -> bool {
        let mut next = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(self.stream.as_raw_fd(), &mut next, flags), Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR))
    }

    /// Calls any method by its full name and returns its results.
    ///
    /// # Errors
    /// As the method's.
    pub fn call<P: Serialize + ?Sized>(&mut self, method: &str, parameters: &P) -> Result<Box<RawValue>> {
        self.request(&Request::call(method, parameters)?)
    }

    /// Calls any method by its full name that may answer several times, on a connection of its own.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; the method's are among the results.
    pub fn call_more<P: Serialize + ?Sized>(&self, method: &str, parameters: &P) -> Result<Replies> {
        let call = request::frame(method, parameters, true)?;
        let mut client = Self::connect(&self.path)?;
        client.write(&call).map_err(|source| Error::Lost(Some(source)))?;
        Ok(Replies { client, ended: false })
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// As the request's.
    pub fn request<R>(&mut self, request: &Request<R>) -> Result<R> {
        let written = self.write(&request.frame);
        // A service that refuses to read on says why before it closes the connection.
        let results = self.receive();
        match (written, results) {
            (Err(source), Err(Error::Lost(_))) => Err(Error::Lost(Some(source))),
            (_, results) => (request.read)(&results??),
        }
    }

    /// Carries out requests without waiting for one before sending the next; their results are in the same order.
    ///
    /// # Errors
    /// When there is no result at all, as [`Error::Lost`].
    pub fn request_all<R>(&mut self, requests: &[Request<R>]) -> Result<Vec<Result<R>>> {
        let mut results = Vec::with_capacity(requests.len());
        for together in requests.chunks(TOGETHER) {
            let frames: Vec<u8> = together.iter().flat_map(|request| request.frame.iter().copied()).collect();
            self.write(&frames).map_err(|source| Error::Lost(Some(source)))?;
            for request in together {
                results.push(self.receive()?.and_then(|results| (request.read)(&results)));
            }
        }
        Ok(results)
    }

    /// IDs of the entities that match the query; none = all.
    ///
    /// # Errors
    /// As the service's.
    pub fn enumerate(&mut self, kind: Kind, query: Option<&str>) -> Result<Vec<Guid>> {
        self.request(&Request::enumerate(kind, query)?)
    }

    /// Makes an entity. `id` wins over the document's; `network` is of endpoints only.
    ///
    /// # Errors
    /// As the service's.
    pub fn create(
        &mut self,
        kind: Kind,
        id: Option<Guid>,
        network: Option<Target>,
        document: &str,
    ) -> Result<Created> {
        self.request(&Request::create(kind, id, network, document)?)
    }

    /// A handle of an entity.
    ///
    /// # Errors
    /// As the service's.
    pub fn open(&mut self, kind: Kind, id: Guid) -> Result<i64> {
        self.request(&Request::open(kind, id)?)
    }

    /// Applies a modify request.
    ///
    /// # Errors
    /// As the service's.
    pub fn modify(&mut self, kind: Kind, target: Target, document: &str) -> Result<()> {
        self.request(&Request::modify(kind, target, document)?)
    }

    /// An entity's document; a query without SchemaVersion asks for version 1.
    ///
    /// # Errors
    /// As the service's.
    pub fn query(&mut self, kind: Kind, target: Target, query: Option<&str>) -> Result<Raw> {
        self.request(&Request::query(kind, target, query)?)
    }

    /// What an endpoint's link has carried since it was attached.
    ///
    /// # Errors
    /// As the service's.
    pub fn query_stats(&mut self, endpoint: Target, query: Option<&str>) -> Result<Raw> {
        self.request(&Request::query_stats(endpoint, query)?)
    }

    /// What becomes of the first packet of a connection of an endpoint, or to it, and which policy decides:
    /// `{"To": "ADDRESS:PORT"}` or `{"From": "ADDRESS", "Port": NUMBER}`, with `"Protocol"`.
    ///
    /// # Errors
    /// As the service's.
    pub fn explain(&mut self, endpoint: Target, question: &str) -> Result<Raw> {
        self.request(&Request::explain(endpoint, question)?)
    }

    /// The addresses of an endpoint.
    ///
    /// # Errors
    /// As the service's.
    pub fn query_addresses(&mut self, endpoint: Target, query: Option<&str>) -> Result<Raw> {
        self.request(&Request::query_addresses(endpoint, query)?)
    }

    /// A request of HNS version 1: a method (GET, POST or DELETE), a path as `/networks/ID`, and the version 1 document
    /// if there is one. The result is the envelope `{"Success", "Error", "ErrorCode", "Output"}`, which also tells what
    /// the service refuses.
    ///
    /// # Errors
    /// As the service's, when the request itself is wrong or not allowed.
    pub fn hns(&mut self, method: &str, path: &str, document: Option<&str>) -> Result<Raw> {
        self.request(&Request::hns(method, path, document)?)
    }

    /// Has this connection served as another version of HNS, up to [`HnsVersion::NEWEST`].
    ///
    /// # Errors
    /// As the service's.
    pub fn set_hns_version(&mut self, version: HnsVersion) -> Result<()> {
        self.request(&Request::set_hns_version(version)?)
    }

    /// How the service is.
    ///
    /// # Errors
    /// As the service's.
    pub fn status(&mut self) -> Result<Status> {
        self.request(&Request::status()?)
    }

    /// What is wrong with the host, or will be; one finding at least of each check.
    ///
    /// # Errors
    /// As the service's.
    pub fn doctor(&mut self) -> Result<Vec<Finding>> {
        self.request(&Request::doctor()?)
    }

    /// All records of the service at one moment, as a text for [`Client::restore`].
    ///
    /// # Errors
    /// As the service's.
    pub fn backup(&mut self) -> Result<String> {
        self.request(&Request::backup()?)
    }

    /// Puts the records of a backup in the place of all others; answers how many there are. The service then starts over
    /// and closes this connection.
    ///
    /// # Errors
    /// As the service's; nothing is changed.
    pub fn restore(&mut self, backup: &str) -> Result<u64> {
        let mut records = 0;
        for (part, more) in request::parts(backup) {
            records = self.request(&Request::restore(part, more)?)?;
        }
        Ok(records)
    }

    /// The metrics of the service, in the text format of Prometheus.
    ///
    /// # Errors
    /// As the service's.
    pub fn metrics(&mut self) -> Result<String> {
        self.request(&Request::metrics()?)
    }

    /// Deletes an entity.
    ///
    /// # Errors
    /// As the service's.
    pub fn delete(&mut self, kind: Kind, id: Guid) -> Result<()> {
        self.request(&Request::delete(kind, id)?)
    }

    /// Closes a handle.
    ///
    /// # Errors
    /// As the service's.
    pub fn close(&mut self, kind: Kind, handle: i64) -> Result<()> {
        self.request(&Request::close(kind, handle)?)
    }

    /// A token with which other connections can join this one's session.
    ///
    /// # Errors
    /// As the service's.
    pub fn open_session(&mut self) -> Result<String> {
        self.request(&Request::open_session()?)
    }

    /// Moves this connection into a session; it must hold no handles.
    ///
    /// # Errors
    /// As the service's.
    pub fn join_session(&mut self, token: &str) -> Result<()> {
        self.request(&Request::join_session(token)?)
    }

    /// Subscribes to events of these kinds (none = all) on a connection of its own.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or as the service's.
    pub fn events(&self, kinds: &[Kind]) -> Result<Events> {
        Self::connect(&self.path)?.subscribe(&request::subscribe(kinds)?)
    }

    /// Subscribes to what a callback of the C API hears of, on a connection of its own; one that is for the entity of a
    /// handle joins this connection's session.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or as the service's.
    pub fn register(&mut self, registration: Registration) -> Result<Events> {
        let mut client = Self::connect(&self.path)?;
        if registration.needs_session() {
            client.join_session(&self.open_session()?)?;
        }
        client.subscribe(&request::register(registration)?)
    }

    fn subscribe(mut self, call: &[u8]) -> Result<Events> {
        self.write(call).map_err(|source| Error::Lost(Some(source)))?;
        let (first, _) = reply::event(&self.receive()??)?;
        Ok(Events { client: self, registered: first.seq, ended: false })
    }

    /// Writes all of it. No signal is raised where nobody reads any more: it would end the program that this is part of.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match send(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Result<Box<RawValue>>> {
        Ok(self.receive_one_of_several()?.0)
    }

    fn receive_one_of_several(&mut self) -> Result<(Result<Box<RawValue>>, bool)> {
        loop {
            if let Some(reply) = reply::next_of_several(&mut self.decoder)? {
                return Ok(reply);
            }
            match self.stream.read(&mut self.chunk) {
                Ok(0) => return Err(Error::Lost(None)),
                Ok(read) => self.decoder.extend(&self.chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Lost(Some(error))),
            }
        }
    }
}

/// The results of one call, as they come. Ends after the last one or an error.
#[derive(Debug)]
pub struct Replies {
    client: Client,
    ended: bool,
}

impl Iterator for Replies {
    type Item = Result<Box<RawValue>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let reply = self.client.receive_one_of_several();
        self.ended = !matches!(reply, Ok((Ok(_), true)));
        Some(reply.and_then(|(outcome, _)| outcome))
    }
}

/// Ends a stream of events.
#[derive(Debug)]
pub struct Closer(UnixStream);

impl Closer {
    /// Who waits for the next event gets [`Error::Lost`] instead.
    pub fn close(&self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Events, as they happen. Ends after the disconnect notice ([`crate::DISCONNECT`]) or an error.
#[derive(Debug)]
pub struct Events {
    client: Client,
    registered: u64,
    ended: bool,
}

impl Events {
    /// The number of the last event before the subscription.
    pub fn registered(&self) -> u64 {
        self.registered
    }

    /// What ends them from another thread.
    ///
    /// # Errors
    /// There are no file descriptors left.
    pub fn closer(&self) -> io::Result<Closer> {
        Ok(Closer(self.client.stream.try_clone()?))
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let event = self.client.receive().and_then(|outcome| reply::event(&outcome?));
        self.ended = !matches!(event, Ok((_, false)));
        Some(event.map(|(event, _)| event))
    }
}
