//! The seven verbs on every kind of entity, and what endpoints have besides.
//!
//! Each takes the parameters of the C function and gives its HRESULT. Results and the ErrorRecord are written in every
//! case: null where there is none. An empty query is none, as null is.

use hcn_client::blocking::Client;
use hcn_client::{HResult, Kind, Raw, Target};

use crate::handles::{self, Entry};
use crate::memory::{self, Out, RawGuid};
use crate::session::{self, Connection};
use crate::{Code, Fault, Handle, Text, TextOut, answer};

/// HcnEnumerate…: a JSON array of the IDs that match the query.
///
/// # Safety
/// As the C function: texts are null or end with a NUL, places null or valid.
pub unsafe fn enumerate(kind: Kind, query: Text, ids: TextOut, record: TextOut) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let (mut ids, query) = unsafe { (Out::new(ids)?, self::query(query)?) };
        let found = session::read(|connection| Ok(connection.client.enumerate(kind, query.as_deref())?))?;
        ids.set(memory::give(&hcn_schema::to_text(&found))?);
        Ok(())
    };
    // SAFETY: the caller's word.
    unsafe { answer(record, work) }
}

/// HcnCreate…; `network` is of endpoints only.
///
/// # Safety
/// As of [`enumerate`]; `id` is null or a GUID.
pub unsafe fn create(
    kind: Kind,
    network: Option<Handle>,
    id: *const RawGuid,
    settings: Text,
    handle: *mut Handle,
    record: TextOut,
) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let (mut place, id, settings) =
            unsafe { (Out::new(handle)?, memory::guid(id)?, memory::needed(settings)?) };
        let network = network.map(|handle| handles::find(handle, Kind::Network)).transpose()?;
        let id = Some(id).filter(|id| !id.is_zero());
        let entry = session::with(|connection| {
            let network = network.map(|network| connection.target(network)).transpose()?;
            let created = connection.client.create(kind, id, network, &settings)?;
            let session = connection.session();
            Ok(Entry { kind, session, handle: created.handle, id: created.id })
        })?;
        place.set(handles::give(entry));
        Ok(())
    };
    // SAFETY: the caller's word.
    unsafe { answer(record, work) }
}

/// HcnOpen….
///
/// # Safety
/// As of [`create`].
pub unsafe fn open(kind: Kind, id: *const RawGuid, handle: *mut Handle, record: TextOut) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let (mut place, id) = unsafe { (Out::new(handle)?, memory::guid(id)?) };
        let entry = session::read(|connection| {
            let handle = connection.client.open(kind, id)?;
            Ok(Entry { kind, session: connection.session(), handle, id })
        })?;
        place.set(handles::give(entry));
        Ok(())
    };
    // SAFETY: the caller's word.
    unsafe { answer(record, work) }
}

/// HcnModify….
///
/// # Safety
/// As of [`enumerate`].
pub unsafe fn modify(kind: Kind, handle: Handle, settings: Text, record: TextOut) -> Code {
    let work = || {
        let entry = handles::find(handle, kind)?;
        // SAFETY: the caller's word.
        let settings = unsafe { memory::needed(settings) }?;
        session::with(|connection| {
            let target = connection.target(entry)?;
            Ok(connection.client.modify(kind, target, &settings)?)
        })
    };
    // SAFETY: the caller's word.
    unsafe { answer(record, work) }
}

/// HcnQuery…Properties.
///
/// # Safety
/// As of [`enumerate`].
pub unsafe fn query_properties(
    kind: Kind,
    handle: Handle,
    query: Text,
    properties: TextOut,
    record: TextOut,
) -> Code {
    // SAFETY: the caller's word.
    unsafe {
        read(kind, handle, query, properties, record, |client, target, query| {
            client.query(kind, target, query)
        })
    }
}

/// HcnQueryEndpointStats.
///
/// # Safety
/// As of [`enumerate`].
pub unsafe fn query_stats(handle: Handle, query: Text, stats: TextOut, record: TextOut) -> Code {
    // SAFETY: the caller's word.
    unsafe { read(Kind::Endpoint, handle, query, stats, record, Client::query_stats) }
}

/// HcnQueryEndpointAddresses.
///
/// # Safety
/// As of [`enumerate`].
pub unsafe fn query_addresses(handle: Handle, query: Text, addresses: TextOut, record: TextOut) -> Code {
    // SAFETY: the caller's word.
    unsafe { read(Kind::Endpoint, handle, query, addresses, record, Client::query_addresses) }
}

/// HcnDelete….
///
/// # Safety
/// As of [`create`].
pub unsafe fn delete(kind: Kind, id: *const RawGuid, record: TextOut) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let id = unsafe { memory::guid(id) }?;
        session::with(|connection| Ok(connection.client.delete(kind, id)?))
    };
    // SAFETY: the caller's word.
    unsafe { answer(record, work) }
}

/// HcnClose…. A handle that has outlived its service is closed with it.
pub fn close(kind: Kind, handle: Handle) -> Code {
    // SAFETY: there is no place for a record.
    unsafe { answer(std::ptr::null_mut(), || close_handle(kind, handle)) }
}

/// Closes a handle; if the service cannot do what that means, it stays open.
pub(crate) fn close_handle(kind: Kind, handle: Handle) -> Result<(), Fault> {
    let entry = handles::take(handle, kind)?;
    let closed = session::with(|connection| match connection.target(entry) {
        Ok(_) => Ok(connection.client.close(kind, entry.handle)?),
        Err(_) => Ok(()),
    });
    match closed {
        Err(fault) if fault.lost || fault.code == HResult::NOT_REGISTERED => Ok(()),
        Err(fault) => {
            handles::put_back(handle, entry);
            Err(fault)
        }
        Ok(()) => Ok(()),
    }
}

/// Writes a document of what a handle stands for.
unsafe fn read(
    kind: Kind,
    handle: Handle,
    query: Text,
    properties: TextOut,
    record: TextOut,
    call: impl Fn(&mut Client, Target, Option<&str>) -> hcn_client::Result<Raw>,
) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let (mut properties, query) = unsafe { (Out::new(properties)?, self::query(query)?) };
        let entry = handles::find(handle, kind)?;
        let found = session::read(|connection: &mut Connection| {
            let target = connection.target(entry)?;
            Ok(call(&mut connection.client, target, query.as_deref())?)
        })?;
        properties.set(memory::give(found.get())?);
        Ok(())
    };
    // SAFETY: the caller's word.
    unsafe { answer(record, work) }
}

/// A query, which may be left out.
unsafe fn query(text: Text) -> Result<Option<String>, HResult> {
    // SAFETY: the caller's word.
    Ok(unsafe { memory::read(text) }?.filter(|text| !text.is_empty()))
}
