/* HNSCall of vmcompute.dll. */
#include "unix.h"

#include <vmcompute.h>

HRESULT WINAPI HNSCall(PCWSTR method, PCWSTR path, PCWSTR request, PWSTR *response)
{
    return CARRY_OUT(HNSCall, response, NULL, method, path, request, response);
}
