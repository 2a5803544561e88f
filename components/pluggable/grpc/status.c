#include "status.h"

#include "wire.h"

#include <stdio.h>

enum { DETAILS_MAX = 1 << 20 };

static bool is_type(const Google__Protobuf__Any *any, const char *name)
{
    return str_ends(str_c(any->type_url), str_c(name));
}

static str entry_of(wire_entry *const *e, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(str_c(e[i]->key), str_c(key)))
            return str_c(e[i]->value);
    return S("");
}

static void keep(char to[48], str s)
{
    snprintf(to, 48, STR_FMT, STR_ARG(s));
}

/* "kit_error" is "true", and "http_code" a number: then it is one. */
static bool own_error(const WIRE(ErrorInfo) * info, const struct grpc_status *s, struct error *err)
{
    int64_t http;
    if (!str_eq(entry_of(info->metadata, info->n_metadata, "kit_error"), S("true")) ||
        !str_to_i64(entry_of(info->metadata, info->n_metadata, "http_code"), &http))
        return false;
    static const char START[] = "api error: code = %s desc = ";
    char start[64];
    int n = snprintf(start, sizeof start, START, code_go_name(s->code));
    fail(err, s->code, NULL, "%s" STR_FMT, start, STR_ARG(s->message));
    err->own = true;
    err->own_at = (uint16_t)n;
    /* Any number may come (surprise 19); what HTTP has no place for is 500. */
    err->http = http >= 200 && http <= 999 ? (int)http : 500;
    keep(err->own_tag, entry_of(info->metadata, info->n_metadata, "tag"));
    keep(err->own_reason, str_c(info->reason));
    keep(err->own_domain, str_c(info->domain));
    return true;
}

/* The description of the violation on "etag"; .p NULL: there is none. */
static str etag_violation(const WIRE(BadRequest) * bad)
{
    for (size_t i = 0; i < bad->n_field_violations; i++)
        if (str_eq(str_c(bad->field_violations[i]->field), S("etag")))
            return str_c(bad->field_violations[i]->description);
    return (str){ 0 };
}

struct findings {
    bool own;
    str etag;
};

static struct findings look(const struct grpc_status *s, struct arena *a, struct error *err)
{
    struct findings f = { 0 };
    WIRE(RpcStatus) * status;
    if (!s->details.n || wire_unpack(s->details, WIRE_TYPE(rpc_status), a, &status) < 0)
        return f;
    for (size_t i = 0; i < status->n_details && !f.own; i++) {
        const Google__Protobuf__Any *any = status->details[i];
        WIRE(ErrorInfo) * info;
        WIRE(BadRequest) * bad;
        if (is_type(any, "google.rpc.ErrorInfo") &&
            wire_unpack(wire_slice(any->value), WIRE_TYPE(error_info), a, &info) >= 0)
            f.own = own_error(info, s, err);
        else if (is_type(any, "google.rpc.BadRequest") &&
                 wire_unpack(wire_slice(any->value), WIRE_TYPE(bad_request), a, &bad) >= 0)
            f.etag = etag_violation(bad);
    }
    return f;
}

int plugin_status(const struct grpc_status *s, bool etags, struct error *err)
{
    PRE(s->code != OK);
    struct arena a;
    arena_init(&a, DETAILS_MAX);
    struct error local = { 0 };
    struct findings f = look(s, &a, &local);
    str what = f.etag.n ? f.etag : s->message;
    if (f.own)
        ;
    else if (etags && s->code == PRECONDITION)
        fail(&local, ABORTED, NULL, "possible etag mismatch. error from state store: " STR_FMT,
             STR_ARG(what));
    else if (etags && s->code == INVALID && f.etag.p)
        fail(&local, INVALID, NULL, "invalid etag value: " STR_FMT, STR_ARG(what));
    else
        fail(&local, etags && (s->code == INVALID || s->code == ABORTED) ? UNKNOWN : s->code, NULL,
             "rpc error: code = %s desc = " STR_FMT, code_go_name(s->code), STR_ARG(s->message));
    arena_done(&a);
    if (err && !err->code)
        *err = local;
    return -(int)local.code;
}
