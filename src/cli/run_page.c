#include "cli/run_page_private.h"

#include "base/clock.h"

#include <math.h>

enum { SOURCE_EDGES_MAX = 512, TEXT_MAX = 1000, ID_MAX = 300, PROGRESS_MAX = 4096 };

static const char *const kinds[] = { "invoke", "publish", "deliver", "state", "binding" };

struct page *page_new(const char *run_name, const char *base_dir, uint64_t now_ns)
{
    struct page *p = mem_zalloc(sizeof(*p));
    if (!p)
        return NULL;
    p->name = run_name;
    p->base_dir = base_dir;
    p->started_ns = now_ns;
    map_init(&p->edge_by_key, PAGE_EDGES_MAX);
    for (size_t i = 0; i <= PAGE_WINDOW; i++)
        p->tick_ns[i] = now_ns;
    return p;
}

static void source_done(struct source *s)
{
    size_t at = 0;
    struct map_entry *e;
    while ((e = map_next(&s->seen, &at)))
        mem_free(e->value);
    map_done(&s->seen);
    tallies_done(s);
    mem_free(s->text);
}

void page_free(struct page *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_sources; i++)
        if (p->source[i].used)
            source_done(&p->source[i]);
    for (size_t i = 0; i < p->n_edges; i++) {
        mem_free(p->edge[i]->from);
        mem_free(p->edge[i]->to);
        mem_free(p->edge[i]);
    }
    for (size_t i = 0; i < COUNT(p->event); i++)
        mem_free(p->event[i].text);
    map_done(&p->edge_by_key);
    mem_free(p->source);
    mem_free(p->progress);
    mem_free(p);
}

int page_add_instance(struct page *p, const struct page_instance *in, size_t *ret)
{
    size_t at = 0;
    while (at < p->n_sources && p->source[at].used)
        at++;
    if (at == p->n_sources) {
        struct source *v = mem_realloc(p->source, (at + 1) * sizeof(*v));
        if (!v)
            return -EXHAUSTED;
        p->source = v;
        p->n_sources++;
    }
    p->source[at] = (struct source){ .used = true, .instance = *in, .process.cpu = NAN };
    map_init(&p->source[at].seen, SOURCE_EDGES_MAX);
    tallies_init(&p->source[at]);
    *ret = at;
    return 0;
}

void page_remove_instance(struct page *p, size_t index)
{
    PRE(index < p->n_sources && p->source[index].used);
    source_done(&p->source[index]);
    p->source[index] = (struct source){ 0 };
}

void page_set_process(struct page *p, size_t index, const struct page_process *process)
{
    PRE(index < p->n_sources);
    p->source[index].process = *process;
}

/* ---- events ---- */

void page_event(struct page *p, const char *level, str app, str text, uint64_t wall_ns)
{
    struct event *e = &p->event[p->n_events % PAGE_EVENTS_MAX];
    text = str_take(text, TEXT_MAX);
    app = str_take(app, ID_MAX);
    char *copy = mem_alloc(app.n + text.n + 1);
    if (!copy)
        return; /* an event that is lost for want of memory is the least of the troubles */
    memcpy(copy, app.p, app.n);
    memcpy(copy + app.n, text.p, text.n);
    mem_free(e->text);
    *e = (struct event){ ++p->n_events, wall_ns, level, app.n, app.n + text.n, copy };
}

static const char *known_level(struct json v)
{
    static const char *const level[] = { "warn", "error" };
    for (size_t i = 0; i < COUNT(level); i++)
        if (json_eq_str(v, str_c(level[i])))
            return level[i];
    return "info";
}

/* A sidecar keeps its last events and numbers them from its start: only new ones are taken. */
static int take_events(struct page *p, struct source *s, struct json events, struct arena *a)
{
    struct json_iter it = json_iter(events);
    struct json e;
    while (json_next(&it, NULL, &e)) {
        uint64_t id, wall;
        str text, time;
        if (!json_u64(json_get(e, S("id")), &id) || id <= s->last_event)
            continue;
        if (json_string_or(a, json_get(e, S("text")), S(""), &text) != 0 ||
            json_string_or(a, json_get(e, S("time")), S(""), &time) != 0)
            return -INVALID;
        if (!clock_parse_rfc3339(time, &wall))
            wall = 0;
        s->last_event = id;
        page_event(p, known_level(json_get(e, S("level"))), str_c(s->instance.app), text, wall);
    }
    return 0;
}

