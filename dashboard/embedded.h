/* embedded.h — the dashboard's files, compiled into the binary by tools/embed.py.
 * Owner:  nobody: static and read-only for the life of the process.
 * Thread: any.   Fails: never; a path that isn't listed doesn't exist. Paths start with a slash;
 * "/" is index.html. The page needs no more than the policy of EMBEDDED_CSP. */
#pragma once

#include <stddef.h>

struct embedded_file {
    const char *path, *type; /* "/js/main.js", "text/javascript; charset=utf-8" */
    const unsigned char *data;
    size_t n;
};

extern const struct embedded_file embedded_files[];
extern const size_t n_embedded_files;

/* Send it as Content-Security-Policy with every file: everything the page loads is its own. */
#define EMBEDDED_CSP \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " \
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
