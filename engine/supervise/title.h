/* The process's title as ps shows it. Main thread, before others exist. */
#ifndef ENGINE_SUPERVISE_TITLE_H
#define ENGINE_SUPERVISE_TITLE_H

/* Once, before the first title_set: takes the memory behind argv and environ over (the environment moves). */
void title_init(int argc, char **argv);
/* "program: text"; NULL: the program is the same as before, as in a process that this one has made. */
void title_set(const char *program, const char *text);

#endif
