/* MUST(x): a check of our own logic, always on. Never used on anything that a peer can influence. */
#ifndef ENGINE_BASE_MUST_H
#define ENGINE_BASE_MUST_H

/* Prints "file:line: function: text" to stderr (async-signal-safe) and aborts. */
_Noreturn void must_fail(const char *file, int line, const char *function, const char *text);

#define MUST(x) ((x) ? (void)0 : must_fail(__FILE__, __LINE__, __func__, #x))

#endif
