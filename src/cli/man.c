#include "cli/command.h"

/* proa(1) in man(7) macros; tools and tests compare docs/man/proa.1 with what this writes. */

/* A dash would become a hyphen that can't be pasted, a dot or quote at the start a macro. */
static void roff(FILE *out, const char *text)
{
    bool start = true;
    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\\')
            fputs("\\e", out);
        else
            fputc(*text, out);
        start = *text == '\n';
    }
}

static void line(FILE *out, const char *macro, const char *text)
{
    fputs(macro, out);
    roff(out, text);
    fputc('\n', out);
}

static void option(FILE *out, const struct cli_option *o)
{
    fputs(".TP\n\\fB", out);
    if (o->letter)
        fprintf(out, "\\-%c\\fR, \\fB", o->letter);
    fputs("\\-\\-", out);
    roff(out, o->name);
    fputs("\\fR", out);
    if (o->value)
        fprintf(out, " \\fI%s\\fR", o->value);
    fputc('\n', out);
    roff(out, o->help);
    fputs(".\n", out);
    if (o->def && o->kind != OPTION_FLAG) {
        fputs("Default: ", out);
        roff(out, o->def);
        fputs(".\n", out);
    }
    if (o->choices) {
        fputs("One of", out);
        for (size_t i = 0; o->choices[i]; i++)
            fprintf(out, "%s %s", i ? "," : "", o->choices[i]);
        fputs(".\n", out);
    }
}

static void verbatim(FILE *out, const char *text)
{
    fputs(".PP\n.nf\n", out);
    roff(out, text);
    fputs("\n.fi\n", out);
}

static void command(FILE *out, const struct command *c)
{
    fprintf(out, ".SS proa %s%s%s\n", c->name, *c->args ? " " : "", c->args);
    roff(out, c->summary);
    fputs(".\n", out);
    if (c->about)
        verbatim(out, c->about);
    for (size_t i = 0; i < c->options.n; i++)
        option(out, &c->options.v[i]);
    if (c->examples)
        verbatim(out, c->examples);
    if (c->exits) {
        fputs(".PP\nExit codes of its own:\n", out);
        verbatim(out, c->exits);
    }
}

int man_run(const void *options, const struct option_list *words)
{
    FILE *out = stdout;
    fputs(".TH PROA 1 \"\" \"proa " PROA_VERSION "\" \"User Commands\"\n.SH NAME\n", out);
    line(out, "proa ", "- distributed application runtime that speaks the Dapr API");
    fputs(".SH SYNOPSIS\n\\fBproa\\fR \\fIcommand\\fR [\\fIoptions\\fR]\n.SH COMMANDS\n", out);
    fputs(".SS proa sidecar\nRuns one sidecar with the flags of daprd.\n"
          "Installed under the name \\fBdaprd\\fR the binary does the same without a command.\n",
          out);
    for (size_t i = 0; i < n_commands; i++)
        command(out, commands[i]);
    fputs(".SH EXIT STATUS\n.TP\n0\nDone, or stopped as asked.\n.TP\n1\nIt failed; the reason is "
          "on standard error.\n.TP\n2\nWrong usage.\n.SH ENVIRONMENT\n",
          out);
    fputs(".TP\n\\fBNO_COLOR\\fR\nIf set and not empty, no colours.\n"
          ".TP\n\\fBXDG_RUNTIME_DIR\\fR\nWhere a run keeps its directory; else /tmp/proa\\-UID.\n"
          ".TP\n\\fBDAPR_API_TOKEN\\fR\nSent to sidecars, which then demand it.\n",
          out);
    return fflush(out) == 0 ? EXIT_OK : EXIT_FAILED;
}
