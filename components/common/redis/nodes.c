/* Which server a command goes to: the one that was named, the master that Sentinel knows, or the
 * node of a cluster that serves the key's slot. Each worker has a view of its own, and looks again
 * when it has reason to doubt it. */
#include "components/common/redis/redis_private.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>

#define LOOK_AGAIN_NS MS(20) /* at the earliest after the last time */

/* ---- nodes ---- */

static bool is_in_use(const struct share *s, size_t i)
{
    const struct node *n = s->node[i];
    if (n == s->master || !list_empty(&n->conns) || !list_empty(&n->room.waiters))
        return true;
    for (size_t slot = 0; s->slot && slot < SLOTS; slot++)
        if (s->slot[slot] == i + 1)
            return true;
    return false;
}

static struct node *spare_node(const struct share *s)
{
    for (size_t i = 0; i < s->n_nodes; i++)
        if (!is_in_use(s, i))
            return s->node[i];
    return NULL;
}

static struct node *new_node(struct share *s)
{
    struct node *n = s->n_nodes < NODES_MAX ? mem_zalloc(sizeof *n) : NULL;
    struct node **list = n ? mem_realloc(s->node, (s->n_nodes + 1) * sizeof *list) : NULL;
    if (!list) {
        mem_free(n);
        return s->n_nodes < NODES_MAX ? NULL : spare_node(s);
    }
    s->node = list;
    s->node[s->n_nodes++] = n;
    n->share = s;
    list_init(&n->conns);
    waitq_init(&n->room);
    return n;
}

int node_at(struct share *s, const char *address, struct node **ret, struct error *err)
{
    for (size_t i = 0; i < s->n_nodes; i++)
        if (strcmp(s->node[i]->address, address) == 0) {
            *ret = s->node[i];
            return 0;
        }
    struct node *n = new_node(s);
    if (!n)
        return fail(err, EXHAUSTED, NULL, "out of memory for a server of Redis");
    (void)snprintf(n->address, sizeof n->address, "%s", address);
    *ret = n;
    return 0;
}

size_t node_number(const struct share *s, const struct node *n)
{
    for (size_t i = 0; i < s->n_nodes; i++)
        if (s->node[i] == n)
            return i + 1;
    return 0;
}

void node_drop_conns(struct node *n, const char *why)
{
    while (!list_empty(&n->conns))
        conn_break(CONTAINER_OF(n->conns.next, struct conn, in_node), UNAVAILABLE, "Redis at %s %s",
                   n->address, why);
}

void nodes_free(struct share *s)
{
    for (size_t i = 0; i < s->n_nodes; i++)
        mem_free(s->node[i]);
    mem_free(TAKE(s->node));
    mem_free(TAKE(s->slot));
    s->n_nodes = 0;
    s->master = NULL;
}

void node_address(char ret[ADDRESS_MAX], str host, int64_t port)
{
    bool v6 = str_find_c(host, ':') >= 0 && host.p[0] != '[';
    (void)snprintf(ret, ADDRESS_MAX, "%s" STR_FMT "%s:%lld", v6 ? "[" : "",
                   STR_ARG(str_take(host, ADDRESS_MAX - 10)), v6 ? "]" : "", (long long)port);
}

/* ---- the view ---- */

static bool has_view(const struct share *s)
{
    return s->r->cluster ? s->slot != NULL : s->master != NULL;
}

void view_doubt(struct share *s)
{
    s->doubt = s->r->cluster || s->r->c.failover;
}

static bool must_look(struct share *s)
{
    unsigned now = atomic_load(&s->r->generation); /* Sentinel has told of a new master */
    if (now != s->generation) {
        s->generation = now;
        s->looked_ns = 0;
        s->doubt = true;
    }
    return !has_view(s) || (s->doubt && clock_now_ns() - s->looked_ns >= LOOK_AGAIN_NS);
}

CO static int look(struct share *s, struct error *err)
{
    if (s->r->c.failover)
        return sentinel_look(s, err);
    if (s->r->cluster)
        return cluster_look(s, err);
    return node_at(s, s->r->host[0], &s->master, err);
}

/* One fiber looks, others wait for what it finds. An old view is better than none: calls on it tell
 * whether it still holds. */
CO static int ensure_view(struct share *s, struct error *err)
{
    while (must_look(s)) {
        if (s->looking) {
            if (waitq_wait(&s->looked) < 0)
                return fail(err, UNAVAILABLE, NULL, "the servers of Redis aren't known yet");
            continue;
        }
        struct error why = { 0 };
        s->looking = true;
        s->n_alive++;
        int r = look(s, &why);
        s->looking = false;
        s->looked_ns = clock_now_ns();
        s->doubt = r < 0;
        waitq_wake_all(&s->looked, 0);
        bool closing = s->closing, known = has_view(s);
        share_leave(s); /* when closing, s may be gone */
        if (closing)
            return fail(err, CANCELLED, NULL, "the component is closing");
        if (r < 0 && !known)
            return fail(err, why.code, NULL, "%s", why.text);
        break;
    }
    return 0;
}

CO int node_for_key(struct share *s, str key, struct node **ret, struct error *err)
{
    int r = ensure_view(s, err);
    if (r < 0)
        return r;
    if (!s->r->cluster) {
        *ret = s->master;
        return 0;
    }
    size_t slot = key.p ? redis_slot(key) : 0, number = s->slot[slot];
    for (size_t i = 0; !key.p && !number && i < SLOTS; i++) /* any will do */
        number = s->slot[i];
    if (!number) {
        view_doubt(s);
        return fail(err, UNAVAILABLE, NULL, "no node of the Redis cluster serves slot %zu", slot);
    }
    *ret = s->node[number - 1];
    return 0;
}

/* ---- MOVED and ASK ---- */

static ptrdiff_t last_colon(str s)
{
    ptrdiff_t at = (ptrdiff_t)s.n - 1;
    while (at >= 0 && s.p[at] != ':')
        at--;
    return at;
}

str node_host(const char *address)
{
    str s = str_c(address);
    ptrdiff_t colon = last_colon(s);
    return colon < 0 ? s : str_take(s, (size_t)colon);
}

static bool read_number(str text, int64_t min, int64_t max, int64_t *ret)
{
    return str_to_i64(text, ret) && *ret >= min && *ret <= max;
}

/* "MOVED 3999 127.0.0.1:6381": an empty host is that of the node that said it. */
int node_redirected(struct share *s, const struct redis_reply *reply, const struct node *from,
                    struct node **ret)
{
    char address[ADDRESS_MAX];
    struct error ignored = { 0 };
    str word, slot_text, where, more;
    int64_t slot, port;
    (void)str_cut(reply->text, ' ', &word, &where);
    (void)str_cut(where, ' ', &slot_text, &where);
    (void)str_cut(where, ' ', &where, &more); /* nothing may follow, but a newer server's words */
    ptrdiff_t colon = last_colon(where);
    if (colon < 0 || !read_number(slot_text, 0, SLOTS - 1, &slot) ||
        !read_number(str_skip(where, (size_t)colon + 1), 1, 65535, &port))
        return -DATA_LOSS;
    node_address(address, colon ? str_take(where, (size_t)colon) : node_host(from->address), port);
    int r = node_at(s, address, ret, &ignored);
    if (r == 0 && s->slot && str_eq(word, S("MOVED")))
        s->slot[slot] = (uint16_t)node_number(s, *ret);
    return r;
}
