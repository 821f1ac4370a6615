/* What rows of scripts on boards come to (script_table.h): the reader's copies, added up. */
#ifndef ENGINE_TELEMETRY_SCRIPT_FACTS_H
#define ENGINE_TELEMETRY_SCRIPT_FACTS_H

#include "engine/telemetry/view.h"

#define SCRIPT_FACTS 64

struct script_fact {
    uint64_t requests, total_us, max_us, errors, seen_wall_us;
    char script[256], uri[128], message[256];
};
struct script_facts {
    uint32_t count;
    struct script_fact facts[SCRIPT_FACTS];
};
/* Adds what a board says, held within bounds. */
void script_facts_add_board(struct script_facts *all, const struct board_source *from);
void script_facts_add(struct script_facts *all, const struct script_fact *fact);

#endif
