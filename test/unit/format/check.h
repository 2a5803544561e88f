/* check.h — what the tests of src/format share on top of cmocka.
 * Owner:  the test.   Thread: the test's.   Failure: fails the test with the row's name. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Behind error.h: cmocka has a macro named fail() too. */
#include <cmocka.h>

static inline void check_str(str got, str want, const char *what)
{
    if (!str_eq(got, want))
        fail_msg("%s: got \"%.*s\", want \"%.*s\"", what, (int)got.n, got.n ? got.p : "",
                 (int)want.n, want.n ? want.p : "");
}

static inline void check_that(bool ok, const char *what)
{
    if (!ok)
        fail_msg("%s", what);
}

enum { CHECK_SKIPPED = 77 }; /* exit status that meson shows as SKIP */

/* Writes the path of a folder of the public suites; false, and says so, when it isn't there. */
static inline bool check_data_dir(const char *folder, char *ret, size_t size)
{
    const char *root = getenv("PROA_TESTDATA");
    if (!root || !*root)
        root = getenv("PROA_TESTDATA_DEFAULT");
    snprintf(ret, size, "%s/%s", root ? root : ".", folder);
    if (!access(ret, R_OK))
        return true;
    printf("SKIPPED: no cases at %s; set PROA_TESTDATA to the folder that has %s\n", ret, folder);
    return false;
}
