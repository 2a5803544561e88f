#include "block/crypto.h"

#include "base/clock.h"
#include "base/log.h"
#include "block/core/observe.h"
#include "block/core/operation.h"
#include "policy/resiliency.h"

static const char SCOPE[] = "dapr.runtime.crypto";

struct provider { /* what the block keeps with each provider: instance.extra */
    struct observer get, op;
};

typedef CO int crypto_fn(void *self, const struct crypto_input *in, struct arena *a,
                         struct crypto_output *ret, struct error *err);

static const struct crypto_ops *ops(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct crypto_ops, t);
}

/* As faults on purpose call them. */
static const char *const operation_name[] = {
    [CRYPTO_ENCRYPT] = "encrypt", [CRYPTO_DECRYPT] = "decrypt", [CRYPTO_WRAP] = "wrap",
    [CRYPTO_UNWRAP] = "unwrap",   [CRYPTO_SIGN] = "sign",
};

int crypto_attach(struct blocks *b, struct instance *i, struct error *err)
{
    struct provider *p = arena_zalloc(&i->arena, sizeof *p);
    if (!p)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    operation_attach(b, i, "Crypto");
    i->extra = p;
    return 0;
}

int crypto_find(struct blocks *b, str name, struct instance **ret, struct error *err)
{
    if (!catalog_count(b, KIND_CRYPTO))
        return fail(err, INTERNAL, "ERR_CRYPTO_PROVIDERS_NOT_CONFIGURED",
                    "crypto providers not configured");
    if (!name.n)
        return fail(err, INVALID, "ERR_BAD_REQUEST", "invalid request: missing component name");
    struct instance *i = catalog_get(b, KIND_CRYPTO, name);
    if (!i)
        return fail(err, INVALID, "ERR_CRYPTO_PROVIDER_NOT_FOUND",
                    "crypto provider " STR_FMT " not found", STR_ARG(name));
    *ret = i;
    return 0;
}

static void count(struct blocks *b, struct instance *i, struct observer *o, const char *operation,
                  uint64_t start, int r)
{
    observe(o, OBSERVE_CRYPTO, b, i->name, operation, start, r < 0 ? OUTCOME_FAILED : OUTCOME_OK);
}

/* No such key, or one that doesn't fit, stays so. */
static int settle(struct guard_attempt *attempt, int r)
{
    attempt->fatal = r == -NOT_FOUND || r == -INVALID || r == -UNIMPLEMENTED;
    return r;
}

static int unsupported(struct error *err)
{
    return fail(err, UNIMPLEMENTED, NULL, "this provider can't do that");
}

/* ---- public keys ---- */

struct get_call {
    struct instance *provider;
    str key;
    enum crypto_key_format format;
    struct arena *arena;
    str *ret;
};

CO static int try_get(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct get_call *c = arg;
    if (!ops(c->provider)->get_key)
        return settle(attempt, unsupported(err));
    return settle(
        attempt,
        ops(c->provider)->get_key(c->provider->self, c->key, c->format, c->arena, c->ret, err));
}

CO int block_crypto_get_key(struct blocks *b, struct instance *provider, str key,
                            enum crypto_key_format format, struct arena *a, str *ret,
                            struct error *err)
{
    struct provider *p = provider->extra;
    struct get_call call = { provider, key, format, a, ret };
    struct error cause = { 0 };
    uint64_t start = clock_now_ns();
    int r = operation_run(provider, "get", try_get, &call, &cause);
    count(b, provider, &p->get, "get", start, r);
    return r < 0 ? fail(err, INTERNAL, "ERR_CRYPTO_KEY", "failed to retrieve key " STR_FMT ": %s",
                        STR_ARG(key), cause.text)
                 : 0;
}

/* ---- operations ---- */

struct run_call {
    struct instance *provider;
    enum crypto_op op;
    const struct crypto_input *in;
    struct arena *arena;
    struct crypto_output *ret;
    bool valid;
};

static crypto_fn *fn_of(const struct crypto_ops *o, enum crypto_op op)
{
    crypto_fn *const fn[] = {
        [CRYPTO_ENCRYPT] = o->encrypt,   [CRYPTO_DECRYPT] = o->decrypt, [CRYPTO_WRAP] = o->wrap_key,
        [CRYPTO_UNWRAP] = o->unwrap_key, [CRYPTO_SIGN] = o->sign,
    };
    return fn[op];
}

CO static int try_run(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct run_call *c = arg;
    crypto_fn *fn = fn_of(ops(c->provider), c->op);
    *c->ret = (struct crypto_output){ 0 };
    if (!fn)
        return settle(attempt, unsupported(err));
    return settle(attempt, fn(c->provider->self, c->in, c->arena, c->ret, err));
}

