/* consul.c — nameresolution.consul: sidecars find each other through a Consul agent, or through
 * whatever speaks that part of its HTTP API.
 * Owner:  the instance holds a pooled client and one fiber that renews our lease.
 * Thread: open, close, leave and the renewing fiber on one worker; resolve on any.
 * Limits: ANSWER_NS for each answer of the agent.   Failure: open fails when the agent doesn't
 * answer, or doesn't take our registration; a lost registration (the agent began anew) is made
 * again. */
#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "fiber/sync.h"
#include "format/json.h"
#include "http/schemes.h"
#include "loop/worker.h"

#include <stdio.h>

#define SCOPE "proa.nameresolution.consul"

enum { APP_ID_MAX = 256, ARENA_MAX = 8 << 20, ADDRESS_BYTES_MAX = 300 };
static const uint64_t ANSWER_NS = SEC(2);

struct consul {
    const char *client, *query, *tags, *meta, *checks, *port_key, *advanced;
    bool self_register, use_cache;
    int64_t ttl_ns;
    struct arena arena;
    char address[ADDRESS_BYTES_MAX];
    bool tls;
    str token, suffix; /* of the agent; of each query: "&dc=…&filter=…" */
    struct http_schemes *clients;
    char id[AGENT_ID_MAX];
    struct agent_service service;
    struct fiber *renewer;
    struct wait_group fibers;
    bool registered; /* or nearly */
    bool left;
};

/* ---- talking to the agent ---- */

struct talk {
    struct consul *c;
    struct arena *a;
    str method, target, body;
    str answer;
    struct error *err;
};

/* Status of the answer, or -CODE with *err filled. */
CO static int talk_once(struct talk *t)
{
    AUTO(http_call_freep) struct http_call *call = NULL;
    const struct http_response *res;
    struct http_request req = {
        .method = t->method,
        .target = t->target,
        .content_length = (int64_t)t->body.n,
    };
    (void)str_cut(t->target, '?', &req.path, &req.query);
    http_headers_init(&req.headers, t->a);
    if (t->c->token.n && http_headers_add(&req.headers, S("X-Consul-Token"), t->c->token))
        return fail(t->err, EXHAUSTED, NULL, "out of memory");
    if (t->body.n && http_headers_add(&req.headers, S("Content-Type"), S("application/json")))
        return fail(t->err, EXHAUSTED, NULL, "out of memory");
    struct http_client *client = http_schemes_get(t->c->clients, t->c->tls, t->err);
    if (!client)
        return -(int)t->err->code;
    int r = http_call_start(client, t->c->address, &req, t->body, true, &call, t->err);
    if (!r)
        r = http_call_response(call, &res, t->err);
    str answer = S("");
    if (!r)
        r = http_call_read_all(call, AGENT_ANSWER_MAX, &answer);
    if (r)
        return fail(t->err, (enum code) - r, NULL, "no answer of the agent at %s: %s",
                    t->c->address, code_name((enum code) - r));
    t->answer = arena_dup(t->a, answer);
    return t->answer.p ? res->status : fail(t->err, EXHAUSTED, NULL, "out of memory");
}

/* 0 when the agent has done it. */
CO static int talk(struct talk *t)
{
    DEADLINE(ANSWER_NS);
    int status = talk_once(t);
    if (status < 0 || status == 200)
        return status < 0 ? status : 0;
    return fail(t->err,
                status == 403   ? DENIED
                : status == 404 ? NOT_FOUND
                                : UNAVAILABLE,
                NULL, "the agent at %s answers %d to " STR_FMT ": " STR_FMT, t->c->address, status,
                STR_ARG(str_take(t->target, 80)), STR_ARG(str_take(str_trim(t->answer), 200)));
}

/* ---- our registration ---- */

CO static int put(struct consul *c, const char *what, str id, str body, struct error *err)
{
    AUTO(arena_done) struct arena a;
    AUTO(buf_done) struct buf target;
    arena_init(&a, ARENA_MAX);
    buf_init(&target, KIB(4));
    buf_printf(&target, "/v1/agent/%s", what);
    agent_put_escaped(&target, id);
    struct talk t = { c, &a, S("PUT"), buf_str(&target), body, S(""), err };
    return talk(&t);
}

