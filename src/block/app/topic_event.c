#include "block/app/topic_event.h"

#include "appcallback.pb-c.h"
#include "format/pbstruct.h"

enum { EXTENSIONS_MAX = 256 << 20 };

char *texts_put(struct texts *t, str s)
{
    char *p = arena_cstr(t->a, s);
    t->failed = t->failed || !p;
    return p ? p : "";
}

int topic_event_extensions(const struct cloudevent *ce, struct arena *a, ProtobufCBinaryData *ret)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, EXTENSIONS_MAX);
    pbstruct_put(&out, ce->root, cloudevent_is_extension);
    str bytes = arena_dup(a, buf_str(&out));
    *ret = proto_bytes(bytes);
    return buf_ok(&out) && bytes.p ? 0 : -EXHAUSTED;
}

int topic_event_fill(const struct app_event *e, struct arena *a,
                     struct Dapr__Proto__Runtime__V1__TopicEventRequest *m, struct error *err)
{
    struct texts t = { a, false };
    str data;
    dapr__proto__runtime__v1__topic_event_request__init(m);
    int r = cloudevent_data(e->ce, a, &data);
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "the event's data_base64 isn't base64");
    m->id = texts_put(&t, e->ce->id);
    m->source = texts_put(&t, e->ce->source);
    m->type = texts_put(&t, e->ce->type);
    m->spec_version = texts_put(&t, e->ce->specversion);
    m->data_content_type = texts_put(&t, e->ce->datacontenttype);
    m->data = proto_bytes(data);
    m->topic = texts_put(&t, e->topic);
    m->pubsub_name = texts_put(&t, e->pubsub);
    m->path = texts_put(&t, e->path);
    r = topic_event_extensions(e->ce, a, &m->extensions);
    return r < 0 || t.failed ? fail(err, EXHAUSTED, NULL, "the event doesn't fit into memory") : 0;
}

int topic_event_verdict(int status, str id, enum event_verdict *ret, struct error *err)
{
    switch (status) {
    case DAPR__PROTO__RUNTIME__V1__TOPIC_EVENT_RESPONSE__TOPIC_EVENT_RESPONSE_STATUS__SUCCESS:
        *ret = EVENT_SUCCESS;
        return 0;
    case DAPR__PROTO__RUNTIME__V1__TOPIC_EVENT_RESPONSE__TOPIC_EVENT_RESPONSE_STATUS__RETRY:
        *ret = EVENT_RETRY;
        return 0;
    case DAPR__PROTO__RUNTIME__V1__TOPIC_EVENT_RESPONSE__TOPIC_EVENT_RESPONSE_STATUS__DROP:
        *ret = EVENT_DROP;
        return 0;
    default:
        return fail(err, UNKNOWN, NULL,
                    "unknown status returned from app while processing pub/sub event " STR_FMT
                    ": %d",
                    STR_ARG(id), status);
    }
}
