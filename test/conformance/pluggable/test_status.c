/* Statuses of pluggable components: what becomes of each (facts 4.5). */
#include "components/pluggable/grpc/status.h"
#include "components/pluggable/grpc/wire.h"
#include "test/testing.h"

struct detail {
    const char *type; /* NULL: none */
    const char *reason, *domain;
    const char *meta[6]; /* key, value … */
    const char *field, *description;
};

static void pack_any(const struct detail *d, struct buf *out)
{
    WIRE(ErrorInfo) info = DAPR__PROTO__COMPONENTS__V1__ERROR_INFO__INIT;
    WIRE(BadRequest) bad = DAPR__PROTO__COMPONENTS__V1__BAD_REQUEST__INIT;
    WIRE(FieldViolation) violation = DAPR__PROTO__COMPONENTS__V1__FIELD_VIOLATION__INIT;
    WIRE(FieldViolation) * violations[] = { &violation };
    wire_entry entry[3], *entries[3];
    info.reason = (char *)d->reason;
    info.domain = (char *)d->domain;
    info.metadata = entries;
    for (size_t i = 0; i < 3 && d->meta[2 * i]; i++) {
        dapr__proto__components__v1__string_entry__init(&entry[i]);
        entry[i].key = (char *)d->meta[2 * i];
        entry[i].value = (char *)d->meta[2 * i + 1];
        entries[info.n_metadata++] = &entry[i];
    }
    violation.field = (char *)d->field;
    violation.description = (char *)d->description;
    bad.n_field_violations = 1;
    bad.field_violations = violations;
    CHECK_OK(wire_pack(d->field ? &bad.base : &info.base, out), "pack");
}

static void pack_details(const struct detail *d, struct buf *out)
{
    AUTO(buf_done) struct buf inner;
    WIRE(RpcStatus) status = DAPR__PROTO__COMPONENTS__V1__RPC_STATUS__INIT;
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT, *list[] = { &any };
    buf_init(&inner, MIB(1));
    pack_any(d, &inner);
    any.type_url = (char *)d->type;
    any.value = wire_bytes(buf_str(&inner));
    status.n_details = 1;
    status.details = list;
    CHECK_OK(wire_pack(&status.base, out), "pack");
}

#define INFO "type.googleapis.com/google.rpc.ErrorInfo"
#define BAD "type.googleapis.com/google.rpc.BadRequest"
#define KIT(code)                                                                                  \
    {                                                                                              \
        "kit_error", "true", "http_code", code, "tag", "ERR_OWN"                                   \
    }

static const struct row {
    const char *name;
    enum code code;
    bool etags;
    struct detail detail;
    enum code want;
    int http;
    const char *text;
} row[] = {
    { "plain", INTERNAL, true, { NULL }, INTERNAL, 0, "rpc error: code = Internal desc = words" },
    { "mismatch",
      PRECONDITION,
      true,
      { NULL },
      ABORTED,
      0,
      "possible etag mismatch. error from state store: words" },
    { "mismatch with a violation",
      PRECONDITION,
      true,
      { .type = BAD, .field = "etag", .description = "old" },
      ABORTED,
      0,
      "possible etag mismatch. error from state store: old" },
    { "no state store",
      PRECONDITION,
      false,
      { NULL },
      PRECONDITION,
      0,
      "rpc error: code = FailedPrecondition desc = words" },
    { "invalid etag",
      INVALID,
      true,
      { .type = BAD, .field = "etag", .description = "odd" },
      INVALID,
      0,
      "invalid etag value: odd" },
    { "invalid etag without words",
      INVALID,
      true,
      { .type = BAD, .field = "etag", .description = "" },
      INVALID,
      0,
      "invalid etag value: words" },
    { "another violation",
      INVALID,
      true,
      { .type = BAD, .field = "key", .description = "odd" },
      UNKNOWN,
      0,
      "rpc error: code = InvalidArgument desc = words" },
    { "an argument",
      INVALID,
      true,
      { NULL },
      UNKNOWN,
      0,
      "rpc error: code = InvalidArgument desc = words" },
    { "own",
      DATA_LOSS,
      true,
      { INFO, "WHY", "dom", KIT("507") },
      DATA_LOSS,
      507,
      "api error: code = DataLoss desc = words" },
    { "own, of a code that ETags have",
      PRECONDITION,
      true,
      { INFO, "WHY", "dom", KIT("512") },
      PRECONDITION,
      512,
      "api error: code = FailedPrecondition desc = words" },
    { "own, with a status that HTTP hasn't",
      DATA_LOSS,
      false,
      { INFO, "WHY", "dom", KIT("99") },
      DATA_LOSS,
      500,
      "api error: code = DataLoss desc = words" },
    { "own without a number",
      DATA_LOSS,
      false,
      { INFO, "WHY", "dom", KIT("x") },
      DATA_LOSS,
      0,
      "rpc error: code = DataLoss desc = words" },
    { "other info",
      DATA_LOSS,
      false,
      { INFO, "WHY", "dom", { "kit_error", "false" } },
      DATA_LOSS,
      0,
      "rpc error: code = DataLoss desc = words" },
};