CO static int do_register(struct consul *c, struct error *err)
{
    AUTO(buf_done) struct buf body;
    buf_init(&body, KIB(256));
    agent_put_service(&body, &c->service);
    if (!buf_ok(&body))
        return fail(err, EXHAUSTED, NULL, "the registration is longer than 256 KiB");
    return put(c, "service/register", S(""), buf_str(&body), err);
}

CO static void renew(struct consul *c)
{
    AUTO(arena_done) struct arena a;
    arena_init(&a, KIB(16));
    struct error err = { 0 };
    static struct log_limit limit;
    uint64_t missed;
    int r = put(c, "check/pass/", agent_check_id(&a, c->id), S(""), &err);
    if (r == -NOT_FOUND || r == -UNAVAILABLE) /* an agent that began anew knows nothing of us */
        r = do_register(c, &err);
    if (r && r != -CANCELLED && log_allow(&limit, SEC(10), &missed))
        log_warn(SCOPE, "renewal failed, will try again (%llu more before): %s",
                 (unsigned long long)missed, err.text);
}

CO static void renewer(void *arg)
{
    struct consul *c = arg;
    while (fiber_sleep((uint64_t)c->ttl_ns / 3) == 0)
        renew(c);
    c->renewer = NULL;
    wait_group_done(&c->fibers);
}

CO static void consul_leave(void *self)
{
    struct consul *c = self;
    SHIELD();
    c->left = true;
    if (c->renewer)
        fiber_cancel(c->renewer);
    (void)wait_group_wait(&c->fibers);
    struct error err = { 0 };
    if (c->registered && put(c, "service/deregister/", str_c(c->id), S(""), &err))
        log_warn(SCOPE, "%s stays registered until its check fails: %s", c->id, err.text);
    c->registered = false;
}

/* ---- configuration ---- */

static int member(struct consul *c, struct json map, const char *name, const char *def, str *ret,
                  struct error *err)
{
    if (json_string_or(&c->arena, json_get_fold(map, str_c(name)), str_c(def), ret))
        return fail(err, INVALID, NULL, "%s must be a text", name);
    return 0;
}

static int parse_map(const char *name, const char *text, struct json *ret, struct error *err)
{
    *ret = (struct json){ 0 };
    if (text[0] && (json_parse(str_c(text), ret, NULL) || ret->type != JSON_OBJECT))
        return fail(err, INVALID, NULL, "%s must be a map", name);
    return 0;
}

static int read_client(struct consul *c, struct error *err)
{
    struct json map;
    str address, scheme;
    int r = parse_map("client", c->client, &map, err);
    if (!r)
        r = member(c, map, "address", "127.0.0.1:8500", &address, err);
    if (!r)
        r = member(c, map, "scheme", "http", &scheme, err);
    if (!r)
        r = member(c, map, "token", "", &c->token, err);
    if (r)
        return r;
    if (str_istarts(address, S("https://")) || str_istarts(address, S("http://")))
        (void)str_cut(address, ':', &scheme, &address);
    address = str_starts(address, S("//")) ? str_skip(address, 2) : address;
    c->tls = str_ieq(scheme, S("https"));
    bool port = str_find_c(address, ':') >= 0;
    int n =
        snprintf(c->address, sizeof c->address, port ? STR_FMT : STR_FMT ":8500", STR_ARG(address));
    if (n >= (int)sizeof c->address || (!c->tls && !str_ieq(scheme, S("http"))))
        return fail(err, INVALID, NULL,
                    "client: want address: host:port and scheme: http or https");
    return 0;
}

static int read_query(struct consul *c, struct error *err)
{
    struct json client, map;
    str filter, datacenter;
    int r = parse_map("queryOptions", c->query, &map, err);
    if (!r)
        r = parse_map("client", c->client, &client, err);
    if (!r)
        r = member(c, map, "filter", "", &filter, err);
    if (!r)
        r = member(c, json_is_null(json_get_fold(map, S("datacenter"))) ? client : map,
                   "datacenter", "", &datacenter, err);
    if (r)
        return r;
    AUTO(buf_done) struct buf b;
    buf_init(&b, KIB(16));
    if (datacenter.n) {
        buf_put(&b, S("&dc="));
        agent_put_escaped(&b, datacenter);
    }
    if (filter.n) {
        buf_put(&b, S("&filter="));
        agent_put_escaped(&b, filter);
    }
    c->suffix = arena_dup(&c->arena, buf_str(&b));
    return buf_ok(&b) && c->suffix.p ? 0 : fail(err, INVALID, NULL, "queryOptions are too long");
}

