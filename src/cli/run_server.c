#include "cli/run_private.h"

#include "dashboard/embedded.h"
#include "format/uri.h"
#include "http/server.h"

#include <signal.h>

enum { CLIENTS_MAX = 32, BODY_MAX = 8 << 10, REPLY_MAX = 8 << 10 };

struct route {
    const char *method, *path;
    CO int (*serve)(struct run *run, struct http_exchange *x);
};

/* ---- replies ---- */

/* Each goes out with these: nothing may frame the page, guess types or load from elsewhere. */
static int add_headers(struct http_headers *h, const char *type)
{
    static const struct {
        str name, value;
    } fixed[] = {
        { { "Content-Security-Policy", 23 }, { EMBEDDED_CSP, sizeof(EMBEDDED_CSP) - 1 } },
        { { "X-Content-Type-Options", 22 }, { "nosniff", 7 } },
        { { "X-Frame-Options", 15 }, { "DENY", 4 } },
        { { "Referrer-Policy", 15 }, { "no-referrer", 11 } },
        { { "Cross-Origin-Resource-Policy", 28 }, { "same-origin", 11 } },
        { { "Cache-Control", 13 }, { "no-store", 8 } },
    };
    int r = http_headers_add(h, S("Content-Type"), str_c(type));
    for (size_t i = 0; !r && i < COUNT(fixed); i++)
        r = http_headers_add(h, fixed[i].name, fixed[i].value);
    return r;
}

CO static int reply(struct http_exchange *x, int status, const char *type, str body)
{
    struct http_headers h;
    http_headers_init(&h, x->arena);
    int r = add_headers(&h, type);
    return r ? r : http_reply(x, status, &h, body);
}

CO static int reply_error(struct http_exchange *x, int status, const char *text)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, REPLY_MAX);
    buf_put(&out, S("{\"error\":"));
    json_put_string(&out, str_c(text), 0);
    buf_put(&out, S("}\n"));
    return reply(x, status, "application/json", buf_str(&out));
}

/* ---- the feed ---- */

CO static int serve_feed_json(struct run *run, struct http_exchange *x)
{
    struct run_blob *b = run->feed;
    if (!b)
        return reply_error(x, 503, "no feed yet: ask again in a second");
    b->refs++;
    int r = reply(x, 200, "application/json", str_of(b->bytes, b->n));
    run_blob_unref(b);
    return r;
}

CO static int send_event(struct run *run, struct http_exchange *x)
{
    struct run_blob *b = run->feed;
    if (!b)
        return 0;
    b->refs++; /* the next rendering may come while this one is on its way */
    int r = http_reply_write(x, S("data: "));
    if (!r)
        r = http_reply_write(x, str_of(b->bytes, b->n));
    if (!r)
        r = http_reply_write(x, S("\n\n"));
    run_blob_unref(b);
    return r;
}

CO static int serve_feed(struct run *run, struct http_exchange *x)
{
    if (run->n_clients == CLIENTS_MAX)
        return reply_error(x, 503, "too many pages are open: close one");
    struct http_headers h;
    http_headers_init(&h, x->arena);
    int r = add_headers(&h, "text/event-stream");
    if (!r)
        r = http_reply_start(x, 200, &h, -1);
    run->n_clients++;
    if (!r)
        r = http_reply_write(x, S("retry: 1000\n\n"));
    while (!r && !run->quit) {
        r = send_event(run, x);
        if (!r && !run->quit)
            r = waitq_wait(&run->fed);
    }
    run->n_clients--;
    return r ? r : http_reply_end(x, NULL);
}

/* ---- the page ---- */

CO static int serve_file(struct run *run, struct http_exchange *x)
{
    for (size_t i = 0; i < n_embedded_files && !run->settings->no_page; i++) {
        const struct embedded_file *f = &embedded_files[i];
        if (str_eq(x->req.path, str_c(f->path)))
            return reply(x, 200, f->type, str_of(f->data, f->n));
    }
    return reply_error(x, 404, "there is nothing here");
}

