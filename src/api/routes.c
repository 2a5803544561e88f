#include "api/request.h"

#include "api/routes.h"

enum { GET = 1, POST = 2, PUT = 4, DELETE = 8, ANY = 255 };

/* {} is one segment, * the rest, slashes included. Static segments win by standing first. group and
 * version are what the API allow and deny lists name. */
static const struct route table[] = {
    { GET, "/v1.0/state/{}/{}", state_get_route, "state", "v1", "GetState" },
    { POST | PUT, "/v1.0/state/{}", state_save_route, "state", "v1", "SaveState" },
    { POST | PUT, "/v1.0/state/{}/bulk", state_bulk_route, "state", "v1", "GetBulkState" },
    { POST | PUT, "/v1.0/state/{}/transaction", state_transact_route, "state", "v1",
      "ExecuteStateTransaction" },
    { DELETE, "/v1.0/state/{}/{}", state_delete_route, "state", "v1", "DeleteState" },
    { POST | PUT, "/v1.0-alpha1/state/{}/query", state_query_route, "state", "v1alpha1",
      "QueryStateAlpha1" },
    { GET, "/v1.0/secrets/{}/bulk", secret_bulk_route, "secrets", "v1", "GetBulkSecret" },
    { GET, "/v1.0/secrets/{}/{}", secret_get_route, "secrets", "v1", "GetSecret" },
    { POST | PUT, "/v1.0/publish/bulk/{}/*", publish_bulk_route, "publish", "v1",
      "BulkPublishEvent" },
    { POST | PUT, "/v1.0-alpha1/publish/bulk/{}/*", publish_bulk_route, "publish", "v1alpha1",
      "BulkPublishEventAlpha1" },
    { POST | PUT, "/v1.0/publish/{}/*", publish_route, "publish", "v1", "PublishEvent" },
    { POST | PUT, "/v1.0/publish/{}", publish_route, "publish", "v1", "PublishEvent" },
    { POST | PUT, "/v1.0/bindings/{}", binding_route, "bindings", "v1", "InvokeBinding" },
    { GET, "/v1.0/configuration/{}/subscribe", configuration_subscribe_route, "configuration", "v1",
      "SubscribeConfiguration" },
    { GET, "/v1.0/configuration/{}/{}/unsubscribe", configuration_unsubscribe_route,
      "configuration", "v1", "UnsubscribeConfiguration" },
    { GET, "/v1.0/configuration/{}", configuration_get_route, "configuration", "v1",
      "GetConfiguration" },
    { GET, "/v1.0-alpha1/configuration/{}/subscribe", configuration_subscribe_route,
      "configuration", "v1alpha1", "SubscribeConfigurationAlpha1" },
    { GET, "/v1.0-alpha1/configuration/{}/{}/unsubscribe", configuration_unsubscribe_route,
      "configuration", "v1alpha1", "UnsubscribeConfigurationAlpha1" },
    { GET, "/v1.0-alpha1/configuration/{}", configuration_get_route, "configuration", "v1alpha1",
      "GetConfigurationAlpha1" },
    { POST, "/v1.0-alpha1/lock/{}", lock_route, "lock", "v1alpha1", "TryLockAlpha1" },
    { POST, "/v1.0-alpha1/unlock/{}", unlock_route, "unlock", "v1alpha1", "UnlockAlpha1" },
    { PUT, "/v1.0-alpha1/crypto/{}/encrypt", crypto_encrypt_route, "crypto", "v1alpha1",
      "Encrypt" },
    { PUT, "/v1.0-alpha1/crypto/{}/decrypt", crypto_decrypt_route, "crypto", "v1alpha1",
      "Decrypt" },
    { POST, "/v1.0-alpha1/subtlecrypto/{}/getkey", subtle_get_key_route, "subtlecrypto", "v1alpha1",
      "SubtleGetKey" },
    { POST, "/v1.0-alpha1/subtlecrypto/{}/encrypt", subtle_encrypt_route, "subtlecrypto",
      "v1alpha1", "SubtleEncrypt" },
    { POST, "/v1.0-alpha1/subtlecrypto/{}/decrypt", subtle_decrypt_route, "subtlecrypto",
      "v1alpha1", "SubtleDecrypt" },
    { POST, "/v1.0-alpha1/subtlecrypto/{}/wrapkey", subtle_wrap_route, "subtlecrypto", "v1alpha1",
      "SubtleWrapKey" },
    { POST, "/v1.0-alpha1/subtlecrypto/{}/unwrapkey", subtle_unwrap_route, "subtlecrypto",
      "v1alpha1", "SubtleUnwrapKey" },
    { POST, "/v1.0-alpha1/subtlecrypto/{}/sign", subtle_sign_route, "subtlecrypto", "v1alpha1",
      "SubtleSign" },
    { POST, "/v1.0-alpha1/subtlecrypto/{}/verify", subtle_verify_route, "subtlecrypto", "v1alpha1",
      "SubtleVerify" },
    { ANY, "/v1.0/invoke/*", invoke_route, "invoke", "v1", "InvokeService" },
    { GET, "/v1.0/metadata", metadata_get_route, "metadata", "v1", "GetMetadata" },
    { PUT, "/v1.0/metadata/{}", metadata_put_route, "metadata", "v1", "SetMetadata" },
    { POST, "/v1.0/shutdown", shutdown_route, "shutdown", "v1", "Shutdown" },
    { GET, "/v1.0/healthz", healthz_route, "healthz", "v1", "Healthz", .open = true },
    { GET, "/v1.0/healthz/outbound", outbound_route, "healthz", "v1", "HealthzOutbound",
      .open = true },
    { ANY, "/v1.0/actors/*", unimplemented_route, "actors", "v1", "Actors" },
    { ANY, "/v1.0/workflows/*", unimplemented_route, "workflows", "v1", "Workflows" },
    { ANY, "/v1.0-alpha1/workflows/*", unimplemented_route, "workflows", "v1alpha1", "Workflows" },
    { ANY, "/v1.0-beta1/workflows/*", unimplemented_route, "workflows", "v1beta1", "Workflows" },
    { ANY, "/v1.0/jobs/*", unimplemented_route, "jobs", "v1", "Jobs" },
    { ANY, "/v1.0-alpha1/jobs/*", unimplemented_route, "jobs", "v1alpha1", "Jobs" },
    { ANY, "/v1.0-alpha1/conversation/*", unimplemented_route, "conversation", "v1alpha1",
      "Conversation" },
    { ANY, "/v1.0-alpha2/conversation/*", unimplemented_route, "conversation", "v1alpha2",
      "Conversation" },
    { GET, "/proa/v1/livez", livez_route, "healthz", "v1", "Livez", .open = true },
    { GET, "/proa/v1/readyz", readyz_route, "healthz", "v1", "Readyz", .open = true },
    { GET, "/proa/v1/startupz", startupz_route, "healthz", "v1", "Startupz", .open = true },
    { GET, "/proa/v1/chaos", chaos_list_route, "chaos", "v1", "GetChaos" },
    { POST, "/proa/v1/chaos", chaos_add_route, "chaos", "v1", "AddChaos" },
    { DELETE, "/proa/v1/chaos", chaos_remove_route, "chaos", "v1", "RemoveChaos" },
    { DELETE, "/proa/v1/chaos/{}", chaos_remove_route, "chaos", "v1", "RemoveChaos" },
    { GET, "/proa/v1/feed", feed_route, "metadata", "v1", "Feed" },
    { POST, "/proa/v1/sleep", sleep_route, "shutdown", "v1", "Sleep" },
    { POST, "/proa/v1/wake", wake_route, "shutdown", "v1", "Wake" },
};

