/* Every function, with what it must do to its places for results, to errors and to bad arguments. */
#include "check.h"

#include <unistd.h>
#include <vmcompute.h>

#define V2 "\"SchemaVersion\": {\"Major\": 2, \"Minor\": 0}"
/* A place that holds something: the library must overwrite it. */
#define USED ((PWSTR)(uintptr_t)0x5a5a5a50)

static const GUID ZERO;
static const GUID NETWORK = {0xa0a1a2a3, 0xb0b1, 0xc0c1, {0xd0, 0xd1, 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5}};
static const GUID ENDPOINT = {0xe0000001, 0, 0, {0, 0, 0, 0, 0, 0, 0, 1}};
static const GUID NAMESPACE = {0xf0000001, 0, 0, {0, 0, 0, 0, 0, 0, 0, 1}};
static const GUID BALANCER = {0xb0000001, 0, 0, {0, 0, 0, 0, 0, 0, 0, 1}};
static const GUID ROUTE = {0xd0000001, 0, 0, {0, 0, 0, 0, 0, 0, 0, 1}};
static const GUID SERVICE = {0xc0000001, 0, 0, {0, 0, 0, 0, 0, 0, 0, 1}};
static const GUID NOBODY = {1, 2, 3, {4, 5, 6, 7, 8, 9, 10, 11}};

/* A failure has this code, and the place `record` one that says it. */
#define REFUSED(code, call)                                                                                            \
    do {                                                                                                               \
        GIVES(code, call);                                                                                             \
        says(code, record);                                                                                            \
    } while (0)

static void says(HRESULT code, PWSTR record)
{
    char said[32], *text = narrow(record);

    snprintf(said, sizeof said, "\"ErrorCode\":%u}", (unsigned)code);
    CHECK(strstr(text, "{\"Success\":false,\"Error\":\""));
    CHECK(strstr(text, said));
    free(text);
}

static void networks(HCN_NETWORK *network)
{
    PWSTR record = USED, text = USED;
    HCN_NETWORK other = (HCN_NETWORK)USED;
    char *ascii;

    GIVES(S_OK, HcnCreateNetwork(&NETWORK,
                                 u"{" V2 ", \"Type\": \"NAT\", \"Name\": \"é世😀\", \"Ipams\": [{\"Subnets\": "
                                 u"[{\"IpAddressPrefix\": \"192.168.100.0/24\", \"Routes\": [{\"NextHop\": "
                                 u"\"192.168.100.1\", \"DestinationPrefix\": \"0.0.0.0/0\"}]}]}]}",
                                 network, &record));
    CHECK(!record);
    GIVES(S_OK, HcnEnumerateNetworks(NULL, &text, &record));
    ascii = narrow(text);
    CHECK(!strcmp(ascii, "[\"A0A1A2A3-B0B1-C0C1-D0D1-E0E1E2E3E4E5\"]"));
    free(ascii);
    GIVES(S_OK, HcnEnumerateNetworks(u"", &text, NULL));
    CoTaskMemFree(text);
    GIVES(S_OK, HcnEnumerateNetworks(u"{\"Filter\": \"{\\\"Name\\\": \\\"x\\\"}\"}", &text, NULL));
    CHECK(same(text, u"[]"));
    CoTaskMemFree(text);
    /* Without a query it is version 1. */
    GIVES(S_OK, HcnQueryNetworkProperties(*network, NULL, &text, &record));
    ascii = narrow(text);
    CHECK(strstr(ascii, "\"Subnets\"") && !strstr(ascii, "\"Ipams\""));
    free(ascii);
    GIVES(S_OK, HcnOpenNetwork(&NETWORK, &other, &record));
    CHECK(other != *network);
    GIVES(S_OK, HcnCloseNetwork(other));
    GIVES(E_HANDLE, HcnCloseNetwork(other));
    record = USED;
    text = USED;
    REFUSED(E_HANDLE, HcnQueryNetworkProperties(other, NULL, &text, &record));
    CHECK(!text);
    other = (HCN_NETWORK)USED;
    REFUSED(HCN_E_NETWORK_NOT_FOUND, HcnOpenNetwork(&NOBODY, &other, &record));
    CHECK(!other);
    record = USED;
    REFUSED(HCN_E_INVALID_JSON, HcnCreateNetwork(&ZERO, u"{", &other, &record));
    REFUSED(HCN_E_NETWORK_ALREADY_EXISTS, HcnCreateNetwork(&NETWORK, u"{" V2 "}", &other, &record));
    REFUSED(HCN_E_INVALID_JSON, HcnModifyNetwork(*network, u"{", &record));
}

