#include "components/common/redis/resp.h"

enum { DIRECT_MIN = 4096 };

void resp_begin(struct resp_reader *r, struct arena *a, struct redis_reply *ret)
{
    *r = (struct resp_reader){ .a = a, .root = a ? ret : NULL };
}

void resp_forget(struct resp_reader *r)
{
    r->a = NULL;
    r->root = NULL;
    r->bulk = NULL;
}

static void give_up(struct resp_reader *r)
{
    r->failed = -EXHAUSTED;
    resp_forget(r);
}

static void *take(struct resp_reader *r, size_t n)
{
    if (!r->a)
        return NULL;
    r->taken += n;
    void *p = r->taken <= REDIS_REPLY_MAX ? arena_alloc(r->a, n) : NULL;
    if (!p)
        give_up(r);
    return p;
}

/* The place of the value that begins; NULL when it is thrown away. */
static struct redis_reply *place(struct resp_reader *r)
{
    if (!r->a)
        return NULL;
    return r->depth ? r->frame[r->depth - 1].next++ : r->root;
}

/* A value has ended: true when it was the last one of the reply. */
static bool ended(struct resp_reader *r)
{
    while (r->depth && --r->frame[r->depth - 1].left == 0)
        r->depth--;
    return r->depth == 0;
}

static bool is_count(str line, int64_t max, int64_t *ret)
{
    return str_to_i64(line, ret) && *ret >= -1 && *ret <= max;
}

/* ---- the kinds: each returns 1 value complete, 0 more to come, -DATA_LOSS ---- */

static int begin_text(struct resp_reader *r, enum redis_kind kind, str line)
{
    struct redis_reply *v = place(r);
    char *copy = v ? take(r, line.n + 1) : NULL;
    if (!copy)
        return 1;
    memcpy(copy, line.p, line.n);
    copy[line.n] = 0;
    *v = (struct redis_reply){ .kind = kind, .text = str_of(copy, line.n) };
    return 1;
}

static int begin_integer(struct resp_reader *r, str line)
{
    int64_t number;
    if (!str_to_i64(line, &number))
        return -DATA_LOSS;
    struct redis_reply *v = place(r);
    if (v)
        *v = (struct redis_reply){ .kind = REDIS_INTEGER, .integer = number };
    return 1;
}

static int begin_string(struct resp_reader *r, str line)
{
    int64_t n;
    if (!is_count(line, RESP_BULK_MAX, &n))
        return -DATA_LOSS;
    struct redis_reply *v = place(r);
    if (v)
        *v = (struct redis_reply){ .kind = REDIS_NIL };
    if (n < 0)
        return 1;
    r->bulk = v ? take(r, (size_t)n + 1) : NULL;
    if (r->bulk) {
        r->bulk[n] = 0;
        *v = (struct redis_reply){ .kind = REDIS_STRING, .text = str_of(r->bulk, (size_t)n) };
    }
    r->bulk_left = (size_t)n + 2;
    return 0;
}

static int begin_array(struct resp_reader *r, str line)
{
    int64_t n;
    if (!is_count(line, INT32_MAX, &n) || (n > 0 && r->depth == RESP_DEPTH_MAX))
        return -DATA_LOSS;
    struct redis_reply *v = place(r), *item = NULL;
    if (v)
        *v = (struct redis_reply){ .kind = n < 0 ? REDIS_NIL : REDIS_ARRAY };
    if (n <= 0)
        return 1;
    if (v && n > REDIS_ARGS_MAX)
        give_up(r);
    else if (v && (item = take(r, (size_t)n * sizeof *item))) {
        v->item = item;
        v->n = (size_t)n;
    }
    r->frame[r->depth].next = item;
    r->frame[r->depth++].left = (size_t)n;
    return 0;
}

static int begin_value(struct resp_reader *r, char kind, str line)
{
    switch (kind) {
    case '+':
        return begin_text(r, REDIS_STATUS, line);
    case '-':
        return begin_text(r, REDIS_ERROR, line);
    case ':':
        return begin_integer(r, line);
    case '$':
        return begin_string(r, line);
    case '*':
        return begin_array(r, line);
    default:
        return -DATA_LOSS;
    }
}

