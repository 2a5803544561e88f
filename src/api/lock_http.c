#include "api/request.h"
#include "block/lock.h"

/* {"resourceId","lockOwner","expiryInSeconds"?}: a protobuf message's JSON form, in which a number
 * may be text as well. */
CO static int read_request(struct request *r, struct lock_request *ret, struct error *err)
{
    struct json v;
    *ret = (struct lock_request){ .store = r->part[0] };
    int code = request_json(r, &v, err);
    if (code >= 0)
        code = request_text(r, v, S("resourceId"), S("resource_id"), &ret->resource, err);
    if (code >= 0)
        code = request_text(r, v, S("lockOwner"), S("lock_owner"), &ret->owner, err);
    if (code < 0)
        return code;
    struct json expiry = request_field(v, S("expiryInSeconds"), S("expiry_in_seconds"));
    str text;
    bool ok = expiry.type == JSON_NONE || json_i64(expiry, &ret->expiry_s) ||
              (json_string(r->a, expiry, &text) >= 0 && str_to_i64(text, &ret->expiry_s));
    if (!ok || ret->expiry_s > INT32_MAX || ret->expiry_s < INT32_MIN)
        return fail(err, INVALID, "ERR_MALFORMED_REQUEST",
                    "failed deserializing HTTP body: expiryInSeconds must be a whole number of at "
                    "most 2147483647");
    return 0;
}

CO void lock_route(struct request *r)
{
    struct error err = { 0 };
    struct lock_request q;
    bool locked = false;
    int code = read_request(r, &q, &err);
    if (code >= 0)
        code = block_lock_try(r->b, &q, r->a, &locked, &err);
    if (code < 0)
        reply_error(r->x, &err);
    else
        reply_json(r, 200, locked ? S("{\"success\":true}") : S("{\"success\":false}"));
}

CO void unlock_route(struct request *r)
{
    struct error err = { 0 };
    struct lock_request q;
    enum unlock_status status = UNLOCK_INTERNAL_ERROR;
    int code = read_request(r, &q, &err);
    if (code >= 0)
        code = block_lock_unlock(r->b, &q, r->a, &status, &err);
    if (code < 0) {
        reply_error(r->x, &err);
        return;
    }
    str text = arena_printf(r->a, "{\"status\":%d}", (int)status); /* a number: surprise 18 */
    if (text.p)
        reply_json(r, 200, text);
    else
        reply_error(r->x, &err);
}
