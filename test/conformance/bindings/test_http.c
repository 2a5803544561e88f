/* bindings.http against a server of ours, and where its URLs lead. */
#include "components/bindings/http/url.h"
#include "fixture.h"

#include "base/buf.h"
#include "http/server.h"
#include "test/certs.h"

#include <unistd.h>

/* ---- URLs ---- */

TEST(urls_are_joined_and_taken_apart)
{
    static const struct {
        const char *base, *path, *address, *authority, *target, *basic;
    } row[] = {
        { "http://h", "", "h:80", "h", "/", "" },
        { "http://h:8080/a/", "", "h:8080", "h:8080", "/a/", "" },
        { "http://h/a/", "/b", "h:80", "h", "/a/b", "" },
        { "http://h/a//", "//b/", "h:80", "h", "/a/b/", "" },
        { "http://h", "b c?d=\xc3\xa9", "h:80", "h", "/b%20c?d=%C3%A9", "" },
        { "HTTP://h/%2f", "%41?x#frag", "h:80", "h", "/%2f/%41?x", "" },
        { "http://h?x=1", "", "h:80", "h", "/?x=1", "" },
        { "https://h/a", "", "h:443", "h", "/a", "" },
        { "HTTPS://h:80/a", "", "h:80", "h:80", "/a", "" },
        { "http://[::1]:5/a", "", "[::1]:5", "[::1]:5", "/a", "" },
        { "http://[::1]", "", "[::1]:80", "[::1]", "/", "" },
        { "http://u:p%40@h/a", "", "h:80", "h", "/a", "Basic dTpwQA==" },
        { "http://u@h/a", "", "h:80", "h", "/a", "Basic dTo=" },
        { "http://h/a", "../b\"", "h:80", "h", "/a/../b%22", "" },
    };
    EACH (row, w) {
        struct arena a;
        struct binding_url u;
        struct error err = { 0 };
        arena_init(&a, KIB(64));
        if (CHECK(binding_url_make(&a, str_c(w->base), str_c(w->path), &u, &err) == 0, "%s: %s",
                  w->base, err.text)) {
            CHECK_TEXT(u.address, w->address, "%s", w->base);
            CHECK_STR(u.authority, w->authority, "%s", w->base);
            CHECK_STR(u.target, w->target, "%s", w->base);
            CHECK_STR(u.basic, w->basic, "%s", w->base);
        }
        arena_done(&a);
    }
}

TEST(bad_urls_are_refused)
{
    static const struct {
        const char *base, *path;
        int want;
        const char *says;
    } row[] = {
        { "", "", -INVALID, "" },
        { "h", "", -INVALID, "must begin with http://" },
        { "ftp://h", "", -INVALID, "must begin with http://" },
        { "http://", "", -INVALID, "" },
        { "http://:80/", "", -INVALID, "" },
        { "http://h", "a\r\nX: y", -INVALID, "control character" },
        { "http://h:99999/", "", -INVALID, "" },
        { "ftp://user:secret@h/a", "", -INVALID, "must begin with http://" },
    };
    EACH (row, w) {
        struct arena a;
        struct binding_url u;
        struct error err = { 0 };
        arena_init(&a, KIB(64));
        CHECK_EQ(binding_url_make(&a, str_c(w->base), str_c(w->path), &u, &err), w->want, "%s",
                 w->base);
        CHECK(strstr(err.text, w->says) && err.text[0], "%s: %s", w->base, err.text);
        CHECK(!strstr(err.text, "secret"), "%s", err.text);
        arena_done(&a);
    }
}

TEST(redirects_are_resolved)
{
    static const struct {
        const char *location, *address, *target;
    } row[] = {
        { "/x?y", "h:80", "/x?y" },
        { "x", "h:80", "/a/x" },
        { "../x", "h:80", "/x" },
        { "//other:5/x", "other:5", "/x" },
        { "http://o/x", "o:80", "/x" },
        { "https://o/x", "o:443", "/x" },
        { "x?u=http://z/", "h:80", "/a/x?u=http://z/" },
    };
    EACH (row, w) {
        struct arena a;
        struct binding_url from, to;
        struct error err = { 0 };
        arena_init(&a, KIB(64));
        CHECK_OK(binding_url_make(&a, S("http://h/a/b?c=/d"), S(""), &from, &err));
        CHECK_OK(binding_url_follow(&a, &from, str_c(w->location), &to, &err), "%s: %s",
                 w->location, err.text);
        CHECK_TEXT(to.address, w->address, "%s", w->location);
        CHECK_STR(to.target, w->target, "%s", w->location);
        arena_done(&a);
    }
}

