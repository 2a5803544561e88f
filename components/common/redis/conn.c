/* How a connection is shared. A call appends its command to the output and a slot to the ring, and
 * parks. When the worker's batch of work is done the output is written at once; answers come in the
 * order of the ring, each straight into its caller's arena. A caller that leaves early empties its
 * slot: the answer is then read and thrown away, so the order never breaks. What is asked while the
 * connection is being dialled waits in the same way.
 *
 *   fiber A: send ─┐                        ┌─ answer A → wake A
 *   fiber B: send ─┼─ flush: one write ─ … ─┼─ (B timed out: slot is empty) thrown away
 *   fiber C: send ─┘                        └─ answer C → wake C                               */
#include "components/common/redis/redis_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "format/duration.h"

#include <stdarg.h>
#include <stdio.h>

enum { READS_MAX = 16 /* in a row; then others have their turn */, RING_FIRST = 16 };

static void on_readable(void *arg, bool timed_out);

/* ---- the ring ---- */

static struct slot *slot_at(const struct conn *c, size_t i)
{
    return &c->ring[(c->ring_head + i) & (c->ring_cap - 1)];
}

static bool ring_grow(struct conn *c)
{
    size_t cap = c->ring_cap ? c->ring_cap * 2 : RING_FIRST;
    struct slot *ring = mem_alloc(cap * sizeof *ring);
    if (!ring)
        return false;
    for (size_t i = 0; i < c->ring_n; i++)
        ring[i] = *slot_at(c, i);
    mem_free(c->ring);
    c->ring = ring;
    c->ring_head = 0;
    c->ring_cap = cap;
    return true;
}

static void ring_pop(struct conn *c)
{
    c->ring_head = (c->ring_head + 1) & (c->ring_cap - 1);
    c->ring_n--;
    c->seq++;
}

/* ---- the end of a call ---- */

static void settle(struct call *call, int result)
{
    struct batch *b = call->batch;
    call->conn = NULL;
    call->result = result;
    if (--b->left == 0 && b->parked)
        (void)fiber_wake(b->fiber, 0);
}

void conn_forget(struct call *call)
{
    struct conn *c = call->conn;
    if (!c)
        return;
    size_t i = call->seq - c->seq;
    slot_at(c, i)->call = NULL;
    if (i == 0 && c->reading)
        resp_forget(&c->link->reader);
    call->conn = NULL;
    call->batch->left--;
    /* A server that is silent for so long won't serve the next one either. */
    uint64_t silent = clock_now_ns() - c->progress_ns;
    char text[DURATION_MAX];
    if (c->state == CONN_READY && silent >= limit_or(c->share->r->c.read_timeout, SEC(3))) {
        (void)duration_print((int64_t)(silent / MS(1) * MS(1)), text);
        conn_break(c, TIMEOUT, "no answer from Redis at %s for %s", c->node->address, text);
    }
}

/* ---- the end of a connection ---- */

static void conn_free(struct conn *c)
{
    struct share *s = c->share;
    link_close(c->link);
    buf_done(&c->out);
    mem_free(c->ring);
    mem_free(c);
    share_leave(s);
}

static void fail_calls(struct conn *c, const struct error *why)
{
    for (; c->ring_n; ring_pop(c)) {
        struct slot *slot = slot_at(c, 0);
        struct call *call = slot->call;
        if (!call)
            continue;
        call->unsent = slot->end > c->sent;
        if (!call->batch->err.code)
            call->batch->err = *why;
        settle(call, -(int)why->code);
    }
}

void conn_break(struct conn *c, enum code code, const char *fmt, ...)
{
    struct error why = { .code = code };
    va_list args;
    if (c->state == CONN_BROKEN)
        return;
    va_start(args, fmt);
    (void)vsnprintf(why.text, sizeof why.text, fmt, args);
    va_end(args);
    c->state = CONN_BROKEN;
    list_remove(&c->in_node);
    *(c->alone ? &c->node->n_alone : &c->node->n_shared) -= 1;
    flush_cancel(&c->flush);
    waitq_wake_all(&c->node->room, 0);
    fail_calls(c, &why);
    if (c->link)
        (void)stream_off_readable(c->link->stream);
    if (c->dialler)
        fiber_cancel(c->dialler);
    if (c->writer)
        fiber_cancel(c->writer);
    if (!c->dialler && !c->writer)
        conn_free(c);
}

/* ---- output ---- */

static void sent(struct conn *c, size_t n)
{
    bool was_full = c->out.len >= OUT_HIGH;
    buf_consume(&c->out, n);
    c->sent += n;
    if (was_full && c->out.len < OUT_HIGH)
        waitq_wake_all(&c->node->room, 0);
    if (!c->out.len && c->out.cap > OUT_HIGH)
        buf_done(&c->out);
}

/* What the socket didn't take at once. New commands go behind it meanwhile, which may move the
 * buffer: each piece is copied out of it first. */
