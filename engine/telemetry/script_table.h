/* Which scripts take long, and which have errors: a few rows on the board of each process, where the least
 * important one makes way for a new one. The process writes (one thread at a time), the supervisor reads
 * copies and adds them up (script_facts.h).
 *
 * Requests below SCRIPT_FAST_US are nobody's concern and cost nothing here. */
#ifndef ENGINE_TELEMETRY_SCRIPT_TABLE_H
#define ENGINE_TELEMETRY_SCRIPT_TABLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRIPT_ROWS    48
#define SCRIPT_FAST_US 1000

/* On the board. Texts are guarded by sequence, as those of slots. */
struct script_row {
    _Atomic uint32_t sequence; /* odd: the row is changing */
    uint32_t unused;
    _Atomic uint64_t requests, total_us, max_us, errors,
        seen_wall_us;                                     /* requests: those that were not fast */
    _Alignas(8) char script[256], uri[128], message[256]; /* uri: of the slowest; message: the last error's */
};
_Static_assert(sizeof(struct script_row) % 8 == 0, "rows are written in whole words");

struct script_table {
    pthread_mutex_t lock; /* guards names, next, and who writes rows */
    struct script_row *rows;
    char names[SCRIPT_ROWS][256]; /* "" = free; ours: what stands on the board is not believed */
};
void script_table_init(struct script_table *table, struct script_row *rows);
/* Worker's thread, at the end of a request that took so long. NULL texts are empty. */
void script_table_took(struct script_table *table, const char *script, const char *uri, uint64_t us);
/* Worker's thread: PHP reported an error. */
void script_table_failed(struct script_table *table, const char *script, const char *message);

#endif
