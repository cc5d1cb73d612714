/*
 * Types of the Host Compute Network API for programs on Linux. Shapes and values are those of Windows; what Windows' own
 * headers define is defined here only where they are not there.
 */
#ifndef HCN_COMPUTENETWORKDEFS_H
#define HCN_COMPUTENETWORKDEFS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define HCN_EXTERN_C_BEGIN extern "C" {
#define HCN_EXTERN_C_END }
#else
#define HCN_EXTERN_C_BEGIN
#define HCN_EXTERN_C_END
#endif

#ifdef _WIN32

/* Programs for Windows, which mingw-w64 compiles; they run under Wine. */
#include <windows.h>

#include <objbase.h>

#elif !defined(_WINDOWS_)

/*
 * Texts are UTF-16. u"…" is such a text everywhere; L"…" is one where wchar_t has 16 bits (gcc and clang: -fshort-wchar).
 */
#if defined(__SIZEOF_WCHAR_T__) && __SIZEOF_WCHAR_T__ == 2
typedef wchar_t WCHAR;
#elif defined(__cplusplus)
typedef char16_t WCHAR;
#else
#include <uchar.h>
typedef char16_t WCHAR;
#endif

typedef int32_t HRESULT;
typedef uint32_t DWORD;
typedef uint32_t ULONG;
typedef uint16_t USHORT;
typedef uint16_t UINT16;
typedef uint32_t UINT32;
typedef uint64_t UINT64;
typedef int BOOL;
typedef WCHAR *PWSTR;
typedef const WCHAR *PCWSTR;
typedef void *HANDLE;
typedef void *LPVOID;

#ifndef VOID
#define VOID void
#endif

#ifndef WINAPI
#define WINAPI
#endif
#ifndef CALLBACK
#define CALLBACK
#endif

#ifndef GUID_DEFINED
#define GUID_DEFINED
typedef struct _GUID {
    uint32_t Data1;
    uint16_t Data2;
    uint16_t Data3;
    uint8_t Data4[8];
} GUID;
#endif

#ifdef __cplusplus
typedef const GUID &REFGUID;
#else
typedef const GUID *REFGUID;
#endif

#ifndef DECLARE_HANDLE
#define DECLARE_HANDLE(name) typedef void *name
#endif

/* Annotations of Windows' headers say nothing to other compilers. */
#ifndef _In_
#define _In_
#define _In_opt_
#define _Out_
#define _Out_opt_
#define _Outptr_
#define _Outptr_opt_
#define _Outptr_result_maybenull_
#define _Outptr_opt_result_maybenull_
#endif

#define S_OK ((HRESULT)0)
#define E_NOTIMPL ((HRESULT)0x80004001u)
#define E_POINTER ((HRESULT)0x80004003u)
#define E_UNEXPECTED ((HRESULT)0x8000ffffu)
#define E_ACCESSDENIED ((HRESULT)0x80070005u)
#define E_HANDLE ((HRESULT)0x80070006u)
#define E_OUTOFMEMORY ((HRESULT)0x8007000eu)
#define E_INVALIDARG ((HRESULT)0x80070057u)
#define SUCCEEDED(hr) (((HRESULT)(hr)) >= 0)
#define FAILED(hr) (((HRESULT)(hr)) < 0)
#define HRESULT_FROM_WIN32(code)                                                                                       \
    ((HRESULT)(code) <= 0 ? (HRESULT)(code) : (HRESULT)(((uint32_t)(code) & 0xffffu) | 0x80070000u))

HCN_EXTERN_C_BEGIN

/* The allocator that all texts and arrays of this API come from. */
void *CoTaskMemAlloc(size_t size);
void *CoTaskMemRealloc(void *memory, size_t size);
void CoTaskMemFree(void *memory);

HCN_EXTERN_C_END

#endif /* Windows */

DECLARE_HANDLE(HCN_NETWORK);
DECLARE_HANDLE(HCN_ENDPOINT);
DECLARE_HANDLE(HCN_NAMESPACE);
DECLARE_HANDLE(HCN_LOADBALANCER);
DECLARE_HANDLE(HCN_SDNROUTE);
DECLARE_HANDLE(HCN_GUESTNETWORKSERVICE);
DECLARE_HANDLE(HCN_CALLBACK);
DECLARE_HANDLE(HCN_SERVICE);
typedef HCN_NETWORK *PHCN_NETWORK;
typedef HCN_ENDPOINT *PHCN_ENDPOINT;
typedef HCN_NAMESPACE *PHCN_NAMESPACE;
typedef HCN_LOADBALANCER *PHCN_LOADBALANCER;
typedef HCN_SDNROUTE *PHCN_SDNROUTE;
typedef HCN_GUESTNETWORKSERVICE *PHCN_GUESTNETWORKSERVICE;
typedef HCN_CALLBACK *PHCN_CALLBACK;

