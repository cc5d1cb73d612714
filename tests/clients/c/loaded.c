/* Loads a library at run time and calls a function of it, as programs do that run without it, too. */
#include <computenetwork.h>
#include <stdio.h>
#include <string.h>

#ifdef _WIN32
#define LIBRARY "computenetwork.dll"
#define ALLOCATOR (void *)LoadLibraryA("ole32.dll")
#define dlopen(name, flags) (void *)LoadLibraryA(name)
#define dlsym(library, name) (void *)GetProcAddress((HMODULE)(library), name)
#define dlclose(library) !FreeLibrary((HMODULE)(library))
#define dlerror() "not loaded"
#else
#include <dlfcn.h>
#define LIBRARY "libcomputenetwork.so.1"
#define ALLOCATOR library
#endif

typedef HRESULT(WINAPI *ENUMERATE)(PCWSTR, PWSTR *, PWSTR *);

int main(int count, char **names)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    ENUMERATE enumerate;
    PWSTR text = NULL;
    void *found;

    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    for (int at = 1; at < count; at++) {
        if (!dlsym(library, names[at])) {
            fprintf(stderr, "no %s\n", names[at]);
            return 1;
        }
    }
    found = dlsym(library, "HcnEnumerateNetworks");
    memcpy(&enumerate, &found, sizeof enumerate);
    if (FAILED(enumerate(NULL, &text, NULL)) || !text)
        return 1;
    found = dlsym(ALLOCATOR, "CoTaskMemFree");
    void(WINAPI * release)(void *);
    memcpy(&release, &found, sizeof release);
    release(text);
    /* Threads of it that are still there keep it loaded. */
    return dlclose(library);
}
