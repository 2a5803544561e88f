#include "http/server_private.h"

int h2_server_adopt(struct server_worker *w, struct stream *s, str received,
                    const struct http_request *req, str settings)
{
    return -UNIMPLEMENTED;
}
