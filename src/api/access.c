#include "api/access.h"

#include "component/acl.h"
#include "component/resource.h"
#include "telemetry/metrics.h"

static struct metric_family allowed = {
    .name = "dapr_runtime_acl_global_policy_action_allowed_total",
    .help = "Calls that the default action of accessControl let in.",
    .label = { "app_id", "trustDomain", "namespace" }, /* of the caller: surprise 62 */
};
static struct metric_family blocked = {
    .name = "dapr_runtime_acl_global_policy_action_blocked_total",
    .help = "Calls that the default action of accessControl refused.",
    .label = { "app_id", "trustDomain", "namespace" }, /* of the caller: surprise 62 */
};

int access_check(struct blocks *b, str target, str verb, struct error *err)
{
    const struct config_acl *acl = &b->resources->config.acl;
    if (!acl->present)
        return 0;
    struct acl_request q = { .verb = verb };
    enum acl_level level;
    (void)str_cut(target, '?', &q.operation, &target);
    bool ok = acl_allows(acl, &q, &level);
    str nobody[] = { S(""), S(""), S("") };
    metric_add(metric_cell(ok ? &allowed : &blocked, nobody), 1);
    return ok ? 0
              : fail(err, DENIED, "ERR_DIRECT_INVOKE",
                     "failed to invoke, id: %s, err: access control policy has denied access to "
                     "operation: " STR_FMT " verb: " STR_FMT,
                     b->app_id, STR_ARG(str_take(q.operation, 200)), STR_ARG(verb));
}

bool access_same_secret(str a, str b)
{
    unsigned diff = a.n != b.n;
    for (size_t i = 0; i < a.n; i++)
        diff |= (unsigned char)a.p[i] ^ (unsigned char)(b.n ? b.p[i % b.n] : 0);
    return !diff;
}
