#include "policy/retry.h"

enum { MAX_RANGES = 100 };

struct retry_policy retry_defaults(void)
{
    return (struct retry_policy){
        .max_retries = -1,
        .interval_ns = SEC(5),
        .initial_ns = MS(500),
        .factor = 1.5,
        .jitter = 0.5,
        .max_interval_ns = SEC(60),
        .max_elapsed_ns = SEC(900),
    };
}

static bool parse_code(str s, int min, int max, int *ret)
{
    int64_t v;
    if (!s.n || s.p[0] == '+' || !str_to_i64(s, &v) || v < min || v > max)
        return false;
    *ret = (int)v;
    return true;
}

static bool parse_range(str s, int min, int max, struct code_range *ret)
{
    str first, last;
    struct code_range r;
    if (!str_cut(s, '-', &first, &last))
        last = first;
    if (!parse_code(first, min, max, &r.first) || !parse_code(last, min, max, &r.last) ||
        r.first > r.last)
        return false;
    *ret = r;
    return true;
}

static int parse_list(struct arena *a, str list, int min, int max, const struct code_range **ret,
                      size_t *ret_n, struct error *err)
{
    struct code_range *range = NULL;
    size_t n = 0;
    str rest = list, item;
    for (bool more = true; more;) {
        more = str_cut(rest, ',', &item, &rest);
        if (!item.n)
            continue;
        if (n == MAX_RANGES)
            return fail(err, INVALID, NULL, "more than %d codes in a list", MAX_RANGES);
        if (!range && !(range = arena_alloc(a, MAX_RANGES * sizeof *range)))
            return fail(err, EXHAUSTED, NULL, "out of memory");
        if (!parse_range(item, min, max, &range[n++]))
            return fail(err, INVALID, NULL,
                        "\"%.*s\" is not a status code in %d … %d or a range such as 500-504 "
                        "(no spaces)",
                        (int)min_size(item.n, 40), item.p, min, max);
    }
    *ret = range;
    *ret_n = n;
    return 0;
}

int retry_match_parse(struct arena *a, str http, str grpc, struct retry_match *ret,
                      struct error *err)
{
    struct retry_match m = { 0 };
    int r = parse_list(a, http, 100, 599, &m.http, &m.n_http, err);
    if (r == 0)
        r = parse_list(a, grpc, 0, 16, &m.grpc, &m.n_grpc, err);
    if (r == 0)
        *ret = m;
    return r;
}

static bool listed(const struct code_range *range, size_t n, int code)
{
    for (size_t i = 0; i < n; i++)
        if (code >= range[i].first && code <= range[i].last)
            return true;
    return n == 0;
}

bool retry_wants(const struct retry_match *m, int http, int grpc)
{
    if (http)
        return listed(m->http, m->n_http, http);
    return !grpc || listed(m->grpc, m->n_grpc, grpc);
}

void retry_start(const struct retry_policy *p, struct retry_state *s, uint64_t now_ns)
{
    *s = (struct retry_state){ .start_ns = now_ns, .next_ns = p->initial_ns };
}

static uint64_t scaled(uint64_t ns, double by)
{
    double v = (double)ns * by;
    return v >= 9e18 ? (uint64_t)INT64_MAX : v > 0 ? (uint64_t)v : 0;
}

/* The wait of this round, in [1 - jitter, 1 + jitter] of next_ns; next_ns grows for the one after.
 */
static uint64_t back_off(const struct retry_policy *p, struct retry_state *s, double unit)
{
    uint64_t wait = scaled(s->next_ns, 1 - p->jitter + 2 * p->jitter * unit);
    s->next_ns = min_u64(scaled(s->next_ns, p->factor), p->max_interval_ns);
    return wait;
}

bool retry_next(const struct retry_policy *p, struct retry_state *s, uint64_t now_ns, double unit,
                uint64_t *ret_wait_ns)
{
    if (p->max_retries >= 0 && s->n >= p->max_retries)
        return false;
    uint64_t wait = p->exponential ? back_off(p, s, unit) : p->interval_ns;
    uint64_t elapsed = now_ns > s->start_ns ? now_ns - s->start_ns : 0;
    if (p->exponential && p->max_elapsed_ns &&
        (elapsed > p->max_elapsed_ns || wait > p->max_elapsed_ns - elapsed))
        return false;
    s->n++;
    *ret_wait_ns = wait;
    return true;
}
