#include "http/flush.h"

#include "loop/worker.h"

static _Thread_local struct {
    struct list due;
    struct mail mail;
    bool posted;
} batch;

void flush_init(struct flush *f, void (*fn)(struct flush *f))
{
    list_init(&f->link);
    f->fn = fn;
}

static void run(struct mail *m)
{
    (void)m;
    batch.posted = false;
    for (struct list *node; (node = list_pop(&batch.due));) {
        struct flush *f = CONTAINER_OF(node, struct flush, link);
        f->fn(f);
    }
}

void flush_later(struct flush *f)
{
    if (!list_empty(&f->link))
        return;
    if (!batch.due.next)
        list_init(&batch.due);
    list_append(&batch.due, &f->link);
    if (batch.posted)
        return;
    batch.posted = true;
    batch.mail.run = run;
    worker_post(worker_self(), &batch.mail);
}

void flush_cancel(struct flush *f)
{
    list_remove(&f->link);
}
