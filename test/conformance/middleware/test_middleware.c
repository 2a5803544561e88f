/* What every HTTP middleware of the registry must do, and what each of ours promises. The exchange
 * is a fake that keeps what it is told. */
#include "fixture.h"

#include "base/buf.h"
#include "http/server.h"
#include "issuer.h"

struct fake {
    struct http_exchange x;
    struct arena arena;
    str piece[4]; /* of the request's body; .n == 0 ends it */
    size_t at;
    struct buf out;
    int status;
    int64_t length;
    char retry_after[32];
    bool ended, aborted;
    int write_fails_with;
};

static struct fake *fake_of(struct http_exchange *x)
{
    return CONTAINER_OF(x, struct fake, x);
}

static int fake_read(struct http_exchange *x, str *ret_chunk)
{
    struct fake *f = fake_of(x);
    if (f->at == COUNT(f->piece) || f->piece[f->at].n == 0)
        return 0;
    *ret_chunk = f->piece[f->at++];
    return 1;
}

static int fake_start(struct http_exchange *x, int status, const struct http_headers *headers,
                      int64_t content_length)
{
    struct fake *f = fake_of(x);
    f->status = status;
    f->length = content_length;
    str after = headers ? http_headers_get(headers, S("Retry-After")) : S("");
    snprintf(f->retry_after, sizeof f->retry_after, "%.*s", (int)after.n, after.n ? after.p : "");
    return 0;
}

static int fake_write(struct http_exchange *x, str data)
{
    struct fake *f = fake_of(x);
    buf_put(&f->out, data);
    return f->write_fails_with;
}

static int fake_end(struct http_exchange *x, const struct http_headers *trailers)
{
    fake_of(x)->ended = true;
    return 0;
}

static void fake_abort(struct http_exchange *x)
{
    fake_of(x)->aborted = true;
}

static const struct http_exchange_ops fake_ops = {
    .read = fake_read,
    .start = fake_start,
    .write = fake_write,
    .end = fake_end,
    .abort = fake_abort,
};

static void fake_init(struct fake *f, const char *target)
{
    *f = (struct fake){ .length = -2 };
    arena_init(&f->arena, MIB(4));
    buf_init(&f->out, MIB(4));
    f->x = (struct http_exchange){
        .ops = &fake_ops,
        .req = { .method = S("POST"), .target = str_c(target), .content_length = -1 },
        .arena = &f->arena,
        .peer = "192.0.2.1:4711",
        .local = "192.0.2.2:3500",
        .version = 11,
    };
    (void)str_cut(f->x.req.target, '?', &f->x.req.path, &f->x.req.query);
    http_headers_init(&f->x.req.headers, &f->arena);
}

static void fake_done(struct fake *f)
{
    buf_done(&f->out);
    arena_done(&f->arena);
}

/* ---- the end of the pipeline ---- */

enum end { END_ECHO, END_STREAM, END_ABORT };

struct rest {
    struct middleware_chain chain;
    enum end end;
    size_t calls;
    char target[512], path[512], query[512], body[64];
    size_t body_n;
};

static void keep(char *ret, size_t max, str s)
{
    snprintf(ret, max, "%.*s", (int)s.n, s.n ? s.p : "");
}

static void echo(struct middleware_chain *chain, struct http_exchange *x)
{
    struct rest *r = CONTAINER_OF(chain, struct rest, chain);
    str body;
    r->calls++;
    keep(r->target, sizeof r->target, x->req.target);
    keep(r->path, sizeof r->path, x->req.path);
    keep(r->query, sizeof r->query, x->req.query);
    CHECK_OK(http_read_all(x, MIB(1), &body));
    keep(r->body, sizeof r->body, body);
    r->body_n = body.n;
    if (r->end == END_ECHO) {
        CHECK_OK(http_reply(x, 201, NULL, body));
        CHECK(x->started && x->ended && x->status == 201);
        return;
    }
    CHECK_OK(http_reply_start(x, 200, NULL, -1));
    CHECK_OK(http_reply_write(x, body));
    CHECK_OK(http_reply_write(x, S("tail")));
    if (r->end == END_ABORT)
        http_reply_abort(x);
    else
        CHECK_OK(http_reply_end(x, NULL));
}

