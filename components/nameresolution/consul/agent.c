#include "agent.h"

#include "format/envsubst.h"
#include "format/json.h"

#include <stdio.h>
#include <stdlib.h>

enum { VALUE_MAX = 256, EXPANDED_MAX = 64 << 10 };
#define ZONE_KEY "PROA_ZONE"
#define REGION_KEY "PROA_REGION"

/* ---- what we say ---- */

struct words {
    const struct agent_service *s;
    char text[16];
    char name[VALUE_MAX];
};

static str look_up(void *arg, str name)
{
    struct words *w = arg;
    const struct agent_service *s = w->s;
    const struct {
        str name;
        const char *text;
        unsigned number;
    } own[] = {
        { S("APP_ID"), s->app_id, 0 },
        { S("HOST_ADDRESS"), s->host, 0 },
        { S("DAPR_PORT"), NULL, s->internal_port },
        { S("DAPR_HTTP_PORT"), NULL, s->http_port },
        { S("APP_PORT"), NULL, s->app_port },
    };
    for (size_t i = 0; i < COUNT(own); i++) {
        if (!str_eq(own[i].name, name))
            continue;
        if (own[i].text)
            return str_c(own[i].text);
        snprintf(w->text, sizeof w->text, "%u", own[i].number);
        return str_c(w->text);
    }
    if (name.n >= sizeof w->name)
        return (str){ 0 };
    memcpy(w->name, name.p, name.n);
    w->name[name.n] = 0;
    return str_c(getenv(w->name));
}

static void put_value(struct json_w *w, struct json v, const struct agent_service *s);

static void put_text(struct json_w *w, struct json v, const struct agent_service *s, bool key)
{
    AUTO(buf_done) struct buf plain, full;
    buf_init(&plain, EXPANDED_MAX);
    buf_init(&full, EXPANDED_MAX);
    struct words words = { .s = s };
    if (json_string_put(&plain, v) == 0)
        envsubst(buf_str(&plain), look_up, &words, &full);
    if (key)
        json_w_key(w, buf_str(&full));
    else
        json_w_str(w, buf_str(&full));
}

static void put_members(struct json_w *w, struct json map, const struct agent_service *s)
{
    struct json_iter it = json_iter(map);
    struct json key, item;
    while (json_next(&it, &key, &item)) {
        put_text(w, key, s, true);
        put_value(w, item, s);
    }
}

static void put_value(struct json_w *w, struct json v, const struct agent_service *s)
{
    struct json_iter it = json_iter(v);
    struct json item;
    if (v.type == JSON_STRING) {
        put_text(w, v, s, false);
    } else if (v.type == JSON_OBJECT) {
        json_w_object(w);
        put_members(w, v, s);
        json_w_object_end(w);
    } else if (v.type == JSON_ARRAY) {
        json_w_array(w);
        while (json_next(&it, NULL, &item))
            put_value(w, item, s);
        json_w_array_end(w);
    } else {
        json_w_raw(w, v.raw);
    }
}

static struct json parsed(const char *text)
{
    struct json v = { 0 };
    return json_parse(str_c(text), &v, NULL) == 0 ? v : (struct json){ 0 };
}

static void put_meta(struct json_w *w, const struct agent_service *s)
{
    char port[16];
    snprintf(port, sizeof port, "%u", s->internal_port);
    json_w_key(w, S("Meta"));
    json_w_object(w);
    put_members(w, parsed(s->meta), s);
    json_w_kv(w, str_c(s->port_key), str_c(port));
    if (s->zone[0])
        json_w_kv(w, S(ZONE_KEY), str_c(s->zone));
    if (s->region[0])
        json_w_kv(w, S(REGION_KEY), str_c(s->region));
    json_w_object_end(w);
}

