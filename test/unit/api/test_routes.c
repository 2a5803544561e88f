#include "api/routes.h"
#include "test/testing.h"

TEST(paths_find_their_route)
{
    static const struct {
        const char *verb, *path, *name, *first, *second; /* NULL name: no route */
    } row[] = {
        { "GET", "/v1.0/state/s/k", "GetState", "s", "k" },
        { "DELETE", "/v1.0/state/s/k", "DeleteState", "s", "k" },
        { "PUT", "/v1.0/state/s/k", NULL, NULL, NULL },
        { "POST", "/v1.0/state/s", "SaveState", "s", NULL },
        { "PUT", "/v1.0/state/s", "SaveState", "s", NULL },
        { "POST", "/v1.0/state/s/bulk", "GetBulkState", "s", NULL },
        { "GET", "/v1.0/state/s/bulk", "GetState", "s", "bulk" },
        { "POST", "/v1.0/state/s/transaction", "ExecuteStateTransaction", "s", NULL },
        { "POST", "/v1.0-alpha1/state/s/query", "QueryStateAlpha1", "s", NULL },
        { "POST", "/v1.0/state/s/query", NULL, NULL, NULL },
        { "GET", "/v1.0/state/s/a/b", NULL, NULL, NULL },
        { "GET", "/v1.0/state//k", NULL, NULL, NULL },
        { "GET", "/v1.0/state/s", NULL, NULL, NULL },
        { "GET", "/v1.0/secrets/s/bulk", "GetBulkSecret", "s", NULL },
        { "GET", "/v1.0/secrets/s/bulky", "GetSecret", "s", "bulky" },
        { "GET", "/v1.0/secrets/s/k", "GetSecret", "s", "k" },
        { "POST", "/v1.0/publish/p/t", "PublishEvent", "p", "t" },
        { "POST", "/v1.0/publish/p/a/b/c", "PublishEvent", "p", "a/b/c" },
        { "POST", "/v1.0/publish/p/", "PublishEvent", "p", "" },
        { "POST", "/v1.0/publish/p", "PublishEvent", "p", NULL },
        { "POST", "/v1.0/publish/bulk/p/a/b", "BulkPublishEvent", "p", "a/b" },
        { "POST", "/v1.0-alpha1/publish/bulk/p/t", "BulkPublishEventAlpha1", "p", "t" },
        { "POST", "/v1.0/publish/bulk/p", "PublishEvent", "bulk", "p" },
        { "GET", "/v1.0/publish/p/t", NULL, NULL, NULL },
        { "POST", "/v1.0/bindings/b", "InvokeBinding", "b", NULL },
        { "GET", "/v1.0/configuration/c", "GetConfiguration", "c", NULL },
        { "GET", "/v1.0-alpha1/configuration/c", "GetConfigurationAlpha1", "c", NULL },
        { "GET", "/v1.0/configuration/c/subscribe", "SubscribeConfiguration", "c", NULL },
        { "GET", "/v1.0/configuration/c/i/unsubscribe", "UnsubscribeConfiguration", "c", "i" },
        { "POST", "/v1.0/configuration/c", NULL, NULL, NULL },
        { "POST", "/v1.0-alpha1/lock/l", "TryLockAlpha1", "l", NULL },
        { "POST", "/v1.0-alpha1/unlock/l", "UnlockAlpha1", "l", NULL },
        { "POST", "/v1.0/lock/l", NULL, NULL, NULL },
        { "PUT", "/v1.0-alpha1/crypto/c/encrypt", "Encrypt", "c", NULL },
        { "PUT", "/v1.0-alpha1/crypto/c/decrypt", "Decrypt", "c", NULL },
        { "POST", "/v1.0-alpha1/crypto/c/encrypt", NULL, NULL, NULL },
        { "POST", "/v1.0-alpha1/subtlecrypto/c/getkey", "SubtleGetKey", "c", NULL },
        { "GET", "/v1.0/invoke/a/method/m", "InvokeService", "a/method/m", NULL },
        { "PATCH", "/v1.0/invoke/a/method/m", "InvokeService", "a/method/m", NULL },
        { "PROPFIND", "/v1.0/invoke/a", "InvokeService", "a", NULL },
        { "GET", "/v1.0/metadata", "GetMetadata", NULL, NULL },
        { "GET", "/v1.0/metadata/", NULL, NULL, NULL },
        { "PUT", "/v1.0/metadata/k", "SetMetadata", "k", NULL },
        { "POST", "/v1.0/shutdown", "Shutdown", NULL, NULL },
        { "GET", "/v1.0/shutdown", NULL, NULL, NULL },
        { "GET", "/v1.0/healthz", "Healthz", NULL, NULL },
        { "GET", "/v1.0/healthz/outbound", "HealthzOutbound", NULL, NULL },
        { "GET", "/v1.0/healthz/inbound", NULL, NULL, NULL },
        { "get", "/v1.0/healthz", NULL, NULL, NULL },
        { "GET", "/proa/v1/feed", "Feed", NULL, NULL },
        { "GET", "/v1.0", NULL, NULL, NULL },
        { "GET", "/", NULL, NULL, NULL },
        { "GET", "", NULL, NULL, NULL },
        { "GET", "/v1.0/", NULL, NULL, NULL },
        { "GET", "/V1.0/healthz", NULL, NULL, NULL },
        { "", "/v1.0/healthz", NULL, NULL, NULL },
        { "GET", "*", NULL, NULL, NULL },
    };
    EACH (row, r) {
        str part[PATH_PARTS] = { { 0 } };
        const struct route *found = route_find(str_c(r->verb), str_c(r->path), part);
        CHECK_TEXT(found ? found->name : "none", r->name ? r->name : "none", "%s %s", r->verb,
                   r->path);
        if (!found)
            continue;
        if (r->first)
            CHECK_STR(part[0], r->first, "%s", r->path);
        if (r->second)
            CHECK_STR(part[1], r->second, "%s", r->path);
    }
}

TEST(each_row_can_be_reached)
{
    for (size_t i = 0; route_at(i); i++) {
        const struct route *r = route_at(i);
        char path[200];
        size_t n = 0;
        for (const char *p = r->pattern; *p; p++) { /* {} and * become "x" */
            if (*p == '{')
                p++;
            path[n++] = *p == '}' || *p == '*' ? 'x' : *p;
        }
        static const char *const verbs[] = { "GET", "POST", "PUT", "DELETE" };
        bool reached = false;
        EACH (verbs, v) {
            str part[PATH_PARTS];
            reached = reached || route_find(str_c(*v), str_of(path, n), part) == r;
        }
        CHECK(reached, "%s", r->pattern);
        CHECK(r->name && r->group && r->version && r->handle);
    }
    CHECK(!route_at(1000));
}
