#include "api/request.h"
#include "base/id.h"
#include "block/publish.h"
#include "format/cloudevent.h"

enum { ENTRIES_MAX = 100000 };

CO void publish_route(struct request *r)
{
    struct error err = { 0 };
    struct publish_request p = {
        .pubsub = r->part[0],
        .topic = r->part[1],
        .content_type = http_headers_get(&r->x->req.headers, S("Content-Type")),
        .trace = r->trace,
    };
    struct instance *i;
    int code = block_publish_check(r->b, p.pubsub, p.topic, &i, &err);
    if (code >= 0)
        code = request_body(r, &p.data, &err);
    if (code >= 0 && (code = request_metadata(r, &p.metadata)) >= 0)
        code = block_publish(r->b, &p, r->a, &err);
    if (code < 0)
        reply_error(r->x, &err);
    else
        reply_empty(r, 204);
}

/* ---- bulk: [{"entryId","event","contentType","metadata"?}] ---- */

static int refuse(struct request *r, struct error *err, const char *reason, const char *why)
{
    int code =
        fail(err, INVALID, "ERR_PUBSUB_EVENTS_SER", "%s topic " STR_FMT " pubsub " STR_FMT ": %s",
             str_eq(str_c(reason), S("DAPR_PUBSUB_UNMARSHAL_EVENTS"))
                 ? "error when unmarshaling the request for"
                 : "error marshaling events to bytes for",
             STR_ARG(r->part[1]), STR_ARG(r->part[0]), why);
    fail_reason(err, reason, "pubsub", r->part[0]);
    return code;
}

/* The event's bytes by its content type. */
static int event_bytes(struct request *r, struct json v, str type, str *ret, struct error *err)
{
    static const char MARSHAL[] = "DAPR_PUBSUB_MARSHAL_EVENTS";
    if (cloudevent_type_is_json(type) || cloudevent_type_is_event(type)) {
        *ret = v.raw;
        return 0;
    }
    str text;
    if (json_string(r->a, v, &text) < 0)
        return refuse(r, err, MARSHAL, "an event of this content type must be a string");
    if (cloudevent_type_is_text(type)) {
        *ret = text;
        return 0;
    }
    if (!str_istarts(type, S("application/octet-stream")))
        return refuse(r, err, MARSHAL, "the content type isn't one for events");
    char *bytes = arena_alloc(r->a, text.n / 4 * 3 + 3);
    size_t n;
    if (!bytes)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    if (!base64_decode(text, bytes, &n))
        return refuse(r, err, MARSHAL, "an event of application/octet-stream must be base64");
    *ret = str_of(bytes, n);
    return 0;
}

/* Request metadata counts only where the entry has a metadata object (surprise 25). */
static int entry_metadata(struct request *r, struct json v, struct kvs common, struct kvs *ret)
{
    struct kvs own;
    int code = request_kvs(r, v, &own);
    if (code < 0)
        return code;
    return kvs_merge(r->a, own, v.type == JSON_OBJECT ? common : (struct kvs){ 0 }, ret);
}

static int read_entry(struct request *r, struct json v, struct kvs common, struct publish_entry *e,
                      struct error *err)
{
    if (v.type != JSON_OBJECT ||
        json_string_or(r->a, json_get_fold(v, S("entryId")), S(""), &e->id) < 0 ||
        json_string_or(r->a, json_get_fold(v, S("contentType")), S(""), &e->content_type) < 0)
        return refuse(r, err, "DAPR_PUBSUB_UNMARSHAL_EVENTS",
                      "an entry must be an object whose entryId and contentType are strings");
    if (entry_metadata(r, json_get_fold(v, S("metadata")), common, &e->metadata) < 0)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    return event_bytes(r, json_get_fold(v, S("event")), e->content_type, &e->data, err);
}

static int read_entries(struct request *r, struct kvs common, str body, struct publish_entry **ret,
                        size_t *ret_n, struct error *err)
{
    struct json root, item;
    struct json_error where;
    if (json_parse(body, &root, &where) < 0)
        return refuse(r, err, "DAPR_PUBSUB_UNMARSHAL_EVENTS", where.text);
    size_t n = json_count(root), at = 0;
    if (root.type != JSON_ARRAY || n > ENTRIES_MAX)
        return refuse(r, err, "DAPR_PUBSUB_UNMARSHAL_EVENTS",
                      "the body must be an array of at most 100000 entries");
    struct publish_entry *e = arena_zalloc(r->a, n * sizeof *e);
    if (!e)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    struct json_iter it = json_iter(root);
    while (json_next(&it, NULL, &item)) {
        int code = read_entry(r, item, common, &e[at++], err);
        if (code < 0)
            return code;
    }
    *ret = e;
    *ret_n = n;
    return 0;
}

CO static void reply_failed(struct request *r, const struct publish_entry *e, size_t n,
                            const struct error *err)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(64));
    struct json_w w;
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    json_w_key(&w, S("failedEntries"));
    json_w_array(&w);
    for (size_t i = 0; i < n; i++) {
        if (!e[i].err.code)
            continue;
        json_w_object(&w);
        json_w_kv(&w, S("entryId"), e[i].id);
        json_w_kv(&w, S("error"), str_c(e[i].err.text));
        json_w_object_end(&w);
    }
    json_w_array_end(&w);
    json_w_kv(&w, S("errorCode"), str_c(err->tag));
    json_w_object_end(&w);
    error_count(err);
    reply_buf(r, error_http_status(err), &out);
}

CO void publish_bulk_route(struct request *r)
{
    struct error err = { 0 };
    struct publish_request p = { .pubsub = r->part[0], .topic = r->part[1], .trace = r->trace };
    struct instance *i;
    struct publish_entry *e = NULL;
    size_t n = 0;
    str body;
    int code = block_publish_check(r->b, p.pubsub, p.topic, &i, &err);
    if (code >= 0)
        code = request_body(r, &body, &err);
    if (code >= 0 && (code = request_metadata(r, &p.metadata)) >= 0)
        code = read_entries(r, p.metadata, body, &e, &n, &err);
    if (code >= 0)
        code = block_publish_check_entries(&p, e, n, &err);
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    code = block_publish_bulk(r->b, &p, e, n, r->a, &err);
    bool by_entry = false;
    for (size_t k = 0; k < n; k++)
        by_entry = by_entry || e[k].err.code;
    if (code >= 0)
        reply_empty(r, 204);
    else if (by_entry)
        reply_failed(r, e, n, &err);
    else
        reply_error(r->x, &err);
}
