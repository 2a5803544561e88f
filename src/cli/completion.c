#include "cli/command.h"

/* The scripts are complete in themselves: they hold what the tables say and start no proa. */

static void words(FILE *out, const char *const *list)
{
    for (size_t i = 0; list && list[i]; i++)
        fprintf(out, "%s%s", i ? " " : "", list[i]);
}

static void command_names(FILE *out)
{
    fputs("sidecar", out);
    for (size_t i = 0; i < n_commands; i++)
        fprintf(out, " %s", commands[i]->name);
}

/* ---- bash ---- */

static void bash_values(FILE *out, const struct cli_option *o)
{
    if (o->kind == OPTION_FLAG || o->bare)
        return;
    fprintf(out, "            --%s", o->name);
    if (o->letter)
        fprintf(out, "|-%c", o->letter);
    fputs(") ", out);
    if (o->choices) {
        fputs("COMPREPLY=($(compgen -W '", out);
        words(out, o->choices);
        fputs("' -- \"$cur\"))", out);
    } else if (o->hint != OPTION_PLAIN) {
        fprintf(out, "COMPREPLY=($(compgen -%c -- \"$cur\"))", o->hint == OPTION_DIR ? 'd' : 'f');
    } else {
        fputs("COMPREPLY=()", out);
    }
    fputs("; return;;\n", out);
}

static void bash_command(FILE *out, const struct command *c)
{
    fprintf(out, "    %s)\n        case \"$prev\" in\n", c->name);
    for (size_t i = 0; i < c->options.n; i++)
        bash_values(out, &c->options.v[i]);
    fputs("            --) ;;\n        esac\n        words='--help", out);
    for (size_t i = 0; i < c->options.n; i++)
        fprintf(out, " --%s", c->options.v[i].name);
    fputs("'\n        args='", out);
    words(out, c->words);
    fputs("';;\n", out);
}

static void bash(FILE *out)
{
    fputs(
        "# bash completion for proa; put it into ~/.local/share/bash-completion/completions/proa\n"
        "_proa() {\n"
        "    local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
        "    local words='' args=''\n"
        "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
        "        COMPREPLY=($(compgen -W '",
        out);
    command_names(out);
    fputs("' -- \"$cur\"))\n        return\n    fi\n    case \"${COMP_WORDS[1]}\" in\n", out);
    for (size_t i = 0; i < n_commands; i++)
        bash_command(out, commands[i]);
    fputs("    esac\n"
          "    case \"$cur\" in\n"
          "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"));;\n"
          "    *) COMPREPLY=($(compgen -W \"$args\" -- \"$cur\") $(compgen -f -- \"$cur\"));;\n"
          "    esac\n"
          "}\n"
          "complete -o filenames -F _proa proa\n",
          out);
}

/* ---- zsh ---- */

/* Single quotes end the word and brackets end the description in zsh's _arguments. */
static void zsh_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (*text == '[' || *text == ']' || *text == ':')
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

static void zsh_option(FILE *out, const struct cli_option *o)
{
    fprintf(out, "            '%s--%s%s[", o->kind == OPTION_LIST ? "*" : "", o->name,
            o->kind == OPTION_FLAG ? "" : "=");
    zsh_text(out, o->help);
    fputc(']', out);
    if (o->kind != OPTION_FLAG) {
        fprintf(out, "%s:%s:", o->bare ? ":" : "", o->value);
        if (o->choices) {
            fputc('(', out);
            words(out, o->choices);
            fputc(')', out);
        } else if (o->hint != OPTION_PLAIN) {
            fputs(o->hint == OPTION_DIR ? "_files -/" : "_files", out);
        }
    }
    fputs("' \\\n", out);
}

static void zsh(FILE *out)
{
    fputs("#compdef proa\n_proa() {\n    if (( CURRENT == 2 )); then\n        local -a all\n"
          "        all=('sidecar:Run one sidecar with the flags of daprd'\n",
          out);
    for (size_t i = 0; i < n_commands; i++) {
        fprintf(out, "             '%s:", commands[i]->name);
        zsh_text(out, commands[i]->summary);
        fputs("'\n", out);
    }
    fputs("        )\n        _describe command all\n        return\n    fi\n"
          "    local cmd=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $cmd in\n",
          out);
    for (size_t i = 0; i < n_commands; i++) {
        const struct command *c = commands[i];
        fprintf(out, "    %s)\n        _arguments \\\n", c->name);
        for (size_t k = 0; k < c->options.n; k++)
            zsh_option(out, &c->options.v[k]);
        fputs("            '--help[Print help]' \\\n            '*::word:", out);
        if (c->words) {
            fputc('(', out);
            words(out, c->words);
            fputc(')', out);
        } else {
            fputs("_files", out);
        }
        fputs("';;\n", out);
    }
    fputs("    esac\n}\n_proa \"$@\"\n", out);
}

/* ---- fish ---- */

static void fish_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void fish_option(FILE *out, const char *command, const struct cli_option *o)
{
    fprintf(out, "complete -c proa -n '__fish_seen_subcommand_from %s' -l %s", command, o->name);
    if (o->letter)
        fprintf(out, " -s %c", o->letter);
    if (o->choices) {
        fputs(" -xa '", out);
        words(out, o->choices);
        fputc('\'', out);
    } else if (o->kind != OPTION_FLAG && !o->bare) {
        fputs(o->hint == OPTION_PLAIN ? " -x" : " -rF", out);
    }
    fputs(" -d '", out);
    fish_text(out, o->help);
    fputs("'\n", out);
}

static void fish(FILE *out)
{
    fputs("# fish completion for proa; put it into ~/.config/fish/completions/proa.fish\n"
          "complete -c proa -n __fish_use_subcommand -fa sidecar -d 'Run one sidecar'\n",
          out);
    for (size_t i = 0; i < n_commands; i++) {
        const struct command *c = commands[i];
        fprintf(out, "complete -c proa -n __fish_use_subcommand -fa %s -d '", c->name);
        fish_text(out, c->summary);
        fputs("'\n", out);
        for (size_t k = 0; k < c->options.n; k++)
            fish_option(out, c->name, &c->options.v[k]);
        if (!c->words)
            continue;
        fprintf(out, "complete -c proa -n '__fish_seen_subcommand_from %s' -fa '", c->name);
        words(out, c->words);
        fputs("'\n", out);
    }
}

int completion_run(const void *options, const struct option_list *rest)
{
    static const struct {
        const char *name;
        void (*write)(FILE *out);
    } shell[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };
    for (size_t i = 0; i < COUNT(shell); i++) {
        if (strcmp(rest->v[0], shell[i].name) != 0)
            continue;
        shell[i].write(stdout);
        return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
    }
    fprintf(stderr, "proa completion: no script for '%s': use bash, zsh or fish\n", rest->v[0]);
    return EXIT_USAGE;
}
