#include "http/client_private.h"
#include "http/h2_session.h"
#include "http/private.h"

#include "base/mem.h"
#include "format/spiffe.h"

#include <stdio.h>

/* ---- a call ---- */

int http_call_write(struct http_call *call, str data)
{
    return call->ops->write(call, data);
}

int http_call_end(struct http_call *call, const struct http_headers *trailers)
{
    return call->ops->end(call, trailers);
}

int http_call_response(struct http_call *call, const struct http_response **ret, struct error *err)
{
    return call->ops->response(call, ret, err);
}

int http_call_read(struct http_call *call, str *ret_chunk)
{
    return call->ops->read(call, ret_chunk);
}

CO static int next_of_call(void *arg, str *ret)
{
    return http_call_read(arg, ret);
}

int http_call_read_all(struct http_call *call, size_t max, str *ret)
{
    const struct http_response *res;
    int r = http_call_response(call, &res, NULL);
    if (r < 0)
        return r;
    int64_t length = res->content_length;
    str first;
    r = http_call_read(call, &first);
    if (r == 0)
        *ret = S("");
    if (r <= 0)
        return r;
    if ((length > 0 && (uint64_t)length > max) || first.n > max)
        return -RANGE;
    return http_gather(call->arena, max, length, first, next_of_call, call, ret);
}

const struct http_headers *http_call_trailers(const struct http_call *call)
{
    return call->ops->trailers(call);
}

struct arena *http_call_arena(struct http_call *call)
{
    return call->arena;
}

bool http_call_reused(const struct http_call *call)
{
    return call->reused;
}

bool http_call_refused(struct http_call *call)
{
    const struct h2_stream *s = h2_call_stream(call);
    return s && s->closed && !s->head_done && s->error == NGHTTP2_REFUSED_STREAM;
}

void http_call_free(struct http_call *call)
{
    if (call)
        call->ops->free(call);
}

void http_call_freep(struct http_call **call)
{
    http_call_free(*call);
}

/* ---- pools ---- */

struct client_pool *client_pool_enter(struct client_worker *w, const char *address)
{
    struct client_pool *p = map_get(&w->pools, str_c(address));
    if (p) {
        p->n_users++;
        return p;
    }
    p = mem_zalloc(sizeof *p);
    if (!p)
        return NULL;
    p->worker = w;
    p->n_users = 1;
    list_init(&p->conns);
    list_init(&p->idle);
    waitq_init(&p->waiters);
    snprintf(p->address, sizeof p->address, "%s", address);
    if (map_put(&w->pools, str_c(address), p, NULL) < 0) {
        mem_free(p);
        return NULL;
    }
    return p;
}

static void free_unused(struct client_pool *p)
{
    if (p->n_users || p->n_conns)
        return;
    (void)map_remove(&p->worker->pools, str_c(p->address));
    mem_free(p);
}

void client_pool_leave(struct client_pool *p)
{
    p->n_users--;
    free_unused(p);
}

void client_pool_closed(struct client_pool *p)
{
    p->n_conns--;
    (void)waitq_wake_one(&p->waiters, 0);
    free_unused(p);
}

int client_check_peer(const struct client_pool *p, const struct stream *s, str peer_id,
                      struct error *err)
{
    if (!peer_id.n || spiffe_is(stream_peer_id(s), peer_id))
        return 0;
    str shown = stream_peer_id(s);
    return fail(err, UNAVAILABLE, NULL,
                "%s: wanted " STR_FMT ", but the certificate there is " STR_FMT, p->address,
                STR_ARG(str_take(peer_id, 100)),
                STR_ARG(shown.n ? str_take(shown, 100) : S("nobody's")));
}

static struct client_worker *own_part(struct http_client *c)
{
    size_t i = worker_index(worker_self());
    if (c->worker[i])
        return c->worker[i];
    struct client_worker *w = mem_zalloc(sizeof *w);
    if (!w)
        return NULL;
    w->client = c;
    map_init(&w->pools, CLIENT_ADDRESSES_MAX);
    return c->worker[i] = w;
}

int http_call_start(struct http_client *c, const char *address, const struct http_request *req,
                    str body, bool end, struct http_call **ret, struct error *err)
{
    if (strlen(address) >= ADDRESS_MAX)
        return fail(err, INVALID, NULL, "address is longer than %d characters", ADDRESS_MAX - 1);
    struct client_worker *w = own_part(c);
    struct client_pool *p = w ? client_pool_enter(w, address) : NULL;
    if (!p)
        return fail(err, EXHAUSTED, NULL, "out of memory, or more than %d addresses in use",
                    CLIENT_ADDRESSES_MAX);
    int r = c->config.h2 ? h2_call_start(p, req, body, end, ret, err)
                         : h1_call_start(p, req, body, end, ret, err);
    client_pool_leave(p);
    return r;
}

/* ---- life ---- */

struct http_client *http_client_new(const struct http_client_config *config)
{
    struct http_client *c = mem_zalloc(sizeof *c);
    if (!c)
        return NULL;
    struct http_client_config *set = &c->config;
    *set = *config;
    (void)tls_context_ref(config->tls);
    set->max_conns = set->max_conns ? set->max_conns : 1024;
    set->max_idle = set->max_idle ? set->max_idle : 64;
    set->idle_timeout_ns = set->idle_timeout_ns ? set->idle_timeout_ns : SEC(180);
    set->keepalive_timeout_ns = set->keepalive_timeout_ns ? set->keepalive_timeout_ns : SEC(5);
    set->dial_timeout_ns = set->dial_timeout_ns ? set->dial_timeout_ns : SEC(5);
    set->max_header_bytes = set->max_header_bytes ? set->max_header_bytes : KIB(64);
    set->max_header_bytes = min_size(set->max_header_bytes, MIB(16));
    return c;
}

bool http_client_is_h2(const struct http_client *c)
{
    return c->config.h2;
}

CO static void close_part(void *arg)
{
    struct client_worker *w = arg;
    size_t at = 0;
    for (struct map_entry *e; (e = map_next(&w->pools, &at));) {
        struct client_pool *p = e->value;
        p->n_users++; /* it mustn't leave the map while we walk it */
        h1_client_close_idle(p);
        h2_client_close_all(p);
        while (p->n_conns) /* one that is just writing needs a moment to let go */
            (void)fiber_sleep(MS(1));
        mem_free(p);
    }
    map_done(&w->pools);
    h1_client_free_spares(w);
    mem_free(w);
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < CLIENT_WORKERS_MAX; i++)
        if (c->worker[i])
            http_run_surely(i, "http-client-free", close_part, c->worker[i]);
    tls_context_unref(c->config.tls);
    mem_free(c);
}
