#include "cli/chaos.h"
#include "cli/ask.h"
#include "cli/console.h"

#include "format/uri.h"

#include <stdlib.h>

enum {
    ANSWER_S = 5,
    CHAOS_ARENA_MAX = 64 << 20,
    SIDECARS_MAX = 512,
    ROWS_MAX = 1024,
    BODY_MAX = 64 << 10
};

static const char PATH[] = "/proa/v1/chaos";

struct chaos {
    const char *app, *component, *method, *zone, *percent, *length, *delay, *error; /* of add */
    bool reset, blackhole;
    bool all;  /* of remove */
    bool json; /* of list */
    const char *run_name, *from, *from_zone, *sidecar;
    int64_t port;
};

/* The same fault at several sidecars is one row. */
struct row {
    str name, fault, app, component, method, zone, status;
    double percent, delay_ms, delay_max_ms, left_s;
    uint64_t injected, sidecars;
};

struct chaos_job {
    const struct chaos *o;
    str verb, name; /* "add" …; of the fault */
    struct arena *arena;
    const char *address[SIDECARS_MAX];
    size_t n;
    struct row *row;
    size_t n_rows;
    struct error *err;
    int result;
};

/* ---- which sidecars ---- */

static bool is(struct json v, str name, const char *wanted)
{
    return !wanted || json_eq_str(json_get(v, name), str_c(wanted));
}

static int add_instances(struct chaos_job *j, struct json service)
{
    struct json_iter it = json_iter(json_get(service, S("instances")));
    struct json instance;
    uint64_t port;
    while (json_next(&it, NULL, &instance)) {
        if (!is(instance, S("zone"), j->o->from_zone) || is(instance, S("state"), "stopped") ||
            !json_u64(json_get(instance, S("http_port")), &port) || !port || j->n == SIDECARS_MAX)
            continue;
        str address = arena_printf(j->arena, "127.0.0.1:%u", (unsigned)port);
        if (!address.p)
            return fail(j->err, EXHAUSTED, NULL, "out of memory");
        j->address[j->n++] = address.p;
    }
    return 0;
}

CO static int find_sidecars(struct chaos_job *j)
{
    const struct chaos *o = j->o;
    struct run_control run;
    struct json feed, service;
    if (o->sidecar) {
        j->address[j->n++] = o->sidecar;
        return 0;
    }
    int r = ask_find_run(j->arena, o->run_name, o->port, &run, j->err);
    if (!r)
        r = ask_feed(&run, 0, j->arena, &feed, j->err);
    if (r)
        return r;
    struct json_iter it = json_iter(json_get(feed, S("services")));
    while (!r && json_next(&it, NULL, &service))
        if (is(service, S("id"), o->from))
            r = add_instances(j, service);
    return r || j->n ? r
                     : fail(j->err, NOT_FOUND, NULL,
                            "the run has no sidecar with an HTTP port that fits: 'proa status' "
                            "shows what runs");
}

/* ---- what is asked ---- */

static void put_word(struct json_w *w, str key, const char *value)
{
    if (value)
        json_w_kv(w, key, str_c(value));
}

static str fault_of(const struct chaos *o)
{
    return o->delay ? S("delay") : o->error ? S("error") : o->reset ? S("reset") : S("blackhole");
}

static int make_fault(struct chaos_job *j, struct ask *ask)
{
    const struct chaos *o = j->o;
    AUTO(buf_done) struct buf out;
    struct json_w w;
    buf_init(&out, BODY_MAX);
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    json_w_kv(&w, S("name"), j->name.n ? j->name : fault_of(o));
    json_w_kv(&w, S("fault"), fault_of(o));
    put_word(&w, S("app"), o->app);
    put_word(&w, S("component"), o->component);
    put_word(&w, S("method"), o->method);
    put_word(&w, S("zone"), o->zone);
    put_word(&w, S("percent"), o->percent);
    put_word(&w, S("for"), o->length);
    put_word(&w, S("delay"), o->delay);
    put_word(&w, S("status"), o->error);
    json_w_object_end(&w);
    ask->method = S("POST");
    ask->target = str_c(PATH);
    ask->content_type = S("application/json");
    ask->body = arena_dup(j->arena, buf_str(&out));
    return buf_ok(&out) && ask->body.p ? 0 : fail(j->err, EXHAUSTED, NULL, "the fault is too long");
}

