/* orders.c — knows how each order stands, and decides when it is finished.
 * An order is the set of facts that events have told, and its status follows from them. Adding a
 * fact twice changes nothing, and the order in which they come doesn't matter: events of different
 * topics may overtake each other. What can't both be true is refused. Keys: order/<id>. */
#include "common.h"

#include <stdio.h>
#include <string.h>

enum {
    PLACED = 1 << 0,
    RESERVED = 1 << 1,
    REJECTED = 1 << 2,
    CHARGED = 1 << 3,
    DECLINED = 1 << 4,
    SHIPPED = 1 << 5,
    REFUSED = 1 << 6,
    REFUNDED = 1 << 7,
    RELEASED = 1 << 8,
    PAID_OR_LATER = CHARGED | SHIPPED | REFUSED | REFUNDED,
};

/* Rows further down say more about how an order stands: the lowest one that is known counts. */
static const struct fact {
    const char *topic, *status;
    unsigned bit, excludes;
    bool final;
} facts[] = {
    { "orders.placed", "placed", PLACED, 0 },
    { "inventory.reserved", "reserved", RESERVED, REJECTED },
    { "payments.charged", "charged", CHARGED, REJECTED | DECLINED },
    { "payments.declined", "cancelling", DECLINED, REJECTED | PAID_OR_LATER },
    { "shipping.refused", "cancelling", REFUSED, REJECTED | DECLINED | SHIPPED },
    { "payments.refunded", "cancelling", REFUNDED, REJECTED | DECLINED | SHIPPED },
    { "inventory.rejected", "cancelled", REJECTED, RESERVED | DECLINED | RELEASED | PAID_OR_LATER,
      true },
    { "inventory.released", "cancelled", RELEASED, REJECTED | SHIPPED, true },
    { "shipping.shipped", "confirmed", SHIPPED, REJECTED | DECLINED | REFUSED | REFUNDED | RELEASED,
      true },
};

static const struct fact *find_fact(const char *topic)
{
    for (size_t i = 0; i < COUNT_OF(facts); i++)
        if (strcmp(facts[i].topic, topic) == 0)
            return &facts[i];
    return NULL;
}

static const struct fact *standing(unsigned known)
{
    size_t i = COUNT_OF(facts);
    while (i-- > 1)
        if (known & facts[i].bit)
            break;
    return &facts[i];
}

/* ---- reading and writing ---- */

static int known_get(struct proa *p, const char *key, unsigned *ret, char etag[64])
{
    int64_t known;
    PROA_RESULT res = { 0 };
    *ret = 0;
    etag[0] = 0;
    int r = proa_state_get(p, STORE, key, &res);
    if (r < 0)
        return r == -PROA_NOT_FOUND ? 0 : r;
    if (!proa_json_int(res.data, res.len, "facts", &known))
        return -PROA_INTERNAL;
    *ret = (unsigned)known;
    snprintf(etag, 64, "%s", res.etag);
    return 0;
}

static int save(struct proa *p, const char *key, const struct order *o, unsigned known,
                const char *etag)
{
    char text[ORDER_JSON_MAX + 32];
    struct order now = *o;
    snprintf(now.status, sizeof now.status, "%s", standing(known)->status);
    size_t n = order_write(&now, text) - 1; /* the facts go before the closing brace */
    n += (size_t)snprintf(text + n, sizeof text - n, ",\"facts\":%u}", known);
    PROA_RESULT res = { 0 };
    return proa_state_set(p, STORE, key, text, n, etag, 0, &res);
}

/* ---- the steps ---- */

static int try_learn(struct proa *p, const struct order *o, const struct fact *fact, unsigned *ret)
{
    char key[KEY_MAX], etag[64];
    snprintf(key, sizeof key, "order/%s", o->id);
    int r = known_get(p, key, ret, etag);
    if (r < 0 || (*ret & fact->bit))
        return r < 0 ? r : 1;
    if (*ret & fact->excludes)
        return -PROA_INVALID;
    *ret |= fact->bit;
    return save(p, key, o, *ret, etag);
}

static int learn(struct proa *p, const struct order *o, const char *topic)
{
    const struct fact *fact = find_fact(topic);
    unsigned known;
    int r, tries = 0;
    do
        r = try_learn(p, o, fact, &known);
    while (again(&r, &tries));
    if (r < 0 || !fact->final)
        return r;
    struct order finished = *o;
    snprintf(finished.status, sizeof finished.status, "%s", fact->status);
    return then_emit(r, p, "orders.finished", &finished);
}

/* ---- what others ask: GET orders/<id> ---- */

static void get_order(struct proa_request *r, void *arg)
{
    char key[KEY_MAX];
    const char *id = strchr(r->method, '/');
    if (strcmp(r->verb, "GET") != 0 || !id || !is_name(id + 1, ID_MAX)) {
        proa_reply_json(r, 400, "{\"error\":\"use GET orders/<id>\"}");
        return;
    }
    snprintf(key, sizeof key, "order/%s", id + 1);
    PROA_RESULT res = { 0 };
    int found = proa_state_get(r->proa, STORE, key, &res);
    if (found == 0)
        proa_reply(r, 200, "application/json", res.data, res.len);
    else if (found == -PROA_NOT_FOUND)
        proa_reply_json(r, 404, "{\"error\":\"there is no such order\"}");
    else
        proa_reply_json(r, 503, "{\"error\":\"the orders can't be read: try again\"}");
}

int main(void)
{
    struct step steps[COUNT_OF(facts)];
    for (size_t i = 0; i < COUNT_OF(facts); i++)
        steps[i] = (struct step){ facts[i].topic, learn };
    static const struct method methods[] = { { "orders", get_order } };
    return service_main(&(struct service){ .steps = steps,
                                           .n_steps = COUNT_OF(steps),
                                           .methods = methods,
                                           .n_methods = COUNT_OF(methods) });
}
