/* The functions of computenetwork.dll (contract 1.3 and 1.4). What they do is done by the half that Linux runs. */
#include "unix.h"

#include <computenetwork.h>
#include <objbase.h>

#define VERBS(ONE, MANY, HANDLE)                                                                                      \
    HRESULT WINAPI HcnEnumerate##MANY(PCWSTR query, PWSTR *ids, PWSTR *record)                                        \
    {                                                                                                                 \
        return CARRY_OUT(HcnEnumerate##MANY, ids, record, query, ids, record);                                        \
    }                                                                                                                 \
    HRESULT WINAPI HcnOpen##ONE(REFGUID id, HANDLE *handle, PWSTR *record)                                            \
    {                                                                                                                 \
        return CARRY_OUT(HcnOpen##ONE, NULL, record, id, handle, record);                                             \
    }                                                                                                                 \
    HRESULT WINAPI HcnModify##ONE(HANDLE handle, PCWSTR settings, PWSTR *record)                                      \
    {                                                                                                                 \
        return CARRY_OUT(HcnModify##ONE, NULL, record, handle, settings, record);                                     \
    }                                                                                                                 \
    HRESULT WINAPI HcnQuery##ONE##Properties(HANDLE handle, PCWSTR query, PWSTR *properties, PWSTR *record)           \
    {                                                                                                                 \
        return CARRY_OUT(HcnQuery##ONE##Properties, properties, record, handle, query, properties, record);           \
    }                                                                                                                 \
    HRESULT WINAPI HcnDelete##ONE(REFGUID id, PWSTR *record)                                                          \
    {                                                                                                                 \
        return CARRY_OUT(HcnDelete##ONE, NULL, record, id, record);                                                   \
    }                                                                                                                 \
    HRESULT WINAPI HcnClose##ONE(HANDLE handle)                                                                       \
    {                                                                                                                 \
        return CARRY_OUT(HcnClose##ONE, NULL, NULL, handle);                                                          \
    }

#define CREATE(ONE, HANDLE)                                                                                           \
    HRESULT WINAPI HcnCreate##ONE(REFGUID id, PCWSTR settings, HANDLE *handle, PWSTR *record)                         \
    {                                                                                                                 \
        return CARRY_OUT(HcnCreate##ONE, NULL, record, id, settings, handle, record);                                 \
    }

VERBS(Network, Networks, HCN_NETWORK)
VERBS(Endpoint, Endpoints, HCN_ENDPOINT)
VERBS(Namespace, Namespaces, HCN_NAMESPACE)
VERBS(LoadBalancer, LoadBalancers, HCN_LOADBALANCER)
VERBS(SdnRoute, SdnRoutes, HCN_SDNROUTE)
VERBS(GuestNetworkService, GuestNetworkServices, HCN_GUESTNETWORKSERVICE)
CREATE(Network, HCN_NETWORK)
CREATE(Namespace, HCN_NAMESPACE)
CREATE(LoadBalancer, HCN_LOADBALANCER)
CREATE(SdnRoute, HCN_SDNROUTE)
CREATE(GuestNetworkService, HCN_GUESTNETWORKSERVICE)

HRESULT WINAPI HcnCreateEndpoint(HCN_NETWORK network, REFGUID id, PCWSTR settings, HCN_ENDPOINT *endpoint,
                                 PWSTR *record)
{
    return CARRY_OUT(HcnCreateEndpoint, NULL, record, network, id, settings, endpoint, record);
}

HRESULT WINAPI HcnQueryEndpointStats(HCN_ENDPOINT endpoint, PCWSTR query, PWSTR *stats, PWSTR *record)
{
    return CARRY_OUT(HcnQueryEndpointStats, stats, record, endpoint, query, stats, record);
}

HRESULT WINAPI HcnQueryEndpointAddresses(HCN_ENDPOINT endpoint, PCWSTR query, PWSTR *addresses, PWSTR *record)
{
    return CARRY_OUT(HcnQueryEndpointAddresses, addresses, record, endpoint, query, addresses, record);
}

HRESULT WINAPI HcnReserveGuestNetworkServicePort(HCN_GUESTNETWORKSERVICE service, HCN_PORT_PROTOCOL protocol,
                                                 HCN_PORT_ACCESS access, USHORT port, HANDLE *reservation)
{
    return CARRY_OUT(HcnReserveGuestNetworkServicePort, NULL, NULL, service, number(protocol), number(access),
                     number(port), reservation);
}

HRESULT WINAPI HcnReserveGuestNetworkServicePortRange(HCN_GUESTNETWORKSERVICE service, USHORT count,
                                                      HCN_PORT_RANGE_RESERVATION *range, HANDLE *reservation)
{
    return CARRY_OUT(HcnReserveGuestNetworkServicePortRange, NULL, NULL, service, number(count), range, reservation);
}

HRESULT WINAPI HcnReleaseGuestNetworkServicePortReservationHandle(HANDLE reservation)
{
    return CARRY_OUT(HcnReleaseGuestNetworkServicePortReservationHandle, NULL, NULL, reservation);
}

HRESULT WINAPI HcnEnumerateGuestNetworkPortReservations(ULONG *count, HCN_PORT_RANGE_ENTRY **entries)
{
    HRESULT result = CARRY_OUT(HcnEnumerateGuestNetworkPortReservations, NULL, NULL, count, entries);

    if (SUCCEEDED(result) && *entries) {
        *entries = moved(*entries, *count * sizeof **entries);
        if (!*entries)
            return *count = 0, E_OUTOFMEMORY;
    }
    return result;
}

void WINAPI HcnFreeGuestNetworkPortReservations(HCN_PORT_RANGE_ENTRY *entries)
{
    CoTaskMemFree(entries);
}

/* What a registration's thread needs to know. */
struct registration {
    HCN_NOTIFICATION_CALLBACK callback;
    void *context;
    void *listener;
};

/* Asks the other half what has happened and calls, until there is nothing more; the listener ends with that. */
static DWORD WINAPI tell(void *argument)
{
    struct registration registration = *(struct registration *)argument;
    DWORD type;
    void *data;

    CoTaskMemFree(argument);
    while (unix_call(unix_next, &(struct call){.arguments = {registration.listener, &type, &data}}) == S_OK) {
        registration.callback(type, registration.context, S_OK, data);
        unix_call(unix_release, &(struct call){.arguments = {data}});
    }
    return 0;
}

/* Has a thread listen to what the function has begun to hear, with `call.arguments[at]` as the place for the listener. */
static HRESULT start(enum unix_function function, struct call *call, unsigned at, HCN_NOTIFICATION_CALLBACK callback,
                     void *context, HCN_CALLBACK *handle)
{
    struct registration *registration;
    HANDLE thread = NULL;
    HRESULT result;

    if (!handle)
        return E_POINTER;
    *handle = NULL;
    if (!callback)
        return E_INVALIDARG;
    registration = CoTaskMemAlloc(sizeof *registration);
    if (!registration)
        return E_OUTOFMEMORY;
    *registration = (struct registration){.callback = callback, .context = context};
    call->arguments[at] = &registration->listener;
    call->arguments[at + 1] = handle;
    result = unix_call(function, call);
    if (SUCCEEDED(result) && !(thread = CreateThread(NULL, 0, tell, registration, 0, NULL))) {
        unix_call(unix_forget, &(struct call){.arguments = {registration->listener}});
        unix_call(unix_unregister, &(struct call){.arguments = {*handle}});
        *handle = NULL;
        result = E_OUTOFMEMORY;
    }
    if (thread)
        CloseHandle(thread);
    else
        CoTaskMemFree(registration);
    return result;
}

HRESULT WINAPI HcnRegisterServiceCallback(HCN_NOTIFICATION_CALLBACK callback, void *context, HCN_CALLBACK *handle)
{
    return start(unix_listen_to_service, &(struct call){0}, 0, callback, context, handle);
}

HRESULT WINAPI HcnRegisterNetworkCallback(HCN_NETWORK network, HCN_NOTIFICATION_CALLBACK callback, void *context,
                                          HCN_CALLBACK *handle)
{
    return start(unix_listen_to_network, &(struct call){.arguments = {network}}, 1, callback, context, handle);
}

HRESULT WINAPI HcnRegisterGuestNetworkServiceCallback(HCN_GUESTNETWORKSERVICE service,
                                                      HCN_NOTIFICATION_CALLBACK callback, void *context,
                                                      HCN_CALLBACK *handle)
{
    return start(unix_listen_to_guest_network_service, &(struct call){.arguments = {service}}, 1, callback, context,
                 handle);
}

HRESULT WINAPI HcnUnregisterServiceCallback(HCN_CALLBACK handle)
{
    return CARRY_OUT(unregister, NULL, NULL, handle);
}

HRESULT WINAPI HcnUnregisterNetworkCallback(HCN_CALLBACK handle)
{
    return CARRY_OUT(unregister, NULL, NULL, handle);
}

HRESULT WINAPI HcnUnregisterGuestNetworkServiceCallback(HCN_CALLBACK handle)
{
    return CARRY_OUT(unregister, NULL, NULL, handle);
}

HRESULT WINAPI HcnQueryMetrics(void)
{
    return E_NOTIMPL;
}

HRESULT WINAPI HcnQueryFeatures(void)
{
    return E_NOTIMPL;
}
