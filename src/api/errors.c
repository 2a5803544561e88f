#include "api/errors.h"

#include "block/app/context.h"
#include "block/core/headers.h"
#include "format/json.h"
#include "telemetry/metrics.h"

#include <stdatomic.h>
#include <stdio.h>

/* Where the contract wants another status than the code's own. code OK = whatever the code. */
static const struct row {
    const char *tag;
    enum code code;
    int http;
} table[] = {
    { "ERR_PUBSUB_NOT_FOUND", OK, 404 },
    { "ERR_PUBSUB_EMPTY", OK, 404 },
    { "ERR_TOPIC_NAME_EMPTY", OK, 404 },
    { "ERR_PUBSUB_NOT_CONFIGURED", OK, 400 },
    { "ERR_PUBSUB_CLOUD_EVENTS_SER", OK, 500 },
    { "ERR_STATE_STORE_NOT_CONFIGURED", OK, 500 },
    { "ERR_STATE_STORE_NOT_SUPPORTED", OK, 500 },
    { "ERR_SECRET_STORES_NOT_CONFIGURED", OK, 500 },
    { "ERR_SECRET_STORE_NOT_FOUND", OK, 401 },
    { "ERR_INVOKE_OUTPUT_BINDING", OK, 500 },
    { "ERR_CONFIGURATION_STORE_NOT_CONFIGURED", OK, 500 },
    { "ERR_CONFIGURATION_SUBSCRIBE", OK, 500 },
    { "ERR_LOCK_STORE_NOT_CONFIGURED", OK, 500 },
    { "ERR_DIRECT_INVOKE", NOT_FOUND, 404 },
    { "ERR_DIRECT_INVOKE", DENIED, 403 },
    { "ERR_DIRECT_INVOKE", OK, 500 },
};

int error_http_status(const struct error *err)
{
    if (err->http)
        return err->http;
    for (size_t i = 0; err->tag && i < COUNT(table); i++)
        if (str_eq(str_c(table[i].tag), str_c(err->tag)) &&
            (table[i].code == OK || table[i].code == err->code))
            return table[i].http;
    return code_http_status(err->code);
}

/* ---- dapr_error_code_total ---- */

static atomic_bool counting;
static struct metric_family error_total = {
    .name = "dapr_error_code_total",
    .help = "Errors that the API answered with.",
    .label = { "error_code", "category" },
};

