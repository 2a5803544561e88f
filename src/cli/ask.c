#include "cli/ask.h"
#include "cli/run_files.h"

#include "loop/worker.h"

#include <stdio.h>
#include <stdlib.h>

enum { ASK_FIBERS = 64, ERROR_TEXT_MAX = 400 };

static struct http_client *client; /* of the one worker that a small command has */

int ask_in_fiber(void (*fn)(void *arg), void *arg, struct error *err)
{
    static const struct http_client_config config = { .max_conns = 2, .max_idle = 1 };
    int r = workers_start(1, ASK_FIBERS, err);
    if (r)
        return r;
    client = http_client_new(&config);
    r = client ? worker_run(worker_at(0), "ask", fn, arg) : -EXHAUSTED;
    if (client)
        http_client_free(client);
    (void)workers_stop(SEC(1));
    return r ? fail(err, EXHAUSTED, NULL, "out of memory") : 0;
}

static int add_header(struct http_headers *h, str name, str value)
{
    return value.n ? http_headers_add(h, name, value) : 0;
}

int ask_call(const struct ask *ask, struct arena *a, struct answer *ret, struct error *err)
{
    unsigned limit_s = ask->timeout_s ? ask->timeout_s : ASK_TIMEOUT_S;
    DEADLINE(SEC((uint64_t)limit_s));
    AUTO(http_call_freep) struct http_call *call = NULL;
    struct http_request req = {
        .method = ask->method,
        .target = ask->target,
        .authority = S("localhost"),
        .content_length = (int64_t)ask->body.n,
    };
    str_cut(ask->target, '?', &req.path, &req.query);
    http_headers_init(&req.headers, a);
    int r = add_header(&req.headers, S("content-type"), ask->content_type);
    if (!r)
        r = add_header(&req.headers, S("authorization"), ask->authorization);
    if (!r)
        r = add_header(&req.headers, S("dapr-api-token"), str_c(getenv("DAPR_API_TOKEN")));
    if (!r)
        r = http_call_start(client, ask->address, &req, ask->body, true, &call, err);
    const struct http_response *res;
    if (!r)
        r = http_call_response(call, &res, err);
    str body = { 0 };
    if (!r)
        r = http_call_read_all(call, ASK_BODY_MAX, &body);
    if (r)
        return fail(err, (enum code) - r, NULL, "%s: the answer broke off or took longer than %u s",
                    ask->address, limit_s);
    ret->status = res->status;
    ret->content_type = arena_dup(a, http_headers_get(&res->headers, S("content-type")));
    ret->body = arena_dup(a, body);
    return ret->body.p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

/* ---- runs ---- */

static int none_found(const char *name, int64_t port, struct error *err)
{
    if (name)
        return fail(err, NOT_FOUND, NULL, "no run is called '%s': 'proa status' shows what runs",
                    name);
    if (port)
        return fail(err, NOT_FOUND, NULL, "no run has its page on port %lld", (long long)port);
    return fail(err, NOT_FOUND, NULL, "nothing runs: start it with 'proa run'");
}

int ask_find_run(struct arena *a, const char *name, int64_t port, struct run_control *ret,
                 struct error *err)
{
    struct run_control all[RUNS_MAX];
    size_t n, found = 0;
    char names[200] = "";
    int r = run_dir_list(a, all, COUNT(all), &n, err);
    if (r)
        return r;
    for (size_t i = 0; i < n; i++) {
        if ((name && !str_eq(all[i].name, str_c(name))) || (port && all[i].port != port))
            continue;
        *ret = all[i];
        found++;
        size_t used = strlen(names);
        snprintf(names + used, sizeof(names) - used, "%s" STR_FMT " (port %u)", used ? ", " : "",
                 STR_ARG(all[i].name), all[i].port);
    }
    if (!found)
        return none_found(name, port, err);
    if (found > 1)
        return fail(err, PRECONDITION, NULL, "several runs: choose one with --run or --port: %s",
                    names);
    return 0;
}

int ask_find_again(struct arena *a, struct run_control *run, struct error *err)
{
    struct run_control all[RUNS_MAX];
    size_t n;
    int r = run_dir_list(a, all, COUNT(all), &n, err);
    if (r)
        return r;
    for (size_t i = 0; i < n; i++)
        if (all[i].pid == run->pid && all[i].port == run->port) {
            *run = all[i];
            return 0;
        }
    return fail(err, NOT_FOUND, NULL, "the run has ended");
}

int ask_feed(const struct run_control *run, unsigned timeout_s, struct arena *a, struct json *ret,
             struct error *err)
{
    str address = arena_printf(a, "127.0.0.1:%u", run->port);
    if (!address.p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    const struct ask ask = {
        .address = address.p, .method = S("GET"), .target = S("/feed.json"), .timeout_s = timeout_s
    };
    struct answer answer;
    int r = ask_call(&ask, a, &answer, err);
    if (r)
        return r;
    if (answer.status != 200 || json_parse(answer.body, ret, NULL) != 0)
        return fail(err, UNAVAILABLE, NULL, "the run on port %u gives no feed (HTTP %d): try again",
                    run->port, answer.status);
    return 0;
}

/* ---- sidecars ---- */

/* The HTTP port of the first instance that is up, else of the first. 0 = no such app. */
static uint16_t port_of(struct json feed, str app)
{
    struct json_iter services = json_iter(json_get(feed, S("services")));
    struct json service, instance;
    uint64_t first = 0, port;
    while (json_next(&services, NULL, &service)) {
        if (!json_eq_str(json_get(service, S("id")), app))
            continue;
        struct json_iter it = json_iter(json_get(service, S("instances")));
        while (json_next(&it, NULL, &instance)) {
            if (!json_u64(json_get(instance, S("http_port")), &port) || port > UINT16_MAX)
                continue;
            if (json_eq_str(json_get(instance, S("state")), S("healthy")))
                return (uint16_t)port;
            first = first ? first : port;
        }
    }
    return (uint16_t)first;
}

CO static int find_in_runs(const struct ask_where *w, struct arena *a, uint16_t *ret,
                           struct error *err)
{
    struct run_control all[RUNS_MAX];
    size_t n;
    int r = run_dir_list(a, all, COUNT(all), &n, err);
    if (r)
        return r;
    for (size_t i = 0; i < n; i++) {
        struct json feed;
        struct error ignored = { 0 }; /* a run that is about to end */
        if (w->run_name && !str_eq(all[i].name, str_c(w->run_name)))
            continue;
        if (ask_feed(&all[i], 0, a, &feed, &ignored) != 0)
            continue;
        *ret = port_of(feed, str_c(w->app));
        if (*ret)
            return 0;
    }
    return fail(err, NOT_FOUND, NULL,
                "no run has an app '%s': 'proa status' shows what runs; for a sidecar that was "
                "started otherwise give --dapr-http-port",
                w->app);
}

int ask_find_sidecar(const struct ask_where *w, struct arena *a, const char **ret_address,
                     struct error *err)
{
    uint16_t port = (uint16_t)w->http_port;
    str address;
    if (w->socket_dir) {
        address = arena_printf(a, "unix:%s/dapr-%s-http.socket", w->socket_dir, w->app);
    } else {
        int r = port ? 0 : find_in_runs(w, a, &port, err);
        if (r)
            return r;
        address = arena_printf(a, "127.0.0.1:%u", port);
    }
    *ret_address = address.p;
    return address.p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

/* ---- data ---- */

int ask_data(const char *data, const char *file, struct arena *a, str *ret, struct error *err)
{
    *ret = str_c(data);
    if (data && file)
        return fail(err, INVALID, NULL, "either --data or --data-file, not both");
    return file ? files_read(a, file, ASK_BODY_MAX, ret, err) : 0;
}

str ask_error_text(const struct answer *answer, struct arena *a)
{
    struct json v;
    str text;
    if (json_parse(answer->body, &v, NULL) == 0 &&
        json_string(a, json_get(v, S("message")), &text) == 0 && text.n)
        return text;
    return str_take(str_trim(answer->body), ERROR_TEXT_MAX);
}
