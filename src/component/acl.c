#include "component/acl.h"

#include "format/spiffe.h"
#include "format/uri.h"

#include <stdio.h>

enum { SEGMENTS_MAX = 64 };

/* Takes the next segment of a path; empty ones ("//", a last "/") don't count. */
static bool next_segment(str *path, str *ret)
{
    while (path->n && path->p[0] == '/')
        *path = str_skip(*path, 1);
    ptrdiff_t at = str_find_c(*path, '/');
    *ret = at < 0 ? *path : str_take(*path, (size_t)at);
    *path = str_skip(*path, ret->n);
    return ret->n > 0;
}

static char fold(char c, bool http)
{
    return http && c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* '*' stands for any characters within a segment. Linear: only the last '*' is gone back to. */
static bool glob(str pattern, str text, bool http)
{
    size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.n && fold(pattern.p[p], http) == fold(text.p[t], http)) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

/* How closely one segment is meant: 3 literally, 2 by a pattern, 1 by "*", 0 by "**". */
static unsigned closeness(str segment)
{
    if (str_eq(segment, S("**")))
        return 0;
    if (str_eq(segment, S("*")))
        return 1;
    return str_find_c(segment, '*') < 0 ? 3 : 2;
}

/* Whether the pattern matches; *ret_rank grows with how closely, the first segments first. "**"
 * stands for all that is left and therefore ends a pattern. below: what lies below a pattern that
 * doesn't end in "*" as well. */
static bool match(str pattern, str path, bool http, bool below, uint64_t *ret_rank)
{
    uint64_t rank = 0;
    unsigned last = 0;
    for (int i = 0; i < SEGMENTS_MAX; i++) {
        str want, have;
        bool more_want = next_segment(&pattern, &want), more = next_segment(&path, &have);
        unsigned close = more_want ? closeness(want) : 0;
        if (i < 32)
            rank |= (uint64_t)close << (62 - 2 * i);
        if (!more_want || (close == 0 && more)) {
            *ret_rank = rank;
            return more_want || !more || (below && last > 1);
        }
        if (!more || !glob(want, have, http))
            return false;
        last = close;
    }
    return false;
}

/* By app and namespace, of several the last; it counts for its trust domain alone. */
static const struct config_acl_policy *find_policy(const struct config_acl *acl,
                                                   const struct acl_caller *caller)
{
    for (size_t i = acl->n_policies; i-- > 0 && caller && caller->app_id.n;) {
        const struct config_acl_policy *p = &acl->policy[i];
        if (str_eq(p->app_id, caller->app_id) && str_eq(p->namespace_, caller->namespace_))
            return str_eq(p->trust_domain, caller->trust_domain) ? p : NULL;
    }
    return NULL;
}

/* A refusal takes what lies below its path along, as daprd has it; a permission doesn't. */
static const struct config_acl_operation *find_operation(const struct config_acl_policy *p,
                                                         const struct acl_request *q)
{
    const struct config_acl_operation *best = NULL;
    uint64_t best_rank = 0, rank;
    for (size_t i = 0; i < p->n_operations; i++)
        if (match(p->operation[i].name, q->operation, q->verb.n > 0, !p->operation[i].allow,
                  &rank) &&
            (!best || rank > best_rank)) {
            best = &p->operation[i];
            best_rank = rank;
        }
    return best;
}

static bool names_verb(const struct config_acl_operation *o, str verb)
{
    for (size_t i = 0; i < o->verbs.n; i++)
        if (str_eq(o->verbs.v[i], S("*")) || str_ieq(o->verbs.v[i], verb))
            return true;
    return false;
}

bool acl_allows(const struct config_acl *acl, const struct acl_request *q,
                enum acl_level *ret_level)
{
    const struct config_acl_policy *p = find_policy(acl, q->caller);
    *ret_level = p && p->default_action.n ? ACL_APP : ACL_GLOBAL;
    if (!p)
        return acl->allow;
    const struct config_acl_operation *o = find_operation(p, q);
    if (o && (!q->verb.n || names_verb(o, q->verb)))
        return o->allow;
    return *ret_level == ACL_APP ? str_ieq(p->default_action, S("allow")) : acl->allow;
}

int acl_operation(str target, struct arena *a, str *ret)
{
    str path, rest, decoded;
    (void)str_cut(target, '?', &path, &rest);
    int r = uri_decode(a, path, URI_PATH, &decoded);
    if (r < 0)
        return r;
    str part[] = { S("/"), decoded }; /* with a root no ".." leads out of it */
    str rooted = arena_join(a, part, COUNT(part));
    return rooted.p ? uri_clean(a, rooted, ret) : -EXHAUSTED;
}

int acl_check(const struct config_acl *acl, const struct acl_request *q, enum acl_level *ret_level,
              struct error *err)
{
    if (acl_allows(acl, q, ret_level))
        return 0;
    const struct acl_caller *c = q->caller;
    char id[256] = "";
    if (c && c->app_id.n)
        snprintf(id, sizeof id, "spiffe://" STR_FMT "/ns/" STR_FMT "/" STR_FMT,
                 STR_ARG(c->trust_domain), STR_ARG(c->namespace_), STR_ARG(c->app_id));
    return fail(err, DENIED, "ERR_DIRECT_INVOKE",
                "access control policy has denied access to id: %s operation: " STR_FMT
                " verb: " STR_FMT,
                id, STR_ARG(str_take(q->operation, 200)), STR_ARG(q->verb.n ? q->verb : S("NONE")));
}

bool acl_parse_spiffe(str id, struct acl_caller *ret)
{
    str path;
    struct acl_caller c;
    if (!spiffe_parse(id, &c.trust_domain, &path) || !str_starts(path, S("/ns/")) ||
        !str_cut(str_skip(path, sizeof "/ns/" - 1), '/', &c.namespace_, &c.app_id) ||
        str_find_c(c.app_id, '/') >= 0)
        return false;
    *ret = c;
    return true;
}
