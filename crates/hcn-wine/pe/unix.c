/* How the PE half calls the half that Linux runs, and moves what that gives into Windows' memory. */
#include "unix.h"

#include <objbase.h>
#include <winternl.h>

/* Wine's own, by which its DLLs find their other half and call it; it has them since version 7. */
enum { MEMORY_WINE_UNIX_FUNCS = 1000 };
NTSTATUS WINAPI NtQueryVirtualMemory(HANDLE process, const void *address, int class, void *buffer, SIZE_T length,
                                     SIZE_T *written);
typedef NTSTATUS(WINAPI *DISPATCHER)(UINT64 library, unsigned function, void *call);

static UINT64 library;
static DISPATCHER dispatcher;

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, void *reserved)
{
    DISPATCHER *place;

    (void)reserved;
    if (reason != DLL_PROCESS_ATTACH)
        return TRUE;
    DisableThreadLibraryCalls(instance);
    place = (DISPATCHER *)(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "__wine_unix_call_dispatcher");
    if (!place || NtQueryVirtualMemory(GetCurrentProcess(), instance, MEMORY_WINE_UNIX_FUNCS, &library,
                                       sizeof library, NULL)) {
        static const char text[] = "hcn: this DLL is for Wine, which does not find its other half (WINEDLLPATH)\n";
        DWORD written;

        WriteFile(GetStdHandle(STD_ERROR_HANDLE), text, sizeof text - 1, &written, NULL);
        return FALSE;
    }
    dispatcher = *place;
    return TRUE;
}

HRESULT unix_call(enum unix_function function, struct call *call)
{
    return dispatcher(library, function, call) ? E_UNEXPECTED : call->result;
}

void *moved(void *memory, SIZE_T octets)
{
    void *copy = CoTaskMemAlloc(octets);

    if (copy)
        CopyMemory(copy, memory, octets);
    unix_call(unix_release, &(struct call){.arguments = {memory}});
    return copy;
}

/* Moves a text, if there is one; says whether there was memory for it. */
static BOOL move_text(PWSTR *place)
{
    if (!*place)
        return TRUE;
    *place = moved(*place, (lstrlenW(*place) + 1) * sizeof **place);
    return *place != NULL;
}

HRESULT carry_out(enum unix_function function, struct call *call, PWSTR *result, PWSTR *record)
{
    HRESULT code = unix_call(function, call);

    /* A place that is not aligned got nothing. */
    if (FAILED(code) && record && !((ULONG_PTR)record % sizeof *record))
        move_text(record);
    if (SUCCEEDED(code) && result && !move_text(result))
        return E_OUTOFMEMORY;
    return code;
}
