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
use crate::schema::{self, Doubt, Step};
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
        let file =
            Open { database: Some(database), path, doubt: Doubt::new(), failing: Arc::clone(&failing) };
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
                    let _ = reply.send(file.replace(&records, &era));
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
    /// To be put back before anything else is written.
    doubt: Doubt,
    failing: Arc<AtomicUsize>,
}

impl Open {
    /// Writes changes together; if that fails each alone, so that one cannot fail the others.
    fn commit(&mut self, batch: Vec<(Vec<Step>, oneshot::Sender<Outcome>)>) {
        if batch.is_empty() {
            return;
        }
        let (changes, replies): (Vec<Vec<Step>>, Vec<_>) = batch.into_iter().unzip();
        let outcomes = match self.write(&changes) {
            Err(_) if changes.len() > 1 => changes.into_iter().map(|change| self.write(&[change])).collect(),
            Err(error) => vec![Err(error)],
            Ok(()) => replies.iter().map(|_| Ok(())).collect(),
        };
        if !self.doubt.is_empty()
            && let Err(error) = self.write(&[])
        {
            tracing::warn!(%error, "a change that failed may be in the file until the next one succeeds");
        }
        for (outcome, reply) in outcomes.into_iter().zip(replies) {
            // Whoever asked may have given up.
            let _ = reply.send(outcome);
        }
    }

    fn write(&mut self, changes: &[Vec<Step>]) -> Outcome {
        let mut doubt = std::mem::take(&mut self.doubt);
        let outcome = self.attempt(|database| schema::write(database, &mut doubt, changes));
        self.doubt = doubt;
        outcome
    }

    fn replace(&mut self, records: &[Record], era: &Era) -> Outcome {
        let outcome = self.attempt(|database| schema::replace(database, records, era));
        if outcome.is_ok() {
            self.doubt.clear();
        }
        outcome
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::AtomicBool;

    use redb::StorageBackend;
    use redb::backends::FileBackend;

    use super::*;
    use crate::record::Key;

    /// A file that is written, and then cannot be synced, once for each time that it is told so.
    #[derive(Debug)]
    struct Unsynced {
        file: FileBackend,
        fails: Arc<AtomicBool>,
    }

    impl StorageBackend for Unsynced {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.file.set_len(len)
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.file.write(offset, data)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.file.sync_data()?;
            if self.fails.swap(false, Ordering::Relaxed) { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        }
    }

    fn key(n: u8) -> Key {
        [n; 17]
    }

    fn write(n: u8, value: &[u8]) -> Vec<Step> {
        vec![Step::Write(Record { key: key(n), value: value.to_vec(), incarnation: 1 })]
    }

    /// A new file, which cannot be synced the next time that `fails` says so.
    fn unsynced(path: &Path, fails: &Arc<AtomicBool>) -> Database {
        drop(file::open(path).unwrap());
        let file = File::options().read(true).write(true).open(path).unwrap();
        let backend = Unsynced { file: FileBackend::new(file).unwrap(), fails: Arc::clone(fails) };
        Database::builder().create_with_backend(backend).unwrap()
    }

    #[test]
    fn what_failed_after_it_was_written_is_taken_back() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("state");
        let fails = Arc::new(AtomicBool::new(false));
        let writer = Writer::start(unsynced(&path, &fails), Some(path.clone())).unwrap();
        let commit = |steps: Vec<Step>| {
            let (reply, answer) = oneshot::channel();
            writer.write(steps, reply).unwrap();
            answer.blocking_recv().unwrap()
        };
        commit(write(1, b"old")).unwrap();
        commit(write(2, b"old")).unwrap();
        fails.store(true, Ordering::Relaxed);
        let change = [write(1, b"new"), vec![Step::Delete(key(2))], write(3, b"new")].concat();
        assert!(matches!(commit(change), Err(CommitError::Io(_))));
        drop(writer);
        let wanted = [(key(1), b"old".to_vec()), (key(2), b"old".to_vec())];
        assert_eq!(schema::records(&file::reopen(&path).unwrap()), wanted);
    }

    #[test]
    fn of_a_transaction_that_failed_after_it_was_written_each_change_is_tried_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("state");
        let fails = Arc::new(AtomicBool::new(false));
        let database = Some(unsynced(&path, &fails));
        let mut file =
            Open { database, path: Some(path.clone()), doubt: Doubt::new(), failing: Arc::default() };
        let changes = [write(1, b"a"), [write(1, b"b"), write(2, b"b")].concat(), vec![Step::Delete(key(1))]];
        let (batch, answers): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .map(|steps| {
                let (reply, answer) = oneshot::channel();
                ((steps, reply), answer)
            })
            .unzip();
        fails.store(true, Ordering::Relaxed);
        file.commit(batch);
        for answer in answers {
            answer.blocking_recv().unwrap().unwrap();
        }
        drop(file);
        assert_eq!(schema::records(&file::reopen(&path).unwrap()), [(key(2), b"b".to_vec())]);
    }
}
