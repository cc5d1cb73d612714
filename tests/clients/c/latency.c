/* How long a call takes: the best of several rounds of enumerating all networks, in microseconds. */
#include "check.h"

#include <time.h>

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

int main(void)
{
    enum { ROUNDS = 10, CALLS = 100 };
    double best = 1e9;
    PWSTR text;

    for (int round = 0; round < ROUNDS; round++) {
        double start = now(), each;

        for (int call = 0; call < CALLS; call++) {
            GIVES(S_OK, HcnEnumerateNetworks(NULL, &text, NULL));
            CoTaskMemFree(text);
        }
        each = (now() - start) / CALLS;
        best = each < best ? each : best;
    }
    printf("%.0f\n", best);
    return 0;
}
