/* routeralias.c — middleware.http.routeralias: other names for the paths of the API.
 * Owner:  the instance's arena holds the compiled routes; a changed request lives in its own arena.
 * Thread: any worker; nothing changes after open.   Limits: those of routes.h; PAIRS_MAX
 * parameters. Failure: a bad table fails open; a path that can't be decoded meets no route and goes
 * on as it is.
 */
#include "base/buf.h"
#include "component/kinds.h"
#include "format/uri.h"
#include "format/yaml.h"
#include "http/server.h"
#include "routes.h"

#include <stdlib.h>

enum { TABLE_MAX = 8 << 20, PAIRS_MAX = 1000 };

struct routeralias {
    const char *routes_text;
    struct arena arena;
    struct route_table routes;
};

/* ---- the table ---- */

static int add_route(struct routeralias *m, str pattern, str target, struct error *err)
{
    if (m->routes.n == ROUTES_MAX)
        return fail(err, EXHAUSTED, NULL, "more than %d routes", ROUTES_MAX);
    int r = route_compile(&m->arena, pattern, target, &m->routes.v[m->routes.n], err);
    if (!r)
        m->routes.n++;
    return r;
}

/* JSON is YAML too. */
static int read_map(struct routeralias *m, struct error *err)
{
    const struct yaml_node *root;
    struct yaml_source src = { .text = str_c(m->routes_text), .file = "routes", .line = 1 };
    int r = yaml_parse(&m->arena, &src, &root, err);
    if (r)
        return r;
    if (!root || root->type != YAML_MAP)
        return fail(err, INVALID, NULL,
                    "routes must be a JSON or YAML map of patterns to targets, not %s",
                    root ? yaml_type_name(root->type) : "empty");
    for (size_t i = 0; !r && i < root->n; i++) {
        const struct yaml_node *target = root->pair[i].value;
        if (target->type != YAML_STR)
            return yaml_fail(err, "routes", target, INVALID, "a target must be text, not %s",
                             yaml_type_name(target->type));
        r = add_route(m, root->pair[i].key->text, target->text, err);
    }
    return r;
}

/* The older form: each metadata field is a pattern. */
static int read_fields(struct routeralias *m, struct kvs metadata, struct error *err)
{
    int r = 0;
    for (size_t i = 0; !r && i < metadata.n; i++)
        if (str_starts(metadata.v[i].key, S("/")))
            r = add_route(m, metadata.v[i].key, metadata.v[i].value, err);
    return r;
}

static int routeralias_open(void *self, const struct component_env *env, struct error *err)
{
    struct routeralias *m = self;
    arena_init(&m->arena, TABLE_MAX);
    m->routes.v = arena_alloc(&m->arena, ROUTES_MAX * sizeof *m->routes.v);
    if (!m->routes.v)
        return fail(err, EXHAUSTED, NULL, "out of memory for the routes");
    return *m->routes_text ? read_map(m, err) : read_fields(m, env->metadata, err);
}

static void routeralias_close(void *self)
{
    struct routeralias *m = self;
    arena_done(&m->arena);
    m->routes.n = 0;
}

/* ---- the query, as Go encodes it: sorted by name, equal names in their order ---- */

struct pair {
    str key, value;
    size_t at;
};

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int c = str_cmp(x->key, y->key);
    return c ? c : (x->at > y->at) - (x->at < y->at);
}

static size_t count_pairs(str query)
{
    size_t n = query.n > 0;
    for (size_t i = 0; i < query.n; i++)
        n += query.p[i] == '&';
    return n;
}

static int collect(struct http_exchange *x, const struct route_var *vars, size_t n_vars,
                   struct pair **ret, size_t *ret_n)
{
    size_t max = count_pairs(x->req.query), n = 0;
    struct pair *p = NULL;
    if (max <= PAIRS_MAX)
        p = arena_alloc(x->arena, (max + n_vars + 1) * sizeof *p);
    if (!p)
        return -EXHAUSTED;
    struct uri_query q = uri_query(x->req.query, x->arena);
    while (n < max && uri_query_next(&q, &p[n].key, &p[n].value))
        n++;
    if (q.failed)
        return -EXHAUSTED;
    for (size_t i = 0; i < n_vars; i++, n++)
        p[n] = (struct pair){ .key = vars[i].name, .value = vars[i].value };
    for (size_t i = 0; i < n; i++)
        p[i].at = i;
    qsort(p, n, sizeof *p, compare_pairs);
    *ret = p;
    *ret_n = n;
    return 0;
}

static void put_query(struct buf *out, const struct pair *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, '&');
        uri_encode(out, p[i].key, URI_QUERY);
        buf_putc(out, '=');
        uri_encode(out, p[i].value, URI_QUERY);
    }
}

/* The target is a decoded path: what a path can't have is escaped segment by segment. */
static void put_path(struct buf *out, str path)
{
    str segment;
    bool more;
    do {
        more = str_cut(path, '/', &segment, &path);
        uri_encode(out, segment, URI_PATH);
        if (more)
            buf_putc(out, '/');
    } while (more);
}

static int rewrite(struct http_exchange *x, const struct route *r, const struct route_var *vars)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, MIB(1));
    struct pair *pair;
    size_t n;
    int result = collect(x, vars, r->n_vars, &pair, &n);
    if (result)
        return result;
    put_path(&out, r->target);
    size_t path_len = out.len;
    if (n)
        buf_putc(&out, '?');
    put_query(&out, pair, n);
    str target = buf_ok(&out) ? arena_dup(x->arena, buf_str(&out)) : (str){ 0 };
    if (!target.p)
        return -EXHAUSTED;
    x->req.target = target;
    x->req.path = str_take(target, path_len);
    x->req.query = str_skip(target, path_len + 1);
    return 0;
}

CO static void routeralias_handle(void *self, struct http_exchange *x,
                                  struct middleware_chain *rest)
{
    const struct routeralias *m = self;
    struct route_var vars[ROUTE_VARS_MAX];
    str path;
    const struct route *r = NULL;
    if (!uri_decode(x->arena, x->req.path, URI_PATH, &path))
        r = route_match(&m->routes, path, vars);
    if (r && rewrite(x, r, vars)) {
        (void)http_reply(x, 414, NULL, S("too many query parameters for an aliased route"));
        return;
    }
    middleware_next(rest, x);
}

static const struct cfg_field routeralias_fields[] = {
    { .name = "routes",
      .kind = CFG_STR,
      .off = offsetof(struct routeralias, routes_text),
      .doc = "JSON or YAML map: \"/path/{name}\" to the path that is meant; without it, each "
             "metadata field that begins with / is such a pair" },
};

const struct middleware_ops middleware_routeralias = {
    .t = {
        .kind = "middleware.http",
        .type = "middleware.http.routeralias",
        .version = "v1",
        .doc = "other names for the paths of the API",
        .size = sizeof(struct routeralias),
        .fields = routeralias_fields,
        .n_fields = COUNT(routeralias_fields),
        .free_form = true,
        .open = routeralias_open,
        .close = routeralias_close,
    },
    .handle = routeralias_handle,
};