static int make_ask(struct chaos_job *j, struct ask *ask)
{
    *ask = (struct ask){ .method = S("GET"), .target = str_c(PATH) };
    if (str_eq(j->verb, S("add")))
        return make_fault(j, ask);
    if (!str_eq(j->verb, S("remove")))
        return 0;
    AUTO(buf_done) struct buf out;
    buf_init(&out, BODY_MAX);
    buf_put(&out, str_c(PATH));
    if (j->name.n) {
        buf_putc(&out, '/');
        uri_encode(&out, j->name, URI_PATH);
    }
    ask->method = S("DELETE");
    ask->target = arena_dup(j->arena, buf_str(&out));
    return buf_ok(&out) && ask->target.p ? 0 : fail(j->err, EXHAUSTED, NULL, "too long a name");
}

/* ---- what they answer ---- */

static str text_of(struct chaos_job *j, struct json v, str name)
{
    str s;
    return json_string_or(j->arena, json_get(v, name), S(""), &s) < 0 ? S("?") : s;
}

static double number_of(struct json v, str name)
{
    double d;
    return json_double(json_get(v, name), &d) ? d : 0;
}

static bool same(const struct row *a, const struct row *b)
{
    return str_eq(a->name, b->name) && str_eq(a->fault, b->fault) && str_eq(a->app, b->app) &&
           str_eq(a->component, b->component) && str_eq(a->method, b->method) &&
           str_eq(a->zone, b->zone) && str_eq(a->status, b->status) && a->percent == b->percent &&
           a->delay_ms == b->delay_ms && a->delay_max_ms == b->delay_max_ms;
}

static void add_row(struct chaos_job *j, const struct row *new)
{
    for (size_t i = 0; i < j->n_rows; i++) {
        struct row *r = &j->row[i];
        if (!same(r, new))
            continue;
        r->injected += new->injected;
        r->left_s = r->left_s > new->left_s ? r->left_s : new->left_s;
        r->sidecars++;
        return;
    }
    if (j->n_rows < ROWS_MAX)
        j->row[j->n_rows++] = *new;
}

static void add_rows(struct chaos_job *j, str body)
{
    struct json root, v;
    if (json_parse(body, &root, NULL) < 0)
        return;
    struct json_iter it = json_iter(json_get(root, S("chaos")));
    while (json_next(&it, NULL, &v)) {
        const struct row row = {
            .name = text_of(j, v, S("name")),
            .fault = text_of(j, v, S("fault")),
            .app = text_of(j, v, S("app")),
            .component = text_of(j, v, S("component")),
            .method = text_of(j, v, S("method")),
            .zone = text_of(j, v, S("zone")),
            .status = text_of(j, v, S("status")),
            .percent = number_of(v, S("percent")),
            .delay_ms = number_of(v, S("delay_ms")),
            .delay_max_ms = number_of(v, S("delay_max_ms")),
            .left_s = number_of(v, S("left_s")),
            .injected = (uint64_t)number_of(v, S("injected")),
            .sidecars = 1,
        };
        add_row(j, &row);
    }
}

/* A fault that one of them doesn't know has perhaps just ended there. */
CO static int ask_all(struct chaos_job *j)
{
    struct ask ask;
    size_t done = 0, failed = 0;
    struct error first = { 0 };
    int r = make_ask(j, &ask);
    for (size_t i = 0; !r && i < j->n; i++) {
        struct answer answer;
        struct error err = { 0 };
        ask.address = j->address[i];
        DEADLINE(SEC(ANSWER_S)); /* one that hangs doesn't hold up the others */
        int code = ask_call(&ask, j->arena, &answer, &err);
        if (!code && answer.status == 200) {
            add_rows(j, answer.body);
            done++;
            continue;
        }
        if (!code)
            fail(&err, answer.status == 404 ? NOT_FOUND : UNAVAILABLE, NULL, "%s: " STR_FMT,
                 ask.address, STR_ARG(ask_error_text(&answer, j->arena)));
        failed += err.code != NOT_FOUND;
        if (!first.code || first.code == NOT_FOUND)
            first = err;
    }
    if (r || (done && !failed))
        return r;
    return fail(j->err, first.code ? first.code : UNAVAILABLE, NULL, "%zu of %zu sidecars: %s",
                j->n - done, j->n, first.text);
}

/* ---- what is shown ---- */

static void print_text(str s, int width)
{
    int n = 0;
    for (; n < (int)s.n && n < width; n++) /* no control character reaches the terminal */
        putchar((unsigned char)s.p[n] < ' ' ? '?' : s.p[n]);
    printf("%*s  ", width - n, "");
}

