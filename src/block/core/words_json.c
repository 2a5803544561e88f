/* google.rpc.Status as JSON, by the rules of protobuf's JSON mapping: what an HTTP caller gets as
 * the body when the gRPC app that it called has failed. Details of google.rpc are spelt out; of any
 * other type the bytes are given, since its fields can't be known. */
#include "block/core/words.h"

#include "block/core/proto.h"
#include "format/json.h"
#include "internals.pb-c.h"

enum field_kind { TEXT, TEXTS, PAIRS, MESSAGES, SECONDS };

struct message;

struct field {
    unsigned number;
    const char *name;
    enum field_kind kind;
    const struct message *of; /* MESSAGES */
};

struct message {
    const char *name;
    struct field field[4]; /* ends at number 0 */
};

static const struct message violation = { "",
                                          { { 1, "field", TEXT }, { 2, "description", TEXT } } };
static const struct message quota = { "", { { 1, "subject", TEXT }, { 2, "description", TEXT } } };
static const struct message condition = {
    "", { { 1, "type", TEXT }, { 2, "subject", TEXT }, { 3, "description", TEXT } }
};
static const struct message help_link = { "", { { 1, "description", TEXT }, { 2, "url", TEXT } } };

static const struct message messages[] = {
    { "ErrorInfo", { { 1, "reason", TEXT }, { 2, "domain", TEXT }, { 3, "metadata", PAIRS } } },
    { "ResourceInfo",
      { { 1, "resourceType", TEXT },
        { 2, "resourceName", TEXT },
        { 3, "owner", TEXT },
        { 4, "description", TEXT } } },
    { "BadRequest", { { 1, "fieldViolations", MESSAGES, &violation } } },
    { "QuotaFailure", { { 1, "violations", MESSAGES, &quota } } },
    { "PreconditionFailure", { { 1, "violations", MESSAGES, &condition } } },
    { "Help", { { 1, "links", MESSAGES, &help_link } } },
    { "DebugInfo", { { 1, "stackEntries", TEXTS }, { 2, "detail", TEXT } } },
    { "RequestInfo", { { 1, "requestId", TEXT }, { 2, "servingData", TEXT } } },
    { "LocalizedMessage", { { 1, "locale", TEXT }, { 2, "message", TEXT } } },
    { "RetryInfo", { { 1, "retryDelay", SECONDS } } },
};

/* ---- the wire format, as much as these messages need ---- */

static bool read_varint(str *in, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && in->n; shift += 7) {
        unsigned char c = (unsigned char)in->p[0];
        *in = str_skip(*in, 1);
        v |= (uint64_t)(c & 127) << shift;
        if (c < 128) {
            *ret = v;
            return true;
        }
    }
    return false;
}

/* The next field; ret_data: of a length-delimited one. false: the end, or nonsense. */
static bool next(str *in, unsigned *ret_number, str *ret_data, uint64_t *ret_value)
{
    uint64_t key, n;
    *ret_data = (str){ 0 };
    *ret_value = 0;
    if (!in->n || !read_varint(in, &key))
        return false;
    *ret_number = (unsigned)min_u64(key >> 3, UINT32_MAX);
    switch (key & 7) {
    case 0:
        return read_varint(in, ret_value);
    case 2:
        if (!read_varint(in, &n) || n > in->n)
            return false;
        *ret_data = str_take(*in, (size_t)n);
        *in = str_skip(*in, (size_t)n);
        return true;
    case 1:
    case 5:
        n = (key & 7) == 1 ? 8 : 4;
        if (n > in->n)
            return false;
        *in = str_skip(*in, (size_t)n);
        return true;
    default:
        return false;
    }
}

/* ---- writing ---- */

static void write_fields(struct json_w *w, const struct message *type, str bytes);

static void write_pair(struct json_w *w, str entry)
{
    str key = S(""), value = S(""), data;
    unsigned number;
    uint64_t v;
    while (next(&entry, &number, &data, &v))
        if (number == 1)
            key = data;
        else if (number == 2)
            value = data;
    json_w_kv(w, key, value);
}

