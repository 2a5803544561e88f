/* scaler.h — proa scaler: what the sidecars of apps are asked for, told to KEDA over its external
 * scaler's gRPC. Owner:  main().   Thread: the main one; the command has one worker.
 * Failure: the process' exit code; calls get gRPC's codes. */
#pragma once

#include "cli/command.h"

extern const struct command scaler_command;
