/* inventory.c — what there is to sell, and how much of it.
 * A reservation and the stock that it takes change in one transaction, or not at all; the ETag of
 * the stock lets only one of two that change it at the same time win, and the other one looks
 * again. Keys: stock/<sku>, reservation/<order>, journal/<sku>/<n> (the stock after its n-th
 * change: what an audit replays). */
#include "common.h"

#include <stdio.h>
#include <string.h>

static const struct item {
    const char *sku, *name;
    int64_t price, stock; /* cents; pieces on the first day */
} catalogue[] = {
    { "kettle", "Kettle, 1.5 l", 3900, 100000 },   { "teapot", "Teapot, cast iron", 6400, 100000 },
    { "cup", "Cup, porcelain", 1250, 200000 },     { "strainer", "Tea strainer", 480, 200000 },
    { "sencha", "Sencha, 100 g", 1190, 100000 },   { "assam", "Assam, 250 g", 1450, 100000 },
    { "scale", "Pocket scale, 0.1 g", 2999, 150 }, { "samovar", "Samovar, brass", 41900, 25 },
};

struct stock {
    int64_t on_hand, reserved, shipped, changes; /* 0 <= reserved <= on_hand */
    char etag[64];
};

enum state { NONE, REJECTED, RESERVED, RELEASED, SHIPPED };
static const char *const state_name[] = { "none", "rejected", "reserved", "released", "shipped" };

struct reservation {
    enum state state;
    char etag[64]; /* "": there is none yet */
};

/* ---- reading and writing ---- */

static const struct item *find_item(const char *sku)
{
    for (size_t i = 0; i < COUNT_OF(catalogue); i++)
        if (strcmp(catalogue[i].sku, sku) == 0)
            return &catalogue[i];
    return NULL;
}

static int stock_write(const struct stock *s, const char *why, char *out, size_t size)
{
    return snprintf(out, size,
                    "{\"onHand\":%lld,\"reserved\":%lld,\"shipped\":%lld,\"changes\":%lld%s}",
                    (long long)s->on_hand, (long long)s->reserved, (long long)s->shipped,
                    (long long)s->changes, why);
}

static int stock_get(struct proa *p, const char *sku, struct stock *ret)
{
    char key[KEY_MAX];
    snprintf(key, sizeof key, "stock/%s", sku);
    PROA_RESULT res = { 0 };
    int r = proa_state_get(p, STORE, key, &res);
    if (r < 0)
        return r;
    if (!proa_json_int(res.data, res.len, "onHand", &ret->on_hand) ||
        !proa_json_int(res.data, res.len, "reserved", &ret->reserved) ||
        !proa_json_int(res.data, res.len, "shipped", &ret->shipped) ||
        !proa_json_int(res.data, res.len, "changes", &ret->changes))
        return -PROA_INTERNAL;
    snprintf(ret->etag, sizeof ret->etag, "%s", res.etag);
    return 0;
}

static int reservation_get(struct proa *p, const char *key, struct reservation *ret)
{
    char text[16];
    PROA_RESULT res = { 0 };
    *ret = (struct reservation){ .state = NONE };
    int r = proa_state_get(p, STORE, key, &res);
    if (r < 0)
        return r == -PROA_NOT_FOUND ? 0 : r;
    if (!proa_json_str(res.data, res.len, "state", text, sizeof text))
        return -PROA_INTERNAL;
    snprintf(ret->etag, sizeof ret->etag, "%s", res.etag);
    for (size_t i = 0; i < COUNT_OF(state_name); i++)
        if (strcmp(text, state_name[i]) == 0)
            ret->state = (enum state)i;
    return 0;
}

/* ---- a change: the reservation's state, and what it does to the stock ---- */

/* What becomes of the stock; false: there isn't enough. */
static bool apply(struct stock *s, enum state to, int64_t quantity)
{
    if (to == RESERVED && s->on_hand - s->reserved < quantity)
        return false;
    s->reserved += to == RESERVED ? quantity : -quantity;
    s->on_hand -= to == SHIPPED ? quantity : 0;
    s->shipped += to == SHIPPED ? quantity : 0;
    s->changes++;
    return true;
}

