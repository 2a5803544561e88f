/* command.h — the subcommands of proa: one table that dispatch, help, completion and man share.
 * Owner:  static.   Thread: the main one.   Failure: run() returns the process' exit code. */
#pragma once

#include "cli/option.h"

#include <stdio.h>

/* Exit codes of every command; a command's help adds what is its own. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
    const char *name;
    const char *args;    /* behind the options in the usage line; "" = none */
    const char *summary; /* one line */
    const char *about;   /* paragraphs */
    struct option_set options;
    size_t size; /* of the struct that options decode into */
    size_t min_words, max_words;
    const char *const *words; /* what the first word may be, NULL-ended, for completion */
    const char *examples;     /* lines; NULL = none */
    const char *exits;        /* lines on exit codes of its own; NULL = none */
    int (*run)(const void *options, const struct option_list *words);
};

extern const struct command *const commands[];
extern const size_t n_commands;

const struct command *command_find(const char *name); /* NULL when unknown */

/* help.c, completion.c, man.c: each writes to out. */
void help_overview(FILE *out);
void help_command(FILE *out, const struct command *c);
int completion_run(const void *options, const struct option_list *words);
int man_run(const void *options, const struct option_list *words);