static void names_survive(HCN_NETWORK network)
{
    PWSTR text;
    int found = 0;

    GIVES(S_OK, HcnQueryNetworkProperties(network, u"{" V2 "}", &text, NULL));
    for (PWSTR at = text; *at; at++) {
        PCWSTR name = u"\"é世😀\"";
        size_t length = 0;

        while (name[length] && at[length] == name[length])
            length++;
        found |= !name[length];
    }
    CHECK(found);
    CoTaskMemFree(text);
}

/* 300 KB go in and come back. */
static void large_texts(HCN_NETWORK network)
{
    enum { LENGTH = 300000 };
    static const char head[] = "{" V2 ", \"AdditionalParams\": {\"note\":\"";
    char *document = calloc(LENGTH + 200, 1);
    HCN_ENDPOINT endpoint;
    PWSTR text;
    WCHAR *settings;
    char *ascii;

    strcpy(document, head);
    memset(strchr(document, 0), 'o', LENGTH);
    strcat(document, "\"}}");
    settings = wide(document);
    GIVES(S_OK, HcnCreateEndpoint(network, &ZERO, settings, &endpoint, NULL));
    GIVES(S_OK, HcnQueryEndpointProperties(endpoint, u"{" V2 "}", &text, NULL));
    ascii = narrow(text);
    CHECK(strlen(ascii) > LENGTH && strstr(ascii, "\"note\":\"ooooooooo"));
    free(ascii);
    GIVES(S_OK, HcnQueryEndpointProperties(endpoint, NULL, &text, NULL));
    ascii = narrow(text);
    GIVES(S_OK, HcnCloseEndpoint(endpoint));
    free(ascii);
    free(settings);
    free(document);
}

static void endpoints(HCN_NETWORK network, HCN_ENDPOINT *endpoint)
{
    PWSTR record = USED, text = USED;
    char *ascii;

    GIVES(S_OK, HcnCreateEndpoint(network, &ENDPOINT,
                                  u"{" V2 ", \"IpConfigurations\": [{\"IpAddress\": \"192.168.100.7\"}]}", endpoint,
                                  &record));
    GIVES(S_OK, HcnEnumerateEndpoints(NULL, &text, NULL));
    ascii = narrow(text);
    CHECK(strstr(ascii, "E0000001-0000-0000-0000-000000000001"));
    free(ascii);
    GIVES(S_OK, HcnQueryEndpointAddresses(*endpoint, NULL, &text, &record));
    ascii = narrow(text);
    CHECK(strstr(ascii, "192.168.100.7"));
    free(ascii);
    GIVES(S_OK, HcnQueryEndpointStats(*endpoint, NULL, &text, &record));
    ascii = narrow(text);
    CHECK(strstr(ascii, "\"PacketsSent\":"));
    free(ascii);
    GIVES(S_OK, HcnModifyEndpoint(*endpoint,
                                  u"{\"ResourceType\": \"Policy\", \"RequestType\": \"Add\", \"Settings\": "
                                  u"{\"Policies\": [{\"Type\": \"PortMapping\", \"Settings\": {\"Protocol\": 6, "
                                  u"\"InternalPort\": 80, \"ExternalPort\": 8080}}]}}",
                                  &record));
    CHECK(!record);
    /* A handle of another kind is none. */
    REFUSED(E_INVALIDARG, HcnModifyEndpoint((HCN_ENDPOINT)network, u"{}", &record));
    REFUSED(HCN_E_ENDPOINT_NOT_FOUND, HcnDeleteEndpoint(&NOBODY, &record));
}

