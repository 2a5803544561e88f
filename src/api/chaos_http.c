/* /proa/v1/chaos: faults on purpose, for a time (block/core/chaos.h). */
#include "api/request.h"
#include "block/core/chaos.h"

enum { BODY_MAX = 64 << 10 };

static struct chaos *enabled(struct request *r, struct error *err)
{
    if (!r->b->chaos)
        fail(err, DENIED, "ERR_CHAOS_DISABLED",
             "faults on purpose aren't allowed here: start the sidecar with --enable-chaos");
    return r->b->chaos;
}

CO static void reply_list(struct request *r)
{
    AUTO(buf_done) struct buf out;
    struct json_w w;
    buf_init(&out, BODY_MAX);
    json_w_init(&w, &out, 0);
    json_w_object(&w);
    json_w_key(&w, S("chaos"));
    chaos_write(r->b->chaos, &w);
    json_w_object_end(&w);
    reply_buf(r, 200, &out);
}

CO void chaos_list_route(struct request *r)
{
    struct error err = { 0 };
    if (enabled(r, &err))
        reply_list(r);
    else
        reply_error(r->x, &err);
}

CO void chaos_add_route(struct request *r)
{
    struct error err = { 0 };
    struct json v;
    struct chaos_fault fault;
    struct chaos *c = enabled(r, &err);
    int code = c ? request_json(r, &v, &err) : -DENIED;
    if (code >= 0)
        code = chaos_from_json(r->a, v, &fault, &err);
    if (code >= 0)
        code = chaos_add(c, &fault, &err);
    if (code >= 0)
        reply_list(r);
    else
        reply_error(r->x, &err);
}

CO void chaos_remove_route(struct request *r)
{
    struct error err = { 0 };
    struct chaos *c = enabled(r, &err);
    if (c && !chaos_remove(c, r->part[0]) && r->part[0].n)
        fail(&err, NOT_FOUND, NULL, "no fault is called \"" STR_FMT "\", or it has ended",
             STR_ARG(str_take(r->part[0], 60)));
    if (err.code)
        reply_error(r->x, &err);
    else
        reply_list(r);
}
