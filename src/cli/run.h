/* run.h — 'proa run': starts apps with their sidecars, watches over them, shows the live page.
 * Owner:  the process.   Thread: the main one waits; worker 0 does the work.
 * Failure: exit codes as in the command's help. */
#pragma once

#include "cli/command.h"
#include "cli/run_template.h"

struct run_settings {
    const char *file, *name, *log_level;
    int64_t port; /* of the page; -1 = 9400, or another if that is taken */
    int64_t instances;
    bool no_page, enable_chaos;
    struct run_app app; /* of a run without a template */
};

enum { RUN_PORT = 9400 };

extern const struct command run_command;
