#include "api/access.h"

#include "component/resource.h"
#include "format/uri.h"
#include "telemetry/metrics.h"

enum { OPERATION_ARENA_MAX = 256 << 10 };

#define LABELS                                                                                     \
    {                                                                                              \
        "app_id", "trustDomain", "namespace"                                                       \
    }
static struct metric_family app_allowed = {
    .name = "dapr_runtime_acl_app_policy_action_allowed_total",
    .help = "Calls that the policy of their app let in.",
    .label = LABELS,
};
static struct metric_family app_blocked = {
    .name = "dapr_runtime_acl_app_policy_action_blocked_total",
    .help = "Calls that the policy of their app refused.",
    .label = LABELS,
};
static struct metric_family global_allowed = {
    .name = "dapr_runtime_acl_global_policy_action_allowed_total",
    .help = "Calls that the default action of accessControl let in.",
    .label = LABELS,
};
static struct metric_family global_blocked = {
    .name = "dapr_runtime_acl_global_policy_action_blocked_total",
    .help = "Calls that the default action of accessControl refused.",
    .label = LABELS,
};

/* The label app_id is the caller's (surprise 62). */
static void count(const struct acl_caller *c, enum acl_level level, bool ok)
{
    static struct metric_family *const family[][2] = {
        [ACL_GLOBAL] = { &global_blocked, &global_allowed },
        [ACL_APP] = { &app_blocked, &app_allowed },
    };
    str label[] = { c ? c->app_id : S(""), c ? c->trust_domain : S(""), c ? c->namespace_ : S("") };
    metric_add(metric_cell(family[level][ok], label), 1);
}

int access_check(struct blocks *b, str peer_id, str target, str verb, struct error *err)
{
    const struct config_acl *acl = &b->resources->config.acl;
    struct acl_caller id;
    if (!acl->present)
        return 0;
    if (peer_id.n && !acl_parse_spiffe(peer_id, &id))
        return fail(err, DENIED, "ERR_DIRECT_INVOKE",
                    "access control policy has denied access to id: " STR_FMT
                    ": it isn't spiffe://<trust domain>/ns/<namespace>/<app id>",
                    STR_ARG(str_take(peer_id, 200)));
    const struct acl_caller *caller = peer_id.n ? &id : NULL;
    struct acl_request q = { .caller = caller, .verb = verb };
    enum acl_level level = ACL_GLOBAL;
    struct error cause = { 0 };
    AUTO(arena_done) struct arena a;
    arena_init(&a, OPERATION_ARENA_MAX);
    /* A gRPC method is never percent-decoded (surprise 5). */
    int r = verb.n ? acl_operation(target, &a, &q.operation) : uri_clean(&a, target, &q.operation);
    r = r < 0 ? fail(&cause, DENIED, "ERR_DIRECT_INVOKE",
                     "access control policy has denied access: the path can't be read")
              : acl_check(acl, &q, &level, &cause);
    count(caller, level, r >= 0);
    return r < 0 ? fail(err, cause.code, cause.tag, "failed to invoke, id: %s, err: %s", b->app_id,
                        cause.text)
                 : 0;
}

bool access_same_secret(str a, str b)
{
    unsigned diff = a.n != b.n;
    for (size_t i = 0; i < a.n; i++)
        diff |= (unsigned char)a.p[i] ^ (unsigned char)(b.n ? b.p[i % b.n] : 0);
    return !diff;
}
