/* libintl has one current domain, and one folder and encoding for each domain, in the whole process. A
 * request keeps its own here. libintl gets another name for each triple of domain, folder and encoding: as
 * the name becomes a part of a path, "./messages" and "././messages" are the same file for it, but two
 * domains.
 *
 * Names are never forgotten, as libintl forgets none; there are as many as sites bind folders. A request's
 * own tables are PHP's memory. */
#include "engine/php/translations.h"

#include <errno.h>
#include <libintl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/php/caller.h"

#define NAMES_MAX 1000 /* beyond, requests share libintl's own */

/* -- names for libintl -- */

struct name {
    struct name *next;
    const char *domain, *folder, *encoding; /* encoding: NULL = the locale's */
    char as[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards names */
static struct name *names;
static unsigned names_count;

/* Our own calls are for libintl itself. Volatile: libintl.h says (leaf) that its functions do not come back
 * to this file, and they do, by interpose.c. */
static _Thread_local volatile bool asks_libintl;

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static struct name *name_anew(const char *domain, const char *folder, const char *encoding)
{
    unsigned twins = 1;

    for (const struct name *n = names; n; n = n->next) {
        twins += strcmp(n->domain, domain) == 0;
    }
    size_t domain_n = strlen(domain) + 1;
    struct name *made = names_count < NAMES_MAX ? malloc(sizeof *made + 2 * twins + domain_n) : NULL;

    if (!made) {
        return NULL;
    }
    for (unsigned i = 0; i < twins; i++) {
        memcpy(made->as + 2 * i, "./", 2);
    }
    memcpy(made->as + 2 * twins, domain, domain_n);
    made->domain = made->as + 2 * twins;
    made->folder = strdup(folder);
    made->encoding = encoding ? strdup(encoding) : NULL;
    asks_libintl = true;
    bindtextdomain(made->as, folder);
    if (encoding) {
        bind_textdomain_codeset(made->as, encoding);
    }
    asks_libintl = false;
    made->next = names;
    names = made;
    names_count++;
    return made;
}

static const char *name_of(const char *domain, const char *folder, const char *encoding)
{
    const struct name *n;

    pthread_mutex_lock(&lock);
    for (n = names; n; n = n->next) {
        if (strcmp(n->domain, domain) == 0 && same(n->folder, folder) && same(n->encoding, encoding)) {
            break;
        }
    }
    if (!n) {
        n = name_anew(domain, folder, encoding);
    }
    pthread_mutex_unlock(&lock);
    return n ? n->as : domain;
}

/* -- the request's -- */

struct binding {
    zend_string *folder, *encoding; /* NULL = libintl's own */
    const char *as;                 /* NULL = not asked for since the last change */
};

struct choice {
    zend_string *domain; /* NULL = "messages" */
    HashTable *bindings; /* domain => struct binding; NULL = none */
};
static _Thread_local struct choice own, kept;
static _Thread_local bool is_changed; /* own, since it was kept or put back */

bool translations_are_scripts(void)
{
    return !asks_libintl && caller_is_of("gettext");
}

static const char *current_domain(void)
{
    return own.domain ? ZSTR_VAL(own.domain) : "messages";
}

static void free_binding(zval *place)
{
    struct binding *b = Z_PTR_P(place);

    if (b->folder) {
        zend_string_release(b->folder);
    }
    if (b->encoding) {
        zend_string_release(b->encoding);
    }
    efree(b);
}

static struct binding *find(const char *domain)
{
    return own.bindings ? zend_hash_str_find_ptr(own.bindings, domain, strlen(domain)) : NULL;
}

static struct binding *find_or_add(const char *domain)
{
    struct binding *b = find(domain);

    is_changed = true;
    if (b) {
        return b;
    }
    if (!own.bindings) {
        ALLOC_HASHTABLE(own.bindings);
        zend_hash_init(own.bindings, 8, NULL, free_binding, 0);
    }
    b = ecalloc(1, sizeof *b);
    zend_hash_str_add_new_ptr(own.bindings, domain, strlen(domain), b);
    return b;
}

static void set(zend_string **field, const char *value)
{
    if (*field) {
        zend_string_release(*field);
    }
    *field = zend_string_init(value, strlen(value), 0);
}

/* "" resets to the default, as there. */
char *translations_domain(const char *domain)
{
    if (domain) {
        set(&own.domain, *domain ? domain : "messages");
        is_changed = true;
    }
    return (char *)(uintptr_t)current_domain();
}

char *translations_folder(const char *domain, const char *folder)
{
    if (folder) {
        struct binding *b = find_or_add(domain);

        set(&b->folder, folder);
        b->as = NULL;
    }
    const struct binding *b = find(domain);

    if (b && b->folder) {
        return ZSTR_VAL(b->folder);
    }
    asks_libintl = true;
    char *its_own = bindtextdomain(domain, NULL);
    asks_libintl = false;
    return its_own;
}

char *translations_encoding(const char *domain, const char *encoding)
{
    if (encoding) {
        struct binding *b = find_or_add(domain);

        set(&b->encoding, encoding);
        b->as = NULL;
    }
    const struct binding *b = find(domain);

    return b && b->encoding ? ZSTR_VAL(b->encoding) : NULL;
}

const char *translations_known_as(const char *domain)
{
    const char *name = domain ? domain : current_domain();
    struct binding *b = find(name);

    if (!b) {
        return name;
    }
    if (!b->as) {
        b->as = name_of(name, translations_folder(name, NULL), b->encoding ? ZSTR_VAL(b->encoding) : NULL);
    }
    return b->as;
}

static void forget(struct choice *c)
{
    if (c->domain) {
        zend_string_release(c->domain);
        c->domain = NULL;
    }
    if (c->bindings) {
        zend_hash_destroy(c->bindings);
        FREE_HASHTABLE(c->bindings);
        c->bindings = NULL;
    }
}

static void copy_binding(zval *place)
{
    struct binding *b = emalloc(sizeof *b);

    *b = *(struct binding *)Z_PTR_P(place);
    if (b->folder) {
        zend_string_addref(b->folder);
    }
    if (b->encoding) {
        zend_string_addref(b->encoding);
    }
    ZVAL_PTR(place, b);
}

static void copy(struct choice *to, const struct choice *from)
{
    to->domain = from->domain ? zend_string_copy(from->domain) : NULL;
    if (from->bindings) {
        ALLOC_HASHTABLE(to->bindings);
        zend_hash_init(to->bindings, 8, NULL, free_binding, 0);
        zend_hash_copy(to->bindings, from->bindings, copy_binding);
    }
    is_changed = false;
}

void translations_keep(void)
{
    forget(&kept);
    copy(&kept, &own);
}

void translations_put_back(void)
{
    if (is_changed) {
        forget(&own);
        copy(&own, &kept);
    }
}

void translations_request_end(void)
{
    forget(&own);
    forget(&kept);
}
