/* load.h — texts into resources, for the tests of the loader.
 * Owner:  load_done() frees.   Thread: one.   Failure: REQUIRE. */
#pragma once

#include "component/resource.h"
#include "test/testing.h"

static const struct resource_options load_defaults = { .app_id = { "me", 2 } };

__attribute__((unused)) static struct resources *load_with(const struct resource_options *opt,
                                                           const char *text, bool config)
{
    struct resource_text file = { "f.yaml", str_c(text), config };
    struct resources *r = NULL;
    struct error err = { 0 };
    REQUIRE(resources_parse(opt, &file, 1, &r, &err) == 0, "%s", err.text);
    return r;
}

__attribute__((unused)) static struct resources *load(const char *text)
{
    return load_with(&load_defaults, text, false);
}

/* All diagnostics, one a line, with w, e or f before each. */
__attribute__((unused)) static const char *said(const struct resources *r)
{
    static char all[16384];
    size_t n = 0;
    all[0] = 0;
    for (size_t i = 0; i < r->diags.n && n < sizeof all - DIAG_TEXT_MAX - 4; i++) {
        char text[DIAG_TEXT_MAX];
        n += (size_t)snprintf(all + n, sizeof all - n, "%s%c %s", i ? "\n" : "",
                              "wef"[r->diags.v[i].level], diag_print(&r->diags.v[i], text));
    }
    return all;
}
