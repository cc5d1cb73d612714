//! HNS version 1 over HTTP/1.1: GET, POST and DELETE of its paths, with the envelope as body. Who may do what is decided
//! as for calls, and the status says the same as the envelope.

use std::convert::Infallible;
use std::time::Duration;

use hcn_ipc::{ErrorClass, HnsDoor, HnsVisitor, Limits, hns_version};
use hcn_schema::{Error, HResult, Raw};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, EXPECT, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::{BREATH, Reply, reply, server};

/// How long a client may take nothing of a reply.
const STALLED: Duration = Duration::from_secs(30);
/// For the head of a request; a connection without one is closed after that time too.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// For a request's document.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// The header that asks for an older version of HNS.
const VERSION: &str = "hns-version";
const METHODS: &str = "GET, POST, DELETE";
const JSON: &str = "application/json";

/// Serves the socket until the door closes, and then until the requests under way are answered, within `grace`.
pub(crate) async fn serve(listener: UnixListener, door: HnsDoor, grace: Duration) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = door.closed() => break,
        };
        match accepted.and_then(|(stream, _)| Ok((door.enter(&stream)?, stream))) {
            Ok((Ok(visitor), stream)) => {
                connections.spawn(converse(stream, visitor, door.clone()));
            }
            Ok((Err(error), stream)) => refuse(&stream, &error),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for HNS version 1");
                sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    // Whoever has not taken the reply by then will not.
    let _ = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn converse(stream: UnixStream, visitor: HnsVisitor, door: HnsDoor) {
    let answered = service_fn(|request| answer(&visitor, request));
    // Whoever does not take a reply does not keep it either.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALLED));
    let connection = server(HEAD_DEADLINE).serve_connection(TokioIo::new(Box::pin(stream)), answered);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = door.closed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection for HNS version 1 broke off");
    }
}

/// Answers a connection that gets no further. A fresh one takes that much at once; if not, its end says enough.
fn refuse(stream: &UnixStream, error: &Error) {
    let body = envelope(error);
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.get().len()
    );
    let _ = stream.try_write(format!("{head}{}", body.get()).as_bytes());
}

async fn answer(visitor: &HnsVisitor, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let (head, mut body) = request.into_parts();
    let (status, envelope) = match attempt(visitor, &head, &mut body).await {
        Ok(envelope) => (status_of(outcome(&envelope)), envelope),
        Err(refusal) => {
            // A client that waits for leave to send its document is answered at once; one that is sending it would not
            // read before it has sent all.
            if !head.headers.contains_key(EXPECT) {
                discard(&mut body, visitor.limits()).await;
            }
            let Refusal { status, error } = refusal;
            (status, envelope(&error))
        }
    };
    let mut reply = reply(status, JSON, envelope.get().to_owned());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
    }
    Ok(reply)
}

/// A request that does not reach the service.
struct Refusal {
    status: StatusCode,
    error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { status: status_of(error.code), error }
    }
}

async fn attempt(visitor: &HnsVisitor, head: &Parts, body: &mut Incoming) -> Result<Raw, Refusal> {
    let (method, path) = (head.method.as_str(), head.uri.path());
    if !["GET", "POST", "DELETE"].contains(&method) {
        let error = Error::new(HResult::INVALID_ARGUMENT, format!("there is no method {method}"));
        return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, error });
    }
    let mut admitted = visitor.admit(method, path)?;
    let version = match wanted_version(&head.headers) {
        Ok(version) => version,
        Err(error) => return Err(admitted.refuse(error).into()),
    };
    if let Some(version) = version {
        admitted.set_version(version);
    }
    let read = timeout(BODY_DEADLINE, read(body, visitor.limits())).await;
    let document = match read.unwrap_or_else(|_| Err(too_slow())) {
        Ok(document) => document,
        Err(Refusal { status, error }) => return Err(Refusal { status, error: admitted.refuse(error) }),
    };
    Ok(admitted.carry_out(document).await?)
}

fn wanted_version(headers: &HeaderMap) -> hcn_schema::Result<Option<hcn_schema::hns::HnsVersion>> {
    let Some(value) = headers.get(VERSION) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    hns_version(&text).map(Some).map_err(|message| Error::new(HResult::INVALID_ARGUMENT, message))
}

/// The document of a request; none if it is empty.
async fn read(body: &mut Incoming, limits: Limits) -> Result<Option<String>, Refusal> {
    let too_large = || {
        let message = format!("the document is larger than {} bytes", limits.message);
        let error = Error::new(HResult::LIMIT_EXCEEDED, message);
        Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, error }
    };
    if usize::try_from(body.size_hint().lower()).is_ok_and(|length| length > limits.message) {
        return Err(too_large());
    }
    let mut document = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Error::new(HResult::INVALID_JSON, format!("the document did not arrive: {error}"))
        })?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if document.len() + data.len() > limits.message {
            drop(document);
            discard(body, limits).await;
            return Err(too_large());
        }
        document.extend_from_slice(&data);
    }
    let text = String::from_utf8(document)
        .map_err(|error| Error::new(HResult::INVALID_JSON, format!("the document is no text: {error}")))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Reads away the rest of a request.
async fn discard(body: &mut Incoming, limits: Limits) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever has not sent it by then will not.
    let _ = timeout(limits.grace, rest).await;
}

fn too_slow() -> Refusal {
    let message = format!("the document did not arrive within {} s", BODY_DEADLINE.as_secs());
    Refusal { status: StatusCode::REQUEST_TIMEOUT, error: Error::new(HResult::TIMEOUT, message) }
}

/// The envelope of a failure (contract 5.1).
fn envelope(error: &Error) -> Raw {
    Raw::of(&error.record())
}

/// The code that an envelope tells.
fn outcome(envelope: &Raw) -> HResult {
    #[derive(Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Outcome {
        success: bool,
        error_code: u32,
    }
    impl Default for Outcome {
        fn default() -> Self {
            Self { success: false, error_code: HResult::GENERAL_FAILURE.0 }
        }
    }
    let Outcome { success, error_code } = serde_json::from_str(envelope.get()).unwrap_or_default();
    if success { HResult::OK } else { HResult(error_code) }
}

/// The status that goes with a code.
fn status_of(code: HResult) -> StatusCode {
    match code {
        HResult::OK => StatusCode::OK,
        HResult::NOT_FOUND | HResult::NETWORK_NOT_FOUND | HResult::ENDPOINT_NOT_FOUND => {
            StatusCode::NOT_FOUND
        }
        HResult::NOT_IMPLEMENTED => StatusCode::NOT_IMPLEMENTED,
        _ => match ErrorClass::of(code) {
            // What else is not found is something that the document names.
            ErrorClass::NotFound | ErrorClass::Invalid => StatusCode::BAD_REQUEST,
            ErrorClass::Conflict => StatusCode::CONFLICT,
            ErrorClass::Denied => StatusCode::FORBIDDEN,
            ErrorClass::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorClass::Timeout | ErrorClass::Failure => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

#[cfg(test)]
mod tests;
