/* Which server a command goes to. */
#include "components/common/redis/redis_private.h"

#include "base/mem.h"

#include <stdio.h>

int node_at(struct share *s, const char *address, struct node **ret, struct error *err)
{
    for (size_t i = 0; i < s->n_nodes; i++)
        if (strcmp(s->node[i]->address, address) == 0) {
            *ret = s->node[i];
            return 0;
        }
    struct node *n = s->n_nodes < NODES_MAX ? mem_zalloc(sizeof *n) : NULL;
    struct node **list = n ? mem_realloc(s->node, (s->n_nodes + 1) * sizeof *list) : NULL;
    if (!list) {
        mem_free(n);
        return fail(err, EXHAUSTED, NULL, "out of memory for a server of Redis");
    }
    s->node = list;
    s->node[s->n_nodes++] = n;
    n->share = s;
    (void)snprintf(n->address, sizeof n->address, "%s", address);
    list_init(&n->conns);
    waitq_init(&n->room);
    *ret = n;
    return 0;
}

CO int node_for_key(struct share *s, str key, struct node **ret, struct error *err)
{
    (void)key;
    return node_at(s, s->r->host[0], ret, err);
}

void nodes_free(struct share *s)
{
    for (size_t i = 0; i < s->n_nodes; i++)
        mem_free(s->node[i]);
    mem_free(TAKE(s->node));
    s->n_nodes = 0;
}
