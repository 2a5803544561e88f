/* options_fuzz.c — any command line, an argument a line: no crash, an error with words, and numbers
 * that every conversion to bytes and nanoseconds takes. */
#include "fuzz.h"
#include "runtime/options.h"

enum { ARGS_MAX = 100 };

static void check(const struct options *o)
{
    static const int64_t SECONDS_MAX = 1000000000;
    FUZZ_CHECK(o->app_port >= 0 && o->app_port <= 65535);
    FUZZ_CHECK(o->http_port >= 0 && o->http_port <= 65535);
    FUZZ_CHECK(o->max_body_size >= 0 && o->read_buffer_size > 0);
    FUZZ_CHECK(o->health_interval_s > 0 && o->health_interval_s <= SECONDS_MAX);
    FUZZ_CHECK(o->health_timeout_ms > 0 && o->health_timeout_ms <= SECONDS_MAX * 1000);
    FUZZ_CHECK(o->graceful_seconds >= 0 && o->graceful_seconds <= SECONDS_MAX);
    FUZZ_CHECK(o->app_max_concurrency >= 0 && o->health_threshold >= 1);
    FUZZ_CHECK(o->resources_path.n <= OPTION_LIST_MAX && !o->resources_path.v[o->resources_path.n]);
    FUZZ_CHECK(o->app_id && o->mode && o->app_protocol[0] && o->log_level);
    size_t at = 0;
    while (options_without_effect(o, &at))
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct options o;
    struct error err = { 0 };
    struct arena a;
    char *argv[ARGS_MAX] = { "daprd" };
    int argc = 1;
    arena_init(&a, 1 << 20);
    str rest = str_of(data, size), line;
    for (bool more = size > 0; more && argc < ARGS_MAX;) {
        more = str_cut(rest, '\n', &line, &rest);
        argv[argc] = arena_cstr(&a, line);
        argc += argv[argc] != NULL;
    }
    int r = options_parse(argc, argv, &a, &o, &err);
    FUZZ_CHECK(r == 0 || r == -INVALID || r == -EXHAUSTED);
    FUZZ_CHECK(r == 0 ? !err.code : err.text[0]);
    if (r == 0)
        check(&o);
    arena_done(&a);
    return 0;
}
