#include "base/error.h"

#include "test/testing.h"

TEST(fail_fills_and_returns_the_code)
{
    struct error err = { 0 };
    CHECK_EQ(fail(&err, NOT_FOUND, "ERR_X", "no %s", "such"), -NOT_FOUND);
    CHECK_EQ(err.code, NOT_FOUND);
    CHECK_TEXT(err.tag, "ERR_X");
    CHECK_TEXT(err.text, "no such");
    CHECK_EQ(fail(NULL, INVALID, NULL, "nobody listens"), -INVALID);
}

TEST(first_cause_wins_until_replaced)
{
    struct error err = { 0 };
    (void)fail(&err, NOT_FOUND, NULL, "first");
    CHECK_EQ(fail(&err, INTERNAL, NULL, "second"), -INTERNAL);
    CHECK_EQ(err.code, NOT_FOUND);
    CHECK_TEXT(err.text, "first");
    CHECK_EQ(fail_as(&err, DENIED, "T", "was: %s", err.text), -DENIED);
    CHECK_TEXT(err.text, "was: first");
    CHECK_EQ(fail_as(NULL, DENIED, "T", "x"), -DENIED);
}

TEST(wrap_puts_context_before_the_text)
{
    struct error err = { 0 };
    (void)fail(&err, ABORTED, NULL, "cause");
    CHECK_EQ(fail_wrap(&err, "saving %d", 7), -ABORTED);
    CHECK_TEXT(err.text, "saving 7: cause");
    CHECK_EQ(fail_wrap(NULL, "x"), -UNKNOWN);
}

TEST(long_texts_are_cut)
{
    struct error err = { 0 };
    (void)fail(&err, INTERNAL, NULL, "%2000d", 1);
    CHECK_EQ(strlen(err.text), sizeof err.text - 1);
    (void)fail_wrap(&err, "%2000d", 2);
    CHECK_EQ(strlen(err.text), sizeof err.text - 1);
}

TEST(details_are_copied_and_cut)
{
    struct error err = { 0 };
    char big[500];
    memset(big, 'x', sizeof big);
    (void)fail(&err, INTERNAL, NULL, "text");
    fail_reason(&err, "R", "pubsub", str_of(big, sizeof big));
    CHECK_TEXT(err.reason, "R");
    CHECK_TEXT(err.resource_type, "pubsub");
    CHECK_EQ(strlen(err.resource), sizeof err.resource - 1);
    fail_meta(&err, "a", S("1"));
    fail_meta(&err, "b", str_of(big, sizeof big));
    fail_meta(&err, "c", S("3"));
    CHECK_TEXT(err.meta_key[0], "a");
    CHECK_TEXT(err.meta[0], "1");
    CHECK_EQ(strlen(err.meta[1]), sizeof err.meta[1] - 1);
    fail_reason(NULL, "R", NULL, S(""));
    fail_meta(NULL, "a", S(""));
}

TEST(names_are_those_of_grpc)
{
    CHECK_TEXT(code_name(OK), "OK");
    CHECK_TEXT(code_name(INVALID), "INVALID_ARGUMENT");
    CHECK_TEXT(code_name(UNAUTHENTICATED), "UNAUTHENTICATED");
    CHECK_TEXT(code_name((enum code)17), "UNKNOWN");
    CHECK_TEXT(code_name((enum code) - 1), "UNKNOWN");
}

TEST(codes_have_the_http_status_of_the_contract)
{
    CHECK_EQ(code_http_status(OK), 200);
    CHECK_EQ(code_http_status(INVALID), 400);
    CHECK_EQ(code_http_status(NOT_FOUND), 404);
    CHECK_EQ(code_http_status(EXHAUSTED), 429);
    CHECK_EQ(code_http_status(UNAVAILABLE), 503);
    CHECK_EQ(code_http_status(UNAUTHENTICATED), 401);
    CHECK_EQ(code_http_status((enum code)17), 500);
}
