#include "base/buf.h"
#include "base/id.h"
#include "block/encryption.h"
#include "test/testing.h"

/* The provider's key is a number that every byte is xored with; "none" isn't there. */
struct stream {
    str in;
    size_t piece; /* bytes of one read; 0 = all */
    struct buf out;
    unsigned writes, fail_write; /* the n-th write fails; 0 = none */
    bool broken;                 /* the input breaks off at its end */
    char mask;
    char name[32]; /* of the key that was asked for */
};

static int read_in(void *arg, str *ret, struct error *err)
{
    struct stream *s = arg;
    if (!s->in.n)
        return s->broken ? -CANCELLED : 0;
    *ret = str_take(s->in, s->piece ? s->piece : s->in.n);
    s->in = str_skip(s->in, ret->n);
    return 1;
}

static int write_out(void *arg, str data, struct error *err)
{
    struct stream *s = arg;
    if (++s->writes == s->fail_write)
        return fail(err, CANCELLED, NULL, "nobody reads");
    buf_put(&s->out, data);
    return buf_ok(&s->out) ? 0 : fail(err, EXHAUSTED, NULL, "too much");
}

static int turn_key(void *arg, str name, str algorithm, str in, struct arena *a, str *ret,
                    struct error *err)
{
    struct stream *s = arg;
    snprintf(s->name, sizeof s->name, "%.*s %.*s", (int)name.n, name.p, (int)algorithm.n,
             algorithm.p);
    if (str_eq(name, S("none")))
        return fail(err, NOT_FOUND, NULL, "no such key");
    char *p = arena_alloc(a, in.n);
    for (size_t i = 0; p && i < in.n; i++)
        p[i] = (char)(in.p[i] ^ s->mask);
    *ret = str_of(p, in.n);
    return p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

static struct error last;
static const struct encryption_options PLAIN = { .key = { "k", 1 }, .algorithm = { "AES", 3 } };

static struct encryption_io io_of(struct stream *s, str in)
{
    *s = (struct stream){ .in = in, .mask = 0x55, .piece = s->piece };
    buf_init(&s->out, MIB(8));
    last = (struct error){ 0 };
    return (struct encryption_io){ read_in, write_out, turn_key, s };
}

static int seal(struct stream *s, const struct encryption_options *o, str in)
{
    struct encryption_io io = io_of(s, in);
    return encryption_seal(o, &io, &last);
}

static int open_it(struct stream *s, str in)
{
    struct encryption_io io = io_of(s, in);
    return encryption_open(S(""), &io, &last);
}

static str pattern(size_t n)
{
    static char text[300000];
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(i * 31 + i / 251);
    return str_of(text, n);
}

static const size_t SIZES[] = { 0,     1,     15,    16,     17,     65519,  65520,
                                65535, 65536, 65537, 131071, 131072, 131073, 262144 };

TEST(what_is_sealed_opens_again)
{
    static const struct {
        str cipher;
        size_t piece;
    } row[] = { { { "", 0 }, 0 },
                { { "aes-gcm", 7 }, 1000 },
                { { "ChaCha20-Poly1305", 17 }, 65536 } };
    EACH (row, r) {
        EACH (SIZES, n) {
            struct stream s = { .piece = r->piece }, t = { .piece = r->piece };
            struct encryption_options o = PLAIN;
            o.cipher = r->cipher;
            str text = pattern(*n);
            CHECK_OK(seal(&s, &o, text), "%zu bytes: %s", *n, last.text);
            size_t segments = (*n + 65535) / 65536, header = s.out.len - *n - 16 * segments;
            CHECK(header > 100 && header < 300, "%zu", header);
            CHECK_OK(open_it(&t, buf_str(&s.out)), "%zu bytes: %s", *n, last.text);
            CHECK(str_eq(buf_str(&t.out), text), "%zu bytes", *n);
            CHECK_TEXT(t.name, "k A256KW");
            buf_done(&s.out);
            buf_done(&t.out);
        }
    }
}

/* Made by the contract's own library; its example provider doesn't change the file key. */
TEST(messages_of_the_contracts_library_open)
{
    static const struct {
        const char *name, *header, *segment, *want;
    } row[] = {
        { "empty",
          "dapr.io/enc/v1\n{\"k\":\"mykey\",\"kw\":1,\"wfk\":\"rvjwqyMa8txW979ZL9wglb7f+UG1kW+/"
          "hDqvP3/ib+Q=\",\"cph\":1,\"np\":\"gZ/UVI2JlQ==\"}\n"
          "zB+rESjb3gR5guGfmxukQ//ApfW6a55WOxo6k0x89kE=\n",
          "", "" },
        { "one segment",
          "dapr.io/enc/"
          "v1\n{\"k\":\"mykey\",\"kw\":1,\"wfk\":\"QOei+iFHWhaO6f9iETClF46OP2xi7Hsi3lJM/"
          "j+twtU=\",\"cph\":1,\"np\":\"lPBnJHkXPA==\"}\n"
          "FUxdF/MUKkEdzzytE5fUf8k7gEm5nZiiN8H4ACE3NEg=\n",
          "ce406324de80708c7f2084e1b51c4b778f7d3620a1ef8ad3e98e26", "hello world" },
    };
    EACH (row, r) {
        struct stream s = { 0 };
        char message[512];
        size_t n = strlen(r->header), m = strlen(r->segment) / 2;
        memcpy(message, r->header, n);
        REQUIRE(id_unhex(str_c(r->segment), message + n));
        struct encryption_io io = io_of(&s, str_of(message, n + m));
        s.mask = 0;
        CHECK_OK(encryption_open(S(""), &io, &last), "%s: %s", r->name, last.text);
        CHECK_STR(buf_str(&s.out), r->want, "%s", r->name);
        CHECK_TEXT(s.name, "mykey A256KW");
        buf_done(&s.out);
    }
}

static size_t header_len(str message)
{
    size_t at = 0;
    for (int i = 0; i < 3; i++)
        at += (size_t)str_find_c(str_skip(message, at), '\n') + 1;
    return at;
}

TEST(no_byte_of_a_message_may_change)
{
    struct stream s = { 0 };
    CHECK_OK(seal(&s, &PLAIN, pattern(66000)));
    size_t n = s.out.len, header = header_len(buf_str(&s.out));
    char *message = (char *)buf_str(&s.out).p;
    for (size_t at = 0; at < n; at += at < header + 40 ? 1 : at > n - 40 ? 1 : 4099) {
        struct stream t = { 0 };
        char before = message[at];
        message[at] ^= 4;
        CHECK(open_it(&t, str_of(message, n)) < 0, "byte %zu", at);
        CHECK(last.text[0]);
        if (at < header + 65552)
            CHECK_EQ(t.out.len, 0, "byte %zu: nothing is given out", at);
        else
            CHECK_EQ(t.out.len, 65536, "byte %zu: the first segment alone", at);
        message[at] = before;
        buf_done(&t.out);
    }
    buf_done(&s.out);
}

TEST(a_message_cut_off_does_not_open)
{
    struct stream s = { 0 };
    CHECK_OK(seal(&s, &PLAIN, pattern(131072)));
    str message = buf_str(&s.out);
    size_t header = header_len(message);
    for (size_t n = 0; n < message.n; n += n < header + 40 ? 1 : 1031) {
        struct stream t = { 0 };
        int r = open_it(&t, str_take(message, n));
        if (n == header) /* the one thing that the format can't tell: see encryption.h */
            CHECK(r == 0 && !t.out.len);
        else
            CHECK(r < 0, "%zu bytes", n);
        buf_done(&t.out);
    }
    struct stream t = { 0 };
    CHECK(open_it(&t, str_take(message, header + 65552)) < 0, "at the end of a segment");
    CHECK_EQ(t.out.len, 0);
    buf_done(&t.out);
    buf_done(&s.out);
}

TEST(segments_keep_their_places)
{
    enum { SEGMENT = 65552 };
    static char copy[4 * SEGMENT + 1000];
    static const int order[][4] = { { 1, 0, 2, -1 },  { 0, 2, 1, -1 }, { 0, 0, 1, 2 },
                                    { 0, 2, -1, -1 }, { 0, 1, 2, 2 },  { 2, -1, -1, -1 } };
    struct stream s = { 0 };
    CHECK_OK(seal(&s, &PLAIN, pattern(3 * 65536)));
    str message = buf_str(&s.out);
    size_t header = header_len(message);
    memcpy(copy, message.p, header);
    EACH (order, o) {
        struct stream t = { 0 };
        size_t n = header;
        for (int i = 0; i < 4 && (*o)[i] >= 0; i++, n += SEGMENT)
            memcpy(copy + n, message.p + header + (size_t)(*o)[i] * SEGMENT, SEGMENT);
        CHECK(open_it(&t, str_of(copy, n)) < 0, "%d %d %d %d", (*o)[0], (*o)[1], (*o)[2], (*o)[3]);
        buf_done(&t.out);
    }
    buf_done(&s.out);
}

TEST(headers_that_are_none_are_refused)
{
    static const struct {
        const char *name, *text, *want;
    } row[] = {
        { "nothing", "", "scheme name not found" },
        { "half a name", "dapr.io", "scheme name not found" },
        { "another scheme", "dapr.io/enc/v2\n{}\nx\n", "unsupported scheme" },
        { "no text", "just some text\n", "unsupported scheme" },
        { "a longer name", "dapr.io/enc/v1x\n{}\nx\n", "unsupported scheme" },
        { "name alone", "dapr.io/enc/v1\n", "authentication code not found" },
        { "no MAC", "dapr.io/enc/v1\n{}\n", "message authentication code not found" },
        { "no JSON", "dapr.io/enc/v1\nx\ny\n", "invalid manifest" },
        { "empty lines", "dapr.io/enc/v1\n\n\n", "invalid manifest" },
        { "empty object", "dapr.io/enc/v1\n{}\ny\n", "invalid manifest" },
        { "kw 0",
          "dapr.io/enc/v1\n{\"k\":\"k\",\"kw\":0,\"wfk\":\"AAAA\",\"cph\":1,\"np\":"
          "\"AAAAAAAAAA==\"}\ny\n",
          "invalid manifest" },
        { "kw 6",
          "dapr.io/enc/v1\n{\"k\":\"k\",\"kw\":6,\"wfk\":\"AAAA\",\"cph\":1,\"np\":"
          "\"AAAAAAAAAA==\"}\ny\n",
          "invalid manifest" },
        { "cph 3",
          "dapr.io/enc/v1\n{\"k\":\"k\",\"kw\":1,\"wfk\":\"AAAA\",\"cph\":3,\"np\":"
          "\"AAAAAAAAAA==\"}\ny\n",
          "invalid manifest" },
        { "np of 6",
          "dapr.io/enc/v1\n{\"k\":\"k\",\"kw\":1,\"wfk\":\"AAAA\",\"cph\":1,\"np\":"
          "\"AAAAAAAA\"}\ny\n",
          "invalid manifest" },
        { "no wfk", "dapr.io/enc/v1\n{\"k\":\"k\",\"kw\":1,\"cph\":1,\"np\":\"AAAAAAAAAA==\"}\ny\n",
          "invalid manifest" },
        { "no key",
          "dapr.io/enc/v1\n{\"kw\":1,\"wfk\":\"AAAA\",\"cph\":1,\"np\":"
          "\"AAAAAAAAAA==\"}\ny\n",
          "does not contain a key name" },
        { "wrong MAC",
          "dapr.io/enc/v1\n{\"k\":\"k\",\"kw\":1,\"wfk\":\"AAAA\",\"cph\":1,\"np\":"
          "\"AAAAAAAAAA==\"}\ny\n",
          "failed to validate the document's signature" },
        { "a key that isn't there",
          "dapr.io/enc/v1\n{\"k\":\"none\",\"kw\":1,\"wfk\":\"AAAA\","
          "\"cph\":1,\"np\":\"AAAAAAAAAA==\"}\ny\n",
          "failed to validate the document's signature" },
    };
    EACH (row, r) {
        struct stream s = { .piece = 3 };
        CHECK(open_it(&s, str_c(r->text)) < 0, "%s", r->name);
        CHECK(str_contains(str_c(last.text), str_c(r->want)), "%s: %s", r->name, last.text);
        CHECK_EQ(s.out.len, 0);
        buf_done(&s.out);
    }
    static char big[70000];
    struct stream s = { 0 };
    memset(big, 'x', sizeof big);
    memcpy(big, "dapr.io/enc/v1\n", 15);
    CHECK(open_it(&s, str_of(big, sizeof big)) < 0);
    CHECK(str_contains(str_c(last.text), S("too long")), "%s", last.text);
    buf_done(&s.out);
}

TEST(options_choose_names_and_ways)
{
    static const struct {
        struct encryption_options o;
        const char *wrapped_by, *opened_by; /* NULL: it names no key */
    } row[] = {
        { { S("k"), S("a256kw"), { 0 }, false, { 0 } }, "k A256KW", "k A256KW" },
        { { S("k/2"), S("rsa"), S("private"), false, { 0 } },
          "k/2 RSA-OAEP-256",
          "private RSA-OAEP-256" },
        { { S("k"), S("A128CBC-NOPAD"), S("x"), true, { 0 } }, "k A128CBC-NOPAD", NULL },
        { { S("a<b>"), S("AES"), { 0 }, false, { 0 } }, "a<b> A256KW", "a<b> A256KW" },
    };
    EACH (row, r) {
        struct stream s = { 0 }, t = { 0 };
        CHECK_OK(seal(&s, &r->o, S("text")));
        CHECK_TEXT(s.name, r->wrapped_by);
        if (r->opened_by) {
            CHECK_OK(open_it(&t, buf_str(&s.out)), "%s", last.text);
            CHECK_TEXT(t.name, r->opened_by);
        } else {
            CHECK_EQ(open_it(&t, buf_str(&s.out)), -INVALID);
            buf_done(&t.out);
            struct encryption_io io = io_of(&t, buf_str(&s.out));
            CHECK_OK(encryption_open(S("given"), &io, &last));
            CHECK_STR(buf_str(&t.out), "text");
        }
        buf_done(&s.out);
        buf_done(&t.out);
    }
}

TEST(options_that_do_not_fit_are_refused)
{
    static const struct {
        struct encryption_options o;
        const char *want;
    } row[] = {
        { { { 0 }, S("AES"), { 0 }, false, { 0 } }, "option KeyName is required" },
        { { S("k"), { 0 }, { 0 }, false, { 0 } }, "option Algorithm is required" },
        { { S("k"), S("A128GCM"), { 0 }, false, { 0 } },
          "option Algorithm is not valid: algorithm A128GCM is not supported" },
        { { S("k"), S("AES"), { 0 }, false, S("DES") },
          "option Cipher is not valid: cipher DES is not supported" },
        { { S("none"), S("AES"), { 0 }, false, { 0 } },
          "failed to wrap the file key: no such key" },
    };
    EACH (row, r) {
        struct stream s = { 0 };
        CHECK(seal(&s, &r->o, S("text")) < 0);
        CHECK_TEXT(last.text, r->want);
        CHECK_EQ(s.out.len, 0);
        buf_done(&s.out);
    }
}

TEST(streams_that_break_off_end_the_work)
{
    for (unsigned n = 1; n <= 4; n++) {
        struct stream s = { 0 };
        struct encryption_io io = io_of(&s, pattern(200000));
        s.fail_write = n;
        CHECK_EQ(encryption_seal(&PLAIN, &io, &last), -CANCELLED);
        CHECK_EQ(s.writes, n);
        buf_done(&s.out);
    }
    struct stream s = { 0 };
    struct encryption_io io = io_of(&s, pattern(70000));
    s.broken = true;
    CHECK_EQ(encryption_seal(&PLAIN, &io, &last), -CANCELLED);
    buf_done(&s.out);
}

TEST(no_two_messages_share_a_key)
{
    struct stream s = { 0 }, t = { 0 };
    CHECK_OK(seal(&s, &PLAIN, S("text")));
    CHECK_OK(seal(&t, &PLAIN, S("text")));
    CHECK(!str_eq(buf_str(&s.out), buf_str(&t.out)));
    buf_done(&s.out);
    buf_done(&t.out);
}

TEST(without_memory_nothing_is_given_out)
{
    struct stream s = { 0 };
    CHECK_OK(seal(&s, &PLAIN, S("text")));
    FAIL_EACH_ALLOC(n)
    {
        struct stream t = { 0 };
        int r = open_it(&t, buf_str(&s.out));
        CHECK(r == 0 || test_alloc_failed(n), "allocation %zu", n);
        CHECK(r == 0 || last.code, "allocation %zu", n);
        buf_done(&t.out);
    }
    buf_done(&s.out);
}
