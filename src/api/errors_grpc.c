#include "api/errors.h"
#include "api/grpc_call.h"

#include "entry.pb-c.h"
#include "status.pb-c.h"

typedef Google__Protobuf__Any any;

enum { DETAILS_MAX = 4 };

/* A detail, packed: its type's URL is its name in google.rpc. */
static any *wrap(struct arena *a, const ProtobufCMessage *m)
{
    str bytes, part[] = { S("type.googleapis.com/"), str_c(m->descriptor->name) };
    any *w = pb_new(a, &google__protobuf__any__descriptor);
    if (!w || pb_encode(a, m, &bytes) < 0 || !(w->type_url = (char *)arena_join(a, part, 2).p))
        return NULL;
    w->value = pb_data(bytes);
    return w;
}

static any *help(struct arena *a, const struct error *err)
{
    Google__Rpc__Help h = GOOGLE__RPC__HELP__INIT;
    Google__Rpc__Help__Link link = GOOGLE__RPC__HELP__LINK__INIT, *links[] = { &link };
    link.description = (char *)err->help_text;
    link.url = (char *)err->help_url;
    h.links = links;
    h.n_links = 1;
    return wrap(a, &h.base);
}

static any *bad_request(struct arena *a, const struct error *err)
{
    typedef Google__Rpc__BadRequest__FieldViolation violation;
    Google__Rpc__BadRequest b = GOOGLE__RPC__BAD_REQUEST__INIT;
    violation v = GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT, *list[] = { &v };
    v.field = (char *)err->violation;
    v.description = (char *)err->text;
    b.field_violations = list;
    b.n_field_violations = 1;
    return wrap(a, &b.base);
}

static any *resource_info(struct arena *a, const struct error *err)
{
    Google__Rpc__ResourceInfo r = GOOGLE__RPC__RESOURCE_INFO__INIT;
    r.resource_type = (char *)err->resource_type;
    r.resource_name = (char *)err->resource;
    r.description = (char *)error_resource_text(err);
    return wrap(a, &r.base);
}

static any *error_info(struct arena *a, const struct error *err)
{
    Google__Rpc__ErrorInfo e = GOOGLE__RPC__ERROR_INFO__INIT;
    Dapr__Proto__Runtime__V1__StringEntry entry[2], *list[] = { &entry[0], &entry[1] };
    e.reason = (char *)(err->own ? err->own_reason : err->reason);
    e.domain = (char *)(err->own ? err->own_domain : "dapr.io");
    e.metadata = list;
    for (; e.n_metadata < COUNT(entry) && err->meta_key[e.n_metadata]; e.n_metadata++) {
        dapr__proto__runtime__v1__string_entry__init(&entry[e.n_metadata]);
        entry[e.n_metadata].key = (char *)err->meta_key[e.n_metadata];
        entry[e.n_metadata].value = (char *)err->meta[e.n_metadata];
    }
    return wrap(a, &e.base);
}

int error_grpc_details(const struct error *err, struct arena *a, str *ret)
{
    typedef any *detail_fn(struct arena *, const struct error *);
    static detail_fn *const write[] = {
        [ERROR_HELP] = help,
        [ERROR_BAD_REQUEST] = bad_request,
        [ERROR_RESOURCE_INFO] = resource_info,
        [ERROR_INFO] = error_info,
    };
    any *list[DETAILS_MAX];
    Google__Rpc__Status s = GOOGLE__RPC__STATUS__INIT;
    *ret = S("");
    for (enum error_detail d = 0; d < ERROR_DETAILS; d++)
        if (error_has(err, d) && !(list[s.n_details++] = write[d](a, err)))
            return -EXHAUSTED;
    if (!s.n_details)
        return 0;
    s.code = (int)err->code;
    s.message = (char *)err->text + err->own_at; /* facts 4.5 */
    s.details = list;
    return pb_encode(a, &s.base, ret);
}
