/* Decoding of spec.metadata into an engine's fields by its rows. */
#include "component/component.h"
#include "component/suggest.h"
#include "format/duration.h"

#include <stdio.h>

str kvs_get(struct kvs kvs, str key)
{
    for (size_t i = kvs.n; i-- > 0;) /* the last one counts, as when Dapr fills its map */
        if (str_ieq(kvs.v[i].key, key))
            return kvs.v[i].value;
    return (str){ 0 };
}

int kvs_merge(struct arena *a, struct kvs first, struct kvs then, struct kvs *ret)
{
    *ret = first;
    if (!then.n)
        return 0;
    struct kv *v = arena_alloc(a, (first.n + then.n) * sizeof *v);
    if (!v)
        return -EXHAUSTED;
    size_t n = 0;
    for (size_t i = 0; i < first.n; i++)
        v[n++] = first.v[i];
    for (size_t i = 0; i < then.n; i++)
        if (!kvs_get(first, then.v[i].key).p)
            v[n++] = then.v[i];
    *ret = (struct kvs){ v, n };
    return 0;
}

/* What the blocks read themselves from the metadata of any component of a kind. */
static const struct {
    const char *kind, *name;
} common_key[] = {
    { "state", "keyPrefix" },
    { "state", "actorStateStore" },
    { "state", "primaryEncryptionKey" },
    { "state", "secondaryEncryptionKey" },
    { "state", "outboxPublishPubsub" },
    { "state", "outboxPublishTopic" },
    { "state", "outboxPubsub" },
    { "state", "outboxDiscardWhenMissingState" },
    { "pubsub", "consumerID" },
    { "pubsub", "allowedTopics" },
    { "pubsub", "publishingScopes" },
    { "pubsub", "subscriptionScopes" },
    { "pubsub", "protectedTopics" },
    { "bindings", "direction" },
    { "bindings", "route" },
};

static bool names(const struct cfg_field *f, str key)
{
    return str_ieq(str_c(f->name), key) || (f->alias && str_ieq(str_c(f->alias), key));
}

static bool is_known(const struct component_type *type, str key, struct suggest *near)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        if (names(&type->fields[i], key))
            return true;
        suggest_offer(near, str_c(type->fields[i].name));
    }
    for (size_t i = 0; i < COUNT(common_key); i++) {
        if (strcmp(common_key[i].kind, type->kind) != 0)
            continue;
        if (str_ieq(str_c(common_key[i].name), key))
            return true;
        suggest_offer(near, str_c(common_key[i].name));
    }
    return false;
}

static void warn_unknown(const struct component_type *type, struct kvs metadata,
                         void (*warn)(void *arg, const char *text), void *arg)
{
    for (size_t i = 0; i < metadata.n; i++) {
        char text[256], hint[SUGGEST_MAX];
        str key = metadata.v[i].key;
        struct suggest near = { .word = key };
        if (is_known(type, key, &near))
            continue;
        snprintf(text, sizeof text, "%s has no metadata field \"%.*s\"%s: it is ignored",
                 type->type, (int)min_size(key.n, 64), key.p, suggest_text(&near, hint));
        warn(arg, text);
    }
}

/* The field's text: of the metadata, or the default; .p NULL when there is neither. */
static str field_text(const struct cfg_field *f, struct kvs metadata)
{
    str text = kvs_get(metadata, str_c(f->name));
    if (!text.p && f->alias)
        text = kvs_get(metadata, str_c(f->alias));
    if (!text.n && f->def)
        text = str_c(f->def);
    return text;
}

static int fail_field(struct error *err, const struct cfg_field *f, str text, const char *expected)
{
    if (f->flags & CFG_SECRET)
        return fail(err, INVALID, NULL, "metadata field \"%s\": its value (not shown) is not %s",
                    f->name, expected);
    return fail(err, INVALID, NULL, "metadata field \"%s\": \"%.*s\" is not %s", f->name,
                (int)min_size(text.n, 100), text.p, expected);
}

static int decode_str(const struct cfg_field *f, str text, struct arena *arena, void *at,
                      struct error *err)
{
    if (str_find_c(text, 0) >= 0)
        return fail_field(err, f, str_c("text with a NUL byte"), "text without NUL bytes");
    const char *copy = text.n ? arena_cstr(arena, text) : "";
    if (!copy)
        return fail(err, EXHAUSTED, NULL, "out of memory for metadata field \"%s\"", f->name);
    memcpy(at, &copy, sizeof copy);
    return 0;
}

static int decode_number(const struct cfg_field *f, str text, void *at, struct error *err)
{
    int64_t v = 0;
    text = str_trim(text);
    if (f->kind == CFG_INT) {
        if (text.n && !str_to_i64(text, &v))
            return fail_field(err, f, text, "a whole number");
    } else if (f->kind == CFG_SIZE) {
        if (text.n && (!quantity_parse(text, &v) || v < 0))
            return fail_field(err, f, text, "a number of bytes such as 65536 or 4Mi");
    } else {
        bool seconds = f->flags & CFG_SECONDS;
        if (text.n && !duration_parse_bare(text, (int64_t)(seconds ? SEC(1) : MS(1)), &v))
            return fail_field(err, f, text,
                              seconds ? "a duration such as 20s, or a number of seconds"
                                      : "a duration such as 20s, or a number of milliseconds");
    }
    memcpy(at, &v, sizeof v);
    return 0;
}

static int decode_field(const struct cfg_field *f, struct kvs metadata, struct arena *arena,
                        void *self, struct error *err)
{
    str text = field_text(f, metadata);
    void *at = (char *)self + f->off;
    if (!text.n && (f->flags & CFG_REQUIRED))
        return fail(err, INVALID, NULL, "metadata field \"%s\" is required: %s", f->name,
                    f->doc ? f->doc : "give it a value");
    switch (f->kind) {
    case CFG_STR:
        return decode_str(f, text, arena, at, err);
    case CFG_BOOL:
        *(bool *)at = str_truthy(text);
        return 0;
    case CFG_INT:
    case CFG_DURATION:
    case CFG_SIZE:
        break;
    }
    return decode_number(f, text, at, err);
}

int cfg_decode(const struct component_type *type, struct kvs metadata, struct arena *arena,
               void *self, void (*warn)(void *arg, const char *text), void *arg, struct error *err)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        int r = decode_field(&type->fields[i], metadata, arena, self, err);
        if (r < 0)
            return r;
    }
    if (warn && !type->free_form)
        warn_unknown(type, metadata, warn, arg);
    return 0;
}