/* By the first words of the code; longer ones first. */
static str category_of(str code)
{
    static const struct {
        str starts, category;
    } row[] = {
        { S("ERR_STATE_"), S("state") },
        { S("ERR_NOT_SUPPORTED_STATE"), S("state") },
        { S("ERR_PUBSUB_"), S("pubsub") },
        { S("ERR_TOPIC_"), S("pubsub") },
        { S("ERR_PUBLISH_"), S("pubsub") },
        { S("ERR_SECRET"), S("secret") },
        { S("ERR_PERMISSION_DENIED"), S("secret") },
        { S("ERR_DIRECT_INVOKE"), S("service-invocation") },
        { S("ERR_INVOKE_OUTPUT_BINDING"), S("binding") },
        { S("ERR_CONFIGURATION_"), S("configuration") },
        { S("ERR_CRYPTO"), S("crypto") },
        { S("ERR_LOCK_"), S("lock") },
        { S("ERR_TRY_LOCK"), S("lock") },
        { S("ERR_UNLOCK"), S("lock") },
        { S("ERR_HEALTH_"), S("health") },
        { S("ERR_OUTBOUND_HEALTH_"), S("health") },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        if (str_starts(code, row[i].starts))
            return row[i].category;
    return S("common");
}

void error_counting(bool on)
{
    atomic_store(&counting, on);
}

static str code_of(const struct error *err)
{
    if (!err->tag && err->own_tag[0])
        return str_c(err->own_tag);
    return str_c(err->tag ? err->tag : err->reason ? err->reason : "ERR_INTERNAL");
}

void error_count(const struct error *err)
{
    if (!atomic_load_explicit(&counting, memory_order_relaxed))
        return;
    str code = code_of(err), label[] = { code, category_of(code) };
    metric_add(metric_cell(&error_total, label), 1);
}

/* ---- the body ---- */

static void detail(struct json_w *w, const char *type)
{
    char url[64];
    int n = snprintf(url, sizeof url, "type.googleapis.com/google.rpc.%s", type);
    json_w_object(w);
    json_w_kv(w, S("@type"), str_of(url, (size_t)n));
}

static void resource_info(struct json_w *w, const struct error *err)
{
    detail(w, "ResourceInfo");
    json_w_kv(w, S("resource_type"), str_c(err->resource_type));
    json_w_kv(w, S("resource_name"), str_c(err->resource));
    json_w_kv(w, S("owner"), S(""));
    json_w_kv(w, S("description"), str_c(error_resource_text(err)));
    json_w_object_end(w);
}

static void help(struct json_w *w, const struct error *err)
{
    detail(w, "Help");
    json_w_key(w, S("links"));
    json_w_array(w);
    json_w_object(w);
    json_w_kv(w, S("description"), str_c(err->help_text));
    json_w_kv(w, S("url"), str_c(err->help_url));
    json_w_object_end(w);
    json_w_array_end(w);
    json_w_object_end(w);
}

static void bad_request(struct json_w *w, const struct error *err)
{
    detail(w, "BadRequest");
    json_w_key(w, S("field_violations"));
    json_w_array(w);
    json_w_object(w);
    json_w_kv(w, S("field"), str_c(err->violation));
    json_w_kv(w, S("description"), str_c(err->text));
    json_w_object_end(w);
    json_w_array_end(w);
    json_w_object_end(w);
}

static void error_info(struct json_w *w, const struct error *err)
{
    detail(w, "ErrorInfo");
    json_w_kv(w, S("reason"), str_c(err->own ? err->own_reason : err->reason));
    json_w_kv(w, S("domain"), err->own ? str_c(err->own_domain) : S("dapr.io"));
    json_w_key(w, S("metadata"));
    if (!err->meta_key[0])
        json_w_null(w);
    else {
        json_w_object(w);
        for (size_t i = 0; i < COUNT(err->meta_key) && err->meta_key[i]; i++)
            json_w_kv(w, str_c(err->meta_key[i]), str_c(err->meta[i]));
        json_w_object_end(w);
    }
    json_w_object_end(w);
}

bool error_has(const struct error *err, enum error_detail d)
{
    switch (d) {
    case ERROR_HELP:
        return err->reason && err->help_url;
    case ERROR_BAD_REQUEST:
        return err->reason && err->violation[0];
    case ERROR_RESOURCE_INFO:
        return err->reason && err->resource_type[0];
    default:
        return err->own || err->reason;
    }
}

const char *error_resource_text(const struct error *err)
{
    return str_eq(str_c(err->resource_type), S("pubsub")) ? err->text : "";
}

static void details(struct json_w *w, const struct error *err)
{
    typedef void detail_fn(struct json_w *, const struct error *);
    static detail_fn *const write[] = {
        [ERROR_HELP] = help,
        [ERROR_BAD_REQUEST] = bad_request,
        [ERROR_RESOURCE_INFO] = resource_info,
        [ERROR_INFO] = error_info,
    };
    json_w_key(w, S("details"));
    json_w_array(w);
    for (enum error_detail d = 0; d < ERROR_DETAILS; d++)
        if (error_has(err, d))
            write[d](w, err);
    json_w_array_end(w);
}

void error_http_body(const struct error *err, struct buf *out)
{
    struct json_w w;
    json_w_init(&w, out, JSON_W_HTML);
    json_w_object(&w);
    json_w_kv(&w, S("errorCode"), code_of(err));
    bool as_it_is = err->own && !err->tag; /* otherwise flat: facts 4.5 */
    json_w_kv(&w, S("message"), str_c(err->text + (as_it_is ? err->own_at : 0)));
    if (as_it_is || (err->reason && !err->own))
        details(&w, err);
    json_w_object_end(&w);
}

int error_headers(const struct error *err, struct http_headers *h)
{
    if (!err->shed)
        return 0;
    int r = http_headers_set(h, S(SHED_HEADER), str_c(err->shed));
    if (r < 0 || !err->retry_after_s)
        return r;
    str seconds = arena_printf(h->arena, "%u", err->retry_after_s);
    return seconds.p ? http_headers_set(h, S("retry-after"), seconds) : -EXHAUSTED;
}

CO void reply_error(struct http_exchange *x, const struct error *err)
{
    if (x->started) {
        http_reply_abort(x);
        return;
    }
    static const struct error memory = { .code = EXHAUSTED,
                                         .text = "the request is too large for its memory" };
    err = err->code ? err : &memory; /* helpers that fail without a story ran out of memory */
    AUTO(buf_done) struct buf body;
    buf_init(&body, KIB(64));
    error_http_body(err, &body);
    error_count(err);
    struct http_headers h;
    http_headers_init(&h, x->arena);
    (void)http_headers_add(&h, S("Content-Type"), S("application/json"));
    (void)error_headers(err, &h);
    (void)http_reply(x, error_http_status(err), &h, buf_str(&body)); /* the caller may have left */
}