static void write_rest(void *arg)
{
    struct conn *c = arg;
    char piece[KIB(16)];
    int r = 0;
    while (r == 0 && c->state == CONN_READY && c->out.len) {
        DEADLINE(
            limit_or(c->share->r->c.write_timeout, limit_or(c->share->r->c.read_timeout, SEC(3))));
        str s = str_take(buf_str(&c->out), sizeof piece);
        memcpy(piece, s.p, s.n);
        r = stream_write(c->link->stream, str_of(piece, s.n));
        if (r == 0 && c->state == CONN_READY)
            sent(c, s.n);
    }
    c->writer = NULL;
    if (c->state == CONN_BROKEN)
        conn_free(c);
    else if (r < 0)
        conn_break(c, r == -TIMEOUT ? TIMEOUT : UNAVAILABLE,
                   "Redis at %s doesn't take what is sent", c->node->address);
}

static void on_flush(struct flush *f)
{
    struct conn *c = CONTAINER_OF(f, struct conn, flush);
    if (c->state != CONN_READY || c->writer || !c->out.len)
        return;
    struct iovec iov = { (void *)buf_str(&c->out).p, c->out.len };
    ssize_t n = stream_try_writev(c->link->stream, &iov, 1);
    if (n < 0) {
        conn_break(c, UNAVAILABLE, "the connection to Redis at %s was lost", c->node->address);
        return;
    }
    sent(c, (size_t)n);
    if (!c->out.len)
        return;
    c->writer = fiber_spawn("redis writer", write_rest, c);
    if (!c->writer)
        conn_break(c, EXHAUSTED, "no fiber to write to Redis: raise the limit of fibers");
}

static int queue(struct conn *c, const str *arg, size_t n, struct slot slot, struct error *err)
{
    if (c->ring_n == c->ring_cap && !ring_grow(c))
        return fail(err, EXHAUSTED, NULL, "out of memory for a command to Redis");
    size_t before = c->out.len;
    if (!resp_write(&c->out, arg, n))
        return fail(err, EXHAUSTED, NULL,
                    "out of memory for a command to Redis, or it is too long");
    c->queued += c->out.len - before;
    if (!c->ring_n)
        c->progress_ns = clock_now_ns();
    slot.end = c->queued;
    *slot_at(c, c->ring_n++) = slot;
    if (c->state == CONN_READY)
        flush_later(&c->flush);
    return 0;
}

int conn_send(struct conn *c, const str *arg, size_t n, struct call *call, struct error *err)
{
    uint64_t seq = c->seq + c->ring_n;
    int r = queue(c, arg, n, (struct slot){ .call = call }, err);
    if (r < 0)
        return r;
    call->conn = c;
    call->node = c->node;
    call->seq = seq;
    call->unsent = false;
    call->batch->left++;
    return 0;
}

int conn_send_asking(struct conn *c, struct error *err)
{
    str arg[] = { S("ASKING") };
    return queue(c, arg, 1, (struct slot){ .asking = true }, err);
}

/* ---- input ---- */

static void end_reply(struct conn *c)
{
    struct call *call = slot_at(c, 0)->call;
    int failed = c->link->reader.failed;
    c->reading = false;
    bool was_full = c->ring_n >= RING_HIGH;
    ring_pop(c);
    if (was_full || (c->alone && !c->ring_n))
        waitq_wake_all(&c->node->room, 0);
    if (!call)
        return;
    if (failed && !call->batch->err.code)
        (void)fail(&call->batch->err, EXHAUSTED, NULL,
                   "an answer of Redis is too large for this request's memory");
    settle(call, failed);
}

/* Replies that are there. -DATA_LOSS: not the protocol, or nothing was asked. */
static int read_replies(struct conn *c)
{
    while (c->link->len) {
        if (!c->ring_n)
            return -DATA_LOSS;
        if (!c->reading) {
            struct call *call = slot_at(c, 0)->call;
            resp_begin(&c->link->reader, call && call->ret ? call->batch->a : NULL,
                       call ? call->ret : NULL);
            c->reading = true;
        }
        int done = link_step(c->link);
        if (done < 0)
            return done;
        if (done > 0)
            end_reply(c);
        else
            break;
    }
    return 0;
}

/* Waits for the next bytes; an unused connection for a while only. */
static void watch(struct conn *c)
{
    int64_t idle = c->share->r->c.idle_timeout;
    stream_on_readable(c->link->stream, c->ring_n || idle <= 0 ? 0 : (uint64_t)idle, on_readable,
                       c);
}

static void on_readable(void *arg, bool timed_out)
{
    struct conn *c = arg;
    ssize_t got = 1;
    int r = 0;
    if (timed_out && c->ring_n) {
        watch(c);
        return;
    }
    c->progress_ns = clock_now_ns();
    for (int i = 0; !timed_out && i < READS_MAX && got > 0 && r == 0; i++) {
        got = link_try_fill(c->link);
        r = got > 0 ? read_replies(c) : 0;
    }
    if (r < 0)
        conn_break(c, UNAVAILABLE, "what %s answers isn't Redis' protocol", c->node->address);
    else if (timed_out || (c->old && !c->ring_n))
        conn_break(c, UNAVAILABLE, "the connection to Redis at %s was not used any more",
                   c->node->address);
    else if (got > 0 || got == -ABORTED)
        watch(c);
    else
        conn_break(c, UNAVAILABLE, "the connection to Redis at %s was lost", c->node->address);
}

