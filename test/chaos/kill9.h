/* kill9.h — the two parts of the kill -9 test: who kills and checks (kill9.c), and the processes
 * that are killed (kill9_child.c). Owner:  none. Thread: main.   Failure: a child that can't begin
 * prints why and exits with 1. */
#pragma once

#include "base/str.h"

enum { KILL9_FD = 3, KILL9_VALUE = 600 }; /* lines "S id", "P id", "D id" go to this descriptor */

/* The value that is saved under an id, as text. */
void kill9_value(str id, char ret[KILL9_VALUE]);
int kill9_write(const char *dir);
int kill9_consume(const char *dir);
