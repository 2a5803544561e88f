#include "cli/publish.h"
#include "cli/ask.h"
#include "cli/console.h"

#include "format/uri.h"

enum { PUBLISH_ARENA_MAX = 64 << 20, TARGET_MAX = 16 << 10 };

struct publish {
    const char *app, *pubsub, *topic, *data, *file, *metadata, *socket_dir, *run_name;
    int64_t http_port;
};

struct publish_job {
    const struct publish *o;
    struct arena *arena;
    str data, target;
    struct error *err;
    int result;
};

/* An event that is one already goes as such, so that the sidecar doesn't wrap it again. */
static str content_type(str data)
{
    static const str needed[] = {
        { "specversion", 11 }, { "id", 2 }, { "source", 6 }, { "type", 4 }
    };
    struct json v;
    if (!data.n || json_parse(data, &v, NULL) != 0)
        return data.n ? S("text/plain") : S("application/json");
    for (size_t i = 0; i < COUNT(needed); i++)
        if (json_get(v, needed[i]).type != JSON_STRING)
            return S("application/json");
    return S("application/cloudevents+json");
}

static int add_metadata(struct publish_job *j, struct buf *out)
{
    struct json v, key, value;
    str name, text;
    char separator = '?';
    if (!j->o->metadata)
        return 0;
    if (json_parse(str_c(j->o->metadata), &v, NULL) != 0 || v.type != JSON_OBJECT)
        return fail(j->err, INVALID, NULL,
                    "--metadata must be a JSON object: '{\"ttlInSeconds\":\"10\"}'");
    struct json_iter it = json_iter(v);
    while (json_next(&it, &key, &value)) {
        if (json_string(j->arena, key, &name) != 0)
            return -INVALID;
        text = value.raw;
        if (value.type == JSON_STRING && json_string(j->arena, value, &text) != 0)
            return -INVALID;
        buf_putc(out, separator);
        buf_put(out, S("metadata."));
        uri_encode(out, name, URI_QUERY);
        buf_putc(out, '=');
        uri_encode(out, text, URI_QUERY);
        separator = '&';
    }
    return 0;
}

static int make_target(struct publish_job *j)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, TARGET_MAX);
    buf_put(&out, S("/v1.0/publish/"));
    uri_encode(&out, str_c(j->o->pubsub), URI_PATH);
    buf_putc(&out, '/');
    uri_encode(&out, str_c(j->o->topic), URI_PATH);
    int r = add_metadata(j, &out);
    if (r)
        return fail(j->err, INVALID, NULL, "--metadata can't be read");
    j->target = arena_dup(j->arena, buf_str(&out));
    if (!buf_ok(&out) || !j->target.p)
        return fail(j->err, EXHAUSTED, NULL, "topic and metadata are too long");
    return 0;
}

CO static void publish_fiber(void *arg)
{
    struct publish_job *j = arg;
    const struct ask_where where = { .app = j->o->app,
                                     .run_name = j->o->run_name,
                                     .socket_dir = j->o->socket_dir,
                                     .http_port = j->o->http_port };
    struct ask ask = { .method = S("POST"),
                       .target = j->target,
                       .content_type = content_type(j->data),
                       .body = j->data };
    struct answer answer;
    j->result = ask_find_sidecar(&where, j->arena, &ask.address, j->err);
    if (!j->result)
        j->result = ask_call(&ask, j->arena, &answer, j->err);
    if (j->result || (answer.status >= 200 && answer.status < 300))
        return;
    str text = ask_error_text(&answer, j->arena);
    j->result = fail(j->err, UNAVAILABLE, NULL, "not published: HTTP %d: " STR_FMT, answer.status,
                     STR_ARG(text));
}

static int publish_main(const void *options, const struct option_list *words)
{
    const struct publish *o = options;
    struct error err = { 0 };
    AUTO(arena_done) struct arena a;
    arena_init(&a, PUBLISH_ARENA_MAX);
    struct publish_job j = { .o = o, .arena = &a, .err = &err };
    int r = 0;
    if (!o->pubsub || !o->topic || (!o->app && (!o->http_port || o->socket_dir)))
        r = fail(&err, INVALID, NULL, "--publish-app-id, --pubsub and --topic are needed");
    if (!r)
        r = ask_data(o->data, o->file, &a, &j.data, &err);
    if (!r)
        r = make_target(&j);
    if (r) {
        console_usage_error("publish", &err);
        return EXIT_USAGE;
    }
    r = ask_in_fiber(publish_fiber, &j, &err);
    if (r || j.result) {
        console_error("publish", &err);
        return EXIT_FAILED;
    }
    fprintf(stderr, "published to %s on %s\n", o->topic, o->pubsub);
    return EXIT_OK;
}

#define AT(member) offsetof(struct publish, member)
static const struct cli_option publish_options[] = {
    { "publish-app-id", 'i', OPTION_STR, AT(app), "ID", .help = "The app that publishes" },
    { "pubsub", 'p', OPTION_STR, AT(pubsub), "NAME", .help = "The pub/sub component" },
    { "topic", 't', OPTION_STR, AT(topic), "NAME", .help = "The topic" },
    { "data", 'd', OPTION_STR, AT(data), "TEXT", .help = "The event's data; JSON, or plain text" },
    { "data-file", 'f', OPTION_STR, AT(file), "FILE", .help = "The data is in this file",
      .hint = OPTION_FILE },
    { "metadata", 'm', OPTION_STR, AT(metadata), "JSON",
      .help = "Metadata, such as '{\"ttlInSeconds\":\"10\"}'" },
    { "unix-domain-socket", 'u', OPTION_STR, AT(socket_dir), "DIR",
      .help = "The sidecar's API is on a socket in there", .hint = OPTION_DIR },
    { "dapr-http-port", 'H', OPTION_INT, AT(http_port), "PORT",
      .help = "The sidecar's API is on this port; no run is looked for", .max = 65535 },
    { "run", 0, OPTION_STR, AT(run_name), "NAME", .help = "Look in the run of this name only" },
};
#undef AT

const struct command publish_command = {
    .name = "publish",
    .args = "",
    .summary = "Publish one event through an app's sidecar",
    .options = { publish_options, COUNT(publish_options) },
    .size = sizeof(struct publish),
    .examples = "proa publish -i shop -p bus -t orders.placed -d '{\"id\":1}'",
    .run = publish_main,
};