static void run(struct fixture *f, struct fake *k, struct rest *r, enum end end)
{
    *r = (struct rest){ .chain = { echo }, .end = end };
    CONTAINER_OF(f->type, struct middleware_ops, t)->handle(f->self, &k->x, &r->chain);
}

/* ---- any middleware ---- */

static const struct engine {
    const char *type;
    const char *config[4];
} engines[] = {
    { "middleware.http.bearer", { "audience", "me" } },
    { "middleware.http.routerchecker", { "rule", "^/(path|other)\\?a=1$" } },
    { "middleware.http.uppercase", { "direction", "both" } },
    { "middleware.http.ratelimit", { "maxRequestsPerSecond", "1000" } },
    { "middleware.http.routeralias", { "routes", "{\"/other\": \"/one\"}" } },
};

static bool is_bearer(const struct engine *e)
{
    return strcmp(e->type, "middleware.http.bearer") == 0;
}

CO static void open_engine(const struct engine *e, struct issuer *issuer, struct fixture *f)
{
    const char *bearer[] = { "issuer", issuer->url, e->config[0], e->config[1], NULL };
    CHECK_OK(fixture_open(f, e->type, is_bearer(e) ? bearer : e->config, NULL), "%s", f->err.text);
}

/* What the engine lets pass. */
static void dress(const struct engine *e, struct issuer *issuer, struct fake *k)
{
    str part[] = { S("Bearer "), S("") };
    if (!is_bearer(e))
        return;
    part[1] = issuer_token(issuer, ISSUER_ED, "EdDSA");
    CHECK_OK(http_headers_add(&k->x.req.headers, S("Authorization"),
                              arena_join(&issuer->a, part, COUNT(part))));
}

TEST(every_engine_is_in_this_suite)
{
    const char *types[COUNT(engines) + 1] = { NULL };
    for (size_t i = 0; i < COUNT(engines); i++)
        types[i] = engines[i].type;
    fixture_check_rows("middleware.http", types);
}

TEST_LOOP(request_and_reply_pass_through)
{
    struct issuer issuer;
    issuer_open(&issuer);
    EACH (engines, e) {
        struct fixture f;
        struct rest r;
        open_engine(e, &issuer, &f);
        for (enum end end = END_ECHO; end <= END_ABORT; end++) {
            struct fake k;
            fake_init(&k, "/path?a=1");
            dress(e, &issuer, &k);
            k.piece[0] = S("ABC");
            k.piece[1] = S("DEF");
            run(&f, &k, &r, end);
            CHECK_EQ(r.calls, 1, "%s", e->type);
            CHECK_TEXT(r.target, "/path?a=1", "%s", e->type);
            CHECK_TEXT(r.body, "ABCDEF", "%s", e->type);
            CHECK_EQ(k.status, end == END_ECHO ? 201 : 200, "%s", e->type);
            CHECK_EQ(k.length, end == END_ECHO ? 6 : -1, "%s", e->type);
            CHECK_EQ(k.out.len, end == END_ECHO ? 6 : 10, "%s", e->type);
            CHECK_EQ(k.ended, end != END_ABORT, "%s", e->type);
            CHECK_EQ(k.aborted, end == END_ABORT, "%s", e->type);
            CHECK(k.x.started && k.x.status == k.status, "%s: the server must know", e->type);
            fake_done(&k);
        }
        fixture_close(&f);
    }
    issuer_close(&issuer);
}

/* A request whose memory is used up gets an answer, not a crash. */
TEST_LOOP(full_arena_is_answered)
{
    struct issuer issuer;
    issuer_open(&issuer);
    EACH (engines, e) {
        struct fixture f;
        struct rest r;
        struct fake k;
        open_engine(e, &issuer, &f);
        fake_init(&k, "/other?a=1");
        arena_init(&k.arena, 0);
        run(&f, &k, &r, END_ECHO);
        CHECK(k.status >= 200 && k.ended, "%s: %d", e->type, k.status);
        fake_done(&k);
        fixture_close(&f);
    }
    issuer_close(&issuer);
}

