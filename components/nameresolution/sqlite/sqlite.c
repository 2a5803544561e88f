/* sqlite.c — nameresolution.sqlite: sidecars of one machine find each other in a SQLite file.
 * Owner:  the instance holds two connections and one fiber that renews our row.
 * Thread: open, close and the renewing fiber on one worker; resolve on any; SQL on the pool.
 * Failure: open fails when our row can't be committed; a renewal that fails is tried again before
 * the row grows old, and a row that somebody deleted is written anew. */
#include "base/clock.h"
#include "base/log.h"
#include "component/kinds.h"
#include "fiber/sync.h"
#include "hosts.h"
#include "loop/worker.h"

#include <stdio.h>

#define SCOPE "proa.nameresolution.sqlite"

enum { APP_ID_MAX = 256 };

struct sqlite_resolver {
    const char *url, *table, *metadata_table;
    int64_t update_ns, cleanup_ns, timeout_ns;
    bool no_wal;
    char address[HOSTS_ADDRESS_MAX];
    struct hosts hosts;
    struct hosts_config config;
    struct fiber *renewer;
    struct wait_group fibers;
    uint64_t next_clean_ns;
};

/* ---- configuration ---- */

static bool table_name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > HOSTS_TABLE_MAX || (*name >= '0' && *name <= '9'))
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == n;
}

static int check_names(const struct sqlite_resolver *s, struct error *err)
{
    const char *bad = !table_name_ok(s->table)            ? s->table
                      : !table_name_ok(s->metadata_table) ? s->metadata_table
                                                          : NULL;
    if (bad)
        return fail(err, INVALID, NULL,
                    "'%s' is no name for a table: use letters, digits and _, at most %d", bad,
                    HOSTS_TABLE_MAX);
    return 0;
}

static int check_times(const struct sqlite_resolver *s, struct error *err)
{
    if (s->timeout_ns <= 0 || s->timeout_ns > (int64_t)SEC(60))
        return fail(err, INVALID, NULL, "timeout must be more than 0 and at most 60s");
    if (s->update_ns % (int64_t)SEC(1))
        return fail(err, INVALID, NULL, "updateInterval must not contain fractions of seconds");
    if (s->update_ns - s->timeout_ns < (int64_t)SEC(1))
        return fail(err, INVALID, NULL, "updateInterval must be at least 1s greater than timeout");
    if (s->update_ns > (int64_t)SEC(86400))
        return fail(err, INVALID, NULL, "updateInterval must be at most 24h");
    if (s->cleanup_ns < (int64_t)SEC(1))
        return fail(err, INVALID, NULL, "cleanupInterval must be at least 1s");
    return 0;
}

static int check_env(struct sqlite_resolver *s, const struct component_env *env, struct error *err)
{
    if (!env->app_id || !*env->app_id)
        return fail(err, INVALID, NULL, "name is missing: set the app id");
    if (!env->host_address || !*env->host_address)
        return fail(err, INVALID, NULL, "address is missing: no address of this host is known");
    if (!env->internal_port)
        return fail(err, INVALID, NULL,
                    "port is missing or invalid: the internal port is not open");
    bool v6 = strchr(env->host_address, ':') != NULL;
    int n = snprintf(s->address, sizeof s->address, v6 ? "[%s]:%u" : "%s:%u", env->host_address,
                     env->internal_port);
    if (n >= (int)sizeof s->address)
        return fail(err, INVALID, NULL, "the host address is longer than %zu bytes",
                    sizeof s->address);
    return 0;
}

static void fill_config(struct sqlite_resolver *s, const struct component_env *env)
{
    int64_t update_s = s->update_ns / (int64_t)SEC(1), cleanup_s = s->cleanup_ns / (int64_t)SEC(1);
    s->config = (struct hosts_config){
        .url = s->url,
        .table = s->table,
        .metadata_table = s->metadata_table,
        .app_id = env->app_id,
        .address = s->address,
        .zone = env->zone ? env->zone : "",
        .region = env->region ? env->region : "",
        .update_s = update_s,
        /* Peers may live by longer intervals than ours: leave them time. */
        .keep_s = cleanup_s > update_s * 10 ? cleanup_s : update_s * 10,
        .timeout_ms = s->timeout_ns / (int64_t)MS(1) + 1,
        .no_wal = s->no_wal,
    };
}