static int check_lists(const struct consul *c, struct error *err)
{
    struct json v;
    if (c->advanced[0])
        return fail(err, INVALID, NULL,
                    "advancedRegistration isn't supported: use selfRegister with checks, tags and "
                    "meta");
    if (c->tags[0] && (json_parse(str_c(c->tags), &v, NULL) || v.type != JSON_ARRAY))
        return fail(err, INVALID, NULL, "tags must be a list");
    if (c->checks[0] && (json_parse(str_c(c->checks), &v, NULL) || v.type != JSON_ARRAY))
        return fail(err, INVALID, NULL, "checks must be a list");
    if (c->ttl_ns < 0 || c->ttl_ns % (int64_t)SEC(1) || c->ttl_ns > (int64_t)SEC(3600))
        return fail(err, INVALID, NULL, "ttl must be whole seconds, at most 1h; 0 = none");
    return parse_map("meta", c->meta, &v, err);
}

static int check_env(struct consul *c, const struct component_env *env, struct error *err)
{
    if (!env->app_id || !*env->app_id || strlen(env->app_id) > APP_ID_MAX)
        return fail(err, INVALID, NULL, "name is missing: set the app id");
    if (!env->host_address || !*env->host_address)
        return fail(err, INVALID, NULL, "address is missing: no address of this host is known");
    if (!env->internal_port)
        return fail(err, INVALID, NULL,
                    "port is missing or invalid: the internal port is not open");
    /* Sidecars of one host may have no HTTP port yet: the internal one is always their own. */
    snprintf(c->id, sizeof c->id, "%s-%s-%u", env->app_id, env->host_address, env->internal_port);
    c->service = (struct agent_service){
        .id = c->id,
        .app_id = env->app_id,
        .host = env->host_address,
        .zone = env->zone ? env->zone : "",
        .region = env->region ? env->region : "",
        .port_key = c->port_key,
        .app_port = env->app_port,
        .http_port = env->http_port,
        .internal_port = env->internal_port,
        .tags = c->tags,
        .meta = c->meta,
        .checks = c->checks,
        .ttl_s = c->ttl_ns / (int64_t)SEC(1),
    };
    return 0;
}

/* ---- life ---- */

CO static int greet(struct consul *c, struct error *err)
{
    AUTO(arena_done) struct arena a;
    arena_init(&a, ARENA_MAX);
    struct talk t = { c, &a, S("GET"), S("/v1/agent/self"), S(""), S(""), err };
    return talk(&t);
}

/* With a ttl an agent that doesn't answer now is told with the next renewal. */
CO static int consul_join(void *self, struct error *err)
{
    struct consul *c = self;
    if (!c->self_register || c->left)
        return 0;
    c->registered = true;
    if (c->ttl_ns) {
        c->renewer = fiber_spawn("nameresolution.consul", renewer, c);
        if (!c->renewer)
            return fail(err, EXHAUSTED, NULL, "no fiber is left to renew the registration");
        wait_group_add(&c->fibers);
    }
    int r = do_register(c, err);
    if (!r)
        log_info(SCOPE, "service %s registered on consul agent", c->service.app_id);
    return r;
}

CO static int consul_open(void *self, const struct component_env *env, struct error *err)
{
    struct consul *c = self;
    arena_init(&c->arena, MIB(1));
    wait_group_init(&c->fibers);
    struct http_schemes_config config = { .client.dial_timeout_ns = ANSWER_NS };
    int r = check_env(c, env, err);
    if (!r)
        r = check_lists(c, err);
    if (!r)
        r = read_client(c, err);
    if (!r)
        r = read_query(c, err);
    config.secure = c->tls;
    if (!r)
        r = http_schemes_new(&config, &c->clients, err);
    return r ? r : greet(c, err);
}

static void free_clients(void *arg)
{
    http_schemes_free(arg);
}

