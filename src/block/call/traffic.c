#include "block/call/traffic.h"

#include "base/hash.h"
#include "base/id.h"
#include "block/core/headers.h"
#include "component/resource.h"

#include <stdio.h>

enum { HASH_DIGITS = 16 };

/* ---- what the request says ---- */

static str cookie_of(const struct http_headers *h, str name)
{
    str rest = http_headers_get(h, S("cookie")), item, key, value;
    for (bool more = rest.n; more;) {
        more = str_cut(rest, ';', &item, &rest);
        if (str_cut(str_trim(item), '=', &key, &value) && str_eq(key, name))
            return value;
    }
    return S("");
}

static str parameter_of(str query, str name)
{
    str item, key, value;
    for (bool more = query.n; more;) {
        more = str_cut(query, '&', &item, &query);
        if (str_cut(item, '=', &key, &value) && str_eq(key, name))
            return value;
    }
    return S("");
}

static uint64_t key_of(const struct traffic_key *k, const struct http_request *req)
{
    str value = k->header.n ? http_headers_get(&req->headers, k->header) : S("");
    if (!value.n && k->cookie.n)
        value = cookie_of(&req->headers, k->cookie);
    if (!value.n && k->query.n)
        value = parameter_of(req->query, k->query);
    return value.n ? hash_stable(value) | 1 : 0;
}

static uint64_t sticky_of(const struct traffic_sticky *s, const struct http_request *req)
{
    uint8_t bytes[HASH_DIGITS / 2];
    uint64_t hash = 0;
    str value = s->cookie.n   ? cookie_of(&req->headers, s->cookie)
                : s->header.n ? http_headers_get(&req->headers, s->header)
                              : S("");
    if (value.n != HASH_DIGITS || !id_unhex(value, bytes))
        return 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        hash = hash << 8 | bytes[i];
    return hash;
}

/* Paths may carry ids: of HTTP's the first segment counts, with the verb. */
static uint64_t method_of(str method, str path, bool grpc)
{
    str segment, rest;
    if (grpc)
        return hash_bytes(path);
    (void)str_cut(str_skip(path, path.n ? 1 : 0), '/', &segment, &rest);
    return hash_bytes(method) * 3 + hash_bytes(segment);
}

void traffic_begin(struct traffic_call *c, struct blocks *b, str app_id,
                   const struct http_request *req, str path, bool grpc)
{
    *c = (struct traffic_call){ .pin = live_pin(b->live), .rule = traffic_defaults() };
    c->app_id = app_id;
    c->method = method_of(req->method, path, grpc);
    const struct resources *r = c->pin ? c->pin->resources : NULL;
    if (!r || !r->n_traffics)
        return;
    const struct traffic_spec *const *spec = (const struct traffic_spec *const *)r->traffic;
    c->rule = traffic_find(spec, r->n_traffics, app_id, req->method, path);
    c->key = key_of(&c->rule->hash, req);
    c->sticky = sticky_of(&c->rule->sticky, req);
    if (!c->rule->n_parts)
        return;
    c->app_id = traffic_split(c->rule, app_id, c->key ? c->key : id_random());
    if (!str_eq(c->app_id, app_id)) /* how it is balanced there is that app's matter */
        c->sticky = 0;
}

void traffic_end(struct traffic_call *c)
{
    live_unpin(TAKE(c->pin));
}

/* ---- what the answer says ---- */

void traffic_answer(const struct traffic_call *c, uint64_t chosen, struct http_headers *answer)
{
    const struct traffic_sticky *s = &c->rule->sticky;
    if ((!s->cookie.n && !s->header.n) || chosen == c->sticky)
        return;
    char hex[HASH_DIGITS + 1];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)chosen);
    if (s->header.n) {
        str value = arena_dup(answer->arena, str_of(hex, HASH_DIGITS));
        (void)(value.p ? http_headers_set(answer, s->header, value) : 0);
        return;
    }
    str value =
        s->ttl_ns
            ? arena_printf(answer->arena, STR_FMT "=%s; Path=/; Max-Age=%llu; HttpOnly",
                           STR_ARG(s->cookie), hex, (unsigned long long)(s->ttl_ns / SEC(1)))
            : arena_printf(answer->arena, STR_FMT "=%s; Path=/; HttpOnly", STR_ARG(s->cookie), hex);
    (void)(value.p ? http_headers_add(answer, S("set-cookie"), value) : 0);
}

/* Who has no place for a call needn't say how busy its app is. */
static bool is_full(const struct http_headers *answer)
{
    str why = http_headers_get(answer, S(SHED_HEADER));
    return str_eq(why, S("limit")) || str_eq(why, S("queue")) || str_eq(why, S("priority"));
}

int traffic_load(const struct http_headers *answer)
{
    int64_t load;
    str value = http_headers_get(answer, S(LOAD_HEADER));
    if (!value.p)
        return is_full(answer) ? 1000 : -1;
    return str_to_i64(value, &load) && load >= 0 && load <= 1000 ? (int)load : -1;
}

bool traffic_draining(const struct http_headers *answer)
{
    return http_headers_has(answer, S(DRAINING_HEADER));
}

void traffic_strip(struct http_headers *answer)
{
    http_headers_remove(answer, S(LOAD_HEADER));
    http_headers_remove(answer, S(DRAINING_HEADER));
}

bool traffic_was_shed(const struct http_headers *answer)
{
    str why = http_headers_get(answer, S(SHED_HEADER));
    return why.n && !str_eq(why, S("deadline")); /* that has passed for others as well */
}