/* ---- jobs for the pool ---- */

struct job {
    struct sqlite_resolver *s;
    struct error *err;
    int result;
    bool lost, clean;
    str app_id; /* of a look-up, as what follows */
    struct arena *a;
    struct registration *ret;
    size_t max, n;
};

static void job_open(void *arg)
{
    struct job *j = arg;
    j->result = hosts_open(&j->s->hosts, &j->s->config, j->err);
}

static void job_close(void *arg)
{
    struct job *j = arg;
    hosts_close(&j->s->hosts);
}

static void job_join(void *arg)
{
    struct job *j = arg;
    j->result = hosts_join(&j->s->hosts, j->err);
}

static void job_leave(void *arg)
{
    struct job *j = arg;
    hosts_leave(&j->s->hosts);
}

static void job_renew(void *arg)
{
    struct job *j = arg;
    j->result = hosts_renew(&j->s->hosts, &j->lost, j->err);
    if (!j->result && j->clean)
        j->result = hosts_clean(&j->s->hosts, j->err);
}

static void job_find(void *arg)
{
    struct job *j = arg;
    j->result = hosts_find(&j->s->hosts, j->app_id, j->a, j->ret, j->max, &j->n, j->err);
}

CO static int on_pool(void (*fn)(void *arg), struct job *j)
{
    int r = blocking(fn, j);
    return r ? fail(j->err, EXHAUSTED, NULL, "out of memory") : j->result;
}

/* ---- keeping our row young ---- */

static void report_renewal(const struct sqlite_resolver *s, const struct job *j)
{
    static struct log_limit limit;
    uint64_t missed;
    if (!j->result && !j->lost)
        return;
    if (!log_allow(&limit, SEC(10), &missed))
        return;
    if (j->result)
        log_warn(SCOPE, "renewal of %s failed, will try again (%llu more before): %s", s->address,
                 (unsigned long long)missed, j->err->text);
    else
        log_warn(SCOPE, "the row of %s was deleted by somebody and is written anew", s->address);
}

CO static int renew_once(struct sqlite_resolver *s)
{
    struct error err = { 0 };
    uint64_t now = clock_now_ns();
    struct job j = { .s = s, .err = &err, .clean = now >= s->next_clean_ns };
    int r = on_pool(job_renew, &j);
    if (!r && j.clean)
        s->next_clean_ns = now + (uint64_t)s->cleanup_ns;
    report_renewal(s, &j);
    return r;
}

/* Renews twice within the time that a row stays valid, so that one failure is no gap. */
CO static void renewer(void *arg)
{
    struct sqlite_resolver *s = arg;
    uint64_t every = (uint64_t)(s->update_ns - s->timeout_ns) / 2;
    uint64_t wait = every;
    while (fiber_sleep(wait) == 0)
        wait = renew_once(s) ? min_u64(MS(200), every) : every;
    s->renewer = NULL;
    wait_group_done(&s->fibers);
}

/* ---- the component ---- */

CO static int resolver_open(void *self, const struct component_env *env, struct error *err)
{
    struct sqlite_resolver *s = self;
    wait_group_init(&s->fibers);
    int r = check_names(s, err);
    if (!r)
        r = check_times(s, err);
    if (!r)
        r = check_env(s, env, err);
    if (r)
        return r;
    fill_config(s, env);
    struct error cause = { 0 };
    struct job j = { .s = s, .err = &cause };
    r = on_pool(job_open, &j);
    if (r)
        return fail(err, (enum code) - r, NULL, "%s: %s", s->url, cause.text);
    s->renewer = fiber_spawn("nameresolution.sqlite", renewer, s);
    if (!s->renewer)
        return fail(err, EXHAUSTED, NULL, "no fiber is left to renew the registration");
    wait_group_add(&s->fibers);
    return 0;
}

