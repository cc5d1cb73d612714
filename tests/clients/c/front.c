/*
 * Makes the calls that somebody else writes down: a line of stdin is one, a line of stdout its answer. So whatever can
 * start this program and write lines calls the libraries, on Linux and on Windows.
 *
 * Fields have tabs between them; in a field \t, \n, \r and \\ stand for themselves, and a field \N is null. A call is the
 * function's name and what it takes, but where results go; its answer the HRESULT, the ErrorRecord, the text and the
 * handle (or what else there is), each \N where the function gives none:
 *
 *     HcnOpenNetwork  ID                  0x00000000  \N  \N  16
 *     HcnQueryNetworkProperties  16  \N   0x00000000  \N  {"ID":…}  \N
 *
 * A callback is registered with a name, and what it is told is a line "event NAME TYPE STATUS DATA".
 */
#ifdef _WIN32
/* All handles are void pointers, as they are elsewhere. */
#define NO_STRICT
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <objbase.h>
#endif

#include "check.h"
#include <vmcompute.h>

#define NONE "\\N"
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MOST_FIELDS 8

/* The seven verbs of a kind of entity; creating an endpoint takes a network besides. */
struct kind {
    const char *one, *many;
    HRESULT(WINAPI *enumerate)(PCWSTR, PWSTR *, PWSTR *);
    HRESULT(WINAPI *create)(REFGUID, PCWSTR, HANDLE *, PWSTR *);
    HRESULT(WINAPI *open)(REFGUID, HANDLE *, PWSTR *);
    HRESULT(WINAPI *modify)(HANDLE, PCWSTR, PWSTR *);
    HRESULT(WINAPI *query)(HANDLE, PCWSTR, PWSTR *, PWSTR *);
    HRESULT(WINAPI *delete)(REFGUID, PWSTR *);
    HRESULT(WINAPI *close)(HANDLE);
};

#define KIND(one, create)                                                                                              \
    {                                                                                                                  \
        #one, #one "s", HcnEnumerate##one##s, create, HcnOpen##one, HcnModify##one, HcnQuery##one##Properties,         \
            HcnDelete##one, HcnClose##one                                                                              \
    }

static const struct kind KINDS[] = {
    KIND(Network, HcnCreateNetwork),
    KIND(Endpoint, NULL),
    KIND(Namespace, HcnCreateNamespace),
    KIND(LoadBalancer, HcnCreateLoadBalancer),
    KIND(SdnRoute, HcnCreateSdnRoute),
    KIND(GuestNetworkService, HcnCreateGuestNetworkService),
};

/* What a call takes, and what it gives. */
struct call {
    char *field[MOST_FIELDS];
    int fields;
    HRESULT result;
    PWSTR record, text;
    HANDLE handle;
    /* Of functions that give something else than a text. */
    char other[64];
};

/* A line that is being written. */
struct line {
    char *octets;
    size_t length, room;
};

static void put(struct line *line, char octet)
{
    if (line->length == line->room) {
        line->room = line->room ? line->room * 2 : 256;
        line->octets = realloc(line->octets, line->room);
        CHECK(line->octets);
    }
    line->octets[line->length++] = octet;
}

static void put_plain(struct line *line, const char *text)
{
    while (*text)
        put(line, *text++);
}

/* A field with a text, as UTF-8. */
static void put_text(struct line *line, PCWSTR text)
{
    put(line, '\t');
    if (!text) {
        put_plain(line, NONE);
        return;
    }
    while (*text) {
        unsigned long code = *text++;
        int more;

        if (code >= 0xd800 && code < 0xdc00) {
            CHECK(*text >= 0xdc00 && *text < 0xe000);
            code = 0x10000 + ((code - 0xd800) << 10) + (*text++ - 0xdc00u);
        }
        if (code == '\t' || code == '\n' || code == '\r' || code == '\\') {
            put(line, '\\');
            put(line, code == '\t' ? 't' : code == '\n' ? 'n' : code == '\r' ? 'r' : '\\');
        } else if (code < 0x80) {
            put(line, (char)code);
        } else {
            more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
            put(line, (char)(0xff80u >> more | code >> 6 * more));
            for (; more; more--)
                put(line, (char)(0x80 | (code >> 6 * (more - 1) & 0x3f)));
        }
    }
}

/* In one go, so that lines of callbacks and of answers never mix. */
static void say(struct line *line)
{
    put(line, '\n');
    CHECK(fwrite(line->octets, 1, line->length, stdout) == line->length && !fflush(stdout));
    free(line->octets);
}

/* Reads a line without its end; null at the end of everything. */
static char *hear(void)
{
    struct line line = {0};
    int octet;

    while ((octet = getchar()) != EOF && octet != '\n')
        put(&line, (char)octet);
    put(&line, 0);
    if (octet != EOF)
        return line.octets;
    free(line.octets);
    return NULL;
}

