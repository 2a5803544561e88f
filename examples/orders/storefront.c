/* storefront.c — takes orders and answers at once; everything else happens behind it.
 *
 *   POST orders        Idempotency-Key: <name>
 *                      {"customer":"ada","country":"DE","sku":"teapot","quantity":2}
 *                      202 {"order":"…","total":12800}; the same key: the same order, once
 *   GET  orders/<id>   how the order stands
 *   GET  catalogue     what is sold
 *
 * Keys: order/<id>, key/<idempotency key>, outbox/<slot>: one transaction (see outbox.h). */
#include "common.h"
#include "outbox.h"
#include "prices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SLOT_WAIT_MS = 2000, CLERKS = 4, CHECK_MAX_MS = 10000 };

static void refuse(struct proa_request *r, int status, const char *what)
{
    char text[300];
    proa_reply_json(r, status, "{\"error\":%s}", proa_json_quote(what, text, sizeof text));
}

/* ---- what the customer sends ---- */

static const char *read_order(const struct proa_request *r, struct order *ret)
{
    struct order o = { 0 };
    const char *raw;
    size_t len;
    if (!proa_json_raw(r->data, r->len, "", &raw, &len) || len == 0 || raw[0] != '{')
        return "the body must be a JSON object";
    if (!proa_json_str(raw, len, "customer", o.customer, sizeof o.customer) ||
        !is_name(o.customer, NAME_MAX_LEN))
        return "customer must be a name: letters, digits, '-', '_' and '.', at most 64";
    if (!proa_json_str(raw, len, "country", o.country, sizeof o.country) ||
        strspn(o.country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 2)
        return "country must be two capital letters, such as DE";
    if (!proa_json_str(raw, len, "sku", o.sku, sizeof o.sku) || !is_name(o.sku, SKU_MAX))
        return "sku must be one of the catalogue (GET catalogue)";
    if (!proa_json_int(raw, len, "quantity", &o.quantity) || o.quantity < 1 ||
        o.quantity > QUANTITY_MAX)
        return "quantity must be a number from 1 to 100";
    *ret = o;
    return NULL;
}

static int new_id(char id[ID_MAX + 1])
{
    unsigned char bytes[12];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return -PROA_UNAVAILABLE;
    size_t n = (size_t)snprintf(id, ID_MAX, "o-");
    for (size_t i = 0; i < sizeof bytes; i++)
        n += (size_t)snprintf(id + n, ID_MAX - n, "%02x", bytes[i]);
    return 0;
}

/* ---- the risk check: for demonstrations of overload, STOREFRONT_CHECK_MS=80 ---- */

static struct {
    int ms, busy;
} check;

static void read_check(void)
{
    const char *text = getenv("STOREFRONT_CHECK_MS");
    int64_t ms;
    if (text && proa_json_int(text, strlen(text), "", &ms) && ms > 0 && ms <= CHECK_MAX_MS)
        check.ms = (int)ms;
}

/* Four clerks look at an order each, for so long: that is how many orders a second we can take. */
static int check_order(void)
{
    while (check.ms && check.busy == CLERKS)
        if (!proa_sleep_ms(1))
            return -PROA_CANCELLED;
    check.busy++;
    bool ok = !check.ms || proa_sleep_ms(check.ms);
    check.busy--;
    return ok ? 0 : -PROA_CANCELLED;
}

/* ---- accepting ---- */

static void accepted(struct proa_request *r, const struct order *o)
{
    proa_reply_json(r, 202, "{\"order\":\"%s\",\"total\":%lld}", o->id, (long long)o->total);
}

/* The key was used before: the same order gets the same answer. It is published once more (its
 * event has the same id), since whoever saved it may have had no answer, and so not have published
 * it. */
static void answer_again(struct proa_request *r, const char *key, const struct order *wanted)
{
    char id[ID_MAX + 1], order_key[KEY_MAX];
    struct order o;
    PROA_RESULT first = { 0 }, saved = { 0 };
    if (proa_state_get(r->proa, STORE, key, &first) < 0 ||
        !proa_json_str(first.data, first.len, "order", id, sizeof id)) {
        refuse(r, 503, "the order can't be read: try again");
        return;
    }
    snprintf(order_key, sizeof order_key, "order/%s", id);
    if (proa_state_get(r->proa, STORE, order_key, &saved) < 0 ||
        !order_read(saved.data, saved.len, &o))
        refuse(r, 503, "the order can't be read: try again");
    else if (strcmp(o.customer, wanted->customer) != 0 || strcmp(o.sku, wanted->sku) != 0 ||
             strcmp(o.country, wanted->country) != 0 || o.quantity != wanted->quantity)
        refuse(r, 409, "this Idempotency-Key belongs to another order: choose a new one");
    else if (emit(r->proa, "orders.placed", &o) < 0)
        refuse(r, 503, "the order can't be passed on: try again");
    else
        accepted(r, &o);
}

/* All three or none; -PROA_CONFLICT when the key is known. */
static int save(struct proa *p, const struct order *o, const char *key, const char *slot_key)
{
    char text[ORDER_JSON_MAX], order_key[KEY_MAX], pointer[KEY_MAX];
    size_t n = order_write(o, text);
    snprintf(order_key, sizeof order_key, "order/%s", o->id);
    int len = snprintf(pointer, sizeof pointer, "{\"order\":\"%s\"}", o->id);
    const struct proa_write write[] = {
        { key, pointer, (size_t)len, "" }, /* "": only if it isn't there yet */
        { order_key, text, n, "" },
        { slot_key, text, n, NULL },
    };
    PROA_RESULT res = { 0 };
    int r = proa_state_transact(p, STORE, write, COUNT_OF(write), &res);
    if (r < 0 && r != -PROA_CONFLICT)
        complain(p, "saving %s failed: %s", o->id, res.error);
    return r;
}

static void place(struct proa_request *r, struct order *o, const char *key)
{
    struct outbox_slot slot;
    if (check_order() < 0 || new_id(o->id) < 0 || outbox_take(&slot, SLOT_WAIT_MS) < 0) {
        refuse(r, 503, "too many orders at once: try again with the same key");
        return;
    }
    int saved = save(r->proa, o, key, slot.key);
    if (saved == 0) {
        accepted(r, o); /* it is safe: what follows can wait */
        outbox_publish(r->proa, &slot, o);
        return;
    }
    if (saved == -PROA_CONFLICT) {
        outbox_give_back(&slot);
        answer_again(r, key, o);
        return;
    }
    outbox_doubt(&slot); /* no answer in time may mean that it was saved */
    refuse(r, 503, "the order could not be saved: try again with the same key");
}

static void post_order(struct proa_request *r)
{
    char key[KEY_MAX];
    struct order o;
    int64_t price;
    const char *name = proa_header(r, "Idempotency-Key"), *wrong = read_order(r, &o);
    if (!is_name(name, 64)) {
        refuse(r, 400, "send an Idempotency-Key header: letters, digits, '-', '_' and '.'");
        return;
    }
    if (wrong) {
        refuse(r, 400, wrong);
        return;
    }
    int found = price_of(r->proa, o.sku, &price);
    if (found < 0) {
        bool unknown = found == -PROA_NOT_FOUND;
        refuse(r, unknown ? 400 : 503,
               unknown ? "sku must be one of the catalogue (GET catalogue)"
                       : "there are no prices yet: try again");
        return;
    }
    o.total = price * o.quantity;
    snprintf(key, sizeof key, "key/%s", name);
    place(r, &o, key);
}

/* ---- asking ---- */

/* orders knows best; an order that it hasn't heard of, or while it's away, is what was accepted. */
static void get_order(struct proa_request *r)
{
    char key[KEY_MAX], method[KEY_MAX];
    const char *id = strchr(r->method, '/');
    if (!id || !is_name(id + 1, ID_MAX)) {
        refuse(r, 400, "use GET orders/<id>");
        return;
    }
    snprintf(method, sizeof method, "orders/%s", id + 1);
    snprintf(key, sizeof key, "order/%s", id + 1);
    PROA_RESULT res = { 0 }, own = { 0 };
    if (proa_invoke(r->proa, "orders", method, "GET", NULL, 0, &res) == 0)
        proa_reply(r, 200, "application/json", res.data, res.len);
    else if (proa_state_get(r->proa, STORE, key, &own) == 0)
        proa_reply(r, 200, "application/json", own.data, own.len);
    else
        refuse(r, own.code == -PROA_NOT_FOUND ? 404 : 503,
               own.code == -PROA_NOT_FOUND ? "there is no such order" : "try again later");
}

static void orders(struct proa_request *r, void *arg)
{
    if (strcmp(r->verb, "POST") == 0 && strcmp(r->method, "orders") == 0)
        post_order(r);
    else if (strcmp(r->verb, "GET") == 0)
        get_order(r);
    else
        refuse(r, 405, "use POST orders, or GET orders/<id>");
}

static void catalogue(struct proa_request *r, void *arg)
{
    size_t len;
    const char *json = prices_json(r->proa, &len);
    if (len)
        proa_reply(r, 200, "application/json", json, len);
    else
        refuse(r, 503, "there is no catalogue yet: try again");
}

int main(void)
{
    static const struct method methods[] = { { "orders", orders }, { "catalogue", catalogue } };
    read_check();
    return service_main(&(struct service){
        .methods = methods, .n_methods = COUNT_OF(methods), .on_start = outbox_sweep });
}
