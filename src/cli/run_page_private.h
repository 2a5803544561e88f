/* run_page_private.h — the inside of the page's model, for run_page*.c only.
 * Owner, thread, failure: as in run_page.h. */
#pragma once

#include "base/map.h"
#include "base/mem.h"
#include "cli/run_page.h"

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

struct source { /* one sidecar */
    bool used;
    struct {
        uint64_t at_ns, admitted, shed; /* as last read for page_demand() */
        double done_rps, shed_rps;      /* between the last two readings */
    } load;
    struct page_instance instance;
    struct page_process process;
    struct map seen; /* edge key → struct counts as last read */
    char *text;      /* the last answer; feed points into it */
    struct json feed;
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
