/* run_page.h — what the live page shows: the feeds of all sidecars put together, once a second.
 * Owner:  the run; page_free().   Pure: no clock, no I/O; times are passed in.
 * Thread: one.   Limits: PAGE_* below; what is past them is left out, and said in an event.
 * Counts of a sidecar are cumulative since its start and may fall when it restarts; here they only
 * grow, and rates are differences over the last PAGE_WINDOW ticks. */
#pragma once

#include "format/json.h"

enum {
    PAGE_BUCKETS = 48,
    PAGE_EDGES_MAX = 1024,
    PAGE_TOPICS_MAX = 256,
    PAGE_RESOURCES_MAX = 512,
    PAGE_EVENTS_MAX = 200,
    PAGE_PEERS_MAX = 512, /* instances as their callers see them */
    PAGE_BREAKERS_MAX = 256,
    PAGE_ZONE_PAIRS_MAX = 512,
    PAGE_FAULTS_MAX = 64,
    PAGE_WINDOW = 2,
    PAGE_SCALES_MAX = 100,
    PAGE_FEED_MAX = 1 << 20, /* bytes of one sidecar's answer */
};

enum page_state {
    PAGE_STARTING,
    PAGE_HEALTHY,
    PAGE_UNHEALTHY,
    PAGE_RESTARTING,
    PAGE_ASLEEP,
    PAGE_STOPPED
};

struct page;

struct page_instance { /* borrowed for the page's life */
    const char *app, *name, *zone;
    unsigned app_port, http_port, internal_port; /* 0 = none */
};

struct page_process {
    enum page_state state;
    int64_t pid; /* of the app, or of the sidecar when there is no app; 0 = none */
    unsigned restarts;
    double cpu; /* share of one core, app and sidecar; NAN = unknown */
    uint64_t rss_bytes, uptime_ns;
};

/* Names of files below base_dir (NULL = none) are shown without it. Both are borrowed. */
struct page *page_new(const char *run_name, const char *base_dir, uint64_t now_ns) WUR;
void page_free(struct page *p);

/* *ret = its index, until it's removed. */
int page_add_instance(struct page *p, const struct page_instance *in, size_t *ret) WUR;
/* What it counted stays in the sums. */
void page_remove_instance(struct page *p, size_t index);
void page_set_process(struct page *p, size_t index, const struct page_process *process);
/* Takes in one answer of GET /proa/v1/feed. -INVALID, -EXHAUSTED. */
int page_sample(struct page *p, size_t index, str feed, uint64_t now_ns, struct error *err) WUR;
/* level "info", "warn" or "error"; app may be "". */
void page_event(struct page *p, const char *level, str app, str text, uint64_t wall_ns);
/* The object that the page shows as progress; JSON_NONE or null = none. -INVALID, -EXHAUSTED. */
int page_set_progress(struct page *p, struct json progress, struct error *err) WUR;

/* What an app is asked for and does, by the feeds of all sidecars. NAN = unknown. */
struct page_demand {
    double at_once;         /* calls and events: in the app, waiting, and turned away */
    double asked_rps;       /* calls a second, those turned away too */
    double done_rps;        /* calls and events a second that the app did */
    double unmet;           /* that wait or were turned away within a second */
    double p99_s;           /* of calls; 0 = there are none */
    double depth, oldest_s; /* events in its queues; 0 = none or no queue */
    double asleep_waiting;  /* calls and events that wait for a sleeping app */
};
/* Rates are since the last call for this app. */
void page_demand(struct page *p, const char *app, uint64_t now_ns, struct page_demand *ret);

/* One app with a Scale, for the feed. */
struct page_scale {
    const char *app, *metric, *reason;
    unsigned instances, desired, min, max;
    double value, target;
};
/* The texts are borrowed until the next call. */
void page_set_scale(struct page *p, const struct page_scale *v, size_t n);

/* Once a second: moves the window on. Then page_write(). */
void page_tick(struct page *p, uint64_t now_ns, uint64_t wall_ns);
/* The whole feed as one JSON object. */
int page_write(struct page *p, uint64_t now_ns, uint64_t wall_ns, struct buf *out) WUR;

/* Share q (0 … 1) of a histogram's latencies lies below this many milliseconds; NAN when empty. */
double page_quantile_ms(const uint64_t hist[PAGE_BUCKETS], double q);