/* ---- feeding ---- */

static void put_bulk(struct resp_reader *r, const char *p, size_t n)
{
    size_t data = min_size(n, r->bulk_left > 2 ? r->bulk_left - 2 : 0);
    if (r->bulk && data) {
        memcpy(r->bulk, p, data);
        r->bulk += data;
    }
    r->bulk_left -= n;
}

/* The CRLF behind a string may come in two pieces. */
static bool end_is_right(const struct resp_reader *r, const char *p, size_t n)
{
    size_t left = r->bulk_left;
    return !(left >= 2 && left - 2 < n && p[left - 2] != '\r') &&
           !(left - 1 < n && p[left - 1] != '\n');
}

/* Returns 1 value complete, 0 more to come, -ABORTED: the line isn't there yet, -DATA_LOSS. */
static int feed_line(struct resp_reader *r, const char *p, size_t n, size_t *ret_used)
{
    const char *lf = memchr(p, '\n', min_size(n, RESP_LINE_MAX));
    if (!lf)
        return n >= RESP_LINE_MAX ? -DATA_LOSS : -ABORTED;
    size_t len = (size_t)(lf - p);
    if (len < 2 || p[len - 1] != '\r')
        return -DATA_LOSS;
    *ret_used = len + 1;
    return begin_value(r, p[0], str_of(p + 1, len - 2));
}

static int feed_bulk(struct resp_reader *r, const char *p, size_t n, size_t *ret_used)
{
    n = min_size(n, r->bulk_left);
    if (!end_is_right(r, p, n))
        return -DATA_LOSS;
    put_bulk(r, p, n);
    *ret_used = n;
    return r->bulk_left == 0;
}

int resp_feed(struct resp_reader *r, const char *p, size_t n, size_t *ret_used)
{
    size_t at = 0;
    int v = 0;
    while (at < n) {
        size_t used = 0;
        v = r->bulk_left ? feed_bulk(r, p + at, n - at, &used)
                         : feed_line(r, p + at, n - at, &used);
        at += used;
        if (v < 0)
            break;
        if (v > 0 && ended(r)) {
            *ret_used = at;
            return 1;
        }
    }
    *ret_used = at;
    return v == -DATA_LOSS ? v : 0;
}

char *resp_direct(const struct resp_reader *r, size_t *ret_n)
{
    if (!r->bulk || r->bulk_left < DIRECT_MIN)
        return NULL;
    *ret_n = r->bulk_left - 2;
    return r->bulk;
}

void resp_advance(struct resp_reader *r, size_t n)
{
    r->bulk += n;
    r->bulk_left -= n;
}

/* ---- commands ---- */

enum { HEAD_MAX = 24 };

static size_t put_head(char *to, char kind, size_t n)
{
    char digits[HEAD_MAX], *p = digits + sizeof digits;
    size_t v = n;
    do
        *--p = (char)('0' + v % 10);
    while (v /= 10);
    size_t len = (size_t)(digits + sizeof digits - p);
    *to++ = kind;
    memcpy(to, p, len);
    memcpy(to + len, "\r\n", 2);
    return len + 3;
}

bool resp_write(struct buf *to, const str *arg, size_t n)
{
    size_t most = HEAD_MAX + 3, at;
    for (size_t i = 0; i < n; i++)
        most += arg[i].n + HEAD_MAX + 5;
    char *p = buf_reserve(to, most);
    if (!p) {
        to->failed = false; /* nothing was put: the buffer is as good as before */
        return false;
    }
    at = put_head(p, '*', n);
    for (size_t i = 0; i < n; i++) {
        at += put_head(p + at, '$', arg[i].n);
        if (arg[i].n)
            memcpy(p + at, arg[i].p, arg[i].n);
        at += arg[i].n;
        memcpy(p + at, "\r\n", 2);
        at += 2;
    }
    buf_commit(to, at);
    return true;
}