typedef enum HCN_NOTIFICATIONS {
    HcnNotificationInvalid = 0x00000000,
    HcnNotificationNetworkPreCreate = 0x00000001,
    HcnNotificationNetworkCreate = 0x00000002,
    HcnNotificationNetworkPreDelete = 0x00000003,
    HcnNotificationNetworkDelete = 0x00000004,
    HcnNotificationNamespaceCreate = 0x00000005,
    HcnNotificationNamespaceDelete = 0x00000006,
    HcnNotificationGuestNetworkServiceCreate = 0x00000007,
    HcnNotificationGuestNetworkServiceDelete = 0x00000008,
    HcnNotificationNetworkEndpointAttached = 0x00000009,
    HcnNotificationNetworkEndpointDetached = 0x00000010,
    HcnNotificationGuestNetworkServiceStateChanged = 0x00000011,
    HcnNotificationGuestNetworkServiceInterfaceStateChanged = 0x00000012,
    HcnNotificationServiceDisconnect = 0x01000000
} HCN_NOTIFICATIONS;
#define HcnNotificationFlagsReserved 0xF0000000u

/*
 * Called on a thread of the library, at the same time as calls of other threads. NotificationData is a JSON text
 * (NotificationBase) that is valid until the callback returns, or null. HcnNotificationServiceDisconnect is the last call.
 */
typedef void(CALLBACK *HCN_NOTIFICATION_CALLBACK)(DWORD NotificationType, void *Context, HRESULT NotificationStatus,
                                                  PCWSTR NotificationData);

typedef enum tagHCN_PORT_PROTOCOL {
    HCN_PORT_PROTOCOL_TCP = 0x01,
    HCN_PORT_PROTOCOL_UDP = 0x02,
    HCN_PORT_PROTOCOL_BOTH = 0x03
} HCN_PORT_PROTOCOL;

typedef enum tagHCN_PORT_ACCESS { HCN_PORT_ACCESS_EXCLUSIVE = 0x01, HCN_PORT_ACCESS_SHARED = 0x02 } HCN_PORT_ACCESS;

/* Both ports belong to it. */
typedef struct tagHCN_PORT_RANGE_RESERVATION {
    USHORT startingPort;
    USHORT endingPort;
} HCN_PORT_RANGE_RESERVATION;

typedef struct tagHCN_PORT_RANGE_ENTRY {
    GUID OwningPartitionId;
    GUID TargetPartitionId;
    HCN_PORT_PROTOCOL Protocol;
    UINT64 Priority;
    UINT32 ReservationType;
    UINT32 SharingFlags;
    UINT32 DeliveryMode;
    UINT16 StartingPort;
    UINT16 EndingPort;
} HCN_PORT_RANGE_ENTRY, *PHCN_PORT_RANGE_ENTRY;

