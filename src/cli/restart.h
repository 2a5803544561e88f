/* restart.h — proa restart: replaces the instances of an app of a run one by one.
 * Owner:  static.   Thread: the main one.   Failure: the process' exit code. */
#pragma once

#include "cli/command.h"

extern const struct command restart_command;
