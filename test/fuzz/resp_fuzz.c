/* resp_fuzz.c — what a server may send, read whole and in pieces: the same replies, nothing is
 * overread, and a connection that was told to skip a reply stays in step. Byte 0: how long the
 * pieces are; byte 1: how large the arena is, and whether the second half is forgotten. */
#include "test/fuzz/fuzz.h"

#include "components/common/redis/resp.h"

enum { REPLIES_MAX = 64 };

struct outcome {
    int end; /* of the last feed */
    size_t used, n;
    uint64_t sum;
};

static void mix(struct outcome *o, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        o->sum = (o->sum ^ ((const unsigned char *)p)[i]) * 0x100000001b3u;
}

static void add(struct outcome *o, const struct redis_reply *v)
{
    mix(o, &v->kind, sizeof v->kind);
    if (v->kind == REDIS_INTEGER)
        mix(o, &v->integer, sizeof v->integer);
    if (v->kind == REDIS_STRING || v->kind == REDIS_STATUS || v->kind == REDIS_ERROR) {
        FUZZ_CHECK(v->text.p[v->text.n] == 0);
        mix(o, v->text.p, v->text.n);
    }
    for (size_t i = 0; v->kind == REDIS_ARRAY && i < v->n; i++)
        add(o, &v->item[i]);
}

static int read_one(struct resp_reader *r, str in, size_t piece, size_t *used)
{
    size_t end = *used;
    for (;;) {
        size_t n = 0, room = 0;
        char *to = end == *used ? resp_direct(r, &room) : NULL;
        size_t direct = to ? min_size(min_size(room, piece), in.n - end) : 0;
        if (direct) {
            memcpy(to, in.p + end, direct);
            resp_advance(r, direct);
            *used += direct;
        }
        end = min_size(in.n, (direct ? *used : end) + piece);
        int done = resp_feed(r, in.p + *used, end - *used, &n);
        FUZZ_CHECK(n <= end - *used);
        *used += n;
        if (done || end == in.n)
            return done;
    }
}

static struct outcome read_all(str in, size_t piece, size_t arena_max, bool forget)
{
    struct outcome o = { 0 };
    while (o.n < REPLIES_MAX) {
        struct resp_reader r;
        struct redis_reply reply;
        struct arena a;
        arena_init(&a, arena_max);
        bool wanted = !(forget && o.n % 2);
        resp_begin(&r, wanted ? &a : NULL, wanted ? &reply : NULL);
        o.end = read_one(&r, in, piece, &o.used);
        if (o.end == 1 && wanted && !r.failed)
            add(&o, &reply);
        arena_done(&a);
        if (o.end != 1)
            break;
        o.n++;
    }
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    str in = str_of(data + 2, size - 2);
    size_t max = data[1] & 1 ? KIB(5) : MIB(8), piece = (size_t)data[0] + 1;
    struct outcome whole = read_all(in, in.n + 1, max, data[1] & 2);
    struct outcome cut = read_all(in, piece, max, data[1] & 2);
    FUZZ_CHECK(whole.end == cut.end && whole.n == cut.n && whole.sum == cut.sum);
    return 0;
}
