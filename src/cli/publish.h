/* publish.h — 'proa publish': one event into a topic, with the flags of Dapr's command line.
 * Owner, thread: the process.   Failure: exit codes as in the command's help. */
#pragma once

#include "cli/command.h"

extern const struct command publish_command;
