/* outside.h — HTTP servers that are no app of ours: a named HTTPEndpoint, or an absolute URL.
 * Owner:  its maker; outside_free() off the workers, after the last call.
 * Thread: the exchange's fiber, any worker.
 * Failure: as invoke.h. A redirect that can't be followed (its URL, more than REDIRECTS_MAX) is
 * -UNKNOWN or -INVALID; one whose body can't be sent again is passed on as it is. */
#pragma once

#include "block/core/block.h"
#include "http/server.h"
#include "loop/tls.h"

struct outside;
struct invoke_target;

struct outside_config {
    struct tls_options tls; /* the texts must live as long as the outside does */
    bool follow;            /* redirects, as Go's net/http does: surprise 49 */
    bool secure;            /* https will be spoken: what is wrong with .tls is found at once */
};
int outside_new(const struct outside_config *c, struct outside **ret, struct error *err) WUR;
void outside_free(struct outside *o); /* NULL is fine */

/* base: "https://host/path", what the method's path stands behind; named NULL: an absolute URL. */
CO int invoke_outside(struct blocks *b, struct outside *o, str base, const struct endpoint *named,
                      const struct invoke_target *t, struct http_exchange *x, struct error *err)
    WUR;
