#include "block/state.h"

#include "base/clock.h"
#include "block/core/keyprefix.h"
#include "block/core/observe.h"
#include "block/core/operation.h"
#include "block/core/parallel.h"
#include "block/outbox.h"
#include "block/state_crypt.h"

#include <stdio.h>

enum { BULK_PARALLEL = 10, BULK_PARALLEL_MAX = 100 /* whatever the caller asks for */ };

enum op { GET, SET, DELETE, QUERY, TRANSACTION, BULK_GET, BULK_DELETE, N_OPS };
static const char *const op_name[] = { "get",         "set",      "delete",     "query",
                                       "transaction", "bulk_get", "bulk_delete" };

/* What the block keeps with each store: instance.extra. */
struct store {
    str prefix;                /* "app||"; "" = none */
    struct state_crypt *crypt; /* NULL: values are stored as they are */
    struct outbox *outbox;     /* NULL: transactions are told to nobody */
    struct observer observer[N_OPS];
};

static const struct state_ops *ops(const struct instance *i)
{
    return CONTAINER_OF(i->type, struct state_ops, t);
}

static struct store *store_of(const struct instance *i)
{
    return i->extra;
}

int state_attach(struct blocks *b, struct instance *i, struct error *err)
{
    str prefix;
    int r = keyprefix_of(b, i, &prefix, err);
    if (r < 0)
        return r;
    struct store *s = arena_zalloc(&i->arena, sizeof *s);
    if (!s)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    s->prefix = prefix;
    operation_attach(b, i, "Statestore");
    i->extra = s;
    return outbox_attach(i, &s->outbox, err);
}

struct outbox *state_outbox(const struct instance *store)
{
    return store_of(store)->outbox;
}

int state_attach_keys(struct instance *i, str primary_name, str secondary_name, struct error *err)
{
    return state_crypt_new(i, primary_name, secondary_name, &store_of(i)->crypt, err);
}

int state_find(struct blocks *b, str name, struct instance **ret, struct error *err)
{
    bool none = !catalog_count(b, KIND_STATE);
    struct instance *i = none ? NULL : catalog_get(b, KIND_STATE, name);
    if (i) {
        *ret = i;
        return 0;
    }
    int r = none ? fail(err, PRECONDITION, "ERR_STATE_STORE_NOT_CONFIGURED",
                        "state store " STR_FMT " is not configured", STR_ARG(name))
                 : fail(err, INVALID, "ERR_STATE_STORE_NOT_FOUND",
                        "state store " STR_FMT " is not found", STR_ARG(name));
    fail_reason(err, none ? "DAPR_STATE_NOT_CONFIGURED" : "DAPR_STATE_NOT_FOUND", NULL, S(""));
    fail_meta(err, "appID", str_c(b->app_id));
    return r;
}

bool state_has(const struct instance *store, unsigned feature)
{
    return instance_features(store) & feature;
}

static int full_key(struct instance *store, str key, struct arena *a, str *ret, struct error *err)
{
    struct error cause = { 0 };
    int r = keyprefix_join(store_of(store)->prefix, key, a, ret, &cause);
    if (r >= 0)
        return r;
    if (r != -INVALID)
        return fail(err, cause.code, NULL, "%s", cause.text);
    r = fail(err, INVALID, "ERR_MALFORMED_REQUEST", "%s", cause.text);
    fail_reason(err, "DAPR_STATE_ILLEGAL_KEY", "state", str_c(store->name));
    if (err)
        snprintf(err->violation, sizeof err->violation, STR_FMT, STR_ARG(str_take(key, 31)));
    return r;
}

/* The key as the app knows it: the second part, as the contract reads it (surprise 16). */
static str short_key(str key)
{
    ptrdiff_t at = str_find(key, KEY_SEPARATOR);
    if (at < 0)
        return key;
    str rest = str_skip(key, (size_t)at + KEY_SEPARATOR.n);
    at = str_find(rest, KEY_SEPARATOR);
    return at < 0 ? rest : str_take(rest, (size_t)at);
}

static void count(struct blocks *b, struct instance *i, enum op op, uint64_t start, int r)
{
    enum outcome outcome = r >= 0 ? OUTCOME_OK : r == -ABORTED ? OUTCOME_REFUSED : OUTCOME_FAILED;
    observe(&store_of(i)->observer[op], OBSERVE_STATE, b, i->name, op_name[op], start, outcome);
}

