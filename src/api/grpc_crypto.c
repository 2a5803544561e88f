#include "api/grpc_call.h"
#include "block/crypto.h"
#include "runtime.pb-c.h"

#define PB(name) Dapr__Proto__Runtime__V1__##name

/* ---- the subtle methods ---- */

CO static int run(struct grpc_call *c, const char *provider, enum crypto_op op,
                  const struct crypto_input *in, struct crypto_output *ret, struct error *err)
{
    struct instance *i;
    int r = crypto_find(c->b, pb_str(provider), &i, err);
    return r < 0 ? r : block_crypto_run(c->b, i, op, in, c->a, ret, err);
}

static void *answer(struct grpc_call *c, void **ret_out, struct error *err)
{
    *ret_out = pb_new(c->a, c->method->out);
    if (!*ret_out)
        (void)grpc_no_memory(err);
    return *ret_out;
}

CO int subtle_get_key_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const PB(SubtleGetKeyRequest) *m = in;
    struct instance *i;
    str key = S("");
    int r = crypto_find(c->b, pb_str(m->component_name), &i, err);
    if (r < 0)
        return r;
    if ((int)m->format != CRYPTO_KEY_PEM && (int)m->format != CRYPTO_KEY_JSON)
        return fail(err, INVALID, "ERR_BAD_REQUEST", "invalid request: invalid key format");
    r = block_crypto_get_key(c->b, i, pb_str(m->name), (enum crypto_key_format)m->format, c->a,
                             &key, err);
    PB(SubtleGetKeyResponse) *out = r < 0 ? NULL : answer(c, ret_out, err);
    if (!out)
        return -(int)err->code;
    out->name = m->name;
    out->public_key = pb_text(c->a, key);
    return out->public_key ? 0 : grpc_no_memory(err);
}

CO int subtle_encrypt_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const PB(SubtleEncryptRequest) *m = in;
    struct crypto_output got;
    struct crypto_input q = { .key = pb_str(m->key_name),
                              .algorithm = pb_str(m->algorithm),
                              .data = pb_bytes(m->plaintext),
                              .nonce = pb_bytes(m->nonce),
                              .associated_data = pb_bytes(m->associated_data) };
    int r = run(c, m->component_name, CRYPTO_ENCRYPT, &q, &got, err);
    PB(SubtleEncryptResponse) *out = r < 0 ? NULL : answer(c, ret_out, err);
    if (!out)
        return -(int)err->code;
    out->ciphertext = pb_data(got.data);
    out->tag = pb_data(got.tag);
    return 0;
}

CO int subtle_decrypt_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const PB(SubtleDecryptRequest) *m = in;
    struct crypto_output got;
    struct crypto_input q = { .key = pb_str(m->key_name),
                              .algorithm = pb_str(m->algorithm),
                              .data = pb_bytes(m->ciphertext),
                              .nonce = pb_bytes(m->nonce),
                              .tag = pb_bytes(m->tag),
                              .associated_data = pb_bytes(m->associated_data) };
    int r = run(c, m->component_name, CRYPTO_DECRYPT, &q, &got, err);
    PB(SubtleDecryptResponse) *out = r < 0 ? NULL : answer(c, ret_out, err);
    if (!out)
        return -(int)err->code;
    out->plaintext = pb_data(got.data);
    return 0;
}

CO int subtle_wrap_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const PB(SubtleWrapKeyRequest) *m = in;
    struct crypto_output got;
    struct crypto_input q = { .key = pb_str(m->key_name),
                              .algorithm = pb_str(m->algorithm),
                              .data = pb_bytes(m->plaintext_key),
                              .nonce = pb_bytes(m->nonce),
                              .associated_data = pb_bytes(m->associated_data) };
    int r = run(c, m->component_name, CRYPTO_WRAP, &q, &got, err);
    PB(SubtleWrapKeyResponse) *out = r < 0 ? NULL : answer(c, ret_out, err);
    if (!out)
        return -(int)err->code;
    out->wrapped_key = pb_data(got.data);
    out->tag = pb_data(got.tag);
    return 0;
}