static str what_of(const struct row *r, char text[64])
{
    int n = 0;
    if (str_eq(r->fault, S("error")))
        n = snprintf(text, 64, "error " STR_FMT, STR_ARG(str_take(r->status, 24)));
    else if (r->delay_max_ms > r->delay_ms)
        n = snprintf(text, 64, "delay %g-%g ms", r->delay_ms, r->delay_max_ms);
    else if (r->delay_ms > 0)
        n = snprintf(text, 64, "delay %g ms", r->delay_ms);
    else
        return r->fault;
    return str_of(text, (size_t)n);
}

static str target_of(const struct row *r, char text[64])
{
    bool of_component = r->component.n != 0;
    str name = of_component ? r->component : r->app;
    int n = snprintf(text, 64, "%s " STR_FMT,
                     of_component ? "component"
                     : name.n     ? "app"
                                  : "any app",
                     STR_ARG(str_take(name, 40)));
    return str_of(text, (size_t)n);
}

static void print_rows(const struct chaos_job *j)
{
    char text[64];
    if (!j->n_rows) {
        printf("no faults\n");
        return;
    }
    printf("%-18s  %-20s  %-24s  %-16s  %-8s  %7s  %8s  %6s  %8s\n", "NAME", "FAULT", "OF",
           "METHOD", "ZONE", "PERCENT", "INJECTED", "LEFT", "SIDECARS");
    for (size_t i = 0; i < j->n_rows; i++) {
        const struct row *r = &j->row[i];
        print_text(r->name, 18);
        print_text(what_of(r, text), 20);
        print_text(target_of(r, text), 24);
        print_text(r->method.n ? r->method : S("any"), 16);
        print_text(r->component.n ? S("-") : r->zone.n ? r->zone : S("any"), 8);
        printf("%7g  %8llu  %5.0fs  %8llu\n", r->percent, (unsigned long long)r->injected,
               r->left_s, (unsigned long long)r->sidecars);
    }
}

static void print_json(const struct chaos_job *j)
{
    AUTO(buf_done) struct buf out;
    struct json_w w;
    buf_init(&out, CHAOS_ARENA_MAX);
    json_w_init(&w, &out, 0);
    json_w_array(&w);
    for (size_t i = 0; i < j->n_rows; i++) {
        const struct row *r = &j->row[i];
        char text[64];
        json_w_object(&w);
        json_w_kv(&w, S("name"), r->name);
        json_w_kv(&w, S("fault"), r->fault);
        json_w_kv(&w, S("what"), what_of(r, text));
        json_w_kv(&w, S("app"), r->app);
        json_w_kv(&w, S("component"), r->component);
        json_w_kv(&w, S("method"), r->method);
        json_w_kv(&w, S("zone"), r->zone);
        json_w_key(&w, S("percent"));
        json_w_double(&w, r->percent);
        json_w_key(&w, S("left_s"));
        json_w_double(&w, r->left_s);
        json_w_key(&w, S("injected"));
        json_w_u64(&w, r->injected);
        json_w_key(&w, S("sidecars"));
        json_w_u64(&w, r->sidecars);
        json_w_object_end(&w);
    }
    json_w_array_end(&w);
    printf(STR_FMT "\n", (int)buf_str(&out).n, buf_str(&out).p);
}

/* ---- the command ---- */

CO static void chaos_fiber(void *arg)
{
    struct chaos_job *j = arg;
    j->result = find_sidecars(j);
    if (!j->result)
        j->result = ask_all(j);
}

static int check(const struct chaos_job *j)
{
    const struct chaos *o = j->o;
    int faults = !!o->delay + !!o->error + o->reset + o->blackhole;
    if (str_eq(j->verb, S("add")))
        return faults == 1 ? 0
                           : fail(j->err, INVALID, NULL,
                                  "add needs one of --delay, --error, --reset, --blackhole");
    if (str_eq(j->verb, S("remove")))
        return j->name.n || o->all
                   ? 0
                   : fail(j->err, INVALID, NULL, "remove needs the fault's name, or --all");
    if (str_eq(j->verb, S("list")))
        return 0;
    return fail(j->err, INVALID, NULL, "'" STR_FMT "' is none of add, list, remove",
                STR_ARG(j->verb));
}