/* A pluggable component's own error keeps its status and its words (facts 4.5). */
static int failed(struct error *err, const struct error *cause, int r)
{
    fail_own(err, cause);
    return err && cause->own ? -(int)err->code : r;
}

/* ---- get ---- */

struct get_call {
    struct instance *store;
    str key;
    enum state_consistency consistency;
    struct kvs metadata;
    struct arena *arena;
    struct state_value *ret;
};

CO static int try_get(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct get_call *c = arg;
    *c->ret = (struct state_value){ 0 };
    return ops(c->store)->get(c->store->self, c->key, c->consistency, c->metadata, c->arena, c->ret,
                              err);
}

CO int block_state_get(struct blocks *b, struct instance *store, str key, enum state_consistency c,
                       struct kvs metadata, struct arena *a, struct state_value *ret,
                       struct error *err)
{
    struct get_call call = { store, key, c, metadata, a, ret };
    int r = full_key(store, key, a, &call.key, err);
    if (r < 0)
        return r;
    uint64_t start = clock_now_ns();
    struct error cause = { 0 };
    r = operation_run(store, "get", try_get, &call, &cause);
    count(b, store, GET, start, r);
    if (r >= 0)
        r = state_crypt_open(store_of(store)->crypt, ret, a, &cause);
    if (r < 0)
        return failed(err, &cause,
                      fail(err, INTERNAL, "ERR_STATE_GET",
                           "fail to get " STR_FMT " from state store %s: %s", STR_ARG(key),
                           store->name, cause.text));
    return 0;
}

/* ---- bulk get ---- */

struct bulk_get_call {
    struct blocks *b;
    struct instance *store;
    const str *keys;
    size_t n;
    struct kvs metadata;
    struct arena *arena;
    struct state_value *ret;
};

CO static int try_bulk_get(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct bulk_get_call *c = arg;
    return ops(c->store)->bulk_get(c->store->self, c->keys, c->n, c->metadata, c->arena, c->ret,
                                   err);
}

CO static void get_one(void *arg, size_t i)
{
    struct bulk_get_call *c = arg;
    struct state_value *v = &c->ret[i];
    struct get_call call = { c->store, c->keys[i], CONSISTENCY_NONE, c->metadata, c->arena, v };
    struct error err = { 0 };
    if (operation_run(c->store, "get", try_get, &call, &err) < 0)
        v->err = err;
}

static size_t bulk_parallel(int64_t wanted)
{
    return wanted <= 0 ? BULK_PARALLEL : (size_t)min_u64((uint64_t)wanted, BULK_PARALLEL_MAX);
}

CO int block_state_bulk_get(struct blocks *b, struct instance *store, const str *keys, size_t n,
                            int64_t parallelism, struct kvs metadata, struct arena *a,
                            struct state_value *ret, struct error *err)
{
    if (!n)
        return 0;
    str *full = arena_alloc(a, n * sizeof *full);
    if (!full)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    for (size_t i = 0; i < n; i++) {
        int r = full_key(store, keys[i], a, &full[i], err);
        if (r < 0)
            return r;
        ret[i] = (struct state_value){ 0 };
    }
    struct bulk_get_call call = { b, store, full, n, metadata, a, ret };
    uint64_t start = clock_now_ns();
    struct error cause = { 0 };
    int r = 0;
    if (ops(store)->bulk_get)
        r = operation_run(store, "bulk_get", try_bulk_get, &call, &cause);
    else
        parallel_for(n, bulk_parallel(parallelism), get_one, &call);
    count(b, store, BULK_GET, start, r);
    for (size_t i = 0; r >= 0 && i < n; i++)
        if (!ret[i].err.code)
            (void)state_crypt_open(store_of(store)->crypt, &ret[i], a, &ret[i].err);
    if (r < 0)
        return failed(err, &cause, fail(err, INTERNAL, "ERR_STATE_BULK_GET", "%s", cause.text));
    return 0;
}

/* ---- writes ---- */

struct write_call {
    struct instance *store;
    const struct state_write *w;
};

CO static int try_write(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct write_call *c = arg;
    int r = ops(c->store)->write(c->store->self, c->w, err);
    attempt->fatal = r == -ABORTED || r == -INVALID; /* a stale ETag stays stale */
    return r;
}

