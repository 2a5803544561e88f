/* notifications.c — tells customers how their orders ended, and keeps what nobody could process.
 * Its subscriptions are declared in components/subscriptions.yaml, so events arrive as methods: the
 * body is the whole CloudEvent, and a rule there has already chosen the method by the order's
 * status. Keys: notice/<order>, dead/<event>. */
#include "common.h"

#include <stdio.h>
#include <string.h>

static void answer(struct proa_request *r, const char *status)
{
    proa_reply_json(r, 200, "{\"status\":\"%s\"}", status);
}

/* Saving comes first here too: the mail would be sent by whoever saved it. */
static void notify(struct proa_request *r, const char *sentence)
{
    const char *data;
    size_t len;
    struct order o;
    char key[KEY_MAX], text[300];
    if (!proa_json_raw(r->data, r->len, "data", &data, &len) || !order_read(data, len, &o)) {
        answer(r, "DROP");
        return;
    }
    snprintf(key, sizeof key, "notice/%s", o.id);
    int n = snprintf(text, sizeof text, "{\"to\":\"%s\",\"status\":\"%s\",\"text\":\"%s\"}",
                     o.customer, o.status, sentence);
    PROA_RESULT res = { 0 };
    int saved = proa_state_set(r->proa, STORE, key, text, (size_t)n, "", 0, &res);
    answer(r, saved == 0 || saved == -PROA_CONFLICT ? "SUCCESS" : "RETRY");
}

static void confirmed(struct proa_request *r, void *arg)
{
    notify(r, "Your parcel is on its way.");
}

static void cancelled(struct proa_request *r, void *arg)
{
    notify(r, "We could not fulfil your order; nothing was charged.");
}

/* The event is kept as it came, for a person to look at. */
static void dead_letter(struct proa_request *r, void *arg)
{
    char id[KEY_MAX], key[KEY_MAX + 8];
    if (!proa_json_str(r->data, r->len, "id", id, sizeof id)) {
        complain(r->proa, "a dead letter without an id is thrown away");
        answer(r, "SUCCESS");
        return;
    }
    snprintf(key, sizeof key, "dead/%s", id);
    PROA_RESULT res = { 0 };
    int saved = proa_state_set(r->proa, STORE, key, r->data, r->len, NULL, 0, &res);
    answer(r, saved == 0 ? "SUCCESS" : "RETRY");
}

int main(void)
{
    static const struct method methods[] = {
        { "confirmed", confirmed },
        { "cancelled", cancelled },
        { "dead-letters", dead_letter },
    };
    return service_main(&(struct service){ .methods = methods, .n_methods = COUNT_OF(methods) });
}
