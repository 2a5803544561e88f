#include "cli/restart.h"
#include "cli/ask.h"
#include "cli/console.h"

#include "format/uri.h"

enum { RESTART_ARENA_MAX = 1 << 20, RESTART_MAX_S = 3600 };

struct restart {
    const char *run_name;
    int64_t port;
};

struct restart_job {
    const struct restart *o;
    const char *app;
    struct arena *arena;
    struct error *err;
    struct answer answer;
    int result;
};

static str target_of(struct restart_job *j)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, 4096);
    buf_put(&out, S("/control/restart?app="));
    uri_encode(&out, str_c(j->app), URI_QUERY);
    return buf_ok(&out) ? arena_dup(j->arena, buf_str(&out)) : (str){ 0 };
}

CO static void restart_fiber(void *arg)
{
    struct restart_job *j = arg;
    struct run_control run;
    j->result = ask_find_run(j->arena, j->o->run_name, j->o->port, &run, j->err);
    if (j->result)
        return;
    struct ask ask = {
        .address = arena_printf(j->arena, "127.0.0.1:%u", run.port).p,
        .method = S("POST"),
        .target = target_of(j),
        .authorization = arena_printf(j->arena, "Bearer " STR_FMT, STR_ARG(run.token)),
        .timeout_s = RESTART_MAX_S,
    };
    if (!ask.address || !ask.target.p || !ask.authorization.p)
        j->result = fail(j->err, EXHAUSTED, NULL, "out of memory");
    else
        j->result = ask_call(&ask, j->arena, &j->answer, j->err);
}

static int judge(struct restart_job *j)
{
    struct json v;
    str text = j->answer.body;
    if (j->answer.status == 200)
        return 0;
    if (json_parse(j->answer.body, &v, NULL) == 0)
        (void)json_string_or(j->arena, json_get(v, S("error")), text, &text);
    return fail(j->err, UNAVAILABLE, NULL, STR_FMT, STR_ARG(text));
}

static int restart_main(const void *options, const struct option_list *words)
{
    struct error err = { 0 };
    AUTO(arena_done) struct arena a;
    arena_init(&a, RESTART_ARENA_MAX);
    struct restart_job j = { .o = options, .app = words->v[0], .arena = &a, .err = &err };
    int r = ask_in_fiber(restart_fiber, &j, &err);
    if (!r)
        r = j.result;
    if (!r)
        r = judge(&j);
    if (r)
        console_error("restart", &err);
    else
        printf("%s: restarted\n", j.app);
    return r ? EXIT_FAILED : EXIT_OK;
}

#define AT(member) offsetof(struct restart, member)
static const struct cli_option restart_options[] = {
    { "run", 0, OPTION_STR, AT(run_name), "NAME", .help = "In the run of this name" },
    { "port", 0, OPTION_INT, AT(port), "PORT", .help = "In the run whose page is on this port",
      .max = 65535 },
};
#undef AT

const struct command restart_command = {
    .name = "restart",
    .args = "app",
    .summary = "Replace the instances of an app of a 'proa run' one by one, without a failed call",
    .about = "A further instance comes up first; then each of the others drains, ends and comes\n"
             "back; then the further one goes. Waits until that is done.",
    .options = { restart_options, COUNT(restart_options) },
    .size = sizeof(struct restart),
    .min_words = 1,
    .max_words = 1,
    .examples = "proa restart orders",
    .run = restart_main,
};