static unsigned verb_bit(str method)
{
    static const struct {
        str name;
        unsigned bit;
    } verb[] = {
        { S("GET"), GET }, { S("POST"), POST }, { S("PUT"), PUT }, { S("DELETE"), DELETE }
    };
    for (size_t i = 0; i < COUNT(verb); i++)
        if (str_eq(method, verb[i].name))
            return verb[i].bit;
    return 128;
}

/* The part of a pattern before its first {} or *: most rows are told apart by it. */
static size_t front_len(const char *pattern)
{
    return strcspn(pattern, "{*");
}

/* What is behind the front of the pattern; false when it doesn't fit. */
static bool match_rest(str p, str path, str *part)
{
    size_t n = 0;
    while (p.n && path.n) {
        if (p.p[0] == '*') {
            part[n] = path;
            return true;
        }
        if (p.p[0] == '{') {
            ptrdiff_t slash = str_find_c(path, '/');
            size_t len = slash < 0 ? path.n : (size_t)slash;
            if (!len)
                return false;
            part[n++] = str_take(path, len);
            path = str_skip(path, len);
            p = str_skip(p, 2);
            continue;
        }
        if (p.p[0] != path.p[0])
            return false;
        p = str_skip(p, 1);
        path = str_skip(path, 1);
    }
    /* "/publish/{}/" with nothing behind it is a topic that is empty */
    if (str_eq(p, S("*")))
        part[n] = S("");
    return !path.n && (!p.n || str_eq(p, S("*")));
}

const struct route *route_find(str method, str path, str ret_part[PATH_PARTS])
{
    static size_t front[COUNT(table)]; /* the same value from whichever thread is first */
    unsigned bit = verb_bit(method);
    for (size_t i = 0; i < COUNT(table); i++) {
        const struct route *r = &table[i];
        size_t n = __atomic_load_n(&front[i], __ATOMIC_RELAXED);
        if (UNLIKELY(!n))
            __atomic_store_n(&front[i], n = front_len(r->pattern), __ATOMIC_RELAXED);
        if (r->verbs & bit && path.n >= n && memcmp(path.p, r->pattern, n) == 0 &&
            match_rest(str_c(r->pattern + n), str_skip(path, n), ret_part))
            return r;
    }
    return NULL;
}

const struct route *route_at(size_t i)
{
    return i < COUNT(table) ? &table[i] : NULL;
}