/* ---- a server that says what it was asked ---- */

struct site {
    struct http_server *server;
    struct tls_context *tls;     /* NULL: plain */
    char url[64], other_url[64]; /* the same by another name of the host */
    struct error err;
    int result;
};

CO static void reply_redirect(struct http_exchange *x, int status, str to)
{
    struct http_headers h;
    http_headers_init(&h, x->arena);
    CHECK_OK(http_headers_add(&h, S("location"), to));
    CHECK_OK(http_reply(x, status, &h, S("moved")));
}

CO static void reply_report(struct http_exchange *x, int status)
{
    struct http_headers h;
    AUTO(buf_done) struct buf b;
    str body;
    buf_init(&b, KIB(64));
    http_headers_init(&h, x->arena);
    CHECK_OK(http_read_all(x, MIB(1), &body));
    buf_printf(&b, STR_FMT " " STR_FMT "\n", STR_ARG(x->req.method), STR_ARG(x->req.target));
    for (size_t i = 0; i < x->req.headers.n; i++)
        buf_printf(&b, STR_FMT ": " STR_FMT "\n", STR_ARG(x->req.headers.v[i].name),
                   STR_ARG(x->req.headers.v[i].value));
    buf_put(&b, S("\n"));
    buf_put(&b, body);
    CHECK_OK(http_headers_add(&h, S("x-seen-by"), S("one")));
    CHECK_OK(http_headers_add(&h, S("X-SEEN-BY"), S("two")));
    CHECK_OK(http_headers_add(&h, S("content-type"), S("text/plain")));
    str report = arena_dup(x->arena, buf_str(&b));
    CHECK_OK(http_reply(x, status, &h, report));
}

CO static void serve(void *arg, struct http_exchange *x)
{
    const struct site *site = arg;
    str path = x->req.path;
    int64_t n;
    if (str_starts(path, S("/status/")) && str_to_i64(str_skip(path, 8), &n)) {
        reply_report(x, (int)n);
    } else if (str_starts(path, S("/redirect/")) && str_to_i64(str_skip(path, 10), &n)) {
        reply_redirect(x, (int)n, S("/landed?x=1"));
    } else if (str_eq(path, S("/loop"))) {
        reply_redirect(x, 302, S("/loop"));
    } else if (str_eq(path, S("/away"))) {
        reply_redirect(x, 307, arena_printf(x->arena, "%s/landed", site->other_url));
    } else if (str_eq(path, S("/tls"))) {
        reply_redirect(x, 302, S("https://127.0.0.1:1/"));
    } else if (str_eq(path, S("/slow"))) {
        (void)fiber_sleep(SEC(20));
    } else if (str_eq(path, S("/cut"))) {
        CHECK_OK(http_reply_start(x, 200, NULL, 1000));
        CHECK_OK(http_reply_write(x, S("some")));
        http_reply_abort(x);
    } else {
        reply_report(x, 200);
    }
}

static void open_site(void *arg)
{
    struct site *s = arg;
    struct http_server_config config = { .handle = serve, .arg = s, .tls = s->tls };
    s->result = http_server_open("127.0.0.1:0", &config, &s->server, &s->err);
}

static void close_site(void *arg)
{
    struct site *s = arg;
    s->result = (int)http_server_stop(s->server, MS(200));
    http_server_free(s->server);
}

CO static void site_open_tls(struct site *s, struct tls_context *tls)
{
    *s = (struct site){ .tls = tls };
    const char *scheme = tls ? "https" : "http";
    REQUIRE(blocking(open_site, s) == 0 && s->result == 0, "%s", s->err.text);
    unsigned port = http_server_port(s->server);
    snprintf(s->url, sizeof s->url, "%s://127.0.0.1:%u", scheme, port);
    snprintf(s->other_url, sizeof s->other_url, "%s://localhost:%u", scheme, port);
}

