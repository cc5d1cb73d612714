//! GET /metrics for Prometheus, and nothing else: one request a connection, short and soon.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hcn_ipc::{Meter, Service as _};
use hyper::header::{ALLOW, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{BREATH, Reply, reply, server};
use crate::service::Service;

/// For a request and its answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Requests at once; further ones wait to be accepted.
const TOGETHER: usize = 8;
/// The text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, service: Service, meter: Meter) {
    let places = Arc::new(Semaphore::new(TOGETHER));
    loop {
        // Nobody closes the semaphore.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (service, meter) = (service.clone(), meter.clone());
                tokio::spawn(async move {
                    let answered = service_fn(|request| answer(request, &service, &meter));
                    let connection =
                        server(DEADLINE).keep_alive(false).serve_connection(TokioIo::new(stream), answered);
                    // A client that is too slow, or gone, gets no answer.
                    let _ = timeout(DEADLINE, connection).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                sleep(BREATH).await;
            }
        }
    }
}

async fn answer<B>(request: Request<B>, service: &Service, meter: &Meter) -> Result<Reply, Infallible> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => reply(StatusCode::OK, TEXT, service.metrics(meter.read()).await),
        (&Method::GET, _) => reply(StatusCode::NOT_FOUND, TEXT, "there is only /metrics\n".to_owned()),
        _ => {
            let mut reply = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "there is only GET\n".to_owned());
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            reply
        }
    })
}

#[cfg(test)]
mod tests {
    use hcn_core::Settings;
    use hcn_dataplane::Fake;
    use hcn_ipc::{Hub, Limits, Server};
    use hcn_schema::hns::HnsVersion;
    use hcn_store::{Loaded, Store};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::access::access;
    use crate::state::Restored;
    use crate::status::Probe;
    use crate::worker::Worker;

    async fn start() -> (std::net::SocketAddr, JoinHandle<()>) {
        let (worker, _) = Worker::start(Box::new(Fake::new())).unwrap();
        let restored = Restored::from_store(Store::in_memory().unwrap(), Loaded::default());
        let service = Service::start(worker, restored, Hub::new(), Settings::default(), Probe::none()).await;
        let access = access(&crate::config::Access::default(), HnsVersion::NEWEST);
        let server = Server::new(Arc::new(service.clone()), Hub::new(), Limits::default(), access);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (address, tokio::spawn(serve(listener, service, server.meter())))
    }

    async fn reply(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = String::new();
        // What was too long may be cut off by a reset.
        let _ = stream.read_to_string(&mut reply).await;
        reply
    }

    #[tokio::test]
    async fn the_metrics_are_given_and_nothing_else_is() {
        let (address, _server) = start().await;
        let metrics = reply(address, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (head, body) = metrics.split_once("\r\n\r\n").unwrap();
        let lines: Vec<&str> = head.lines().collect();
        assert_eq!(lines[0], "HTTP/1.1 200 OK");
        for header in [
            &format!("content-type: {TEXT}"),
            &format!("content-length: {}", body.len()),
            "connection: close",
        ] {
            assert!(lines.contains(&header), "{header} is not in {head}");
        }
        assert!(body.contains("\nhcnd_entities{kind=\"Network\"} 0\n"), "{body}");
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
            (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", "200"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"GET /metrics\r\n\r\n", "400"),
            (b"\0\xff\r\n\r\n", "400"),
        ] {
            let reply = reply(address, request).await;
            assert!(reply.split(' ').nth(1) == Some(status), "{request:?}: {reply}");
        }
        for unfinished in [&b"GET /metrics HTTP/1.1\r\n"[..], b""] {
            assert_eq!(reply(address, unfinished).await, "");
        }
    }

    #[tokio::test]
    async fn an_endless_request_is_cut_off() {
        let (address, _server) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let line = [b'x'; 1024];
        let written = async { while stream.write_all(&line).await.is_ok() {} };
        timeout(Duration::from_secs(20), written).await.expect("it is read for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_left_after_the_deadline() {
        let (address, _server) = start().await;
        let mut silent = Vec::new();
        for _ in 0..TOGETHER {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        // All places are taken until then.
        let metrics = reply(address, b"GET /metrics HTTP/1.1\r\n\r\n").await;
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert_eq!(silent[0].read(&mut [0; 8]).await.unwrap_or(0), 0);
    }
}
