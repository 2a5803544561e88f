/* run_page_private.h — the inside of the page's model, for run_page*.c only.
 * Owner, thread, failure: as in run_page.h. */
#pragma once

#include "base/map.h"
#include "base/mem.h"
#include "cli/run_page.h"

/* After this long without an answer a sidecar's view is stale. */
enum { SOURCE_FRESH_MS = 3500 };

struct counts {
    uint64_t n, errors, hist[PAGE_BUCKETS];
};

struct edge {
    char *from, *to;
    const char *kind;
    struct counts total; /* of all instances and of all their lives */
    struct counts ring[PAGE_WINDOW + 1];
    struct counts window; /* within the last PAGE_WINDOW ticks */
};

struct event {
    uint64_t id, wall_ns;
    const char *level;
    size_t app_len, len;
    char *text; /* the app, then the text */
};

struct tally { /* a count of one sidecar that has no edge */
    uint64_t seen, total, ring[PAGE_WINDOW + 1];
    uint64_t window; /* within the last PAGE_WINDOW ticks */
    uint64_t answer; /* the last that had it */
};

struct source { /* one sidecar */
    bool used;
    struct {
        uint64_t at_ns, admitted, shed; /* as last read for page_demand() */
        double done_rps, shed_rps;      /* between the last two readings */
    } load;
    struct page_instance instance;
    struct page_process process;
    struct map seen;  /* edge key → struct counts as last read */
    struct map tally; /* group and name → struct tally */
    uint64_t n_answers;
    char *text;                 /* the last answer; feed points into it */
    struct json feed, overload; /* overload: a member of feed that is read often */
    uint64_t at_ns, pid, last_event;
};

struct page {
    const char *name, *base_dir;
    uint64_t started_ns;
    struct source *source;
    size_t n_sources; /* used ones and gaps */
    struct page_scale scale[PAGE_SCALES_MAX];
    size_t n_scales;
    struct map edge_by_key;
    struct edge *edge[PAGE_EDGES_MAX];
    size_t n_edges;
    struct event event[PAGE_EVENTS_MAX]; /* ring; n_events is the last id */
    uint64_t n_events;
    char *progress;
    size_t progress_len;
    uint64_t tick, tick_ns[PAGE_WINDOW + 1];
    double window_s;
    bool edges_lost, edges_lost_told;
};

/* ---- counts that have no edge: run_page_tally.c ---- */

void tallies_init(struct source *s);
void tallies_done(struct source *s);
/* Takes in what s->feed counts; a count that's no longer in it is forgotten. What there is no
 * memory for is left out. */
void tallies_take(struct source *s, struct arena *a);
/* Another process: it counts from zero. */
void tallies_forget(struct source *s);
void tallies_tick(struct source *s, size_t slot, size_t oldest);
/* How much it grew in the window; 0 if there's no such count. */
uint64_t tally_window(const struct source *s, str group, str name, struct arena *a);
/* The name of a peer's count. */
str tally_peer(struct arena *a, str app, str address);

static inline bool source_fresh(const struct source *s, uint64_t now_ns)
{
    return s->text && now_ns - s->at_ns < MS(SOURCE_FRESH_MS);
}
