#include "block/encryption.h"

#include "base/id.h"
#include "base/mem.h"
#include "block/aead.h"
#include "format/json.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>

#include <openssl/core_names.h>

enum { FILE_KEY = 32, PREFIX = 7, MAC = 32, MAC_TEXT = 44, HEADER_MAX = ENCRYPTION_SEGMENT };
static const str SCHEME = { "dapr.io/enc/v1", 14 };

static const struct {
    str name, alias;
} wrapping[] = {
    [1] = { { "A256KW", 6 }, { "AES", 3 } },        [2] = { { "A128CBC-NOPAD", 13 }, { NULL, 0 } },
    [3] = { { "A192CBC-NOPAD", 13 }, { NULL, 0 } }, [4] = { { "A256CBC-NOPAD", 13 }, { NULL, 0 } },
    [5] = { { "RSA-OAEP-256", 12 }, { "RSA", 3 } },
};
static const struct {
    str name;
    enum aead_kind kind;
} ciphers[] = {
    [1] = { { "AES-GCM", 7 }, AEAD_AES_GCM },
    [2] = { { "CHACHA20-POLY1305", 17 }, AEAD_CHACHA },
};

/* ---- keys of one message ---- */

struct message {
    const struct encryption_io *io;
    struct arena arena; /* of the header */
    char file_key[FILE_KEY], prefix[PREFIX];
    size_t cipher; /* index in ciphers */
    struct aead aead;
    char *in, *out; /* a segment each */
    str rest;       /* of the piece that was read last */
    bool ended;
};

static int message_init(struct message *m, const struct encryption_io *io, struct error *err)
{
    *m = (struct message){ .io = io };
    arena_init(&m->arena, 4 * HEADER_MAX + KIB(16));
    m->in = mem_alloc(ENCRYPTION_SEGMENT + AEAD_TAG);
    m->out = mem_alloc(ENCRYPTION_SEGMENT + AEAD_TAG);
    return m->in && m->out ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

static void message_done(struct message *m)
{
    OPENSSL_cleanse(m->file_key, sizeof m->file_key);
    aead_done(&m->aead);
    mem_free(m->in);
    mem_free(m->out);
    arena_done(&m->arena);
}

/* HKDF-SHA-256 of the file key: RFC 5869. */
static bool derive(const struct message *m, str salt, const char *info, char ret[FILE_KEY])
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM params[5], *p = params;
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)m->file_key, FILE_KEY);
    if (salt.n)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt.p, salt.n);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, strlen(info));
    *p = OSSL_PARAM_construct_end();
    bool ok = ctx && EVP_KDF_derive(ctx, (unsigned char *)ret, FILE_KEY, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    ERR_clear_error();
    return ok;
}

/* The header's MAC, over its first two lines with their ends. */
static bool header_mac(const struct message *m, str lines, unsigned char ret[MAC])
{
    char key[FILE_KEY];
    unsigned n = 0;
    bool ok = derive(m, S(""), "header", key) &&
              HMAC(EVP_sha256(), key, FILE_KEY, (const unsigned char *)lines.p, lines.n, ret, &n);
    OPENSSL_cleanse(key, sizeof key);
    return ok && n == MAC;
}

