#include "components/pubsub/sqlite/row.h"

#include "components/common/sqlite/conn.h"
#include "format/json.h"

enum { META_MAX = 256 };

struct queue_row queue_row_head(sqlite3_stmt *s)
{
    return (struct queue_row){
        .id = sqlite3_column_int64(s, 0),
        .at = sqlite3_column_int64(s, 1),
        .due = sqlite3_column_int64(s, 2),
        .expires = sqlite3_column_int64(s, 3),
        .part = sqlite_column(s, 4),
    };
}

static int read_meta(str text, struct arena *a, struct kvs *ret, struct error *err)
{
    struct json v, key, value;
    struct json_error why;
    if (json_parse(text, &v, &why) < 0 || v.type != JSON_OBJECT)
        return fail(err, DATA_LOSS, NULL, "its column meta is not a JSON object");
    size_t n = json_count(v), at = 0;
    if (n > META_MAX)
        return fail(err, DATA_LOSS, NULL, "its column meta has more than %d members", META_MAX);
    struct kv *kv = arena_alloc(a, (n + 1) * sizeof *kv);
    struct json_iter it = json_iter(v);
    while (kv && at < n && json_next(&it, &key, &value)) {
        if (value.type != JSON_STRING)
            return fail(err, DATA_LOSS, NULL, "its column meta has a member that is not text");
        if (json_string(a, key, &kv[at].key) < 0 || json_string(a, value, &kv[at].value) < 0)
            kv = NULL;
        at++;
    }
    if (!kv)
        return fail(err, EXHAUSTED, NULL, "out of memory for a message's metadata");
    *ret = (struct kvs){ kv, at };
    return 0;
}

int queue_row_message(sqlite3_stmt *s, str topic, struct arena *a, struct pubsub_message *ret,
                      struct error *err)
{
    str type = arena_dup(a, sqlite_column(s, 5)), meta = arena_dup(a, sqlite_column(s, 6));
    str body = arena_dup(a, sqlite_column(s, 7)), name = arena_dup(a, topic);
    if (!type.p || !meta.p || !body.p || !name.p)
        return fail(err, EXHAUSTED, NULL, "out of memory for a message");
    *ret = (struct pubsub_message){ .topic = name, .data = body, .content_type = type };
    return read_meta(meta, a, &ret->metadata, err);
}

void queue_row_meta(struct kvs metadata, struct buf *out)
{
    struct json_w w;
    json_w_init(&w, out, 0);
    json_w_object(&w);
    for (size_t i = 0; i < metadata.n; i++)
        json_w_kv(&w, metadata.v[i].key, metadata.v[i].value);
    json_w_object_end(&w);
}
