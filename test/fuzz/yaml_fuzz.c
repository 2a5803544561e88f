/* yaml_fuzz.c — any bytes as a YAML file: what is accepted must come out as valid JSON. */
#include "fuzz.h"

#include "format/yaml.h"

static void check_document(const struct yaml_source *doc)
{
    AUTO(arena_done) struct arena a;
    AUTO(buf_done) struct buf out;
    arena_init(&a, MIB(32));
    buf_init(&out, MIB(4));
    const struct yaml_node *root = NULL;
    struct error err = { 0 };
    int r = yaml_parse(&a, doc, &root, &err);
    FUZZ_CHECK(!r || r == -INVALID || r == -EXHAUSTED);
    FUZZ_CHECK(!r || (!root && str_starts(str_c(err.text), S("fuzz.yaml:"))));
    if (r)
        return;
    struct json_w w;
    struct json v;
    json_w_init(&w, &out, 0);
    yaml_to_json(root, &w);
    FUZZ_CHECK(!buf_ok(&out) || !json_parse(buf_str(&out), &v, NULL));
    int64_t i;
    double d;
    for (size_t k = 0; root && root->type == YAML_MAP && k < root->n; k++) {
        const struct yaml_node *value = yaml_get(root, root->pair[k].key->text);
        FUZZ_CHECK(value == root->pair[k].value);
        FUZZ_CHECK(yaml_text(value, S("")).p);
        FUZZ_CHECK(value->line >= doc->line);
        if (yaml_i64(value, &i))
            FUZZ_CHECK(yaml_double(value, &d));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_split s = yaml_split(str_of(data, size), "fuzz.yaml");
    struct yaml_source doc;
    while (yaml_split_next(&s, &doc))
        check_document(&doc);
    return 0;
}