static int payload_key(struct message *m, struct error *err)
{
    char key[FILE_KEY];
    bool ok = derive(m, str_of(m->prefix, PREFIX), "payload", key) &&
              aead_init(&m->aead, ciphers[m->cipher].kind, str_of(key, sizeof key)) == 0;
    OPENSSL_cleanse(key, sizeof key);
    return ok ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

/* ---- the stream of segments ---- */

/* Makes sure that .rest holds something, or that the stream has ended. */
CO static int more(struct message *m, struct error *err)
{
    while (!m->rest.n && !m->ended) {
        int r = m->io->read(m->io->arg, &m->rest, err);
        if (r < 0)
            return fail(err, (enum code) - r, NULL, "the input broke off");
        m->ended = r == 0;
        if (m->ended)
            m->rest = S("");
    }
    return 0;
}

/* As much as there is, at most size bytes; afterwards .ended && !.rest.n says that it is the last.
 */
CO static int fill(struct message *m, size_t size, size_t *ret_n, struct error *err)
{
    size_t n = 0;
    for (;;) {
        int r = more(m, err);
        if (r < 0)
            return r;
        if (n == size || !m->rest.n)
            break;
        str piece = str_take(m->rest, size - n);
        memcpy(m->in + n, piece.p, piece.n);
        n += piece.n;
        m->rest = str_skip(m->rest, piece.n);
    }
    *ret_n = n;
    return 0;
}

static void make_nonce(const struct message *m, uint32_t number, bool last, char ret[AEAD_NONCE])
{
    memcpy(ret, m->prefix, PREFIX);
    for (int i = 0; i < 4; i++)
        ret[PREFIX + i] = (char)(number >> (24 - 8 * i));
    ret[AEAD_NONCE - 1] = last;
}

static int one_segment(struct message *m, bool seal, uint64_t number, size_t *n, bool last,
                       struct error *err)
{
    char nonce[AEAD_NONCE];
    make_nonce(m, (uint32_t)number, last, nonce);
    if (!last && number == UINT32_MAX)
        return fail(err, RANGE, NULL, "input stream is too large");
    if (seal) {
        int r = aead_seal(&m->aead, nonce, str_of(m->in, *n), m->out);
        *n += AEAD_TAG;
        return r < 0 ? fail(err, EXHAUSTED, NULL, "out of memory") : 0;
    }
    if (aead_open(&m->aead, nonce, str_of(m->in, *n), m->out, n) < 0)
        return fail(err, DATA_LOSS, NULL,
                    "error processing segment %llu: failed to decrypt segment",
                    (unsigned long long)number);
    return 0;
}

CO static int run_segments(struct message *m, bool seal, struct error *err)
{
    size_t size = ENCRYPTION_SEGMENT + (seal ? 0 : AEAD_TAG), n;
    for (uint64_t number = 0;; number++) {
        int r = fill(m, size, &n, err);
        if (r < 0 || !n) /* nothing at all: an empty message has no segment */
            return r;
        bool last = !m->rest.n;
        r = one_segment(m, seal, number, &n, last, err);
        if (r >= 0 && n)
            r = m->io->write(m->io->arg, str_of(m->out, n), err);
        if (r < 0 || last)
            return r;
    }
}

/* ---- sealing ---- */

static size_t find_wrapping(str name)
{
    for (size_t i = 1; i < COUNT(wrapping); i++)
        if (str_ieq(name, wrapping[i].name) ||
            (wrapping[i].alias.n && str_ieq(name, wrapping[i].alias)))
            return i;
    return 0;
}

static size_t find_cipher(str name)
{
    for (size_t i = 1; i < COUNT(ciphers); i++)
        if (str_ieq(name.n ? name : ciphers[1].name, ciphers[i].name))
            return i;
    return 0;
}

static int check_options(const struct encryption_options *o, size_t *ret_wrapping,
                         size_t *ret_cipher, struct error *err)
{
    if (!o->key.n)
        return fail(err, INVALID, NULL, "option KeyName is required");
    if (!o->algorithm.n)
        return fail(err, INVALID, NULL, "option Algorithm is required");
    *ret_wrapping = find_wrapping(o->algorithm);
    if (!*ret_wrapping)
        return fail(err, INVALID, NULL,
                    "option Algorithm is not valid: algorithm " STR_FMT " is not supported",
                    STR_ARG(str_take(o->algorithm, 60)));
    *ret_cipher = find_cipher(o->cipher);
    if (!*ret_cipher)
        return fail(err, INVALID, NULL,
                    "option Cipher is not valid: cipher " STR_FMT " is not supported",
                    STR_ARG(str_take(o->cipher, 60)));
    return 0;
}

static void write_manifest(struct buf *out, const struct message *m,
                           const struct encryption_options *o, size_t kw, str wrapped)
{
    str name = o->omit_key ? S("") : o->decryption_key.n ? o->decryption_key : o->key;
    struct json_w w;
    json_w_init(&w, out, JSON_W_HTML);
    json_w_object(&w);
    if (name.n)
        json_w_kv(&w, S("k"), name);
    json_w_key(&w, S("kw"));
    json_w_u64(&w, kw);
    json_w_key(&w, S("wfk"));
    json_w_base64(&w, wrapped);
    json_w_key(&w, S("cph"));
    json_w_u64(&w, m->cipher);
    json_w_key(&w, S("np"));
    json_w_base64(&w, str_of(m->prefix, PREFIX));
    json_w_object_end(&w);
}

CO static int write_header(struct message *m, const struct encryption_options *o, size_t kw,
                           str wrapped, struct error *err)
{
    AUTO(buf_done) struct buf out;
    unsigned char mac[MAC];
    char text[MAC_TEXT];
    buf_init(&out, HEADER_MAX);
    buf_put(&out, SCHEME);
    buf_putc(&out, '\n');
    write_manifest(&out, m, o, kw, wrapped);
    buf_putc(&out, '\n');
    if (buf_ok(&out) && !header_mac(m, buf_str(&out), mac))
        return fail(err, EXHAUSTED, NULL, "out of memory");
    base64_encode(str_of(mac, MAC), text);
    buf_put(&out, str_of(text, MAC_TEXT));
    buf_putc(&out, '\n');
    if (!buf_ok(&out))
        return fail(err, INVALID, NULL, "header is too long: more than %d bytes", HEADER_MAX);
    return m->io->write(m->io->arg, buf_str(&out), err);
}

CO static int seal(struct message *m, const struct encryption_options *o, size_t kw,
                   struct error *err)
{
    str wrapped = S("");
    struct error cause = { 0 };
    id_secure_bytes(m->file_key, FILE_KEY);
    id_secure_bytes(m->prefix, PREFIX);
    int r = m->io->key(m->io->arg, o->key, wrapping[kw].name, str_of(m->file_key, FILE_KEY),
                       &m->arena, &wrapped, &cause);
    if (r < 0)
        return fail(err, (enum code) - r, NULL, "failed to wrap the file key: %s", cause.text);
    r = payload_key(m, err);
    if (r >= 0)
        r = write_header(m, o, kw, wrapped, err);
    return r < 0 ? r : run_segments(m, true, err);
}

CO int encryption_seal(const struct encryption_options *o, const struct encryption_io *io,
                       struct error *err)
{
    struct message m;
    size_t kw = 0, cipher = 0;
    int r = check_options(o, &kw, &cipher, err);
    if (r < 0)
        return r;
    r = message_init(&m, io, err);
    m.cipher = cipher;
    if (r >= 0)
        r = seal(&m, o, kw, err);
    message_done(&m);
    return r;
}

/* ---- opening ---- */

struct header {
    str lines, manifest, mac; /* lines: the first two with their ends, which the MAC is over */
};

/* The header's bytes so far as lines; true when its three lines are there. */
static bool split_header(str text, struct header *ret, size_t *ret_len)
{
    size_t at[3], n = 0;
    for (size_t i = 0; i < text.n && n < 3; i++)
        if (text.p[i] == '\n')
            at[n++] = i;
    if (n < 3)
        return false;
    ret->lines = str_take(text, at[1] + 1);
    ret->manifest = str_of(text.p + at[0] + 1, at[1] - at[0] - 1);
    ret->mac = str_of(text.p + at[1] + 1, at[2] - at[1] - 1);
    *ret_len = at[2] + 1;
    return true;
}

static int bad_header(struct error *err, const char *why)
{
    return fail(err, INVALID, NULL, "invalid header: %s", why);
}

/* Reads piece by piece; what is behind the header stays in .rest. */
CO static int read_header(struct message *m, struct header *ret, struct error *err)
{
    char *text = arena_alloc(&m->arena, HEADER_MAX);
    size_t n = 0, len;
    if (!text)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    for (;;) {
        int r = more(m, err);
        if (r < 0)
            return r;
        size_t before = n, take = min_size(m->rest.n, HEADER_MAX - n);
        if (!take)
            break;
        memcpy(text + n, m->rest.p, take);
        n += take;
        if (n > SCHEME.n && (!str_starts(str_of(text, n), SCHEME) || text[SCHEME.n] != '\n'))
            return bad_header(err, "unsupported scheme");
        if (split_header(str_of(text, n), ret, &len)) {
            m->rest = str_skip(m->rest, len - before);
            return 0;
        }
        m->rest = str_skip(m->rest, take);
    }
    return bad_header(err, n <= SCHEME.n     ? "scheme name not found"
                           : n == HEADER_MAX ? "it is too long"
                                             : "message authentication code not found");
}

static bool member64(struct arena *a, struct json v, str name, size_t max, str *ret)
{
    str text;
    size_t n;
    if (json_string(a, json_get_fold(v, name), &text) < 0)
        return false;
    char *p = arena_alloc(a, text.n);
    if (!p || !base64_decode(text, p, &n) || !n || n > max)
        return false;
    *ret = str_of(p, n);
    return true;
}

struct manifest {
    str key, wrapped;
    int64_t wrapping;
};

/* What exactly is wrong isn't told. */
static int read_manifest(struct message *m, str text, struct manifest *ret, struct error *err)
{
    struct json v;
    str prefix;
    int64_t cipher = 0;
    bool ok = json_parse(text, &v, NULL) == 0 && v.type == JSON_OBJECT &&
              json_string_or(&m->arena, json_get_fold(v, S("k")), S(""), &ret->key) == 0 &&
              json_i64(json_get_fold(v, S("kw")), &ret->wrapping) && ret->wrapping > 0 &&
              ret->wrapping < (int64_t)COUNT(wrapping) &&
              json_i64(json_get_fold(v, S("cph")), &cipher) && cipher > 0 &&
              cipher < (int64_t)COUNT(ciphers) &&
              member64(&m->arena, v, S("wfk"), KIB(16), &ret->wrapped) &&
              member64(&m->arena, v, S("np"), PREFIX, &prefix) && prefix.n == PREFIX;
    if (!ok)
        return bad_header(err, "invalid manifest");
    m->cipher = (size_t)cipher;
    memcpy(m->prefix, prefix.p, PREFIX);
    return 0;
}

/* A key that can't be unwrapped, or has another length, ends as a MAC that is wrong: the caller
 * isn't told which keys there are. */
CO static void unwrap(struct message *m, const struct manifest *f, str key)
{
    str plain;
    struct error hidden = { 0 };
    int r = m->io->key(m->io->arg, key, wrapping[f->wrapping].name, f->wrapped, &m->arena, &plain,
                       &hidden);
    memset(m->file_key, 0, FILE_KEY);
    if (r >= 0 && plain.n == FILE_KEY)
        memcpy(m->file_key, plain.p, FILE_KEY);
    else
        id_secure_bytes(m->file_key, FILE_KEY); /* a key that nobody can have chosen */
    if (r >= 0 && plain.n)
        OPENSSL_cleanse((char *)plain.p, plain.n);
}

static int check_mac(const struct message *m, const struct header *h, struct error *err)
{
    unsigned char want[MAC];
    char got[MAC_TEXT];
    size_t n = 0;
    if (!header_mac(m, h->lines, want))
        return fail(err, EXHAUSTED, NULL, "out of memory");
    bool ok = h->mac.n == MAC_TEXT && base64_decode(h->mac, got, &n) && n == MAC &&
              CRYPTO_memcmp(want, got, MAC) == 0;
    return ok ? 0 : fail(err, DATA_LOSS, NULL, "failed to validate the document's signature");
}

CO static int open_message(struct message *m, str key, struct error *err)
{
    struct header h;
    struct manifest f;
    int r = read_header(m, &h, err);
    if (r >= 0)
        r = read_manifest(m, h.manifest, &f, err);
    if (r < 0)
        return r;
    key = key.n ? key : f.key;
    if (!key.n)
        return fail(
            err, INVALID, NULL,
            "document's manifest does not contain a key name, and no key name was provided");
    unwrap(m, &f, key);
    r = check_mac(m, &h, err);
    if (r >= 0)
        r = payload_key(m, err);
    return r < 0 ? r : run_segments(m, false, err);
}

CO int encryption_open(str key, const struct encryption_io *io, struct error *err)
{
    struct message m;
    int r = message_init(&m, io, err);
    if (r >= 0)
        r = open_message(&m, key, err);
    message_done(&m);
    return r;
}
