//! Who wants to hear of what happens? Each registration has a connection and a thread of its own.
//!
//! A callback runs at the same time as calls of other threads, one after the other of the same registration. After
//! HcnNotificationServiceDisconnect the registration is dead (contract 4.3); unregistering it is still right. Whoever
//! unregisters gets the answer when no callback runs any more, unless it is the callback itself that unregisters.
//!
//! The thread that calls is the library's, or that of whoever cannot be called by any thread ([`listen`], [`Listener`]).

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

use hcn_client::blocking::{Closer, Events};
use hcn_client::{DISCONNECT, Event, HResult, Kind, Raw, Registration};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::handles;
use crate::memory::Out;
use crate::session;
use crate::{Code, Fault, Handle, OK, Text, answer};

/// HCN_NOTIFICATION_CALLBACK: type, context, status, NotificationBase as a JSON text or null.
pub type Callback = Option<unsafe extern "C" fn(u32, *mut c_void, Code, Text)>;

/// What a registration hears of: the whole service, or the entity that a handle stands for.
pub type Subject = Option<(Kind, Handle)>;

struct Registered {
    shared: Arc<Shared>,
    closer: Closer,
    /// Ends with the listener.
    silence: Receiver<()>,
    /// The library's own thread.
    thread: Option<JoinHandle<()>>,
}

/// What a listener and whoever ends its registration know of each other.
#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    /// Who listens, and calls.
    thread: OnceLock<ThreadId>,
}

static REGISTERED: Mutex<BTreeMap<usize, Registered>> = Mutex::new(BTreeMap::new());

fn registered() -> MutexGuard<'static, BTreeMap<usize, Registered>> {
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happens, for one registration. A callback runs, as far as others can tell, from one [`Listener::next`] to the next,
/// or to the end of this; so whoever has one must go on until there is nothing more, or drop it.
#[derive(Debug)]
pub struct Listener {
    events: Events,
    shared: Arc<Shared>,
    disconnected: bool,
    _listening: Sender<()>,
}

impl Listener {
    /// Waits for what the callback is to be told next: a type, and the data if there are any. None is the end.
    #[allow(clippy::should_implement_trait, reason = "what it does between two of them matters")]
    pub fn next(&mut self) -> Option<(u32, Option<Raw>)> {
        self.shared.thread.get_or_init(|| thread::current().id());
        let mut heard = None;
        while heard.is_none() && !self.disconnected {
            heard = match self.events.next() {
                Some(Ok(Event { notification: Some(kind), data, .. })) if kind != DISCONNECT => {
                    Some((kind, data))
                }
                Some(Ok(Event { notification: None, .. })) => None,
                _ => {
                    self.disconnected = true;
                    Some((DISCONNECT, None))
                }
            };
        }
        heard.filter(|_| !self.shared.over.load(Ordering::Acquire))
    }
}

/// The caller's function and what it wants to be told with.
struct Listening {
    function: unsafe extern "C" fn(u32, *mut c_void, Code, Text),
    context: *mut c_void,
    listener: Listener,
}

// SAFETY: that the function may be called with the context from another thread is what registering them says.
unsafe impl Send for Listening {}

impl Listening {
    /// Tells all that happens until nobody wants to hear it any more, or the service is gone.
    fn run(mut self) {
        while let Some((kind, data)) = self.listener.next() {
            let units: Option<Vec<u16>> = data.map(|data| data.get().encode_utf16().chain([0]).collect());
            let text = units.as_ref().map_or(ptr::null(), Vec::as_ptr);
            // SAFETY: registering it says that it may be called so; the text lives until it returns.
            unsafe { (self.function)(kind, self.context, OK, text) }
        }
    }
}

/// HcnRegisterServiceCallback.
///
/// # Safety
/// `place` is null or valid; the callback can be called with the context from any thread until it is unregistered.
pub unsafe fn register_service(callback: Callback, context: *mut c_void, place: *mut Handle) -> Code {
    // SAFETY: the caller's word.
    unsafe { register(None, callback, context, place) }
}

