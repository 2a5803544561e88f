/* shipping.c — hands parcels to the carrier, once for each order.
 * Keys: shipment/<order>. */
#include "common.h"

#include <stdio.h>
#include <string.h>

/* No carrier goes there: Antarctica, Bouvet Island, Heard Island. */
static const char *const unserved[] = { "AQ", "BV", "HM" };

static bool is_served(const char *country)
{
    for (size_t i = 0; i < COUNT_OF(unserved); i++)
        if (strcmp(unserved[i], country) == 0)
            return false;
    return true;
}

/* Where the parcel goes decides, and it never changes: whoever comes a second time finds the same
 * answer, saved or not. */
static int hand_over(struct proa *p, const struct order *o, const char *topic)
{
    char key[KEY_MAX], text[128];
    bool served = is_served(o->country);
    snprintf(key, sizeof key, "shipment/%s", o->id);
    int n = snprintf(text, sizeof text, "{\"state\":\"%s\",\"sku\":\"%s\",\"quantity\":%lld}",
                     served ? "shipped" : "refused", o->sku, (long long)o->quantity);
    PROA_RESULT res = { 0 };
    int r = proa_state_set(p, STORE, key, text, (size_t)n, "", 0, &res);
    r = r == -PROA_CONFLICT ? 1 : r; /* it's there already */
    return then_emit(r, p, served ? "shipping.shipped" : "shipping.refused", o);
}

int main(void)
{
    static const struct step steps[] = { { "payments.charged", hand_over } };
    return service_main(&(struct service){ .steps = steps, .n_steps = COUNT_OF(steps) });
}
