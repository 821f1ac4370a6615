/* The secrets of a pool that all its processes share (engine.h): made by the supervisor, so that a client's
 * TLS session outlives swaps, reloads and the choice between several processes; changed every few hours, and
 * each is known for that long before it is used. Supervisor's thread, but for pool_keys_read. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"
#include "engine/base/encoding.h"
#include "engine/base/log.h"
#include "engine/supervise/inherited.h"
#include "engine/supervise/pool_keys.h"
#include "engine/supervise/state.h"

#define ROTATE_US (4 * 3600 * CLOCK_US_PER_SECOND)

static void make(unsigned char key[POOL_KEY_BYTES])
{
    if (getrandom(key, POOL_KEY_BYTES, 0) != POOL_KEY_BYTES) {
        log_sys(LEVEL_ERROR, "no random bytes for a key of sessions");
    }
}

void pool_keys_make(struct pool_keys *keys)
{
    for (int i = 0; i < POOL_KEYS; i++) {
        make(keys->key[i]);
    }
}

void pool_keys_rotate(struct pool_keys *keys)
{
    memmove(keys->key[1], keys->key[0], (POOL_KEYS - 1) * POOL_KEY_BYTES);
    make(keys->key[0]);
}

void pool_keys_write(const struct pool_keys *keys, char out[POOL_KEYS_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = keys->key[0];
    for (size_t i = 0; i < sizeof(keys->key); i++) {
        out[2 * i] = digits[from[i] >> 4];
        out[2 * i + 1] = digits[from[i] & 15];
    }
    out[POOL_KEYS_TEXT - 1] = '\0';
}

bool pool_keys_read(struct pool_keys *keys, const char *text)
{
    unsigned char *out = keys->key[0];
    if (strlen(text) != POOL_KEYS_TEXT - 1) {
        return false;
    }
    for (size_t i = 0; i < sizeof(keys->key); i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

/* -- of the members -- */

void members_make_keys(struct supervisor *s)
{
    s->keys_us = inherited_keys_until();
    s->keys_us = s->keys_us ? s->keys_us : clock_us() + ROTATE_US;
    for (struct member *m = s->members; m; m = m->next) {
        char *text = inherited_keys(m->name);
        if (!text || !pool_keys_read(&m->keys, text)) {
            pool_keys_make(&m->keys);
        }
        if (text) {
            explicit_bzero(text, strlen(text));
            free(text);
        }
    }
}

static void tell(struct child *child)
{
    char text[POOL_KEYS_TEXT];
    pool_keys_write(&child->member->keys, text);
    if (child->channel >= 0) {
        channel_send(child->channel, CHANNEL_KEYS, 0, text, NULL, 0);
    }
    explicit_bzero(text, sizeof(text));
}

void members_rotate_keys(struct supervisor *s, uint64_t now)
{
    if (s->keys_us == 0 || now < s->keys_us) {
        return;
    }
    s->keys_us = now + ROTATE_US;
    for (struct member *m = s->members; m; m = m->next) {
        pool_keys_rotate(&m->keys);
    }
    for (struct child *c = s->children; c; c = c->next) {
        tell(c);
    }
}

void members_forget_keys(struct supervisor *s, const struct member *but)
{
    for (struct member *m = s->members; m; m = m->next) {
        if (m != but) {
            explicit_bzero(&m->keys, sizeof(m->keys));
        }
    }
}
