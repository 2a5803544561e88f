/* resolver.c — nameresolution.dns: sidecars are found by SRV or address records.
 * Owner:  nothing is held but the configuration; answers are in the caller's arena.
 * Thread: any worker; look-ups run on the pool.   Limits: ZONES_MAX_DNS zones, LOOKUP_MAX addresses
 * a name; timeout and tries bound each look-up.
 * Failure: no server answers: -UNAVAILABLE; a name that isn't there is no error. Whoever runs the
 * DNS registers: Kubernetes' headless services, Consul, a zone file. */
#include "base/mem.h"
#include "component/kinds.h"
#include "format/json.h"
#include "lookup.h"
#include "loop/worker.h"

enum { APP_ID_MAX = 63, ZONES_MAX_DNS = 16, ZONE_TEXT_MAX = 64 };

struct dns_zone {
    char zone[ZONE_TEXT_MAX], region[ZONE_TEXT_MAX];
};

struct dns_resolver {
    const char *name, *server, *zones;
    int64_t port, timeout_ns, tries;
    struct dns_zone zone[ZONES_MAX_DNS];
    size_t n_zones;
};

/* ---- names ---- */

static bool label_ok(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '-' && c != '_')
            return false;
    }
    return s.n > 0;
}

/* Copies the pattern with {appid}, {namespace}, {zone} and {region} replaced; false: too long. */
static bool make_name(const struct dns_resolver *d, str app_id, str namespace_,
                      const struct dns_zone *z, char ret[LOOKUP_NAME_MAX])
{
    const struct {
        str word, value;
    } place[] = {
        { S("{appid}"), app_id },
        { S("{namespace}"), namespace_ },
        { S("{zone}"), str_c(z ? z->zone : "") },
        { S("{region}"), str_c(z ? z->region : "") },
    };
    str rest = str_c(d->name);
    size_t n = 0;
    while (rest.n) {
        str put = str_take(rest, 1);
        size_t skip = 1;
        for (size_t i = 0; i < COUNT(place); i++) {
            if (!str_starts(rest, place[i].word))
                continue;
            put = place[i].value;
            skip = place[i].word.n;
        }
        if (n + put.n >= LOOKUP_NAME_MAX)
            return false;
        memcpy(ret + n, put.p, put.n);
        n += put.n;
        rest = str_skip(rest, skip);
    }
    ret[n] = 0;
    return n > 0;
}

/* ---- configuration ---- */

static int add_zone(struct dns_resolver *d, str text, struct error *err)
{
    str region = S(""), zone = text, first;
    if (str_cut(text, '/', &first, &zone))
        region = first;
    else
        zone = text;
    if (d->n_zones == ZONES_MAX_DNS)
        return fail(err, EXHAUSTED, NULL, "zones: more than %d", ZONES_MAX_DNS);
    if (!label_ok(zone) || zone.n >= ZONE_TEXT_MAX || region.n >= ZONE_TEXT_MAX)
        return fail(err, INVALID, NULL, "zones: '" STR_FMT "' is neither a zone nor region/zone",
                    STR_ARG(str_take(text, 80)));
    struct dns_zone *z = &d->zone[d->n_zones++];
    memcpy(z->zone, zone.p, zone.n);
    memcpy(z->region, region.p, region.n);
    return 0;
}

static int read_zones(struct dns_resolver *d, struct error *err)
{
    bool wanted = strstr(d->name, "{zone}");
    str item, rest = str_c(d->zones);
    int r = 0;
    while (!r && rest.n && str_next(&rest, ',', &item))
        r = add_zone(d, item, err);
    if (!r && wanted && !d->n_zones)
        r = fail(err, INVALID, NULL, "zones: name has {zone}: list the zones, as in a,b,c");
    return r;
}

CO static int dns_open(void *self, const struct component_env *env, struct error *err)
{
    struct dns_resolver *d = self;
    if (!strstr(d->name, "{appid}"))
        return fail(err, INVALID, NULL, "name must contain {appid}, as in {appid}.example.org");
    if (d->server[0] && !lookup_server_ok(d->server))
        return fail(err, INVALID, NULL, "server '%s': want ip:port, as in 127.0.0.1:53", d->server);
    if (d->port < 0 || d->port > UINT16_MAX)
        return fail(err, INVALID, NULL, "port must be 0 (SRV records) to 65535");
    if (d->timeout_ns < (int64_t)SEC(1) || d->timeout_ns > (int64_t)SEC(30) || d->tries < 1 ||
        d->tries > 5)
        return fail(err, INVALID, NULL, "timeout must be 1s to 30s, tries 1 to 5");
    return read_zones(d, err);
}

/* ---- look-ups ---- */

