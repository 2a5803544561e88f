#include "components/common/redis/redis_private.h"

#include "base/hash.h"
#include "base/id.h"
#include "base/mem.h"

#include <stdio.h>

/* ---- replies ---- */

bool redis_error_is(const struct redis_reply *reply, const char *word)
{
    str rest = reply->text, want = str_c(word);
    return reply->kind == REDIS_ERROR && str_starts(rest, want) &&
           (rest.n == want.n || rest.p[want.n] == ' ');
}

static bool is_one_of(const struct redis_reply *reply, const char *const *word)
{
    for (; *word; word++)
        if (redis_error_is(reply, *word))
            return true;
    return false;
}

/* Nothing was run, and a little later it may be. */
static bool is_passing(const struct redis_reply *reply)
{
    static const char *const word[] = { "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN",
                                        "BUSY",    "TRYAGAIN", "NOREPLICAS", NULL };
    return is_one_of(reply, word);
}

int redis_check(const struct redis *r, const struct redis_reply *reply, struct error *err)
{
    static const char *const denied[] = { "NOAUTH", "WRONGPASS", "NOPERM", NULL };
    static const char *const no_room[] = { "OOM", NULL };
    static const char *const down[] = { "MISCONF", "MOVED", "ASK", NULL };
    (void)r;
    if (reply->kind != REDIS_ERROR)
        return 0;
    enum code code = UNKNOWN;
    if (is_one_of(reply, denied))
        code = DENIED;
    else if (is_one_of(reply, no_room))
        code = EXHAUSTED;
    else if (is_one_of(reply, down) || is_passing(reply))
        code = UNAVAILABLE;
    return fail(err, code, NULL, "Redis says: " STR_FMT, STR_ARG(str_take(reply->text, 400)));
}

/* ---- one round: everything that has no result yet is sent, then the answers are waited for ----
 */

struct work {
    struct share *s;
    const struct redis_command *c;
    struct call *call;
    size_t n;
    unsigned flags;
    struct batch batch;
    bool dialling; /* a connection isn't there yet: the wait may be longer */
};

static void cannot_send(struct work *w, size_t i, int code, const struct error *why)
{
    w->call[i].result = code;
    w->call[i].unsent = true;
    if (!w->batch.err.code)
        w->batch.err = *why;
}

CO static void send_one(struct work *w, size_t i, struct conn **alone)
{
    struct call *call = &w->call[i];
    struct error err = { 0 };
    struct node *node = NULL;
    struct conn *c = *alone;
    bool asking = call->ask;
    int r = 0;
    if (asking)
        node = TAKE(call->ask);
    else if (!c)
        r = node_for_key(w->s, w->c[i].key, &node, &err);
    if (node && r == 0)
        r = conn_take(node, w->flags & REDIS_ALONE, &c, &err);
    INV(c || r < 0);
    if (asking && r == 0)
        r = conn_send_asking(c, &err);
    if (r == 0)
        r = conn_send(c, w->c[i].arg, w->c[i].n, call, &err);
    if (r < 0) {
        cannot_send(w, i, r, &err);
        return;
    }
    w->dialling |= c->state == CONN_DIALLING;
    if (w->flags & REDIS_ALONE)
        *alone = c;
}

static void forget_all(struct work *w)
{
    for (size_t i = 0; i < w->n; i++)
        conn_forget(&w->call[i]);
}

CO static int wait_for_all(struct work *w)
{
    const struct redis_config *c = &w->s->r->c;
    uint64_t limit = limit_or(c->read_timeout, SEC(3));
    DEADLINE(limit + (w->dialling ? limit_or(c->dial_timeout, SEC(5)) : 0));
    struct batch *b = &w->batch;
    int r = 0;
    while (b->left && r == 0) {
        b->parked = true;
        r = fiber_park();
        b->parked = false;
    }
    if (!b->left)
        return 0;
    forget_all(w);
    return r;
}

CO static int one_round(struct work *w, struct error *err)
{
    struct conn *alone = NULL;
    w->batch.err = (struct error){ 0 };
    w->dialling = false;
    for (size_t i = 0; i < w->n; i++)
        if (w->call[i].again)
            send_one(w, i, &alone);
    int r = wait_for_all(w);
    if (r == -CANCELLED)
        return fail(err, CANCELLED, NULL, "the call was cancelled");
    if (r == -TIMEOUT)
        return fail(err, TIMEOUT, NULL, "no answer from Redis in time");
    return r;
}

/* ---- what came of it ---- */

