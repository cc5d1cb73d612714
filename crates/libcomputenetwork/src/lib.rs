//! `libcomputenetwork.so`: the functions of computenetwork.dll (contract 1.3 and 1.4), over hcnd. Its header is
//! `computenetwork.h`; what the functions do is in [`hcn_c`].
#![allow(unsafe_code, reason = "the names that C calls")]
#![allow(non_snake_case, reason = "the names are the contract's")]
#![allow(clippy::missing_safety_doc, reason = "the rules are the contract's (1.1), said in the header")]

use std::ffi::c_void;

use hcn_c::callbacks::{self, Callback};
use hcn_c::memory::{self, RawGuid};
use hcn_c::ports::{self, Range, RangeEntry};
use hcn_c::{Code, Handle, Kind, NOT_IMPLEMENTED, Text, TextOut, verbs};

/// The functions of a kind of entity; `[network]` is what creating an endpoint takes besides.
macro_rules! verbs {
    ($($kind:ident: $enumerate:ident $create:ident($($network:ident)?) $open:ident $modify:ident $query:ident $delete:ident
        $close:ident;)*) => {$(
        #[doc = concat!("IDs of the entities of kind ", stringify!($kind), " that match a query.")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $enumerate(query: Text, ids: TextOut, record: TextOut) -> Code {
            // SAFETY: the caller keeps the rules of the C function.
            unsafe { verbs::enumerate(Kind::$kind, query, ids, record) }
        }

        #[doc = concat!("Makes a ", stringify!($kind), ".")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $create(
            $($network: Handle,)?
            id: *const RawGuid,
            settings: Text,
            handle: *mut Handle,
            record: TextOut,
        ) -> Code {
            #[allow(unused_mut, unused_assignments, reason = "only endpoints have a network")]
            let mut of = None;
            $(of = Some($network);)?
            // SAFETY: the caller keeps the rules of the C function.
            unsafe { verbs::create(Kind::$kind, of, id, settings, handle, record) }
        }

        #[doc = concat!("A handle of a ", stringify!($kind), ".")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $open(id: *const RawGuid, handle: *mut Handle, record: TextOut) -> Code {
            // SAFETY: the caller keeps the rules of the C function.
            unsafe { verbs::open(Kind::$kind, id, handle, record) }
        }

        #[doc = concat!("Applies a modify request to a ", stringify!($kind), ".")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $modify(handle: Handle, settings: Text, record: TextOut) -> Code {
            // SAFETY: the caller keeps the rules of the C function.
            unsafe { verbs::modify(Kind::$kind, handle, settings, record) }
        }

        #[doc = concat!("The document of a ", stringify!($kind), ".")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $query(
            handle: Handle,
            query: Text,
            properties: TextOut,
            record: TextOut,
        ) -> Code {
            // SAFETY: the caller keeps the rules of the C function.
            unsafe { verbs::query_properties(Kind::$kind, handle, query, properties, record) }
        }

        #[doc = concat!("Deletes a ", stringify!($kind), ".")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $delete(id: *const RawGuid, record: TextOut) -> Code {
            // SAFETY: the caller keeps the rules of the C function.
            unsafe { verbs::delete(Kind::$kind, id, record) }
        }

        #[doc = concat!("Closes a handle of a ", stringify!($kind), ".")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $close(handle: Handle) -> Code {
            verbs::close(Kind::$kind, handle)
        }
    )*};
}

verbs! {
    Network: HcnEnumerateNetworks HcnCreateNetwork() HcnOpenNetwork HcnModifyNetwork HcnQueryNetworkProperties
        HcnDeleteNetwork HcnCloseNetwork;
    Endpoint: HcnEnumerateEndpoints HcnCreateEndpoint(network) HcnOpenEndpoint HcnModifyEndpoint
        HcnQueryEndpointProperties HcnDeleteEndpoint HcnCloseEndpoint;
    Namespace: HcnEnumerateNamespaces HcnCreateNamespace() HcnOpenNamespace HcnModifyNamespace
        HcnQueryNamespaceProperties HcnDeleteNamespace HcnCloseNamespace;
    LoadBalancer: HcnEnumerateLoadBalancers HcnCreateLoadBalancer() HcnOpenLoadBalancer HcnModifyLoadBalancer
        HcnQueryLoadBalancerProperties HcnDeleteLoadBalancer HcnCloseLoadBalancer;
    SdnRoute: HcnEnumerateSdnRoutes HcnCreateSdnRoute() HcnOpenSdnRoute HcnModifySdnRoute HcnQuerySdnRouteProperties
        HcnDeleteSdnRoute HcnCloseSdnRoute;
    GuestNetworkService: HcnEnumerateGuestNetworkServices HcnCreateGuestNetworkService() HcnOpenGuestNetworkService
        HcnModifyGuestNetworkService HcnQueryGuestNetworkServiceProperties HcnDeleteGuestNetworkService
        HcnCloseGuestNetworkService;
}

