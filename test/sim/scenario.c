#include "test/sim/scenario.h"

#include <stdarg.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
enum { FEW = 1 }; /* what costs five times as much is done for one seed */
#else
enum { FEW = 0 };
#endif

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

/* ---- the picture ---- */

void scenario_put(struct scenario *s, const char *panel, const char *name, double value)
{
    size_t i = 0;
    while (i < s->n_columns &&
           (strcmp(s->column[i].name, name) != 0 || strcmp(s->column[i].panel, panel) != 0))
        i++;
    PRE(i < COLUMNS_MAX);
    if (i == s->n_columns) {
        s->column[i].panel = panel;
        s->column[i].name = name;
        s->n_columns++;
    }
    REQUIRE(s->n_samples < SAMPLES_MAX);
    if (!s->column[i].value)
        s->column[i].value = sim_alloc(&s->sim, SAMPLES_MAX * sizeof(double));
    s->column[i].value[s->n_samples] = value;
}

static void take_sample(struct sim *sim, struct event *e)
{
    struct scenario *s = CONTAINER_OF(e, struct scenario, sample);
    s->look(s, s->arg);
    s->n_samples++;
    sim_after(sim, e, s->every_ns);
}

void scenario_draw(struct scenario *s, uint64_t every_ns,
                   void (*look)(struct scenario *s, void *arg), void *arg)
{
    s->look = look;
    s->arg = arg;
    s->every_ns = every_ns;
    s->begin_ns = s->sim.now;
    s->sample.fn = take_sample;
    sim_after(&s->sim, &s->sample, every_ns);
}

static double seconds(const struct scenario *s, uint64_t at)
{
    return (double)(at - s->begin_ns) / 1e9;
}

void scenario_mark(struct scenario *s, const char *text)
{
    PRE(s->n_marks < MARKS_MAX);
    s->mark[s->n_marks].at_s = seconds(s, s->sim.now);
    s->mark[s->n_marks++].text = text;
}

void scenario_note(struct scenario *s, const char *fmt, ...)
{
    size_t n = strlen(s->note);
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->note + n, sizeof s->note - n, fmt, args);
    va_end(args);
}

static void write_samples(const struct scenario *s, const char *folder)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.csv", folder, s->name);
    FILE *f = fopen(path, "w");
    REQUIRE(f, "%s can't be written", path);
    for (size_t i = 0; i < s->n_marks; i++)
        fprintf(f, "# %.3f %s\n", s->mark[i].at_s, s->mark[i].text);
    fprintf(f, "seconds");
    for (size_t i = 0; i < s->n_columns; i++)
        fprintf(f, ",\"%s: %s\"", s->column[i].panel, s->column[i].name);
    for (size_t row = 0; row < s->n_samples; row++) {
        fprintf(f, "\n%.3f", (double)(row + 1) * (double)s->every_ns / 1e9);
        for (size_t i = 0; i < s->n_columns; i++)
            fprintf(f, ",%.4g", s->column[i].value[row]);
    }
    fprintf(f, "\n");
    REQUIRE(fclose(f) == 0);
}

/* ---- runs ---- */

static uint64_t run_once(const char *name, scenario_fn *fn, uint64_t seed, bool first)
{
    struct scenario *s = mem_zalloc(sizeof *s);
    const char *plots = getenv("SIM_PLOTS");
    REQUIRE(s);
    s->name = name;
    sim_init(&s->sim, seed);
    s->begin_ns = s->sim.now;
    fn(s);
    uint64_t trace = s->sim.trace;
    if (first && plots && s->n_samples)
        write_samples(s, plots);
    if (getenv("SIM_FIGURES"))
        printf("%-28s seed %-4ju %9ju events  %s\n", name, (uintmax_t)seed,
               (uintmax_t)s->sim.n_events, s->note);
    flow_done(&s->flow);
    sim_done(&s->sim);
    mem_free(s);
    return trace;
}

void scenario_run(const char *name, scenario_fn *fn, unsigned seeds)
{
    uint64_t from = number_of("SIM_SEED", 1), n = number_of("SIM_SEEDS", FEW ? 1 : seeds);
    uint64_t first = run_once(name, fn, from, true);
    for (uint64_t i = 1; i < n; i++) {
        uint64_t other = run_once(name, fn, from + i, false);
        CHECK(other != first, "%s: seeds %ju and %ju give the same run", name, (uintmax_t)from,
              (uintmax_t)(from + i));
    }
}

void scenario_repeats(const char *name, scenario_fn *fn)
{
    uint64_t seed = number_of("SIM_SEED", 1);
    uint64_t first = run_once(name, fn, seed, false), second = run_once(name, fn, seed, false);
    CHECK(first == second, "%s: seed %ju gives two runs", name, (uintmax_t)seed);
}

void scenario_end(struct scenario *s, struct fleet *f)
{
    sim_cancel(&s->sim, &s->sample);
    fleet_done(f);
}

void scenario_for(struct scenario *s, uint64_t ns)
{
    sim_run_until(&s->sim, s->sim.now + ns);
}

double gauge_rate(struct gauge *g, double now, uint64_t every_ns)
{
    double grown = now < g->last ? now : now - g->last;
    g->last = now;
    return grown * 1e9 / (double)every_ns;
}
