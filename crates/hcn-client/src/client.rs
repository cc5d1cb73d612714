//! The async client: many calls in flight over one connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hcn_ipc::frame::Decoder;
use hcn_ipc::params::{Finding, Status};
use hcn_schema::call::Kind;
use hcn_schema::hns::HnsVersion;
use hcn_schema::{Guid, Raw};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::{Created, Error, Event, Registration, Request, Result, Target, reply, request};

/// Calls that wait for being written.
const QUEUE: usize = 256;

type Answer = oneshot::Sender<Result<Box<RawValue>>>;

/// A connection to hcnd. Clones share it; calls of one or several tasks are sent in the order of their first poll,
/// decided in that order, and carried out side by side. The connection, and with it its session, ends with the
/// last clone and the calls in flight. A call whose future is dropped is carried out all the same.
#[derive(Clone, Debug)]
pub struct Client {
    path: Arc<Path>,
    queue: mpsc::Sender<(Vec<u8>, Answer)>,
}

impl Client {
    /// Connects to the socket; see [`crate::default_socket`]. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn connect(path: &Path) -> Result<Self> {
        let (input, output) = connect(path).await?.into_split();
        let (queue, calls) = mpsc::channel(QUEUE);
        let (written, answers) = mpsc::unbounded_channel();
        tokio::spawn(write(output, calls, written));
        tokio::spawn(read(input, answers));
        Ok(Self { path: path.into(), queue })
    }

    /// Calls any method by its full name and returns its results.
    ///
    /// # Errors
    /// As the method's.
    pub async fn call<P: Serialize + ?Sized>(&self, method: &str, parameters: &P) -> Result<Box<RawValue>> {
        let request = Request::call(method, parameters)?;
        self.request(request).await
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// As the request's.
    pub async fn request<R>(&self, request: Request<R>) -> Result<R> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((request.frame, answer)).await.map_err(|_| Error::Lost(None))?;
        let results = answered.await.map_err(|_| Error::Lost(None))??;
        (request.read)(&results)
    }

    /// IDs of the entities that match the query; none = all.
    ///
    /// # Errors
    /// As the service's.
    pub async fn enumerate(&self, kind: Kind, query: Option<&str>) -> Result<Vec<Guid>> {
        self.request(Request::enumerate(kind, query)?).await
    }

    /// Makes an entity. `id` wins over the document's; `network` is of endpoints only.
    ///
    /// # Errors
    /// As the service's.
    pub async fn create(
        &self,
        kind: Kind,
        id: Option<Guid>,
        network: Option<Target>,
        document: &str,
    ) -> Result<Created> {
        self.request(Request::create(kind, id, network, document)?).await
    }

    /// A handle of an entity.
    ///
    /// # Errors
    /// As the service's.
    pub async fn open(&self, kind: Kind, id: Guid) -> Result<i64> {
        self.request(Request::open(kind, id)?).await
    }

    /// Applies a modify request.
    ///
    /// # Errors
    /// As the service's.
    pub async fn modify(&self, kind: Kind, target: Target, document: &str) -> Result<()> {
        self.request(Request::modify(kind, target, document)?).await
    }

    /// An entity's document; a query without SchemaVersion asks for version 1.
    ///
    /// # Errors
    /// As the service's.
    pub async fn query(&self, kind: Kind, target: Target, query: Option<&str>) -> Result<Raw> {
        self.request(Request::query(kind, target, query)?).await
    }

    /// What an endpoint's link has carried since it was attached.
    ///
    /// # Errors
    /// As the service's.
    pub async fn query_stats(&self, endpoint: Target, query: Option<&str>) -> Result<Raw> {
        self.request(Request::query_stats(endpoint, query)?).await
    }

    /// What becomes of the first packet of a connection of an endpoint, or to it, and which policy decides:
    /// `{"To": "ADDRESS:PORT"}` or `{"From": "ADDRESS", "Port": NUMBER}`, with `"Protocol"`.
    ///
    /// # Errors
    /// As the service's.
    pub async fn explain(&self, endpoint: Target, question: &str) -> Result<Raw> {
        self.request(Request::explain(endpoint, question)?).await
    }

    /// The addresses of an endpoint.
    ///
    /// # Errors
    /// As the service's.
    pub async fn query_addresses(&self, endpoint: Target, query: Option<&str>) -> Result<Raw> {
        self.request(Request::query_addresses(endpoint, query)?).await
    }

    /// A request of HNS version 1: a method (GET, POST or DELETE), a path as `/networks/ID`, and the version 1 document
    /// if there is one. The result is the envelope `{"Success", "Error", "ErrorCode", "Output"}`, which also tells what
    /// the service refuses.
    ///
    /// # Errors
    /// As the service's, when the request itself is wrong or not allowed.
    pub async fn hns(&self, method: &str, path: &str, document: Option<&str>) -> Result<Raw> {
        self.request(Request::hns(method, path, document)?).await
    }

    /// Has this connection served as another version of HNS, up to [`HnsVersion::NEWEST`].
    ///
    /// # Errors
    /// As the service's.
    pub async fn set_hns_version(&self, version: HnsVersion) -> Result<()> {
        self.request(Request::set_hns_version(version)?).await
    }

    /// How the service is.
    ///
    /// # Errors
    /// As the service's.
    pub async fn status(&self) -> Result<Status> {
        self.request(Request::status()?).await
    }

    /// What is wrong with the host, or will be; one finding at least of each check.
    ///
    /// # Errors
    /// As the service's.
    pub async fn doctor(&self) -> Result<Vec<Finding>> {
        self.request(Request::doctor()?).await
    }

    /// All records of the service at one moment, as a text for [`Client::restore`].
    ///
    /// # Errors
    /// As the service's.
    pub async fn backup(&self) -> Result<String> {
        self.request(Request::backup()?).await
    }

    /// Puts the records of a backup in the place of all others; answers how many there are. The service then starts over
    /// and closes this connection.
    ///
    /// # Errors
    /// As the service's; nothing is changed.
    pub async fn restore(&self, backup: &str) -> Result<u64> {
        let mut records = 0;
        for (part, more) in request::parts(backup) {
            records = self.request(Request::restore(part, more)?).await?;
        }
        Ok(records)
    }

    /// The metrics of the service, in the text format of Prometheus.
    ///
    /// # Errors
    /// As the service's.
    pub async fn metrics(&self) -> Result<String> {
        self.request(Request::metrics()?).await
    }

    /// Deletes an entity.
    ///
    /// # Errors
    /// As the service's.
    pub async fn delete(&self, kind: Kind, id: Guid) -> Result<()> {
        self.request(Request::delete(kind, id)?).await
    }

    /// Closes a handle.
    ///
    /// # Errors
    /// As the service's.
    pub async fn close(&self, kind: Kind, handle: i64) -> Result<()> {
        self.request(Request::close(kind, handle)?).await
    }

    /// A token with which other connections can join this one's session.
    ///
    /// # Errors
    /// As the service's.
    pub async fn open_session(&self) -> Result<String> {
        self.request(Request::open_session()?).await
    }

    /// Moves this connection into a session; it must hold no handles.
    ///
    /// # Errors
    /// As the service's.
    pub async fn join_session(&self, token: &str) -> Result<()> {
        self.request(Request::join_session(token)?).await
    }

    /// Subscribes to events of these kinds (none = all) on a connection of its own.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or as the service's.
    pub async fn events(&self, kinds: &[Kind]) -> Result<Events> {
        self.subscribe(&[], &request::subscribe(kinds)?).await
    }

    /// Subscribes to what a callback of the C API hears of, on a connection of its own; one that is for the entity of a
    /// handle joins this connection's session.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or as the service's.
    pub async fn register(&self, registration: Registration) -> Result<Events> {
        let call = request::register(registration)?;
        if !registration.needs_session() {
            return self.subscribe(&[], &call).await;
        }
        let token = self.open_session().await?;
        self.subscribe(&[Request::join_session(&token)?], &call).await
    }

    /// Starts a stream on a connection of its own, after requests that prepare it.
    async fn subscribe(&self, before: &[Request<()>], call: &[u8]) -> Result<Events> {
        let lost = |source| Error::Lost(Some(source));
        let stream = connect(&self.path).await?;
        let mut replies = Replies { stream, decoder: reply::decoder(), chunk: vec![0; reply::CHUNK] };
        for request in before {
            replies.stream.write_all(&request.frame).await.map_err(lost)?;
            (request.read)(&replies.next().await??)?;
        }
        replies.stream.write_all(call).await.map_err(lost)?;
        let (first, _) = reply::event(&replies.next().await??)?;
        Ok(Events { replies, registered: first.seq, ended: false })
    }
}

