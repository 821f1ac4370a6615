/* Content codings: which one a client gets, what is worth it, and one interface over the libraries (codec.h).
 * A compressor belongs to one response and one thread at a time; the rest is pure. */
#include <stdlib.h>

#include "http/content/codec.h"
#include "http/http_settings.h"

struct compressor {
    const struct codec *codec;
    void *state;
};

static const struct codec *const codecs[] = {
    [CODING_GZIP] = &gzip_codec,
    [CODING_BROTLI] = &brotli_codec,
    [CODING_ZSTD] = &zstd_codec,
};

const char *compress_name(enum coding coding)
{
    return coding == CODING_IDENTITY ? "identity" : codecs[coding]->name;
}

/* -- negotiation (RFC 9110 12.5.3) -- */

/* A q-value in thousandths; -1: malformed. */
static int read_weight(struct str text)
{
    if (text.n == 0 || text.n > 5 || (text.p[0] != '0' && text.p[0] != '1') ||
        (text.n > 1 && text.p[1] != '.')) {
        return -1;
    }
    int value = (text.p[0] - '0') * 1000, unit = 100;
    for (size_t i = 2; i < text.n; i++, unit /= 10) {
        if (text.p[i] < '0' || text.p[i] > '9') {
            return -1;
        }
        value += (text.p[i] - '0') * unit;
    }
    return value > 1000 ? -1 : value;
}

/* The weight among ";q=0.5" parameters; 1000 when there is none, 0 when it is malformed. */
static int weight_of(struct str parameters)
{
    struct str parameter;
    while (str_split(&parameters, ';', &parameter)) {
        parameter = str_trim(parameter);
        if (parameter.n >= 2 && (parameter.p[0] | 0x20) == 'q' && parameter.p[1] == '=') {
            int weight = read_weight((struct str){parameter.p + 2, parameter.n - 2});
            return weight < 0 ? 0 : weight;
        }
    }
    return 1000;
}

static int coding_of(struct str name)
{
    if (str_ieq(name, STR("br"))) {
        return CODING_BROTLI;
    }
    if (str_ieq(name, STR("gzip")) || str_ieq(name, STR("x-gzip"))) {
        return CODING_GZIP;
    }
    if (str_ieq(name, STR("zstd"))) {
        return CODING_ZSTD;
    }
    return str_ieq(name, STR("identity")) ? CODING_IDENTITY : -1;
}

void compress_weights(struct str accept, int weights[4])
{
    int others = -1;
    struct str item;
    for (size_t i = 0; i < CODING_COUNT; i++) {
        weights[i] = -1;
    }
    while (str_split(&accept, ',', &item)) {
        struct str name = STR_NONE;
        str_split(&item, ';', &name);
        name = str_trim(name);
        int weight = weight_of(item), coding = coding_of(name);
        if (coding >= 0) {
            weights[coding] = weight;
        } else if (str_eq(name, STR("*"))) {
            others = weight;
        }
    }
    for (size_t i = 0; i < CODING_COUNT; i++) {
        if (weights[i] < 0) {
            weights[i] = others >= 0 ? others : 0;
        }
    }
}

enum coding compress_negotiate(const struct http_settings *settings, struct str accept)
{
    static const enum coding order[] = {CODING_BROTLI, CODING_ZSTD, CODING_GZIP, CODING_IDENTITY};
    if (!settings->compression || accept.n == 0) {
        return CODING_IDENTITY;
    }
    int weights[CODING_COUNT];
    compress_weights(accept, weights);
    enum coding best = CODING_IDENTITY;
    int best_weight = 0;
    for (size_t i = 0; i < CODING_COUNT; i++) {
        if (weights[order[i]] > best_weight) {
            best = order[i];
            best_weight = weights[best];
        }
    }
    return best;
}

/* -- what is worth it -- */

/* A pattern is a whole type, or has a star for its beginning (any +json) or for its end (any text type). */
static bool type_fits(struct str type, struct str pattern)
{
    if (pattern.n > 1 && pattern.p[0] == '*') {
        struct str end = {pattern.p + 1, pattern.n - 1};
        return type.n >= end.n && str_ieq((struct str){type.p + type.n - end.n, end.n}, end);
    }
    if (pattern.n > 1 && pattern.p[pattern.n - 1] == '*') {
        struct str start = {pattern.p, pattern.n - 1};
        return type.n >= start.n && str_ieq((struct str){type.p, start.n}, start) &&
               !str_ieq(type, STR("text/event-stream"));
    }
    return str_ieq(type, pattern);
}

bool compress_wanted(const struct http_settings *settings, struct str content_type, int64_t size)
{
    static const char usual[] = "text/* application/json application/javascript application/xml *+json *+xml "
                                "application/wasm image/vnd.microsoft.icon image/bmp font/ttf font/otf "
                                "application/vnd.ms-fontobject application/yaml application/sql";
    if (!settings->compression || content_type.n == 0 || (size >= 0 && size < settings->compress_min)) {
        return false;
    }
    struct str type = STR_NONE, word;
    str_split(&content_type, ';', &type);
    type = str_trim(type);
    struct str list = str_of(settings->compress_types != NULL ? settings->compress_types : usual);
    while (str_word(&list, &word)) {
        if (type_fits(type, word)) {
            return true;
        }
    }
    return false;
}

int compress_level(const struct http_settings *settings, enum coding coding)
{
    switch (coding) {
    case CODING_BROTLI: return (int)settings->brotli_level;
    case CODING_ZSTD: return (int)settings->zstd_level;
    case CODING_GZIP: return (int)settings->gzip_level;
    case CODING_IDENTITY: break;
    }
    return 0;
}

/* -- streams -- */

struct compressor *compressor_create(enum coding coding, int level)
{
    if (coding == CODING_IDENTITY) {
        return NULL;
    }
    struct compressor *c = malloc(sizeof(*c));
    if (c == NULL) {
        return NULL;
    }
    c->codec = codecs[coding];
    c->state = c->codec->create(level);
    if (c->state == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

int compressor_run(struct compressor *c, const char *p, size_t n, enum compress_mode mode, struct buf *out)
{
    if (n == 0 && mode == COMPRESS_MORE) {
        return 0;
    }
    return c->codec->run(c->state, p, n, mode, out);
}

void compressor_destroy(struct compressor *c)
{
    if (c != NULL) {
        c->codec->destroy(c->state);
        free(c);
    }
}
