/* flush.h — output that is sent once, after the worker's present batch of work.
 * Owner:  the connection; flush_cancel() before it goes away.
 * Thread: one worker each.   Failure: none: it needs no memory. fn runs outside of fibers. */
#pragma once

#include "base/list.h"

struct flush {
    struct list link;
    void (*fn)(struct flush *f);
};

void flush_init(struct flush *f, void (*fn)(struct flush *f));
/* Runs f->fn(f) before the worker polls next; once however often it's asked for. */
void flush_later(struct flush *f);
void flush_cancel(struct flush *f);
