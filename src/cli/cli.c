#include "cli/cli.h"
#include "cli/chaos.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/invoke.h"
#include "cli/publish.h"
#include "cli/restart.h"
#include "cli/run.h"
#include "cli/scaler.h"
#include "cli/status.h"

#include "base/mem.h"

enum { COMMAND_ARENA_MAX = 4 << 20, NAMES_MAX = 16 };

static int version_run(const void *options, const struct option_list *words)
{
    printf("proa %s\n", PROA_VERSION);
    return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

static int help_run(const void *options, const struct option_list *words)
{
    if (words->n == 0) {
        help_overview(stdout);
        return EXIT_OK;
    }
    const struct command *c = command_find(words->v[0]);
    if (c) {
        help_command(stdout, c);
        return EXIT_OK;
    }
    struct error err = { 0 };
    (void)fail(&err, INVALID, NULL, "no help on '%s': it's none of the commands", words->v[0]);
    console_usage_error("help", &err);
    return EXIT_USAGE;
}

static const char *const shells[] = { "bash", "zsh", "fish", NULL };

static const struct command version_command = {
    .name = "version",
    .args = "",
    .summary = "Print the version",
    .run = version_run,
};

static const struct command completion_command = {
    .name = "completion",
    .args = "bash|zsh|fish",
    .summary = "Print a completion script for your shell",
    .about = "Load it once:  source <(proa completion bash)\n"
             "or for good, as the first line of the script says.",
    .min_words = 1,
    .max_words = 1,
    .words = shells,
    .run = completion_run,
};

static const struct command man_command = {
    .name = "man",
    .args = "",
    .summary = "Print the manual page in man(7) format",
    .examples = "proa man | man -l -",
    .run = man_run,
};

static const struct command help_command_entry = {
    .name = "help",
    .args = "[command]",
    .summary = "Tell what there is, or more about one command",
    .max_words = 1,
    .run = help_run,
};

const struct command *const commands[] = {
    &run_command,        &status_command, &restart_command,    &publish_command,
    &invoke_command,     &chaos_command,  &scaler_command,     &version_command,
    &completion_command, &man_command,    &help_command_entry,
};
const size_t n_commands = COUNT(commands);

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < n_commands; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[NAMES_MAX] = { "sidecar" };
    size_t n = 1;
    for (size_t i = 0; i < n_commands && n < NAMES_MAX; i++)
        names[n++] = commands[i]->name;
    const char *near = option_suggest(name, names, n);
    struct error err = { 0 };
    if (near)
        (void)fail(&err, INVALID, NULL, "unknown command '%s': did you mean '%s'?", name, near);
    else
        (void)fail(&err, INVALID, NULL, "unknown command '%s'", name);
    console_usage_error(NULL, &err);
    return EXIT_USAGE;
}

static int check_words(const struct command *c, const struct option_list *words, struct error *err)
{
    if (words->n < c->min_words)
        return fail(err, INVALID, NULL, "needs more: proa %s %s", c->name, c->args);
    if (words->n > c->max_words)
        return fail(err, INVALID, NULL, "doesn't know what to do with '%s'",
                    words->v[c->max_words]);
    return 0;
}

static int command_run(const struct command *c, int argc, char **argv)
{
    AUTO(arena_done) struct arena arena;
    arena_init(&arena, COMMAND_ARENA_MAX);
    struct error err = { 0 };
    struct option_list words;
    bool help;
    void *options = arena_zalloc(&arena, c->size ? c->size : 1);
    int r = options ? 0 : fail(&err, EXHAUSTED, NULL, "out of memory");
    if (!r)
        r = option_parse(&c->options, argc, argv, &arena, options, &words, &help, &err);
    if (!r && help) {
        help_command(stdout, c);
        return EXIT_OK;
    }
    if (!r)
        r = check_words(c, &words, &err);
    if (r) {
        console_usage_error(c->name, &err);
        return EXIT_USAGE;
    }
    return c->run(options, &words);
}

int cli_main(int argc, char **argv)
{
    if (argc < 2) {
        help_overview(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
        name = "help";
    else if (strcmp(name, "-v") == 0 || strcmp(name, "--version") == 0)
        name = "version";
    const struct command *c = command_find(name);
    return c ? command_run(c, argc - 2, argv + 2) : unknown_command(name);
}
