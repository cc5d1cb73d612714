//! GET /metrics for Prometheus, and nothing else: one request a connection, short and soon.

use std::sync::Arc;
use std::time::Duration;

use hcn_ipc::{Meter, Service as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::service::Service;

/// Bytes of a request's head.
const HEAD: usize = 8 << 10;
/// For a request and its answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Requests at once; further ones wait to be accepted.
const TOGETHER: usize = 8;

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
                    // A client that is too slow, or gone, gets no answer.
                    let _ = timeout(DEADLINE, answer(stream, &service, &meter)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, service: &Service, meter: &Meter) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    let complete = loop {
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            break true;
        }
        let read = stream.read(&mut chunk).await?;
        head.extend_from_slice(&chunk[..read]);
        if read == 0 || head.len() > HEAD {
            break false;
        }
    };
    let head = String::from_utf8_lossy(&head);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next().unwrap_or_default(), words.next());
    let path = target.split('?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        _ if !complete || !version.is_some_and(|version| version.starts_with("HTTP/1.")) => {
            ("400 Bad Request", "not a request of HTTP/1\n".to_owned())
        }
        (Some("GET"), "/metrics") => ("200 OK", service.metrics(meter.read()).await),
        (Some("GET"), _) => ("404 Not Found", "there is only /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed\r\nAllow: GET", "there is only GET\n".to_owned()),
    };
    let length = body.len();
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use hcn_dataplane::Fake;
    use hcn_ipc::{Hub, Limits, Server};
    use hcn_schema::hns::HnsVersion;
    use hcn_store::{Loaded, Store};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::access::access;
    use crate::worker::Worker;

    async fn start() -> (std::net::SocketAddr, JoinHandle<()>) {
        let (worker, _) = Worker::start(Box::new(Fake::new())).unwrap();
        let store = Store::in_memory().unwrap();
        let service = Service::start(worker, store, &Loaded::default(), Hub::new()).await;
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
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(body.contains("\nhcnd_entities{kind=\"Network\"} 0\n"), "{body}");
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
            (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", "200"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"GET /metrics\r\n\r\n", "400"),
            (b"GET /metrics HTTP/1.1\r\n", "400"),
            (b"\0\xff\r\n\r\n", "400"),
            (b"", "400"),
        ] {
            let reply = reply(address, request).await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {reply}");
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