static void write_duration(struct json_w *w, str bytes)
{
    uint64_t seconds = 0, nanos = 0, v;
    unsigned number;
    str data;
    while (next(&bytes, &number, &data, &v))
        if (number == 1)
            seconds = v;
        else if (number == 2)
            nanos = v;
    AUTO(buf_done) struct buf text;
    buf_init(&text, 64);
    buf_printf(&text, "%lld", (long long)seconds);
    if (nanos)
        buf_printf(&text, ".%09lld", (long long)(nanos % 1000000000));
    buf_putc(&text, 's');
    json_w_str(w, buf_str(&text));
}

/* Every occurrence of a repeated field. */
static void write_all(struct json_w *w, const struct field *f, str bytes)
{
    unsigned number;
    uint64_t v;
    str data;
    while (next(&bytes, &number, &data, &v)) {
        if (number != f->number || !data.p)
            continue;
        if (f->kind == TEXTS)
            json_w_str(w, data);
        else if (f->kind == PAIRS)
            write_pair(w, data);
        else {
            json_w_object(w);
            write_fields(w, f->of, data);
            json_w_object_end(w);
        }
    }
}

/* The last occurrence counts; .p NULL: absent. */
static str find(str bytes, unsigned wanted)
{
    str data, hit = { 0 };
    unsigned number;
    uint64_t v;
    while (next(&bytes, &number, &data, &v))
        if (number == wanted && data.p)
            hit = data;
    return hit;
}

static void write_fields(struct json_w *w, const struct message *type, str bytes)
{
    for (const struct field *f = type->field; f < type->field + 4 && f->number; f++) {
        str data = find(bytes, f->number);
        if (!data.p || (f->kind == TEXT && !data.n))
            continue;
        json_w_key(w, str_c(f->name));
        switch (f->kind) {
        case TEXT:
            json_w_str(w, data);
            break;
        case SECONDS:
            write_duration(w, data);
            break;
        case PAIRS:
            json_w_object(w);
            write_all(w, f, bytes);
            json_w_object_end(w);
            break;
        case TEXTS:
        case MESSAGES:
            json_w_array(w);
            write_all(w, f, bytes);
            json_w_array_end(w);
            break;
        }
    }
}

static void write_detail(struct json_w *w, const Google__Protobuf__Any *any)
{
    static const str GOOGLE = { "type.googleapis.com/google.rpc.", 31 };
    str url = str_c(any->type_url), bytes = proto_slice(any->value);
    json_w_object(w);
    json_w_kv(w, S("@type"), url);
    const struct message *type = NULL;
    for (size_t i = 0; i < COUNT(messages) && str_starts(url, GOOGLE); i++)
        if (str_eq(str_skip(url, GOOGLE.n), str_c(messages[i].name)))
            type = &messages[i];
    if (type)
        write_fields(w, type, bytes);
    else {
        json_w_key(w, S("value"));
        json_w_base64(w, bytes);
    }
    json_w_object_end(w);
}

int words_json(const struct words_status *status, struct arena *a, struct buf *out)
{
    const Dapr__Proto__Internals__V1__Status *m = NULL;
    if (status->details.n)
        m = proto_unpack(&dapr__proto__internals__v1__status__descriptor, status->details, a);
    struct json_w w;
    json_w_init(&w, out, 0);
    json_w_object(&w);
    if (status->code) {
        json_w_key(&w, S("code"));
        json_w_i64(&w, status->code);
    }
    if (status->message.n)
        json_w_kv(&w, S("message"), status->message);
    if (m && m->n_details) {
        json_w_key(&w, S("details"));
        json_w_array(&w);
        for (size_t i = 0; i < m->n_details; i++)
            write_detail(&w, m->details[i]);
        json_w_array_end(&w);
    }
    json_w_object_end(&w);
    return buf_ok(out) ? 0 : -EXHAUSTED;
}
