/* What a program sees while the service ends and another one begins. It says `ready`, then `ended`, then `back`. */
#include "check.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#ifndef _WIN32
#include <sys/wait.h>
#endif

static sem_t disconnected;
static atomic_int calls;

static void CALLBACK heard(DWORD type, void *context, HRESULT status, PCWSTR data)
{
    (void)context, (void)status;
    if (type == HcnNotificationServiceDisconnect) {
        CHECK(!data);
        atomic_fetch_add(&calls, 1);
        sem_post(&disconnected);
    }
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void say(const char *what)
{
    puts(what);
    fflush(stdout);
}

/* A child has a session of its own, and the parent keeps its own. */
static void with_a_child(HCN_NETWORK old, const GUID *id)
{
#ifdef _WIN32
    (void)old, (void)id;
#else
    HCN_NETWORK network;
    int status;

    if (!fork()) {
        GIVES(S_OK, HcnOpenNetwork(id, &network, NULL));
        GIVES(HCN_E_OBJECT_USED_AFTER_UNLOAD, HcnModifyNetwork(old, u"{}", NULL));
        GIVES(S_OK, HcnCloseNetwork(network));
        _exit(0);
    }
    CHECK(wait(&status) > 0 && !status);
#endif
}

int main(void)
{
    GUID id = {9, 9, 9, {9}};
    HCN_NETWORK old, network;
    HCN_CALLBACK callback;
    PWSTR text, record;
    double start;

    sem_init(&disconnected, 0, 0);
    GIVES(S_OK, HcnCreateNetwork(&id, u"{\"SchemaVersion\": {\"Major\": 2}, \"Type\": \"Private\"}", &old, NULL));
    GIVES(S_OK, HcnRegisterServiceCallback(heard, NULL, &callback));
    with_a_child(old, &id);
    GIVES(S_OK, HcnQueryNetworkProperties(old, NULL, &text, &record));
    CoTaskMemFree(text);
    say("ready");
    sem_wait(&disconnected);
    /* Nobody is there: an answer within a second, and what it is. */
    start = now();
    GIVES(0x800706d9, HcnEnumerateNetworks(NULL, &text, &record));
    CHECK(now() - start < 1 && !text);
    CHECK(strstr(narrow(record), "\"ErrorCode\":2147944153}"));
    say("ended");
    while (FAILED(HcnOpenNetwork(&id, &network, NULL)))
        usleep(10000);
    GIVES(HCN_E_OBJECT_USED_AFTER_UNLOAD, HcnQueryNetworkProperties(old, NULL, &text, NULL));
    GIVES(S_OK, HcnCloseNetwork(old));
    GIVES(S_OK, HcnQueryNetworkProperties(network, NULL, &text, &record));
    CoTaskMemFree(text);
    GIVES(S_OK, HcnUnregisterServiceCallback(callback));
    CHECK(atomic_load(&calls) == 1);
    GIVES(S_OK, HcnRegisterServiceCallback(heard, NULL, &callback));
    GIVES(S_OK, HcnUnregisterServiceCallback(callback));
    GIVES(S_OK, HcnCloseNetwork(network));
    GIVES(S_OK, HcnDeleteNetwork(&id, NULL));
    say("back");
    return 0;
}
