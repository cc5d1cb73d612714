/*
 * The Host Compute Network API for programs on Linux: the functions of Windows' computenetwork.dll, carried out by hcnd.
 * Link with -lcomputenetwork (pkg-config computenetwork). The service is asked at $HCND_SOCKET, or at hcnd's own place.
 *
 * All functions may be called by any thread. They return S_OK or a failure; a failure writes a JSON text to *ErrorRecord,
 * anything else null. Results and error records are freed with CoTaskMemFree. Query may be null or empty: all entities,
 * or a document of schema version 1. Null, closed and unknown handles, null GUIDs and null settings give E_INVALIDARG
 * or E_HANDLE, null places for results E_POINTER. Without a service there is HRESULT 0x800706d9, and 0x800706be when it
 * ends during the call. Handles end with the service that gave them: after it was started anew they give
 * HCN_E_OBJECT_USED_AFTER_UNLOAD, and closing them S_OK.
 */
#ifndef HCN_COMPUTENETWORK_H
#define HCN_COMPUTENETWORK_H

#include "computenetworkdefs.h"

HCN_EXTERN_C_BEGIN

HRESULT WINAPI HcnEnumerateNetworks(PCWSTR Query, PWSTR *Networks, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCreateNetwork(REFGUID Id, PCWSTR Settings, PHCN_NETWORK Network,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnOpenNetwork(REFGUID Id, PHCN_NETWORK Network, PWSTR *ErrorRecord);
HRESULT WINAPI HcnModifyNetwork(HCN_NETWORK Network, PCWSTR Settings, PWSTR *ErrorRecord);
HRESULT WINAPI HcnQueryNetworkProperties(HCN_NETWORK Network, PCWSTR Query, PWSTR *Properties,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnDeleteNetwork(REFGUID Id, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCloseNetwork(HCN_NETWORK Network);

HRESULT WINAPI HcnEnumerateEndpoints(PCWSTR Query, PWSTR *Endpoints, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCreateEndpoint(HCN_NETWORK Network, REFGUID Id, PCWSTR Settings, PHCN_ENDPOINT Endpoint,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnOpenEndpoint(REFGUID Id, PHCN_ENDPOINT Endpoint, PWSTR *ErrorRecord);
HRESULT WINAPI HcnModifyEndpoint(HCN_ENDPOINT Endpoint, PCWSTR Settings, PWSTR *ErrorRecord);
HRESULT WINAPI HcnQueryEndpointProperties(HCN_ENDPOINT Endpoint, PCWSTR Query, PWSTR *Properties,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnDeleteEndpoint(REFGUID Id, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCloseEndpoint(HCN_ENDPOINT Endpoint);

HRESULT WINAPI HcnEnumerateNamespaces(PCWSTR Query, PWSTR *Namespaces, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCreateNamespace(REFGUID Id, PCWSTR Settings, PHCN_NAMESPACE Namespace,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnOpenNamespace(REFGUID Id, PHCN_NAMESPACE Namespace, PWSTR *ErrorRecord);
HRESULT WINAPI HcnModifyNamespace(HCN_NAMESPACE Namespace, PCWSTR Settings, PWSTR *ErrorRecord);
HRESULT WINAPI HcnQueryNamespaceProperties(HCN_NAMESPACE Namespace, PCWSTR Query, PWSTR *Properties,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnDeleteNamespace(REFGUID Id, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCloseNamespace(HCN_NAMESPACE Namespace);

HRESULT WINAPI HcnEnumerateLoadBalancers(PCWSTR Query, PWSTR *LoadBalancers, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCreateLoadBalancer(REFGUID Id, PCWSTR Settings, PHCN_LOADBALANCER LoadBalancer,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnOpenLoadBalancer(REFGUID Id, PHCN_LOADBALANCER LoadBalancer, PWSTR *ErrorRecord);
HRESULT WINAPI HcnModifyLoadBalancer(HCN_LOADBALANCER LoadBalancer, PCWSTR Settings, PWSTR *ErrorRecord);
HRESULT WINAPI HcnQueryLoadBalancerProperties(HCN_LOADBALANCER LoadBalancer, PCWSTR Query, PWSTR *Properties,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnDeleteLoadBalancer(REFGUID Id, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCloseLoadBalancer(HCN_LOADBALANCER LoadBalancer);

HRESULT WINAPI HcnEnumerateSdnRoutes(PCWSTR Query, PWSTR *SdnRoutes, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCreateSdnRoute(REFGUID Id, PCWSTR Settings, PHCN_SDNROUTE SdnRoute,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnOpenSdnRoute(REFGUID Id, PHCN_SDNROUTE SdnRoute, PWSTR *ErrorRecord);
HRESULT WINAPI HcnModifySdnRoute(HCN_SDNROUTE SdnRoute, PCWSTR Settings, PWSTR *ErrorRecord);
HRESULT WINAPI HcnQuerySdnRouteProperties(HCN_SDNROUTE SdnRoute, PCWSTR Query, PWSTR *Properties,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnDeleteSdnRoute(REFGUID Id, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCloseSdnRoute(HCN_SDNROUTE SdnRoute);

HRESULT WINAPI HcnEnumerateGuestNetworkServices(PCWSTR Query, PWSTR *GuestNetworkServices, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCreateGuestNetworkService(REFGUID Id, PCWSTR Settings, PHCN_GUESTNETWORKSERVICE GuestNetworkService,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnOpenGuestNetworkService(REFGUID Id, PHCN_GUESTNETWORKSERVICE GuestNetworkService, PWSTR *ErrorRecord);
HRESULT WINAPI HcnModifyGuestNetworkService(HCN_GUESTNETWORKSERVICE GuestNetworkService, PCWSTR Settings, PWSTR *ErrorRecord);
HRESULT WINAPI HcnQueryGuestNetworkServiceProperties(HCN_GUESTNETWORKSERVICE GuestNetworkService, PCWSTR Query, PWSTR *Properties,
                            PWSTR *ErrorRecord);
HRESULT WINAPI HcnDeleteGuestNetworkService(REFGUID Id, PWSTR *ErrorRecord);
HRESULT WINAPI HcnCloseGuestNetworkService(HCN_GUESTNETWORKSERVICE GuestNetworkService);

HRESULT WINAPI HcnQueryEndpointStats(HCN_ENDPOINT Endpoint, PCWSTR Query, PWSTR *Stats, PWSTR *ErrorRecord);
HRESULT WINAPI HcnQueryEndpointAddresses(HCN_ENDPOINT Endpoint, PCWSTR Query, PWSTR *Addresses, PWSTR *ErrorRecord);

/* Networks, namespaces and guest network services that come and go. Unregistering waits for callbacks that run. */
HRESULT WINAPI HcnRegisterServiceCallback(HCN_NOTIFICATION_CALLBACK Callback, void *Context,
                                          HCN_CALLBACK *CallbackHandle);
HRESULT WINAPI HcnUnregisterServiceCallback(HCN_CALLBACK CallbackHandle);
/* Endpoints of a network that are attached and detached. */
HRESULT WINAPI HcnRegisterNetworkCallback(HCN_NETWORK Network, HCN_NOTIFICATION_CALLBACK Callback, void *Context,
                                          HCN_CALLBACK *CallbackHandle);
HRESULT WINAPI HcnUnregisterNetworkCallback(HCN_CALLBACK CallbackHandle);
/* States of a guest network service and of its interfaces. */
HRESULT WINAPI HcnRegisterGuestNetworkServiceCallback(HCN_GUESTNETWORKSERVICE GuestNetworkService,
                                                      HCN_NOTIFICATION_CALLBACK Callback, void *Context,
                                                      HCN_CALLBACK *CallbackHandle);
HRESULT WINAPI HcnUnregisterGuestNetworkServiceCallback(HCN_CALLBACK CallbackHandle);

/* A reservation lasts until it is released, or the process ends. */
HRESULT WINAPI HcnReserveGuestNetworkServicePort(HCN_GUESTNETWORKSERVICE GuestNetworkService,
                                                 HCN_PORT_PROTOCOL Protocol, HCN_PORT_ACCESS Access, USHORT Port,
                                                 HANDLE *PortReservationHandle);
HRESULT WINAPI HcnReserveGuestNetworkServicePortRange(HCN_GUESTNETWORKSERVICE GuestNetworkService, USHORT PortCount,
                                                      HCN_PORT_RANGE_RESERVATION *PortRangeReservation,
                                                      HANDLE *PortReservationHandle);
HRESULT WINAPI HcnReleaseGuestNetworkServicePortReservationHandle(HANDLE PortReservationHandle);
HRESULT WINAPI HcnEnumerateGuestNetworkPortReservations(ULONG *ReturnCount, HCN_PORT_RANGE_ENTRY **PortEntries);
VOID WINAPI HcnFreeGuestNetworkPortReservations(HCN_PORT_RANGE_ENTRY *PortEntries);

/* Undocumented on Windows: E_NOTIMPL, whatever is given. */
HRESULT WINAPI HcnQueryMetrics(void);
HRESULT WINAPI HcnQueryFeatures(void);

HCN_EXTERN_C_END

#endif