CO int subtle_unwrap_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const PB(SubtleUnwrapKeyRequest) *m = in;
    struct crypto_output got;
    struct crypto_input q = { .key = pb_str(m->key_name),
                              .algorithm = pb_str(m->algorithm),
                              .data = pb_bytes(m->wrapped_key),
                              .nonce = pb_bytes(m->nonce),
                              .tag = pb_bytes(m->tag),
                              .associated_data = pb_bytes(m->associated_data) };
    int r = run(c, m->component_name, CRYPTO_UNWRAP, &q, &got, err);
    PB(SubtleUnwrapKeyResponse) *out = r < 0 ? NULL : answer(c, ret_out, err);
    if (!out)
        return -(int)err->code;
    out->plaintext_key = pb_data(got.data);
    return 0;
}

CO int subtle_sign_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const PB(SubtleSignRequest) *m = in;
    struct crypto_output got;
    struct crypto_input q = { .key = pb_str(m->key_name),
                              .algorithm = pb_str(m->algorithm),
                              .data = pb_bytes(m->digest) };
    int r = run(c, m->component_name, CRYPTO_SIGN, &q, &got, err);
    PB(SubtleSignResponse) *out = r < 0 ? NULL : answer(c, ret_out, err);
    if (!out)
        return -(int)err->code;
    out->signature = pb_data(got.data);
    return 0;
}

CO int subtle_verify_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const PB(SubtleVerifyRequest) *m = in;
    struct instance *i;
    bool valid = false;
    struct crypto_input q = { .key = pb_str(m->key_name),
                              .algorithm = pb_str(m->algorithm),
                              .data = pb_bytes(m->digest),
                              .tag = pb_bytes(m->signature) };
    int r = crypto_find(c->b, pb_str(m->component_name), &i, err);
    if (r >= 0)
        r = block_crypto_verify(c->b, i, &q, &valid, err);
    PB(SubtleVerifyResponse) *out = r < 0 ? NULL : answer(c, ret_out, err);
    if (!out)
        return -(int)err->code;
    out->valid = valid;
    return 0;
}

/* ---- whole messages, streaming both ways ---- */

enum { MESSAGE_MEMORY = 256 << 20 };

struct stream {
    struct grpc_call *c;
    struct arena arena;      /* of the message that was read last */
    PB(EncryptRequest) * in; /* a DecryptRequest has the same shape, but for its options */
    bool fresh;              /* .in has not been taken from yet */
    uint64_t expected, sent;
};

static int failed(struct error *err, const char *why)
{
    return fail(err, INTERNAL, "ERR_CRYPTO", "failed to perform operation: %s", why);
}

CO static int read_first(struct stream *s, struct error *err)
{
    DEADLINE(SEC(5)); /* the contract's */
    struct error cause = { 0 };
    int r = grpc_read(s->c, &s->arena, (void **)&s->in, &cause);
    if (r == -TIMEOUT)
        return fail(err, INVALID, "ERR_BAD_REQUEST",
                    "invalid request: error waiting for first message: context deadline exceeded");
    if (r <= 0)
        return fail(err, r < 0 ? (enum code) - r : INTERNAL, "ERR_CRYPTO",
                    "failed to perform operation: error receiving the first message: %s",
                    r < 0 ? cause.text : "EOF");
    s->fresh = true;
    return s->in->options ? 0
                          : fail(err, INVALID, "ERR_BAD_REQUEST",
                                 "invalid request: first message does not contain the required "
                                 "options");
}

