/* Zipkin's v2 API, https://zipkin.io/zipkin-api/, with the mapping that OpenTelemetry describes. */
#include "base/id.h"
#include "format/json.h"
#include "telemetry/encode.h"

static void put_id(struct json_w *w, str key, const uint8_t *id, size_t n)
{
    char hex[32];
    id_hex(id, n, hex);
    json_w_kv(w, key, str_of(hex, 2 * n));
}

static void put_tags(struct json_w *w, const struct trace_resource *r, const struct span_block *b)
{
    json_w_key(w, S("tags"));
    json_w_object(w);
    for (size_t i = 0; i < b->n_attrs; i++)
        json_w_kv(w, span_text(b, b->key[i]), span_text(b, b->value[i]));
    for (size_t i = 0; i < r->n; i++)
        json_w_kv(w, r->attribute[i].key, r->attribute[i].value);
    json_w_kv(w, S("otel.scope.name"), S("proa"));
    if (b->status != SPAN_UNSET)
        json_w_kv(w, S("otel.status_code"), b->status == SPAN_OK ? S("OK") : S("ERROR"));
    if (b->status == SPAN_ERROR)
        json_w_kv(w, S("error"), b->why.n ? span_text(b, b->why) : S("true"));
    json_w_object_end(w);
}

static void put_span(struct json_w *w, const struct trace_resource *r, const struct span_block *b)
{
    static const char *const kind[] = { [SPAN_SERVER] = "SERVER",
                                        [SPAN_CLIENT] = "CLIENT",
                                        [SPAN_PRODUCER] = "PRODUCER",
                                        [SPAN_CONSUMER] = "CONSUMER" };
    uint64_t took = (b->end_ns - b->start_ns) / 1000;
    json_w_object(w);
    put_id(w, S("traceId"), b->trace_id, sizeof b->trace_id);
    put_id(w, S("id"), b->id, sizeof b->id);
    if (b->has_parent)
        put_id(w, S("parentId"), b->parent, sizeof b->parent);
    json_w_kv(w, S("name"), span_text(b, b->name));
    if (kind[b->kind])
        json_w_kv(w, S("kind"), str_c(kind[b->kind]));
    json_w_key(w, S("timestamp"));
    json_w_u64(w, b->start_ns / 1000);
    json_w_key(w, S("duration"));
    json_w_u64(w, took ? took : 1); /* Zipkin takes 0 for unknown */
    json_w_key(w, S("localEndpoint"));
    json_w_object(w);
    json_w_kv(w, S("serviceName"), r->service);
    json_w_object_end(w);
    put_tags(w, r, b);
    json_w_object_end(w);
}

void encode_zipkin(struct buf *out, const struct trace_resource *r, const struct span_block *spans)
{
    struct json_w w;
    json_w_init(&w, out, 0);
    json_w_array(&w);
    for (const struct span_block *b = spans; b; b = b->next)
        put_span(&w, r, b);
    json_w_array_end(&w);
}
