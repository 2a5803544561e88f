/* chaos.h — 'proa chaos': adds, shows and removes faults on purpose, at all sidecars of a run or at
 * one.   Owner: the process.   Thread: as ask.h.   Failure: exit codes; what a sidecar says is on
 * stderr. */
#pragma once

#include "cli/command.h"

extern const struct command chaos_command;