/* The next piece; messages without one don't count. */
CO static int read_piece(void *arg, str *ret, struct error *err)
{
    struct stream *s = arg;
    for (;;) {
        if (!s->fresh) {
            arena_reset(&s->arena);
            int r = grpc_read(s->c, &s->arena, (void **)&s->in, err);
            if (r <= 0)
                return r;
            if (s->in->options)
                return failed(err, "options found in non-leading message");
        }
        s->fresh = false;
        const Dapr__Proto__Common__V1__StreamPayload *p = s->in->payload;
        if (!p)
            continue;
        if (p->seq != s->expected)
            return fail(err, INTERNAL, "ERR_CRYPTO",
                        "failed to perform operation: invalid sequence number received: %llu "
                        "(expected: %llu)",
                        (unsigned long long)p->seq, (unsigned long long)s->expected);
        s->expected++;
        *ret = pb_bytes(p->data);
        return 1;
    }
}

CO static int write_piece(void *arg, str data, struct error *err)
{
    struct stream *s = arg;
    Dapr__Proto__Common__V1__StreamPayload payload = DAPR__PROTO__COMMON__V1__STREAM_PAYLOAD__INIT;
    PB(EncryptResponse) encrypted = DAPR__PROTO__RUNTIME__V1__ENCRYPT_RESPONSE__INIT;
    PB(DecryptResponse) decrypted = DAPR__PROTO__RUNTIME__V1__DECRYPT_RESPONSE__INIT;
    payload.data = pb_data(data);
    payload.seq = s->sent++;
    encrypted.payload = decrypted.payload = &payload;
    bool sealing = s->c->method->out == encrypted.base.descriptor;
    return grpc_write(s->c, sealing ? &encrypted.base : &decrypted.base, err);
}

CO static int seal(struct stream *s, struct error *err)
{
    int r = read_first(s, err);
    if (r < 0)
        return r;
    const PB(EncryptRequestOptions) *m = s->in->options;
    struct instance *provider;
    struct crypto_stream io = { read_piece, write_piece, s };
    struct arena *a = s->c->a; /* the message goes with the next one */
    struct encryption_options o = {
        .key = arena_dup(a, pb_str(m->key_name)),
        .algorithm = arena_dup(a, pb_str(m->key_wrap_algorithm)),
        .decryption_key = arena_dup(a, pb_str(m->decryption_key_name)),
        .omit_key = m->omit_decryption_key_name,
        .cipher = arena_dup(a, pb_str(m->data_encryption_cipher)),
    };
    if (!o.key.p || !o.algorithm.p || !o.decryption_key.p || !o.cipher.p)
        return grpc_no_memory(err);
    if (!o.key.n || !o.algorithm.n)
        return fail(err, INVALID, "ERR_BAD_REQUEST",
                    "invalid request: missing property '%s' in the options message",
                    o.key.n ? "keyWrapAlgorithm" : "keyName");
    r = crypto_find(s->c->b, pb_str(m->component_name), &provider, err);
    return r < 0 ? r : block_crypto_seal(s->c->b, provider, &o, &io, err);
}

CO static int open_it(struct stream *s, struct error *err)
{
    int r = read_first(s, err);
    if (r < 0)
        return r;
    const PB(DecryptRequestOptions) *m = ((PB(DecryptRequest) *)s->in)->options;
    struct instance *provider;
    struct crypto_stream io = { read_piece, write_piece, s };
    str key = arena_dup(s->c->a, pb_str(m->key_name));
    if (!key.p)
        return grpc_no_memory(err);
    r = crypto_find(s->c->b, pb_str(m->component_name), &provider, err);
    return r < 0 ? r : block_crypto_open(s->c->b, provider, key, &io, err);
}

CO static int stream(struct grpc_call *c, CO int (*run_it)(struct stream *s, struct error *err),
                     struct error *err)
{
    struct stream s = { .c = c };
    PINNED(c->b); /* for as long as a request */
    arena_init(&s.arena, MESSAGE_MEMORY);
    int r = run_it(&s, err);
    arena_done(&s.arena);
    return r;
}

CO int encrypt_rpc(struct grpc_call *c, struct error *err)
{
    return stream(c, seal, err);
}

CO int decrypt_rpc(struct grpc_call *c, struct error *err)
{
    return stream(c, open_it, err);
}