/* ---- uppercase ---- */

TEST_LOOP(direction_says_which_body)
{
    static const struct {
        const char *direction, *seen, *sent;
    } row[] = {
        { "", "AB\xc3\xa9Z{", "AB\xc3\xa9Z{" },
        { "request", "AB\xc3\xa9Z{", "AB\xc3\xa9Z{" },
        { "response", "aB\xc3\xa9z{", "AB\xc3\xa9Z{" },
        { "Both", "AB\xc3\xa9Z{", "AB\xc3\xa9Z{" },
    };
    EACH (row, w) {
        struct fixture f;
        struct rest r;
        struct fake k;
        const char *md[] = { "direction", w->direction, NULL };
        CHECK_OK(fixture_open(&f, "middleware.http.uppercase", md, NULL), "%s", f.err.text);
        fake_init(&k, "/");
        k.piece[0] = S("aB\xc3\xa9z{");
        run(&f, &k, &r, END_ECHO);
        CHECK_TEXT(r.body, w->seen, "%s", w->direction);
        CHECK_STR(buf_str(&k.out), w->sent, "%s", w->direction);
        fake_done(&k);
        fake_init(&k, "/");
        run(&f, &k, &r, END_STREAM);
        bool response =
            strcasecmp(w->direction, "response") == 0 || strcmp(w->direction, "Both") == 0;
        CHECK_STR(buf_str(&k.out), response ? "TAIL" : "tail", "%s", w->direction);
        fake_done(&k);
        fixture_close(&f);
    }
}

TEST_LOOP(large_pieces_are_whole)
{
    enum { N = 50000 };
    char *big = mem_alloc(N);
    memset(big, 'x', N);
    struct fixture f;
    struct rest r;
    const char *md[] = { "direction", "both", NULL };
    CHECK_OK(fixture_open(&f, "middleware.http.uppercase", md, NULL), "%s", f.err.text);
    for (enum end end = END_ECHO; end <= END_STREAM; end++) {
        struct fake k;
        fake_init(&k, "/");
        k.piece[0] = str_of(big, N);
        k.piece[1] = str_of(big, 1);
        run(&f, &k, &r, end);
        CHECK_EQ(r.body_n, N + 1);
        CHECK_EQ(k.out.len, N + 1 + (end == END_STREAM ? 4 : 0));
        size_t upper = 0;
        for (size_t i = 0; i < k.out.len; i++)
            upper += k.out.p[i] == 'X';
        CHECK_EQ(upper, N + 1);
        fake_done(&k);
    }
    fixture_close(&f);
    mem_free(big);
}

TEST_LOOP(unknown_direction_is_refused)
{
    struct fixture f;
    const char *md[] = { "direction", "sideways", NULL };
    CHECK_EQ(fixture_open(&f, "middleware.http.uppercase", md, NULL), -INVALID);
    CHECK(strstr(f.err.text, "'sideways'"), "%s", f.err.text);
    fixture_close(&f);
}

/* ---- ratelimit ---- */

static int status_from(struct fixture *f, const char *peer, const char *forwarded, const char *real,
                       char ret_after[32])
{
    struct fake k;
    struct rest r;
    fake_init(&k, "/");
    k.x.peer = peer;
    if (forwarded)
        CHECK_OK(http_headers_add(&k.x.req.headers, S("x-forwarded-for"), str_c(forwarded)));
    if (real)
        CHECK_OK(http_headers_add(&k.x.req.headers, S("X-REAL-IP"), str_c(real)));
    run(f, &k, &r, END_ECHO);
    int status = k.status;
    CHECK_EQ(r.calls, status != 429);
    memcpy(ret_after, k.retry_after, 32);
    fake_done(&k);
    return status;
}