/// HcnRegisterNetworkCallback and HcnRegisterGuestNetworkServiceCallback: of the entity that the handle stands for.
///
/// # Safety
/// As of [`register_service`].
pub unsafe fn register_for(
    kind: Kind,
    handle: Handle,
    callback: Callback,
    context: *mut c_void,
    place: *mut Handle,
) -> Code {
    // SAFETY: the caller's word.
    unsafe { register(Some((kind, handle)), callback, context, place) }
}

unsafe fn register(of: Subject, callback: Callback, context: *mut c_void, place: *mut Handle) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let mut place = unsafe { Out::new(place) }?;
        let function = callback.ok_or(HResult::INVALID_ARGUMENT)?;
        let (listener, mut registered) = begin(of)?;
        let number = handles::number();
        // Held until the thread is in the list, so that a callback which unregisters at once finds itself there.
        let mut all = self::registered();
        registered.thread = Some(start(Listening { function, context, listener })?);
        all.insert(number, registered);
        place.set(handles::as_handle(number));
        Ok(())
    };
    // SAFETY: there is no place for a record.
    unsafe { answer(ptr::null_mut(), work) }
}

/// Registers without a thread: the caller listens on one of its own, then gives the listener back ([`Box::from_raw`]).
///
/// # Safety
/// Both places are null or valid.
pub unsafe fn listen(of: Subject, listener: *mut *mut Listener, place: *mut Handle) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let (listener, place) = unsafe { (Out::new(listener), Out::new(place)) };
        let (mut listener, mut place) = (listener?, place?);
        let (begun, registered) = begin(of)?;
        let number = handles::number();
        self::registered().insert(number, registered);
        listener.set(Box::into_raw(Box::new(begun)));
        place.set(handles::as_handle(number));
        Ok(())
    };
    // SAFETY: there is no place for a record.
    unsafe { answer(ptr::null_mut(), work) }
}

/// Subscribes.
fn begin(of: Subject) -> Result<(Listener, Registered), Fault> {
    let of = of.map(|(kind, handle)| handles::find(handle, kind)).transpose()?;
    let events = session::read(|connection| {
        let registration = match of {
            None => Registration::Service,
            Some(entry) if entry.kind == Kind::Network => Registration::Network(connection.target(entry)?),
            Some(entry) => Registration::GuestNetworkService(connection.target(entry)?),
        };
        Ok(connection.client.register(registration)?)
    })?;
    let closer = events.closer().map_err(|_| HResult::LIMIT_EXCEEDED)?;
    let shared = Arc::<Shared>::default();
    let (listening, silence) = channel();
    let registered = Registered { shared: Arc::clone(&shared), closer, silence, thread: None };
    Ok((Listener { events, shared, disconnected: false, _listening: listening }, registered))
}

fn start(listening: Listening) -> Result<JoinHandle<()>, HResult> {
    // Signals are for the threads of the program.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let thread = thread::Builder::new().name("hcn-callback".to_owned()).spawn(|| listening.run());
    if let Ok(before) = before {
        // It was valid a moment ago.
        let _ = before.thread_set_mask();
    }
    thread.map_err(|_| HResult::LIMIT_EXCEEDED)
}

/// HcnUnregister…Callback.
pub fn unregister(handle: Handle) -> Code {
    let work = || {
        let found = registered().remove(&handle.addr()).ok_or(HResult::INVALID_ARGUMENT)?;
        found.shared.over.store(true, Ordering::Release);
        found.closer.close();
        if found.shared.thread.get() != Some(&thread::current().id()) {
            // Nothing is ever sent: it ends when the listener is dropped.
            let _ = found.silence.recv();
            // It cannot have panicked but in the caller's own function, which C does not do.
            let _ = found.thread.map(JoinHandle::join);
        }
        Ok(())
    };
    // SAFETY: there is no place for a record.
    unsafe { answer(ptr::null_mut(), work) }
}
