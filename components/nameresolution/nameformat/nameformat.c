/* nameformat.c — nameresolution.nameformat: an address is made of the app id, by a pattern.
 * Owner:  nothing is held but the configuration; the address is in the caller's arena.
 * Thread: any.   Failure: an id that would change the host's meaning has no address. */
#include "base/buf.h"
#include "component/kinds.h"

enum { APP_ID_MAX = 256, ADDRESS_BYTES_MAX = 512 };

#define PLACE "{appid}"

struct nameformat {
    const char *format;
};

CO static int nameformat_open(void *self, const struct component_env *env, struct error *err)
{
    struct nameformat *n = self;
    if (!strstr(n->format, PLACE))
        return fail(err, INVALID, NULL,
                    "format must contain {appid} placeholder: as in {appid}.example.org:50002");
    return 0;
}

/* What is a part of a host name, and no more. */
static bool plain(str app_id)
{
    for (size_t i = 0; i < app_id.n; i++) {
        char c = app_id.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_';
        if (!ok)
            return false;
    }
    return true;
}

static void put_address(struct buf *b, str format, str app_id)
{
    ptrdiff_t at;
    while ((at = str_find(format, S(PLACE))) >= 0) {
        buf_put(b, str_take(format, (size_t)at));
        buf_put(b, app_id);
        format = str_skip(format, (size_t)at + strlen(PLACE));
    }
    buf_put(b, format);
}

CO static int nameformat_resolve(void *self, str app_id, str namespace_, struct arena *a,
                                 struct registration *ret, size_t max, size_t *ret_n,
                                 struct error *err)
{
    const struct nameformat *n = self;
    if (app_id.n == 0 || app_id.n > APP_ID_MAX)
        return fail(err, INVALID, NULL, "an app id has 1 to %d bytes", APP_ID_MAX);
    *ret_n = 0;
    if (max == 0 || !plain(app_id))
        return 0;
    AUTO(buf_done) struct buf b;
    buf_init(&b, ADDRESS_BYTES_MAX);
    put_address(&b, str_c(n->format), app_id);
    if (!buf_ok(&b))
        return fail(err, INVALID, NULL, "the address is longer than %d bytes", ADDRESS_BYTES_MAX);
    ret[0] = (struct registration){ .address = arena_dup(a, buf_str(&b)) };
    if (!ret[0].address.p)
        return fail(err, EXHAUSTED, NULL, "the address does not fit into the request's memory");
    *ret_n = 1;
    return 0;
}

static const struct cfg_field nameformat_fields[] = {
    { .name = "format",
      .kind = CFG_STR,
      .off = offsetof(struct nameformat, format),
      .flags = CFG_REQUIRED,
      .doc = "host and internal port of an app's sidecars, with {appid} where the app id goes" },
};

const struct resolver_ops nameresolution_nameformat = {
    .t = {
        .kind = "nameresolution",
        .type = "nameresolution.nameformat",
        .version = "v1",
        .doc = "an address is made of the app id, by a pattern",
        .size = sizeof(struct nameformat),
        .fields = nameformat_fields,
        .n_fields = COUNT(nameformat_fields),
        .open = nameformat_open,
    },
    .resolve = nameformat_resolve,
};
