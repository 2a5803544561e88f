#include "api/grpc_call.h"
#include "appcallback.pb-c.h"
#include "block/app/topic_event.h"
#include "block/streaming.h"
#include "http/grpc.h"
#include "runtime.pb-c.h"

/* SubscribeTopicEventsAlpha1 (facts 2.4, 3.2): the client subscribes by its first message, gets
 * events and answers each. Three fibers of one worker: the call's own waits; the reader takes the
 * client's answers; the writer sends events. Whichever ends first ends the call. */

enum { READ_ARENA = 8 << 20, EVENT_MAX = 256 << 20 };

typedef Dapr__Proto__Runtime__V1__SubscribeTopicEventsRequestAlpha1 client_message;
typedef Dapr__Proto__Runtime__V1__SubscribeTopicEventsResponseAlpha1 server_message;
typedef Dapr__Proto__Runtime__V1__SubscribeTopicEventsRequestInitialAlpha1 initial_request;
typedef Dapr__Proto__Runtime__V1__SubscribeTopicEventsRequestProcessedAlpha1 processed_request;

/* The numbers of the oneofs' fields: the names that protoc-c makes of them fill more than a line.
 */
static const int INITIAL = 1, PROCESSED = 2, INITIAL_ANSWER = 1, EVENT_ANSWER = 2;

static int kind_of(const client_message *m)
{
    return (int)m->subscribe_topic_events_request_type_case;
}

struct half { /* the reader, or the writer */
    struct fiber *fiber;
    bool done;
    struct error err; /* why it ended */
};

struct session {
    struct grpc_call *c;
    struct streaming *stream;
    struct half reader, writer;
    struct fiber *waiter; /* the call's own fiber, while it waits */
    bool ended;           /* the sidecar is stopping */
    bool writing;         /* an event is on its way out, or was cut off */
};

static void wake(struct session *s)
{
    if (s->waiter)
        fiber_wake(s->waiter, 0);
}

static void on_ended(void *arg)
{
    struct session *s = arg;
    s->ended = true;
    wake(s);
}

/* ---- events ---- */

static int pack_event(const struct app_event *e, struct arena *a, str *ret, struct error *err)
{
    server_message m = DAPR__PROTO__RUNTIME__V1__SUBSCRIBE_TOPIC_EVENTS_RESPONSE_ALPHA1__INIT;
    Dapr__Proto__Runtime__V1__TopicEventRequest event;
    int r = topic_event_fill(e, a, &event, err);
    if (r < 0)
        return r;
    m.subscribe_topic_events_response_type_case = EVENT_ANSWER;
    m.event_message = &event;
    return proto_pack_to(&m.base, a, ret) < 0
               ? fail(err, EXHAUSTED, NULL, "the event doesn't fit into memory")
               : 0;
}

CO static void write_events(struct session *s)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, EVENT_MAX);
    while (streaming_next(s->stream, &out, &s->writer.err) >= 0) {
        s->writing = true;
        int r = grpc_send(s->c->x, buf_str(&out));
        s->writing = r < 0;
        if (r < 0) {
            fail(&s->writer.err, (enum code) - r, NULL, "the client takes no more events");
            return;
        }
        buf_clear(&out);
    }
}

CO static void writer_main(void *arg)
{
    struct session *s = arg;
    write_events(s);
    s->writer.done = true;
    wake(s);
}

/* ---- answers ---- */

static void take_answer(struct session *s, const processed_request *p)
{
    enum event_verdict verdict = EVENT_RETRY; /* what can't be understood is tried again */
    str id = pb_str(p->id);
    (void)topic_event_verdict(p->status ? (int)p->status->status : 0, id, &verdict, NULL);
    streaming_answer(s->stream, id, verdict);
}

CO static void read_answers(struct session *s)
{
    AUTO(arena_done) struct arena a;
    arena_init(&a, READ_ARENA);
    struct error *err = &s->reader.err;
    void *in;
    int r;
    while ((r = grpc_read(s->c, &a, &in, err)) > 0) {
        const client_message *m = in;
        if (kind_of(m) == PROCESSED)
            take_answer(s, m->event_processed);
        else if (kind_of(m) == INITIAL) {
            fail(err, INVALID, NULL, "duplicate initial request received");
            return;
        }
        arena_reset(&a);
    }
    if (r == 0) /* half-closed: the SDKs subscribe again on it (facts 11.7) */
        fail(err, UNKNOWN, NULL, "EOF");
}

