//! What happens on one connection? Reads calls, hands them on, writes the replies in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hcn_schema::call::Kind;
use hcn_schema::{Error, HResult, Result};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tracing::{debug, info};

use crate::access::Access;
use crate::account::{self, Account, Subject};
use crate::frame::{Decoder, TooLarge, is_nested_deeper};
use crate::interfaces::{self, Method, Unknown, Verb};
use crate::message::{self, Call};
use crate::pipeline::{Asked, Gauge, Job, Pipeline};
use crate::resolve::{self, Resolved};
use crate::server::Users;
use crate::session::{Registry, Session};
use crate::subscribe::Wanted;
use crate::writer::{Awaited, Slot, Writer};
use crate::{Caller, Hub, Limits, Meter, Service, hns, params};

/// Bytes that are read at once.
const CHUNK: usize = 8 << 10;

/// Bytes of the largest backup: as much as a client takes of one.
const BACKUP: usize = 256 << 20;

/// The life of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Calls in flight are finished, new ones refused.
    Stopping,
    /// Connections write what they have and end.
    Closing,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) hub: Hub,
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    pub(crate) registry: Arc<Registry>,
    pub(crate) users: Users,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Connections so far.
    pub(crate) connections: AtomicU64,
}

impl Shared {
    /// The number of a new connection, for the log.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether a request of HNS version 1 goes on at all; nothing but its method and path has been looked at.
    pub(crate) fn admit_hns(&self, caller: &Caller, method: &str, path: &str) -> Result<()> {
        self.access.check_hns(caller, method, path)?;
        self.running()
    }

    fn running(&self) -> Result<()> {
        match *self.phase.borrow() {
            Phase::Running => Ok(()),
            _ => Err(Error::new(HResult::MANAGER_STOPPED, "hcnd is stopping")),
        }
    }

    /// What this caller may use.
    pub(crate) fn limits_of(&self, caller: &Caller) -> Limits {
        if self.access.is_stranger(caller) { self.limits.of_strangers() } else { self.limits }
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter::new(&self.registry, &self.users)
    }
}

/// Why the reader stopped.
enum End {
    Closed,
    Subscribed,
    TooLarge,
}

struct Reader {
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
    stream: OwnedReadHalf,
    decoder: Decoder,
    chunk: Vec<u8>,
    /// Bytes that calls in flight may still have.
    room: Arc<Semaphore>,
    pipeline: Arc<Pipeline>,
    session: Arc<Session>,
    caller: Caller,
    limits: Limits,
    number: u64,
    /// The parts of a backup so far.
    backup: String,
}

/// Serves a connection until it ends.
pub(crate) async fn run(shared: Arc<Shared>, stream: UnixStream, caller: Caller, number: u64) {
    let limits = shared.limits_of(&caller);
    let (input, output) = stream.into_split();
    let (service, gauge) = (Arc::clone(&shared.service), Arc::clone(&shared.gauge));
    let pipeline = Pipeline::new(service, gauge, limits.unwritten_reads);
    debug!(connection = number, uid = caller.uid, pid = caller.pid, "connected");
    let mut reader = Reader {
        phase: shared.phase.clone(),
        stream: input,
        decoder: Decoder::new(limits.message),
        chunk: vec![0; CHUNK],
        room: Arc::new(Semaphore::new(2 * limits.message)),
        pipeline: Arc::clone(&pipeline),
        session: shared.registry.start(caller.uid),
        caller,
        limits,
        number,
        backup: String::new(),
        shared,
    };
    let (sender, slots) = mpsc::channel(limits.in_flight);
    let mut writer = Writer::new(output, Arc::clone(&pipeline), limits);
    let writing = writer.run(slots);
    tokio::pin!(writing);
    tokio::select! {
        end = reader.run(sender) => match end {
            Ok(End::Closed) => writing.await,
            // The writer ends with the subscription, or the client.
            Ok(End::Subscribed) => tokio::select! { () = writing => {}, () = reader.hold() => {} },
            // Closing now would take the reply from a client that is still writing.
            Ok(End::TooLarge) => { tokio::join!(writing, reader.discard()); }
            Err(error) => debug!(connection = number, %error, "cannot read"),
        },
        () = &mut writing => {}
    }
    pipeline.abandon();
    debug!(connection = number, "disconnected");
}