CO static void consul_close(void *self)
{
    struct consul *c = self;
    SHIELD();
    if (c->clients)
        consul_leave(c);
    while (c->clients && blocking(free_clients, c->clients)) /* waits for all workers: not on one */
        (void)fiber_sleep(MS(10));
    c->clients = NULL;
    arena_done(&c->arena);
}

CO static int consul_resolve(void *self, str app_id, str namespace_, struct arena *a,
                             struct registration *ret, size_t max, size_t *ret_n, struct error *err)
{
    struct consul *c = self;
    if (app_id.n == 0 || app_id.n > APP_ID_MAX)
        return fail(err, INVALID, NULL, "an app id has 1 to %d bytes", APP_ID_MAX);
    AUTO(arena_done) struct arena own; /* an answer may be larger than the caller's arena */
    AUTO(buf_done) struct buf target;
    arena_init(&own, ARENA_MAX);
    buf_init(&target, KIB(32));
    buf_put(&target, S("/v1/health/service/"));
    agent_put_escaped(&target, app_id);
    buf_put(&target, S("?passing=1"));
    buf_put(&target, c->suffix);
    struct talk t = { c, &own, S("GET"), buf_str(&target), S(""), S(""), err };
    int r = talk(&t);
    if (r)
        return r;
    struct registration *found = arena_alloc(&own, (max ? max : 1) * sizeof *found);
    size_t n = 0;
    r = found ? agent_read_services(t.answer, c->port_key, &own, found, max, &n) : -EXHAUSTED;
    for (size_t i = 0; i < n && !r; i++) {
        ret[i] = (struct registration){ arena_dup(a, found[i].address), arena_dup(a, found[i].zone),
                                        arena_dup(a, found[i].region) };
        r = ret[i].address.p && ret[i].zone.p && ret[i].region.p ? 0 : -EXHAUSTED;
    }
    if (r)
        return fail(err, (enum code) - r, NULL, "the agent's answer %s",
                    r == -INVALID ? "is no list of services" : "does not fit into memory");
    *ret_n = n;
    return 0;
}

#define ROW(key, member, ...)                                                                      \
    {                                                                                              \
        .name = key, .off = offsetof(struct consul, member), __VA_ARGS__                           \
    }

static const struct cfg_field consul_fields[] = {
    ROW("client", client, .kind = CFG_STR,
        .doc = "map: address (127.0.0.1:8500), scheme, token and datacenter of the agent"),
    ROW("queryOptions", query, .kind = CFG_STR, .doc = "map: filter and datacenter of look-ups"),
    ROW("selfRegister", self_register, .kind = CFG_BOOL, .def = "false",
        .doc = "whether this sidecar registers its app; else somebody else does"),
    ROW("ttl", ttl_ns, .kind = CFG_DURATION, .def = "9s",
        .doc = "of our lease: after so long a silence the agent takes us for gone; 0 = the agent "
               "asks for our health instead"),
    ROW("checks", checks, .kind = CFG_STR, .doc = "list of further checks, in Consul's words"),
    ROW("tags", tags, .kind = CFG_STR, .doc = "list of the service's tags"),
    ROW("meta", meta, .kind = CFG_STR, .doc = "map of the service's metadata"),
    ROW("daprPortMetaKey", port_key, .kind = CFG_STR, .def = "DAPR_PORT",
        .doc = "metadata that has a sidecar's internal port"),
    ROW("useCache", use_cache, .kind = CFG_BOOL, .def = "true",
        .doc = "without effect: the block keeps answers for 3 s at most"),
    ROW("advancedRegistration", advanced, .kind = CFG_STR, .doc = "not supported"),
};

const struct resolver_ops nameresolution_consul = {
    .t = {
        .kind = "nameresolution",
        .type = "nameresolution.consul",
        .aliases = (const char *const[]){ "nameresolution.hashicorp.consul", NULL },
        .version = "v1",
        .doc = "sidecars find each other through a Consul agent",
        .size = sizeof(struct consul),
        .fields = consul_fields,
        .n_fields = COUNT(consul_fields),
        .open = consul_open,
        .close = consul_close,
    },
    .join = consul_join,
    .leave = consul_leave,
    .resolve = consul_resolve,
};
