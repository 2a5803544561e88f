#include "cli/status_tables.h"

#include "cli/table.h"

#include <math.h>
#include <stdio.h>

static double number(struct json v, str name)
{
    double d;
    return json_double(json_get(v, name), &d) ? d : NAN;
}

static str text(struct json v, str name, struct arena *a)
{
    str s;
    return json_string(a, json_get(v, name), &s) == 0 ? s : S("");
}

/* "low 12/s, background 310/s": the rates of an object that aren't zero. */
static void rates_cell(char cell[TABLE_CELL_MAX], struct json rates, struct arena *a)
{
    struct json_iter it = json_iter(rates);
    struct json key, v;
    str name, all = S("");
    double rate;
    while (rates.type == JSON_OBJECT && json_next(&it, &key, &v)) {
        if (!json_double(v, &rate) || rate <= 0 || json_string(a, key, &name) != 0)
            continue;
        str more = arena_printf(a, STR_FMT "%s" STR_FMT " %.0f/s", STR_ARG(all), all.n ? ", " : "",
                                STR_ARG(name), rate);
        all = more.p ? more : all;
    }
    table_text(cell, all);
}

static void apps_cell(char cell[TABLE_CELL_MAX], struct json object, struct arena *a)
{
    struct json_iter it = json_iter(json_get(object, S("apps")));
    struct json v;
    str app, all = S("");
    while (json_next(&it, NULL, &v)) {
        if (json_string(a, v, &app) != 0)
            continue;
        str more =
            arena_printf(a, STR_FMT "%s" STR_FMT, STR_ARG(all), all.n ? ", " : "", STR_ARG(app));
        all = more.p ? more : all;
    }
    table_text(cell, all);
}

static void add_overload(struct table *t, struct json o, struct arena *a)
{
    double shed = number(o, S("shed_rps"));
    struct table_row *r = table_add(t, shed > 0 ? TABLE_YELLOW : "");
    if (!r)
        return;
    table_member(r->cell[0], o, S("app"), a);
    table_number(r->cell[1], "%.0f", number(o, S("limit")));
    table_number(r->cell[2], "%.0f", number(o, S("inflight")));
    table_number(r->cell[3], "%.0f", number(o, S("queued")));
    table_number(r->cell[4], "%.1f", number(o, S("admitted_rps")));
    table_number(r->cell[5], "%.1f", shed);
    rates_cell(r->cell[6], json_get(o, S("shed")), a);
    rates_cell(r->cell[7], json_get(o, S("reasons")), a);
}

static void add_scale(struct table *t, struct json s, struct arena *a)
{
    bool moves = number(s, S("instances")) != number(s, S("desired"));
    struct table_row *r = table_add(t, moves ? TABLE_YELLOW : "");
    if (!r)
        return;
    table_member(r->cell[0], s, S("app"), a);
    table_number(r->cell[1], "%.0f", number(s, S("instances")));
    table_number(r->cell[2], "%.0f", number(s, S("desired")));
    table_number(r->cell[3], "%.0f", number(s, S("min")));
    table_number(r->cell[4], "%.0f", number(s, S("max")));
    table_member(r->cell[5], s, S("metric"), a);
    table_number(r->cell[6], "%.1f", number(s, S("value")));
    table_number(r->cell[7], "%.1f", number(s, S("target")));
    table_member(r->cell[8], s, S("reason"), a);
}

/* Only those that aren't in use as usual. */
static void add_peer(struct table *t, struct json p, struct arena *a)
{
    str state = text(p, S("state"), a), name = text(p, S("name"), a);
    if (!state.n || str_eq(state, S("ok")))
        return;
    struct table_row *r = table_add(t, str_eq(state, S("ejected")) ? TABLE_RED : TABLE_YELLOW);
    if (!r)
        return;
    table_text(r->cell[0], name.n ? name : text(p, S("address"), a));
    table_text(r->cell[1], state);
    table_member(r->cell[2], p, S("app"), a);
    table_member(r->cell[3], p, S("zone"), a);
    snprintf(r->cell[4], TABLE_CELL_MAX, "%.0f of %.0f", fmax(0, number(p, S("agree"))),
             fmax(0, number(p, S("callers"))));
    table_number(r->cell[5], "%.1f", number(p, S("rps")));
    table_number(r->cell[6], "%.1f", number(p, S("latency_ms")));
}

