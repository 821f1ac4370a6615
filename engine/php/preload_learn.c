/* Which files do nearly all requests include that declare a class which an autoloader was asked for, and do
 * nothing else?
 *
 * For as long as it takes, every file that PHP compiles, or takes from OPcache, is looked at and counted.
 * - One class: of two, OPcache might preload the one and not the other, and nobody would load the file for
 *   the other any more.
 * - An autoloader's: a file that is included in any case would fail where another file has its class, as
 * after a deployment into another folder. Functions always would. */
#include "engine/php/preload.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "zend_compile.h"

#include "engine/base/buf.h"
#include "engine/base/log.h"
#include "engine/work/pool.h"

#define REQUESTS    200  /* are looked at */
#define PERCENT     80   /* of them include a file that is preloaded */
#define FILES_MAX   8192 /* that are counted */
#define SCRIPTS_MAX 16   /* whose links are looked at; with more it is no application of one front script */
#define FILES_LEAST 10   /* fewer are not worth a new process */
#define TEXT_MAX                                                                                             \
    (2u << 20) /* of files: what is longer is not handed on, and would be learned again and again */

struct seen {
    unsigned requests;
    uint64_t last; /* the request that was counted last */
    bool declares; /* and nothing else */
};

static zend_op_array *(*compile_of_php)(zend_file_handle *handle, int type); /* constant with threads */
static _Atomic bool learning;
static char *_Atomic learned; /* never freed */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static HashTable files, classes, scripts;   /* lock guards them: path => seen, name => seen, path */
static uint64_t requests;                   /* lock guards it, and numbers them */
static _Thread_local uint64_t this_request; /* 0: it has not included anything yet */

/* -- one file -- */

static bool only_declares(const zend_op_array *code)
{
    for (uint32_t i = 0; i < code->last; i++) {
        const zend_op *op = &code->opcodes[i];

        switch (op->opcode) {
        case ZEND_NOP:
        case ZEND_EXT_NOP:
        case ZEND_EXT_STMT:
        case ZEND_DECLARE_CLASS:
        case ZEND_DECLARE_CLASS_DELAYED: break;
        case ZEND_RETURN: {
            const zval *value = op->op1_type == IS_CONST ? RT_CONSTANT(op, op->op1) : NULL;

            if (i + 1 != code->last || !value || Z_TYPE_P(value) != IS_LONG || Z_LVAL_P(value) != 1) {
                return false; /* it ends early */
            }
            break;
        }
        default: return false;
        }
    }
    return true;
}

/* Of those that came with the file; -1: there is one that is declared under a condition. */
static int count_classes(uint32_t before, const zend_class_entry **class)
{
    int count = 0;

    for (uint32_t i = before; i < EG(class_table)->nNumUsed; i++) {
        const Bucket *b = &EG(class_table)->arData[i];
        const zend_class_entry *ce = Z_TYPE(b->val) == IS_PTR ? Z_PTR(b->val) : NULL;

        if (!ce || (ce->ce_flags & ZEND_ACC_ANON_CLASS)) {
            continue;
        }
        if (!(ce->ce_flags & ZEND_ACC_TOP_LEVEL)) {
            return -1;
        }
        *class = ce;
        count++;
    }
    return count;
}

/* An autoloader has been asked for exactly this class. */
static bool is_autoloaded(const zend_class_entry *class)
{
    bool is = false;

    if (EG(in_autoload)) {
        zend_string *name = zend_string_tolower(class->name);

        is = zend_hash_exists(EG(in_autoload), name);
        zend_string_release(name);
    }
    return is;
}

static bool can_be_preloaded(const zend_op_array *code, uint32_t classes_before, uint32_t functions_before,
                             const zend_class_entry **class)
{
    return count_classes(classes_before, class) == 1 && EG(function_table)->nNumUsed == functions_before &&
           is_autoloaded(*class) && ZSTR_LEN(code->filename) < PRELOAD_PATH_MAX &&
           ZSTR_VAL(code->filename)[0] == '/' && !strchr(ZSTR_VAL(code->filename), '\n') &&
           only_declares(code);
}

/* -- all of them; with the lock held -- */

/* So nothing of this asks for PHP's memory: a request that has none left goes by a long jump. */

static struct seen *seen_of(const zend_string *path)
{
    struct seen *s = zend_hash_str_find_ptr(&files, ZSTR_VAL(path), ZSTR_LEN(path));

    if (!s && zend_hash_num_elements(&files) < FILES_MAX && (s = calloc(1, sizeof *s)) != NULL) {
        s->declares = true;
        zend_hash_str_update_ptr(&files, ZSTR_VAL(path), ZSTR_LEN(path), s);
    }
    return s;
}