TEST_LOOP(each_address_has_its_own_limit)
{
    static const struct {
        const char *peer, *forwarded, *real;
        int want;
    } row[] = {
        { "192.0.2.1:1", NULL, NULL, 201 },
        { "192.0.2.1:2", NULL, NULL, 429 }, /* another port, the same address */
        { "192.0.2.2:1", NULL, NULL, 201 },
        { "[2001:db8::1]:1", NULL, NULL, 201 },
        { "[2001:db8::ffff:2]:1", NULL, NULL, 429 }, /* the same /64 */
        { "[2001:db8:1::1]:1", NULL, NULL, 201 },
        { "192.0.2.9:1", "192.0.2.1", NULL, 429 },
        { "192.0.2.9:1", "192.0.2.1, 192.0.2.50", NULL, 201 }, /* the last of the list */
        { "192.0.2.9:1", "192.0.2.51, 192.0.2.50", NULL, 429 },
        { "192.0.2.9:1", NULL, "192.0.2.50", 429 },
        { "192.0.2.9:1", "garbage", "also garbage", 201 }, /* who is connected */
        { "192.0.2.9:1", "", NULL, 429 },
        { "unix:", NULL, NULL, 201 },
        { "unix:", NULL, NULL, 429 },
    };
    struct fixture f;
    char after[32];
    const char *md[] = { "maxRequestsPerSecond", "0.01", NULL };
    CHECK_OK(fixture_open(&f, "middleware.http.ratelimit", md, NULL), "%s", f.err.text);
    EACH (row, w) {
        CHECK_EQ(status_from(&f, w->peer, w->forwarded, w->real, after), w->want, "row %zu",
                 (size_t)(w - row));
        long s = strtol(after, NULL, 10);
        CHECK(w->want == 429 ? s > 90 && s <= 100 : s == 0, "Retry-After is '%s'", after);
    }
    fixture_close(&f);
}

TEST_LOOP(burst_is_one_second_and_comes_back)
{
    struct fixture f;
    char after[32];
    size_t passed = 0;
    const char *md[] = { "maxRequestsPerSecond", "20", NULL };
    CHECK_OK(fixture_open(&f, "middleware.http.ratelimit", md, NULL), "%s", f.err.text);
    uint64_t start = clock_now_ns();
    for (size_t i = 0; i < 100; i++)
        passed += status_from(&f, "192.0.2.1:1", NULL, NULL, after) == 201;
    uint64_t spent = clock_now_ns() - start;
    CHECK(passed >= 20 && passed <= 21 + spent / MS(50), "%zu passed in %llu ns", passed,
          (unsigned long long)spent);
    uint64_t end = clock_now_ns() + SEC(5);
    while (status_from(&f, "192.0.2.1:1", NULL, NULL, after) == 429 && clock_now_ns() < end)
        CHECK_OK(fiber_sleep(MS(5)));
    CHECK(clock_now_ns() < end, "no token came back");
    fixture_close(&f);
}

TEST_LOOP(bad_rate_is_refused)
{
    static const char *const bad[] = { "0", "-1", "many", "1e10", "1 2", "NaN", "\"5\"" };
    EACH (bad, text) {
        struct fixture f;
        const char *md[] = { "maxRequestsPerSecond", *text, NULL };
        CHECK_EQ(fixture_open(&f, "middleware.http.ratelimit", md, NULL), -INVALID, "%s", *text);
        CHECK(strstr(f.err.text, "maxRequestsPerSecond"), "%s", f.err.text);
        fixture_close(&f);
    }
}

/* ---- routeralias ---- */

static const char routes_json[] =
    "{ \"/v1.0/mall/activity/info\": \"/v1.0/invoke/srv.default/method/mall/activity/info\",\n"
    "  \"/v1.0/hello/activity/{id}/info\": \"/v1.0/invoke/srv/method/info\",\n"
    "  \"/v1.0/hello/activity/{id}/user\": \"/v1.0/invoke/srv/method/user\",\n"
    "  \"/files/{name}.{ext}\": \"/f\", \"/x/{a}-mid-{b}-end\": \"/odd path/\\u00e9%\",\n"
    "  \"/{lang}/\": \"/slash\", \"/two/{b}/{a}\": \"/two\", \"/\": \"/root\" }";