struct job {
    const struct dns_resolver *d;
    str app_id, namespace_;
    struct error *err;
    int result;
    size_t begin[ZONES_MAX_DNS + 1]; /* where the addresses of each zone begin */
    struct found found;
};

static void look_up(void *arg)
{
    struct job *j = arg;
    const struct dns_resolver *d = j->d;
    struct lookup l = { .server = d->server,
                        .timeout_s = (unsigned)(d->timeout_ns / (int64_t)SEC(1)),
                        .tries = (unsigned)d->tries,
                        .port = (uint16_t)d->port };
    size_t n = d->n_zones ? d->n_zones : 1, failed = 0;
    for (size_t i = 0; i < n; i++) {
        char name[LOOKUP_NAME_MAX];
        struct error err = { 0 };
        j->begin[i] = j->found.n;
        if (!make_name(d, j->app_id, j->namespace_, d->n_zones ? &d->zone[i] : NULL, name))
            continue;
        int r = lookup_name(&l, name, &j->found, &err);
        failed += r != 0;
        if (failed == n) /* a zone that doesn't answer hides no other */
            j->result = fail(j->err, err.code, NULL, "%s", err.text);
    }
    j->begin[n] = j->found.n;
}

static int give(const struct job *j, struct arena *a, struct registration *ret, size_t max,
                size_t *ret_n)
{
    const struct dns_resolver *d = j->d;
    size_t zone = 0, n = min_size(j->found.n, max);
    for (size_t i = 0; i < n; i++) {
        while (d->n_zones && i >= j->begin[zone + 1])
            zone++;
        ret[i] = (struct registration){
            .address = arena_dup(a, str_c(j->found.address[i])),
            .zone = str_c(d->n_zones ? d->zone[zone].zone : ""),
            .region = str_c(d->n_zones ? d->zone[zone].region : ""),
        };
        if (!ret[i].address.p)
            return -EXHAUSTED;
    }
    *ret_n = n;
    return 0;
}

CO static int dns_resolve(void *self, str app_id, str namespace_, struct arena *a,
                          struct registration *ret, size_t max, size_t *ret_n, struct error *err)
{
    if (app_id.n > APP_ID_MAX)
        return fail(err, INVALID, NULL, "an app id that is part of a DNS name has at most %d bytes",
                    APP_ID_MAX);
    *ret_n = 0;
    if (!label_ok(app_id) || (namespace_.n && !label_ok(namespace_)))
        return 0;
    struct job *j = mem_zalloc(sizeof *j);
    if (!j)
        return fail(err, EXHAUSTED, NULL, "out of memory");
    *j = (struct job){ .d = self, .app_id = app_id, .namespace_ = namespace_, .err = err };
    int r = blocking(look_up, j) ? fail(err, EXHAUSTED, NULL, "out of memory") : j->result;
    if (!r && give(j, a, ret, max, ret_n))
        r = fail(err, EXHAUSTED, NULL, "the addresses do not fit into the request's memory");
    mem_free(j);
    return r;
}

static const struct cfg_field dns_fields[] = {
    { .name = "name",
      .kind = CFG_STR,
      .off = offsetof(struct dns_resolver, name),
      .flags = CFG_REQUIRED,
      .doc = "DNS name of an app's sidecars, with {appid}, {namespace}, {zone} and {region}" },
    { .name = "port",
      .kind = CFG_INT,
      .off = offsetof(struct dns_resolver, port),
      .def = "0",
      .doc = "internal port of all sidecars, found by address records; 0 = SRV records say it" },
    { .name = "zones",
      .kind = CFG_STR,
      .off = offsetof(struct dns_resolver, zones),
      .doc = "a,b or eu/a,us/b: the name is looked up for each, and says where an instance is" },
    { .name = "server",
      .kind = CFG_STR,
      .off = offsetof(struct dns_resolver, server),
      .doc = "ip:port of the DNS server; none: the system's" },
    { .name = "timeout",
      .kind = CFG_DURATION,
      .off = offsetof(struct dns_resolver, timeout_ns),
      .def = "1s",
      .doc = "of one try; whole seconds" },
    { .name = "tries",
      .kind = CFG_INT,
      .off = offsetof(struct dns_resolver, tries),
      .def = "2",
      .doc = "for each server" },
};

const struct resolver_ops nameresolution_dns = {
    .t = {
        .kind = "nameresolution",
        .type = "nameresolution.dns",
        .version = "v1",
        .doc = "sidecars are found by SRV or address records",
        .size = sizeof(struct dns_resolver),
        .fields = dns_fields,
        .n_fields = COUNT(dns_fields),
        .open = dns_open,
    },
    .resolve = dns_resolve,
};
