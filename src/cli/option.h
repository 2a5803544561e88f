/* option.h — command-line options as a table: parsing, help, completion and the manual come of it.
 * Owner:  tables are static; decoded strings borrow from argv, lists live in the caller's arena.
 * Thread: the main one, at start.   Failure: -INVALID with what to type instead. */
#pragma once

#include "base/arena.h"
#include "base/error.h"

enum option_kind {
    OPTION_FLAG, /* bool */
    OPTION_STR,  /* const char *; NULL when absent and without a default */
    OPTION_INT,  /* int64_t, within min … max */
    OPTION_LIST, /* struct option_list; repeatable, commas separate too */
};

enum option_hint { OPTION_PLAIN, OPTION_FILE, OPTION_DIR }; /* for the shell's completion */

struct option_list {
    const char **v;
    size_t n;
};

struct cli_option {
    const char *name; /* without the dashes */
    char letter;      /* 0 = none */
    enum option_kind kind;
    size_t off;        /* of the field in the command's own struct */
    const char *value; /* what it's called in help, such as "PORT"; NULL for flags */
    const char *def;   /* default as it would be typed; NULL = zero */
    const char *bare;  /* what it is when no number follows it; NULL = a value must follow */
    const char *help;
    int64_t min, max;           /* OPTION_INT */
    const char *const *choices; /* NULL-ended; NULL = any */
    enum option_hint hint;
};

struct option_set {
    const struct cli_option *v;
    size_t n;
    bool command_follows; /* the first word that is no option ends them: 'proa run node app.js' */
};

/* Decodes argv[0 … argc) into self (zeroed, then defaults, then what was given). *ret_rest = the
 * words that are no options, in the arena; what stands behind "--" is all words. *ret_help = -h or
 * --help was there (then nothing else is checked). */
int option_parse(const struct option_set *set, int argc, char **argv, struct arena *a, void *self,
                 struct option_list *ret_rest, bool *ret_help, struct error *err) WUR;

/* The candidate nearest to word that is near enough to be meant, or NULL. */
const char *option_suggest(const char *word, const char *const *candidate, size_t n);
