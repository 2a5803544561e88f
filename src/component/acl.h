/* acl.h — accessControl of the Configuration: may this caller run this operation here?
 * Owner:  none; the rules belong to the snapshot.
 * Thread: any.   Failure: none: what no rule names gets the default action. */
#pragma once

#include "component/config.h"

struct acl_caller { /* from the peer's SPIFFE id; app_id empty = a peer without identity */
    str trust_domain, namespace_, app_id;
};

struct acl_request {
    struct acl_caller caller;
    str operation; /* HTTP: the path, "/orders/7"; gRPC: the full method */
    str verb;      /* HTTP only; empty = gRPC */
};

/* Whose rule decided, for the metrics dapr_runtime_acl_{app,global}_policy_action_…. */
enum acl_level { ACL_GLOBAL, ACL_APP };

bool acl_allows(const struct config_acl *acl, const struct acl_request *q,
                enum acl_level *ret_level);

/* Splits "spiffe://<trust domain>/ns/<namespace>/<app id>"; false on anything else. */
bool acl_parse_spiffe(str id, struct acl_caller *ret);
