/* acl.h — accessControl of the Configuration: may this caller run this operation here?
 * Owner:  none; the rules belong to the snapshot.
 * Thread: any.   Failure: none: what no rule names gets the default action. */
#pragma once

#include "component/config.h"

struct acl_caller { /* from the peer's SPIFFE id */
    str trust_domain, namespace_, app_id;
};

struct acl_request {
    const struct acl_caller *caller; /* NULL: a peer without identity */
    str operation;                   /* HTTP: see acl_operation(); gRPC: the full method */
    str verb;                        /* HTTP only; empty = gRPC */
};

/* Whose default would count, for the metrics dapr_runtime_acl_{app,global}_policy_action_…: an
 * app's policy without a defaultAction is counted as global. */
enum acl_level { ACL_GLOBAL, ACL_APP };

bool acl_allows(const struct config_acl *acl, const struct acl_request *q,
                enum acl_level *ret_level);

/* The same with the contract's refusal: -DENIED. */
int acl_check(const struct config_acl *acl, const struct acl_request *q, enum acl_level *ret_level,
              struct error *err) WUR;

/* The path of a request target as rules see it: decoded once and cleaned, so that no way of writing
 * a path gets past a rule. -INVALID on a broken escape, -EXHAUSTED. */
int acl_operation(str target, struct arena *a, str *ret) WUR;

/* Splits "spiffe://<trust domain>/ns/<namespace>/<app id>"; false on anything else. */
bool acl_parse_spiffe(str id, struct acl_caller *ret);