CO static void site_open(struct site *s)
{
    site_open_tls(s, NULL);
}

CO static void site_close(struct site *s)
{
    CHECK_OK(blocking(close_site, s));
}

/* ---- one call ---- */

struct call {
    struct arena arena;
    struct binding_result ret;
    struct error err;
    int result;
};

CO static void invoke(struct fixture *f, const char *operation, const char *data,
                      const char *const *md, struct call *c)
{
    *c = (struct call){ 0 };
    arena_init(&c->arena, MIB(4));
    const struct binding_ops *ops = CONTAINER_OF(f->type, struct binding_ops, t);
    c->result = ops->invoke(f->self, str_c(operation), str_c(data), fixture_kvs(&c->arena, md),
                            &c->arena, &c->ret, &c->err);
    CHECK_EQ(c->result, -(int)c->err.code);
}

static bool reported(const struct call *c, const char *what)
{
    return str_contains(c->ret.data, str_c(what));
}

static void check_metadata(const struct call *c, const char *key, const char *want)
{
    size_t n = 0;
    for (size_t i = 0; i < c->ret.metadata.n; i++) {
        if (!str_eq(c->ret.metadata.v[i].key, str_c(key)))
            continue;
        n++;
        CHECK_STR(c->ret.metadata.v[i].value, want, "%s", key);
    }
    CHECK_EQ(n, 1, "%s", key);
}

CO static void open_on(struct fixture *f, const char *url, const char *key, const char *value)
{
    const char *md[] = { "url", url, key, value, NULL };
    CHECK_OK(fixture_open(f, "bindings.http", md, NULL), "%s", f->err.text);
}

TEST_LOOP(each_operation_is_its_method)
{
    static const struct {
        const char *operation, *method;
        bool body;
    } row[] = {
        { "create", "POST /in ", true },    { "post", "POST /in ", true },
        { "put", "PUT /in ", true },        { "patch", "PATCH /in ", true },
        { "PoSt", "POST /in ", true },      { "get", "GET /in ", false },
        { "delete", "DELETE /in ", false }, { "options", "OPTIONS /in ", false },
        { "trace", "TRACE /in ", false },
    };
    struct site s;
    struct fixture f;
    char url[96];
    site_open(&s);
    snprintf(url, sizeof url, "%s/in", s.url);
    open_on(&f, url, NULL, NULL);
    EACH (row, w) {
        struct call c;
        char line[32];
        invoke(&f, w->operation, "{\"a\":1}", NULL, &c);
        CHECK_OK(c.result, "%s: %s", w->operation, c.err.text);
        snprintf(line, sizeof line, "%.*s\n", (int)strlen(w->method) - 1, w->method);
        CHECK(str_starts(c.ret.data, str_c(line)), "%s: " STR_FMT, w->operation,
              STR_ARG(c.ret.data));
        CHECK_EQ(str_ends(c.ret.data, S("\n{\"a\":1}")), w->body, "%s", w->operation);
        CHECK_EQ(reported(&c, "Content-Type: application/json; charset=utf-8\n"), w->body, "%s",
                 w->operation);
        CHECK(reported(&c, "Accept: application/json; charset=utf-8\n"), "%s", w->operation);
        check_metadata(&c, "statusCode", "200");
        check_metadata(&c, "status", "200 OK");
        check_metadata(&c, "X-Seen-By", "one, two");
        check_metadata(&c, "Content-Type", "text/plain");
        arena_done(&c.arena);
    }
    struct call c;
    invoke(&f, "head", "", NULL, &c);
    CHECK_OK(c.result, "%s", c.err.text);
    CHECK_EQ(c.ret.data.n, 0);
    check_metadata(&c, "statusCode", "200");
    arena_done(&c.arena);
    fixture_close(&f);
    site_close(&s);
}

