/* What of the settings is shown to whoever asks a running server (`tokiophp ctl config`, /config), and what a
 * process forgets of pools that are not its own: environments, PHP's settings and tokens hold passwords. */
#ifndef ENGINE_BASE_SETTINGS_MASK_H
#define ENGINE_BASE_SETTINGS_MASK_H

#include "engine/base/settings.h"

#define SETTINGS_MASK "***"

/* A pair's value, or the mask. A MAP's values are shown where nobody keeps a secret: numbers, sizes and
 * switches whose names do not sound like one; of an open row all that neither their name nor a word in them
 * gives away (Authorization, "//user:word@host", "?token=..."). In a secret row all are masked. */
const char *settings_shown_pair(const struct setting_row *row, const struct setting_pair *pair);
/* As settings_text(), masked. Returns out. */
const char *settings_shown(const struct setting_row *row, const void *in, char *out, size_t size);
/* Overwrites all that is masked, in place. but_open: this process needs what open rows say, and it stays. Its
 * process's only thread. */
void settings_forget(const struct setting_table *table, void *in, bool but_open);

#endif
