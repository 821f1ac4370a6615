/* Settings are rows of tables; a table is owned by the folder whose behaviour it sets. The same rows read the
 * file, check it, print the reference (--print-settings) and the dump (-tt). Used on the supervisor's thread
 * before any other exists; read-only afterwards. */
#ifndef ENGINE_BASE_SETTINGS_H
#define ENGINE_BASE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum setting_type {
    SETTING_BOOL,   /* bool */
    SETTING_INT,    /* int64_t */
    SETTING_TIME,   /* int64_t seconds: N, Ns, Nm, Nh, Nd, Nw, Ny; "off" = 0 */
    SETTING_SIZE,   /* int64_t bytes: N, NK, NM, NG */
    SETTING_OCTAL,  /* int64_t */
    SETTING_STRING, /* char * (owned by the table's struct), NULL = unset */
    SETTING_PATH,   /* char *, as STRING; a relative one gets the pool's prefix (or the global one) */
    SETTING_WORD, /* int: index into words[]; without a default words[0] is "not set" and nobody may write it
                   */
    SETTING_LIST, /* struct setting_pair list: values of "name[] = v" (no keys) */
    SETTING_MAP,  /* struct setting_pair list: "name[key] = v" */
};

enum setting_scope { SCOPE_GLOBAL, SCOPE_POOL };

/* Whose setting counts, where several pools have a part in one request. What they mean is the table's owner's
 * to keep; here they are words for the reference. */
enum setting_owner {
    OWNER_POOL,     /* each pool's own: of its processes, or what it claims */
    OWNER_LISTENER, /* the pool's that has the address: nobody else is known yet */
    OWNER_HOST,     /* the pool's whose host is asked: no path is known yet */
    OWNER_SITE,     /* the pool's whose host or path is asked */
    OWNER_FILES,    /* the same, and goes with a document root */
};

struct setting_pair {
    struct setting_pair *next; /* file order */
    char *key;                 /* NULL in a LIST */
    char *value;
    const char *file; /* where it stood, for messages */
    int line;
};

struct setting_row {
    const char *name; /* as in the file */
    enum setting_type type;
    size_t offset;            /* of the field in the table's struct */
    const char *initial;      /* the default as text; NULL = unset (0, NULL, empty) */
    int64_t min, max;         /* numbers: inclusive bounds, unused when equal */
    const char *const *words; /* WORD: NULL-terminated; numbers: see word_value; SETTING_BOOL: unused */
    const char *help;         /* one line */
    const char *environment;  /* variable that sets it too (FEATURES: LISTEN_ADDR ...), or NULL */
    /* Other programs read that variable, too: a value that is none of ours is a warning, and the variable
     * alone starts no server. */
    bool environment_shared;
    bool secret; /* masked in /config and dumps */
    bool open;   /* a MAP that hardly holds a secret: shown but for what looks like one (settings_mask.h) */
    /* A key of php-fpm's that is a number, a time or a yes: read and refused as fpm_conf.c does it, which
     * takes what stands in front of a unit for a number (atoi); what is below min is min. */
    bool as_php_fpm;
    const char *refusal; /* php-fpm's sentence for a value that is none; NULL = ours */
    /* Further check: 0, or -1 with "expected ..." in error. May be NULL. */
    int (*check)(const char *value, char *error, size_t error_size);
    /* Accepted for php-fpm's sake but without effect here: the warning says why. NULL = it has effect. */
    const char *ignored_because;
    /* Note when this setting was really given (php-fpm's "pm.start_servers is not set"): bool field offset,
     * or 0. */
    size_t given_offset;
    enum setting_owner owner;
    bool reachable;     /* given, it makes the pool reachable: every pool needs one of these */
    int64_t word_value; /* INT, TIME, SIZE: what each of words[] ("auto", "unlimited") stands for */
};

struct setting_table {
    enum setting_scope scope;
    const struct setting_row *rows;
    size_t count;
    size_t struct_size; /* of the struct that the offsets point into; zeroed, then defaults are applied */
};

/* Fill a zeroed struct with the rows' defaults. */
void settings_apply_defaults(const struct setting_table *table, void *out);
/* One value. 0, or -1 and the reason ("expected a number from 1 to 65535") in error. key: for LIST and MAP
 * rows. */
int settings_set(const struct setting_row *row, void *out, const char *key, const char *value,
                 const char *file, int line, char *error, size_t error_size);
/* What php-fpm says of a value that settings_set() has refused, or NULL where it says nothing of its own. */
const char *settings_refusal(const struct setting_row *row, const char *value);
/* The value as text, as a dump prints it ("undefined" for an unset string); returns out. */
const char *settings_text(const struct setting_row *row, const void *in, char *out, size_t size);
const struct setting_row *settings_find(const struct setting_table *table, const char *name);
/* The known name nearest to a mistyped one over all tables, or NULL. */
const char *settings_nearest(const struct setting_table *const *tables, size_t count, const char *name);
void settings_free(const struct setting_table *table, void *in);
/* Was this row given, in a struct of its table's? False where the row has no given_offset. */
bool settings_given(const struct setting_row *row, const void *in);
bool settings_has_key(const struct setting_pair *pairs, const char *key); /* of a MAP */
/* The row's value in another struct of the same table; texts and pairs stay `from`'s. */
void settings_borrow(const struct setting_row *row, void *to, const void *from);
const char *settings_owner_name(enum setting_owner owner); /* "pool", "listener" ... */
/* php-fpm's and PHP's words for yes and no; 1, 0, or -1: neither. */
int settings_bool(const char *text);
/* What a value of this row must look like, for messages and the reference: "a number from 1 to 65535". */
const char *settings_expected(const struct setting_row *row, char *out, size_t size);

#endif
