/*
 * HNSCall for programs on Linux: version 1 of the Host Network Service, carried out by hcnd. Link with -lvmcompute.
 */
#ifndef HCN_VMCOMPUTE_H
#define HCN_VMCOMPUTE_H

#include "computenetworkdefs.h"

HCN_EXTERN_C_BEGIN

/*
 * Method is GET, POST or DELETE; Request a version 1 document, empty or null. *Response is the envelope {"Success", "Error",
 * "ErrorCode", "Output"}, also of what the service refuses, and is freed with CoTaskMemFree. A failure means that there is
 * no answer: E_INVALIDARG, E_POINTER, 0x800706d9 (no service), 0x800706be (it ended during the call).
 */
HRESULT WINAPI HNSCall(PCWSTR Method, PCWSTR Path, PCWSTR Request, PWSTR *Response);

HCN_EXTERN_C_END

#endif