impl Reader {
    async fn run(&mut self, slots: mpsc::Sender<Slot>) -> std::io::Result<End> {
        loop {
            // With no free place the connection is not read.
            let Ok(place) = slots.reserve().await else { return Ok(End::Closed) };
            match self.next_frame().await? {
                Some(Ok(frame)) => match self.take(&frame).await {
                    Some(Slot::Stream(subscription)) => {
                        place.send(Slot::Stream(subscription));
                        return Ok(End::Subscribed);
                    }
                    Some(slot) => place.send(slot),
                    None => {}
                },
                Some(Err(error)) => {
                    let error = Error::new(HResult::LIMIT_EXCEEDED, error.to_string());
                    info!(connection = self.number, %error, "closing");
                    place.send(Slot::Ready(message::failure(&error)));
                    return Ok(End::TooLarge);
                }
                None => return Ok(End::Closed),
            }
        }
    }

    /// The next message; none at the end of the stream or of the server.
    async fn next_frame(&mut self) -> std::io::Result<Option<std::result::Result<Vec<u8>, TooLarge>>> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Ok(Some(Ok(frame))),
                Ok(None) => {}
                Err(error) => return Ok(Some(Err(error))),
            }
            let read = tokio::select! {
                biased;
                read = self.stream.read(&mut self.chunk) => read?,
                _ = self.phase.wait_for(|phase| *phase == Phase::Closing) => 0,
            };
            if read == 0 {
                if self.decoder.pending() > 0 {
                    debug!(
                        connection = self.number,
                        bytes = self.decoder.pending(),
                        "ended inside a message"
                    );
                }
                return Ok(None);
            }
            self.decoder.extend(&self.chunk[..read]);
        }
    }

    /// Decides on a message. None = no reply.
    async fn take(&mut self, frame: &[u8]) -> Option<Slot> {
        let size = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        // Calls in flight together are not larger than two of the largest messages. Nobody closes the semaphore.
        let size = Arc::clone(&self.room).acquire_many_owned(size).await.ok()?;
        let nesting = self.limits.nesting;
        if is_nested_deeper(frame, nesting) {
            return Some(self.failed("", resolve::too_deep(nesting)));
        }
        let call = match Call::parse(frame) {
            Ok(call) => call,
            Err(error) => {
                let error = Error::new(HResult::INVALID_JSON, format!("the message is not a call: {error}"))
                    .expected("{\"method\": …, \"parameters\": {…}}");
                return Some(self.failed("", error));
            }
        };
        let slot = match Method::find(&call.method) {
            Ok(method) => match self.method(method, &call, size).await {
                Ok(slot) => slot,
                Err(error) => self.failed(&call.method, error),
            },
            Err(Unknown::Interface(interface)) => {
                refused("InterfaceNotFound", &serde_json::json!({ "interface": interface }))
            }
            Err(Unknown::Method(method)) => {
                refused("MethodNotFound", &serde_json::json!({ "method": method }))
            }
        };
        (!call.oneway || matches!(slot, Slot::Pending(_))).then_some(slot)
    }

    fn failed(&self, method: &str, error: Error) -> Slot {
        let error = message::shortened(error);
        info!(connection = self.number, method, %error, "refused");
        Slot::Ready(message::failure(&error))
    }

    /// Whether a call of the method goes on at all; nothing of its parameters has been looked at.
    fn admit(&self, method: Method) -> Result<()> {
        self.shared.access.check(&self.caller, method)?;
        self.shared.running()
    }

    fn entity(&self, kind: Kind, verb: Verb, call: &Call, size: OwnedSemaphorePermit) -> Slot {
        let account = self.account(Subject::entity(kind, verb));
        let resolved = self
            .admit(Method::Entity(kind, verb))
            .and_then(|()| resolve::entity(&self.session, kind, verb, call.parameters, self.limits.nesting));
        match resolved {
            Err(error) => ended(account, error),
            Ok(Resolved::Closed) => {
                account.close(Ok(None));
                ready(&params::Empty {})
            }
            Ok(Resolved::Asked(Asked::Entity(asked, room))) => {
                let room = room.filter(|_| !call.oneway);
                self.submit(Asked::Entity(asked, room), account, call, size)
            }
            Ok(Resolved::Asked(asked)) => self.submit(asked, account, call, size),
        }
    }

    fn hns(&self, call: &Call, size: OwnedSemaphorePermit) -> Slot {
        let (method, path) = resolve::hns_target(call.parameters);
        let account = self.account(Subject::hns(&method, &path));
        let resolved = self
            .shared
            .admit_hns(&self.caller, &method, &path)
            .and_then(|()| resolve::hns(call.parameters, self.limits.nesting));
        match resolved {
            Err(error) => ended(account, error),
            Ok(request) => self.submit(Asked::Hns(request), account, call, size),
        }
    }

    fn account(&self, subject: Subject) -> Account {
        Account::open(Arc::clone(&self.shared.service), self.caller.clone(), self.number, subject)
    }

    fn submit(&self, asked: Asked, account: Account, call: &Call, size: OwnedSemaphorePermit) -> Slot {
        let (sender, reply) = oneshot::channel();
        let is_read = !asked.is_change();
        self.pipeline.submit(Job { asked, account, reply: sender });
        Slot::Pending(Awaited { reply, is_read, oneway: call.oneway, _size: size })
    }

    async fn subscribe(&self, call: &Call<'_>) -> Result<Slot> {
        let wanted = Wanted::resolve(&self.session, resolve::parameters(call.parameters)?)?;
        if !call.more || call.oneway {
            return Ok(refused("ExpectedMore", &params::Empty {}));
        }
        // What it is for may be what a call before it makes.
        self.pipeline.settled().await;
        let registration = wanted.registration(&*self.shared.service, &self.caller).await?;
        Ok(Slot::Stream(self.shared.hub.subscribe(&wanted.kinds, registration)))
    }

    async fn method(&mut self, method: Method, call: &Call<'_>, size: OwnedSemaphorePermit) -> Result<Slot> {
        let given = call.parameters;
        // The others are admitted where their answers are accounted for.
        if !matches!(method, Method::Entity(..) | Method::Hns) {
            self.admit(method).inspect_err(|error| {
                if error.code == HResult::ACCESS_DENIED {
                    account::denied(&self.caller, method);
                }
            })?;
        }
        Ok(match method {
            Method::Entity(kind, verb) => self.entity(kind, verb, call, size),
            Method::Hns => self.hns(call, size),
            Method::Subscribe => self.subscribe(call).await?,
            Method::Ping => {
                resolve::parameters::<params::Empty>(given)?;
                ready(&params::Empty {})
            }
            Method::OpenSession => {
                resolve::parameters::<params::Empty>(given)?;
                ready(&params::Token { token: self.session.token() })
            }
            Method::JoinSession => {
                let given: params::JoinSession = resolve::parameters(given)?;
                let token = given.token.ok_or_else(|| resolve::missing("token", "a session's token"))?;
                self.session = self.session.join(&token)?;
                ready(&params::Empty {})
            }
            Method::SetHnsVersion => {
                let given: params::SetHnsVersion = resolve::parameters(given)?;
                let version = given.version.ok_or_else(|| resolve::missing("version", "MAJOR.MINOR"))?;
                self.caller.hns = hns::hns_version(&version)
                    .map_err(|message| resolve::invalid("version", &message, "MAJOR.MINOR, as 15.4"))?;
                ready(&params::Empty {})
            }
            Method::GetInfo => {
                resolve::parameters::<params::Empty>(given)?;
                let (product, version) = product();
                ready(&params::ServiceInfo { product, version, interfaces: interfaces::names() })
            }
            Method::Status => {
                resolve::parameters::<params::Empty>(given)?;
                let status = self.shared.service.status();
                later(call, size, async { message::reply(&status.await, false) })
            }
            Method::Doctor => {
                resolve::parameters::<params::Empty>(given)?;
                let findings = self.shared.service.doctor();
                later(call, size, async { message::reply(&findings.await, false) })
            }
            Method::Backup => {
                resolve::parameters::<params::Empty>(given)?;
                let backup = self.shared.service.backup();
                later(call, size, async { answered(backup.await) })
            }
            Method::Restore => match self.backup_so_far(resolve::parameters(given)?)? {
                None => ready(&params::Restored { records: 0 }),
                Some(text) => {
                    let restored = self.shared.service.restore(&self.caller, text);
                    later(call, size, async { answered(restored.await) })
                }
            },
            Method::Metrics => {
                resolve::parameters::<params::Empty>(given)?;
                let metrics = self.shared.service.metrics(self.shared.meter().read());
                later(call, size, async { message::reply(&params::Metrics { text: metrics.await }, false) })
            }
            Method::GetVarlinkInfo => {
                let (product, version) = product();
                let url = "https://varlink.org/".to_owned();
                let interfaces = interfaces::names();
                ready(&params::VarlinkInfo { vendor: product.clone(), product, version, url, interfaces })
            }
            Method::GetInterfaceDescription => describe(resolve::parameters(given)?)?,
        })
    }

    /// The whole backup, if this was its last part.
    fn backup_so_far(&mut self, given: params::Restore) -> Result<Option<String>> {
        let text = given.text.ok_or_else(|| resolve::missing("text", "a backup"))?;
        if self.backup.len() + text.len() > BACKUP {
            self.backup = String::new();
            let message = format!("a backup has {BACKUP} bytes at most");
            return Err(Error::new(HResult::LIMIT_EXCEEDED, message).at("text"));
        }
        self.backup.push_str(&text);
        Ok((!given.more.unwrap_or_default()).then(|| std::mem::take(&mut self.backup)))
    }

    /// Waits until the client of a subscription is gone. Calls behind it are not decided: they would never be
    /// answered.
    async fn hold(&mut self) {
        while let Ok(read @ 1..) = self.stream.read(&mut self.chunk).await {
            self.decoder.extend(&self.chunk[..read]);
            if self.decoder.pending() > self.limits.message {
                return;
            }
        }
    }

    /// Reads away the rest of a message that is too large.
    async fn discard(&mut self) {
        let rest = async { while let Ok(1..) = self.stream.read(&mut self.chunk).await {} };
        // Whoever has not read the reply by then will not.
        let _ = tokio::time::timeout(self.limits.grace, rest).await;
    }
}

