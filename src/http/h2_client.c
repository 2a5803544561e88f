#include "http/client_private.h"

int h2_call_start(struct client_pool *p, const struct http_request *req, str body, bool end,
                  struct http_call **ret, struct error *err)
{
    return -UNIMPLEMENTED;
}

void h2_client_close_all(struct client_pool *p)
{
}
