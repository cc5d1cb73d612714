//! `libvmcompute.so`: HNSCall of vmcompute.dll, over hcnd. Its header is `vmcompute.h`.
#![allow(unsafe_code, reason = "the names that C calls")]
#![allow(non_snake_case, reason = "the names are the contract's")]
#![allow(clippy::missing_safety_doc, reason = "the rules are the contract's (1.1), said in the header")]

use std::ffi::c_void;

use hcn_c::{Code, Text, TextOut, memory, vmcompute};

/// Carries out a request of HNS version 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HNSCall(method: Text, path: Text, request: Text, response: TextOut) -> Code {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { vmcompute::call(method, path, request, response) }
}

/// Frees what a function gave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CoTaskMemFree(memory: *mut c_void) {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { memory::release(memory) }
}
