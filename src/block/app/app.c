#include "block/app/app.h"

#include "base/clock.h"
#include "base/mem.h"
#include "block/app/channel.h"
#include "block/app/retried.h"
#include "block/core/headers.h"
#include "loop/tls.h"

#include <stdio.h>

/* The app's certificate isn't verified: facts 5.1. */
static int make_tls(struct app *a, bool h2, struct error *err)
{
    if (!str_ends(str_c(a->config.protocol), S("s")))
        return 0;
    struct tls_options o = { .insecure = true, .h2 = h2 };
    return tls_context_new(&o, &a->tls, err);
}

static int make_client(struct app *a, bool h2, struct error *err)
{
    int r = make_tls(a, h2, err);
    if (r < 0)
        return r;
    struct http_client_config client = {
        .h2 = h2,
        .max_conns = 1024,
        .max_idle = 64,
        .max_header_bytes = a->config.max_header_bytes,
        .tls = a->tls,
    };
    a->client = http_client_new(&client);
    return a->client ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

CO static bool listens(void *app)
{
    return app_listening(app);
}

int app_new(const struct app_config *config, struct app **ret, struct error *err)
{
    struct app *a = mem_zalloc(sizeof *a);
    if (!a)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    a->config = *config;
    const char *format = strchr(config->host, ':') ? "[%s]:%u" : "%s:%u";
    snprintf(a->address, sizeof a->address, format, config->host, config->port);
    atomic_init(&a->healthy, true);
    sleep_init(&a->sleep, listens, a);
    str protocol = str_c(config->protocol);
    bool grpc = str_starts(protocol, S("grpc"));
    a->channel = grpc ? &channel_grpc : &channel_http;
    arena_init(&a->bindings.arena, 0);
    int r = admit_new(config->max_concurrency, &a->admit, err);
    a->retried = retried_new();
    if (r >= 0 && !a->retried)
        r = fail(err, EXHAUSTED, NULL, "out of memory");
    if (r >= 0)
        r = make_client(a, grpc || str_eq(protocol, S("h2c")), err);
    if (r < 0) {
        app_free(a);
        return r;
    }
    *ret = a;
    return 0;
}

void app_free(struct app *a)
{
    if (!a)
        return;
    if (a->client)
        http_client_free(a->client);
    tls_context_unref(a->tls);
    arena_done(&a->bindings.arena);
    admit_free(a->admit);
    retried_free(a->retried);
    mem_free(a);
}

CO int app_enter(struct app *a, struct admit_place *p, const struct admit_ask *ask,
                 struct error *err)
{
    int r = sleep_enter(&a->sleep, err);
    if (r < 0)
        return r;
    r = admit_enter(a->admit, p, ask, err);
    if (r < 0)
        sleep_leave(&a->sleep);
    return r;
}

void app_leave(struct app *a, struct admit_place *p, int result, int status)
{
    admit_leave(a->admit, p, result, status);
    sleep_leave(&a->sleep);
}

void app_tell_load(const struct app *a, struct http_headers *answer)
{
    str load = arena_printf(answer->arena, "%u", admit_load(a->admit));
    if (load.p)
        (void)http_headers_set(answer, S(LOAD_HEADER), load);
    if (a->blocks && atomic_load_explicit(&a->blocks->leaving, memory_order_relaxed))
        (void)http_headers_set(answer, S(DRAINING_HEADER), S("1"));
}

void app_tell_retried(const struct app *a, const struct http_headers *call, uint64_t start_ns,
                      struct http_headers *answer)
{
    retried_mark(a->retried, call, start_ns, answer);
}

void app_note_retried(struct app *a, const struct http_headers *call)
{
    if (a)
        retried_note(a->retried, call, clock_now_ns());
}

CO bool app_listening(struct app *a)
{
    if (a->config.handle)
        return true;
    DEADLINE(MS(500));
    struct stream *s;
    struct error err = { 0 };
    if (stream_dial_tls(a->address, a->tls, NULL, &s, &err) < 0)
        return false;
    stream_close(s);
    return true;
}

int app_grpc_code(const struct app *a, int result)
{
    return result < 0 && a->channel == &channel_grpc ? -result : 0;
}