TEST_LOOP(metadata_become_path_and_headers)
{
    static const char *const md[] = {
        "path",
        "/sub/x?q=1",
        "X-Own",
        "v 1",
        "Content-Type",
        "text/csv",
        "lower",
        "hidden",
        "traceparent",
        "00-aa-bb-01",
        "tracestate",
        "k=v",
        "baggage",
        "b=1",
        "Traceparent",
        "spoofed",
        "Host",
        "evil",
        "Content-Length",
        "999",
        "Transfer-Encoding",
        "chunked",
        "Connection",
        "close",
        NULL,
    };
    struct site s;
    struct fixture f;
    struct call c;
    site_open(&s);
    open_on(&f, s.url, NULL, NULL);
    invoke(&f, "post", "data", md, &c);
    CHECK_OK(c.result, "%s", c.err.text);
    CHECK(reported(&c, "POST /sub/x?q=1\n"), STR_FMT, STR_ARG(c.ret.data));
    CHECK(reported(&c, "X-Own: v 1\n"));
    CHECK(reported(&c, "Content-Type: text/csv\n"));
    CHECK(reported(&c, "raceparent: 00-aa-bb-01\n"));
    CHECK(reported(&c, "tracestate: k=v\n"));
    CHECK(reported(&c, "baggage: b=1\n"));
    static const char *const none[] = { "lower", "hidden",  "spoofed",           "evil",
                                        "999",   "chunked", "Type: application", "close" };
    EACH (none, text)
        CHECK(!reported(&c, *text), "%s: " STR_FMT, *text, STR_ARG(c.ret.data));
    CHECK(str_ends(c.ret.data, S("\n\ndata")));
    arena_done(&c.arena);

    static const char *const bad[][3] = { { "X-Bad", "a\r\nX-Injected: 1" },
                                          { "X Bad", "v" },
                                          { "X-Bad:", "v" } };
    EACH (bad, pair) {
        invoke(&f, "post", "data", *pair, &c);
        CHECK_EQ(c.result, -INVALID, "%s", (*pair)[0]);
        arena_done(&c.arena);
    }
    fixture_close(&f);
    site_close(&s);
}

TEST_LOOP(status_is_an_error_unless_told_otherwise)
{
    static const struct {
        const char *config, *metadata, *path;
        bool error;
    } row[] = {
        { "", "", "/status/204", false },          { "", "", "/status/404", true },
        { "", "", "/status/500", true },           { "", "", "/status/304", true },
        { "false", "", "/status/404", false },     { "false", "true", "/status/404", true },
        { "true", "false", "/status/404", false }, { "", "no", "/status/503", false },
    };
    struct site s;
    site_open(&s);
    EACH (row, w) {
        struct fixture f;
        struct call c;
        const char *md[] = { "path", w->path, "errorIfNot2XX", w->metadata, NULL };
        char text[40];
        open_on(&f, s.url, "errorIfNot2XX", w->config);
        invoke(&f, "get", "", md, &c);
        CHECK_EQ(c.result, w->error ? -UNKNOWN : 0, "%s", w->path);
        snprintf(text, sizeof text, "received status code %s", w->path + 8);
        CHECK_TEXT(c.err.text, w->error ? text : "");
        check_metadata(&c, "statusCode", w->path + 8); /* with the error, too */
        arena_done(&c.arena);
        fixture_close(&f);
    }
    site_close(&s);
}

TEST_LOOP(security_token_is_sent)
{
    struct site s;
    struct fixture f;
    struct call c;
    site_open(&s);
    const char *md[] = { "url",     s.url, "securityToken", "t0k", "securityTokenHeader",
                         "X-Token", NULL };
    CHECK_OK(fixture_open(&f, "bindings.http", md, NULL), "%s", f.err.text);
    invoke(&f, "get", "", NULL, &c);
    CHECK(reported(&c, "X-Token: t0k\n"), STR_FMT, STR_ARG(c.ret.data));
    arena_done(&c.arena);
    static const char *const away[] = { "path", "/away", NULL };
    invoke(&f, "get", "", away, &c);
    CHECK_OK(c.result, "%s", c.err.text);
    CHECK(reported(&c, "GET /landed\n") && !reported(&c, "t0k"), "not to another host: " STR_FMT,
          STR_ARG(c.ret.data));
    arena_done(&c.arena);
    fixture_close(&f);
    site_close(&s);
}