fn ended(account: Account, error: Error) -> Slot {
    let error = message::shortened(error);
    account.close(Err(&error));
    Slot::Ready(message::failure(&error))
}

fn ready<P: serde::Serialize>(results: &P) -> Slot {
    Slot::Ready(message::reply(results, false))
}

fn answered<P: serde::Serialize>(outcome: Result<P>) -> Vec<u8> {
    match outcome {
        Ok(results) => message::reply(&results, false),
        Err(error) => message::failure(&message::shortened(error)),
    }
}

/// A place for a reply that takes a moment.
fn later(
    call: &Call,
    size: OwnedSemaphorePermit,
    frame: impl Future<Output = Vec<u8>> + Send + 'static,
) -> Slot {
    let (sender, reply) = oneshot::channel();
    // Nobody may be there to read it.
    tokio::spawn(async move { drop(sender.send(frame.await)) });
    Slot::Pending(Awaited { reply, is_read: false, oneway: call.oneway, _size: size })
}

fn refused<P: serde::Serialize>(error: &str, parameters: &P) -> Slot {
    Slot::Ready(message::refusal(&format!("org.varlink.service.{error}"), parameters))
}

fn product() -> (String, String) {
    ("hcnd".to_owned(), env!("CARGO_PKG_VERSION").to_owned())
}

fn describe(given: params::GetInterfaceDescription) -> Result<Slot> {
    let name = given.interface.ok_or_else(|| resolve::missing("interface", "the name of an interface"))?;
    Ok(match interfaces::ALL.iter().find(|(known, _)| *known == name) {
        Some((_, description)) => ready(&params::Description { description: (*description).to_owned() }),
        None => {
            let mut name = name;
            message::shorten(&mut name);
            refused("InterfaceNotFound", &serde_json::json!({ "interface": name }))
        }
    })
}
