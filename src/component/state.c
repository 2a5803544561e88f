#include "component/state.h"

int state_ttl(struct kvs metadata, int64_t *ret_seconds, struct error *err)
{
    str text = str_trim(kvs_get(metadata, S("ttlInSeconds")));
    int64_t seconds = 0;
    if (text.n && !str_to_i64(text, &seconds))
        return fail(err, INVALID, NULL,
                    "ttlInSeconds \"%.*s\" is not a whole number of seconds: use -1 for never",
                    (int)min_size(text.n, 40), text.p);
    if (seconds < -1 || seconds > INT32_MAX)
        return fail(err, INVALID, NULL, "ttlInSeconds %lld is not in -1 (never) … %d",
                    (long long)seconds, INT32_MAX);
    *ret_seconds = seconds;
    return 0;
}
