/* Paths of scripts, and the working directory that they start from.
 *
 * A worker's thread has a directory of its own in the kernel (unshare), so chdir() is real, and a path goes
 * to the kernel as the script says it. Where that is not to be had - the system call is forbidden, as in some
 * containers, or libphp does not leave its path functions to us - the directory is PHP's text, put in front
 * of what is relative. */
#ifndef ENGINE_PHP_PATHS_H
#define ENGINE_PHP_PATHS_H

#include "engine/php/thread.h"

#include "zend_virtual_cwd.h"

/* Main thread, before others exist. */
void paths_start(void);
/* Main thread, before a script runs: libphp's path functions are ours (interpose.h). */
void paths_are_answered(bool answered);
/* own: this thread shares its directory with no other. */
void paths_thread_start(bool own);

/* Before what comes before a script, and before the script is looked for: home again, if a relative name may
 * be said there. own_settings: the request has some. */
void paths_begin(bool own_settings);
/* Into the directory of a script before it runs, and out of it. *before is between the two PHP's memory. */
void paths_enter(const char *script, cwd_state *before);
void paths_leave(cwd_state *before);
/* After PHP's shutdown of a request, when its settings are undone. */
void paths_request_end(void);

/* chdir() and getcwd() of scripts. A buffer of NULL: PHP's memory. */
int paths_change(const char *directory);
char *paths_current(char *out, size_t size);
/* Whether it is worth asking: a script has called chdir() since the last time, or that was a second ago. */
bool paths_may_be_elsewhere(void);
/* realpath(), by way of PHP's cache; "" is the directory. A buffer of NULL: PHP's memory; else MAXPATHLEN. */
char *paths_canonical(const char *path, char *out);

/* The path as the kernel must get it: itself, or put together in `joined`. NULL with errno if it cannot be
 * one. */
const char *paths_place(const char *path, char joined[MAXPATHLEN]);
/* What PHP brought into canonical form, as the script said it: argument n of the function that runs. */
const char *paths_as_said(const char *function, uint32_t n, const char *canonical);
/* A pattern for glob(3) in which the directory that PHP put in front stands for itself. */
const char *paths_pattern(const char *pattern, int flags, char escaped[2 * MAXPATHLEN]);
/* Where a program that this thread starts must be put; NULL = it is there. */
const char *paths_virtual_directory(void);

#endif
