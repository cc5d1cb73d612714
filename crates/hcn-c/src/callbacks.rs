//! Who wants to hear of what happens? Each registration has a connection and a thread of its own.
//!
//! A callback runs at the same time as calls of other threads, one after the other of the same registration. After
//! HcnNotificationServiceDisconnect the registration is dead (contract 4.3); unregistering it is still right. Whoever
//! unregisters gets the answer when no callback runs any more, unless it is the callback itself that unregisters.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use hcn_client::blocking::{Closer, Events};
use hcn_client::{DISCONNECT, Event, HResult, Kind, Registration};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::handles;
use crate::memory::Out;
use crate::session;
use crate::{Code, Handle, OK, Text, answer};

/// HCN_NOTIFICATION_CALLBACK: type, context, status, NotificationBase as a JSON text or null.
pub type Callback = Option<unsafe extern "C" fn(u32, *mut c_void, Code, Text)>;

struct Registered {
    over: Arc<AtomicBool>,
    closer: Closer,
    thread: JoinHandle<()>,
}

static REGISTERED: Mutex<BTreeMap<usize, Registered>> = Mutex::new(BTreeMap::new());

fn registered() -> MutexGuard<'static, BTreeMap<usize, Registered>> {
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The caller's function and what it wants to be told with.
struct Listener {
    function: unsafe extern "C" fn(u32, *mut c_void, Code, Text),
    context: *mut c_void,
}

// SAFETY: that the function may be called with the context from another thread is what registering them says.
unsafe impl Send for Listener {}

impl Listener {
    fn hear(&self, kind: u32, data: Option<&str>) {
        let units: Option<Vec<u16>> = data.map(|data| data.encode_utf16().chain([0]).collect());
        let text = units.as_ref().map_or(ptr::null(), Vec::as_ptr);
        // SAFETY: registering it says that it may be called so; the text lives until it returns.
        unsafe { (self.function)(kind, self.context, OK, text) }
    }

    /// Tells all that happens until nobody wants to hear it any more, or the service is gone.
    fn listen(&self, events: Events, over: &AtomicBool) {
        for event in events {
            if over.load(Ordering::Acquire) {
                return;
            }
            match event {
                Ok(Event { notification: Some(DISCONNECT), .. }) | Err(_) => break,
                Ok(Event { notification: Some(kind), data, .. }) => {
                    self.hear(kind, data.as_ref().map(hcn_client::Raw::get));
                }
                Ok(_) => {}
            }
        }
        if !over.load(Ordering::Acquire) {
            self.hear(DISCONNECT, None);
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

unsafe fn register(
    of: Option<(Kind, Handle)>,
    callback: Callback,
    context: *mut c_void,
    place: *mut Handle,
) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let mut place = unsafe { Out::new(place) }?;
        let function = callback.ok_or(HResult::INVALID_ARGUMENT)?;
        let of = of.map(|(kind, handle)| handles::find(handle, kind)).transpose()?;
        let events = session::read(|connection| {
            let registration = match of {
                None => Registration::Service,
                Some(entry) if entry.kind == Kind::Network => {
                    Registration::Network(connection.target(entry)?)
                }
                Some(entry) => Registration::GuestNetworkService(connection.target(entry)?),
            };
            Ok(connection.client.register(registration)?)
        })?;
        place.set(start(events, Listener { function, context })?);
        Ok(())
    };
    // SAFETY: there is no place for a record.
    unsafe { answer(ptr::null_mut(), work) }
}

fn start(events: Events, listener: Listener) -> Result<Handle, HResult> {
    let closer = events.closer().map_err(|_| HResult::LIMIT_EXCEEDED)?;
    let over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&over);
    let number = handles::number();
    // Held until the thread is in the list, so that a callback which unregisters at once finds itself there.
    let mut all = registered();
    // Signals are for the threads of the program.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let thread = thread::Builder::new().name("hcn-callback".to_owned()).spawn(move || {
        listener.listen(events, &ends);
    });
    if let Ok(before) = before {
        // It was valid a moment ago.
        let _ = before.thread_set_mask();
    }
    let thread = thread.map_err(|_| HResult::LIMIT_EXCEEDED)?;
    all.insert(number, Registered { over, closer, thread });
    Ok(handles::as_handle(number))
}

/// HcnUnregister…Callback.
pub fn unregister(handle: Handle) -> Code {
    let work = || {
        let found = registered().remove(&handle.addr()).ok_or(HResult::INVALID_ARGUMENT)?;
        found.over.store(true, Ordering::Release);
        found.closer.close();
        if thread::current().id() != found.thread.thread().id() {
            // It cannot have panicked but in the caller's own function, which C does not do.
            let _ = found.thread.join();
        }
        Ok(())
    };
    // SAFETY: there is no place for a record.
    unsafe { answer(ptr::null_mut(), work) }
}