static int save(struct proa *p, const struct order *o, const char *key,
                const struct reservation *before, enum state to, const struct stock *s)
{
    char stock_key[KEY_MAX], journal_key[KEY_MAX];
    char reservation[256], stock[200], journal[300], why[KEY_MAX];
    int n = snprintf(reservation, sizeof reservation,
                     "{\"state\":\"%s\",\"sku\":\"%s\",\"quantity\":%lld}", state_name[to], o->sku,
                     (long long)o->quantity);
    snprintf(stock_key, sizeof stock_key, "stock/%s", o->sku);
    snprintf(journal_key, sizeof journal_key, "journal/%s/%lld", o->sku, (long long)s->changes);
    snprintf(why, sizeof why, ",\"order\":\"%s\",\"what\":\"%s\"", o->id, state_name[to]);
    struct proa_write write[] = {
        { key, reservation, (size_t)n, before->etag },
        { stock_key, stock, (size_t)stock_write(s, "", stock, sizeof stock), s->etag },
        { journal_key, journal, (size_t)stock_write(s, why, journal, sizeof journal), "" },
    };
    PROA_RESULT res = { 0 };
    return proa_state_transact(p, STORE, write, to == REJECTED ? 1 : COUNT_OF(write), &res);
}

/* NONE → RESERVED or REJECTED; RESERVED → RELEASED or SHIPPED. *ret is the state afterwards, also
 * when an earlier delivery of the event, or a later event, has changed it already: then 1. */
static int change(struct proa *p, const struct order *o, enum state to, enum state *ret)
{
    char key[KEY_MAX];
    struct reservation before;
    struct stock s;
    snprintf(key, sizeof key, "reservation/%s", o->id);
    int r = reservation_get(p, key, &before);
    if (r < 0)
        return r;
    *ret = before.state;
    if (before.state != (to == RESERVED ? NONE : RESERVED))
        return before.state == NONE ? -PROA_INVALID : 1;
    r = find_item(o->sku) ? stock_get(p, o->sku, &s) : -PROA_INVALID;
    if (r < 0)
        return r;
    *ret = apply(&s, to, o->quantity) ? to : REJECTED;
    return save(p, o, key, &before, *ret, &s);
}

static int change_until_done(struct proa *p, const struct order *o, enum state to, enum state *ret)
{
    int r, tries = 0;
    do
        r = change(p, o, to, ret);
    while (again(&r, &tries));
    return r;
}

/* ---- the steps ---- */

/* Who comes here a second time finds the first one's decision and tells it again: it may have
 * ended between saving and telling. */
static int reserve(struct proa *p, const struct order *o, const char *topic)
{
    enum state now = NONE;
    int r = change_until_done(p, o, RESERVED, &now);
    return then_emit(r, p, now == REJECTED ? "inventory.rejected" : "inventory.reserved", o);
}

static int release(struct proa *p, const struct order *o, const char *topic)
{
    enum state now;
    int r = change_until_done(p, o, RELEASED, &now);
    if (r >= 0 && now != RELEASED)
        return -PROA_INVALID;
    return then_emit(r, p, "inventory.released", o);
}

static int ship(struct proa *p, const struct order *o, const char *topic)
{
    enum state now;
    int r = change_until_done(p, o, SHIPPED, &now);
    return r >= 0 && now != SHIPPED ? -PROA_INVALID : r;
}

/* ---- what others ask ---- */

static void get_catalogue(struct proa_request *r, void *arg)
{
    char text[2048];
    int n = 0;
    for (size_t i = 0; i < COUNT_OF(catalogue); i++) {
        const struct item *item = &catalogue[i];
        struct stock s;
        if (stock_get(r->proa, item->sku, &s) < 0) {
            proa_reply_json(r, 503, "{\"error\":\"the stock can't be read: try again\"}");
            return;
        }
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "%s{\"sku\":\"%s\",\"name\":\"%s\",\"price\":%lld,\"available\":%lld}",
                      i ? "," : "", item->sku, item->name, (long long)item->price,
                      (long long)(s.on_hand - s.reserved));
    }
    proa_reply_json(r, 200, "{\"items\":[%s]}", text);
}

/* The first start fills the shelves; later ones find them filled. */
static void fill_shelves(struct proa *p, void *arg)
{
    for (size_t i = 0; i < COUNT_OF(catalogue); i++) {
        char key[KEY_MAX], text[200];
        struct stock s = { .on_hand = catalogue[i].stock };
        snprintf(key, sizeof key, "stock/%s", catalogue[i].sku);
        int n = stock_write(&s, "", text, sizeof text);
        PROA_RESULT res = { 0 };
        int r = proa_state_set(p, STORE, key, text, (size_t)n, "", 0, &res);
        if (r < 0 && r != -PROA_CONFLICT)
            complain(p, "%s isn't on the shelf: %s", key, res.error);
    }
}

int main(void)
{
    static const struct step steps[] = {
        { "orders.placed", reserve },
        { "payments.declined", release },
        { "payments.refunded", release },
        { "shipping.shipped", ship },
    };
    static const struct method methods[] = { { "catalogue", get_catalogue } };
    return service_main(&(struct service){ .steps = steps,
                                           .n_steps = COUNT_OF(steps),
                                           .methods = methods,
                                           .n_methods = COUNT_OF(methods),
                                           .on_start = fill_shelves });
}
