#include "cli/status.h"
#include "cli/ask.h"
#include "cli/console.h"
#include "cli/run.h"
#include "cli/status_tables.h"
#include "cli/table.h"

#include "fiber/fiber.h"

#include <math.h>
#include <unistd.h>

/* A watch says sooner than a single look that the run doesn't answer. */
enum { STATUS_ARENA_MAX = 64 << 20, WATCH_ANSWER_S = 5 };

struct status {
    const char *run_name;
    int64_t port;
    int64_t watch_s; /* 0 = once */
    bool json;
};

struct status_job {
    const struct status *o;
    struct arena *arena;
    struct run_control run;
    struct json feed;
    struct error *err;
    int result;
};

/* ---- cells ---- */

static double number(struct json v, str name)
{
    double d;
    return json_double(json_get(v, name), &d) ? d : NAN;
}

/* Slowest and busiest of the edges that lead to id: good enough for a glance. */
static double worst_p99(struct json feed, struct json service)
{
    struct json_iter it = json_iter(json_get(feed, S("edges")));
    struct json edge;
    double worst = NAN;
    while (json_next(&it, NULL, &edge)) {
        if (!str_eq(json_get(edge, S("to")).raw, json_get(service, S("id")).raw))
            continue;
        double p99 = number(edge, S("p99_ms"));
        if (!isnan(p99) && (isnan(worst) || p99 > worst))
            worst = p99;
    }
    return worst;
}

/* What waits for this service in all its topics. */
static double queued_for(struct json feed, struct json service)
{
    struct json_iter topics = json_iter(json_get(feed, S("topics")));
    struct json topic, consumer;
    double sum = NAN;
    while (json_next(&topics, NULL, &topic)) {
        struct json_iter it = json_iter(json_get(topic, S("consumers")));
        while (json_next(&it, NULL, &consumer)) {
            double depth = number(consumer, S("depth"));
            if (str_eq(json_get(consumer, S("app")).raw, json_get(service, S("id")).raw) &&
                !isnan(depth))
                sum = (isnan(sum) ? 0 : sum) + depth;
        }
    }
    return sum;
}

static const char *state_colour(struct json instance)
{
    struct json state = json_get(instance, S("state"));
    if (json_eq_str(state, S("healthy")))
        return TABLE_GREEN;
    return json_eq_str(state, S("starting")) ? TABLE_YELLOW : TABLE_RED;
}

/* ---- the table ---- */

static void add_row(struct table *t, struct json feed, struct json service, struct json instance,
                    bool first, struct arena *a)
{
    struct table_row *r = table_add(t, state_colour(instance));
    if (!r)
        return;
    table_member(r->cell[0], instance, S("name"), a);
    table_member(r->cell[1], instance, S("state"), a);
    table_number(r->cell[2], "%.0f", number(instance, S("http_port")));
    table_number(r->cell[3], "%.0f", number(instance, S("restarts")));
    table_duration(r->cell[4], number(instance, S("uptime_s")));
    if (!first)
        return; /* the rest is of the service as a whole */
    table_number(r->cell[5], "%.1f", number(service, S("rps")));
    table_number(r->cell[6], "%.1f", worst_p99(feed, service));
    table_number(r->cell[7], "%.2f%%", 100 * number(service, S("error_rate")));
    table_number(r->cell[8], "%.0f", queued_for(feed, service));
}

static int print_status(const struct status_job *j)
{
    static const char *const head[] = { "INSTANCE", "STATE",  "HTTP",   "RESTARTS", "UP",
                                        "RPS",      "P99 MS", "ERRORS", "QUEUED" };
    struct table t = { .head = head, .n_columns = COUNT(head), .left = 3, .state = 1 };
    if (table_init(&t, j->arena) != 0)
        return fail(j->err, EXHAUSTED, NULL, "out of memory");
    struct json_iter services = json_iter(json_get(j->feed, S("services")));
    struct json service, instance;
    while (json_next(&services, NULL, &service)) {
        struct json_iter it = json_iter(json_get(service, S("instances")));
        for (bool first = true; json_next(&it, NULL, &instance); first = false)
            add_row(&t, j->feed, service, instance, first, j->arena);
    }
    table_print(&t, false);
    if (status_print_tables(j->feed, j->arena) != 0)
        return fail(j->err, EXHAUSTED, NULL, "out of memory");
    printf("\nDashboard  http://127.0.0.1:%u\n", j->run.port);
    return 0;
}

