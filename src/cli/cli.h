/* cli.h — the way into everything that isn't the sidecar.
 * Owner:  the process.   Thread: the main one.   Failure: the exit code tells. */
#pragma once

/* All of proa but 'sidecar'. Returns the exit code. */
int cli_main(int argc, char **argv);
