#include "cli/option.h"

#include "test/testing.h"

struct settings {
    const char *name, *colour;
    int64_t port, watch;
    bool quiet;
    struct option_list dirs;
};

static const char *const colours[] = { "red", "green", NULL };
static const struct cli_option options[] = {
    { "name", 'n', OPTION_STR, offsetof(struct settings, name), "TEXT" },
    { "colour", 0, OPTION_STR, offsetof(struct settings, colour), "NAME", .def = "red",
      .choices = colours },
    { "port", 'p', OPTION_INT, offsetof(struct settings, port), "PORT", .def = "80", .min = 1,
      .max = 65535 },
    { "quiet", 'q', OPTION_FLAG, offsetof(struct settings, quiet) },
    { "watch", 'w', OPTION_INT, offsetof(struct settings, watch), "[SECONDS]", .bare = "2",
      .min = 1, .max = 60 },
    { "resources-path", 'd', OPTION_LIST, offsetof(struct settings, dirs), "DIR" },
};

struct parsed {
    struct arena arena;
    struct settings s;
    struct option_list rest;
    bool help;
    struct error err;
    int r;
};

static void parse(struct parsed *p, bool command_follows, const char *const *words)
{
    const struct option_set set = { options, COUNT(options), command_follows };
    int n = 0;
    while (words[n])
        n++;
    *p = (struct parsed){ 0 };
    arena_init(&p->arena, KIB(256));
    p->r = option_parse(&set, n, (char **)(uintptr_t)words, &p->arena, &p->s, &p->rest, &p->help,
                        &p->err);
}

#define PARSE(p, follows, ...) parse(p, follows, (const char *const[]){ __VA_ARGS__, NULL })

TEST(number_behind_an_option_that_stands_alone_is_its_own_any_other_word_is_not)
{
    static const struct {
        const char *name, *words[4];
        int64_t watch;
        size_t rest;
        int r;
    } row[] = {
        { "absent", { "w" }, 0, 1, 0 },
        { "at the end", { "w", "--watch" }, 2, 1, 0 },
        { "before a word", { "--watch", "w" }, 2, 1, 0 },
        { "before an option", { "-w", "--quiet" }, 2, 0, 0 },
        { "with its number", { "--watch", "7", "w" }, 7, 1, 0 },
        { "with a sign", { "--watch=7", "8" }, 7, 1, 0 },
        { "letter and number", { "-w7" }, 7, 0, 0 },
        { "too large", { "--watch", "61" }, 0, 0, -INVALID },
        { "no number", { "--watch=soon" }, 0, 0, -INVALID },
    };
    EACH (row, t) {
        struct parsed p;
        parse(&p, false, t->words);
        CHECK_EQ(p.r, t->r, "%s", t->name);
        CHECK_EQ(p.s.watch, t->watch, "%s", t->name);
        CHECK(t->r || p.rest.n == t->rest, "%s: %zu", t->name, p.rest.n);
        arena_done(&p.arena);
    }
}

TEST(every_spelling_of_an_option_is_understood)
{
    struct parsed p;
    PARSE(&p, false, "--name", "a", "-p", "1", "--quiet", "-dx,y", "--resources-path=z", "w");
    CHECK_OK(p.r);
    CHECK_TEXT(p.s.name, "a");
    CHECK_EQ(p.s.port, 1);
    CHECK(p.s.quiet);
    REQUIRE(p.s.dirs.n == 3);
    CHECK_TEXT(p.s.dirs.v[0], "x");
    CHECK_TEXT(p.s.dirs.v[2], "z");
    REQUIRE(p.rest.n == 1);
    CHECK_TEXT(p.rest.v[0], "w");
    arena_done(&p.arena);

    PARSE(&p, false, "-port=7", "--quiet=false", "-nb");
    CHECK_OK(p.r);
    CHECK_EQ(p.s.port, 7, "one dash is as good as two");
    CHECK(!p.s.quiet);
    CHECK_TEXT(p.s.name, "b");
    arena_done(&p.arena);
}

TEST(defaults_stand_where_nothing_is_given)
{
    struct parsed p;
    parse(&p, false, (const char *const[]){ NULL });
    CHECK_OK(p.r);
    CHECK_EQ(p.s.port, 80);
    CHECK_TEXT(p.s.colour, "red");
    CHECK(!p.s.name);
    CHECK_EQ(p.rest.n, 0);
    arena_done(&p.arena);
}

TEST(a_command_keeps_its_own_options)
{
    struct parsed p;
    PARSE(&p, true, "-p", "9", "node", "app.js", "--name", "x", "-h");
    CHECK_OK(p.r);
    CHECK_EQ(p.s.port, 9);
    CHECK(!p.s.name && !p.help);
    REQUIRE(p.rest.n == 5);
    CHECK_TEXT(p.rest.v[0], "node");
    CHECK_TEXT(p.rest.v[4], "-h");
    arena_done(&p.arena);

    PARSE(&p, true, "--quiet", "--", "--name", "x");
    CHECK_OK(p.r);
    REQUIRE(p.rest.n == 2);
    CHECK_TEXT(p.rest.v[0], "--name");
    arena_done(&p.arena);
}

TEST(help_wins_over_what_follows)
{
    struct parsed p;
    PARSE(&p, false, "--help", "--nonsense");
    CHECK_OK(p.r);
    CHECK(p.help);
    arena_done(&p.arena);
}

TEST(mistakes_are_told_with_what_to_type)
{
    static const struct {
        const char *name, *word[3], *text;
    } row[] = {
        { "near", { "--nmae" }, "unknown option '--nmae': did you mean '--name'?" },
        { "prefix",
          { "--resources" },
          "unknown option '--resources': did you mean "
          "'--resources-path'?" },
        { "far", { "--zzzzzzz" }, "unknown option '--zzzzzzz'" },
        { "no value", { "--port" }, "--port needs a value: --port PORT" },
        { "no number", { "--port", "x" }, "--port takes a number from 1 to 65535, not 'x'" },
        { "out of range", { "-p", "0" }, "--port takes a number from 1 to 65535, not '0'" },
        { "overflow",
          { "-p", "99999999999999999999" },
          "--port takes a number from 1 to 65535, not '99999999999999999999'" },
        { "choice", { "--colour", "gren" }, "--colour can't be 'gren': did you mean 'green'?" },
        { "no choice", { "--colour=" }, "--colour can't be '': use one of red, green" },
        { "no bool", { "--quiet=maybe" }, "--quiet takes true or false, not 'maybe'" },
    };
    EACH (row, r) {
        struct parsed p;
        parse(&p, false, r->word);
        CHECK_EQ(p.r, -INVALID, "%s", r->name);
        CHECK_TEXT(p.err.text, r->text, "%s", r->name);
        arena_done(&p.arena);
    }
}

TEST(suggestions_need_to_be_near)
{
    static const char *const names[] = { "run", "status", "publish", "invoke" };
    CHECK_TEXT(option_suggest("satus", names, COUNT(names)), "status");
    CHECK_TEXT(option_suggest("pub", names, COUNT(names)), "publish");
    CHECK(!option_suggest("xyz", names, COUNT(names)));
    CHECK(!option_suggest("", names, COUNT(names)));
}

TEST(parsing_survives_each_failed_allocation)
{
    FAIL_EACH_ALLOC(n)
    {
        struct parsed p;
        PARSE(&p, false, "-d", "a,b,c,d,e", "v", "w", "x", "y", "z");
        CHECK(p.r == 0 || p.r == -EXHAUSTED, "allocation %zu: %d", n, p.r);
        arena_done(&p.arena);
    }
}
