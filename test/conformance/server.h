/* server.h — a server process of a test: started in a folder, awaited, killed by its pid.
 * Owner:  the test; server_stop() ends it, and it ends with the test's process.
 * Thread: any one; it blocks.   Failure: false, with the reason on stdout. */
#pragma once

#include "base/str.h"

#include <sys/types.h>

struct server {
    pid_t pid; /* 0: not running */
    char dir[64];
    uint16_t port; /* of {port}: the same at each start */
    char command[1024];
};

/* command: a program and its arguments, apart by blanks. {dir} is dir, {port} a free port of
 * 127.0.0.1, {sock} the path of a Unix socket in dir; one of the two must accept connections before
 * this returns. What it prints goes to dir/server.log. */
bool server_start(struct server *s, const char *command, const char *dir);
bool server_installed(const char *command);
/* With SIGKILL, and again on the same port. */
void server_stop(struct server *s);
bool server_restart(struct server *s);
/* Replaces {dir}, {port} and {sock} in text. False when it doesn't fit. */
bool server_fill(const struct server *s, str text, char *ret, size_t max);
uint16_t server_free_port(void);
/* A folder with all that is in it. */
void server_remove_dir(const char *path);
