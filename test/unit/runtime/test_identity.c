#include "runtime/identity.h"

#include "base/mem.h"
#include "test/certs.h"
#include "test/testing.h"

#include <stdio.h>

TEST(a_token_comes_from_the_first_source_there_is)
{
    struct arena a;
    arena_init(&a, MIB(1));
    char *own = cert_file(S("  own\n")), *theirs = cert_file(S("theirs")),
         *empty = cert_file(S(" "));
    const struct {
        const char *name, *file, *kubernetes;
        int want;
        const char *token;
        enum sentry_validator validator;
    } row[] = {
        { "both", own, theirs, 0, "own", SENTRY_JWKS },
        { "Kubernetes alone", NULL, theirs, 0, "theirs", SENTRY_KUBERNETES },
        { "neither", NULL, "/no/such", 0, "", SENTRY_UNKNOWN },
        { "a file that isn't there", "/no/such", theirs, -INVALID, NULL, 0 },
        { "an empty file", empty, theirs, -INVALID, NULL, 0 },
    };
    EACH (row, c) {
        struct error err = { 0 };
        str token;
        enum sentry_validator validator;
        CHECK_EQ(identity_token(c->file, c->kubernetes, &a, &token, &validator, &err), c->want,
                 "%s", c->name);
        if (c->want < 0) {
            CHECK(str_contains(str_c(err.text), S("DAPR_SENTRY_TOKEN_FILE")), "%s", c->name);
            continue;
        }
        CHECK_STR(token, c->token, "%s", c->name);
        CHECK_EQ(validator, c->validator, "%s", c->name);
    }
    char *path[] = { own, theirs, empty };
    EACH (path, p) {
        remove(*p);
        mem_free(*p);
    }
    arena_done(&a);
}

TEST(renewal_is_due_when_most_of_the_life_is_over)
{
    static const uint64_t NOW = SEC(1000000);
    static const struct {
        const char *name;
        int64_t from_s, until_s; /* of now */
        double random;
        int want;
        uint64_t renew_s, pause_s; /* from now on */
    } row[] = {
        { "a day, early", 0, 86400, 0, 0, 56160, 60 },
        { "a day, late", 0, 86400, 0.9999999, 0, 64799, 60 },
        { "dated back", -900, 1000, 0.5, 0, 700, 50 },
        { "ten seconds", 0, 10, 0.5, 0, 7, 1 },
        { "one second", 0, 1, 0.5, 0, 1, 1 },
        { "ended", -10, 0, 0.5, -INVALID, 0, 0 },
        { "for ever", 0, INT64_MAX - 1000000, 0, 0, 5849350000, 60 },
    };
    EACH (row, c) {
        struct tls_certificate t = { .from_s = 1000000 + c->from_s,
                                     .until_s = 1000000 + c->until_s };
        struct identity_plan p = { 0 };
        CHECK_EQ(identity_plan(&t, NOW, c->random, &p), c->want, "%s", c->name);
        if (c->want < 0)
            continue;
        CHECK_EQ((p.renew_ns - NOW) / SEC(1), c->renew_s, "%s", c->name);
        CHECK_EQ(p.pause_ns / SEC(1), c->pause_s, "%s", c->name);
    }
}

TEST(what_is_missing_is_said)
{
    static const struct {
        const char *anchors, *address, *want;
    } row[] = {
        { NULL, "x:1", "trust anchors are required" },
        { "", "x:1", "trust anchors are required" },
        { "x", "", "--sentry-address" },
        { "x", "x:1", "DAPR_TRUST_ANCHORS: the CA certificate is no PEM" },
    };
    EACH (row, c) {
        struct identity_config config = { .app_id = "me",
                                          .namespace_ = "default",
                                          .trust_anchors = c->anchors,
                                          .sentry_address = c->address,
                                          .sentry_domain = "localhost",
                                          .sentry_namespace = "default" };
        struct identity *i = NULL;
        struct error err = { 0 };
        CHECK_EQ(identity_start(&config, &i, &err), -INVALID, "%s", c->want);
        CHECK(!i && str_contains(str_c(err.text), str_c(c->want)), "%s", err.text);
    }
}

TEST(without_memory_starting_says_so)
{
    struct cert ca = cert_make(&(struct cert_spec){ .name = "ca", .ca = true }, NULL);
    struct identity_config config = { .app_id = "me",
                                      .namespace_ = "default",
                                      .trust_anchors = ca.pem.p,
                                      .sentry_address = "x:1",
                                      .sentry_domain = "localhost",
                                      .sentry_namespace = "default" };
    struct identity *i = NULL;
    for (uint64_t n = 1; n <= 5; n++) { /* as many as there are before the first try */
        struct error err = { 0 };
        mem_fail_at(n);
        int r = identity_start(&config, &i, &err);
        mem_fail_at(0);
        CHECK_EQ(r, -EXHAUSTED, "allocation %llu", (unsigned long long)n);
        CHECK(!i && err.code == EXHAUSTED);
    }
    cert_done(&ca);
}
