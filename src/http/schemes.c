#include "http/schemes.h"

#include "base/mem.h"

#include <stdatomic.h>

struct http_schemes {
    struct http_schemes_config config;
    _Atomic(struct http_client *) plain, secure;
};

struct http_client *http_schemes_get(struct http_schemes *s, bool secure, struct error *err)
{
    _Atomic(struct http_client *) *place = secure ? &s->secure : &s->plain;
    struct http_client *c = atomic_load(place), *other = NULL;
    struct http_client_config config = s->config.client;
    if (c || (secure && tls_context_new(&s->config.tls, &config.tls, err) < 0))
        return c;
    c = http_client_new(&config);
    tls_context_unref(config.tls);
    if (!c) {
        fail(err, EXHAUSTED, NULL, "out of memory");
        return NULL;
    }
    if (atomic_compare_exchange_strong(place, &other, c))
        return c;
    http_client_free(c); /* another worker was faster; ours has nothing on any worker yet */
    return other;
}

int http_schemes_new(const struct http_schemes_config *c, struct http_schemes **ret,
                     struct error *err)
{
    struct error local = { 0 };
    struct error *story = err && !err->code ? err : &local;
    struct http_schemes *s = mem_zalloc(sizeof *s);
    if (!s)
        return fail(story, EXHAUSTED, NULL, "out of memory");
    s->config = *c;
    if (c->secure && !http_schemes_get(s, true, story)) {
        mem_free(s);
        return -(int)story->code;
    }
    *ret = s;
    return 0;
}

void http_schemes_free(struct http_schemes *s)
{
    if (!s)
        return;
    http_client_free(atomic_load(&s->plain));
    http_client_free(atomic_load(&s->secure));
    mem_free(s);
}
