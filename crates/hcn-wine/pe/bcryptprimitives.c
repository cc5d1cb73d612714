/* ProcessPrng of bcryptprimitives.dll, which programs of Go 1.22 and later begin with, and Wine before version 9 lacks. */
#include <windows.h>

/* RtlGenRandom, by the name it is exported with. */
BOOLEAN NTAPI SystemFunction036(void *octets, ULONG count);

BOOL WINAPI ProcessPrng(BYTE *octets, SIZE_T count)
{
    while (count) {
        ULONG part = count < MAXLONG ? (ULONG)count : MAXLONG;

        if (!SystemFunction036(octets, part))
            return FALSE;
        octets += part;
        count -= part;
    }
    return TRUE;
}
