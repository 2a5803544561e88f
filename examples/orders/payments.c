/* payments.c — charges customers, and gives the money back when an order can't be shipped.
 * A payment and the customer's account change in one transaction; the payment's key is the order,
 * so an order is charged once, however often the event comes. Keys: payment/<order>,
 * account/<customer>. */
#include "common.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LIMIT = 100000, DELAY_MAX_MS = 5000, DELAY_MAX_S = 600 }; /* cents that a card is good for */

struct payment {
    char state[16]; /* "" (none yet), "charged", "declined", "refunded" */
    char etag[64];
};

/* For demonstrations: POST admin/slow {"ms":300,"seconds":10}. */
static struct {
    int64_t ms;
    time_t until;
} slow;

/* ---- reading and writing ---- */

static int payment_get(struct proa *p, const char *key, struct payment *ret)
{
    PROA_RESULT res = { 0 };
    *ret = (struct payment){ 0 };
    int r = proa_state_get(p, STORE, key, &res);
    if (r < 0)
        return r == -PROA_NOT_FOUND ? 0 : r;
    snprintf(ret->etag, sizeof ret->etag, "%s", res.etag);
    return proa_json_str(res.data, res.len, "state", ret->state, sizeof ret->state)
               ? 0
               : -PROA_INTERNAL;
}

/* The account has nothing but what was charged and not given back; *ret_etag "" when it's new. */
static int balance_get(struct proa *p, const char *key, int64_t *ret, char etag[64])
{
    PROA_RESULT res = { 0 };
    *ret = 0;
    etag[0] = 0;
    int r = proa_state_get(p, STORE, key, &res);
    if (r < 0)
        return r == -PROA_NOT_FOUND ? 0 : r;
    snprintf(etag, 64, "%s", res.etag);
    return proa_json_int(res.data, res.len, "balance", ret) ? 0 : -PROA_INTERNAL;
}

static int save(struct proa *p, const struct order *o, const char *key, const char *etag,
                const char *state, int64_t amount)
{
    char account_key[KEY_MAX], payment[200], account[64], account_etag[64];
    int64_t balance;
    snprintf(account_key, sizeof account_key, "account/%s", o->customer);
    int r = amount ? balance_get(p, account_key, &balance, account_etag) : 0;
    if (r < 0)
        return r;
    int n =
        snprintf(payment, sizeof payment, "{\"state\":\"%s\",\"customer\":\"%s\",\"amount\":%lld}",
                 state, o->customer, (long long)o->total);
    struct proa_write write[2] = { { key, payment, (size_t)n, etag } };
    if (amount) {
        n = snprintf(account, sizeof account, "{\"balance\":%lld}", (long long)(balance + amount));
        write[1] = (struct proa_write){ account_key, account, (size_t)n, account_etag };
    }
    PROA_RESULT res = { 0 };
    return proa_state_transact(p, STORE, write, amount ? 2 : 1, &res);
}

/* ---- the steps ---- */

/* *ret: the payment's state afterwards; 1: it had it before. */
static int try_charge(struct proa *p, const struct order *o, struct payment *ret)
{
    char key[KEY_MAX];
    snprintf(key, sizeof key, "payment/%s", o->id);
    int r = payment_get(p, key, ret);
    if (r < 0 || ret->state[0])
        return r < 0 ? r : 1;
    bool good = o->total <= LIMIT;
    snprintf(ret->state, sizeof ret->state, "%s", good ? "charged" : "declined");
    return save(p, o, key, ret->etag, ret->state, good ? o->total : 0);
}

/* Nothing is left to say of a refunded one: only who knew that it was charged could ask for it. */
static int charge(struct proa *p, const struct order *o, const char *topic)
{
    struct payment now;
    int r, tries = 0;
    if (slow.ms && time(NULL) < slow.until && !proa_sleep_ms((int)slow.ms))
        return -PROA_CANCELLED;
    do
        r = try_charge(p, o, &now);
    while (again(&r, &tries));
    if (r < 0 || strcmp(now.state, "refunded") == 0)
        return r;
    bool charged = strcmp(now.state, "charged") == 0;
    return then_emit(r, p, charged ? "payments.charged" : "payments.declined", o);
}

static int try_refund(struct proa *p, const struct order *o)
{
    char key[KEY_MAX];
    struct payment now;
    snprintf(key, sizeof key, "payment/%s", o->id);
    int r = payment_get(p, key, &now);
    if (r < 0 || strcmp(now.state, "refunded") == 0)
        return r < 0 ? r : 1;
    if (strcmp(now.state, "charged") != 0)
        return -PROA_INVALID;
    return save(p, o, key, now.etag, "refunded", -o->total);
}

static int refund(struct proa *p, const struct order *o, const char *topic)
{
    int r, tries = 0;
    do
        r = try_refund(p, o);
    while (again(&r, &tries));
    return then_emit(r, p, "payments.refunded", o);
}

/* ---- for demonstrations ---- */

static void set_slow(struct proa_request *r, void *arg)
{
    int64_t ms, seconds;
    if (strcmp(r->verb, "POST") != 0) {
        proa_reply_json(r, 405, "{\"error\":\"use POST\"}");
        return;
    }
    if (!proa_json_int(r->data, r->len, "ms", &ms) || ms < 0 || ms > DELAY_MAX_MS ||
        !proa_json_int(r->data, r->len, "seconds", &seconds) || seconds < 0 ||
        seconds > DELAY_MAX_S) {
        proa_reply_json(
            r, 400, "{\"error\":\"send {\\\"ms\\\":0…%d,\\\"seconds\\\":0…%d}: both are numbers\"}",
            DELAY_MAX_MS, DELAY_MAX_S);
        return;
    }
    slow.ms = ms;
    slow.until = time(NULL) + seconds;
    proa_reply_json(r, 200, "{\"ms\":%lld,\"seconds\":%lld}", (long long)ms, (long long)seconds);
}

int main(void)
{
    static const struct step steps[] = {
        { "inventory.reserved", charge },
        { "shipping.refused", refund },
    };
    static const struct method methods[] = { { "admin/slow", set_slow } };
    return service_main(&(struct service){ .steps = steps,
                                           .n_steps = COUNT_OF(steps),
                                           .methods = methods,
                                           .n_methods = COUNT_OF(methods) });
}
