//! Port reservations of guest network services (contract 1.4). A reservation is a handle: it ends when it is released, or
//! with the process.

use hcn_client::{Guid, HResult, Kind, Raw, Target};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::handles::{self, Entry};
use crate::memory::{self, Out, RawGuid};
use crate::session::{self, Connection};
use crate::{Code, Fault, Handle, answer, verbs};

/// HCN_PORT_RANGE_RESERVATION.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Range {
    starting_port: u16,
    ending_port: u16,
}

impl memory::Clear for Range {
    const NOTHING: Self = Self { starting_port: 0, ending_port: 0 };
}

/// HCN_PORT_RANGE_ENTRY.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RangeEntry {
    owning_partition: RawGuid,
    target_partition: RawGuid,
    protocol: u32,
    priority: u64,
    reservation_type: u32,
    sharing_flags: u32,
    delivery_mode: u32,
    starting_port: u16,
    ending_port: u16,
}

/// The same as the service tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    owning_partition_id: Guid,
    target_partition_id: Guid,
    protocol: u32,
    priority: u64,
    reservation_type: u32,
    sharing_flags: u32,
    delivery_mode: u32,
    starting_port: u16,
    ending_port: u16,
}

impl From<Told> for RangeEntry {
    fn from(told: Told) -> Self {
        Self {
            owning_partition: told.owning_partition_id.into(),
            target_partition: told.target_partition_id.into(),
            protocol: told.protocol,
            priority: told.priority,
            reservation_type: told.reservation_type,
            sharing_flags: told.sharing_flags,
            delivery_mode: told.delivery_mode,
            starting_port: told.starting_port,
            ending_port: told.ending_port,
        }
    }
}

/// HcnReserveGuestNetworkServicePort.
///
/// # Safety
/// `place` is null or valid.
pub unsafe fn reserve(service: Handle, protocol: u32, access: u32, port: u16, place: *mut Handle) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let mut place = unsafe { Out::new(place) }?;
        let what = json!({"Protocol": protocol, "Access": access, "Port": port});
        let entry = session::with(|connection| make(connection, service, &what))?;
        place.set(handles::give(entry));
        Ok(())
    };
    // SAFETY: there is no place for a record.
    unsafe { answer(std::ptr::null_mut(), work) }
}

/// HcnReserveGuestNetworkServicePortRange.
///
/// # Safety
/// Both places are null or valid.
pub unsafe fn reserve_range(service: Handle, count: u16, range: *mut Range, place: *mut Handle) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let (range, place) = unsafe { (Out::new(range), Out::new(place)) };
        let (mut range, mut place) = (range?, place?);
        let what = json!({"PortCount": count});
        let (entry, told) = session::with(|connection| {
            let entry = make(connection, service, &what)?;
            let told = told(connection, Target::Handle(entry.handle))?;
            Ok((entry, told))
        })?;
        range.set(Range { starting_port: told.starting_port, ending_port: told.ending_port });
        place.set(handles::give(entry));
        Ok(())
    };
    // SAFETY: there is no place for a record.
    unsafe { answer(std::ptr::null_mut(), work) }
}

/// HcnReleaseGuestNetworkServicePortReservationHandle.
pub fn release(reservation: Handle) -> Code {
    verbs::close(Kind::PortReservation, reservation)
}

/// HcnEnumerateGuestNetworkPortReservations.
///
/// # Safety
/// Both places are null or valid.
pub unsafe fn enumerate(count: *mut u32, entries: *mut *mut RangeEntry) -> Code {
    let work = || {
        // SAFETY: the caller's word.
        let (count, entries) = unsafe { (Out::new(count), Out::new(entries)) };
        let (mut count, mut entries) = (count?, entries?);
        let found = session::read(|connection| {
            let ids = connection.client.enumerate(Kind::PortReservation, None)?;
            let mut found: Vec<RangeEntry> = Vec::with_capacity(ids.len());
            for id in ids {
                match told(connection, Target::Id(id)) {
                    Ok(told) => found.push(told.into()),
                    // It was released meanwhile.
                    Err(fault) if fault.code == HResult::NOT_FOUND => {}
                    Err(fault) => return Err(fault),
                }
            }
            Ok(found)
        })?;
        if !found.is_empty() {
            entries.set(memory::give_all(&found)?);
        }
        count.set(found.len() as u32);
        Ok(())
    };
    // SAFETY: there is no place for a record.
    unsafe { answer(std::ptr::null_mut(), work) }
}

/// HcnFreeGuestNetworkPortReservations.
///
/// # Safety
/// `entries` is null or came from [`enumerate`] and was not freed.
pub unsafe fn free(entries: *mut RangeEntry) {
    // SAFETY: the caller's word.
    unsafe { memory::release(entries.cast()) }
}

fn make(connection: &mut Connection, service: Handle, what: &Value) -> Result<Entry, Fault> {
    let of = handles::find(service, Kind::GuestNetworkService)?;
    connection.target(of)?;
    let mut settings = what.clone();
    settings["GuestNetworkService"] = json!(of.id.to_string());
    let made = connection.client.create(Kind::PortReservation, None, None, &settings.to_string())?;
    let session = connection.session();
    Ok(Entry { kind: Kind::PortReservation, session, handle: made.handle, id: made.id })
}

fn told(connection: &mut Connection, target: Target) -> Result<Told, Fault> {
    let properties: Raw = connection.client.query(Kind::PortReservation, target, None)?;
    serde_json::from_str(properties.get()).map_err(|_| HResult::GENERAL_FAILURE.into())
}
