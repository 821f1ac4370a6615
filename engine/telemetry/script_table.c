/* Rows of scripts. See the header. A lock that a crash has taken along is waited for only shortly: then the
 * table stands still, and nobody else does. */
#include "engine/telemetry/script_table.h"

#include <sched.h>
#include <string.h>

#include "engine/base/clock.h"

#define LOCK_TRIES 64
#define ERROR_US   (1 * CLOCK_US_PER_SECOND) /* what an error weighs against time */

void script_table_init(struct script_table *table, struct script_row *rows)
{
    memset(table, 0, sizeof(*table));
    pthread_mutex_init(&table->lock, NULL);
    table->rows = rows;
}

static bool enter(struct script_table *table)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (pthread_mutex_trylock(&table->lock) == 0) {
            return true;
        }
        sched_yield();
    }
    return false;
}

/* -- writing: lock held -- */

static uint64_t weight(const struct script_row *row)
{
    return atomic_load_explicit(&row->total_us, memory_order_relaxed) +
           atomic_load_explicit(&row->errors, memory_order_relaxed) * ERROR_US;
}

static void begin_change(struct script_row *row)
{
    atomic_fetch_add_explicit(&row->sequence, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

static void end_change(struct script_row *row)
{
    atomic_fetch_add_explicit(&row->sequence, 1, memory_order_release);
}

static void put_text(char *out, size_t size, const char *text)
{
    size_t n = text ? strnlen(text, size - 1) : 0;
    memcpy(out, text ? text : "", n);
    out[n] = '\0';
}

/* This script's row, or the least important one, emptied. */
static struct script_row *row_of(struct script_table *table, const char *script)
{
    char name[sizeof(table->names[0])];
    int least = 0;
    put_text(name, sizeof(name), script && *script ? script : "-");
    for (int i = 0; i < SCRIPT_ROWS; i++) {
        if (strcmp(table->names[i], name) == 0) {
            begin_change(&table->rows[i]);
            return &table->rows[i];
        }
        if (!table->names[i][0] ||
            (table->names[least][0] && weight(&table->rows[i]) < weight(&table->rows[least]))) {
            least = table->names[least][0] ? i : least;
        }
    }
    struct script_row *row = &table->rows[least];
    memcpy(table->names[least], name, sizeof(name));
    begin_change(row);
    atomic_store_explicit(&row->requests, 0, memory_order_relaxed);
    atomic_store_explicit(&row->total_us, 0, memory_order_relaxed);
    atomic_store_explicit(&row->max_us, 0, memory_order_relaxed);
    atomic_store_explicit(&row->errors, 0, memory_order_relaxed);
    put_text(row->script, sizeof(row->script), name);
    put_text(row->uri, sizeof(row->uri), "");
    put_text(row->message, sizeof(row->message), "");
    return row;
}

static void add(_Atomic uint64_t *number, uint64_t n)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void script_table_took(struct script_table *table, const char *script, const char *uri, uint64_t us)
{
    if (us < SCRIPT_FAST_US || !enter(table)) {
        return;
    }
    struct script_row *row = row_of(table, script);
    add(&row->requests, 1);
    add(&row->total_us, us);
    atomic_store_explicit(&row->seen_wall_us, clock_wall_us(), memory_order_relaxed);
    if (us > atomic_load_explicit(&row->max_us, memory_order_relaxed)) {
        atomic_store_explicit(&row->max_us, us, memory_order_relaxed);
        put_text(row->uri, sizeof(row->uri), uri);
    }
    end_change(row);
    pthread_mutex_unlock(&table->lock);
}

void script_table_failed(struct script_table *table, const char *script, const char *message)
{
    if (!enter(table)) {
        return;
    }
    struct script_row *row = row_of(table, script);
    add(&row->errors, 1);
    atomic_store_explicit(&row->seen_wall_us, clock_wall_us(), memory_order_relaxed);
    put_text(row->message, sizeof(row->message), message);
    end_change(row);
    pthread_mutex_unlock(&table->lock);
}
