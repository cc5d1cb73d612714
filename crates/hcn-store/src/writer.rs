//! The thread that writes. What was asked while it waited for the disk goes into the next transaction together.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::{io, thread};

use redb::Database;
use tokio::sync::oneshot;

use crate::error::CommitError;
use crate::record::Record;
use crate::schema::{self, Step};
use crate::{Era, file};

/// More changes than this wait for the transaction after the next.
const AT_MOST: usize = 512;

type Outcome = Result<(), CommitError>;

enum Request {
    Write { steps: Vec<Step>, reply: oneshot::Sender<Outcome> },
    Replace { records: Vec<Record>, era: Era, reply: Sender<Outcome> },
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Mutex<Option<Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// For tests: how many of the next commits fail.
    failing: Arc<AtomicUsize>,
}

impl Writer {
    /// `path`: where to open the file again after an error.
    pub(crate) fn start(database: Database, path: Option<PathBuf>) -> io::Result<Self> {
        let (queue, requests) = channel();
        let failing = Arc::new(AtomicUsize::new(0));
        let file = Open { database: Some(database), path, failing: Arc::clone(&failing) };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || run(file, &requests))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), failing })
    }

    pub(crate) fn write(&self, steps: Vec<Step>, reply: oneshot::Sender<Outcome>) -> Outcome {
        self.send(Request::Write { steps, reply })
    }

    pub(crate) fn replace(&self, records: Vec<Record>, era: Era, reply: Sender<Outcome>) -> Outcome {
        self.send(Request::Replace { records, era, reply })
    }

    pub(crate) fn fail(&self, count: usize) {
        self.failing.store(count, Ordering::Relaxed);
    }

    fn send(&self, request: Request) -> Outcome {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = queue.as_ref().is_some_and(|queue| queue.send(request).is_ok());
        if sent { Ok(()) } else { Err(CommitError::Stopped) }
    }
}

impl Drop for Writer {
    /// Lets the thread finish what it was given.
    fn drop(&mut self) {
        drop(self.queue.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the state panicked");
        }
    }
}

fn run(mut file: Open, requests: &Receiver<Request>) {
    // A closed channel still gives what it holds.
    while let Ok(first) = requests.recv() {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match request {
                Request::Write { steps, reply } => {
                    batch.push((steps, reply));
                    if batch.len() < AT_MOST {
                        next = requests.try_recv().ok();
                    }
                }
                Request::Replace { records, era, reply } => {
                    file.commit(std::mem::take(&mut batch));
                    // Whoever asked may have given up.
                    let _ = reply.send(file.attempt(|database| schema::replace(database, &records, &era)));
                    next = requests.try_recv().ok();
                }
            }
        }
        file.commit(batch);
    }
}

/// The open file, or the place where it is when it could not be opened again.
struct Open {
    database: Option<Database>,
    path: Option<PathBuf>,
    failing: Arc<AtomicUsize>,
}

impl Open {
    /// Writes changes together; if that fails each alone, so that one cannot fail the others.
    fn commit(&mut self, batch: Vec<(Vec<Step>, oneshot::Sender<Outcome>)>) {
        if batch.is_empty() {
            return;
        }
        let (changes, replies): (Vec<Vec<Step>>, Vec<_>) = batch.into_iter().unzip();
        let together = self.attempt(|database| schema::write(database, &changes));
        let alone = together.is_err() && changes.len() > 1;
        let mut outcome = Some(together);
        for (change, reply) in changes.into_iter().zip(replies) {
            let outcome = match outcome.take() {
                Some(Ok(())) => {
                    outcome = Some(Ok(()));
                    Ok(())
                }
                Some(failed) if !alone => failed,
                _ => self.attempt(|database| schema::write(database, &[change])),
            };
            // Whoever asked may have given up.
            let _ = reply.send(outcome);
        }
    }

    /// Works on the file; after an error it is opened again, since the database refuses all work from then on.
    fn attempt(&mut self, work: impl FnOnce(&Database) -> Outcome) -> Outcome {
        let failing = self.failing.load(Ordering::Relaxed);
        if failing > 0 {
            self.failing.store(failing - 1, Ordering::Relaxed);
            return Err(CommitError::Io(io::Error::other("injected failure")));
        }
        if self.database.is_none() {
            self.reopen()?;
        }
        let Some(database) = &self.database else { return Err(CommitError::Stopped) };
        let outcome = file::unpanicked(|| work(database))
            .unwrap_or_else(|| Err(CommitError::Damaged("writing it fails".to_owned())));
        if outcome.is_err() && self.path.is_some() {
            self.close();
        }
        outcome
    }

    fn close(&mut self) {
        let database = self.database.take();
        if file::unpanicked(|| drop(database)).is_none() {
            tracing::error!("closing the damaged state fails");
        }
    }

    fn reopen(&mut self) -> Outcome {
        let Some(path) = &self.path else { return Err(CommitError::Stopped) };
        let opened = open_again(path)?;
        self.database = Some(opened);
        Ok(())
    }
}

fn open_again(path: &Path) -> Result<Database, CommitError> {
    file::reopen(path).map_err(|error| match error {
        crate::OpenError::Io(error) => CommitError::Io(error),
        other => CommitError::Damaged(other.to_string()),
    })
}
