#include "cli/invoke.h"
#include "cli/ask.h"
#include "cli/console.h"

#include "format/uri.h"

#include <unistd.h>

enum { INVOKE_ARENA_MAX = 64 << 20, TARGET_MAX = 16 << 10 };

struct invoke {
    const char *app, *method, *verb, *data, *file, *socket_dir, *run_name;
    int64_t http_port;
};

struct invoke_job {
    const struct invoke *o;
    struct arena *arena;
    str data, target;
    struct answer answer;
    struct error *err;
    int result;
};

/* The method is a path with perhaps a query, as the app will see it: only the app's id is ours. */
static int make_target(struct invoke_job *j)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, TARGET_MAX);
    buf_put(&out, S("/v1.0/invoke/"));
    uri_encode(&out, str_c(j->o->app), URI_PATH);
    buf_put(&out, S("/method/"));
    for (str rest = str_c(j->o->method); rest.n; rest = str_skip(rest, 1)) {
        unsigned char c = (unsigned char)rest.p[0];
        if (c <= ' ' || c >= 0x7f)
            buf_printf(&out, "%%%02X", c);
        else
            buf_putc(&out, (char)c);
    }
    j->target = arena_dup(j->arena, buf_str(&out));
    if (!buf_ok(&out) || !j->target.p)
        return fail(j->err, EXHAUSTED, NULL, "the method is too long");
    return 0;
}

CO static void invoke_fiber(void *arg)
{
    struct invoke_job *j = arg;
    struct json ignored;
    const struct ask_where where = { .app = j->o->app,
                                     .run_name = j->o->run_name,
                                     .socket_dir = j->o->socket_dir,
                                     .http_port = j->o->http_port };
    struct ask ask = { .method = str_c(j->o->verb), .target = j->target, .body = j->data };
    if (j->data.n)
        ask.content_type =
            json_parse(j->data, &ignored, NULL) == 0 ? S("application/json") : S("text/plain");
    j->result = ask_find_sidecar(&where, j->arena, &ask.address, j->err);
    if (!j->result)
        j->result = ask_call(&ask, j->arena, &j->answer, j->err);
}

static int prepare(struct invoke_job *j)
{
    const struct invoke *o = j->o;
    if (!o->app || !o->method)
        return fail(j->err, INVALID, NULL, "--app-id and --method are needed");
    if (!http_is_token(str_c(o->verb)))
        return fail(j->err, INVALID, NULL, "--verb '%s' is no HTTP method", o->verb);
    int r = ask_data(o->data, o->file, j->arena, &j->data, j->err);
    return r ? r : make_target(j);
}

/* The body alone is on stdout, so that it can be piped on. */
static int print_answer(const struct invoke_job *j)
{
    str body = j->answer.body;
    bool whole = fwrite(body.p, 1, body.n, stdout) == body.n;
    if (console_is_terminal(STDOUT_FILENO) && !str_ends(body, S("\n")))
        putchar('\n');
    bool good = j->answer.status >= 200 && j->answer.status < 400;
    if (!good)
        fprintf(stderr, "proa invoke: %s answered HTTP %d\n", j->o->app, j->answer.status);
    return good && fflush(stdout) == 0 && whole ? EXIT_OK : EXIT_FAILED;
}

static int invoke_main(const void *options, const struct option_list *words)
{
    struct error err = { 0 };
    AUTO(arena_done) struct arena a;
    arena_init(&a, INVOKE_ARENA_MAX);
    struct invoke_job j = { .o = options, .arena = &a, .err = &err };
    if (prepare(&j) != 0) {
        console_usage_error("invoke", &err);
        return EXIT_USAGE;
    }
    int r = ask_in_fiber(invoke_fiber, &j, &err);
    if (r || j.result) {
        console_error("invoke", &err);
        return EXIT_FAILED;
    }
    return print_answer(&j);
}

#define AT(member) offsetof(struct invoke, member)
static const struct cli_option invoke_options[] = {
    { "app-id", 'a', OPTION_STR, AT(app), "ID", .help = "The app to call" },
    { "method", 'm', OPTION_STR, AT(method), "PATH",
      .help = "What to call, such as orders/1?full=1" },
    { "verb", 'v', OPTION_STR, AT(verb), "VERB", .def = "POST", .help = "HTTP method" },
    { "data", 'd', OPTION_STR, AT(data), "TEXT",
      .help = "The request's body; JSON, or plain text" },
    { "data-file", 'f', OPTION_STR, AT(file), "FILE", .help = "The body is in this file",
      .hint = OPTION_FILE },
    { "unix-domain-socket", 'u', OPTION_STR, AT(socket_dir), "DIR",
      .help = "The sidecar's API is on a socket in there", .hint = OPTION_DIR },
    { "dapr-http-port", 'H', OPTION_INT, AT(http_port), "PORT",
      .help = "The sidecar's API is on this port; no run is looked for", .max = 65535 },
    { "run", 0, OPTION_STR, AT(run_name), "NAME", .help = "Look in the run of this name only" },
};
#undef AT

const struct command invoke_command = {
    .name = "invoke",
    .args = "",
    .summary = "Call a method of an app through its sidecar and print the answer",
    .options = { invoke_options, COUNT(invoke_options) },
    .size = sizeof(struct invoke),
    .examples = "proa invoke -a orders -m orders -d '{\"item\":\"tea\"}'\n"
                "proa invoke -a orders -m orders/1 -v GET",
    .exits = "1  also when the app answered with a status of 400 or more",
    .run = invoke_main,
};
