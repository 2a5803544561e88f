#include "fixture.h"

#include "api/errors.h"
#include "api/grpc_call.h"
#include "api/grpc_reflect.h"
#include "entry.pb-c.h"
#include "http/splice.h"
#include "reflection.pb-c.h"
#include "runtime.pb-c.h"
#include "status.pb-c.h"

TEST(the_table_has_every_method_once_with_a_handler_or_a_reason)
{
    size_t n = 0;
    const struct grpc_method *m;
    for (; (m = grpc_method_at(n)); n++) {
        CHECK(grpc_method_find(m->name) == m, STR_FMT, STR_ARG(m->name));
        CHECK_EQ((m->unary != NULL) + (m->stream != NULL) + (m->why != NULL), 1, STR_FMT,
                 STR_ARG(m->name));
        CHECK(m->why || (m->in && m->out), STR_FMT, STR_ARG(m->name));
        CHECK(m->group && m->version, STR_FMT, STR_ARG(m->name));
    }
    CHECK_EQ(n, 74);
    CHECK(!grpc_method_find(S("getstate")));
    CHECK(!grpc_method_find(S("")));
}

TEST(maps_come_back_and_the_last_of_a_key_counts)
{
    struct arena a;
    arena_init(&a, MIB(1));
    const struct kv kv[] = { { S("k"), S("first") }, { S("e"), S("") }, { S("k"), S("last") } };
    Dapr__Proto__Runtime__V1__StringEntry **v = NULL;
    size_t n = 0;
    struct kvs back;
    CHECK_OK(pb_map(&a, (struct kvs){ kv, 3 }, &v, &n));
    CHECK_EQ(n, 3);
    CHECK_OK(pb_kvs(&a, v, n, &back));
    CHECK_STR(kvs_get(back, S("k")), "last");
    CHECK_STR(kvs_get(back, S("e")), "");
    arena_done(&a);
}

TEST(bytes_that_are_no_message_are_internal)
{
    static const str bad[] = { S("\xff"),
                               S("\x0a\x05"
                                 "ab"),
                               S("\x08"), S("\x0a\xff\xff\xff\xff\x0f") };
    struct arena a;
    arena_init(&a, MIB(1));
    for (size_t i = 0; i < COUNT(bad); i++) {
        void *m;
        struct error err = { 0 };
        CHECK_EQ(pb_decode(&a, &dapr__proto__runtime__v1__get_state_request__descriptor, bad[i], &m,
                           &err),
                 -INTERNAL, "%zu", i);
        CHECK_EQ(err.code, INTERNAL, "%zu", i);
    }
    arena_done(&a);
}

TEST(details_are_those_of_the_error_in_their_order)
{
    struct error err = { 0 };
    struct arena a;
    str packed;
    void *m = NULL;
    arena_init(&a, MIB(1));
    (void)fail(&err, INVALID, "ERR_MALFORMED_REQUEST", "what");
    CHECK_OK(error_grpc_details(&err, &a, &packed));
    CHECK_EQ(packed.n, 0);
    fail_reason(&err, "DAPR_STATE_ILLEGAL_KEY", "state", S("s"));
    fail_meta(&err, "k", S("v"));
    snprintf(err.violation, sizeof err.violation, "a||b");
    CHECK_OK(error_grpc_details(&err, &a, &packed));
    struct error none = { 0 };
    REQUIRE(pb_decode(&a, &google__rpc__status__descriptor, packed, &m, &none) == 0);
    const Google__Rpc__Status *s = m;
    CHECK_EQ(s->code, INVALID);
    CHECK_TEXT(s->message, "what");
    static const char *const types[] = { "BadRequest", "ResourceInfo", "ErrorInfo" };
    REQUIRE(s->n_details == COUNT(types));
    for (size_t i = 0; i < COUNT(types); i++)
        CHECK(str_ends(str_c(s->details[i]->type_url), str_c(types[i])), "%s",
              s->details[i]->type_url);
    REQUIRE(pb_decode(&a, &google__rpc__error_info__descriptor, pb_bytes(s->details[2]->value), &m,
                      &none) == 0);
    const Google__Rpc__ErrorInfo *info = m;
    CHECK_TEXT(info->reason, "DAPR_STATE_ILLEGAL_KEY");
    CHECK_TEXT(info->domain, "dapr.io");
    REQUIRE(info->n_metadata == 1);
    CHECK_TEXT(info->metadata[0]->value, "v");
    arena_done(&a);
}

TEST(details_without_memory_fail)
{
    struct error err = { 0 };
    (void)fail(&err, INVALID, NULL, "what");
    fail_reason(&err, "R", "state", S("s"));
    FAIL_EACH_ALLOC(n)
    {
        struct arena a;
        str packed;
        arena_init(&a, MIB(1));
        int r = error_grpc_details(&err, &a, &packed);
        CHECK_EQ(r, test_alloc_failed(n) ? -EXHAUSTED : 0, "allocation %zu", n);
        arena_done(&a);
    }
}

TEST(reflection_answers_whatever_is_asked)
{
    typedef Grpc__Reflection__V1__ServerReflectionResponse answer;
    static const struct {
        const char *name;
        str request;
        int want; /* the case of the answer; 0 = no message */
    } row[] = {
        { "services", S("\x3a\x00"), 6 },        { "symbol", S("\x22\x1a" DAPR_SERVICE), 4 },
        { "unknown symbol", S("\x22\x01x"), 7 }, { "unknown file", S("\x1a\x01x"), 7 },
        { "extensions", S("\x32\x01x"), 7 },     { "nothing", S(""), 7 },
        { "no message", S("\xff"), 0 },
    };
    EACH (row, r) {
        struct arena a;
        str packed;
        void *m = NULL;
        struct error err = { 0 };
        arena_init(&a, MIB(1));
        int code = reflect_answer(r->request, DAPR_SERVICE, &a, &packed);
        CHECK_EQ(code, r->want ? 0 : -INVALID, "%s", r->name);
        if (code == 0 &&
            pb_decode(&a, &grpc__reflection__v1__server_reflection_response__descriptor, packed, &m,
                      &err) == 0)
            CHECK_EQ(((answer *)m)->message_response_case, r->want, "%s", r->name);
        arena_done(&a);
    }
}

TEST(messages_are_counted_however_they_are_cut)
{
    static const char three[] = "\0\0\0\0\x02"
                                "ab\0\0\0\0\0\0\0\0\0\x01z";
    for (size_t step = 1; step < sizeof three; step++) {
        struct splice_way w = { 0 };
        for (str rest = str_of(three, sizeof three - 1); rest.n; rest = str_skip(rest, step))
            CHECK_OK(splice_count(&w, str_take(rest, step), 2), "step %zu", step);
        CHECK_EQ(w.messages, 3, "step %zu", step);
        CHECK_EQ(w.left + w.have, 0, "step %zu", step);
        CHECK_EQ(w.bytes, sizeof three - 1);
    }
    struct splice_way w = { 0 };
    CHECK_EQ(splice_count(&w, S("\0\0\0\0\x03"), 2), -EXHAUSTED);
}
