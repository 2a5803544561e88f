/* Whatever bytes come as an encrypted message, in whatever pieces: nothing crashes, and what opens
 * was sealed. The first byte is the size of the pieces; the provider's key changes nothing, so that
 * a corpus of real messages is possible. */
#include "block/encryption.h"
#include "test/fuzz/fuzz.h"

struct stream {
    str in;
    size_t piece, out;
};

static int read_in(void *arg, str *ret, struct error *err)
{
    struct stream *s = arg;
    if (!s->in.n)
        return 0;
    *ret = str_take(s->in, s->piece);
    s->in = str_skip(s->in, ret->n);
    return 1;
}

static int write_out(void *arg, str data, struct error *err)
{
    struct stream *s = arg;
    s->out += data.n;
    return data.n ? 0 : fail(err, INTERNAL, NULL, "an empty piece");
}

static int same_key(void *arg, str name, str algorithm, str in, struct arena *a, str *ret,
                    struct error *err)
{
    *ret = arena_dup(a, in);
    return ret->p && name.n && algorithm.n ? 0 : -INVALID;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct stream s = { str_of(data + 1, size - 1), data[0] + 1, 0 };
    struct encryption_io io = { read_in, write_out, same_key, &s };
    struct error err = { 0 };
    int r = encryption_open(S(""), &io, &err);
    FUZZ_CHECK(r >= 0 || err.text[0]);
    FUZZ_CHECK(s.out < size);
    return 0;
}
