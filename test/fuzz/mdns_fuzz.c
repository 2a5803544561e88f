/* mdns_fuzz.c — any datagram, taken by a sidecar that knows two apps: no crash, no overread, no
 * endless walk, and never more than the cache's limits. Bit 0 of the first byte: it came from the
 * group's port. */
#include "components/nameresolution/mdns/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mdns_service service;
static struct mdns_packet packet;
static struct mdns_cache cache;
static struct mdns_app *apps[2];
static uint64_t now = 1;

static void set_up(void)
{
    static const char *const id[] = { "order", "a.b" };
    struct error err = { 0 };
    INV(mdns_service_init(&service, "us", "box", 7, "192.0.2.1", 50002, &err) == 0);
    mdns_cache_init(&cache);
    for (size_t i = 0; i < COUNT(apps); i++) {
        struct dns_name name;
        INV(mdns_service_name(str_c(id[i]), &name) == 0);
        apps[i] = mdns_cache_track(&cache, str_c(id[i]), &name, now);
        INV(apps[i]);
    }
}

static void check_answer(enum mdns_verdict verdict)
{
    struct buf b;
    buf_init(&b, DNS_MESSAGE_MAX);
    if (verdict == MDNS_ANSWER)
        mdns_service_put(&b, &service, SERVICE_TTL_S);
    else if (verdict == MDNS_LEGACY)
        mdns_service_put_legacy(&b, &service, packet.id, &packet.question);
    INV(buf_ok(&b));
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!service.app_id)
        set_up();
    if (size < 1)
        return 0;
    now += SEC(1);
    str datagram = str_of(data + 1, size - 1);
    check_answer(mdns_packet_take(&packet, &service, &cache, datagram, data[0] & 1, now));
    INV(map_count(&cache.apps) == COUNT(apps));
    for (size_t i = 0; i < COUNT(apps); i++) {
        size_t n = mdns_cache_fresh(apps[i], now);
        INV(n <= CACHE_PEERS_MAX);
        for (size_t k = 0; k < n; k++) {
            char text[PEER_TEXT_MAX];
            INV(mdns_peer_print(&apps[i]->peer[k], text) < PEER_TEXT_MAX);
        }
    }
    return 0;
}