/* ---- control ---- */

/* Takes as long for a wrong token as for the right one. */
static bool token_is(const struct run *run, str given)
{
    unsigned differs = given.n != strlen(run->token);
    for (size_t i = 0; i < given.n && run->token[i]; i++)
        differs |= (unsigned char)(given.p[i] ^ run->token[i]);
    return !differs;
}

static bool may_control(const struct run *run, const struct http_exchange *x)
{
    str value = http_headers_get(&x->req.headers, S("authorization"));
    return str_istarts(value, S("bearer ")) && token_is(run, str_trim(str_skip(value, 7)));
}

static bool is_running(const struct proc *p)
{
    return p->pid && !p->exited;
}

/* instance: "2", "orders-2", or empty = the first whose process runs. */
static struct proc *find_target(struct run *run, str app, str instance, bool sidecar)
{
    uint64_t number = 0;
    bool numbered = str_to_u64(instance, &number);
    for (size_t i = 0; i < run->n_members; i++) {
        struct member *m = run->member[i];
        struct proc *p = sidecar ? &m->sidecar : &m->app;
        bool meant = !instance.n || (numbered ? number == m->plan->number
                                              : str_eq(instance, str_c(m->plan->name)));
        if (meant && str_eq(app, str_c(m->plan->app->id)) && is_running(p))
            return p;
    }
    return NULL;
}

CO static int serve_kill(struct run *run, struct http_exchange *x)
{
    str app = { 0 }, target = S("app"), instance = { 0 };
    (void)uri_query_get(x->req.query, x->arena, S("app"), &app);
    (void)uri_query_get(x->req.query, x->arena, S("target"), &target);
    (void)uri_query_get(x->req.query, x->arena, S("instance"), &instance);
    bool sidecar = str_eq(target, S("sidecar"));
    if (!sidecar && !str_eq(target, S("app")))
        return reply_error(x, 400, "target must be app or sidecar");
    struct proc *p = find_target(run, app, instance, sidecar);
    if (!p)
        return reply_error(x, 404,
                           "no such process runs: give app=, and instance= if there are "
                           "several");
    str body = arena_printf(x->arena, "{\"killed\":\"%s\",\"target\":\"%s\",\"pid\":%d}\n",
                            p->member->plan->name, p->role, (int)p->pid);
    run_note(run, "warn", p->member->plan->app->id, "%s%s is killed on request",
             p->member->plan->name, sidecar ? "'s sidecar" : "");
    (void)kill(-p->pid, SIGKILL);
    return body.p ? reply(x, 200, "application/json", body) : -EXHAUSTED;
}

/* A zone that is lost, for drills: kill -9 of all that is in it, and no restart until it's up. */
CO static int serve_zone(struct run *run, struct http_exchange *x)
{
    str zone = { 0 }, state = { 0 };
    (void)uri_query_get(x->req.query, x->arena, S("zone"), &zone);
    (void)uri_query_get(x->req.query, x->arena, S("state"), &state);
    bool down = str_eq(state, S("down"));
    size_t n = 0;
    if (!down && !str_eq(state, S("up")))
        return reply_error(x, 400, "state must be down or up");
    for (size_t i = 0; i < run->n_members; i++) {
        struct member *m = run->member[i];
        if (!zone.n || !str_eq(zone, str_c(m->plan->zone)))
            continue;
        member_down(m, down);
        n++;
    }
    if (!n)
        return reply_error(x, 404, "no instance is in that zone: give zone=");
    run_note(run, "warn", "", "zone " STR_FMT " is %s on request", STR_ARG(str_take(zone, 60)),
             down ? "down" : "up again");
    str body = arena_printf(x->arena, "{\"instances\":%zu}\n", n);
    return body.p ? reply(x, 200, "application/json", body) : -EXHAUSTED;
}