/// What an endpoint's link has carried.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HcnQueryEndpointStats(
    endpoint: Handle,
    query: Text,
    stats: TextOut,
    record: TextOut,
) -> Code {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { verbs::query_stats(endpoint, query, stats, record) }
}

/// The addresses of an endpoint.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HcnQueryEndpointAddresses(
    endpoint: Handle,
    query: Text,
    addresses: TextOut,
    record: TextOut,
) -> Code {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { verbs::query_addresses(endpoint, query, addresses, record) }
}

/// Has a function called when networks, namespaces or guest network services come and go.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HcnRegisterServiceCallback(
    callback: Callback,
    context: *mut c_void,
    handle: *mut Handle,
) -> Code {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { callbacks::register_service(callback, context, handle) }
}

/// Has a function called when endpoints of a network are attached and detached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HcnRegisterNetworkCallback(
    network: Handle,
    callback: Callback,
    context: *mut c_void,
    handle: *mut Handle,
) -> Code {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { callbacks::register_for(Kind::Network, network, callback, context, handle) }
}

/// Has a function called when a guest network service or one of its interfaces changes its state.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HcnRegisterGuestNetworkServiceCallback(
    service: Handle,
    callback: Callback,
    context: *mut c_void,
    handle: *mut Handle,
) -> Code {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { callbacks::register_for(Kind::GuestNetworkService, service, callback, context, handle) }
}

/// Ends a registration; no callback runs any more after that.
#[unsafe(no_mangle)]
pub extern "C" fn HcnUnregisterServiceCallback(handle: Handle) -> Code {
    callbacks::unregister(handle)
}

/// Ends a registration; no callback runs any more after that.
#[unsafe(no_mangle)]
pub extern "C" fn HcnUnregisterNetworkCallback(handle: Handle) -> Code {
    callbacks::unregister(handle)
}

/// Ends a registration; no callback runs any more after that.
#[unsafe(no_mangle)]
pub extern "C" fn HcnUnregisterGuestNetworkServiceCallback(handle: Handle) -> Code {
    callbacks::unregister(handle)
}

/// Reserves a port.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HcnReserveGuestNetworkServicePort(
    service: Handle,
    protocol: u32,
    access: u32,
    port: u16,
    reservation: *mut Handle,
) -> Code {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { ports::reserve(service, protocol, access, port, reservation) }
}

/// Reserves ports in a row.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HcnReserveGuestNetworkServicePortRange(
    service: Handle,
    count: u16,
    range: *mut Range,
    reservation: *mut Handle,
) -> Code {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { ports::reserve_range(service, count, range, reservation) }
}

/// Releases what was reserved.
#[unsafe(no_mangle)]
pub extern "C" fn HcnReleaseGuestNetworkServicePortReservationHandle(reservation: Handle) -> Code {
    ports::release(reservation)
}

/// All reservations.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HcnEnumerateGuestNetworkPortReservations(
    count: *mut u32,
    entries: *mut *mut RangeEntry,
) -> Code {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { ports::enumerate(count, entries) }
}

/// Frees what HcnEnumerateGuestNetworkPortReservations gave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn HcnFreeGuestNetworkPortReservations(entries: *mut RangeEntry) {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { ports::free(entries) }
}

/// Undocumented on Windows.
#[unsafe(no_mangle)]
pub extern "C" fn HcnQueryMetrics() -> Code {
    NOT_IMPLEMENTED
}

/// Undocumented on Windows.
#[unsafe(no_mangle)]
pub extern "C" fn HcnQueryFeatures() -> Code {
    NOT_IMPLEMENTED
}

/// Memory for what is given to others.
#[unsafe(no_mangle)]
pub extern "C" fn CoTaskMemAlloc(octets: usize) -> *mut c_void {
    memory::allocate(octets)
}

/// The same memory with another size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CoTaskMemRealloc(memory: *mut c_void, octets: usize) -> *mut c_void {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { memory::reallocate(memory, octets) }
}

/// Frees what a function gave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CoTaskMemFree(memory: *mut c_void) {
    // SAFETY: the caller keeps the rules of the C function.
    unsafe { memory::release(memory) }
}
