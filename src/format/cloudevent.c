#include "format/cloudevent.h"

#include "format/json_chars.h"
#include "format/json_string.h"

#include "base/clock.h"
#include "base/id.h"

/* ---- content types ---- */

static bool is_type(str content_type, str want)
{
    str head, parameters;
    (void)str_cut(content_type, ';', &head, &parameters);
    return str_ieq(str_trim(head), want);
}

bool cloudevent_type_is_json(str content_type)
{
    return is_type(content_type, S("application/json"));
}

bool cloudevent_type_is_event(str content_type)
{
    return is_type(content_type, S("application/cloudevents+json"));
}

bool cloudevent_type_is_binary(str content_type)
{
    return is_type(content_type, S("application/octet-stream")) ||
           is_type(content_type, S("application/cloudevents+protobuf"));
}

bool cloudevent_type_is_text(str content_type)
{
    return str_istarts(content_type, S("text/")) || is_type(content_type, S("application/xml"));
}

/* ---- a protobuf CloudEvent: io.cloudevents.v1 has id, source, spec_version, type in 1 … 4 ---- */

static bool take_varint(str *s, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 10 && i < s->n; i++) {
        unsigned char byte = (unsigned char)s->p[i];
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *s = str_skip(*s, i + 1);
            *ret = v;
            return true;
        }
    }
    return false;
}

static bool take_wire_value(str *s, unsigned wire_type, size_t *ret_len)
{
    uint64_t v = wire_type == 1 ? 8 : 4;
    *ret_len = 1;
    if (wire_type == 0)
        return take_varint(s, &v);
    if (wire_type == 2) {
        if (!take_varint(s, &v))
            return false;
        *ret_len = (size_t)v;
    } else if (wire_type != 1 && wire_type != 5) {
        return false;
    }
    if (v > s->n)
        return false;
    *s = str_skip(*s, (size_t)v);
    return true;
}

static bool is_protobuf_event(str data)
{
    unsigned seen = 0;
    while (data.n) {
        uint64_t key;
        size_t len;
        if (!take_varint(&data, &key) || !(key >> 3) ||
            !take_wire_value(&data, (unsigned)(key & 7), &len))
            return false;
        if ((key & 7) == 2 && len && key >> 3 <= 4)
            seen |= 1u << (key >> 3);
    }
    return seen == (1u << 1 | 1u << 2 | 1u << 3 | 1u << 4);
}

/* ---- the envelope as a sorted list of members ---- */

enum form { FORM_STRING, FORM_RAW, FORM_BASE64 };

struct member {
    str key, value;
    enum form form;
};

struct envelope {
    struct member member[CLOUDEVENT_EXTRA_MAX + 16];
    size_t n;
};