CO static int serve_restart(struct run *run, struct http_exchange *x)
{
    str app = { 0 };
    (void)uri_query_get(x->req.query, x->arena, S("app"), &app);
    struct run_group *g = NULL;
    for (size_t i = 0; i < run->n_groups; i++)
        if (str_eq(app, str_c(run->group[i].app->id)))
            g = &run->group[i];
    if (!g)
        return reply_error(x, 404, "there is no such app: give app=");
    struct error err = { 0 };
    int r = group_restart(g, &err);
    if (r)
        return reply_error(x, r == -EXISTS ? 409 : 503, err.text);
    str body = arena_printf(x->arena, "{\"restarted\":\"%s\",\"instances\":%u}\n", g->app->id,
                            group_size(g));
    return body.p ? reply(x, 200, "application/json", body) : -EXHAUSTED;
}

CO static int serve_progress(struct run *run, struct http_exchange *x)
{
    str body;
    struct json v;
    struct error err = { 0 };
    int r = http_read_all(x, BODY_MAX, &body);
    if (r == -RANGE)
        return reply_error(x, 413, "progress must be small");
    if (r)
        return r;
    if (json_parse(body, &v, NULL) != 0)
        return reply_error(x, 400, "the body must be JSON");
    if (page_set_progress(run->page, v, &err) != 0)
        return reply_error(x, 400, err.text);
    return reply(x, 200, "application/json", S("{}\n"));
}

/* ---- who may ask what ---- */

/* A page of another site can name us by a host of its own (DNS rebinding): then Host tells. */
static bool is_loopback(str authority)
{
    static const str names[] = { { "127.0.0.1", 9 }, { "localhost", 9 }, { "[::1]", 5 } };
    for (size_t i = 0; i < COUNT(names); i++) {
        str rest = str_skip(authority, names[i].n);
        uint64_t port;
        if (!str_istarts(authority, names[i]))
            continue;
        if (!rest.n || (rest.p[0] == ':' && str_to_u64(str_skip(rest, 1), &port)))
            return true;
    }
    return false;
}

static bool is_local_origin(const struct http_exchange *x)
{
    str origin = http_headers_get(&x->req.headers, S("origin"));
    if (!origin.p)
        return true; /* no browser, or a page of our own */
    return str_starts(origin, S("http://")) && is_loopback(str_skip(origin, 7));
}

static const struct route routes[] = {
    { "GET", "/feed", serve_feed },
    { "GET", "/feed.json", serve_feed_json },
    { "POST", "/control/kill", serve_kill },
    { "POST", "/control/zone", serve_zone },
    { "POST", "/control/restart", serve_restart },
    { "POST", "/control/progress", serve_progress },
};

CO static int serve_route(struct run *run, struct http_exchange *x, const struct route *route)
{
    if (!str_eq(x->req.method, str_c(route->method)))
        return reply_error(x, 405, "another method");
    bool control = strcmp(route->method, "POST") == 0;
    if (control && !may_control(run, x))
        return reply_error(x, 401, "Authorization: Bearer <token of the run's control.json>");
    return route->serve(run, x);
}

CO static int serve(struct run *run, struct http_exchange *x)
{
    if (!is_loopback(x->req.authority) || !is_local_origin(x))
        return reply_error(x, 403, "this is for 127.0.0.1 alone");
    for (size_t i = 0; i < COUNT(routes); i++)
        if (str_eq(x->req.path, str_c(routes[i].path)))
            return serve_route(run, x, &routes[i]);
    if (!str_eq(x->req.method, S("GET")))
        return reply_error(x, 405, "another method");
    return serve_file(run, x);
}

void run_serve(void *arg, struct http_exchange *x)
{
    if (serve(arg, x) != 0 && x->started && !x->ended)
        http_reply_abort(x); /* the other side has left, or memory is out */
}