/* ---- the command ---- */

CO static int look(struct status_job *j, bool first)
{
    unsigned timeout_s = j->o->watch_s ? WATCH_ANSWER_S : 0;
    *j->err = (struct error){ 0 };
    int r = first ? ask_find_run(j->arena, j->o->run_name, j->o->port, &j->run, j->err)
                  : ask_find_again(j->arena, &j->run, j->err);
    return r ? r : ask_feed(&j->run, timeout_s, j->arena, &j->feed, j->err);
}

/* It was there before, so its end is one as asked; that it gives no answer may be over soon.
 * Returns whether to go on. */
static bool look_has_failed(struct status_job *j)
{
    if (j->err->code != NOT_FOUND) {
        console_error("status", j->err);
        j->result = 0;
        return true;
    }
    if (!j->o->json)
        printf("\nThe run has ended.\n");
    j->result = fflush(stdout) != 0;
    return false;
}

static int show(const struct status_job *j)
{
    if (!j->o->json)
        return print_status(j);
    printf("%.*s\n", (int)j->feed.raw.n, j->feed.raw.p);
    return 0;
}

/* What is on the screen is replaced; without a terminal one follows the other. */
static void begin_again(const struct status *o, bool first)
{
    if (!o->json && console_is_terminal(STDOUT_FILENO))
        printf("\033[H\033[2J");
    else if (!o->json && !first)
        printf("\n");
}

/* Looks and shows; returns whether a watch goes on. */
CO static bool one_look(struct status_job *j, bool first)
{
    arena_reset(j->arena);
    j->result = look(j, first);
    if (j->result)
        return !first && look_has_failed(j);
    if (j->o->watch_s)
        begin_again(j->o, first);
    j->result = show(j);
    if (!j->result && fflush(stdout) != 0)
        j->result = fail(j->err, UNAVAILABLE, NULL, "nobody reads what is printed");
    return !j->result;
}

CO static void status_fiber(void *arg)
{
    struct status_job *j = arg;
    bool more = one_look(j, true);
    while (more && j->o->watch_s && fiber_sleep(SEC((uint64_t)j->o->watch_s)) == 0)
        more = one_look(j, false);
}

static int status_main(const void *options, const struct option_list *words)
{
    struct error err = { 0 };
    AUTO(arena_done) struct arena a;
    arena_init(&a, STATUS_ARENA_MAX);
    struct status_job j = { .o = options, .arena = &a, .err = &err };
    int r = ask_in_fiber(status_fiber, &j, &err);
    if (!r)
        r = j.result;
    if (r)
        console_error("status", &err);
    return r ? EXIT_FAILED : EXIT_OK;
}

#define AT(member) offsetof(struct status, member)
static const struct cli_option status_options[] = {
    { "json", 0, OPTION_FLAG, AT(json), .help = "Print the whole feed as JSON" },
    { "watch", 'w', OPTION_INT, AT(watch_s), "[SECONDS]",
      .help = "Again and again, every 2 seconds, until Ctrl-C or the run ends", .bare = "2",
      .min = 1, .max = 3600 },
    { "run", 0, OPTION_STR, AT(run_name), "NAME", .help = "Of the run of this name" },
    { "port", 0, OPTION_INT, AT(port), "PORT", .help = "Of the run whose page is on this port",
      .max = 65535 },
};
#undef AT

const struct command status_command = {
    .name = "status",
    .args = "",
    .summary = "Show the services of a 'proa run': state, rate, latency, errors, queues, overload",
    .about =
        "Rates, 99th percentile and errors are of the last two seconds, for the service as a\n"
        "whole, in its first line. Tables of overload control, scale, instances that callers\n"
        "avoid, open breakers, zones and faults on purpose follow if there is anything to show.\n"
        "With --watch a terminal shows the latest tables, and a pipe gets one after the other\n"
        "(with --json a line each time).",
    .options = { status_options, COUNT(status_options) },
    .size = sizeof(struct status),
    .examples = "proa status\nproa status --watch\nproa status --json | jq .totals",
    .run = status_main,
};
