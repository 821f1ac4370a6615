/* Lifetimes of static files. See the header. */
#include "http/content/lifetime.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/pattern.h"
#include "http/http_settings.h"
#include "http/wire/path.h"

struct lifetimes {
    struct lifetime site; /* where no rule fits */
    size_t count;
    struct lifetime rules[]; /* file order */
};

static const char *const words[] = {"no-cache", NULL};
static const struct setting_row value_row = {.name = "http.cache",
                                             .type = SETTING_TIME,
                                             .words = words,
                                             .word_value = STATIC_NO_CACHE,
                                             .min = 0,
                                             .max = 31536000};

static int read_value(const char *value, int64_t *seconds, char *error, size_t size)
{
    return settings_set(&value_row, seconds, NULL, value, NULL, 0, error, size);
}

static struct lifetime make(struct str pattern, int64_t seconds)
{
    struct lifetime made = {.pattern = pattern, .seconds = seconds};
    int n = 0;
    if (seconds == STATIC_NO_CACHE) {
        n = snprintf(made.cache_control, sizeof(made.cache_control), "no-cache");
    } else if (seconds > 0) {
        n = snprintf(made.cache_control, sizeof(made.cache_control), "public, max-age=%lld",
                     (long long)seconds);
    }
    made.cache_control_n = (size_t)n;
    return made;
}

struct lifetimes *lifetimes_create(const struct http_settings *settings)
{
    size_t count = 0;
    char error[256];
    for (const struct setting_pair *pair = settings->cache; pair; pair = pair->next) {
        count++;
    }
    struct lifetimes *all = calloc(1, sizeof(*all) + count * sizeof(all->rules[0]));
    if (!all) {
        return NULL;
    }
    all->site = make(STR_NONE, settings->static_cache_ttl);
    for (const struct setting_pair *pair = settings->cache; pair; pair = pair->next) {
        int64_t seconds = 0;
        read_value(pair->value, &seconds, error, sizeof(error)); /* lifetimes_check() has refused bad ones */
        all->rules[all->count++] = make(str_of(pair->key), seconds);
    }
    return all;
}

void lifetimes_destroy(struct lifetimes *all)
{
    free(all);
}

const struct lifetime *lifetimes_find(const struct lifetimes *all, struct str raw)
{
    char path[PATH_TEXT_MAX + 1];
    int n = all->count > 0 ? path_text(raw, path) : 0;
    for (size_t i = 0; n > 0 && i < all->count; i++) {
        if (pattern_match(all->rules[i].pattern, (struct str){path, (size_t)n})) {
            return &all->rules[i];
        }
    }
    return &all->site;
}

int lifetimes_check(const struct http_settings *settings, char *error, size_t size)
{
    for (const struct setting_pair *pair = settings->cache; pair; pair = pair->next) {
        char why[128];
        int64_t seconds;
        const char *fault = pattern_fault(str_of(pair->key));
        if (!fault && read_value(pair->value, &seconds, why, sizeof(why)) != 0) {
            fault = why;
        }
        if (fault) {
            snprintf(error, size, "http.cache[%s] = %s: %s", pair->key, pair->value, fault);
            return -1;
        }
    }
    return 0;
}
