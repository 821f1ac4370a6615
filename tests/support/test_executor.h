/* An executor that does what the request's URI says, without PHP:
 *   /echo           answers the body        /sleep?MS     blocks in a system call; an interrupt ends it
 *   /spin           runs until interrupted  /stuck?MS     runs so long, whatever anyone says
 *   /nap?MS         one nanosleep; 503 if anything interrupts it
 *   /early?MS       finishes, then sleeps   /segv /bus /fpe /ill /abort /overflow   crash
 *   /crash-in-write dies inside the front end's write (io_lock held) */
#ifndef TESTS_SUPPORT_TEST_EXECUTOR_H
#define TESTS_SUPPORT_TEST_EXECUTOR_H

#include "engine/work/executor.h"

extern const struct executor test_executor;
extern _Atomic int test_threads;        /* threads that started and did not stop */
extern _Atomic int test_idles;          /* calls of idle */
extern _Atomic int test_interrupts[3];  /* by reason */
extern _Atomic int test_refuse_threads; /* so many of the next threads refuse to start */
extern _Atomic int test_refusal_ms;     /* what a refusal takes */

#endif
