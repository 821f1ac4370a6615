/* Whether what interpose.c defines is what is called. The dynamic linker has filled each object's table of
 * addresses, or will at the first call; this reads those tables of every object that was loaded. An object
 * that calls past us (linked with symbolic binding, loaded with RTLD_DEEPBIND) still works, but what it does
 * is the whole process's: the log says which. Main thread, at the start. */
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <glob.h>
#include <libintl.h>
#include <link.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "engine/base/log.h"
#include "engine/php/interpose.h"
#include "engine/php/thread.h"

#include "zend_virtual_cwd.h"

enum owner {
    LIBC,
    LIBPHP,
    LIBPHP_PATHS, /* one of those that the working directory depends on */
};

struct symbol {
    const char *name;
    enum owner owner;
    const void *ours;
};

#define SYMBOL(name, owner)                                                                                  \
    {                                                                                                        \
#name, owner, (const void *)(uintptr_t)(name)                                                        \
    }
#define PATH(name) SYMBOL(virtual_##name, LIBPHP_PATHS)

static const struct symbol symbols[] = {
    SYMBOL(popen, LIBC),
    SYMBOL(pclose, LIBC),
    SYMBOL(system, LIBC),
    SYMBOL(fork, LIBC),
    SYMBOL(vfork, LIBC),
    SYMBOL(posix_spawn, LIBC),
    SYMBOL(posix_spawnp, LIBC),
    SYMBOL(posix_spawn_file_actions_init, LIBC),
    SYMBOL(posix_spawn_file_actions_destroy, LIBC),
    SYMBOL(posix_spawn_file_actions_addclose, LIBC),
    SYMBOL(posix_spawn_file_actions_adddup2, LIBC),
    SYMBOL(posix_spawn_file_actions_addopen, LIBC),
    SYMBOL(posix_spawn_file_actions_addchdir_np, LIBC),
    SYMBOL(posix_spawn_file_actions_addfchdir_np, LIBC),
    SYMBOL(waitpid, LIBC),
    SYMBOL(dlopen, LIBC),
    SYMBOL(getenv, LIBC),
    SYMBOL(secure_getenv, LIBC),
    SYMBOL(openlog, LIBC),
    SYMBOL(closelog, LIBC),
    SYMBOL(syslog, LIBC),
    SYMBOL(vsyslog, LIBC),
    SYMBOL(textdomain, LIBC),
    SYMBOL(bindtextdomain, LIBC),
    SYMBOL(bind_textdomain_codeset, LIBC),
    SYMBOL(dcgettext, LIBC),
    SYMBOL(dcngettext, LIBC),
    SYMBOL(localtime, LIBC),
    SYMBOL(localtime_r, LIBC),
    SYMBOL(mktime, LIBC),
    SYMBOL(getpid, LIBC),
    SYMBOL(getrusage, LIBC),
    SYMBOL(times, LIBC),
    SYMBOL(link, LIBC),
    SYMBOL(glob, LIBC),
    SYMBOL(mbrtowc, LIBC),
    SYMBOL(fcntl, LIBC),
    SYMBOL(close, LIBC),
    SYMBOL(fclose, LIBC),
    SYMBOL(virtual_creat, LIBC),  /* libphp itself does not call it */
    SYMBOL(zend_hash_copy, LIBC), /* a libphp before recipe 5 calls its own; workers are larger then */
    SYMBOL(zend_set_timeout, LIBPHP),
    SYMBOL(zend_unset_timeout, LIBPHP),
    SYMBOL(tsrm_realpath, LIBPHP_PATHS),
    PATH(access),
    PATH(chdir),
    PATH(chmod),
    PATH(chown),
    PATH(fopen),
    PATH(getcwd),
    PATH(lstat),
    PATH(mkdir),
    PATH(open),
    PATH(opendir),
    PATH(popen),
    PATH(realpath),
    PATH(rename),
    PATH(rmdir),
    PATH(stat),
    PATH(unlink),
    PATH(utime),
};
#define SYMBOLS    (sizeof symbols / sizeof *symbols)
#define PLACES     256 /* sparse, for most names are none of them */
#define BEGINNINGS 4096
_Static_assert(SYMBOLS < PLACES / 2, "the table is sparse, and a number fits into a byte");

struct look {
    uintptr_t libphp;        /* where it was loaded */
    bool others;             /* all but it are looked into */
    bool called[SYMBOLS];    /* libphp leaves it to the dynamic linker */
    unsigned called_past_us; /* places */
};

/* -- one object's tables -- */

struct tables {
    uintptr_t base, low, high; /* where it was loaded, from where to where it reaches */
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Rela) * relocations[2];
    size_t count[2];
    size_t nameless; /* of the first table's; they come first */
};

/* glibc has put addresses in place of most of the offsets. */
static uintptr_t address_in(const struct tables *t, ElfW(Addr) value)
{
    return value < t->base ? t->base + value : value;
}

