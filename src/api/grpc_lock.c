#include "api/grpc_call.h"
#include "block/lock.h"
#include "runtime.pb-c.h"

typedef Dapr__Proto__Runtime__V1__TryLockRequest try_request;
typedef Dapr__Proto__Runtime__V1__UnlockRequest unlock_request;
typedef Dapr__Proto__Runtime__V1__UnlockResponse__Status status;

CO int lock_try_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const try_request *m = in;
    struct lock_request q = { pb_str(m->store_name), pb_str(m->resource_id), pb_str(m->lock_owner),
                              m->expiry_in_seconds };
    bool locked = false;
    int r = block_lock_try(c->b, &q, c->a, &locked, err);
    if (r < 0)
        return r;
    Dapr__Proto__Runtime__V1__TryLockResponse *out = *ret_out = pb_new(c->a, c->method->out);
    if (!out)
        return grpc_no_memory(err);
    out->success = locked;
    return 0;
}

CO int unlock_rpc(struct grpc_call *c, const void *in, void **ret_out, struct error *err)
{
    const unlock_request *m = in;
    struct lock_request q = { .store = pb_str(m->store_name),
                              .resource = pb_str(m->resource_id),
                              .owner = pb_str(m->lock_owner) };
    enum unlock_status got = UNLOCK_INTERNAL_ERROR;
    int r = block_lock_unlock(c->b, &q, c->a, &got, err);
    if (r < 0)
        return r;
    Dapr__Proto__Runtime__V1__UnlockResponse *out = *ret_out = pb_new(c->a, c->method->out);
    if (!out)
        return grpc_no_memory(err);
    out->status = (status)got; /* the contract's numbers are ours */
    return 0;
}
