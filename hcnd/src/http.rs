//! HTTP/1.1 as hcnd serves it: the metrics for Prometheus on TCP, and HNS version 1 on a unix socket. Here is what the
//! two have in common.

pub(crate) mod hns;
pub(crate) mod metrics;

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioTimer;

/// Bytes of a request's head, and of what is read at once.
const HEAD: usize = 8 << 10;

/// After an error of `accept`: most likely no file descriptors are left, and they come back when connections end.
const BREATH: Duration = Duration::from_millis(100);

type Reply = Response<Full<Bytes>>;

/// A server of connections whose clients send the head of each request within `deadline`.
fn server(deadline: Duration) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(deadline).max_buf_size(HEAD);
    // A client that has written all it wants to may say so and still read the reply.
    server.half_close(true);
    server
}

fn reply(status: StatusCode, content: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    reply
}
