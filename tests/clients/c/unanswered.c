/* What a call says where no service answers it as one: the code is the argument, and it comes within a second. */
#include "check.h"

#include <time.h>

int main(int count, char **arguments)
{
    struct timespec start, end;
    unsigned code;
    PWSTR text, record;
    char said[32];

    CHECK(count == 2 && sscanf(arguments[1], "%x", &code) == 1);
    snprintf(said, sizeof said, "\"ErrorCode\":%u}", code);
    clock_gettime(CLOCK_MONOTONIC, &start);
    GIVES(code, HcnEnumerateNetworks(NULL, &text, &record));
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK((double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9 < 1);
    CHECK(!text);
    CHECK(strstr(narrow(record), said));
    return 0;
}
