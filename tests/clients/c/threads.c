/* 32 threads make 100 calls each, all at once, of which none may fail; and callbacks hear of all of them. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { THREADS = 32, CALLS = 100 };

static atomic_int created, deleted, after;
static atomic_bool unregistered;

static void CALLBACK heard(DWORD type, void *context, HRESULT status, PCWSTR data)
{
    PWSTR text;

    CHECK(context == &created && status == S_OK && data && data[0] == '{');
    if (atomic_load(&unregistered))
        atomic_fetch_add(&after, 1);
    if (type == HcnNotificationNamespaceCreate)
        atomic_fetch_add(&created, 1);
    if (type == HcnNotificationNamespaceDelete)
        atomic_fetch_add(&deleted, 1);
    /* A callback may call. */
    GIVES(S_OK, HcnEnumerateNetworks(NULL, &text, NULL));
    CoTaskMemFree(text);
}

static void *calls(void *shared)
{
    HCN_NAMESPACE *first = shared;
    PWSTR text, record;
    char settings[200];

    for (int call = 0; call < CALLS; call += 5) {
        HCN_NAMESPACE name_space;
        GUID id = {(uint32_t)call, 7, 7, {1}};
        uintptr_t thread = (uintptr_t)pthread_self();

        memcpy(id.Data4, &thread, sizeof id.Data4);
        snprintf(settings, sizeof settings, "{\"SchemaVersion\": {\"Major\": 2}, \"Type\": \"Guest\", \"Owner\": \"%d\"}", call);
        WCHAR *document = wide(settings);
        GIVES(S_OK, HcnCreateNamespace(&id, document, &name_space, &record));
        free(document);
        GIVES(S_OK, HcnQueryNamespaceProperties(name_space, NULL, &text, &record));
        CoTaskMemFree(text);
        /* A handle of the process is good in every thread. */
        GIVES(S_OK, HcnQueryNamespaceProperties(*first, NULL, &text, &record));
        CoTaskMemFree(text);
        GIVES(S_OK, HcnDeleteNamespace(&id, &record));
        GIVES(S_OK, HcnCloseNamespace(name_space));
    }
    return NULL;
}

static HCN_CALLBACK own;

/* A callback may end its own registration. */
static void CALLBACK once(DWORD type, void *context, HRESULT status, PCWSTR data)
{
    (void)type, (void)status, (void)data;
    atomic_fetch_add((atomic_int *)context, 1);
    GIVES(S_OK, HcnUnregisterServiceCallback(own));
}

int main(void)
{
    static atomic_int times;
    pthread_t threads[THREADS];
    HCN_NAMESPACE first;
    HCN_CALLBACK callback;
    GUID id = {9, 9, 9, {9}};

    GIVES(S_OK, HcnCreateNamespace(&id, u"{\"SchemaVersion\": {\"Major\": 2}, \"Type\": \"Guest\"}", &first, NULL));
    GIVES(S_OK, HcnRegisterServiceCallback(heard, &created, &callback));
    GIVES(S_OK, HcnRegisterServiceCallback(once, &times, &own));
    for (int thread = 0; thread < THREADS; thread++)
        CHECK(!pthread_create(&threads[thread], NULL, calls, &first));
    for (int thread = 0; thread < THREADS; thread++)
        pthread_join(threads[thread], NULL);
    for (int wait = 0; wait < 1000 && atomic_load(&deleted) < THREADS * CALLS / 5; wait++)
        usleep(10000);
    CHECK(atomic_load(&created) == THREADS * CALLS / 5 && atomic_load(&deleted) == THREADS * CALLS / 5);
    CHECK(atomic_load(&times) == 1);
    GIVES(S_OK, HcnUnregisterServiceCallback(callback));
    atomic_store(&unregistered, 1);
    GIVES(E_INVALIDARG, HcnUnregisterServiceCallback(callback));
    GIVES(S_OK, HcnDeleteNamespace(&id, NULL));
    usleep(50000);
    CHECK(atomic_load(&after) == 0);
    GIVES(S_OK, HcnCloseNamespace(first));
    puts("done");
    return 0;
}