static void namespaces(HCN_NAMESPACE *name_space)
{
    PWSTR text;
    char *ascii;

    GIVES(S_OK, HcnCreateNamespace(&NAMESPACE, u"{" V2 "}", name_space, NULL));
    GIVES(S_OK, HcnModifyNamespace(*name_space,
                                   u"{\"ResourceType\": \"Endpoint\", \"RequestType\": \"Add\", \"Settings\": "
                                   u"{\"EndpointId\": \"E0000001-0000-0000-0000-000000000001\"}}",
                                   NULL));
    GIVES(S_OK, HcnEnumerateNamespaces(NULL, &text, NULL));
    CoTaskMemFree(text);
    GIVES(S_OK, HcnQueryNamespaceProperties(*name_space, u"{" V2 "}", &text, NULL));
    ascii = narrow(text);
    CHECK(strstr(ascii, "E0000001-0000-0000-0000-000000000001"));
    free(ascii);
}

static void balancers_and_routes(void)
{
    static const WCHAR document[] = u"{" V2 ", \"HostComputeEndpoints\": [\"E0000001-0000-0000-0000-000000000001\"], "
                                    u"\"FrontendVIPs\": [\"10.0.0.9\"], \"PortMappings\": [{\"Protocol\": 6, "
                                    u"\"InternalPort\": 80, \"ExternalPort\": 81}]}";
    HCN_LOADBALANCER balancer;
    HCN_SDNROUTE route;
    PWSTR text, record = USED;

    GIVES(S_OK, HcnCreateLoadBalancer(&BALANCER, document, &balancer, &record));
    GIVES(S_OK, HcnModifyLoadBalancer(balancer, document, &record));
    GIVES(S_OK, HcnEnumerateLoadBalancers(NULL, &text, &record));
    CHECK(same(text, u"[\"B0000001-0000-0000-0000-000000000001\"]"));
    CoTaskMemFree(text);
    GIVES(S_OK, HcnQueryLoadBalancerProperties(balancer, u"{" V2 "}", &text, &record));
    CoTaskMemFree(text);
    GIVES(S_OK, HcnDeleteLoadBalancer(&BALANCER, &record));
    /* The object is gone; closing is right all the same. */
    REFUSED(HCN_E_OBJECT_USED_AFTER_UNLOAD, HcnModifyLoadBalancer(balancer, document, &record));
    GIVES(S_OK, HcnCloseLoadBalancer(balancer));
    REFUSED((HRESULT)0x80070490, HcnOpenLoadBalancer(&BALANCER, &balancer, &record));

    GIVES(S_OK, HcnCreateSdnRoute(&ROUTE,
                                  u"{" V2 ", \"HostComputeEndpoints\": [\"E0000001-0000-0000-0000-000000000001\"], "
                                  u"\"Setting\": [{\"DestinationPrefix\": \"10.9.0.0/16\", \"NextHop\": "
                                  u"\"192.168.100.1\"}]}",
                                  &route, &record));
    GIVES(S_OK, HcnEnumerateSdnRoutes(NULL, &text, &record));
    CHECK(same(text, u"[\"D0000001-0000-0000-0000-000000000001\"]"));
    CoTaskMemFree(text);
    GIVES(S_OK, HcnQuerySdnRouteProperties(route, u"{" V2 "}", &text, &record));
    CoTaskMemFree(text);
    GIVES(S_OK, HcnCloseSdnRoute(route));
    GIVES(S_OK, HcnOpenSdnRoute(&ROUTE, &route, &record));
    REFUSED(HCN_E_INVALID_JSON, HcnModifySdnRoute(route, u"[", &record));
    GIVES(S_OK, HcnCloseSdnRoute(route));
    GIVES(S_OK, HcnDeleteSdnRoute(&ROUTE, &record));
}

