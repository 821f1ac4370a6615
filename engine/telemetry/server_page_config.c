/* The settings in effect as JSON, by the same rows that read them. What may be a secret is masked. Any
 * thread. */
#include "engine/base/settings_mask.h"
#include "engine/telemetry/server_page.h"

#define TEXT_MAX 8192

static void add_string(struct buf *out, const char *text)
{
    buf_text(out, "\"");
    buf_json(out, str_of(text));
    buf_text(out, "\"");
}

static void add_pairs(struct buf *out, const struct setting_row *row, const struct setting_pair *pair)
{
    bool first = true, named = row->type == SETTING_MAP;

    buf_text(out, named ? "{" : "[");
    for (; pair; pair = pair->next, first = false) {
        buf_text(out, first ? "" : ",");
        if (named) {
            add_string(out, pair->key ? pair->key : "");
            buf_text(out, ":");
        }
        add_string(out, settings_shown_pair(row, pair));
    }
    buf_text(out, named ? "}" : "]");
}

static void add_value(struct buf *out, const struct setting_row *row, const void *in)
{
    const void *field = (const char *)in + row->offset;
    char text[TEXT_MAX];

    switch (row->type) {
    case SETTING_MAP:
    case SETTING_LIST: add_pairs(out, row, *(struct setting_pair *const *)field); break;
    case SETTING_BOOL: buf_text(out, *(const bool *)field ? "true" : "false"); break;
    case SETTING_STRING:
    case SETTING_PATH:
        if (*(char *const *)field == NULL) {
            buf_text(out, "null");
            break;
        }
        add_string(out, settings_shown(row, in, text, sizeof(text)));
        break;
    default: add_string(out, settings_shown(row, in, text, sizeof(text)));
    }
}

static void add_table(struct buf *out, const struct setting_table *table, const void *in, bool first)
{
    for (size_t i = 0; i < table->count; i++, first = false) {
        buf_text(out, first ? "\n    " : ",\n    ");
        add_string(out, table->rows[i].name);
        buf_text(out, ": ");
        add_value(out, &table->rows[i], in);
    }
}

void server_page_config(const struct config *config, struct buf *out)
{
    buf_text(out, "{\n  \"version\": \"" TOKIOPHP_VERSION "\",\n  \"file\": ");
    if (config->path) {
        add_string(out, config->path);
    } else {
        buf_text(out, "null");
    }
    buf_text(out, ",\n  \"global\": {");
    add_table(out, &engine_global_table, &config->global, true);
    buf_text(out, "\n  },\n  \"pools\": {");
    for (const struct pool_conf *pool = config->pools; pool && !pool->tasks_of; pool = pool->next) {
        buf_text(out, pool == config->pools ? "\n   " : ",\n   ");
        add_string(out, pool->name);
        buf_text(out, ": {");
        add_table(out, &engine_pool_table, &pool->s, true);
        for (int i = 0; frontends[i]; i++) {
            if (frontends[i]->pool_table) {
                add_table(out, frontends[i]->pool_table, pool->frontend_settings[i], false);
            }
        }
        buf_text(out, "\n   }");
    }
    buf_text(out, "\n  }\n}\n");
}
