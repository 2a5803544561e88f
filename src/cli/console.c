#include "cli/console.h"

#include <stdlib.h>
#include <unistd.h>

bool console_is_terminal(int fd)
{
    return isatty(fd) == 1;
}

bool console_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if (no_color && *no_color)
        return false;
    return console_is_terminal(fd) && term && strcmp(term, "dumb") != 0;
}

void console_error(const char *command, const struct error *err)
{
    bool colour = console_colour(STDERR_FILENO);
    fprintf(stderr, "%sproa%s%s:%s %s\n", colour ? "\033[31m" : "", command ? " " : "",
            command ? command : "", colour ? "\033[0m" : "", err->text);
}

void console_usage_error(const char *command, const struct error *err)
{
    console_error(command, err);
    fprintf(stderr, "Try 'proa%s%s --help'.\n", command ? " " : "", command ? command : "");
}