/// Events, as they happen.
#[derive(Debug)]
pub struct Events {
    replies: Replies<UnixStream>,
    registered: u64,
    ended: bool,
}

impl Events {
    /// The number of the last event before the subscription.
    pub fn registered(&self) -> u64 {
        self.registered
    }

    /// The next event; none after the disconnect notice ([`crate::DISCONNECT`]) or an error. Dropping the future
    /// loses no event.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        if self.ended {
            return None;
        }
        let event = self.replies.next().await.and_then(|outcome| reply::event(&outcome?));
        self.ended = !matches!(event, Ok((_, false)));
        Some(event.map(|(event, _)| event))
    }
}

async fn connect(path: &Path) -> Result<UnixStream> {
    let path: PathBuf = path.to_owned();
    UnixStream::connect(&path).await.map_err(|source| Error::Unreachable { path, source })
}

async fn write(
    mut stream: OwnedWriteHalf,
    mut calls: mpsc::Receiver<(Vec<u8>, Answer)>,
    answers: mpsc::UnboundedSender<Answer>,
) {
    while let Some((frame, answer)) = calls.recv().await {
        // When the reader is gone the answer is dropped, which tells the caller.
        if answers.send(answer).is_err() {
            return;
        }
        if stream.write_all(&frame).await.is_err() {
            // The service may have said why; the reader finds that out.
            return;
        }
    }
}

async fn read(stream: OwnedReadHalf, mut answers: mpsc::UnboundedReceiver<Answer>) {
    let mut replies = Replies { stream, decoder: reply::decoder(), chunk: vec![0; reply::CHUNK] };
    while let Some(answer) = answers.recv().await {
        match replies.next().await {
            // The caller may have gone.
            Ok(outcome) => drop(answer.send(outcome)),
            Err(error) => {
                let _ = answer.send(Err(error));
                return;
            }
        }
    }
}

#[derive(Debug)]
struct Replies<S> {
    stream: S,
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl<S: tokio::io::AsyncRead + Unpin> Replies<S> {
    async fn next(&mut self) -> Result<Result<Box<RawValue>>> {
        loop {
            if let Some(outcome) = reply::next(&mut self.decoder)? {
                return Ok(outcome);
            }
            match self.stream.read(&mut self.chunk).await {
                Ok(0) => return Err(Error::Lost(None)),
                Ok(read) => self.decoder.extend(&self.chunk[..read]),
                Err(error) => return Err(Error::Lost(Some(error))),
            }
        }
    }
}