TEST_LOOP(redirects_are_followed)
{
    static const struct {
        const char *path, *operation, *says;
        int want;
    } row[] = {
        { "/redirect/302", "post", "GET /landed?x=1\n", 0 },
        { "/redirect/303", "put", "GET /landed?x=1\n", 0 },
        { "/redirect/301", "get", "GET /landed?x=1\n", 0 },
        { "/redirect/307", "post", "POST /landed?x=1\n", 0 },
        { "/redirect/308", "put", "PUT /landed?x=1\n", 0 },
        { "/loop", "get", "stopped after 10 redirects", -UNKNOWN },
        { "/tls", "get", "cannot connect to 127.0.0.1:1", -UNAVAILABLE },
    };
    struct site s;
    struct fixture f;
    site_open(&s);
    open_on(&f, s.url, NULL, NULL);
    EACH (row, w) {
        struct call c;
        const char *md[] = { "path", w->path, NULL };
        invoke(&f, w->operation, "body", md, &c);
        CHECK_EQ(c.result, w->want, "%s: %s", w->path, c.err.text);
        CHECK(w->want ? strstr(c.err.text, w->says) != NULL : reported(&c, w->says),
              "%s: %s " STR_FMT, w->path, c.err.text, STR_ARG(c.ret.data));
        if (!w->want)
            CHECK_EQ(str_ends(c.ret.data, S("\n\nbody")), w->path[12] > '3', "%s", w->path);
        arena_done(&c.arena);
    }
    fixture_close(&f);
    site_close(&s);
}

TEST_LOOP(large_slow_and_broken_answers_are_errors)
{
    struct site s;
    struct fixture f;
    struct call c;
    site_open(&s);

    open_on(&f, s.url, "maxResponseBodySize", "20");
    invoke(&f, "get", "", NULL, &c);
    CHECK_EQ(c.result, -EXHAUSTED);
    CHECK(strstr(c.err.text, "maxResponseBodySize"), "%s", c.err.text);
    arena_done(&c.arena);
    fixture_close(&f);

    open_on(&f, s.url, "responseTimeout", "150ms");
    const char *slow[] = { "path", "/slow", NULL };
    uint64_t start = clock_now_ns();
    invoke(&f, "get", "", slow, &c);
    CHECK_EQ(c.result, -TIMEOUT, "%s", c.err.text);
    CHECK(clock_now_ns() - start < SEC(5));
    arena_done(&c.arena);

    const char *cut[] = { "path", "/cut", NULL };
    invoke(&f, "get", "", cut, &c);
    CHECK(c.result < 0 && c.ret.data.n == 0, "%d " STR_FMT, c.result, STR_ARG(c.ret.data));
    arena_done(&c.arena);

    invoke(&f, "get", "", NULL, &c); /* and the next call is fine */
    CHECK_OK(c.result, "%s", c.err.text);
    arena_done(&c.arena);
    fixture_close(&f);
    site_close(&s);
}

TEST_LOOP(nobody_there_is_unavailable)
{
    struct site s;
    struct fixture f;
    struct call c;
    site_open(&s);
    open_on(&f, s.url, NULL, NULL);
    site_close(&s); /* the port is free again */
    invoke(&f, "get", "", NULL, &c);
    CHECK_EQ(c.result, -UNAVAILABLE, "%s", c.err.text);
    CHECK(c.err.text[0]);
    arena_done(&c.arena);
    fixture_close(&f);
}

static struct tls_context *site_tls(const struct cert *ca, const struct cert *leaf)
{
    struct tls_options o = { .server = true,
                             .ca = ca->pem,
                             .certificate = leaf->pem,
                             .key = leaf->key_pem,
                             .client_auth = TLS_CLIENT_MUST };
    struct tls_context *c;
    struct error err = { 0 };
    REQUIRE(tls_context_new(&o, &c, &err) == 0, "%s", err.text);
    return c;
}

