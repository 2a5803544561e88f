#include "cli/run_backoff.h"

uint64_t backoff_next(struct backoff *b, uint64_t ran_ns, double unit)
{
    if (ran_ns >= MS(BACKOFF_STABLE_MS))
        b->failures = 0;
    uint64_t delay = MS(BACKOFF_FIRST_MS);
    for (unsigned i = 0; i < b->failures && delay < MS(BACKOFF_MAX_MS); i++)
        delay *= 2;
    if (delay > MS(BACKOFF_MAX_MS))
        delay = MS(BACKOFF_MAX_MS);
    b->failures++;
    return (uint64_t)((double)delay * (0.75 + 0.5 * unit));
}
