/* The functions of the half that Linux runs, in the order of their numbers there (src/lib.rs), and how to call them. */
#ifndef HCN_WINE_UNIX_H
#define HCN_WINE_UNIX_H

#include <windows.h>

#define FUNCTIONS(X)                                                                                                  \
    X(HcnEnumerateNetworks) X(HcnCreateNetwork) X(HcnOpenNetwork) X(HcnModifyNetwork) X(HcnQueryNetworkProperties)    \
    X(HcnDeleteNetwork) X(HcnCloseNetwork) X(HcnEnumerateEndpoints) X(HcnCreateEndpoint) X(HcnOpenEndpoint)           \
    X(HcnModifyEndpoint) X(HcnQueryEndpointProperties) X(HcnDeleteEndpoint) X(HcnCloseEndpoint)                       \
    X(HcnEnumerateNamespaces) X(HcnCreateNamespace) X(HcnOpenNamespace) X(HcnModifyNamespace)                         \
    X(HcnQueryNamespaceProperties) X(HcnDeleteNamespace) X(HcnCloseNamespace) X(HcnEnumerateLoadBalancers)            \
    X(HcnCreateLoadBalancer) X(HcnOpenLoadBalancer) X(HcnModifyLoadBalancer) X(HcnQueryLoadBalancerProperties)        \
    X(HcnDeleteLoadBalancer) X(HcnCloseLoadBalancer) X(HcnEnumerateSdnRoutes) X(HcnCreateSdnRoute)                    \
    X(HcnOpenSdnRoute) X(HcnModifySdnRoute) X(HcnQuerySdnRouteProperties) X(HcnDeleteSdnRoute) X(HcnCloseSdnRoute)    \
    X(HcnEnumerateGuestNetworkServices) X(HcnCreateGuestNetworkService) X(HcnOpenGuestNetworkService)                 \
    X(HcnModifyGuestNetworkService) X(HcnQueryGuestNetworkServiceProperties) X(HcnDeleteGuestNetworkService)          \
    X(HcnCloseGuestNetworkService) X(HcnQueryEndpointStats) X(HcnQueryEndpointAddresses)                              \
    X(HcnReserveGuestNetworkServicePort) X(HcnReserveGuestNetworkServicePortRange)                                    \
    X(HcnReleaseGuestNetworkServicePortReservationHandle) X(HcnEnumerateGuestNetworkPortReservations) X(HNSCall)      \
    X(listen_to_service) X(listen_to_network) X(listen_to_guest_network_service) X(next) X(forget) X(unregister)      \
    X(release)

#define X(name) unix_##name,
enum unix_function { FUNCTIONS(X) };
#undef X

struct call {
    const void *arguments[6];
    HRESULT result;
};

/* Calls a function of the other half with what it has noted as arguments. */
HRESULT unix_call(enum unix_function function, struct call *call);

/*
 * The same for a function of the contract: what it gives is moved into memory that CoTaskMemFree frees. `result` is where
 * the text goes, null if there is none; `record` likewise the ErrorRecord.
 */
HRESULT carry_out(enum unix_function function, struct call *call, PWSTR *result, PWSTR *record);

#define CARRY_OUT(name, result, record, ...)                                                                          \
    carry_out(unix_##name, &(struct call){.arguments = {__VA_ARGS__}}, result, record)

/* A copy in memory that CoTaskMemFree frees, of which the original is freed; null where there is no memory left. */
void *moved(void *memory, SIZE_T octets);

/* A number in the place of a pointer. */
static inline const void *number(ULONG value)
{
    return (const void *)(ULONG_PTR)value;
}

#endif
