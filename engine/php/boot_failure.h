/* Why the worker script did not boot, kept for whoever works on it (`tokiophp serve`): its requests are
 * answered with a page that says so, or with the page that the script made of it itself. All on the thread
 * that holds the script; nothing is kept where errors are not shown. */
#ifndef ENGINE_PHP_BOOT_FAILURE_H
#define ENGINE_PHP_BOOT_FAILURE_H

#include <stdbool.h>
#include <stddef.h>

struct boot_failure;
struct fatal_facts;
struct php_thread;
struct request;

/* A boot begins; frees what was kept of the one before. shown: errors are, here. */
void boot_failure_begin(struct php_thread *t, bool shown);
void boot_failure_note(struct php_thread *t,
                       const struct fatal_facts *facts);               /* copied; a second one is dropped */
void boot_failure_said(struct php_thread *t, const char *p, size_t n); /* the script's output */
/* The boot has failed, and nothing may have been noted: why, in one line. True: it can be shown. */
bool boot_failure_end(struct php_thread *t, const char *why);
void boot_failure_free(struct php_thread *t); /* it has booted, or the thread ends */
void boot_failure_answer(const struct php_thread *t, struct request *r);

#endif
