/* status.h — 'proa status': what runs, as a table or as JSON.
 * Owner, thread: the process.   Failure: exit codes as in the command's help. */
#pragma once

#include "cli/command.h"

extern const struct command status_command;
