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

/* The folder of the public suites; NULL, and says so, when it isn't there. */
static inline const char *check_data_dir(void)
{
    const char *dir = getenv("PROA_TESTDATA");
    return dir && *dir ? dir : getenv("PROA_TESTDATA_DEFAULT");
}
