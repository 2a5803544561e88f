#include "components/pubsub/redis/streams.h"

#include "base/mem.h"
#include "format/json.h"

#include <stdio.h>

enum { METADATA_MAX = 256 };

bool entry_put_metadata(struct buf *b, struct kvs metadata)
{
    struct json_w w;
    json_w_init(&w, b, JSON_W_HTML);
    json_w_object(&w);
    for (size_t i = 0; i < metadata.n; i++)
        json_w_kv(&w, metadata.v[i].key, metadata.v[i].value);
    json_w_object_end(&w);
    return buf_ok(b);
}

/* Members that aren't strings are left out: the contract's map has strings alone. */
static int read_metadata(str text, struct arena *a, struct kvs *ret)
{
    struct json root, key, value;
    if (!text.n || json_parse(text, &root, NULL) < 0)
        return 0;
    size_t n = min_size(json_count(root), METADATA_MAX);
    struct kv *v = arena_alloc(a, n * sizeof *v);
    struct json_iter it = json_iter(root);
    if (!v)
        return -EXHAUSTED;
    ret->v = v;
    while (ret->n < n && json_next(&it, &key, &value)) {
        if (key.type != JSON_STRING || value.type != JSON_STRING)
            continue;
        if (json_string(a, key, &v[ret->n].key) < 0 || json_string(a, value, &v[ret->n].value) < 0)
            return -EXHAUSTED;
        ret->n++;
    }
    return 0;
}

static int copy(struct arena *a, str from, str *ret)
{
    *ret = arena_dup(a, from);
    return ret->p ? 0 : -EXHAUSTED;
}

static int read_fields(const struct redis_reply *fields, struct entry *e)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i + 1 < fields->n; i += 2) {
        const struct redis_reply *name = &fields->item[i], *value = &fields->item[i + 1];
        str text;
        if (value->kind != REDIS_STRING)
            continue;
        if (str_eq(name->text, S("data"))) {
            r = copy(&e->a, value->text, &e->m.data);
        } else if (str_eq(name->text, S("contentType"))) {
            r = copy(&e->a, value->text, &e->m.content_type);
        } else if (str_eq(name->text, S("metadata"))) {
            r = copy(&e->a, value->text, &text);
            r = r < 0 ? r : read_metadata(text, &e->a, &e->m.metadata);
        }
    }
    return r;
}

void entry_free(struct entry *e)
{
    arena_done(&e->a);
    mem_free(e);
}

int entry_read(const struct redis_reply *reply, str topic, struct entry **ret)
{
    if (reply->kind != REDIS_ARRAY || reply->n != 2 || reply->item[1].kind != REDIS_ARRAY ||
        reply->item[0].kind != REDIS_STRING)
        return -NOT_FOUND;
    struct entry *e = mem_zalloc(sizeof *e);
    if (!e)
        return -EXHAUSTED;
    list_init(&e->node);
    list_init(&e->ready);
    arena_init(&e->a, 2 * (size_t)REDIS_REPLY_MAX);
    int r = copy(&e->a, reply->item[0].text, &e->id);
    e->m.data = e->m.content_type = S("");
    e->m.topic = topic;
    if (r == 0)
        r = read_fields(&reply->item[1], e);
    if (r < 0) {
        entry_free(e);
        return r;
    }
    *ret = e;
    return 0;
}

bool entry_id_next(str id, char ret[48])
{
    str ms, seq;
    uint64_t a, b;
    if (!str_cut(id, '-', &ms, &seq) || !str_to_u64(ms, &a) || !str_to_u64(seq, &b))
        return false;
    if (++b == 0)
        a++;
    (void)snprintf(ret, 48, "%llu-%llu", (unsigned long long)a, (unsigned long long)b);
    return true;
}
