/* Counts of a sidecar's overload control, of its instances of other apps and of zones. Each
 * sidecar's are kept apart, so that one that goes takes its own along; page_write_resilience() adds
 * them up. */
#include "cli/run_page_private.h"

enum { SOURCE_TALLIES_MAX = 2048 };

static str key_of(struct arena *a, str group, str name)
{
    const str part[] = { group, { "", 1 }, name };
    return arena_join(a, part, COUNT(part));
}

str tally_peer(struct arena *a, str app, str address)
{
    return key_of(a, app, address);
}

static struct tally *tally_for(struct source *s, str key)
{
    struct tally *t = map_get(&s->tally, key);
    if (t)
        return t;
    t = mem_zalloc(sizeof(*t));
    if (t && map_put(&s->tally, key, t, NULL) != 0) {
        mem_free(t);
        return NULL;
    }
    return t;
}

/* A count that fell began anew at zero. */
static void take(struct source *s, struct arena *a, str group, str name, struct json v)
{
    uint64_t now;
    str key = key_of(a, group, name);
    struct tally *t = json_u64(v, &now) && key.p ? tally_for(s, key) : NULL;
    if (!t)
        return;
    t->total += now < t->seen ? now : now - t->seen;
    t->seen = now;
    t->answer = s->n_answers;
}

static void take_members(struct source *s, struct arena *a, str group, struct json object)
{
    struct json_iter it = json_iter(object);
    struct json key, v;
    str name;
    if (object.type != JSON_OBJECT)
        return;
    while (json_next(&it, &key, &v))
        if (json_string(a, key, &name) == 0)
            take(s, a, group, name, v);
}

static void take_peer(struct source *s, struct arena *a, struct json v)
{
    str app, address;
    if (json_string(a, json_get(v, S("app")), &app) != 0 ||
        json_string(a, json_get(v, S("address")), &address) != 0)
        return;
    str name = tally_peer(a, app, address);
    if (!name.p)
        return;
    take(s, a, S("calls"), name, json_get(v, S("calls")));
    take(s, a, S("failed"), name, json_get(v, S("failed")));
}

static void drop_old(struct source *s)
{
    size_t at = 0;
    struct map_entry *e;
    while ((e = map_next(&s->tally, &at))) {
        struct tally *t = e->value;
        if (t->answer == s->n_answers)
            continue;
        map_remove(&s->tally, e->key);
        mem_free(t);
    }
}

void tallies_init(struct source *s)
{
    map_init(&s->tally, SOURCE_TALLIES_MAX);
}

void tallies_done(struct source *s)
{
    size_t at = 0;
    struct map_entry *e;
    while ((e = map_next(&s->tally, &at)))
        mem_free(e->value);
    map_done(&s->tally);
}

void tallies_take(struct source *s, struct arena *a)
{
    struct json overload = s->overload = json_get(s->feed, S("overload"));
    struct json_iter it = json_iter(json_get(s->feed, S("instances")));
    struct json peer;
    s->n_answers++;
    take(s, a, S("overload"), S("admitted"), json_get(overload, S("admitted")));
    take_members(s, a, S("shed"), json_get(overload, S("shed")));
    take_members(s, a, S("reasons"), json_get(overload, S("reasons")));
    while (json_next(&it, NULL, &peer))
        take_peer(s, a, peer);
    take_members(s, a, S("zones"), json_get(json_get(s->feed, S("zones")), S("calls")));
    drop_old(s);
}

void tallies_forget(struct source *s)
{
    size_t at = 0;
    struct map_entry *e;
    while ((e = map_next(&s->tally, &at)))
        ((struct tally *)e->value)->seen = 0;
}

void tallies_tick(struct source *s, size_t slot, size_t oldest)
{
    size_t at = 0;
    struct map_entry *e;
    while ((e = map_next(&s->tally, &at))) {
        struct tally *t = e->value;
        t->ring[slot] = t->total;
        t->window = t->total - t->ring[oldest];
    }
}

uint64_t tally_window(const struct source *s, str group, str name, struct arena *a)
{
    str key = key_of(a, group, name);
    const struct tally *t = key.p ? map_get(&s->tally, key) : NULL;
    return t ? t->window : 0;
}
