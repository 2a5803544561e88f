#include "common.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the order ---- */

bool is_name(const char *s, size_t max)
{
    size_t n = strlen(s);
    if (n == 0 || n > max)
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("-_.", *s))
            return false;
    return true;
}

bool order_read(const char *json, size_t len, struct order *ret)
{
    struct order o = { 0 };
    if (!proa_json_str(json, len, "order", o.id, sizeof o.id) ||
        !proa_json_str(json, len, "customer", o.customer, sizeof o.customer) ||
        !proa_json_str(json, len, "country", o.country, sizeof o.country) ||
        !proa_json_str(json, len, "sku", o.sku, sizeof o.sku) ||
        !proa_json_int(json, len, "quantity", &o.quantity) ||
        !proa_json_int(json, len, "total", &o.total))
        return false;
    (void)proa_json_str(json, len, "status", o.status, sizeof o.status);
    if (!is_name(o.id, ID_MAX) || !is_name(o.sku, SKU_MAX) || !is_name(o.customer, NAME_MAX_LEN))
        return false;
    if (o.quantity < 1 || o.quantity > QUANTITY_MAX || o.total < 0)
        return false;
    *ret = o;
    return true;
}

size_t order_write(const struct order *o, char out[ORDER_JSON_MAX])
{
    char id[2 * ID_MAX], customer[2 * NAME_MAX_LEN], country[16], sku[2 * SKU_MAX], status[40];
    int n = snprintf(out, ORDER_JSON_MAX,
                     "{\"order\":%s,\"customer\":%s,\"country\":%s,\"sku\":%s,\"quantity\":%lld,"
                     "\"total\":%lld,\"status\":%s}",
                     proa_json_quote(o->id, id, sizeof id),
                     proa_json_quote(o->customer, customer, sizeof customer),
                     proa_json_quote(o->country, country, sizeof country),
                     proa_json_quote(o->sku, sku, sizeof sku), (long long)o->quantity,
                     (long long)o->total, proa_json_quote(o->status, status, sizeof status));
    return (size_t)n;
}

/* ---- events ---- */

int emit(struct proa *p, const char *topic, const struct order *o)
{
    char data[ORDER_JSON_MAX], id[KEY_MAX];
    size_t n = order_write(o, data);
    snprintf(id, sizeof id, "%s/%s", o->id, topic);
    PROA_RESULT res = { 0 };
    struct proa_publish_options options = { .id = id, .key = o->id };
    int r = proa_publish(p, BUS, topic, data, n, &options, &res);
    if (r < 0)
        complain(p, "publishing %s failed: %s", id, res.error);
    return r;
}

int then_emit(int r, struct proa *p, const char *topic, const struct order *o)
{
    int emitted = r < 0 ? r : emit(p, topic, o);
    return emitted < 0 ? emitted : r;
}

bool again(int *r, int *tries)
{
    if (*r != -PROA_CONFLICT)
        return false;
    int wait_ms = 1 + rand() % (1 << (*tries < 5 ? *tries : 5)); /* apart from the others */
    if (++*tries < TRIES_MAX && proa_sleep_ms(wait_ms))
        return true;
    *r = -PROA_UNAVAILABLE;
    return false;
}

static struct {
    unsigned long long events, again;
} stats;

static void get_stats(struct proa_request *r, void *arg)
{
    proa_reply_json(r, 200, "{\"events\":%llu,\"again\":%llu}", stats.events, stats.again);
}

static enum proa_verdict take_step(const struct proa_event *e, void *arg)
{
    const struct step *step = arg;
    struct order o;
    if (!order_read(e->data, e->len, &o)) {
        complain(e->proa, "event %s of %s holds no order", e->id, e->topic);
        return PROA_DROP;
    }
    int r = step->fn(e->proa, &o, step->topic);
    stats.events++;
    stats.again += r == 1;
    if (r == -PROA_INVALID)
        complain(e->proa, "%s makes no sense for order %s", e->topic, o.id);
    else if (r < 0)
        complain(e->proa, "%s of order %s must come again (failure %d)", e->topic, o.id, -r);
    return r >= 0 ? PROA_DONE : r == -PROA_INVALID ? PROA_DROP : PROA_RETRY;
}

/* ---- the frame ---- */

static int set_up(struct proa *p, const struct service *s)
{
    static const struct proa_topic_options options = { .dead_letter = DEAD_LETTERS };
    int r = proa_method(p, "stats", get_stats, NULL);
    if (r >= 0 && s->on_start)
        r = proa_on_start(p, s->on_start, NULL);
    for (size_t i = 0; i < s->n_steps && r >= 0; i++)
        r = proa_topic(p, BUS, s->steps[i].topic, take_step, (void *)&s->steps[i], &options);
    for (size_t i = 0; i < s->n_methods && r >= 0; i++)
        r = proa_method(p, s->methods[i].name, s->methods[i].fn, NULL);
    return r;
}

int service_main(const struct service *s)
{
    struct proa *p = proa_new(&(struct proa_options){ .workers = 1 });
    if (!p)
        return 2;
    proa_set_timeout(p, 10000);
    int r = set_up(p, s);
    int status = r < 0 ? 1 : proa_run(p);
    proa_free(p);
    return status;
}

void complain(struct proa *p, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fprintf(stderr, "%s: %s\n", proa_app_id(p), text);
}
