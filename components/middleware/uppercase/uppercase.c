/* uppercase.c — middleware.http.uppercase: turns a body into upper case, to see a pipeline work.
 * Owner:  a wrapped exchange lives in the request's arena while the rest of the pipeline runs.
 * Thread: the request's worker.   Limits: PIECE_MAX bytes of a body are held at a time.
 * Failure: what the exchange below gives is passed on; -EXHAUSTED when the arena is full: 500. */
#include "component/kinds.h"
#include "http/server.h"

enum { PIECE_MAX = 16 << 10 };

struct uppercase {
    const char *direction;
    bool request, response;
};

/* The exchange that the rest of the pipeline sees. */
struct upper_exchange {
    struct http_exchange x;
    struct http_exchange *below;
    bool request, response;
    str unread; /* of the piece that below has given */
    char in[PIECE_MAX], out[PIECE_MAX];
};

static struct upper_exchange *upper_of(struct http_exchange *x)
{
    return CONTAINER_OF(x, struct upper_exchange, x);
}

/* ASCII only, so that the length stays what the headers say. */
static str upper(str s, char *ret)
{
    for (size_t i = 0; i < s.n; i++)
        ret[i] = s.p[i] >= 'a' && s.p[i] <= 'z' ? (char)(s.p[i] - 32) : s.p[i];
    return str_of(ret, s.n);
}

CO static int upper_read(struct http_exchange *x, str *ret_chunk)
{
    struct upper_exchange *u = upper_of(x);
    if (!u->request)
        return http_read(u->below, ret_chunk);
    while (u->unread.n == 0) {
        int r = http_read(u->below, &u->unread);
        if (r <= 0)
            return r;
    }
    str piece = str_take(u->unread, PIECE_MAX);
    u->unread = str_skip(u->unread, piece.n);
    *ret_chunk = upper(piece, u->in);
    return 1;
}

CO static int upper_start(struct http_exchange *x, int status, const struct http_headers *headers,
                          int64_t content_length)
{
    return http_reply_start(upper_of(x)->below, status, headers, content_length);
}

CO static int upper_write(struct http_exchange *x, str data)
{
    struct upper_exchange *u = upper_of(x);
    if (!u->response)
        return http_reply_write(u->below, data);
    while (data.n) {
        str piece = str_take(data, PIECE_MAX);
        int r = http_reply_write(u->below, upper(piece, u->out));
        if (r)
            return r;
        data = str_skip(data, piece.n);
    }
    return 0;
}

CO static int upper_end(struct http_exchange *x, const struct http_headers *trailers)
{
    return http_reply_end(upper_of(x)->below, trailers);
}

CO static int upper_reply(struct http_exchange *x, int status, const struct http_headers *headers,
                          str body)
{
    struct upper_exchange *u = upper_of(x);
    if (u->response && body.n > PIECE_MAX) {
        int r = upper_start(x, status, headers, (int64_t)body.n);
        if (!r)
            r = upper_write(x, body);
        return r ? r : upper_end(x, NULL);
    }
    return http_reply(u->below, status, headers, u->response ? upper(body, u->out) : body);
}

static void upper_abort(struct http_exchange *x)
{
    http_reply_abort(upper_of(x)->below);
}

static const struct http_exchange_ops upper_ops = {
    .read = upper_read,
    .start = upper_start,
    .write = upper_write,
    .end = upper_end,
    .reply = upper_reply,
    .abort = upper_abort,
};

CO static void uppercase_handle(void *self, struct http_exchange *x, struct middleware_chain *rest)
{
    const struct uppercase *m = self;
    struct upper_exchange *u = arena_alloc(x->arena, sizeof *u);
    if (!u) {
        (void)http_reply(x, 500, NULL, S("the request's memory is full"));
        return;
    }
    u->x = *x;
    u->x.ops = &upper_ops;
    u->below = x;
    u->request = m->request;
    u->response = m->response;
    u->unread = S("");
    middleware_next(rest, &u->x);
    x->user = u->x.user; /* what the layers above have left for the access log */
}

static int uppercase_open(void *self, const struct component_env *env, struct error *err)
{
    struct uppercase *m = self;
    str d = str_c(m->direction);
    bool both = str_ieq(d, S("both"));
    m->request = both || str_ieq(d, S("request"));
    m->response = both || str_ieq(d, S("response"));
    if (!m->request && !m->response)
        return fail(err, INVALID, NULL, "direction must be request, response or both, not '%s'",
                    m->direction);
    return 0;
}

static const struct cfg_field uppercase_fields[] = {
    { .name = "direction",
      .kind = CFG_STR,
      .off = offsetof(struct uppercase, direction),
      .def = "request",
      .doc = "whose body: request, response or both" },
};

const struct middleware_ops middleware_uppercase = {
    .t = {
        .kind = "middleware.http",
        .type = "middleware.http.uppercase",
        .version = "v1",
        .doc = "turns bodies into upper case, to see a pipeline work",
        .size = sizeof(struct uppercase),
        .fields = uppercase_fields,
        .n_fields = COUNT(uppercase_fields),
        .open = uppercase_open,
    },
    .handle = uppercase_handle,
};