static const char routes_yaml[] =
    "/v1.0/mall/activity/info: /v1.0/invoke/srv.default/method/mall/activity/info\n"
    "/v1.0/hello/activity/{id}/info: /v1.0/invoke/srv/method/info\n"
    "/v1.0/hello/activity/{id}/user: /v1.0/invoke/srv/method/user\n"
    "/files/{name}.{ext}: /f\n"
    "/x/{a}-mid-{b}-end: \"/odd path/\\u00e9%\"\n"
    "/{lang}/: /slash\n"
    "/two/{b}/{a}: /two\n"
    "/: /root\n";

static const struct {
    const char *target, *want;
} alias_row[] = {
    { "/v1.0/mall/activity/info?id=123",
      "/v1.0/invoke/srv.default/method/mall/activity/info?id=123" },
    { "/v1.0/mall/activity/info", "/v1.0/invoke/srv.default/method/mall/activity/info" },
    { "/v1.0/hello/activity/1/info", "/v1.0/invoke/srv/method/info?id=1" },
    { "/v1.0/hello/activity/1/user?userid=123", "/v1.0/invoke/srv/method/user?id=1&userid=123" },
    { "/v1.0/hello/activity/1/user?id=0&a=2&id=9",
      "/v1.0/invoke/srv/method/user?a=2&id=0&id=9&id=1" },
    { "/v1.0/hello/activity/a%20b%26/info", "/v1.0/invoke/srv/method/info?id=a+b%26" },
    { "/v1.0/hello/activity//info", "/v1.0/hello/activity//info" },
    { "/v1.0/hello/activity/1/2/info", "/v1.0/hello/activity/1/2/info" },
    { "/v1.0/invoke/srv.default", "/v1.0/invoke/srv.default" },
    { "/files/a.tar.gz?x", "/f?ext=gz&name=a.tar&x=" },
    { "/files/.gz", "/files/.gz" },
    { "/files/a.", "/files/a." },
    { "/x/1-mid-2-mid-3-end", "/odd%20path/%C3%A9%25?a=1-mid-2&b=3" },
    { "/x/-mid-2-end", "/x/-mid-2-end" },
    { "/x/1-mid--end", "/x/1-mid--end" },
    { "/de/", "/slash?lang=de" },
    { "/de", "/de" },
    { "/two/1/2", "/two?a=2&b=1" },
    { "/", "/root" },
    { "/%zz", "/%zz" },
    { "*", "*" },
};

CO static void check_aliases(const char *const *md)
{
    struct fixture f;
    CHECK_OK(fixture_open(&f, "middleware.http.routeralias", md, NULL), "%s", f.err.text);
    EACH (alias_row, w) {
        struct fake k;
        struct rest r;
        str path, query;
        fake_init(&k, w->target);
        run(&f, &k, &r, END_ECHO);
        CHECK_EQ(r.calls, 1, "%s", w->target);
        CHECK_TEXT(r.target, w->want, "%s", w->target);
        (void)str_cut(str_c(w->want), '?', &path, &query);
        CHECK_STR(path, r.path, "%s", w->target);
        CHECK_STR(query, r.query, "%s", w->target);
        fake_done(&k);
    }
    fixture_close(&f);
}

TEST_LOOP(aliases_as_json)
{
    const char *md[] = { "routes", routes_json, NULL };
    check_aliases(md);
}

TEST_LOOP(aliases_as_yaml)
{
    const char *md[] = { "routes", routes_yaml, NULL };
    check_aliases(md);
}

TEST_LOOP(aliases_as_metadata_fields)
{
    const char *md[] = {
        "/v1.0/mall/activity/info",
        "/v1.0/invoke/srv.default/method/mall/activity/info",
        "/v1.0/hello/activity/{id}/info",
        "/v1.0/invoke/srv/method/info",
        "/v1.0/hello/activity/{id}/user",
        "/v1.0/invoke/srv/method/user",
        "/files/{name}.{ext}",
        "/f",
        "/x/{a}-mid-{b}-end",
        "/odd path/\xc3\xa9%",
        "/{lang}/",
        "/slash",
        "/two/{b}/{a}",
        "/two",
        "/",
        "/root",
        "note",
        "this is no route",
        NULL,
    };
    check_aliases(md);
}

