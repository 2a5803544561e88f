/* access.h — may another service call our app? accessControl of the Configuration, at our own door.
 * Owner:  none.   Thread: any.
 * Failure: -DENIED and *err with ERR_DIRECT_INVOKE; callers get 403 or PERMISSION_DENIED. */
#pragma once

#include "base/error.h"
#include "block/core/block.h"
#include "component/acl.h"

/* peer_id: of the peer's certificate; empty = it has none, then the global default action decides
 * (surprise 62): a name in a header proves nothing. target: as in the request line, with query. */
int access_check(struct blocks *b, str peer_id, str target, str verb, struct error *err) WUR;
/* Equal, taking the same time wherever they differ. */
bool access_same_secret(str a, str b);
