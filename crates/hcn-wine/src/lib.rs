//! The half of computenetwork.dll and vmcompute.dll that Linux runs when a Windows program calls them under Wine.
//!
//! Wine's own DLLs have two halves: a PE file, which Windows programs call (`pe/`), and a shared object, whose functions
//! the PE file calls by their number in `__wine_unix_call_funcs`. Both are in one process and see the same memory, so
//! arguments go over as they are. Two things do not: memory that the caller frees, which the PE half copies into Windows'
//! own, and callbacks, which only a thread that Windows has made can run, so that the PE half listens on one.
#![allow(unsafe_code, reason = "what Wine gives are pointers")]
#![allow(non_upper_case_globals, reason = "the name is Wine's")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the rules are those of the C functions; only the PE half calls"
)]

use std::ffi::c_void;

use computenetwork::*;
use hcn_c::callbacks::{self, Listener};
use hcn_c::vmcompute::call as HNSCall;
use hcn_c::{Code, Handle, Kind, OK, TextOut, memory};

/// S_FALSE: there is nothing more.
const OVER: Code = 1;

/// A call, as the PE half writes it down.
#[derive(Debug)]
#[repr(C)]
pub struct Call {
    arguments: [*mut c_void; 6],
    result: Code,
}

/// What the PE half calls; the NTSTATUS is always that of success.
pub type Function = unsafe extern "C" fn(*mut Call) -> u32;

/// What takes the place of a pointer in a call.
trait Argument {
    fn of(place: *mut c_void) -> Self;
}

impl<T> Argument for *mut T {
    fn of(place: *mut c_void) -> Self {
        place.cast()
    }
}

impl<T> Argument for *const T {
    fn of(place: *mut c_void) -> Self {
        place.cast_const().cast()
    }
}

impl Argument for u32 {
    fn of(place: *mut c_void) -> Self {
        place.addr() as Self
    }
}

impl Argument for u16 {
    fn of(place: *mut c_void) -> Self {
        place.addr() as Self
    }
}

/// The functions, each with its arguments, in the order of their numbers.
macro_rules! functions {
    ($($name:ident($($argument:ident)*);)*) => {
        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// Where Wine looks for them.
        #[unsafe(no_mangle)]
        pub static __wine_unix_call_funcs: [Function; [$(stringify!($name)),*].len()] = [$({
            unsafe extern "C" fn function(call: *mut Call) -> u32 {
                // SAFETY: a call is on the stack of the thread that calls.
                let call = unsafe { &mut *call };
                let [$($argument,)* ..] = call.arguments;
                #[allow(unused_unsafe, reason = "some can be called with anything")]
                // SAFETY: the arguments are the program's, which keeps the rules of the C function.
                let result = unsafe { $name($(Argument::of($argument)),*) };
                call.result = result;
                0
            }
            function
        }),*];
    };
}

