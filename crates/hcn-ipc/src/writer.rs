//! In which order are replies written? In that of the calls, each as soon as it is there; events to the end.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::pipeline::{Pipeline, broken_off};
use crate::{Limits, Notice, Subscription};

/// Bytes that are at least written at once.
const CHUNK: usize = 8 << 10;

/// A place in the order of replies.
pub(crate) enum Slot {
    Ready(Vec<u8>),
    /// To come.
    Pending(Awaited),
    /// The last place: replies until the end.
    Stream(Subscription),
}

pub(crate) struct Awaited {
    pub(crate) reply: oneshot::Receiver<Vec<u8>>,
    /// Reads are limited in number until they are written.
    pub(crate) is_read: bool,
    /// Nobody wants the reply; the call keeps its place all the same, so that it counts as in flight.
    pub(crate) oneway: bool,
    /// The size of the call, counted until it is answered.
    pub(crate) _size: OwnedSemaphorePermit,
}

/// Writes the replies of one connection.
pub(crate) struct Writer {
    stream: OwnedWriteHalf,
    buffer: Vec<u8>,
    pipeline: Arc<Pipeline>,
    limits: Limits,
}

impl Writer {
    pub(crate) fn new(stream: OwnedWriteHalf, pipeline: Arc<Pipeline>, limits: Limits) -> Self {
        Self { stream, buffer: Vec::new(), pipeline, limits }
    }

    /// Writes replies until there are no more places, or the client is gone.
    pub(crate) async fn run(&mut self, mut slots: mpsc::Receiver<Slot>) {
        while let Some(slot) = slots.recv().await {
            let written = match slot {
                Slot::Ready(frame) => self.write(&frame, slots.is_empty()).await,
                Slot::Pending(Awaited { reply, is_read, oneway, _size }) => {
                    let written = match self.wait(reply).await {
                        Ok(frame) if !oneway => self.write(&frame, slots.is_empty()).await,
                        Ok(_) => Ok(()),
                        Err(error) => Err(error),
                    };
                    if is_read {
                        self.pipeline.read_written();
                    }
                    written
                }
                Slot::Stream(subscription) => return self.stream(subscription).await,
            };
            if written.is_err() {
                return;
            }
        }
    }

    async fn wait(&mut self, mut reply: oneshot::Receiver<Vec<u8>>) -> std::io::Result<Vec<u8>> {
        match reply.try_recv() {
            Ok(frame) => return Ok(frame),
            Err(oneshot::error::TryRecvError::Closed) => return Ok(broken_off()),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        // What is there already must not wait for what is not.
        self.flush().await?;
        Ok(reply.await.unwrap_or_else(|_| broken_off()))
    }

    async fn write(&mut self, frame: &[u8], now: bool) -> std::io::Result<()> {
        self.buffer.extend_from_slice(frame);
        if now || self.buffer.len() >= CHUNK { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        let result = self.stream.write_all(&self.buffer).await;
        self.buffer.clear();
        self.buffer.shrink_to(4 * CHUNK);
        result
    }

    async fn stream(&mut self, mut subscription: Subscription) {
        let grace = self.limits.grace;
        let registered = subscription.registered();
        let cut = subscription.cut();
        let spread = async {
            self.write(&registered, true).await?;
            loop {
                let mut notice = subscription.next().await;
                loop {
                    match notice {
                        Notice::Event(frame) => self.write(&frame, false).await?,
                        Notice::Disconnect(frame) => return self.write(&frame, true).await,
                    }
                    let Some(next) = subscription.try_next() else { break };
                    notice = next;
                }
                self.flush().await?;
            }
        };
        // One who is cut off gets what is queued for it, if it takes it in time.
        let cut = async {
            cut.await;
            tokio::time::sleep(grace).await;
        };
        let _: std::io::Result<()> = tokio::select! { spread = spread => spread, () = cut => Ok(()) };
    }
}