static bool read_dynamic(const struct dl_phdr_info *object, struct tables *t)
{
    const ElfW(Dyn) *entry = NULL;

    *t = (struct tables){.base = object->dlpi_addr, .low = UINTPTR_MAX};
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t from = t->base + part->p_vaddr;

        if (part->p_type == PT_DYNAMIC) {
            entry = (const void *)from;
        } else if (part->p_type == PT_LOAD) {
            t->low = from < t->low ? from : t->low;
            t->high = from + part->p_memsz > t->high ? from + part->p_memsz : t->high;
        }
    }
    for (; entry && entry->d_tag != DT_NULL; entry++) {
        switch (entry->d_tag) {
        case DT_SYMTAB: t->symbols = (const void *)address_in(t, entry->d_un.d_ptr); break;
        case DT_STRTAB: t->strings = (const void *)address_in(t, entry->d_un.d_ptr); break;
        case DT_RELA: t->relocations[0] = (const void *)address_in(t, entry->d_un.d_ptr); break;
        case DT_JMPREL: t->relocations[1] = (const void *)address_in(t, entry->d_un.d_ptr); break;
        case DT_RELASZ: t->count[0] = entry->d_un.d_val / sizeof(ElfW(Rela)); break;
        case DT_RELACOUNT: t->nameless = entry->d_un.d_val; break;
        case DT_PLTRELSZ: t->count[1] = entry->d_un.d_val / sizeof(ElfW(Rela)); break;
        default: break;
        }
    }
    return t->symbols && t->strings;
}

/* Some thirty thousand names are looked up in each process that starts, so most are told by their first two
 * letters, and the table asks for no more than length and ends of a name. Open addressing. */
static unsigned char places[PLACES]; /* number of a symbol, from 1; 0 = free */
static bool begins[BEGINNINGS];      /* one of ours does */

static size_t beginning_of(const char *name)
{
    return ((unsigned char)name[0] * 37u + (unsigned char)name[1]) % BEGINNINGS;
}

static size_t place_of(const char *name)
{
    size_t n = strlen(name);
    size_t place = (n * 37 + (unsigned char)name[0] * 5u + (unsigned char)name[n ? n - 1 : 0]) % PLACES;

    while (places[place] && strcmp(symbols[places[place] - 1].name, name) != 0) {
        place = (place + 1) % PLACES;
    }
    return place;
}

static void place_symbols(void)
{
    for (size_t i = 0; i < SYMBOLS; i++) {
        places[place_of(symbols[i].name)] = (unsigned char)(i + 1);
        begins[beginning_of(symbols[i].name)] = true;
    }
}

/* SYMBOLS = it is none of ours. */
static size_t find(const char *name)
{
    size_t number = begins[beginning_of(name)] ? places[place_of(name)] : 0;

    return number ? number - 1 : SYMBOLS;
}

#if __ELF_NATIVE_CLASS == 64
#define SYMBOL_OF(info) ELF64_R_SYM(info)
#else
#define SYMBOL_OF(info) ELF32_R_SYM(info)
#endif

/* An address inside of the object itself: it is looked up at the first call. */
static void look_at(const struct tables *t, const ElfW(Rela) * relocation, const char *object,
                    struct look *look)
{
    const ElfW(Sym) *symbol = &t->symbols[SYMBOL_OF(relocation->r_info)];
    size_t i = symbol->st_name ? find(t->strings + symbol->st_name) : SYMBOLS;

    if (i == SYMBOLS) {
        return;
    }
    uintptr_t place = *(const uintptr_t *)(t->base + relocation->r_offset);

    if (t->base == look->libphp) {
        look->called[i] = true;
    }
    if (place != (uintptr_t)symbols[i].ours && (place < t->low || place >= t->high)) {
        look->called_past_us++;
        log_warning("%s calls %s() past this server: what it does there is the whole process's", object,
                    symbols[i].name);
    }
}

/* libc itself, the dynamic linker and the sanitizers' libraries are what is called, not who calls. */
static bool is_below_us(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *file = slash ? slash + 1 : name;

    return strncmp(file, "libc.so", 7) == 0 || strncmp(file, "ld-", 3) == 0 ||
           strncmp(file, "linux-vdso", 10) == 0 || strstr(file, "san.so") != NULL;
}

static int look_into(struct dl_phdr_info *object, size_t size, void *context)
{
    const struct look *look = context;
    struct tables t;

    (void)size;
    if ((object->dlpi_addr == look->libphp) == look->others || !*object->dlpi_name ||
        is_below_us(object->dlpi_name) || !read_dynamic(object, &t)) {
        return 0;
    }
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = kind ? 0 : t.nameless; t.relocations[kind] && i < t.count[kind]; i++) {
            look_at(&t, &t.relocations[kind][i], object->dlpi_name, context);
        }
    }
    return 0;
}

/* -- all -- */

static uintptr_t base_of_libphp(void)
{
    Dl_info info;

    return dladdr((const void *)(uintptr_t)php_module_startup, &info) ? (uintptr_t)info.dli_fbase : 0;
}

static bool is_first(const struct symbol *s)
{
    const void *found = dlsym(RTLD_DEFAULT, s->name);

    if (found != s->ours) {
        log_warning("%s() of this server is not what extensions would call", s->name);
    }
    return found == s->ours;
}

void interpose_check_others(void)
{
    struct look look = {.libphp = base_of_libphp(), .others = true};

    dl_iterate_phdr(look_into, &look);
}

bool interpose_check(void)
{
    struct look look = {.libphp = base_of_libphp()};
    bool paths = true;

    place_symbols();
    dl_iterate_phdr(look_into, &look);
    for (size_t i = 0; i < SYMBOLS; i++) {
        bool bound = is_first(&symbols[i]) && (symbols[i].owner == LIBC || look.called[i]);

        if (symbols[i].owner == LIBPHP && !bound) {
            log_warning("libphp does not leave %s() to this server", symbols[i].name);
        }
        paths = paths && (bound || symbols[i].owner != LIBPHP_PATHS);
    }
    if (!paths) {
        log_warning("libphp does not leave its path functions to this server (packaging/php-zts/build makes "
                    "one that does): the working directory of scripts is not that of C libraries");
    }
    return paths;
}