struct save_call {
    struct instance *store;
    const struct state_write *w;
    struct error first; /* of the first item that failed */
};

CO static void save_one(void *arg, size_t i)
{
    struct save_call *c = arg;
    struct write_call call = { c->store, &c->w[i] };
    struct error err = { 0 };
    if (operation_run(c->store, "write", try_write, &call, &err) < 0 && !c->first.code)
        c->first = err;
}

struct bulk_write_call {
    struct instance *store;
    const struct state_write *w;
    size_t n;
};

CO static int try_bulk_write(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct bulk_write_call *c = arg;
    int r = ops(c->store)->bulk_write(c->store->self, c->w, c->n, err);
    attempt->fatal = r == -ABORTED || r == -INVALID;
    return r;
}

static int prefix_keys(struct instance *store, struct state_write *w, size_t n, struct arena *a,
                       struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        int r = full_key(store, w[i].key, a, &w[i].key, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* HTTP and gRPC show a stale ETag by the code; anything else is the store's failure. */
static enum code write_code(enum code cause)
{
    return cause == ABORTED || cause == INVALID ? cause : INTERNAL;
}

/* In one call of the engine where it has one for several, else side by side. */
CO static void write_all(struct save_call *c, size_t n)
{
    struct bulk_write_call bulk = { c->store, c->w, n };
    if (n > 1 && ops(c->store)->bulk_write)
        (void)operation_run(c->store, "write", try_bulk_write, &bulk, &c->first);
    else
        parallel_for(n, BULK_PARALLEL, save_one, c);
}

CO int block_state_save(struct blocks *b, struct instance *store, struct state_write *w, size_t n,
                        struct arena *a, struct error *err)
{
    int r = prefix_keys(store, w, n, a, err);
    if (r < 0)
        return r;
    struct save_call call = { .store = store, .w = w };
    uint64_t start = clock_now_ns();
    if (state_crypt_seal(store_of(store)->crypt, w, n, a, &call.first) >= 0)
        write_all(&call, n);
    count(b, store, SET, start, -(int)call.first.code);
    if (call.first.code)
        return failed(err, &call.first,
                      fail(err, write_code(call.first.code), "ERR_STATE_SAVE",
                           "failed saving state in state store %s: %s", store->name,
                           call.first.text));
    return 0;
}

CO int block_state_delete(struct blocks *b, struct instance *store, struct state_write *w,
                          struct arena *a, struct error *err)
{
    str key = w->key;
    w->remove = true;
    int r = prefix_keys(store, w, 1, a, err);
    if (r < 0)
        return r;
    struct save_call call = { .store = store, .w = w };
    uint64_t start = clock_now_ns();
    save_one(&call, 0);
    count(b, store, DELETE, start, -(int)call.first.code);
    if (call.first.code)
        return failed(err, &call.first,
                      fail(err, write_code(call.first.code), "ERR_STATE_DELETE",
                           "failed deleting state with key " STR_FMT ": %s", STR_ARG(key),
                           call.first.text));
    return 0;
}

CO int block_state_delete_bulk(struct blocks *b, struct instance *store, struct state_write *w,
                               size_t n, struct arena *a, struct error *err)
{
    for (size_t i = 0; i < n; i++)
        w[i].remove = true;
    int r = prefix_keys(store, w, n, a, err);
    if (r < 0)
        return r;
    struct save_call call = { .store = store, .w = w };
    uint64_t start = clock_now_ns();
    write_all(&call, n);
    count(b, store, BULK_DELETE, start, -(int)call.first.code);
    if (call.first.code)
        return failed(err, &call.first,
                      fail(err, write_code(call.first.code), "ERR_STATE_BULK_DELETE",
                           "failed deleting state in state store %s: %s", store->name,
                           call.first.text));
    return 0;
}

/* ---- transactions ---- */

struct transact_call {
    struct instance *store;
    const struct state_write *w;
    size_t n;
    struct kvs metadata;
};

CO static int try_transact(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct transact_call *c = arg;
    int r = ops(c->store)->transact(c->store->self, c->w, c->n, c->metadata, err);
    attempt->fatal = r == -ABORTED || r == -INVALID;
    return r;
}

static int check_transact(struct instance *store, size_t n, struct error *err)
{
    if (!ops(store)->transact || !state_has(store, STATE_TXN)) {
        int r = fail(err, UNIMPLEMENTED, "ERR_STATE_STORE_NOT_SUPPORTED",
                     "state store %s doesn't support transactions", store->name);
        fail_reason(err, "DAPR_STATE_TRANSACTIONS_NOT_SUPPORTED", "state", str_c(store->name));
        if (err) {
            err->help_url =
                "https://docs.dapr.io/reference/components-reference/supported-state-stores/";
            err->help_text = "Check the list of state stores and the features they support";
        }
        return r;
    }
    int max = ops(store)->max_ops ? ops(store)->max_ops(store->self) : 0;
    if (max > 0 && n > (size_t)max) {
        int r = fail(err, INVALID, "ERR_STATE_STORE_TOO_MANY_TRANSACTIONS",
                     "the transaction contains %zu operations, which is more than what the state "
                     "store supports: %d",
                     n, max);
        fail_reason(err, "DAPR_STATE_TOO_MANY_TRANSACTIONS", "state", str_c(store->name));
        char text[24];
        snprintf(text, sizeof text, "%zu", n);
        fail_meta(err, "currentOpsTransaction", str_c(text));
        snprintf(text, sizeof text, "%d", max);
        fail_meta(err, "maxOpsPerTransaction", str_c(text));
        return r;
    }
    return 0;
}

CO int block_state_transact(struct blocks *b, struct instance *store, struct state_transaction *t,
                            struct arena *a, struct error *err)
{
    int r = check_transact(store, t->n, err);
    if (r < 0)
        return r;
    if (!t->n)
        return 0;
    r = prefix_keys(store, t->w, t->n, a, err);
    if (r >= 0 && store_of(store)->outbox)
        r = outbox_prepare(b, store_of(store)->outbox, t, a, err);
    if (r < 0)
        return r;
    struct transact_call call = { store, t->w, t->n, t->metadata };
    uint64_t start = clock_now_ns();
    struct error cause = { 0 };
    r = state_crypt_seal(store_of(store)->crypt, t->w, t->n, a, &cause);
    if (r >= 0)
        r = operation_run(store, "transaction", try_transact, &call, &cause);
    count(b, store, TRANSACTION, start, r);
    if (r < 0) /* an ETag mismatch too: 500, surprise 13; gRPC: INTERNAL */
        return fail(err, INTERNAL, "ERR_STATE_TRANSACTION",
                    "error while executing state transaction: %s", cause.text);
    return 0;
}

/* ---- query ---- */

struct query_call {
    struct instance *store;
    str query;
    struct kvs metadata;
    struct arena *arena;
    struct state_query_result **ret;
    size_t *ret_n;
    str *ret_token;
};

CO static int try_query(void *arg, struct guard_attempt *attempt, struct error *err)
{
    struct query_call *c = arg;
    return ops(c->store)->query(c->store->self, c->query, c->metadata, c->arena, c->ret, c->ret_n,
                                c->ret_token, err);
}

CO int block_state_query(struct blocks *b, struct instance *store, str query, struct kvs metadata,
                         struct arena *a, struct state_query_result **ret, size_t *ret_n,
                         str *ret_token, struct error *err)
{
    if (!ops(store)->query) {
        int r = fail(err, INTERNAL, "ERR_STATE_STORE_NOT_SUPPORTED",
                     "state store does not support querying");
        fail_reason(err, "DAPR_STATE_QUERYING_NOT_SUPPORTED", "state", str_c(store->name));
        return r;
    }
    uint64_t start = clock_now_ns();
    struct error cause = { 0 };
    struct query_call call = { store, query, metadata, a, ret, ret_n, ret_token };
    int r = store_of(store)->crypt
                ? fail(&cause, PRECONDITION, NULL, "cannot query encrypted store")
                : operation_run(store, "query", try_query, &call, &cause);
    count(b, store, QUERY, start, r);
    if (r < 0 && cause.own && err && !err->code) { /* shown as it is (surprise 19) */
        *err = cause;
        return -(int)err->code;
    }
    if (r < 0) {
        r = fail(err, INTERNAL, "ERR_STATE_QUERY", "state store %s query failed: %s", store->name,
                 cause.text);
        fail_reason(err, "DAPR_STATE_QUERY_FAILED", "state", str_c(store->name));
        return r;
    }
    for (size_t i = 0; i < *ret_n; i++)
        (*ret)[i].key = short_key((*ret)[i].key);
    return 0;
}