static void ports(void)
{
    HCN_GUESTNETWORKSERVICE service;
    HCN_PORT_RANGE_RESERVATION range = {1, 2};
    HCN_PORT_RANGE_ENTRY *entries = (HCN_PORT_RANGE_ENTRY *)USED;
    HANDLE port, ports, taken = (HANDLE)USED;
    ULONG count = 77;
    PWSTR text, record = USED;

    GIVES(S_OK, HcnCreateGuestNetworkService(&SERVICE, u"{" V2 "}", &service, &record));
    GIVES(S_OK, HcnEnumerateGuestNetworkServices(NULL, &text, &record));
    CHECK(same(text, u"[\"C0000001-0000-0000-0000-000000000001\"]"));
    CoTaskMemFree(text);
    GIVES(S_OK, HcnQueryGuestNetworkServiceProperties(service, u"{" V2 "}", &text, &record));
    CoTaskMemFree(text);
    GIVES(S_OK, HcnEnumerateGuestNetworkPortReservations(&count, &entries));
    CHECK(count == 0 && !entries);
    GIVES(S_OK, HcnReserveGuestNetworkServicePort(service, HCN_PORT_PROTOCOL_TCP, HCN_PORT_ACCESS_EXCLUSIVE, 4711,
                                                  &port));
    GIVES(HCN_E_PORT_ALREADY_EXISTS, HcnReserveGuestNetworkServicePort(service, HCN_PORT_PROTOCOL_TCP,
                                                                       HCN_PORT_ACCESS_EXCLUSIVE, 4711, &taken));
    CHECK(!taken);
    GIVES(S_OK, HcnReserveGuestNetworkServicePortRange(service, 7, &range, &ports));
    CHECK(range.endingPort - range.startingPort == 7);
    GIVES(S_OK, HcnEnumerateGuestNetworkPortReservations(&count, &entries));
    CHECK(count == 2);
    CHECK(entries[0].StartingPort == 4711 && entries[0].EndingPort == 4711);
    CHECK(entries[0].Protocol == HCN_PORT_PROTOCOL_TCP && entries[0].SharingFlags == HCN_PORT_ACCESS_EXCLUSIVE);
    CHECK(!memcmp(&entries[0].OwningPartitionId, &SERVICE, sizeof(GUID)));
    CHECK(entries[1].StartingPort == range.startingPort && entries[1].Protocol == HCN_PORT_PROTOCOL_BOTH);
    HcnFreeGuestNetworkPortReservations(entries);
    GIVES(S_OK, HcnReleaseGuestNetworkServicePortReservationHandle(port));
    GIVES(E_HANDLE, HcnReleaseGuestNetworkServicePortReservationHandle(port));
    GIVES(S_OK, HcnReserveGuestNetworkServicePort(service, HCN_PORT_PROTOCOL_BOTH, HCN_PORT_ACCESS_SHARED, 4711,
                                                  &port));
    GIVES(S_OK, HcnReleaseGuestNetworkServicePortReservationHandle(port));
    GIVES(S_OK, HcnReleaseGuestNetworkServicePortReservationHandle(ports));
    GIVES(S_OK, HcnDeleteGuestNetworkService(&SERVICE, &record));
    GIVES(S_OK, HcnCloseGuestNetworkService(service));
}

