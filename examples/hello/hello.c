/* hello.c — a whole service: a method, a topic, state, and a call.
 *
 *   proa run -a hello -p 18100 -d examples/hello/components -- build/release/examples/hello/hello
 *   proa invoke -a hello -m hello/Ada -v GET          → {"hello":"Ada","greeted":1}
 *   proa publish -i hello -p bus -t greetings -d '{"name":"Grace"}'
 *
 * Or without a sidecar, the runtime inside:
 *   APP_ID=hello PROA_MODE=inside PROA_RESOURCES=examples/hello/components …/hello */
#include "proa.h"

#include <stdio.h>
#include <string.h>

/* Counts greetings of name; the ETag makes sure that two at once don't count as one. */
static int64_t greet(struct proa *p, const char *name)
{
    int r;
    int64_t n;
    do {
        char text[32];
        PROA_RESULT old = { 0 }, res = { 0 };
        n = 0;
        if (proa_state_get(p, "store", name, &old) == 0)
            (void)proa_json_int(old.data, old.len, "", &n);
        int len = snprintf(text, sizeof text, "%lld", (long long)++n);
        r = proa_state_set(p, "store", name, text, (size_t)len, old.etag, 0, &res);
    } while (r == -PROA_CONFLICT);
    return r < 0 ? r : n;
}

static void hello(struct proa_request *r, void *arg)
{
    char quoted[300];
    const char *slash = strchr(r->method, '/'), *name = slash && slash[1] ? slash + 1 : "world";
    int64_t n = greet(r->proa, name);
    if (n < 0)
        proa_reply_json(r, 503, "{\"error\":\"no state store: try again\"}");
    else
        proa_reply_json(r, 200, "{\"hello\":%s,\"greeted\":%lld}",
                        proa_json_quote(name, quoted, sizeof quoted), (long long)n);
}

static enum proa_verdict greeting(const struct proa_event *e, void *arg)
{
    char name[100];
    if (!proa_json_str(e->data, e->len, "name", name, sizeof name) || !name[0])
        return PROA_DROP; /* it will never make sense */
    return greet(e->proa, name) > 0 ? PROA_DONE : PROA_RETRY;
}

int main(void)
{
    struct proa *p = proa_new(NULL);
    if (!p || proa_method(p, "hello", hello, NULL) < 0 ||
        proa_topic(p, "bus", "greetings", greeting, NULL, NULL) < 0)
        return 1;
    int status = proa_run(p);
    proa_free(p);
    return status;
}