static int chaos_main(const void *options, const struct option_list *words)
{
    struct error err = { 0 };
    AUTO(arena_done) struct arena a;
    arena_init(&a, CHAOS_ARENA_MAX);
    struct chaos_job *j = arena_zalloc(&a, sizeof *j);
    struct row *rows = arena_zalloc(&a, ROWS_MAX * sizeof *rows);
    if (!j || !rows)
        return EXIT_FAILED;
    *j = (struct chaos_job){ .o = options,
                             .verb = str_c(words->v[0]),
                             .name = words->n > 1 ? str_c(words->v[1]) : S(""),
                             .arena = &a,
                             .row = rows,
                             .err = &err };
    if (check(j) < 0) {
        console_usage_error("chaos", &err);
        return EXIT_USAGE;
    }
    int r = ask_in_fiber(chaos_fiber, j, &err);
    if (r || j->result) {
        console_error("chaos", &err);
        return EXIT_FAILED;
    }
    if (j->o->json)
        print_json(j);
    else
        print_rows(j);
    return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

static const char *const verbs[] = { "add", "list", "remove", NULL };

#define AT(member) offsetof(struct chaos, member)
static const struct cli_option chaos_options[] = {
    { "delay", 0, OPTION_STR, AT(delay), "TIME", .help = "add: hold calls so long: 50ms, 50ms-1s" },
    { "error", 0, OPTION_STR, AT(error), "STATUS",
      .help = "add: answer with an HTTP status or a gRPC code: 503, UNAVAILABLE" },
    { "reset", 0, OPTION_FLAG, AT(reset), .help = "add: break the connection" },
    { "blackhole", 0, OPTION_FLAG, AT(blackhole), .help = "add: no answer until the deadline" },
    { "app", 'a', OPTION_STR, AT(app), "ID", .help = "add: calls to this app; * is any text" },
    { "component", 'c', OPTION_STR, AT(component), "NAME",
      .help = "add: operations on this component, and its events, instead of calls to apps" },
    { "method", 'm', OPTION_STR, AT(method), "PATTERN",
      .help = "add: calls of this method: 'orders/*', 'GET /orders/*', '/pkg.Service/*'; of a "
              "component: get, publish, deliver …" },
    { "zone", 'z', OPTION_STR, AT(zone), "NAME", .help = "add: calls to instances in this zone" },
    { "percent", 0, OPTION_STR, AT(percent), "N", .help = "add: of these calls (100)" },
    { "for", 0, OPTION_STR, AT(length), "TIME", .help = "add: then it ends (60s, at most 1h)" },
    { "all", 0, OPTION_FLAG, AT(all), .help = "remove: all faults" },
    { "json", 0, OPTION_FLAG, AT(json), .help = "Print JSON" },
    { "from", 0, OPTION_STR, AT(from), "ID", .help = "At the sidecars of this app only" },
    { "from-zone", 0, OPTION_STR, AT(from_zone), "NAME",
      .help = "At the sidecars in this zone only" },
    { "run", 0, OPTION_STR, AT(run_name), "NAME", .help = "At the run of this name" },
    { "port", 0, OPTION_INT, AT(port), "PORT", .help = "At the run whose page is on this port",
      .max = 65535 },
    { "sidecar", 0, OPTION_STR, AT(sidecar), "ADDRESS",
      .help = "At one sidecar's HTTP API: 127.0.0.1:3500; no run is looked for" },
};
#undef AT

const struct command chaos_command = {
    .name = "chaos",
    .args = "add|list|remove [name]",
    .summary = "Make calls between apps, or components, fail on purpose, for a time",
    .about =
        "The sidecars must have been started with --enable-chaos ('proa run --enable-chaos').\n"
        "A fault strikes where an app's sidecar calls another app; --app, --method and --zone\n"
        "say which calls; or, with --component, where it uses a store, a broker or another\n"
        "component of its own. Each ends by itself. A fault of the same name takes the other's\n"
        "place; without a name it's called as what it does.",
    .options = { chaos_options, COUNT(chaos_options) },
    .size = sizeof(struct chaos),
    .min_words = 1,
    .max_words = 2,
    .words = verbs,
    .examples = "proa chaos add slow --delay 50ms-200ms --app inventory --percent 20\n"
                "proa chaos add cut-b --reset --zone b --for 30s\n"
                "proa chaos add slow-store --delay 200ms --component store --from orders\n"
                "proa chaos list\n"
                "proa chaos remove --all",
    .run = chaos_main,
};
