//! Callers in C of every kind, for the fuzz target and for nobody else: octets say which functions are called with which
//! texts, IDs, places and handles. Whatever it is gets an answer, and what was given is whole.
#![allow(clippy::panic, reason = "what does not hold is a finding")]

use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::OnceLock;

use hcn_client::{HResult, Kind};

use crate::memory::{self, RawGuid};
use crate::ports::{self, Range, RangeEntry};
use crate::{Code, Handle, OK, Text, handles, verbs, vmcompute};

/// Where the service listens that the target brings along.
pub(crate) static SOCKET: OnceLock<PathBuf> = OnceLock::new();

/// Units of a text that is huge.
const HUGE: usize = 100_000;
/// Calls that an input can make.
const MOST_CALLS: usize = 24;
const KINDS: [Kind; 6] = [
    Kind::Network,
    Kind::Endpoint,
    Kind::Namespace,
    Kind::LoadBalancer,
    Kind::SdnRoute,
    Kind::GuestNetworkService,
];

/// Has all calls of this process go to a service that listens there.
pub fn use_service(socket: &Path) {
    // The first one stays.
    let _ = SOCKET.set(socket.to_owned());
}

/// Makes the calls that the octets are.
pub fn run(octets: &[u8]) {
    let mut caller = Caller { rest: octets, given: Vec::new() };
    for _ in 0..MOST_CALLS {
        let Some(function) = caller.octet() else { break };
        caller.call(function);
    }
    for (kind, handle) in caller.given {
        verbs::close(kind, handle);
    }
}

/// A caller that has octets left to read, and the handles that it was given.
struct Caller<'a> {
    rest: &'a [u8],
    given: Vec<(Kind, Handle)>,
}

/// A text as a caller passes it.
enum Passed {
    Null,
    /// With a NUL at the end.
    Units(Vec<u16>),
    /// Not aligned.
    Odd(Vec<u16>),
}

impl Passed {
    fn text(&self) -> Text {
        match self {
            Self::Null => ptr::null(),
            Self::Units(units) => units.as_ptr(),
            Self::Odd(units) => units.as_ptr().wrapping_byte_add(1),
        }
    }

    /// Whether the library must refuse it, wherever it is needed.
    fn is_no_text(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Units(units) => String::from_utf16(before_nul(units)).is_err(),
            Self::Odd(_) => true,
        }
    }
}

fn before_nul(units: &[u16]) -> &[u16] {
    units.split(|unit| *unit == 0).next().unwrap_or_default()
}

/// A place for a text, which is not empty before the call, or none.
struct PlaceFor {
    text: *mut u16,
    is_null: bool,
}

impl PlaceFor {
    fn place(&mut self) -> *mut *mut u16 {
        if self.is_null { ptr::null_mut() } else { &raw mut self.text }
    }

    /// What the function wrote, which is freed.
    fn take(self) -> Option<String> {
        if self.is_null || self.text.is_null() {
            return None;
        }
        assert!(self.text.addr() != LEFT_OVER, "a place was left as it was");
        // SAFETY: the function wrote it, so it is a text of `memory::give`.
        let text = unsafe { memory::read(self.text) };
        // SAFETY: the same; it is freed once.
        unsafe { memory::release(self.text.cast()) };
        let Ok(text) = text else { panic!("a text that is not UTF-16 was given") };
        text
    }
}

/// What a place holds before a call.
const LEFT_OVER: usize = 2;