/* Sent to a node that doesn't serve the slot: goes to the one that was named. */
static bool follow(struct work *w, struct call *call)
{
    struct node *to;
    bool ask = redis_error_is(call->ret, "ASK");
    if (!w->s->r->cluster || !(ask || redis_error_is(call->ret, "MOVED")))
        return false;
    if (call->redirects++ == REDIRECTS_MAX || node_redirected(w->s, call->ret, call->node, &to) < 0)
        return false;
    if (ask)
        call->ask = to;
    return true;
}

/* Returns how many calls are to be sent again; *ret_pause: not at once. */
static size_t look_at_results(struct work *w, bool *ret_pause)
{
    size_t n = 0;
    *ret_pause = false;
    for (size_t i = 0; i < w->n; i++) {
        struct call *call = &w->call[i];
        if (!call->again)
            continue;
        bool passing = call->result == 0 && is_passing(call->ret);
        bool broken = call->result == -UNAVAILABLE;
        if (passing || broken || call->result == -TIMEOUT)
            view_doubt(w->s);
        call->again = passing || (broken && (call->unsent || w->flags & REDIS_AGAIN));
        *ret_pause |= call->again;
        call->again |= call->result == 0 && follow(w, call);
        n += call->again;
    }
    return n;
}

static uint64_t pause_before(const struct redis_config *c, int64_t tries)
{
    uint64_t first = c->retry_min < 0 ? 0 : (uint64_t)c->retry_min;
    uint64_t most = c->retry_max < 0 ? 0 : (uint64_t)c->retry_max;
    uint64_t ns = min_u64(tries < 20 ? first << tries : most, most);
    uint64_t half = ns / 2;
    return half + (uint64_t)((double)half * id_random_unit());
}

static int conclude(const struct work *w, struct error *err)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->call[i].result < 0)
            return fail(err, (enum code) - w->call[i].result, NULL, "%s", w->batch.err.text);
    return 0;
}

CO static int run(struct work *w, struct error *err)
{
    const struct redis_config *c = &w->s->r->c;
    for (int64_t tries = 0;;) {
        bool pause;
        int r = one_round(w, err);
        if (r < 0) {
            view_doubt(w->s);
            return r;
        }
        if (!look_at_results(w, &pause))
            return conclude(w, err);
        if (!pause)
            continue;
        if (tries >= c->max_retries)
            return conclude(w, err);
        r = fiber_sleep(pause_before(c, tries++));
        if (r == -TIMEOUT)
            return conclude(w, err);
        if (r < 0)
            return fail(err, CANCELLED, NULL, "the call was cancelled");
    }
}

struct share *redis_share(struct redis *r)
{
    struct worker *w = worker_self();
    PRE(w && worker_index(w) < r->n_shares);
    return &r->share[worker_index(w)];
}

static void work_init(struct work *w, struct redis *r, const struct redis_command *c,
                      struct call *call, size_t n, unsigned flags, struct arena *a,
                      struct redis_reply *ret)
{
    *w = (struct work){ .s = redis_share(r), .c = c, .call = call, .n = n, .flags = flags };
    w->batch.fiber = fiber_self();
    w->batch.a = a;
    for (size_t i = 0; i < n; i++)
        call[i] = (struct call){ .batch = &w->batch, .ret = &ret[i], .again = true };
}

CO int redis_do(struct redis *r, const struct redis_command *c, unsigned flags, struct arena *a,
                struct redis_reply *ret, struct error *err)
{
    struct work w;
    struct call call;
    work_init(&w, r, c, &call, 1, flags, a, ret);
    int code = run(&w, err);
    return code < 0 ? code : redis_check(r, ret, err);
}

CO int redis_pipeline(struct redis *r, const struct redis_command *c, size_t n, unsigned flags,
                      struct arena *a, struct redis_reply *ret, struct error *err)
{
    struct work w;
    struct call *call = n ? arena_alloc(a, n * sizeof *call) : NULL;
    if (!n)
        return 0;
    if (!call)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    work_init(&w, r, c, call, n, flags, a, ret);
    return run(&w, err);
}

/* ---- scripts ---- */

void redis_script_init(struct redis_script *s, str text)
{
    uint8_t sum[20];
    hash_sha1(text, sum);
    id_hex(sum, sizeof sum, s->sha1);
    s->sha1[40] = 0;
    s->text = text;
}

