/* schemes.h — a client for http:// and one for https://, each made when it's first needed: TLS
 * costs memory.
 * Owner:  its maker; http_schemes_free() off the workers, after the last call.
 * Thread: any worker.   Failure: -INVALID what TLS was given can't be used, -EXHAUSTED. */
#pragma once

#include "http/client.h"

struct http_schemes;

struct http_schemes_config {
    struct http_client_config client; /* of both; without .tls */
    struct tls_options tls;           /* the texts must live as long as the schemes do */
    bool secure; /* https will be spoken: what is wrong with .tls is found now */
};
int http_schemes_new(const struct http_schemes_config *c, struct http_schemes **ret,
                     struct error *err) WUR;
/* NULL: *err says why; it lives as long as the schemes do. */
struct http_client *http_schemes_get(struct http_schemes *s, bool secure, struct error *err) WUR;
void http_schemes_free(struct http_schemes *s); /* NULL is fine */
