#include "block/app.h"

#include "base/mem.h"
#include "block/channel.h"
#include "loop/stream.h"

#include <stdio.h>

int app_new(const struct app_config *config, struct app **ret, struct error *err)
{
    struct app *a = mem_zalloc(sizeof *a);
    if (!a)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    a->config = *config;
    const char *format = strchr(config->host, ':') ? "[%s]:%u" : "%s:%u";
    snprintf(a->address, sizeof a->address, format, config->host, config->port);
    slots_init(&a->slots, config->max_concurrency);
    atomic_init(&a->healthy, true);
    str protocol = str_c(config->protocol);
    bool grpc = str_starts(protocol, S("grpc"));
    a->channel = grpc ? &channel_grpc : &channel_http;
    arena_init(&a->bindings.arena, 0);
    struct http_client_config client = {
        .h2 = grpc || str_eq(protocol, S("h2c")),
        .max_conns = 1024,
        .max_idle = 64,
        .max_header_bytes = config->max_header_bytes,
    };
    a->client = http_client_new(&client);
    if (!a->client) {
        app_free(a);
        return fail(err, EXHAUSTED, NULL, "out of memory");
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
    arena_done(&a->bindings.arena);
    slots_done(&a->slots);
    mem_free(a);
}

CO int app_enter(struct app *a, struct error *err)
{
    int r = slots_take(&a->slots);
    return r < 0
               ? fail(err, (enum code) - r, NULL, "no free place among --app-max-concurrency calls")
               : 0;
}

void app_leave(struct app *a)
{
    slots_give(&a->slots);
}

CO bool app_listening(struct app *a)
{
    if (a->config.handle)
        return true;
    DEADLINE(MS(500));
    struct stream *s;
    struct error err = { 0 };
    if (stream_dial(a->address, &s, &err) < 0)
        return false;
    stream_close(s);
    return true;
}