/* Index of key, or where it would have to go. */
static size_t find_place(const struct envelope *e, str key, bool *ret_found)
{
    size_t low = 0, high = e->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = str_cmp(e->member[mid].key, key);
        if (!order) {
            *ret_found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_found = false;
    return low;
}

/* Adds or replaces. */
static int set(struct envelope *e, str key, enum form form, str value)
{
    bool found;
    size_t at = find_place(e, key, &found);
    if (!found && e->n == COUNT(e->member))
        return -EXHAUSTED;
    if (!found) {
        memmove(&e->member[at + 1], &e->member[at], (e->n - at) * sizeof e->member[0]);
        e->n++;
    }
    e->member[at] = (struct member){ key, value, form };
    return 0;
}

static bool has(const struct envelope *e, str key) /* and not null */
{
    bool found;
    size_t at = find_place(e, key, &found);
    return found && !(e->member[at].form == FORM_RAW && str_eq(e->member[at].value, S("null")));
}

static void put_member(struct json_w *w, const struct member *m)
{
    json_w_key(w, m->key);
    if (m->form == FORM_RAW)
        json_w_raw(w, m->value);
    else if (m->form == FORM_BASE64)
        json_w_base64(w, m->value);
    else
        json_w_str(w, m->value);
}

static int put_envelope(const struct envelope *e, struct buf *out)
{
    struct json_w w;
    json_w_init(&w, out, JSON_W_HTML);
    json_w_object(&w);
    for (size_t i = 0; i < e->n; i++)
        put_member(&w, &e->member[i]);
    json_w_object_end(&w);
    return buf_ok(out) ? 0 : -EXHAUSTED;
}

/* ---- building ---- */

static void append(struct envelope *e, str key, enum form form, str value)
{
    e->member[e->n++] = (struct member){ key, value, form };
}

static void append_data(struct envelope *e, str content_type, str data)
{
    struct json v;
    if (cloudevent_type_is_json(content_type) && !json_parse(data, &v, NULL))
        append(e, S("data"), FORM_RAW, v.raw);
    else if (cloudevent_type_is_binary(content_type) ||
             (is_type(content_type, S("application/x-protobuf")) && is_protobuf_event(data)))
        append(e, S("data_base64"), FORM_BASE64, data);
    else
        append(e, S("data"), FORM_STRING, data);
}

static str either(str s, str def)
{
    return s.n ? s : def;
}

static bool is_attribute(str key);

int cloudevent_build(const struct cloudevent_fields *f, struct buf *out)
{
    struct envelope e;
    e.n = 0; /* the members are set as they are appended: clearing 7 KiB would cost a quarter */
    str content_type = either(f->datacontenttype, S("text/plain"));
    const struct {
        str key, value;
        bool keep_empty;
    } row[] = {
        { S("datacontenttype"), content_type, true },
        { S("expiration"), f->expiration, false },
        { S("id"), f->id, true },
        { S("pubsubname"), f->pubsubname, true },
        { S("source"), either(f->source, S("Dapr")), true },
        { S("specversion"), either(f->specversion, S("1.0")), true },
        { S("subject"), f->subject, false },
        { S("time"), f->time, !f->sparse },
        { S("topic"), f->topic, true },
        { S("traceid"), f->traceid, !f->sparse },
        { S("traceparent"), f->traceparent, !f->sparse },
        { S("tracestate"), f->tracestate, !f->sparse },
        { S("type"), either(f->type, S("com.dapr.event.sent")), true },
    };
    append_data(&e, content_type, f->data); /* "data" sorts before all of them */
    for (size_t i = 0; i < COUNT(row); i++)
        if (row[i].value.n || row[i].keep_empty)
            append(&e, row[i].key, FORM_STRING, row[i].value);
    for (size_t i = 0; i < f->n_extra; i++)
        if (!is_attribute(f->extra[i].key) &&
            set(&e, f->extra[i].key, FORM_STRING, f->extra[i].value))
            return -EXHAUSTED;
    return put_envelope(&e, out);
}

/* ---- wrapping what is an event already ---- */

static int parse_object(str text, struct json *ret, struct error *err)
{
    struct json v;
    struct json_error where;
    if (json_parse(text, &v, &where))
        return fail(err, INVALID, NULL, "%s", where.text);
    if (v.type != JSON_OBJECT)
        return fail(err, INVALID, NULL,
                    "json: cannot unmarshal %s into Go value of type map[string]interface {}",
                    json_type_name(v.type));
    *ret = v;
    return 0;
}

static int collect(struct json object, struct arena *a, struct envelope *e)
{
    struct json key, value;
    for (struct json_iter it = json_iter(object); json_next(&it, &key, &value);) {
        str name;
        if (json_string(a, key, &name) || set(e, name, FORM_RAW, value.raw))
            return -EXHAUSTED;
    }
    return 0;
}

static int set_missing(struct envelope *e, str key, str value)
{
    return has(e, key) ? 0 : set(e, key, FORM_STRING, value);
}

static int overlay(struct envelope *e, const struct cloudevent_fields *f)
{
    bool traced = has(e, S("traceid"));
    int r = set(e, S("topic"), FORM_STRING, f->topic);
    r = r ? r : set(e, S("pubsubname"), FORM_STRING, f->pubsubname);
    r = r ? r : set_missing(e, S("source"), S("Dapr"));
    r = r ? r : set_missing(e, S("type"), S("com.dapr.event.sent"));
    r = r ? r : set_missing(e, S("specversion"), S("1.0"));
    r = r ? r : set_missing(e, S("tracestate"), f->tracestate);
    if (!r && f->id.n)
        r = set_missing(e, S("id"), f->id);
    if (!r && f->time.n)
        r = set_missing(e, S("time"), f->time);
    if (!r && !traced) {
        r = set(e, S("traceid"), FORM_STRING, f->traceid);
        r = r ? r : set(e, S("traceparent"), FORM_STRING, f->traceparent);
    }
    if (!r && f->expiration.n)
        r = set(e, S("expiration"), FORM_STRING, f->expiration);
    return r;
}

int cloudevent_wrap(str body, const struct cloudevent_fields *f, struct arena *a, struct buf *out,
                    struct error *err)
{
    struct envelope e;
    e.n = 0;
    struct json root;
    int r = parse_object(body, &root, err);
    if (r)
        return r;
    r = collect(root, a, &e);
    if (!r)
        r = overlay(&e, f);
    if (!r)
        r = put_envelope(&e, out);
    return !r ? 0
              : fail(err, EXHAUSTED, NULL,
                     "the CloudEvent is too large, or has more than %d attributes: send less",
                     CLOUDEVENT_EXTRA_MAX);
}

/* ---- reading ---- */

enum field_kind { FIELD_TEXT, FIELD_JSON };

static const struct field {
    str name;
    size_t off;
    enum field_kind kind;
    bool extension; /* goes to a gRPC app among the extensions */
} fields[] = {
#define TEXT(field, extension)                                                                     \
    {                                                                                              \
        S(#field), offsetof(struct cloudevent, field), FIELD_TEXT, extension                       \
    }
    { S("data"), offsetof(struct cloudevent, data), FIELD_JSON, false },
    { S("data_base64"), offsetof(struct cloudevent, data_base64), FIELD_JSON, false },
    TEXT(datacontenttype, false),
    TEXT(expiration, true),
    TEXT(id, false),
    TEXT(pubsubname, true),
    TEXT(source, false),
    TEXT(specversion, false),
    TEXT(subject, true),
    TEXT(time, true),
    TEXT(topic, true),
    TEXT(traceid, true),
    TEXT(traceparent, true),
    TEXT(tracestate, true),
    TEXT(type, false),
#undef TEXT
};

static bool is_attribute(str key)
{
    for (size_t i = 0; i < COUNT(fields); i++)
        if (str_eq(fields[i].name, key))
            return true;
    return false;
}

static const struct field *find_field(struct json key)
{
    bool escaped = json_is_escaped(key); /* hardly ever: then the slow way */
    str name = json_inner(key);
    for (size_t i = 0; i < COUNT(fields); i++)
        if (escaped ? json_eq_str(key, fields[i].name) : str_eq(name, fields[i].name))
            return &fields[i];
    return NULL;
}

bool cloudevent_is_extension(struct json key)
{
    const struct field *f = find_field(key);
    return !f || f->extension;
}

int cloudevent_read(str message, struct arena *a, struct cloudevent *ret, struct error *err)
{
    struct cloudevent ce = { .root = { .type = JSON_NONE } };
    int r = parse_object(message, &ce.root, err);
    if (r)
        return r;
    struct json key, value;
    for (struct json_iter it = json_iter(ce.root); json_next(&it, &key, &value);) {
        const struct field *f = find_field(key);
        if (!f)
            continue;
        if (f->kind == FIELD_JSON) {
            *(struct json *)((char *)&ce + f->off) = value;
            continue;
        }
        str text = S(""); /* what isn't a string counts as absent */
        if (value.type == JSON_STRING && json_string(a, value, &text))
            return fail(err, EXHAUSTED, NULL, "the CloudEvent is too large: send less");
        *(str *)((char *)&ce + f->off) = text;
    }
    *ret = ce;
    return 0;
}

static int decode_base64(struct json v, struct arena *a, str *ret)
{
    str text;
    int r = json_string(a, v, &text);
    if (r)
        return r;
    size_t n;
    char *bytes = arena_alloc(a, text.n / 4 * 3 + 1);
    if (!bytes)
        return -EXHAUSTED;
    if (!base64_decode(text, bytes, &n))
        return -INVALID;
    *ret = str_of(bytes, n);
    return 0;
}

int cloudevent_data(const struct cloudevent *ce, struct arena *a, str *ret)
{
    if (!json_is_null(ce->data_base64))
        return decode_base64(ce->data_base64, a, ret);
    if (!json_is_null(ce->data) && cloudevent_type_is_text(ce->datacontenttype))
        return json_string(a, ce->data, ret);
    bool json = cloudevent_type_is_json(ce->datacontenttype) ||
                cloudevent_type_is_event(ce->datacontenttype);
    *ret = json && !json_is_null(ce->data) ? ce->data.raw : S("");
    return 0;
}

bool cloudevent_expired(const struct cloudevent *ce, uint64_t now_wall_ns)
{
    uint64_t at;
    return clock_parse_rfc3339(ce->expiration, &at) && at < now_wall_ns;
}
