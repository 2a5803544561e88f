#include "cli/command.h"
#include "cli/console.h"

#include <unistd.h>

enum { OPTION_COLUMN = 34, SUMMARY_COLUMN = 14 };

struct paint {
    const char *bold, *dim, *off;
};

static struct paint paint_for(FILE *out)
{
    if (out == stdout && console_colour(STDOUT_FILENO))
        return (struct paint){ "\033[1m", "\033[2m", "\033[0m" };
    return (struct paint){ "", "", "" };
}

static void indented(FILE *out, const char *text)
{
    str rest = str_c(text), line;
    while (rest.n) {
        str_cut(rest, '\n', &line, &rest);
        fprintf(out, "%s" STR_FMT "\n", line.n ? "  " : "", STR_ARG(line));
    }
}

void help_overview(FILE *out)
{
    struct paint p = paint_for(out);
    fprintf(out, "proa %s: a distributed application runtime that speaks the Dapr API.\n\n",
            PROA_VERSION);
    fprintf(out, "%sUsage%s\n  proa <command> [options]\n\n%sCommands%s\n", p.bold, p.off, p.bold,
            p.off);
    fprintf(out, "  %-*s%s\n", SUMMARY_COLUMN, "sidecar",
            "Run one sidecar with daprd's flags (also: install the binary as 'daprd')");
    for (size_t i = 0; i < n_commands; i++)
        fprintf(out, "  %-*s%s\n", SUMMARY_COLUMN, commands[i]->name, commands[i]->summary);
    fprintf(out, "\n'proa <command> --help' tells more about one of them.\n");
}

static void help_option(FILE *out, const struct paint *p, const struct cli_option *o)
{
    char left[96];
    int n = o->letter ? snprintf(left, sizeof(left), "-%c, --%s", o->letter, o->name)
                      : snprintf(left, sizeof(left), "    --%s", o->name);
    if (o->value && n > 0 && (size_t)n < sizeof(left))
        snprintf(left + n, sizeof(left) - (size_t)n, " %s", o->value);
    fprintf(out, "  %-*s", OPTION_COLUMN, left);
    if (strlen(left) >= OPTION_COLUMN)
        fprintf(out, "\n  %-*s", OPTION_COLUMN, "");
    fputs(o->help, out);
    if (o->def && o->kind != OPTION_FLAG)
        fprintf(out, " %s(default %s)%s", p->dim, o->def, p->off);
    fputc('\n', out);
}

void help_command(FILE *out, const struct command *c)
{
    struct paint p = paint_for(out);
    fprintf(out, "%s\n\n%sUsage%s\n  proa %s%s%s%s\n\n", c->summary, p.bold, p.off, c->name,
            c->options.n ? " [options]" : "", *c->args ? " " : "", c->args);
    if (c->about) {
        indented(out, c->about);
        fputc('\n', out);
    }
    fprintf(out, "%sOptions%s\n", p.bold, p.off);
    for (size_t i = 0; i < c->options.n; i++)
        help_option(out, &p, &c->options.v[i]);
    fprintf(out, "  %-*s%s\n", OPTION_COLUMN, "-h, --help", "Print this");
    if (c->examples) {
        fprintf(out, "\n%sExamples%s\n", p.bold, p.off);
        indented(out, c->examples);
    }
    fprintf(out, "\n%sExit codes%s\n", p.bold, p.off);
    indented(out, "0  done, or stopped as asked\n1  it failed; the reason is on stderr\n"
                  "2  wrong usage");
    if (c->exits)
        indented(out, c->exits);
}