static void add_breaker(struct table *t, struct json b, struct arena *a)
{
    str state = text(b, S("state"), a), name = text(b, S("name"), a);
    if (!state.n || str_eq(state, S("closed")))
        return;
    struct table_row *r = table_add(t, str_eq(state, S("open")) ? TABLE_RED : TABLE_YELLOW);
    if (!r)
        return;
    table_text(r->cell[0], name.n ? name : text(b, S("target"), a));
    table_text(r->cell[1], state);
    apps_cell(r->cell[2], b, a);
}

static void add_zone_pair(struct table *t, struct json p, struct arena *a)
{
    str from = text(p, S("from"), a), to = text(p, S("to"), a);
    bool crosses = from.n && !str_eq(from, to);
    if (!from.n || !(number(p, S("rps")) > 0))
        return;
    struct table_row *r = table_add(t, crosses ? TABLE_YELLOW : "");
    if (!r)
        return;
    table_text(r->cell[0], from);
    table_text(r->cell[1], to);
    table_number(r->cell[2], "%.1f", number(p, S("rps")));
}

static void add_fault(struct table *t, struct json f, struct arena *a)
{
    struct table_row *r = table_add(t, TABLE_YELLOW);
    if (!r)
        return;
    table_member(r->cell[0], f, S("name"), a);
    table_member(r->cell[1], f, S("fault"), a);
    table_member(r->cell[2], f, S("app"), a);
    table_member(r->cell[3], f, S("method"), a);
    table_member(r->cell[4], f, S("zone"), a);
    table_number(r->cell[5], "%.4g%%", number(f, S("percent")));
    table_number(r->cell[6], "%.0f", number(f, S("injected")));
    table_duration(r->cell[7], number(f, S("left_s")));
    apps_cell(r->cell[8], f, a);
}

#define HEAD(...)                                                                                  \
    .head = (const char *const[])                                                                  \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define LEFT(...) .left = (__VA_ARGS__)

int status_print_tables(struct json feed, struct arena *a)
{
    struct {
        void (*add)(struct table *t, struct json item, struct arena *a);
        struct json list;
        struct table table;
    } part[] = {
        { add_overload,
          json_get(feed, S("overload")),
          { HEAD("OVERLOAD", "LIMIT", "IN FLIGHT", "QUEUED", "ADMITTED/S", "SHED/S", "BY PRIORITY",
                 "REASON"),
            .n_columns = 8, LEFT(1 | 1 << 6 | 1 << 7), .state = 5 } },
        { add_scale,
          json_get(feed, S("scale")),
          { HEAD("SCALE", "INSTANCES", "DESIRED", "MIN", "MAX", "METRIC", "VALUE", "TARGET",
                 "REASON"),
            .n_columns = 9, LEFT(1 | 1 << 5 | 1 << 8), .state = 2 } },
        { add_peer,
          json_get(feed, S("peers")),
          { HEAD("CALLED", "STATE", "APP", "ZONE", "CALLERS", "RPS", "MS"), .n_columns = 7,
            LEFT(15), .state = 1 } },
        { add_breaker,
          json_get(feed, S("breakers")),
          { HEAD("BREAKER", "STATE", "CALLERS"), .n_columns = 3, LEFT(7), .state = 1 } },
        { add_zone_pair,
          json_get(json_get(feed, S("zones")), S("pairs")),
          { HEAD("FROM ZONE", "TO ZONE", "RPS"), .n_columns = 3, LEFT(3), .state = 1 } },
        { add_fault,
          json_get(feed, S("chaos")),
          { HEAD("FAULT", "KIND", "APP", "METHOD", "ZONE", "SHARE", "HIT", "LEFT", "CALLERS"),
            .n_columns = 9, LEFT(31 | 1 << 8), .state = 1 } },
    };
    for (size_t i = 0; i < COUNT(part); i++) {
        struct json_iter it = json_iter(part[i].list);
        struct json item;
        if (table_init(&part[i].table, a) != 0)
            return -EXHAUSTED;
        while (json_next(&it, NULL, &item))
            part[i].add(&part[i].table, item, a);
        table_print(&part[i].table, true);
    }
    return 0;
}