/* Divides a line into its fields, each as it was meant. */
static void divide(char *line, struct call *call)
{
    char *to = line;

    call->field[call->fields++] = line;
    for (char *from = line; *from; from++) {
        if (*from == '\t') {
            *to++ = 0;
            CHECK(call->fields < MOST_FIELDS);
            call->field[call->fields++] = to;
        } else if (*from == '\\' && from[1] == 'N') {
            call->field[call->fields - 1] = NULL;
            from++;
        } else if (*from == '\\') {
            from++;
            *to++ = *from == 't' ? '\t' : *from == 'n' ? '\n' : *from == 'r' ? '\r' : '\\';
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
}

/* What a field is, as functions take it. */
static const char *field(struct call *call, int at)
{
    CHECK(at < call->fields);
    return call->field[at];
}

static PWSTR text(struct call *call, int at)
{
    return field(call, at) ? wide(field(call, at)) : NULL;
}

static unsigned long long number(struct call *call, int at)
{
    return field(call, at) ? strtoull(field(call, at), NULL, 0) : 0;
}

static HANDLE handle(struct call *call, int at)
{
    return (HANDLE)(uintptr_t)number(call, at);
}

static GUID guid(struct call *call, int at)
{
    unsigned part[11] = {0};
    GUID id;

    CHECK(sscanf(field(call, at), "%8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x", &part[0], &part[1], &part[2], &part[3],
                 &part[4], &part[5], &part[6], &part[7], &part[8], &part[9], &part[10]) == 11);
    id.Data1 = part[0];
    id.Data2 = (uint16_t)part[1];
    id.Data3 = (uint16_t)part[2];
    for (int octet = 0; octet < 8; octet++)
        id.Data4[octet] = (uint8_t)part[3 + octet];
    return id;
}

/* Tells what a callback was told; the context is its name. */
static void CALLBACK event(DWORD type, void *context, HRESULT status, PCWSTR data)
{
    struct line line = {0};
    char numbers[40];

    snprintf(numbers, sizeof numbers, "\t%lu\t0x%08lx", (unsigned long)type, (unsigned long)(uint32_t)status);
    put_plain(&line, "event\t");
    put_plain(&line, context);
    put_plain(&line, numbers);
    put_text(&line, data);
    say(&line);
}

/* A name that lasts as long as the registration, which is as long as this program. */
static void *name(struct call *call, int at)
{
    size_t room = strlen(field(call, at)) + 1;
    void *kept = malloc(room);

    CHECK(kept);
    return memcpy(kept, field(call, at), room);
}

/* Whether a function is VERB followed by what it is about and nothing else. */
static int is(const char *function, const char *verb, const char *about, const char *rest)
{
    size_t first = strlen(verb), second = strlen(about);

    return !strncmp(function, verb, first) && !strncmp(function + first, about, second) &&
           !strcmp(function + first + second, rest);
}

/* Carries a call out by one of the verbs; false if it is none of them. */
static int by_verb(struct call *call)
{
    const char *function = field(call, 0);

    for (size_t at = 0; at < COUNT(KINDS); at++) {
        const struct kind *kind = &KINDS[at];
        PWSTR document = NULL;

        if (is(function, "HcnEnumerate", kind->many, "")) {
            call->result = kind->enumerate(document = text(call, 1), &call->text, &call->record);
        } else if (is(function, "HcnCreate", kind->one, "") && kind->create) {
            GUID id = guid(call, 1);
            call->result = kind->create(&id, document = text(call, 2), &call->handle, &call->record);
        } else if (is(function, "HcnOpen", kind->one, "")) {
            GUID id = guid(call, 1);
            call->result = kind->open(&id, &call->handle, &call->record);
        } else if (is(function, "HcnModify", kind->one, "")) {
            call->result = kind->modify(handle(call, 1), document = text(call, 2), &call->record);
        } else if (is(function, "HcnQuery", kind->one, "Properties")) {
            call->result = kind->query(handle(call, 1), document = text(call, 2), &call->text, &call->record);
        } else if (is(function, "HcnDelete", kind->one, "")) {
            GUID id = guid(call, 1);
            call->result = kind->delete(&id, &call->record);
        } else if (is(function, "HcnClose", kind->one, "")) {
            call->result = kind->close(handle(call, 1));
        } else {
            continue;
        }
        free(document);
        return 1;
    }
    return 0;
}

static void create_endpoint(struct call *call)
{
    GUID id = guid(call, 2);
    PWSTR settings = text(call, 3);

    call->result = HcnCreateEndpoint(handle(call, 1), &id, settings, &call->handle, &call->record);
    free(settings);
}

static void query_stats(struct call *call)
{
    PWSTR query = text(call, 2);

    call->result = HcnQueryEndpointStats(handle(call, 1), query, &call->text, &call->record);
    free(query);
}

static void query_addresses(struct call *call)
{
    PWSTR query = text(call, 2);

    call->result = HcnQueryEndpointAddresses(handle(call, 1), query, &call->text, &call->record);
    free(query);
}

static void register_service(struct call *call)
{
    call->result = HcnRegisterServiceCallback(event, name(call, 1), &call->handle);
}

static void register_network(struct call *call)
{
    call->result = HcnRegisterNetworkCallback(handle(call, 1), event, name(call, 2), &call->handle);
}

static void register_guest(struct call *call)
{
    call->result = HcnRegisterGuestNetworkServiceCallback(handle(call, 1), event, name(call, 2), &call->handle);
}

static void unregister_service(struct call *call)
{
    call->result = HcnUnregisterServiceCallback(handle(call, 1));
}

static void unregister_network(struct call *call)
{
    call->result = HcnUnregisterNetworkCallback(handle(call, 1));
}

static void unregister_guest(struct call *call)
{
    call->result = HcnUnregisterGuestNetworkServiceCallback(handle(call, 1));
}

static void reserve(struct call *call)
{
    call->result = HcnReserveGuestNetworkServicePort(handle(call, 1), (HCN_PORT_PROTOCOL)number(call, 2),
                                                     (HCN_PORT_ACCESS)number(call, 3), (USHORT)number(call, 4),
                                                     &call->handle);
}

static void reserve_range(struct call *call)
{
    HCN_PORT_RANGE_RESERVATION range = {0, 0};

    call->result = HcnReserveGuestNetworkServicePortRange(handle(call, 1), (USHORT)number(call, 2), &range,
                                                          &call->handle);
    snprintf(call->other, sizeof call->other, "[%u,%u]", range.startingPort, range.endingPort);
}

static void release(struct call *call)
{
    call->result = HcnReleaseGuestNetworkServicePortReservationHandle(handle(call, 1));
}

/* Gives their number. */
static void enumerate_reservations(struct call *call)
{
    HCN_PORT_RANGE_ENTRY *entries = NULL;
    ULONG count = 0;

    call->result = HcnEnumerateGuestNetworkPortReservations(&count, &entries);
    snprintf(call->other, sizeof call->other, "%lu", (unsigned long)count);
    HcnFreeGuestNetworkPortReservations(entries);
}

static void hns(struct call *call)
{
    PWSTR method = text(call, 1), path = text(call, 2), request = text(call, 3);

    call->result = HNSCall(method, path, request, &call->text);
    free(method);
    free(path);
    free(request);
}

static const struct {
    const char *name;
    void (*carry_out)(struct call *call);
} OTHERS[] = {
    {"HcnCreateEndpoint", create_endpoint},
    {"HcnQueryEndpointStats", query_stats},
    {"HcnQueryEndpointAddresses", query_addresses},
    {"HcnRegisterServiceCallback", register_service},
    {"HcnRegisterNetworkCallback", register_network},
    {"HcnRegisterGuestNetworkServiceCallback", register_guest},
    {"HcnUnregisterServiceCallback", unregister_service},
    {"HcnUnregisterNetworkCallback", unregister_network},
    {"HcnUnregisterGuestNetworkServiceCallback", unregister_guest},
    {"HcnReserveGuestNetworkServicePort", reserve},
    {"HcnReserveGuestNetworkServicePortRange", reserve_range},
    {"HcnReleaseGuestNetworkServicePortReservationHandle", release},
    {"HcnEnumerateGuestNetworkPortReservations", enumerate_reservations},
    {"HNSCall", hns},
};

static void carry_out(struct call *call)
{
    for (size_t at = 0; at < COUNT(OTHERS); at++) {
        if (!strcmp(field(call, 0), OTHERS[at].name)) {
            OTHERS[at].carry_out(call);
            return;
        }
    }
    if (!by_verb(call)) {
        fprintf(stderr, "there is no function %s\n", field(call, 0));
        exit(1);
    }
}

static void answer(struct call *call)
{
    struct line line = {0};
    char numbers[40];

    snprintf(numbers, sizeof numbers, "0x%08lx", (unsigned long)(uint32_t)call->result);
    put_plain(&line, numbers);
    put_text(&line, call->record);
    if (*call->other && SUCCEEDED(call->result)) {
        put(&line, '\t');
        put_plain(&line, call->other);
    } else {
        put_text(&line, call->text);
    }
    snprintf(numbers, sizeof numbers, "\t%llu", (unsigned long long)(uintptr_t)call->handle);
    put_plain(&line, call->handle ? numbers : "\t" NONE);
    say(&line);
    CoTaskMemFree(call->record);
    CoTaskMemFree(call->text);
}

int main(void)
{
    char *line;

#ifdef _WIN32
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
#endif
    while ((line = hear())) {
        struct call call = {0};

        divide(line, &call);
        carry_out(&call);
        answer(&call);
        free(line);
    }
    return 0;
}
