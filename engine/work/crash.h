/* Crashes of worker threads cost the request that crashed, not the process. */
#ifndef ENGINE_WORK_CRASH_H
#define ENGINE_WORK_CRASH_H

/* Installs the handlers of SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT. Main thread, after the executor
 * started (extensions may have installed their own) and before the first worker. */
void crash_install(void);
const char *crash_signal_name(int signal); /* "SIGSEGV"; "signal" for others */

#endif
