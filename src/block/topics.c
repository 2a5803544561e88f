#include "block/topics.h"

static bool has(struct topic_set s, str topic)
{
    for (size_t i = 0; i < s.n; i++)
        if (str_eq(s.v[i], topic))
            return true;
    return false;
}

static int split(str list, struct arena *a, struct topic_set *ret)
{
    size_t n = 1;
    for (size_t i = 0; i < list.n; i++)
        n += list.p[i] == ',';
    ret->v = arena_alloc(a, n * sizeof *ret->v);
    if (!ret->v)
        return -EXHAUSTED;
    str item;
    for (str rest = list; str_next(&rest, ',', &item);)
        ret->v[ret->n++] = item;
    return 0;
}

/* "app1=t1,t2;app2=": an app with an empty list gets the one topic "", that is, none. */
static int scope_of(str scopes, str app_id, struct arena *a, struct topic_set *ret,
                    bool *ret_listed)
{
    str item;
    for (str rest = scopes; scopes.n && str_next(&rest, ';', &item);) {
        str app, list;
        if (!str_cut(item, '=', &app, &list) || !str_eq(str_trim(app), app_id))
            continue;
        *ret_listed = true;
        return split(str_trim(list), a, ret);
    }
    return 0;
}

int topics_parse(struct kvs metadata, const char *app_id, const char *namespace_, bool namespaced,
                 struct arena *a, struct topics *ret)
{
    struct topics t = { .prefix = namespaced ? str_c(namespace_) : S("") };
    str allowed = kvs_get(metadata, S("allowedTopics"));
    str protected_ = kvs_get(metadata, S("protectedTopics"));
    str id = str_c(app_id);
    int r = allowed.n ? split(allowed, a, &t.allowed) : 0;
    if (r >= 0 && protected_.n)
        r = split(protected_, a, &t.protected_);
    if (r >= 0)
        r = scope_of(kvs_get(metadata, S("publishingScopes")), id, a, &t.publishing,
                     &t.publishing_listed);
    if (r >= 0)
        r = scope_of(kvs_get(metadata, S("subscriptionScopes")), id, a, &t.subscribing,
                     &t.subscribing_listed);
    if (r >= 0)
        *ret = t;
    return r;
}

static bool allowed(const struct topics *t, struct topic_set scope, bool listed, str topic)
{
    if (t->allowed.n && !has(t->allowed, topic))
        return false;
    if (listed)
        return has(scope, topic);
    return !has(t->protected_, topic);
}

bool topics_may_publish(const struct topics *t, str topic)
{
    return allowed(t, t->publishing, t->publishing_listed, topic);
}

bool topics_may_subscribe(const struct topics *t, str topic)
{
    return allowed(t, t->subscribing, t->subscribing_listed, topic);
}