TEST(statuses_become_errors)
{
    EACH (row, r) {
        AUTO(buf_done) struct buf details;
        struct error err = { 0 };
        buf_init(&details, MIB(1));
        if (r->detail.type)
            pack_details(&r->detail, &details);
        struct grpc_status s = { r->code, S("words"), buf_str(&details) };
        CHECK_EQ(plugin_status(&s, r->etags, &err), -(int)r->want, "%s", r->name);
        CHECK_EQ(err.code, r->want, "%s", r->name);
        CHECK_EQ(err.http, r->http, "%s", r->name);
        CHECK_STR(str_c(err.text), r->text, "%s", r->name);
        CHECK_EQ(err.own, r->http != 0, "%s", r->name);
        if (!err.own)
            continue;
        CHECK_STR(str_c(err.text + err.own_at), "words", "%s", r->name);
        CHECK_STR(str_c(err.own_tag), "ERR_OWN", "%s", r->name);
        CHECK_STR(str_c(err.own_reason), "WHY", "%s", r->name);
        CHECK_STR(str_c(err.own_domain), "dom", "%s", r->name);
    }
}

TEST(details_that_cannot_be_read_are_none)
{
    struct error err = { 0 };
    struct grpc_status s = { PRECONDITION, S("words"), S("\xff\xff\xff") };
    CHECK_EQ(plugin_status(&s, true, &err), -ABORTED);
    CHECK(err.text[0]);
}

TEST(first_cause_stands)
{
    struct error err = { 0 };
    struct grpc_status s = { INTERNAL, S("words"), S("") };
    (void)fail(&err, TIMEOUT, NULL, "first");
    CHECK_EQ(plugin_status(&s, true, &err), -INTERNAL);
    CHECK_STR(str_c(err.text), "first");
}

TEST(own_words_stay_within_a_longer_text)
{
    struct error cause = { .code = DATA_LOSS, .http = 507, .own = true }, err = { 0 };
    snprintf(cause.text, sizeof cause.text, "api error: words");
    cause.own_at = 11;
    (void)fail(&err, INTERNAL, "ERR_STATE_GET", "fail to get k: %s", cause.text);
    fail_own(&err, &cause);
    CHECK_EQ(err.code, DATA_LOSS);
    CHECK_EQ(err.http, 507);
    CHECK_STR(str_c(err.tag), "ERR_STATE_GET");
    CHECK_STR(str_c(err.text + err.own_at), "words");
}

TEST(own_words_that_were_cut_are_shown_whole)
{
    struct error cause = { .code = DATA_LOSS, .own = true }, err = { 0 };
    memset(cause.text, 'x', sizeof cause.text - 1);
    (void)fail(&err, INTERNAL, NULL, "fail to get k: %s", cause.text);
    fail_own(&err, &cause);
    CHECK_EQ(err.own_at, 0);
}
