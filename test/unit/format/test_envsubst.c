#include "check.h"

#include "format/envsubst.h"

static str lookup(void *arg, str name)
{
    (*(int *)arg)++;
    if (str_eq(name, S("HOME")))
        return S("/home/x");
    if (str_eq(name, S("*")) || str_eq(name, S("1")) || str_eq(name, S("$")))
        return S("<special>");
    if (str_eq(name, S("odd name")))
        return S("<odd>");
    return (str){ 0 };
}

static void references_expand_as_in_go(void **state)
{
    static const struct {
        const char *text, *want;
    } row[] = {
        { "", "" },
        { "no variable", "no variable" },
        { "$HOME", "/home/x" },
        { "${HOME}", "/home/x" },
        { "a${HOME}b$HOME/c", "a/home/xb/home/x/c" },
        { "$HOMEX.", "." },
        { "${UNSET}", "" },
        { "$", "$" },
        { "cost: 5$", "cost: 5$" },
        { "$ {HOME}", "$ {HOME}" },
        { "$/x", "$/x" },
        { "$*$1$12", "<special><special><special>2" },
        { "$$HOME", "<special>HOME" },
        { "${*}", "<special>" },
        { "${}x", "x" },
        { "${HOME", "HOME" },
        { "${", "" },
        { "${odd name}", "<odd>" },
        { "\"${HOME}\":\n$HOME\n", "\"/home/x\":\n/home/x\n" },
        { "é$HOMEé", "é/home/xé" },
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        AUTO(buf_done) struct buf out;
        buf_init(&out, 1000);
        int calls = 0;
        envsubst(str_c(row[i].text), lookup, &calls, &out);
        check_str(buf_str(&out), str_c(row[i].want), row[i].text);
    }
}

static void values_are_not_expanded_again(void **state)
{
    AUTO(buf_done) struct buf out;
    buf_init(&out, 12);
    int calls = 0;
    envsubst(S("$HOME$HOME$HOME"), lookup, &calls, &out);
    assert_int_equal(calls, 3);
    assert_false(buf_ok(&out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_expand_as_in_go),
        cmocka_unit_test(values_are_not_expanded_again),
    };
    return cmocka_run_group_tests_name("envsubst", tests, NULL, NULL);
}
