/* What the test programs have in common: checks that say where, texts in UTF-8, and calls that must succeed. */
#ifndef CHECK_H
#define CHECK_H

#include <computenetwork.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                           \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Checks a code, and says which one it was instead. */
#define GIVES(code, call)                                                                                              \
    do {                                                                                                               \
        HRESULT got_ = (call);                                                                                         \
        if (got_ != (HRESULT)(code)) {                                                                                \
            fprintf(stderr, "%s:%d: 0x%08x from %s\n", __FILE__, __LINE__, (unsigned)got_, #call);                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* UTF-8 to UTF-16; the caller frees. Only what the tests need: no surrogates are made by hand in them. */
static inline WCHAR *wide(const char *text)
{
    WCHAR *units = calloc(strlen(text) + 1, sizeof *units), *to = units;
    const unsigned char *at = (const unsigned char *)text;

    while (*at) {
        unsigned long code = *at++;
        int more = code < 0x80 ? 0 : code < 0xe0 ? 1 : code < 0xf0 ? 2 : 3;

        code &= more ? 0x3fu >> more : 0x7fu;
        for (; more; more--)
            code = code << 6 | (*at++ & 0x3fu);
        if (code >= 0x10000) {
            *to++ = (WCHAR)(0xd800 + ((code - 0x10000) >> 10));
            code = 0xdc00 + ((code - 0x10000) & 0x3ff);
        }
        *to++ = (WCHAR)code;
    }
    return units;
}

/* ASCII of a text of the library, which is freed; anything else becomes '?'. */
static inline char *narrow(PWSTR text)
{
    size_t length = 0;
    char *octets;

    CHECK(text);
    while (text[length])
        length++;
    octets = calloc(length + 1, 1);
    for (size_t at = 0; at < length; at++)
        octets[at] = text[at] < 0x80 ? (char)text[at] : '?';
    CoTaskMemFree(text);
    return octets;
}

static inline int same(PCWSTR one, PCWSTR other)
{
    while (*one && *one == *other)
        one++, other++;
    return *one == *other;
}

#endif