functions! {
    HcnEnumerateNetworks(query ids record);
    HcnCreateNetwork(id settings handle record);
    HcnOpenNetwork(id handle record);
    HcnModifyNetwork(handle settings record);
    HcnQueryNetworkProperties(handle query properties record);
    HcnDeleteNetwork(id record);
    HcnCloseNetwork(handle);
    HcnEnumerateEndpoints(query ids record);
    HcnCreateEndpoint(network id settings handle record);
    HcnOpenEndpoint(id handle record);
    HcnModifyEndpoint(handle settings record);
    HcnQueryEndpointProperties(handle query properties record);
    HcnDeleteEndpoint(id record);
    HcnCloseEndpoint(handle);
    HcnEnumerateNamespaces(query ids record);
    HcnCreateNamespace(id settings handle record);
    HcnOpenNamespace(id handle record);
    HcnModifyNamespace(handle settings record);
    HcnQueryNamespaceProperties(handle query properties record);
    HcnDeleteNamespace(id record);
    HcnCloseNamespace(handle);
    HcnEnumerateLoadBalancers(query ids record);
    HcnCreateLoadBalancer(id settings handle record);
    HcnOpenLoadBalancer(id handle record);
    HcnModifyLoadBalancer(handle settings record);
    HcnQueryLoadBalancerProperties(handle query properties record);
    HcnDeleteLoadBalancer(id record);
    HcnCloseLoadBalancer(handle);
    HcnEnumerateSdnRoutes(query ids record);
    HcnCreateSdnRoute(id settings handle record);
    HcnOpenSdnRoute(id handle record);
    HcnModifySdnRoute(handle settings record);
    HcnQuerySdnRouteProperties(handle query properties record);
    HcnDeleteSdnRoute(id record);
    HcnCloseSdnRoute(handle);
    HcnEnumerateGuestNetworkServices(query ids record);
    HcnCreateGuestNetworkService(id settings handle record);
    HcnOpenGuestNetworkService(id handle record);
    HcnModifyGuestNetworkService(handle settings record);
    HcnQueryGuestNetworkServiceProperties(handle query properties record);
    HcnDeleteGuestNetworkService(id record);
    HcnCloseGuestNetworkService(handle);
    HcnQueryEndpointStats(endpoint query stats record);
    HcnQueryEndpointAddresses(endpoint query addresses record);
    HcnReserveGuestNetworkServicePort(service protocol access port reservation);
    HcnReserveGuestNetworkServicePortRange(service count range reservation);
    HcnReleaseGuestNetworkServicePortReservationHandle(reservation);
    HcnEnumerateGuestNetworkPortReservations(count entries);
    HNSCall(method path request response);
    listen_to_service(listener handle);
    listen_to_network(network listener handle);
    listen_to_guest_network_service(service listener handle);
    next(listener kind data);
    forget(listener);
    unregister(handle);
    release(memory);
}

unsafe fn listen_to_service(listener: *mut *mut Listener, place: *mut Handle) -> Code {
    // SAFETY: the caller's word.
    unsafe { callbacks::listen(None, listener, place) }
}

unsafe fn listen_to_network(network: Handle, listener: *mut *mut Listener, place: *mut Handle) -> Code {
    // SAFETY: the caller's word.
    unsafe { callbacks::listen(Some((Kind::Network, network)), listener, place) }
}

unsafe fn listen_to_guest_network_service(
    service: Handle,
    listener: *mut *mut Listener,
    place: *mut Handle,
) -> Code {
    // SAFETY: the caller's word.
    unsafe { callbacks::listen(Some((Kind::GuestNetworkService, service)), listener, place) }
}

/// What the callback is to be told next; after [`OVER`] the listener is gone.
unsafe fn next(listener: *mut Listener, kind: *mut u32, data: TextOut) -> Code {
    // SAFETY: it came from one of the above, and its thread alone uses it; the places are on that thread's stack.
    unsafe {
        let Some((heard, told)) = (*listener).next() else { return forget(listener).max(OVER) };
        kind.write(heard);
        data.write(told.and_then(|told| memory::give(told.get()).ok()).unwrap_or(std::ptr::null_mut()));
    }
    OK
}

/// Nobody listens, or will.
unsafe fn forget(listener: *mut Listener) -> Code {
    // SAFETY: it came from one of the above, and nobody uses it any more.
    drop(unsafe { Box::from_raw(listener) });
    OK
}

fn unregister(handle: Handle) -> Code {
    callbacks::unregister(handle)
}

/// Frees what another function gave.
unsafe fn release(memory: *mut c_void) -> Code {
    // SAFETY: the caller's word.
    unsafe { memory::release(memory) };
    OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_have_the_same_numbers_for_the_functions() {
        let header = include_str!("../pe/unix.h");
        let (_, list) = header.split_once("#define FUNCTIONS(X)").unwrap_or_default();
        let (list, _) = list.split_once("\n\n").unwrap_or_default();
        let listed: Vec<&str> = list.split("X(").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert_eq!(listed, NAMES);
    }
}