/* ---- dialling ---- */

/* What nobody waits for any more needn't be sent: none of it was. */
static void drop_forgotten(struct conn *c)
{
    uint64_t begin = 0;
    size_t kept = 0, n = 0;
    for (size_t i = 0; i < c->ring_n; i++) {
        struct slot slot = *slot_at(c, i);
        size_t len = slot.end - begin;
        begin = slot.end;
        if (!slot.call && !slot.asking)
            continue;
        memmove(c->out.p + c->out.head + kept, c->out.p + c->out.head + slot.end - len, len);
        kept += len;
        if (slot.call)
            slot.call->seq = c->seq + n;
        slot.end = kept;
        *slot_at(c, n++) = slot;
    }
    c->ring_n = n;
    c->out.len = kept;
    c->queued = kept;
}

static void dial(void *arg)
{
    struct conn *c = arg;
    struct error err = { 0 };
    int r = c->state == CONN_BROKEN
                ? -CANCELLED
                : link_open(c->share->r, c->node->address, LINK_SERVER, &c->link, &err);
    c->dialler = NULL;
    if (c->state == CONN_BROKEN) {
        conn_free(c);
        return;
    }
    if (r < 0) {
        conn_break(c, err.code == CANCELLED ? UNAVAILABLE : err.code, "%s", err.text);
        return;
    }
    c->state = CONN_READY;
    c->born_ns = c->progress_ns = clock_now_ns();
    drop_forgotten(c);
    flush_later(&c->flush);
    watch(c);
}

static int conn_new(struct node *n, bool alone, struct conn **ret, struct error *err)
{
    struct conn *c = n->share->closing ? NULL : mem_zalloc(sizeof *c);
    if (!c)
        return fail(err, n->share->closing ? CANCELLED : EXHAUSTED, NULL,
                    n->share->closing ? "the component is closing"
                                      : "out of memory for a connection to Redis");
    c->node = n;
    c->share = n->share;
    c->alone = alone;
    c->progress_ns = clock_now_ns();
    buf_init(&c->out, OUT_MAX);
    flush_init(&c->flush, on_flush);
    c->dialler = fiber_spawn("redis dial", dial, c);
    if (!c->dialler) {
        mem_free(c);
        return fail(err, EXHAUSTED, NULL,
                    "no fiber to connect to Redis: raise the limit of fibers");
    }
    list_append(&n->conns, &c->in_node);
    *(alone ? &n->n_alone : &n->n_shared) += 1;
    n->share->n_alive++;
    *ret = c;
    return 0;
}

/* ---- choosing ---- */

/* Past its age a connection takes nothing new, and is closed when nothing is due on it. */
static bool too_old(struct conn *c)
{
    int64_t max = c->share->r->c.max_age;
    if (c->state == CONN_READY && max > 0 && clock_now_ns() - c->born_ns > (uint64_t)max)
        c->old = true;
    return c->old;
}

static struct conn *least_busy(struct node *n, bool alone)
{
    struct conn *best = NULL, *done = NULL;
    LIST_EACH (&n->conns, at) {
        struct conn *c = CONTAINER_OF(at, struct conn, in_node);
        if (too_old(c))
            done = c->ring_n ? done : c;
        else if (c->alone == alone && !(alone && c->ring_n) && (!best || c->ring_n < best->ring_n))
            best = c;
    }
    if (done)
        conn_break(done, UNAVAILABLE, "the connection to Redis at %s is too old", n->address);
    return best;
}

CO static int wait_for_room(struct node *n, struct error *err)
{
    const struct redis_config *c = &n->share->r->c;
    DEADLINE(limit_or(c->pool_timeout, limit_or(c->read_timeout, SEC(3)) + SEC(1)));
    int r = waitq_wait(&n->room);
    if (r == -TIMEOUT)
        return fail(err, EXHAUSTED, NULL,
                    "all connections to Redis at %s are busy: it is too slow, or poolSize too low",
                    n->address);
    return r < 0 ? fail(err, CANCELLED, NULL, "the call was cancelled") : 0;
}

CO int conn_take(struct node *n, bool alone, struct conn **ret, struct error *err)
{
    int64_t size = n->share->r->c.pool_size;
    size_t max = size > 0 ? (size_t)size : 10;
    for (;;) {
        struct conn *c = least_busy(n, alone);
        bool more = (alone ? n->n_alone : n->n_shared) < max;
        if (!c ? more : !alone && more && c->ring_n >= SPREAD_AT && c->state == CONN_READY)
            return conn_new(n, alone, ret, err);
        if (c && c->out.len < OUT_HIGH && c->ring_n < RING_HIGH) {
            *ret = c;
            return 0;
        }
        int r = wait_for_room(n, err);
        if (r < 0)
            return r;
    }
}
