#include "http/h1_io.h"

int h1_input_fill(struct h1_input *in)
{
    if (in->at == in->end)
        in->at = in->end = in->floor;
    if (in->end == in->cap && in->at > in->floor) {
        memmove(in->buf + in->floor, in->buf + in->at, in->end - in->at);
        in->end -= in->at - in->floor;
        in->at = in->floor;
    }
    if (in->end == in->cap)
        return -EXHAUSTED;
    ssize_t n = stream_read(in->stream, in->buf + in->end, in->cap - in->end);
    if (n <= 0)
        return (int)n;
    in->end += (size_t)n;
    return 1;
}

void h1_input_restart(struct h1_input *in)
{
    if (in->at && in->end > in->at)
        memmove(in->buf, in->buf + in->at, in->end - in->at);
    in->end -= in->at;
    in->at = in->floor = 0;
}

int h1_input_head(struct h1_input *in, struct h1_head *head)
{
    for (;;) {
        int r = h1_parse(head, in->buf + in->at, in->end - in->at);
        if (r < 0)
            return r;
        if (r == 1) {
            in->at += head->size;
            if (head->kind != H1_TRAILERS)
                in->floor = in->at;
            return 1;
        }
        r = h1_input_fill(in);
        if (r == 0 && in->end > in->at)
            return -UNAVAILABLE;
        if (r <= 0)
            return r;
    }
}

/* ---- bodies ---- */

void h1_body_init(struct h1_body *b, enum h1_body_kind kind, int64_t content_length,
                  struct arena *arena)
{
    b->kind = kind;
    b->left = content_length > 0 ? (uint64_t)content_length : 0;
    b->done = kind == H1_BODY_NONE || (kind == H1_BODY_LENGTH && !b->left);
    h1_chunks_init(&b->chunks);
    b->trailers.headers = (struct http_headers){ .arena = arena };
}

CO static int fill_for_body(struct h1_input *in)
{
    int r = h1_input_fill(in);
    return r == 0 ? -UNAVAILABLE : r;
}

static int take_buffered(struct h1_body *b, struct h1_input *in, str *ret)
{
    size_t n = in->end - in->at;
    if (b->kind == H1_BODY_LENGTH)
        n = (size_t)min_u64(n, b->left);
    *ret = str_of(in->buf + in->at, n);
    in->at += n;
    b->left -= b->kind == H1_BODY_LENGTH ? n : 0;
    b->done = b->kind == H1_BODY_LENGTH && !b->left;
    return 1;
}

CO static int read_trailers(struct h1_body *b, struct h1_input *in)
{
    if (in->at > in->floor) { /* all room for them: the parser wants them to stay in place */
        memmove(in->buf + in->floor, in->buf + in->at, in->end - in->at);
        in->end -= in->at - in->floor;
        in->at = in->floor;
    }
    h1_head_init(&b->trailers, H1_TRAILERS, H1_TRAILERS_MAX, b->trailers.headers.arena);
    int r = h1_input_head(in, &b->trailers);
    b->done = r == 1;
    return r == 1 ? 0 : r == 0 ? -UNAVAILABLE : r;
}

CO static int read_chunked(struct h1_body *b, struct h1_input *in, str *ret)
{
    for (;;) {
        size_t used = 0;
        int r = h1_chunks_next(&b->chunks, in->buf + in->at, in->end - in->at, &used, ret);
        in->at += used;
        if (r < 0 || r == H1_CHUNKS_DATA)
            return r;
        if (r == H1_CHUNKS_END)
            return read_trailers(b, in);
        r = fill_for_body(in);
        if (r < 0)
            return r;
    }
}

int h1_body_read(struct h1_body *b, struct h1_input *in, str *ret)
{
    if (b->done)
        return 0;
    if (b->kind == H1_BODY_CHUNKED)
        return read_chunked(b, in, ret);
    if (in->at == in->end) {
        int r = h1_input_fill(in);
        if (r < 0 || (r == 0 && b->kind == H1_BODY_LENGTH))
            return r < 0 ? r : -UNAVAILABLE;
        if (r == 0) {
            b->done = true;
            return 0;
        }
    }
    return take_buffered(b, in, ret);
}
