/* static.c — nameresolution.static: the addresses of each app stand in the Configuration.
 * Owner:  the instance's arena has the list, made once; answers point into it.
 * Thread: any; nothing changes after open.   Limits: ENTRIES_MAX addresses.
 * Failure: open says which entry is wrong; an app that isn't listed has no address. */
#include "component/kinds.h"
#include "format/json.h"

enum { ENTRIES_MAX = 4096, APP_ID_MAX = 256, ARENA_MAX = 4 << 20 };

struct entry {
    str app_id;
    struct registration at;
};

struct static_resolver {
    const char *apps;
    struct arena arena;
    struct entry *entry;
    size_t n;
};

static int bad(struct error *err, str app_id, const char *what)
{
    return fail(err, INVALID, NULL,
                "apps: " STR_FMT ": %s: want \"host:port\" or { address: \"host:port\", zone: a, "
                "region: eu }",
                STR_ARG(str_take(app_id, 60)), what);
}

static int text(struct arena *a, struct json v, str *ret)
{
    str s;
    int r = json_string_or(a, v, S(""), &s);
    if (!r)
        *ret = arena_dup(a, s); /* NUL-terminated */
    return r ? r : ret->p ? 0 : -EXHAUSTED;
}

static int read_entry(struct static_resolver *s, str app_id, struct json v, struct error *err)
{
    bool map = v.type == JSON_OBJECT;
    struct entry *e = &s->entry[s->n];
    *e = (struct entry){ .app_id = app_id };
    int r = text(&s->arena, map ? json_get(v, S("address")) : v, &e->at.address);
    if (!r && map)
        r = text(&s->arena, json_get(v, S("zone")), &e->at.zone);
    if (!r && map)
        r = text(&s->arena, json_get(v, S("region")), &e->at.region);
    if (r == -EXHAUSTED)
        return fail(err, EXHAUSTED, NULL, "apps: more than %d bytes", ARENA_MAX);
    if (r || str_find_c(e->at.address, ':') < 1)
        return bad(err, app_id, "an entry has no address");
    s->n++;
    return 0;
}

static int read_app(struct static_resolver *s, struct json key, struct json list, struct error *err)
{
    str app_id;
    if (json_string(&s->arena, key, &app_id))
        return fail(err, EXHAUSTED, NULL, "apps: more than %d bytes", ARENA_MAX);
    if (list.type != JSON_ARRAY)
        return bad(err, app_id, "its value is no list");
    struct json_iter it = json_iter(list);
    struct json item;
    int r = 0;
    while (!r && json_next(&it, NULL, &item))
        r = read_entry(s, app_id, item, err);
    return r;
}

CO static int static_open(void *self, const struct component_env *env, struct error *err)
{
    struct static_resolver *s = self;
    struct json apps, key, list;
    arena_init(&s->arena, ARENA_MAX);
    if (json_parse(str_c(s->apps), &apps, NULL) || apps.type != JSON_OBJECT)
        return fail(err, INVALID, NULL, "apps: want a map from app ids to lists of addresses");
    size_t n = 0;
    struct json_iter it = json_iter(apps);
    while (json_next(&it, NULL, &list))
        n += json_count(list);
    if (n > ENTRIES_MAX)
        return fail(err, EXHAUSTED, NULL, "apps: more than %d addresses", ENTRIES_MAX);
    s->entry = arena_alloc(&s->arena, n * sizeof *s->entry);
    if (n && !s->entry)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    it = json_iter(apps);
    int r = 0;
    while (!r && json_next(&it, &key, &list))
        r = read_app(s, key, list, err);
    return r;
}

CO static void static_close(void *self)
{
    struct static_resolver *s = self;
    arena_done(&s->arena);
}

CO static int static_resolve(void *self, str app_id, str namespace_, struct arena *a,
                             struct registration *ret, size_t max, size_t *ret_n, struct error *err)
{
    const struct static_resolver *s = self;
    size_t n = 0;
    if (app_id.n > APP_ID_MAX)
        return fail(err, INVALID, NULL, "an app id has at most %d bytes", APP_ID_MAX);
    for (size_t i = 0; i < s->n && n < max; i++)
        if (str_eq(s->entry[i].app_id, app_id))
            ret[n++] = s->entry[i].at;
    *ret_n = n;
    return 0;
}

static const struct cfg_field static_fields[] = {
    { .name = "apps",
      .kind = CFG_STR,
      .off = offsetof(struct static_resolver, apps),
      .flags = CFG_REQUIRED,
      .doc = "map from app ids to lists of \"host:port\", or { address, zone, region }" },
};

const struct resolver_ops nameresolution_static = {
    .t = {
        .kind = "nameresolution",
        .type = "nameresolution.static",
        .version = "v1",
        .doc = "the addresses of each app stand in the Configuration",
        .size = sizeof(struct static_resolver),
        .fields = static_fields,
        .n_fields = COUNT(static_fields),
        .open = static_open,
        .close = static_close,
    },
    .resolve = static_resolve,
};
