#include "http/h2_guard.h"

#include <nghttp2/nghttp2.h>

/* Frames that make us work or answer without being part of a request (SETTINGS, PING, PRIORITY,
 * RST_STREAM, empty DATA) are paid from a budget that refills with time: what CVE-2019-9512, -9515,
 * -9518 and CVE-2023-44487 send without end. */
enum { BUDGET_MAX = 10000, BUDGET_PER_S = 1000 };

/* Callers that give up or hedge reset streams in earnest: 4,000 a second are borne, 40,000 at once;
 * what those cost meanwhile is bounded by the handlers that still unwind. */
#define RESET_COST 0.25

enum {
    CONTINUATIONS = 32, /* of one header block, and one for each FRAME of its list's limit */
    FRAME = 16 << 10,
    REMEMBERED = 64, /* streams: the bits of `opened` */
};

void h2_guard_init(struct h2_guard *g, bool of_client, size_t max_header_bytes, uint64_t now)
{
    *g = (struct h2_guard){ .of_client = of_client,
                            .left = of_client ? NGHTTP2_CLIENT_MAGIC_LEN : 0,
                            .budget = BUDGET_MAX,
                            .budget_at = now,
                            .max_continuations =
                                CONTINUATIONS + (unsigned)(max_header_bytes / FRAME) };
}

void h2_guard_upgrade(struct h2_guard *g)
{
    g->newest = 1;
    g->opened = g->ended = 1;
}

/* Pays for work of no use: false when that's too much by now. */
static bool spend(struct h2_guard *g, double cost, uint64_t now)
{
    g->budget += (double)(now - g->budget_at) * BUDGET_PER_S / 1e9;
    g->budget_at = now;
    if (g->budget > BUDGET_MAX)
        g->budget = BUDGET_MAX;
    g->budget -= cost;
    return g->budget >= 0;
}

static bool bearable(struct h2_guard *g, const nghttp2_frame_hd *hd, uint64_t now)
{
    switch (hd->type) {
    case NGHTTP2_CONTINUATION:
        return ++g->continuations <= g->max_continuations;
    case NGHTTP2_HEADERS:
        g->continuations = 0;
        return true;
    case NGHTTP2_DATA:
        return hd->length || hd->flags & NGHTTP2_FLAG_END_STREAM || spend(g, 1, now);
    case NGHTTP2_RST_STREAM:
        return spend(g, RESET_COST, now);
    case NGHTTP2_WINDOW_UPDATE:
        return true; /* part of every download */
    default:
        return spend(g, 1, now);
    }
}

static void open_stream(struct h2_guard *g, uint32_t id)
{
    uint32_t by = (id - g->newest) / 2;
    g->opened = (by < REMEMBERED ? g->opened << by : 0) | 1;
    g->ended = by < REMEMBERED ? g->ended << by : 0;
    g->newest = id;
}

/* RFC 9113 sections 5.1 and 5.1.1. Only what the client itself has said counts: on a stream that we
 * have reset its frames may still be under way, and nghttp2 passes over them. (That remembers
 * closed streams too, with 200 bytes for each of as many as may be open.) */
static uint32_t judge_stream(struct h2_guard *g, const nghttp2_frame_hd *hd)
{
    uint32_t id = (uint32_t)hd->stream_id;
    bool message = hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_DATA;
    if (!(id & 1) || (!message && hd->type != NGHTTP2_RST_STREAM))
        return NGHTTP2_NO_ERROR;
    if (hd->type == NGHTTP2_HEADERS && id > g->newest)
        open_stream(g, id);
    if (id > g->newest || (g->newest - id) / 2 >= REMEMBERED)
        return NGHTTP2_NO_ERROR; /* idle, which nghttp2 refuses; or forgotten */
    uint64_t bit = 1ULL << (g->newest - id) / 2;
    if (message && !(g->opened & bit))
        return NGHTTP2_PROTOCOL_ERROR;
    if (message && g->ended & bit)
        return NGHTTP2_STREAM_CLOSED;
    if (!message || hd->flags & NGHTTP2_FLAG_END_STREAM)
        g->ended |= bit;
    return NGHTTP2_NO_ERROR;
}

static uint32_t judge(struct h2_guard *g, uint64_t now)
{
    const unsigned char *p = g->head;
    nghttp2_frame_hd hd = {
        .length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2],
        .type = p[3],
        .flags = p[4],
        .stream_id = (p[5] & 0x7f) << 24 | p[6] << 16 | p[7] << 8 | p[8],
    };
    g->left = hd.length;
    g->n_head = 0;
    if (!bearable(g, &hd, now))
        return NGHTTP2_ENHANCE_YOUR_CALM;
    return g->of_client ? judge_stream(g, &hd) : NGHTTP2_NO_ERROR;
}

size_t h2_guard_read(struct h2_guard *g, str bytes, uint64_t now, uint32_t *ret_code)
{
    for (size_t at = 0; at < bytes.n;) {
        size_t skip = min_size(g->left, bytes.n - at);
        g->left -= skip;
        at += skip;
        size_t start = at, n = min_size(H2_FRAME_HEAD - g->n_head, bytes.n - at);
        memcpy(g->head + g->n_head, bytes.p + at, n);
        g->n_head += n;
        at += n;
        if (g->n_head < H2_FRAME_HEAD)
            break; /* none, or a part of it */
        *ret_code = judge(g, now);
        if (*ret_code != NGHTTP2_NO_ERROR)
            return start;
    }
    return bytes.n;
}
