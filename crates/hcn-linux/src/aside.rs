//! What may hang for a reason of one container's is done by a thread of its own, and waited for for a limited time: opening
//! a path, whose file system may not answer, and changing rules in a namespace, whose root can hold the kernel's lock
//! of them. All else that hcnd asks of the kernel waits for locks that the whole host shares.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

/// What takes longer hangs. All others wait meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// So many threads may hang at a time.
const AT_MOST: usize = 8;

type Work = Box<dyn FnOnce() + Send>;

/// The way to the thread.
#[derive(Default)]
pub(crate) struct Aside {
    helper: Option<Sender<Work>>,
    /// Each thread has one.
    alive: Arc<()>,
    /// Test hook: what is done next takes so much longer.
    pub(crate) lag: Option<Duration>,
}

/// What came in time, or where it comes when it comes.
pub(crate) enum Outcome<T> {
    Done(T),
    Hangs(Receiver<T>),
}

impl Aside {
    /// Makes sure that the next thing can be done.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        if self.helper.is_none() {
            self.helper = Some(self.start()?);
        }
        Ok(())
    }

    /// Does something that may hang, and waits for it so long.
    ///
    /// # Errors
    /// No thread can be had for it, since too many hang already (EAGAIN); or it panicked.
    pub(crate) fn run<T: Send + 'static>(
        &mut self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Outcome<T>> {
        self.prepare()?;
        let (done, answer) = channel();
        let lag = self.lag.take();
        let work = move || {
            lag.into_iter().for_each(thread::sleep);
            // It may not be waited for any more.
            drop(done.send(work()));
        };
        let helper = self.helper.take().ok_or_else(died)?;
        helper.send(Box::new(work)).map_err(|_| died())?;
        match answer.recv_timeout(patience) {
            Ok(result) => {
                self.helper = Some(helper);
                Ok(Outcome::Done(result))
            }
            // It ends when it has done this.
            Err(RecvTimeoutError::Timeout) => Ok(Outcome::Hangs(answer)),
            Err(RecvTimeoutError::Disconnected) => Err(died()),
        }
    }

    fn start(&self) -> io::Result<Sender<Work>> {
        if Arc::strong_count(&self.alive) > AT_MOST {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let (helper, orders) = channel::<Work>();
        let alive = Arc::clone(&self.alive);
        thread::Builder::new().name("aside".to_owned()).spawn(move || {
            for work in orders {
                work();
            }
            drop(alive);
        })?;
        Ok(helper)
    }
}

/// Does what may hang for each path, and begins nothing with one that hangs still.
pub(crate) struct Paths<T> {
    aside: Aside,
    hanging: HashMap<PathBuf, Receiver<T>>,
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { aside: Aside::default(), hanging: HashMap::new() }
    }
}

impl<T: Send + 'static> Paths<T> {
    /// Does something with a path.
    ///
    /// # Errors
    /// ETIMEDOUT when it hangs, or still hangs; or as [`Aside::run`].
    pub(crate) fn run(
        &mut self,
        path: &Path,
        work: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> io::Result<T> {
        self.hanging.retain(|_, end| matches!(end.try_recv(), Err(TryRecvError::Empty)));
        if self.hanging.contains_key(path) {
            return Err(hangs());
        }
        let own = path.to_owned();
        match self.aside.run(PATIENCE, move || work(&own))? {
            Outcome::Done(result) => Ok(result),
            Outcome::Hangs(end) => {
                self.hanging.insert(path.to_owned(), end);
                Err(hangs())
            }
        }
    }

    /// Test hook: what is done next takes so much longer.
    pub(crate) fn delay(&mut self, lag: Duration) {
        self.aside.lag = Some(lag);
    }
}

/// The error for what hangs.
pub(crate) fn hangs() -> io::Error {
    io::Error::from_raw_os_error(libc::ETIMEDOUT)
}

fn died() -> io::Error {
    io::Error::other("the thread for what may hang has panicked")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_hangs_is_left_and_its_answer_comes_later() {
        let mut aside = Aside { lag: Some(PATIENCE + Duration::from_millis(500)), ..Aside::default() };
        let Outcome::Hangs(later) = aside.run(PATIENCE, || 1).unwrap() else {
            unreachable!("it should have hung")
        };
        let begun = Instant::now();
        assert!(matches!(aside.run(PATIENCE, || 2), Ok(Outcome::Done(2))));
        assert!(begun.elapsed() < PATIENCE / 4, "the next one waited");
        assert_eq!(later.recv_timeout(PATIENCE).unwrap(), 1);
    }

    #[test]
    fn no_more_threads_hang_than_may() {
        let mut aside = Aside::default();
        let (keep, kept) = channel::<()>();
        let kept = Arc::new(std::sync::Mutex::new(kept));
        let hang = |aside: &Aside| {
            let (helper, kept) = (aside.start()?, Arc::clone(&kept));
            let wait = move || kept.lock().unwrap().recv().unwrap_or_default();
            helper.send(Box::new(wait)).map_err(|_| died())
        };
        for _ in 0..AT_MOST {
            hang(&aside).unwrap();
        }
        let error = aside.run(PATIENCE, || ()).map(|_| ()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        drop(keep);
        let begun = Instant::now();
        while aside.run(PATIENCE, || ()).is_err() {
            assert!(begun.elapsed() < PATIENCE, "they have not ended");
            thread::yield_now();
        }
    }
}