static void put_own_check(struct json_w *w, const struct agent_service *s)
{
    char text[AGENT_ID_MAX + 64];
    json_w_object(w);
    if (s->ttl_s) {
        snprintf(text, sizeof text, "proa:%s", s->id);
        json_w_kv(w, S("Name"), S("Proa lease"));
        json_w_kv(w, S("CheckID"), str_c(text));
        snprintf(text, sizeof text, "%llds", (long long)s->ttl_s);
        json_w_kv(w, S("TTL"), str_c(text));
        json_w_kv(w, S("Status"), S("passing"));
    } else {
        snprintf(text, sizeof text, "daprHealth:%s", s->id);
        json_w_kv(w, S("Name"), S("Dapr Health Status"));
        json_w_kv(w, S("CheckID"), str_c(text));
        json_w_kv(w, S("Interval"), S("15s"));
        snprintf(text, sizeof text, "http://%s:%u/v1.0/healthz", s->host, s->http_port);
        json_w_kv(w, S("HTTP"), str_c(text));
    }
    json_w_kv(w, S("DeregisterCriticalServiceAfter"), S("1m")); /* of a process that died */
    json_w_object_end(w);
}

static void put_checks(struct json_w *w, const struct agent_service *s)
{
    struct json checks = parsed(s->checks), item;
    struct json_iter it = json_iter(checks);
    json_w_key(w, S("Checks"));
    json_w_array(w);
    while (json_next(&it, NULL, &item))
        put_value(w, item, s);
    if (s->ttl_s || json_count(checks) == 0)
        put_own_check(w, s);
    json_w_array_end(w);
}

void agent_put_service(struct buf *b, const struct agent_service *s)
{
    struct json_w w;
    json_w_init(&w, b, 0);
    json_w_object(&w);
    json_w_kv(&w, S("ID"), str_c(s->id));
    json_w_kv(&w, S("Name"), str_c(s->app_id));
    json_w_kv(&w, S("Address"), str_c(s->host));
    json_w_key(&w, S("Port"));
    json_w_u64(&w, s->app_port);
    json_w_key(&w, S("Tags"));
    struct json tags = parsed(s->tags);
    if (tags.type == JSON_ARRAY)
        put_value(&w, tags, s);
    else
        json_w_null(&w);
    put_meta(&w, s);
    put_checks(&w, s);
    json_w_object_end(&w);
}

str agent_check_id(struct arena *a, const char *id)
{
    return arena_printf(a, "proa:%s", id);
}

void agent_put_escaped(struct buf *b, str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-_.~", c ? c : '/');
        if (plain)
            buf_putc(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
}

/* ---- what it answers ---- */

static int read_service(struct json entry, const char *port_key, struct arena *a,
                        struct registration *ret, bool *ret_usable)
{
    struct json service = json_get(entry, S("Service")), meta = json_get(service, S("Meta"));
    str host, node, port;
    int r = json_string_or(a, json_get(service, S("Address")), S(""), &host);
    if (!r)
        r = json_string_or(a, json_get(json_get(entry, S("Node")), S("Address")), S(""), &node);
    if (!r)
        r = json_string_or(a, json_get(meta, str_c(port_key)), S(""), &port);
    if (!r)
        r = json_string_or(a, json_get(meta, S(ZONE_KEY)), S(""), &ret->zone);
    if (!r)
        r = json_string_or(a, json_get(meta, S(REGION_KEY)), S(""), &ret->region);
    if (r)
        return r;
    host = host.n ? host : node;
    bool v6 = str_find_c(host, ':') >= 0 && !str_starts(host, S("["));
    ret->address = arena_printf(a, v6 ? "[" STR_FMT "]:" STR_FMT : STR_FMT ":" STR_FMT,
                                STR_ARG(host), STR_ARG(port));
    *ret_usable = host.n && port.n;
    return ret->address.p ? 0 : -EXHAUSTED;
}

int agent_read_services(str json, const char *port_key, struct arena *a, struct registration *ret,
                        size_t max, size_t *ret_n)
{
    struct json list, entry;
    size_t n = 0;
    if (json_parse(json, &list, NULL) || (list.type != JSON_ARRAY && !json_is_null(list)))
        return -INVALID;
    struct json_iter it = json_iter(list);
    while (n < max && json_next(&it, NULL, &entry)) {
        bool usable = false;
        int r = read_service(entry, port_key, a, &ret[n], &usable);
        if (r)
            return r;
        n += usable;
    }
    *ret_n = n;
    return 0;
}
