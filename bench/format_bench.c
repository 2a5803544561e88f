/* format_bench.c — what the hot paths of src/format and the HTTP/1.1 parser cost, in nanoseconds
 * for each call. Owner:  main.   Thread: one.   Failure: none; prints a table. Run it on an idle
 * machine. */
#include "base/clock.h"
#include "format/cel.h"
#include "format/cloudevent.h"
#include "http/h1_parse.h"

#include <stdio.h>

enum { ROUNDS = 300, CALLS = 1000 }; /* short rounds: the best one was left alone */

static char text_1k[1024], members_1k[1024];
static struct buf out;
static struct arena arena;
static volatile size_t sink;

static void parse_text(void)
{
    struct json v;
    sink += (size_t)json_parse(str_of(text_1k, sizeof text_1k), &v, NULL);
}

static void parse_members(void)
{
    struct json v;
    sink += (size_t)json_parse(str_of(members_1k, sizeof members_1k), &v, NULL);
}

static struct cloudevent_fields event(void)
{
    return (struct cloudevent_fields){
        .id = S("5b2e3f0c-0a57-4f7e-9d46-5c2f0a9d1e77"),
        .source = S("orders"),
        .time = S("2026-01-02T03:04:05+01:00"),
        .datacontenttype = S("application/json"),
        .topic = S("orders"),
        .pubsubname = S("pubsub"),
        .traceid = S("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        .traceparent = S("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        .data = str_of(text_1k, sizeof text_1k),
    };
}

static void build_event(void)
{
    struct cloudevent_fields f = event();
    buf_clear(&out);
    sink += (size_t)cloudevent_build(&f, &out);
}

static void wrap_event(void)
{
    static char room[4096];
    struct buf to = { .p = room, .cap = sizeof room, .max = sizeof room };
    struct cloudevent_fields f = event();
    sink += (size_t)cloudevent_wrap(buf_str(&out), &f, &arena, &to, NULL);
    arena_reset(&arena);
}

static void read_event(void)
{
    struct cloudevent ce;
    sink += (size_t)cloudevent_read(buf_str(&out), &arena, &ce, NULL);
    arena_reset(&arena);
}

static bool event_variable(void *arg, str name, struct cel_value *ret)
{
    const struct cloudevent *ce = arg;
    return str_eq(name, S("event")) && !cel_json(&arena, ce->root, ret);
}

static struct cel_program *rule;

static void eval_rule(void)
{
    struct cloudevent ce;
    struct cel_env env = { event_variable, &ce, 0 };
    bool hit = false;
    sink += (size_t)cloudevent_read(buf_str(&out), &arena, &ce, NULL);
    sink += (size_t)cel_eval_bool(rule, &env, &arena, &hit, NULL) + hit;
    arena_reset(&arena);
}

static char head_1k[1024];
static size_t n_head;

static void fill_head(void)
{
    static char token[600];
    memset(token, 'x', sizeof token);
    n_head = (size_t)snprintf(head_1k, sizeof head_1k,
                              "POST /v1.0/state/store HTTP/1.1\r\nHost: localhost:3500\r\n"
                              "User-Agent: some-client/1.2.3\r\nAccept: */*\r\n"
                              "Content-Type: application/json\r\nContent-Length: 1024\r\n"
                              "Authorization: Bearer %.600s\r\n\r\n",
                              token);
}

static void parse_head(void)
{
    struct h1_head h;
    h1_head_init(&h, H1_REQUEST, sizeof head_1k, &arena);
    sink += (size_t)h1_parse(&h, head_1k, n_head);
    arena_reset(&arena);
}

static void measure(const char *name, void (*fn)(void))
{
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = clock_now_ns();
        for (int i = 0; i < CALLS; i++)
            fn();
        best = min_u64(best, clock_now_ns() - start);
    }
    printf("%-40s %8.1f ns\n", name, (double)best / CALLS);
}

/* {"text":"xxx…"} */
static void fill_text(void)
{
    memset(text_1k, 'x', sizeof text_1k);
    memcpy(text_1k, "{\"text\":\"", 9);
    memcpy(text_1k + sizeof text_1k - 2, "\"}", 2);
}

/* {"k01":123,"k02":"value", … } */
static void fill_members(void)
{
    int n = snprintf(members_1k, sizeof members_1k, "{");
    for (int i = 0; n < 1000; i++)
        n += snprintf(members_1k + n, sizeof members_1k - (size_t)n, "\"k%02d\":%s,", i % 100,
                      i % 2 ? "123" : "\"a value\"");
    memset(members_1k + n - 1, ' ', sizeof members_1k - (size_t)n + 1);
    members_1k[sizeof members_1k - 1] = '}';
}

int main(void)
{
    buf_init(&out, MIB(1));
    arena_init(&arena, MIB(1));
    fill_text();
    fill_members();
    measure("json_parse, 1 KiB, one string", parse_text);
    measure("json_parse, 1 KiB, many members", parse_members);
    measure("cloudevent_build, 1 KiB JSON", build_event);
    measure("cloudevent_wrap, 1.5 KiB", wrap_event);
    measure("cloudevent_read, 1.5 KiB", read_event);
    AUTO(arena_done) struct arena rules;
    arena_init(&rules, MIB(1));
    str source = S("event.type == 'com.dapr.event.sent' && event.data.text.startsWith('x')");
    if (!cel_compile(&rules, source, &rule, NULL))
        measure("cloudevent_read and a CEL rule", eval_rule);
    fill_head();
    measure("h1_parse, a head of 0.8 KiB", parse_head);
    arena_done(&arena);
    buf_done(&out);
    return 0;
}
