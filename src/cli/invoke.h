/* invoke.h — 'proa invoke': one call of an app, with the flags of Dapr's command line.
 * Owner, thread: the process.   Failure: exit codes as in the command's help. */
#pragma once

#include "cli/command.h"

extern const struct command invoke_command;