static void bad_arguments(HCN_NETWORK network)
{
    static const WCHAR lone[] = {0xd800, 0};
    HCN_NETWORK place = (HCN_NETWORK)USED;
    HCN_CALLBACK callback = (HCN_CALLBACK)USED;
    PWSTR record = USED, text = USED;
    int local;

    REFUSED(E_POINTER, HcnEnumerateNetworks(NULL, NULL, &record));
    REFUSED(E_POINTER, HcnOpenNetwork(&NETWORK, NULL, &record));
    REFUSED(E_INVALIDARG, HcnOpenNetwork(NULL, &place, &record));
    CHECK(!place);
    REFUSED(E_INVALIDARG, HcnCreateNetwork(&ZERO, NULL, &place, &record));
    REFUSED(E_INVALIDARG, HcnCreateNetwork(NULL, u"{}", &place, &record));
    REFUSED(E_INVALIDARG, HcnCreateNetwork(&ZERO, lone, &place, &record));
    REFUSED(E_INVALIDARG, HcnEnumerateNetworks((PCWSTR)((const char *)u"xx" + 1), &text, &record));
    REFUSED(E_INVALIDARG, HcnModifyNetwork(NULL, u"{}", &record));
    REFUSED(E_INVALIDARG, HcnModifyNetwork(network, NULL, &record));
    REFUSED(E_INVALIDARG, HcnModifyNetwork((HCN_NETWORK)&local, u"{}", &record));
    REFUSED(E_INVALIDARG, HcnCreateEndpoint(NULL, &ZERO, u"{}", (PHCN_ENDPOINT)&place, &record));
    REFUSED(E_INVALIDARG, HcnDeleteNetwork(NULL, &record));
    GIVES(E_INVALIDARG, HcnCloseNetwork(NULL));
    GIVES(E_INVALIDARG, HcnCloseNetwork((HCN_NETWORK)&local));
    GIVES(E_INVALIDARG, HcnRegisterServiceCallback(NULL, NULL, &callback));
    CHECK(!callback);
    GIVES(E_INVALIDARG, HcnUnregisterServiceCallback((HCN_CALLBACK)&local));
    GIVES(E_INVALIDARG, HNSCall(NULL, u"/", NULL, &text));
    GIVES(E_POINTER, HNSCall(u"GET", u"/", NULL, NULL));
    /* Nobody has to take the record. */
    GIVES(HCN_E_NETWORK_NOT_FOUND, HcnDeleteNetwork(&NOBODY, NULL));
    GIVES(E_NOTIMPL, HcnQueryMetrics());
    GIVES(E_NOTIMPL, HcnQueryFeatures());
    CoTaskMemFree(NULL);
    CoTaskMemFree(CoTaskMemRealloc(CoTaskMemAlloc(0), 100));
    HcnFreeGuestNetworkPortReservations(NULL);
}

static void version_1(void)
{
    PWSTR text = USED;
    char *ascii;

    GIVES(S_OK, HNSCall(u"GET", u"/globals/version", u"", &text));
    ascii = narrow(text);
    CHECK(strstr(ascii, "\"Success\":true") && strstr(ascii, "\"Major\":"));
    free(ascii);
    GIVES(S_OK, HNSCall(u"GET", u"/networks/", NULL, &text));
    ascii = narrow(text);
    CHECK(strstr(ascii, "A0A1A2A3-B0B1-C0C1-D0D1-E0E1E2E3E4E5"));
    free(ascii);
    GIVES(S_OK, HNSCall(u"DELETE", u"/networks/00000001-0002-0003-0405-060708090A0B", u"", &text));
    ascii = narrow(text);
    CHECK(strstr(ascii, "\"Success\":false"));
    free(ascii);
}

int main(int count, char **arguments)
{
    HCN_NETWORK network = (HCN_NETWORK)USED;
    HCN_ENDPOINT endpoint;
    HCN_NAMESPACE name_space;
    PWSTR record = USED;

    networks(&network);
    names_survive(network);
    large_texts(network);
    endpoints(network, &endpoint);
    namespaces(&name_space);
    balancers_and_routes();
    ports();
    bad_arguments(network);
    version_1();
    puts("made");
    fflush(stdout);
    /* Whoever runs this looks at the kernel meanwhile, and makes this file then. */
    while (count > 1 && access(arguments[1], F_OK))
        usleep(5000);
    /* There is something in it. */
    REFUSED(HCN_E_ENTITY_HAS_REFERENCES, HcnDeleteNamespace(&NAMESPACE, &record));
    GIVES(S_OK, HcnDeleteEndpoint(&ENDPOINT, &record));
    GIVES(S_OK, HcnCloseEndpoint(endpoint));
    GIVES(S_OK, HcnDeleteNamespace(&NAMESPACE, &record));
    GIVES(S_OK, HcnCloseNamespace(name_space));
    GIVES(S_OK, HcnDeleteNetwork(&NETWORK, &record));
    GIVES(S_OK, HcnCloseNetwork(network));
    puts("gone");
    return 0;
}