/* ---- counts ---- */

static struct edge *edge_for(struct page *p, str key, str from, str to, const char *kind)
{
    struct edge *e = map_get(&p->edge_by_key, key);
    if (e || p->n_edges == PAGE_EDGES_MAX)
        return e;
    e = mem_zalloc(sizeof(*e));
    if (!e)
        return NULL;
    e->from = mem_dup(from.p, from.n);
    e->to = mem_dup(to.p, to.n);
    e->kind = kind;
    if (!e->from || !e->to || map_put(&p->edge_by_key, key, e, NULL) != 0) {
        mem_free(e->from);
        mem_free(e->to);
        mem_free(e);
        return NULL;
    }
    p->edge[p->n_edges++] = e;
    return e;
}

static struct counts *seen_for(struct source *s, str key)
{
    struct counts *c = map_get(&s->seen, key);
    if (c)
        return c;
    c = mem_zalloc(sizeof(*c));
    if (c && map_put(&s->seen, key, c, NULL) != 0) {
        mem_free(c);
        return NULL;
    }
    return c;
}

static uint64_t member_u64(struct json v, str name)
{
    uint64_t n;
    return json_u64(json_get(v, name), &n) ? n : 0;
}

static void read_counts(struct json v, struct counts *c)
{
    *c = (struct counts){ .n = member_u64(v, S("n")), .errors = member_u64(v, S("errors")) };
    struct json_iter it = json_iter(json_get(v, S("hist")));
    struct json item;
    for (size_t i = 0; i < PAGE_BUCKETS && json_next(&it, NULL, &item); i++)
        if (!json_u64(item, &c->hist[i]))
            c->hist[i] = 0;
}