TEST_LOOP(bad_routes_are_refused)
{
    static const struct {
        const char *name, *routes, *says;
    } row[] = {
        { "a list", "[1]", "must be a JSON or YAML map" },
        { "a scalar", "hello", "must be a JSON or YAML map" },
        { "not YAML", "{\"a\": ", "routes:2:1" },
        { "a target that is a map", "{\"/a\": {}}", "a target must be text" },
        { "no slash", "{\"a\": \"/b\"}", "must begin with '/'" },
        { "no slash in the target", "{\"/a\": \"b\"}", "target must begin with '/'" },
        { "open brace", "{\"/a/{b\": \"/b\"}", "a '{' without '}'" },
        { "closed brace", "{\"/a/b}\": \"/b\"}", "a '}' without '{'" },
        { "no name", "{\"/a/{}\": \"/b\"}", "needs a name" },
        { "regular expression", "{\"/a/{b:[0-9]+}\": \"/b\"}", "not supported" },
        { "twice", "{\"/{a}/{a}\": \"/b\"}", "the same name" },
        { "side by side", "{\"/{a}{b}\": \"/b\"}", "text between them" },
        { "many",
          "{\"/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}\": \"/b\"}",
          "more than 16" },
    };
    EACH (row, w) {
        struct fixture f;
        const char *md[] = { "routes", w->routes, NULL };
        CHECK(fixture_open(&f, "middleware.http.routeralias", md, NULL) < 0, "%s", w->name);
        CHECK(strstr(f.err.text, w->says), "%s: %s", w->name, f.err.text);
        fixture_close(&f);
    }
}

TEST_LOOP(too_many_parameters_are_refused)
{
    AUTO(buf_done) struct buf b;
    buf_init(&b, KIB(64));
    buf_put(&b, S("/v1.0/mall/activity/info?"));
    for (size_t i = 0; i < 1001; i++)
        buf_put(&b, S("a=1&"));
    buf_putc(&b, 0);
    struct fixture f;
    struct fake k;
    struct rest r;
    const char *md[] = { "routes", routes_json, NULL };
    CHECK_OK(fixture_open(&f, "middleware.http.routeralias", md, NULL), "%s", f.err.text);
    fake_init(&k, buf_str(&b).p);
    run(&f, &k, &r, END_ECHO);
    CHECK_EQ(k.status, 414);
    CHECK_EQ(r.calls, 0);
    fake_done(&k);
    fixture_close(&f);
}

/* ---- routerchecker ---- */

TEST_LOOP(only_targets_that_match_pass)
{
    static const struct {
        const char *rule, *target;
        bool passes;
    } row[] = {
        { "^[A-Za-z0-9/._-]+$", "/v1.0/invoke/a/method/b", true },
        { "^[A-Za-z0-9/._-]+$", "/v1.0/invoke/a/method/b?c=1", false },
        { "^[A-Za-z0-9/._-]+$", "/%2e%2e/x", false },
        { "method", "/v1.0/invoke/a/method/b", true },
        { "^method", "/v1.0/invoke/a/method/b", false },
    };
    EACH (row, w) {
        struct fixture f;
        struct rest r;
        struct fake k;
        const char *md[] = { "rule", w->rule, NULL };
        CHECK_OK(fixture_open(&f, "middleware.http.routerchecker", md, NULL), "%s", f.err.text);
        fake_init(&k, w->target);
        run(&f, &k, &r, END_ECHO);
        CHECK_EQ(r.calls, w->passes, "%s: %s", w->rule, w->target);
        if (!w->passes) {
            CHECK_EQ(k.status, 400);
            CHECK_STR(buf_str(&k.out), "invalid router");
        }
        fake_done(&k);
        fixture_close(&f);
    }
    struct fixture f;
    const char *md[] = { "rule", "(", NULL };
    CHECK_EQ(fixture_open(&f, "middleware.http.routerchecker", md, NULL), -INVALID);
    CHECK(strstr(f.err.text, "rule"), "%s", f.err.text);
    fixture_close(&f);
}