CO static void resolver_close(void *self)
{
    struct sqlite_resolver *s = self;
    SHIELD();
    if (s->renewer)
        fiber_cancel(s->renewer);
    (void)wait_group_wait(&s->fibers);
    struct job j = { .s = s };
    if (blocking(job_close, &j))
        job_close(&j); /* out of memory: a short stall is better than a row and a file left */
}

CO static int resolver_join(void *self, struct error *err)
{
    struct sqlite_resolver *s = self;
    struct error cause = { 0 };
    struct job j = { .s = s, .err = &cause };
    int r = on_pool(job_join, &j);
    return r ? fail(err, (enum code) - r, NULL, "%s: %s", s->url, cause.text) : 0;
}

CO static void resolver_leave(void *self)
{
    struct job j = { .s = self };
    if (blocking(job_leave, &j))
        job_leave(&j);
}

CO static int resolver_resolve(void *self, str app_id, str namespace_, struct arena *a,
                               struct registration *ret, size_t max, size_t *ret_n,
                               struct error *err)
{
    if (app_id.n > APP_ID_MAX)
        return fail(err, INVALID, NULL, "an app id has at most %d bytes", APP_ID_MAX);
    struct job j = {
        .s = self,
        .err = err,
        .app_id = app_id,
        .a = a,
        .ret = ret,
        .max = max,
    };
    int r = on_pool(job_find, &j);
    if (!r)
        *ret_n = j.n;
    return r;
}

static const struct cfg_field resolver_fields[] = {
    { .name = "connectionString",
      .alias = "url",
      .kind = CFG_STR,
      .off = offsetof(struct sqlite_resolver, url),
      .flags = CFG_REQUIRED,
      .doc = "path of the file that all sidecars of this machine share" },
    { .name = "tableName",
      .kind = CFG_STR,
      .off = offsetof(struct sqlite_resolver, table),
      .def = "hosts",
      .doc = "table of the living sidecars" },
    { .name = "metadataTableName",
      .kind = CFG_STR,
      .off = offsetof(struct sqlite_resolver, metadata_table),
      .def = "metadata",
      .doc = "table that keeps the level of the schema" },
    { .name = "updateInterval",
      .kind = CFG_DURATION,
      .off = offsetof(struct sqlite_resolver, update_ns),
      .def = "5s",
      .doc = "a row that is older is dead; whole seconds" },
    { .name = "cleanupInterval",
      .alias = "cleanupIntervalInSeconds",
      .kind = CFG_DURATION,
      .off = offsetof(struct sqlite_resolver, cleanup_ns),
      .flags = CFG_SECONDS,
      .def = "1h",
      .doc = "how often rows are deleted that nobody renews" },
    { .name = "timeout",
      .alias = "busyTimeout",
      .kind = CFG_DURATION,
      .off = offsetof(struct sqlite_resolver, timeout_ns),
      .def = "1s",
      .doc = "limit of one wait for the file's lock" },
    { .name = "disableWAL",
      .kind = CFG_BOOL,
      .off = offsetof(struct sqlite_resolver, no_wal),
      .def = "false",
      .doc = "for network file systems: readers then wait for writers" },
};

const struct resolver_ops nameresolution_sqlite = {
    .t = {
        .kind = "nameresolution",
        .type = "nameresolution.sqlite",
        .version = "v1",
        .doc = "sidecars of one machine find each other in a SQLite file",
        .size = sizeof(struct sqlite_resolver),
        .fields = resolver_fields,
        .n_fields = COUNT(resolver_fields),
        .open = resolver_open,
        .close = resolver_close,
    },
    .join = resolver_join,
    .leave = resolver_leave,
    .resolve = resolver_resolve,
};