CO static int try_verify(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct run_call *c = arg;
    if (!ops(c->provider)->verify)
        return settle(attempt, unsupported(err));
    return settle(attempt, ops(c->provider)->verify(c->provider->self, c->in, &c->valid, err));
}

/* secret: the cause must not be told, see crypto.h. */
static int failed(const char *what, bool secret, const struct error *cause, struct error *err)
{
    log_debug(SCOPE, "failed to perform operation: failed to %s: %s", what, cause->text);
    return fail(err, INTERNAL, "ERR_CRYPTO", "failed to perform operation: failed to %s%s%s", what,
                secret ? "" : ": ", secret ? "" : cause->text);
}

CO int block_crypto_run(struct blocks *b, struct instance *provider, enum crypto_op op,
                        const struct crypto_input *in, struct arena *a, struct crypto_output *ret,
                        struct error *err)
{
    static const struct {
        const char *what;
        bool secret;
    } row[] = {
        [CRYPTO_ENCRYPT] = { "encrypt", false }, [CRYPTO_DECRYPT] = { "decrypt", true },
        [CRYPTO_WRAP] = { "wrap key", false },   [CRYPTO_UNWRAP] = { "unwrap key", true },
        [CRYPTO_SIGN] = { "sign", false },
    };
    struct provider *p = provider->extra;
    struct run_call call = { .provider = provider, .op = op, .in = in, .arena = a, .ret = ret };
    struct error cause = { 0 };
    uint64_t start = clock_now_ns();
    int r = operation_run(provider, operation_name[op], try_run, &call, &cause);
    count(b, provider, &p->op, "crypto_op", start, r);
    return r < 0 ? failed(row[op].what, row[op].secret, &cause, err) : 0;
}

CO int block_crypto_verify(struct blocks *b, struct instance *provider,
                           const struct crypto_input *in, bool *ret, struct error *err)
{
    struct provider *p = provider->extra;
    struct run_call call = { .provider = provider, .in = in };
    struct error cause = { 0 };
    uint64_t start = clock_now_ns();
    int r = operation_run(provider, "verify", try_verify, &call, &cause);
    count(b, provider, &p->op, "crypto_op", start, r);
    if (r < 0)
        return failed("verify signature", true, &cause, err);
    *ret = call.valid;
    return 0;
}

/* ---- whole messages ---- */

struct sealing {
    struct blocks *b;
    struct instance *provider;
    enum crypto_op op;
    const struct crypto_stream *s;
};

CO static int stream_read(void *arg, str *ret, struct error *err)
{
    struct sealing *x = arg;
    return x->s->read(x->s->arg, ret, err);
}

CO static int stream_write(void *arg, str data, struct error *err)
{
    struct sealing *x = arg;
    return x->s->write(x->s->arg, data, err);
}

CO static int stream_key(void *arg, str name, str algorithm, str in, struct arena *a, str *ret,
                         struct error *err)
{
    struct sealing *x = arg;
    struct provider *p = x->provider->extra;
    struct crypto_input input = { .key = name, .algorithm = algorithm, .data = in };
    struct crypto_output out;
    struct run_call call = {
        .provider = x->provider, .op = x->op, .in = &input, .arena = a, .ret = &out
    };
    uint64_t start = clock_now_ns();
    int r = operation_run(x->provider, operation_name[x->op], try_run, &call, err);
    count(x->b, x->provider, &p->op, "crypto_op", start, r);
    if (r >= 0)
        *ret = out.data;
    else if (err)
        log_debug(SCOPE, "the key of a message: %s", err->text);
    return r;
}

static int message_failed(int r, const struct error *cause, struct error *err)
{
    if (r >= 0)
        return 0;
    if (cause->tag) /* of the stream, which knows better */
        return fail(err, cause->code, cause->tag, "%s", cause->text);
    return fail(err, r == -CANCELLED ? CANCELLED : INTERNAL, "ERR_CRYPTO",
                "failed to perform operation: %s", cause->text);
}

CO int block_crypto_seal(struct blocks *b, struct instance *provider,
                         const struct encryption_options *o, const struct crypto_stream *s,
                         struct error *err)
{
    struct sealing x = { b, provider, CRYPTO_WRAP, s };
    struct encryption_io io = { stream_read, stream_write, stream_key, &x };
    struct error cause = { 0 };
    return message_failed(encryption_seal(o, &io, &cause), &cause, err);
}

CO int block_crypto_open(struct blocks *b, struct instance *provider, str key,
                         const struct crypto_stream *s, struct error *err)
{
    struct sealing x = { b, provider, CRYPTO_UNWRAP, s };
    struct encryption_io io = { stream_read, stream_write, stream_key, &x };
    struct error cause = { 0 };
    return message_failed(encryption_open(key, &io, &cause), &cause, err);
}