static uint64_t grown(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

/* What came since the last look. A count that fell began anew at zero. */
static void add_growth(struct counts *to, const struct counts *now, struct counts *seen)
{
    if (now->n < seen->n)
        *seen = (struct counts){ 0 };
    to->n += grown(now->n, seen->n);
    to->errors += grown(now->errors, seen->errors);
    for (size_t i = 0; i < PAGE_BUCKETS; i++)
        to->hist[i] += grown(now->hist[i], seen->hist[i]);
    *seen = *now;
}

static const char *known_kind(struct json v)
{
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (json_eq_str(v, str_c(kinds[i])))
            return kinds[i];
    return NULL;
}

static int take_edge(struct page *p, struct source *s, struct json v, struct arena *a)
{
    str from, to;
    const char *kind = known_kind(json_get(v, S("kind")));
    if (json_string(a, json_get(v, S("from")), &from) != 0 ||
        json_string(a, json_get(v, S("to")), &to) != 0)
        return -INVALID;
    if (!kind || !from.n || !to.n || from.n > ID_MAX || to.n > ID_MAX)
        return 0; /* of a later sidecar than ours */
    const str part[] = { from, { "", 1 }, to, { "", 1 }, str_c(kind) };
    str key = arena_join(a, part, COUNT(part));
    struct edge *e = key.p ? edge_for(p, key, from, to, kind) : NULL;
    struct counts *seen = e ? seen_for(s, key) : NULL;
    if (!seen) {
        p->edges_lost = true;
        return 0;
    }
    struct counts now;
    read_counts(v, &now);
    add_growth(&e->total, &now, seen);
    return 0;
}

/* Another process, or the same after a restart: whatever it counted before is history. */
static void forget_seen(struct source *s)
{
    size_t at = 0;
    struct map_entry *e;
    while ((e = map_next(&s->seen, &at)))
        *(struct counts *)e->value = (struct counts){ 0 };
    tallies_forget(s);
    s->last_event = 0;
}

int page_sample(struct page *p, size_t index, str feed, uint64_t now_ns, struct error *err)
{
    PRE(index < p->n_sources);
    struct source *s = &p->source[index];
    if (feed.n > PAGE_FEED_MAX)
        return fail(err, EXHAUSTED, NULL, "the feed of %s is too large", s->instance.name);
    char *text = mem_dup(feed.p, feed.n);
    if (!text)
        return fail(err, EXHAUSTED, NULL, "out of memory for the feed of %s", s->instance.name);
    struct json v;
    if (json_parse(str_of(text, feed.n), &v, NULL) != 0 || v.type != JSON_OBJECT) {
        mem_free(text);
        return fail(err, INVALID, NULL, "the feed of %s is no JSON object", s->instance.name);
    }
    mem_free(s->text);
    s->text = text;
    s->feed = v;
    s->at_ns = now_ns;

    uint64_t pid = member_u64(v, S("pid"));
    if (pid != s->pid)
        forget_seen(s);
    s->pid = pid;

    AUTO(arena_done) struct arena a;
    arena_init(&a, 4 * PAGE_FEED_MAX);
    struct json_iter it = json_iter(json_get(v, S("edges")));
    struct json item;
    int r = 0;
    while (!r && json_next(&it, NULL, &item))
        r = take_edge(p, s, item, &a);
    tallies_take(s, &a);
    if (!r)
        r = take_events(p, s, json_get(v, S("events")), &a);
    return r ? fail(err, INVALID, NULL, "the feed of %s is malformed", s->instance.name) : 0;
}

int page_set_progress(struct page *p, struct json progress, struct error *err)
{
    if (!json_is_null(progress) && progress.type != JSON_OBJECT)
        return fail(err, INVALID, NULL, "progress must be an object: {\"text\": …}");
    if (progress.raw.n > PROGRESS_MAX)
        return fail(err, EXHAUSTED, NULL, "progress can have %d bytes", PROGRESS_MAX);
    char *copy = json_is_null(progress) ? NULL : mem_dup(progress.raw.p, progress.raw.n);
    if (!copy && !json_is_null(progress))
        return fail(err, EXHAUSTED, NULL, "out of memory");
    mem_free(p->progress);
    p->progress = copy;
    p->progress_len = copy ? progress.raw.n : 0;
    return 0;
}

/* ---- the window ---- */

static void difference(const struct counts *now, const struct counts *then, struct counts *ret)
{
    ret->n = now->n - then->n;
    ret->errors = now->errors - then->errors;
    for (size_t i = 0; i < PAGE_BUCKETS; i++)
        ret->hist[i] = now->hist[i] - then->hist[i];
}

/* The ring holds the last PAGE_WINDOW + 1 snapshots; the slot about to be overwritten is one older
 * than the window. */
void page_tick(struct page *p, uint64_t now_ns, uint64_t wall_ns)
{
    p->tick++;
    size_t slot = p->tick % (PAGE_WINDOW + 1), oldest = (p->tick + 1) % (PAGE_WINDOW + 1);
    p->tick_ns[slot] = now_ns;
    p->window_s = (double)(now_ns - p->tick_ns[oldest]) / 1e9;
    for (size_t i = 0; i < p->n_edges; i++) {
        struct edge *e = p->edge[i];
        e->ring[slot] = e->total;
        difference(&e->total, &e->ring[oldest], &e->window);
    }
    for (size_t i = 0; i < p->n_sources; i++)
        tallies_tick(&p->source[i], slot, oldest);
    if (!p->edges_lost || p->edges_lost_told)
        return;
    p->edges_lost_told = true;
    page_event(p, "warn", S(""), S("More connections than the page can show: some are left out"),
               wall_ns);
}

/* The limits of bucket i are 2^(i/2) and 2^((i+1)/2) microseconds; the first begins at 0. */
static double bucket_limit_ms(size_t i)
{
    return i ? exp2((double)i / 2) / 1000 : 0;
}

double page_quantile_ms(const uint64_t hist[PAGE_BUCKETS], double q)
{
    uint64_t total = 0, below = 0;
    for (size_t i = 0; i < PAGE_BUCKETS; i++)
        total += hist[i];
    double rank = q * (double)total;
    for (size_t i = 0; i < PAGE_BUCKETS; i++) {
        if (hist[i] && (double)(below + hist[i]) >= rank) {
            double low = bucket_limit_ms(i), high = bucket_limit_ms(i + 1);
            return low + (high - low) * (rank - (double)below) / (double)hist[i];
        }
        below += hist[i];
    }
    return NAN;
}
