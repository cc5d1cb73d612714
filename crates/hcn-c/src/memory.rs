//! What goes over the border to C: texts, GUIDs, places for results, memory that the caller frees.

use std::ffi::c_void;
use std::{ptr, slice};

use hcn_client::{Guid, HResult};

use crate::Text;

/// Where a result goes. It is cleared when it is taken, so that no failure leaves what was there before.
#[derive(Debug)]
pub struct Out<T>(*mut T);

/// What a place for results can hold.
pub trait Clear {
    /// What it holds when there is no result.
    const NOTHING: Self;
}

impl<T> Clear for *mut T {
    const NOTHING: Self = ptr::null_mut();
}

impl Clear for u32 {
    const NOTHING: Self = 0;
}

impl<T: Clear> Out<T> {
    /// # Errors
    /// E_POINTER, when it is null or not aligned.
    ///
    /// # Safety
    /// Otherwise it is valid for writes for as long as this lives.
    pub unsafe fn new(place: *mut T) -> Result<Self, HResult> {
        if place.is_null() || !place.is_aligned() {
            return Err(HResult::POINTER);
        }
        // SAFETY: the caller's word.
        unsafe { place.write(T::NOTHING) };
        Ok(Self(place))
    }

    /// Writes the result.
    pub fn set(&mut self, value: T) {
        // SAFETY: `new` was told that it is valid.
        unsafe { self.0.write(value) }
    }
}

/// Reads a text; null is none.
///
/// # Errors
/// E_INVALIDARG: it is not aligned, or not UTF-16.
///
/// # Safety
/// It is null or ends with a NUL.
pub unsafe fn read(text: Text) -> Result<Option<String>, HResult> {
    if text.is_null() {
        return Ok(None);
    }
    if !text.is_aligned() {
        return Err(HResult::INVALID_ARGUMENT);
    }
    // SAFETY: there is a NUL, the caller's word, and nothing is read after it.
    let units = unsafe {
        let length = (0..).take_while(|at| *text.add(*at) != 0).count();
        slice::from_raw_parts(text, length)
    };
    String::from_utf16(units).map(Some).map_err(|_| HResult::INVALID_ARGUMENT)
}

/// Reads a text that must be there.
///
/// # Errors
/// E_INVALIDARG: it is null, not aligned, or not UTF-16.
///
/// # Safety
/// As of [`read`].
pub unsafe fn needed(text: Text) -> Result<String, HResult> {
    // SAFETY: the caller's word.
    unsafe { read(text) }?.ok_or(HResult::INVALID_ARGUMENT)
}

/// Gives a text to the caller, who frees it with CoTaskMemFree.
///
/// # Errors
/// E_OUTOFMEMORY.
pub fn give(text: &str) -> Result<*mut u16, HResult> {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    give_all(&units)
}

/// Gives a copy of values to the caller, who frees them together.
///
/// # Errors
/// E_OUTOFMEMORY.
pub(crate) fn give_all<T: Copy>(values: &[T]) -> Result<*mut T, HResult> {
    let place = allocate(size_of_val(values)).cast::<T>();
    if place.is_null() {
        return Err(HResult::LIMIT_EXCEEDED);
    }
    // SAFETY: the place is as large, aligned for any type, and new.
    unsafe { ptr::copy_nonoverlapping(values.as_ptr(), place, values.len()) };
    Ok(place)
}

/// CoTaskMemAlloc: null when there is no memory left.
pub fn allocate(octets: usize) -> *mut c_void {
    // SAFETY: any size may be asked for; a size of 0 must give something that can be freed.
    unsafe { libc::malloc(octets.max(1)) }
}

/// CoTaskMemRealloc.
///
/// # Safety
/// `memory` is null or came from [`allocate`] and was not freed.
pub unsafe fn reallocate(memory: *mut c_void, octets: usize) -> *mut c_void {
    if octets == 0 && !memory.is_null() {
        // SAFETY: the caller's word.
        unsafe { release(memory) };
        return ptr::null_mut();
    }
    // SAFETY: the caller's word.
    unsafe { libc::realloc(memory, octets.max(1)) }
}

/// CoTaskMemFree: null is ignored.
///
/// # Safety
/// `memory` is null or came from [`allocate`] and was not freed.
pub unsafe fn release(memory: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { libc::free(memory) }
}

/// Reads a GUID, whose first three fields are numbers in this machine's order of octets.
///
/// # Errors
/// E_INVALIDARG: it is null.
///
/// # Safety
/// It is null or 16 octets can be read there.
pub unsafe fn guid(id: *const RawGuid) -> Result<Guid, HResult> {
    if id.is_null() {
        return Err(HResult::INVALID_ARGUMENT);
    }
    // SAFETY: the caller's word.
    let RawGuid { data1, data2, data3, data4 } = unsafe { id.read_unaligned() };
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&data1.to_be_bytes());
    octets[4..6].copy_from_slice(&data2.to_be_bytes());
    octets[6..8].copy_from_slice(&data3.to_be_bytes());
    octets[8..].copy_from_slice(&data4);
    Ok(Guid::from_bytes(octets))
}

/// GUID (contract 1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RawGuid {
    data1: u32,
    data2: u16,
    data3: u16,
    data4: [u8; 8],
}

impl From<Guid> for RawGuid {
    fn from(id: Guid) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *id.as_bytes();
        Self {
            data1: u32::from_be_bytes([a, b, c, d]),
            data2: u16::from_be_bytes([e, f]),
            data3: u16::from_be_bytes([g, h]),
            data4: rest,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "what fails must fail the test")]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_were() {
        for text in ["", "é世😀", &"x".repeat(300_000)] {
            let given = give(text).unwrap();
            // SAFETY: it was just given, and ends with a NUL.
            let read = unsafe { read(given) }.unwrap();
            // SAFETY: it came from `allocate`.
            unsafe { release(given.cast()) };
            assert_eq!(read.as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let lone = [0xd800u16, 0];
        let units = [0u16; 2];
        let odd = units.as_ptr().cast::<u8>().wrapping_add(1).cast();
        // SAFETY: both end with a NUL; what is not aligned is not read.
        unsafe {
            assert_eq!(read(lone.as_ptr()), Err(HResult::INVALID_ARGUMENT));
            assert_eq!(read(odd), Err(HResult::INVALID_ARGUMENT));
            assert_eq!(read(ptr::null()), Ok(None));
            assert_eq!(needed(ptr::null()), Err(HResult::INVALID_ARGUMENT));
        }
    }

    #[test]
    fn guids_have_the_order_of_octets_of_windows() {
        let id: Guid = "00112233-4455-6677-8899-AABBCCDDEEFF".parse().unwrap();
        let raw = RawGuid::from(id);
        assert_eq!((raw.data1, raw.data2, raw.data3), (0x0011_2233, 0x4455, 0x6677));
        // SAFETY: it is a reference.
        assert_eq!(unsafe { guid(&raw) }, Ok(id));
    }
}