static const str *eval_args(const struct redis_eval *e, struct arena *a, size_t *ret_n)
{
    size_t n = 3 + e->n_keys + e->n_args;
    str *arg = n <= REDIS_ARGS_MAX ? arena_alloc(a, n * sizeof *arg) : NULL;
    if (!arg)
        return NULL;
    arg[0] = S("EVALSHA");
    arg[1] = str_of(e->script->sha1, 40);
    arg[2] = arena_printf(a, "%zu", e->n_keys);
    for (size_t i = 0; i < e->n_keys; i++)
        arg[3 + i] = e->keys[i];
    for (size_t i = 0; i < e->n_args; i++)
        arg[3 + e->n_keys + i] = e->args[i];
    *ret_n = n;
    return arg[2].p ? arg : NULL;
}

/* WAIT counts what its own connection has written, and blocks it. */
CO static int eval_and_wait(struct redis *r, const struct redis_command *c, int64_t replicas,
                            unsigned flags, struct arena *a, struct redis_reply *ret,
                            struct error *err)
{
    struct redis_reply reply[2];
    if (replicas <= 0)
        return redis_do(r, c, flags, a, ret, err);
    str wait[] = { S("WAIT"), arena_printf(a, "%lld", (long long)replicas), S("1000") };
    struct redis_command both[] = { *c, { wait, COUNT(wait), c->key } };
    if (!wait[1].p)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    int code = redis_pipeline(r, both, 2, flags | REDIS_ALONE, a, reply, err);
    if (code < 0)
        return code;
    *ret = reply[0];
    code = redis_check(r, ret, err);
    return code < 0 ? code : redis_check(r, &reply[1], err);
}

CO int redis_eval(struct redis *r, const struct redis_eval *e, struct arena *a,
                  struct redis_reply *ret, struct error *err)
{
    struct redis_command c = { .key = e->n_keys ? e->keys[0] : (str){ 0 } };
    struct error first = { 0 };
    c.arg = eval_args(e, a, &c.n);
    if (!c.arg)
        return fail(err, EXHAUSTED, NULL, "the request is too large for its memory");
    int code = eval_and_wait(r, &c, e->replicas, e->flags, a, ret, &first);
    if (code == -UNKNOWN && redis_error_is(ret, "NOSCRIPT")) {
        str *arg = (str *)c.arg;
        arg[0] = S("EVAL");
        arg[1] = e->script->text;
        return eval_and_wait(r, &c, e->replicas, e->flags, a, ret, err);
    }
    return code < 0 ? fail(err, (enum code) - code, NULL, "%s", first.text) : 0;
}

/* ---- a connection of one's own ---- */

struct redis_conn {
    struct redis *r;
    struct link *link;
};

CO int redis_conn_open(struct redis *r, str key, struct redis_conn **ret, struct error *err)
{
    struct node *n;
    int code = node_for_key(redis_share(r), key, &n, err);
    if (code < 0)
        return code;
    struct redis_conn *c = mem_zalloc(sizeof *c);
    if (!c)
        return fail(err, EXHAUSTED, NULL, "out of memory for a connection to Redis");
    char address[ADDRESS_MAX];
    (void)snprintf(address, sizeof address, "%s", n->address);
    c->r = r;
    code = link_open(r, address, LINK_SERVER, &c->link, err);
    if (code < 0) {
        view_doubt(redis_share(r));
        mem_free(c);
        return code;
    }
    *ret = c;
    return 0;
}

/* After anything but an answer it may be another server that has the key. */
static int note(struct redis_conn *c, int code, const struct redis_reply *reply)
{
    struct share *s = redis_share(c->r);
    struct node *from, *to;
    struct error ignored = { 0 };
    if (code < 0 || is_passing(reply))
        view_doubt(s);
    else if (s->r->cluster && redis_error_is(reply, "MOVED") &&
             node_at(s, c->link->address, &from, &ignored) == 0)
        (void)!node_redirected(s, reply, from, &to);
    return code;
}

CO int redis_conn_do(struct redis_conn *c, const str *arg, size_t n, uint64_t timeout_ns,
                     struct arena *a, struct redis_reply *ret, struct error *err)
{
    DEADLINE(timeout_ns ? timeout_ns : limit_or(c->r->c.read_timeout, SEC(3)));
    int r = note(c, link_ask(c->link, arg, n, a, ret, err), ret);
    return r < 0 ? r : redis_check(c->r, ret, err);
}

CO int redis_conn_next(struct redis_conn *c, struct arena *a, struct redis_reply *ret,
                       struct error *err)
{
    return note(c, link_read(c->link, a, ret, err), ret);
}

void redis_conn_close(struct redis_conn *c)
{
    if (c)
        link_close(c->link);
    mem_free(c);
}
