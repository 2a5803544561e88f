#include "block/state_crypt.h"

#include "base/id.h"
#include "block/aead.h"
#include "block/core/keyprefix.h"
#include "format/json.h"

enum { KEY_MAX = 32 };

struct state_crypt {
    struct {
        str name;
        char key[KEY_MAX];
        size_t n; /* 0: there is none */
    } key[2];
};

static int read_key(struct instance *i, const char *field, struct state_crypt *k, size_t at,
                    str name, struct error *err)
{
    str hex = str_trim(kvs_get(i->metadata, str_c(field)));
    if (!hex.n)
        return 0;
    bool size = hex.n == 32 || hex.n == 48 || hex.n == 64;
    if (!size || !id_unhex(hex, k->key[at].key))
        return fail(err, INVALID, NULL,
                    "%s must be a key of 16, 24 or 32 bytes in hex: 32, 48 or 64 digits", field);
    k->key[at].n = hex.n / 2;
    k->key[at].name = arena_dup(&i->arena, name.n ? name : str_c(field));
    return k->key[at].name.p ? 0 : fail(err, EXHAUSTED, NULL, "out of memory");
}

int state_crypt_new(struct instance *i, str primary_name, str secondary_name,
                    struct state_crypt **ret, struct error *err)
{
    *ret = NULL;
    struct state_crypt *k = arena_zalloc(&i->arena, sizeof *k);
    if (!k)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    int r = read_key(i, "primaryEncryptionKey", k, 0, primary_name, err);
    if (r >= 0)
        r = read_key(i, "secondaryEncryptionKey", k, 1, secondary_name, err);
    if (r < 0)
        return r;
    if (k->key[0].n)
        *ret = k;
    return k->key[0].n || !k->key[1].n
               ? 0
               : fail(
                     err, INVALID, NULL,
                     "secondaryEncryptionKey reads what an older key has written: give the present "
                     "one as primaryEncryptionKey");
}

/* ---- one value ---- */

/* The contract formats a JSON value before it encrypts it: a string loses its quotes (surprise 15).
 * Objects and lists stay JSON text: what it makes of them nobody can read back. */
static int plain_of(const struct state_write *w, struct arena *a, str *ret)
{
    struct json v;
    *ret = w->value;
    if (!w->json || json_parse(w->value, &v, NULL) < 0 || v.type != JSON_STRING)
        return 0;
    return json_string(a, v, ret);
}

static int seal_one(const struct state_crypt *k, struct state_write *w, struct arena *a)
{
    str plain;
    struct aead c;
    int r = plain_of(w, a, &plain);
    if (r < 0)
        return r;
    size_t n = AEAD_NONCE + plain.n + AEAD_TAG, text = base64_len(n);
    char *raw = arena_alloc(a, n), *out = arena_alloc(a, text);
    r = aead_init(&c, AEAD_AES_GCM, str_of(k->key[0].key, k->key[0].n));
    if (r >= 0 && raw && out) {
        id_secure_bytes(raw, AEAD_NONCE);
        r = aead_seal(&c, raw, plain, raw + AEAD_NONCE);
    }
    aead_done(&c);
    if (r < 0 || !raw || !out)
        return -EXHAUSTED;
    base64_encode(str_of(raw, n), out);
    str part[] = { str_of(out, text), KEY_SEPARATOR, k->key[0].name };
    w->value = arena_join(a, part, COUNT(part));
    w->json = false;
    return w->value.p ? 0 : -EXHAUSTED;
}

int state_crypt_seal(const struct state_crypt *k, struct state_write *w, size_t n, struct arena *a,
                     struct error *err)
{
    for (size_t i = 0; k && i < n; i++)
        if (!w[i].remove && seal_one(k, &w[i], a) < 0)
            return fail(err, EXHAUSTED, NULL, "the value doesn't fit into the request's memory");
    return 0;
}

/* Splits at the last separator. */
static bool split(str value, str *ret_text, str *ret_name)
{
    for (size_t at = value.n; at >= 2; at--)
        if (value.p[at - 1] == '|' && value.p[at - 2] == '|') {
            *ret_text = str_take(value, at - 2);
            *ret_name = str_skip(value, at);
            return ret_name->n;
        }
    return false;
}

static int open_with(const struct state_crypt *k, size_t at, str raw, struct state_value *v,
                     struct arena *a)
{
    struct aead c;
    size_t n;
    char *out = arena_alloc(a, raw.n);
    int r = out ? aead_init(&c, AEAD_AES_GCM, str_of(k->key[at].key, k->key[at].n)) : -EXHAUSTED;
    if (!out)
        return r;
    if (r >= 0)
        r = aead_open(&c, raw.p, str_skip(raw, AEAD_NONCE), out, &n);
    aead_done(&c);
    if (r >= 0)
        v->value = str_of(out, n);
    return r;
}

int state_crypt_open(const struct state_crypt *k, struct state_value *v, struct arena *a,
                     struct error *err)
{
    str text, name;
    size_t n = 0;
    if (!k || !v->found || !v->value.n)
        return 0;
    if (!split(v->value, &text, &name))
        return fail(err, DATA_LOSS, NULL,
                    "could not decrypt data: encryption key name not found on "
                    "record");
    char *raw = arena_alloc(a, text.n);
    if (!raw)
        return fail(err, EXHAUSTED, NULL, "the value doesn't fit into the request's memory");
    int r = base64_decode(text, raw, &n) && n >= AEAD_NONCE ? -NOT_FOUND : -INVALID;
    for (size_t i = 0; r == -NOT_FOUND && i < COUNT(k->key); i++)
        if (k->key[i].n && str_eq(name, k->key[i].name))
            r = open_with(k, i, str_of(raw, n), v, a);
    if (r == -NOT_FOUND)
        return fail(err, DATA_LOSS, NULL,
                    "could not decrypt data: it was encrypted with key " STR_FMT
                    ", which the component doesn't have",
                    STR_ARG(str_take(name, 100)));
    return r < 0 ? fail(err, DATA_LOSS, NULL, "could not decrypt data: it has been changed") : 0;
}
