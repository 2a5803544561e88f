/* routerchecker.c — middleware.http.routerchecker: only requests whose target matches a rule.
 * Owner:  the instance's arena holds the compiled rule; a match's scratch is the request's.
 * Thread: any worker; nothing changes after open.
 * Failure: a rule that can't be compiled fails open; what doesn't match gets 400. */
#include "component/kinds.h"
#include "format/regex.h"
#include "http/server.h"

struct routerchecker {
    const char *rule;
    struct arena arena;
    struct regex *regex;
};

CO static void refuse(struct http_exchange *x, int status, str why)
{
    struct http_headers h;
    http_headers_init(&h, x->arena);
    bool full = http_headers_add(&h, S("Content-Type"), S("text/plain; charset=utf-8"));
    (void)http_reply(x, status, full ? NULL : &h, why);
}

CO static void routerchecker_handle(void *self, struct http_exchange *x,
                                    struct middleware_chain *rest)
{
    struct routerchecker *m = self;
    void *scratch = arena_alloc(x->arena, regex_scratch(m->regex));
    if (!scratch)
        refuse(x, 500, S("the request is too large for its memory"));
    else if (regex_match(m->regex, x->req.target, scratch))
        middleware_next(rest, x);
    else
        refuse(x, 400, S("invalid router"));
}

static int routerchecker_open(void *self, const struct component_env *env, struct error *err)
{
    struct routerchecker *m = self;
    const char *why;
    arena_init(&m->arena, MIB(4));
    m->regex = regex_compile(&m->arena, str_c(m->rule), &why);
    if (m->regex)
        return 0;
    return fail(err, why == regex_no_memory ? EXHAUSTED : INVALID, NULL,
                "rule is no regular expression that can be used: %s", why);
}

static void routerchecker_close(void *self)
{
    struct routerchecker *m = self;
    arena_done(&m->arena);
    m->regex = NULL;
}

static const struct cfg_field routerchecker_fields[] = {
    { .name = "rule",
      .kind = CFG_STR,
      .off = offsetof(struct routerchecker, rule),
      .flags = CFG_REQUIRED,
      .doc = "a regular expression (RE2) that path and query of a request must match" },
};

const struct middleware_ops middleware_routerchecker = {
    .t = {
        .kind = "middleware.http",
        .type = "middleware.http.routerchecker",
        .version = "v1",
        .doc = "only requests whose target matches a rule",
        .size = sizeof(struct routerchecker),
        .fields = routerchecker_fields,
        .n_fields = COUNT(routerchecker_fields),
        .open = routerchecker_open,
        .close = routerchecker_close,
    },
    .handle = routerchecker_handle,
};