impl Caller<'_> {
    fn octet(&mut self) -> Option<u8> {
        let (octet, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*octet)
    }

    fn number(&mut self) -> u32 {
        let octets = [0; 4].map(|_: u8| self.octet().unwrap_or_default());
        u32::from_le_bytes(octets)
    }

    /// A text, or one that is repeated until it is huge.
    fn text(&mut self) -> Passed {
        let form = self.octet().unwrap_or_default();
        if form.is_multiple_of(8) {
            return Passed::Null;
        }
        let length = [0; 2].map(|_: u8| self.octet().unwrap_or_default());
        let length = usize::from(u16::from_le_bytes(length));
        let (octets, rest) = self.rest.split_at(self.rest.len().min(length * 2));
        self.rest = rest;
        let pairs = octets.chunks_exact(2);
        let mut units: Vec<u16> =
            pairs.filter_map(|pair| pair.try_into().ok()).map(u16::from_le_bytes).collect();
        if form % 8 == 1 {
            units.push(0);
            return Passed::Odd(units);
        }
        if form % 8 == 2 && !units.is_empty() {
            units = units.iter().copied().cycle().take(HUGE).collect();
        }
        units.push(0);
        Passed::Units(units)
    }

    fn guid(&mut self) -> Option<RawGuid> {
        (!self.octet().unwrap_or_default().is_multiple_of(4)).then(|| {
            let octets = [0; 16].map(|_: u8| self.octet().unwrap_or_default());
            RawGuid::from(hcn_client::Guid::from_bytes(octets))
        })
    }

    fn place(&mut self) -> PlaceFor {
        let is_null = self.octet().unwrap_or_default().is_multiple_of(8);
        PlaceFor { text: ptr::without_provenance_mut(LEFT_OVER), is_null }
    }

    /// One that was given, of whatever kind, or any number.
    fn handle(&mut self) -> Handle {
        let chosen = usize::from(self.octet().unwrap_or_default());
        match self.given.get(chosen % 8) {
            Some((_, handle)) => *handle,
            None => handles::as_handle(self.number() as usize),
        }
    }

    fn keep(&mut self, kind: Kind, code: Code, handle: Handle) {
        assert!((code == OK) != handle.is_null(), "{code:08x}: {handle:?}");
        if code == OK {
            self.given.push((kind, handle));
        }
    }

    fn call(&mut self, function: u8) {
        let kind = KINDS[usize::from(function / 16) % KINDS.len()];
        match function % 16 {
            0 => self.read(|query, ids, record| {
                // SAFETY: as `read` says.
                unsafe { verbs::enumerate(kind, query, ids, record) }
            }),
            1 => self.create(kind),
            2 => self.open(kind),
            3 => {
                let (handle, settings, mut record) = (self.handle(), self.text(), self.place());
                // SAFETY: the text ends with a NUL, or is null or not aligned; the place is null or valid.
                let code = unsafe { verbs::modify(kind, handle, settings.text(), record.place()) };
                assert!(code != OK || !settings.is_no_text());
                told(code, record);
            }
            4 => {
                let handle = self.handle();
                self.read(|query, properties, record| {
                    // SAFETY: as `read` says.
                    unsafe { verbs::query_properties(kind, handle, query, properties, record) }
                });
            }
            5 => {
                let (id, mut record) = (self.guid(), self.place());
                let id = id.as_ref().map_or(ptr::null(), ptr::from_ref);
                // SAFETY: the ID is null or valid, and so is the place.
                told(unsafe { verbs::delete(kind, id, record.place()) }, record);
            }
            6 => {
                let handle = self.handle();
                if verbs::close(kind, handle) == OK {
                    self.given.retain(|(_, given)| *given != handle);
                    assert_eq!(verbs::close(kind, handle), HResult::INVALID_HANDLE.0 as Code);
                }
            }
            7 => {
                let handle = self.handle();
                self.read(|query, stats, record| {
                    // SAFETY: as `read` says.
                    unsafe { verbs::query_stats(handle, query, stats, record) }
                });
            }
            8 => {
                let handle = self.handle();
                self.read(|query, addresses, record| {
                    // SAFETY: as `read` says.
                    unsafe { verbs::query_addresses(handle, query, addresses, record) }
                });
            }
            9 => self.reserve(),
            10 => self.reserve_range(),
            11 => enumerate_reservations(),
            _ => self.hns(),
        }
    }

    /// A function that takes a query and gives a text: the query ends with a NUL, or is null or not aligned, and the
    /// places are null or valid.
    fn read(&mut self, call: impl FnOnce(Text, *mut *mut u16, *mut *mut u16) -> Code) {
        let (query, mut result, mut record) = (self.text(), self.place(), self.place());
        let code = call(query.text(), result.place(), record.place());
        assert!(code != OK || !result.is_null, "a result without a place");
        let is_given = result.take().is_some();
        assert_eq!(code == OK, is_given, "{code:08x}");
        told(code, record);
    }

    fn create(&mut self, kind: Kind) {
        let network = (kind == Kind::Endpoint).then(|| self.handle());
        let (id, settings, mut record) = (self.guid(), self.text(), self.place());
        let id = id.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut handle = handles::as_handle(LEFT_OVER);
        // SAFETY: texts end with a NUL or are not read, places are null or valid.
        let code =
            unsafe { verbs::create(kind, network, id, settings.text(), &raw mut handle, record.place()) };
        assert!(code != OK || !(id.is_null() || settings.is_no_text()));
        self.keep(kind, code, handle);
        told(code, record);
    }

    fn open(&mut self, kind: Kind) {
        let (id, mut record) = (self.guid(), self.place());
        let id = id.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut handle = handles::as_handle(LEFT_OVER);
        // SAFETY: the ID is null or valid, the places are.
        let code = unsafe { verbs::open(kind, id, &raw mut handle, record.place()) };
        assert!(code != OK || !id.is_null());
        self.keep(kind, code, handle);
        told(code, record);
    }

    fn reserve(&mut self) {
        let (service, protocol, access, port) = (self.handle(), self.number(), self.number(), self.number());
        let mut handle = handles::as_handle(LEFT_OVER);
        // SAFETY: the place is valid.
        let code = unsafe { ports::reserve(service, protocol, access, port as u16, &raw mut handle) };
        self.keep(Kind::PortReservation, code, handle);
    }

    fn reserve_range(&mut self) {
        let (service, count) = (self.handle(), self.number());
        let (mut handle, mut range) = (handles::as_handle(LEFT_OVER), Range::default());
        // SAFETY: both places are valid.
        let code = unsafe { ports::reserve_range(service, count as u16, &raw mut range, &raw mut handle) };
        self.keep(Kind::PortReservation, code, handle);
    }

    fn hns(&mut self) {
        let [method, path, request] = [(); 3].map(|()| self.text());
        let mut response = self.place();
        // SAFETY: texts end with a NUL or are not read, the place is null or valid.
        let code = unsafe { vmcompute::call(method.text(), path.text(), request.text(), response.place()) };
        assert!(code != OK || !(method.is_no_text() || path.is_no_text() || response.is_null));
        assert_eq!(code == OK, response.take().is_some(), "{code:08x}");
    }
}

fn enumerate_reservations() {
    let (mut count, mut entries) = (7, ptr::null_mut::<RangeEntry>());
    // SAFETY: both places are valid.
    let code = unsafe { ports::enumerate(&raw mut count, &raw mut entries) };
    assert_eq!(entries.is_null(), count == 0, "{code:08x}");
    // SAFETY: it is null or was just given.
    unsafe { ports::free(entries) };
}

/// The record is there after a failure, if it has a place, and only then; it says the same as the code.
fn told(code: Code, record: PlaceFor) {
    let has_place = !record.is_null;
    let record = record.take();
    assert_eq!(record.is_some(), code != OK && has_place, "{code:08x}: {record:?}");
    if let Some(record) = record {
        assert!(code < 0, "{code:08x}: {record}");
        let record: Result<serde_json::Value, _> = serde_json::from_str(&record);
        let Ok(record) = record else { panic!("a record that is no JSON") };
        assert_eq!(record["Success"], false, "{record}");
        assert_eq!(record["ErrorCode"].as_u64(), Some(u64::from(code as u32)), "{record}");
    }
}