/* A class that two files declare is whichever the application chooses. */
static void note_class(const zend_string *name, struct seen *s)
{
    struct seen *first = zend_hash_str_find_ptr(&classes, ZSTR_VAL(name), ZSTR_LEN(name));

    if (!first) {
        zend_hash_str_update_ptr(&classes, ZSTR_VAL(name), ZSTR_LEN(name), s);
    } else if (first != s) {
        first->declares = s->declares = false;
    }
}

static void note_request(const struct request *r)
{
    this_request = ++requests;
    if (r->script && zend_hash_num_elements(&scripts) <= SCRIPTS_MAX) {
        zend_hash_str_add_empty_element(&scripts, r->script, strlen(r->script));
    }
}

static void note_file(const zend_string *path, bool good, const zend_string *class)
{
    struct seen *s = seen_of(path);

    if (!s) {
        return;
    }
    s->declares = s->declares && good;
    if (class) {
        note_class(class, s);
    }
    if (s->last != this_request) {
        s->last = this_request;
        s->requests++;
    }
}

static zend_op_array *compile(zend_file_handle *handle, int type)
{
    const struct request *r = php_thread ? php_thread->request : NULL;

    if (!atomic_load_explicit(&learning, memory_order_relaxed) || !r) {
        return compile_of_php(handle, type);
    }
    uint32_t classes_before = EG(class_table)->nNumUsed, functions_before = EG(function_table)->nNumUsed;
    zend_op_array *code = compile_of_php(handle, type);

    if (code && code->filename) {
        const zend_class_entry *class = NULL;
        bool good = can_be_preloaded(code, classes_before, functions_before, &class);
        zend_string *name = class ? zend_string_tolower(class->name) : NULL;

        pthread_mutex_lock(&lock);
        if (this_request == 0) {
            note_request(r);
        }
        note_file(code->filename, good, name);
        pthread_mutex_unlock(&lock);
        if (name) {
            zend_string_release(name);
        }
    }
    return code;
}

void preload_learn_start(void)
{
    zend_hash_init(&files, 1024, NULL, NULL, true);
    zend_hash_init(&classes, 1024, NULL, NULL, true);
    zend_hash_init(&scripts, SCRIPTS_MAX, NULL, NULL, true);
    compile_of_php = zend_compile_file;
    zend_compile_file = compile;
    learning = true;
}

void preload_learn_begin(void)
{
    this_request = 0;
}

/* -- the result; nobody learns any more -- */

static void append_file(struct buf *out, const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        buf_printf(out, "+F %lld %lld %lld %llu %s\n", (long long)st.st_mtim.tv_sec,
                   (long long)st.st_mtim.tv_nsec, (long long)st.st_size, (unsigned long long)st.st_ino, path);
    }
}

static void append_script(struct buf *out, const char *path)
{
    char *resolved = realpath(path, NULL);

    if (resolved && !strpbrk(path, "\t\n") && !strchr(resolved, '\n') && strlen(path) < PRELOAD_PATH_MAX) {
        buf_printf(out, "+L %s\t%s\n", path, resolved);
    }
    free(resolved);
}

static unsigned list_files(struct buf *out)
{
    unsigned count = 0;
    zend_string *path;
    const struct seen *s;

    ZEND_HASH_FOREACH_STR_KEY_PTR(&files, path, s)
    {
        if (path && s->declares && s->requests * 100ull >= requests * PERCENT && out->n < TEXT_MAX) {
            append_file(out, ZSTR_VAL(path));
            count++;
        }
    }
    ZEND_HASH_FOREACH_END();
    ZEND_HASH_FOREACH_STR_KEY(&scripts, path)
    {
        if (path) {
            append_script(out, ZSTR_VAL(path));
        }
    }
    ZEND_HASH_FOREACH_END();
    return count;
}

const char *preload_learned(void)
{
    return atomic_load(&learned);
}

void preload_learn_end(const struct php_thread *t)
{
    struct buf out = {0};
    unsigned count = 0;

    if (!atomic_load_explicit(&learning, memory_order_relaxed)) {
        return;
    }
    pthread_mutex_lock(&lock);
    if (learning && requests >= REQUESTS) {
        learning = false;
        count = zend_hash_num_elements(&scripts) <= SCRIPTS_MAX ? list_files(&out) : 0;
    }
    pthread_mutex_unlock(&lock);
    if (count < FILES_LEAST) {
        buf_free(&out);
        return;
    }
    buf_add(&out, "", 1);
    atomic_store(&learned, out.p);
    log_notice("preload = auto: %u files are in %d%% of the requests", count, PERCENT);
    pool_request_swap(t->request->pool, "the files that its requests have in common are to be preloaded");
}
