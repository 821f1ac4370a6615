/* What a program that this process starts does not inherit. In the child of a fork, also one that has all
 * memory in common with its parent. Async-signal-safe. */
#ifndef ENGINE_BASE_AT_EXEC_H
#define ENGINE_BASE_AT_EXEC_H

#define AT_EXEC_FIRST 3 /* the first descriptor that nobody inherits without being told to */

/* All descriptors from there on are closed when it is executed: others may have opened them without saying
 * so.
 */
void at_exec_close_others(void);

#endif