/* Codes of the HCN facility (contract 3.1); all of them are errors. */
#define HCN_E_NETWORK_NOT_FOUND ((HRESULT)0x803b0001u)
#define HCN_E_ENDPOINT_NOT_FOUND ((HRESULT)0x803b0002u)
#define HCN_E_LAYER_NOT_FOUND ((HRESULT)0x803b0003u)
#define HCN_E_SWITCH_NOT_FOUND ((HRESULT)0x803b0004u)
#define HCN_E_SUBNET_NOT_FOUND ((HRESULT)0x803b0005u)
#define HCN_E_ADAPTER_NOT_FOUND ((HRESULT)0x803b0006u)
#define HCN_E_PORT_NOT_FOUND ((HRESULT)0x803b0007u)
#define HCN_E_POLICY_NOT_FOUND ((HRESULT)0x803b0008u)
#define HCN_E_VFP_PORTSETTING_NOT_FOUND ((HRESULT)0x803b0009u)
#define HCN_E_INVALID_NETWORK ((HRESULT)0x803b000au)
#define HCN_E_INVALID_NETWORK_TYPE ((HRESULT)0x803b000bu)
#define HCN_E_INVALID_ENDPOINT ((HRESULT)0x803b000cu)
#define HCN_E_INVALID_POLICY ((HRESULT)0x803b000du)
#define HCN_E_INVALID_POLICY_TYPE ((HRESULT)0x803b000eu)
#define HCN_E_INVALID_REMOTE_ENDPOINT_OPERATION ((HRESULT)0x803b000fu)
#define HCN_E_NETWORK_ALREADY_EXISTS ((HRESULT)0x803b0010u)
#define HCN_E_LAYER_ALREADY_EXISTS ((HRESULT)0x803b0011u)
#define HCN_E_POLICY_ALREADY_EXISTS ((HRESULT)0x803b0012u)
#define HCN_E_PORT_ALREADY_EXISTS ((HRESULT)0x803b0013u)
#define HCN_E_ENDPOINT_ALREADY_ATTACHED ((HRESULT)0x803b0014u)
#define HCN_E_REQUEST_UNSUPPORTED ((HRESULT)0x803b0015u)
#define HCN_E_MAPPING_NOT_SUPPORTED ((HRESULT)0x803b0016u)
#define HCN_E_DEGRADED_OPERATION ((HRESULT)0x803b0017u)
#define HCN_E_SHARED_SWITCH_MODIFICATION ((HRESULT)0x803b0018u)
#define HCN_E_GUID_CONVERSION_FAILURE ((HRESULT)0x803b0019u)
#define HCN_E_REGKEY_FAILURE ((HRESULT)0x803b001au)
#define HCN_E_INVALID_JSON ((HRESULT)0x803b001bu)
#define HCN_E_INVALID_JSON_REFERENCE ((HRESULT)0x803b001cu)
#define HCN_E_ENDPOINT_SHARING_DISABLED ((HRESULT)0x803b001du)
#define HCN_E_INVALID_IP ((HRESULT)0x803b001eu)
#define HCN_E_SWITCH_EXTENSION_NOT_FOUND ((HRESULT)0x803b001fu)
#define HCN_E_MANAGER_STOPPED ((HRESULT)0x803b0020u)
#define GCN_E_MODULE_NOT_FOUND ((HRESULT)0x803b0021u)
#define GCN_E_NO_REQUEST_HANDLERS ((HRESULT)0x803b0022u)
#define GCN_E_REQUEST_UNSUPPORTED ((HRESULT)0x803b0023u)
#define GCN_E_RUNTIMEKEYS_FAILED ((HRESULT)0x803b0024u)
#define GCN_E_NETADAPTER_TIMEOUT ((HRESULT)0x803b0025u)
#define GCN_E_NETADAPTER_NOT_FOUND ((HRESULT)0x803b0026u)
#define GCN_E_NETCOMPARTMENT_NOT_FOUND ((HRESULT)0x803b0027u)
#define GCN_E_NETINTERFACE_NOT_FOUND ((HRESULT)0x803b0028u)
#define GCN_E_DEFAULTNAMESPACE_EXISTS ((HRESULT)0x803b0029u)
#define HCN_E_ICS_DISABLED ((HRESULT)0x803b002au)
#define HCN_E_ENDPOINT_NAMESPACE_ALREADY_EXISTS ((HRESULT)0x803b002bu)
#define HCN_E_ENTITY_HAS_REFERENCES ((HRESULT)0x803b002cu)
#define HCN_E_INVALID_INTERNAL_PORT ((HRESULT)0x803b002du)
#define HCN_E_NAMESPACE_ATTACH_FAILED ((HRESULT)0x803b002eu)
#define HCN_E_ADDR_INVALID_OR_RESERVED ((HRESULT)0x803b002fu)
#define HCN_E_INVALID_PREFIX ((HRESULT)0x803b0030u)
#define HCN_E_OBJECT_USED_AFTER_UNLOAD ((HRESULT)0x803b0031u)
#define HCN_E_INVALID_SUBNET ((HRESULT)0x803b0032u)
#define HCN_E_INVALID_IP_SUBNET ((HRESULT)0x803b0033u)
#define HCN_E_ENDPOINT_NOT_ATTACHED ((HRESULT)0x803b0034u)
#define HCN_E_ENDPOINT_NOT_LOCAL ((HRESULT)0x803b0035u)
#define HCN_INTERFACEPARAMETERS_ALREADY_APPLIED ((HRESULT)0x803b0036u)
#define HCN_E_VFP_NOT_ALLOWED ((HRESULT)0x803b0037u)

#endif