CO static void reader_main(void *arg)
{
    struct session *s = arg;
    read_answers(s);
    s->reader.done = true;
    wake(s);
}

/* ---- the call ---- */

static bool start(struct half *h, const char *name, fiber_fn *fn, struct session *s)
{
    h->fiber = fiber_spawn(name, fn, s);
    h->done = !h->fiber;
    return h->fiber;
}

CO static void end(struct session *s, struct half *h)
{
    SHIELD();
    s->waiter = fiber_self();
    if (!h->done)
        fiber_cancel(h->fiber);
    while (!h->done)
        (void)fiber_park();
    s->waiter = NULL;
}

/* Until a half ends, the sidecar stops, or the client has left. */
CO static int wait(struct session *s, struct error *err)
{
    int r = 0;
    s->waiter = fiber_self();
    while (r >= 0 && !s->reader.done && !s->writer.done && !s->ended)
        r = fiber_park();
    s->waiter = NULL;
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "the client has left");
    const struct error *why = s->reader.done ? &s->reader.err : &s->writer.err;
    if (s->ended || !why->code)
        return fail(err, UNAVAILABLE, NULL, "the subscription is being stopped: subscribe again");
    *err = *why;
    return -(int)why->code;
}

CO static int run(struct session *s, struct error *err)
{
    server_message hello = DAPR__PROTO__RUNTIME__V1__SUBSCRIBE_TOPIC_EVENTS_RESPONSE_ALPHA1__INIT;
    Dapr__Proto__Runtime__V1__SubscribeTopicEventsResponseInitialAlpha1 initial =
        DAPR__PROTO__RUNTIME__V1__SUBSCRIBE_TOPIC_EVENTS_RESPONSE_INITIAL_ALPHA1__INIT;
    hello.subscribe_topic_events_response_type_case = INITIAL_ANSWER;
    hello.initial_response = &initial;
    int r = grpc_write(s->c, &hello.base, err);
    if (r < 0)
        return r;
    bool started = start(&s->reader, "stream reader", reader_main, s);
    started = start(&s->writer, "stream writer", writer_main, s) && started;
    r = started ? wait(s, err) : fail(err, EXHAUSTED, NULL, "too many requests at once");
    end(s, &s->reader);
    end(s, &s->writer);
    if (s->writing) /* its client takes nothing: no status would come through either */
        http_reply_abort(s->c->x);
    return r;
}

CO static int read_initial(struct grpc_call *c, struct streaming_request *ret, struct error *err)
{
    void *in;
    int r = grpc_read(c, c->a, &in, err);
    const client_message *m = r > 0 ? in : NULL;
    if (r < 0)
        return r;
    if (!m || kind_of(m) != INITIAL)
        return fail(err, INVALID, NULL,
                    "initial_request is required: the first message must hold it");
    const initial_request *q = m->initial_request;
    *ret = (struct streaming_request){ .pubsub = pb_str(q->pubsub_name),
                                       .topic = pb_str(q->topic),
                                       .dead_letter = pb_str(q->dead_letter_topic),
                                       .pack = pack_event };
    if (!ret->pubsub.n || !ret->topic.n)
        return fail(err, INVALID, NULL, "%s is required: name it in initial_request",
                    ret->pubsub.n ? "topic" : "pubsub_name");
    return pb_kvs(c->a, q->metadata, q->n_metadata, &ret->metadata) < 0 ? grpc_no_memory(err) : 0;
}

CO int subscribe_rpc(struct grpc_call *c, struct error *err)
{
    struct session s = { .c = c };
    struct streaming_request request;
    int r = read_initial(c, &request, err);
    if (r < 0)
        return r;
    request.ended = on_ended;
    request.arg = &s;
    r = streaming_open(c->b, &request, &s.stream, err);
    if (r < 0)
        return r;
    r = run(&s, err);
    streaming_close(s.stream);
    return r;
}