/* As text, and as files. */
CO static void talk_mutually(const struct site *s, const char *ca, const char *cert,
                             const char *key)
{
    struct fixture f;
    struct call c;
    const char *md[] = { "url",
                         s->url,
                         "MTLSRootCA",
                         ca,
                         "MTLSClientCert",
                         cert,
                         "MTLSClientKey",
                         key,
                         "responseTimeout",
                         "20s",
                         "MTLSRenegotiation",
                         "RenegotiateOnceAsClient",
                         NULL };
    const char *const path[] = { "path", "/redirect/307", NULL };
    CHECK_OK(fixture_open(&f, "bindings.http", md, NULL), "%s", f.err.text);
    invoke(&f, "post", "body", path, &c);
    CHECK_OK(c.result, "%s", c.err.text);
    CHECK(reported(&c, "POST /landed?x=1\n"), STR_FMT, STR_ARG(c.ret.data));
    arena_done(&c.arena);
    fixture_close(&f);
}

TEST_LOOP(https_is_spoken_with_certificates_of_both_sides)
{
    struct cert ca = cert_make(&(struct cert_spec){ .name = "ca", .ca = true }, NULL);
    struct cert leaf =
        cert_make(&(struct cert_spec){ .name = "s", .alternative = "IP:127.0.0.1" }, &ca);
    struct tls_context *tls = site_tls(&ca, &leaf);
    char *file[] = { cert_file(ca.pem), cert_file(leaf.pem), cert_file(leaf.key_pem) };
    struct site s;
    struct fixture f;
    struct call c;
    site_open_tls(&s, tls);
    talk_mutually(&s, ca.pem.p, leaf.pem.p, leaf.key_pem.p);
    talk_mutually(&s, file[0], file[1], file[2]);

    open_on(&f, s.url, "MTLSRootCA", ca.pem.p); /* no certificate of ours */
    invoke(&f, "get", "", NULL, &c);
    CHECK_EQ(c.result, -UNAVAILABLE);
    CHECK(strstr(c.err.text, "certificate required"), "%s", c.err.text);
    arena_done(&c.arena);
    fixture_close(&f);

    open_on(&f, s.url, NULL, NULL); /* the system's roots don't know it */
    invoke(&f, "get", "", NULL, &c);
    CHECK_EQ(c.result, -UNAVAILABLE);
    CHECK(strstr(c.err.text, "unable to get local issuer certificate"), "%s", c.err.text);
    arena_done(&c.arena);
    fixture_close(&f);

    site_close(&s);
    tls_context_unref(tls);
    for (size_t i = 0; i < COUNT(file); i++) {
        CHECK_OK(unlink(file[i]));
        mem_free(file[i]);
    }
    cert_done(&leaf);
    cert_done(&ca);
}

TEST_LOOP(bad_configuration_is_refused)
{
    static const struct {
        const char *url, *key, *value, *says;
        int want;
    } row[] = {
        { "https://h", "MTLSClientCert", "-----BEGIN", "needs its private key", -INVALID },
        { "https://h", "MTLSClientKey", "-----BEGIN", "needs its private key", -INVALID },
        { "http://h", "MTLSRootCA", "-----BEGIN", "CA certificate", -INVALID },
        { "https://h", "MTLSRootCA", "/no/such/file", "MTLSRootCA: neither PEM nor a file",
          -INVALID },
        { "https://h", "MTLSRenegotiation", "Sometimes", "RenegotiateNever", -INVALID },
        { "http://h", "responseTimeout", "0s", "responseTimeout", -INVALID },
        { "http://h", "responseTimeout", "soon", "responseTimeout", -INVALID },
        { "not a url", NULL, NULL, "", -INVALID },
    };
    EACH (row, w) {
        struct fixture f;
        const char *md[] = { "url", w->url, w->key, w->value, NULL };
        CHECK_EQ(fixture_open(&f, "bindings.http", md, NULL), w->want, "%s: %s", w->url,
                 f.err.text);
        CHECK(strstr(f.err.text, w->says), "%s: %s", w->url, f.err.text);
        fixture_close(&f);
    }
}

/* Every failed allocation must end in an error, without a leak. */
TEST(url_survives_a_full_arena)
{
    for (size_t max = 0; max < KIB(16); max += 256) {
        struct arena a;
        struct binding_url u;
        struct error err = { 0 };
        arena_init(&a, max);
        int r = binding_url_make(&a, S("http://user:pw@host:81/a"), S("b?c"), &u, &err);
        CHECK(r == 0 || (r == -EXHAUSTED && err.code == EXHAUSTED), "%zu: %d", max, r);
        arena_done(&a);
    }
}
