/* Every symbol of libc and libphp that this program answers instead, and nothing else. The dynamic linker
 * looks at the program first, so libphp, its extensions and their libraries call these; interpose.list makes
 * them visible, interpose_check.c looks whether it is so. What stands here is the name and its reason; what
 * is done is done in the file that is called.
 *
 * Any thread, also before main(), and after a fork. */
#include <dlfcn.h>
#include <fcntl.h>
#include <glob.h>
#include <libintl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>
#include <wchar.h>

#include "engine/php/caller.h"
#include "engine/php/children.h"
#include "engine/php/env.h"
#include "engine/php/hygiene.h"
#include "engine/php/local_time.h"
#include "engine/php/opcache_lock.h"
#include "engine/php/paths.h"
#include "engine/php/process_id.h"
#include "engine/php/program.h"
#include "engine/php/record_locks.h"
#include "engine/php/shared_tables.h"
#include "engine/php/system_messages.h"
#include "engine/php/translations.h"
#include "engine/php/usage.h"

#include "engine/work/worker_output.h"

/* libc's own function. It is looked up at its first use, which may be before any constructor has run. */
#define REAL(name)                                                                                           \
    ({                                                                                                       \
        static _Atomic(void *) found_;                                                                       \
        void *real_ = atomic_load_explicit(&found_, memory_order_relaxed);                                   \
        if (!real_) {                                                                                        \
            real_ = dlsym(RTLD_NEXT, #name);                                                                 \
            atomic_store_explicit(&found_, real_, memory_order_relaxed);                                     \
        }                                                                                                    \
        (__typeof__(&name))real_;                                                                            \
    })

#if !__GLIBC_PREREQ(2, 35)
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);
int posix_spawn_file_actions_addtcsetpgrp_np(posix_spawn_file_actions_t *actions, int fd);
#endif

/* -- programs: libc's would inherit our signal mask, and what other requests have open -- */

FILE *popen(const char *command, const char *mode)
{
    return program_popen(command, mode);
}

int pclose(FILE *stream)
{
    return program_pclose(stream, REAL(pclose));
}

int system(const char *command)
{
    return program_system(command);
}

int posix_spawn(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    return program_start(pid, &(struct program_order){file, false, argv, envp, actions, attributes});
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    return program_start(pid, &(struct program_order){file, true, argv, envp, actions, attributes});
}

int posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions)
{
    program_actions_init(actions);
    return 0;
}

int posix_spawn_file_actions_destroy(posix_spawn_file_actions_t *actions)
{
    program_actions_destroy(actions);
    return 0;
}

int posix_spawn_file_actions_addclose(posix_spawn_file_actions_t *actions, int fd)
{
    return program_actions_add(actions, &(struct program_action){.kind = PROGRAM_CLOSE, .fd = fd});
}

int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from)
{
    return program_actions_add(actions, &(struct program_action){.kind = PROGRAM_CLOSE_FROM, .fd = from});
}

int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int target)
{
    return program_actions_add(actions,
                               &(struct program_action){.kind = PROGRAM_DUP, .fd = fd, .target = target});
}

int posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int fd, const char *path, int flags,
                                     mode_t mode)
{
    return program_actions_add(
        actions,
        &(struct program_action){
            .kind = PROGRAM_OPEN, .fd = fd, .flags = flags, .mode = mode, .path = (char *)(uintptr_t)path});
}

int posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions, const char *path)
{
    return program_actions_add(
        actions, &(struct program_action){.kind = PROGRAM_CHDIR, .path = (char *)(uintptr_t)path});
}

int posix_spawn_file_actions_addfchdir_np(posix_spawn_file_actions_t *actions, int fd)
{
    return program_actions_add(actions, &(struct program_action){.kind = PROGRAM_FCHDIR, .fd = fd});
}

int posix_spawn_file_actions_addtcsetpgrp_np(posix_spawn_file_actions_t *actions, int fd)
{
    return program_actions_add(actions, &(struct program_action){.kind = PROGRAM_TERMINAL, .fd = fd});
}

pid_t fork(void)
{
    return program_fork(REAL(fork));
}

/* A child that shares our memory cannot be set up and then return to its caller. */
pid_t vfork(void)
{
    return program_fork(REAL(fork));
}

/* -- what is left of programs: nobody would wait for it as long as the process lives -- */

pid_t waitpid(pid_t pid, int *status, int options)
{
    return children_wait(pid, status, options, REAL(waitpid));
}

/* -- extensions and what they bring: PHP before 8.3 would have them look at this program last -- */

void *dlopen(const char *file, int mode)
{
    return REAL(dlopen)(file, mode & ~RTLD_DEEPBIND);
}

/* -- the environment: libcurl, libpq, libgd and PHP see what the request has set -- */

char *getenv(const char *name)
{
    return env_find(name);
}

char *secure_getenv(const char *name)
{
    return getauxval(AT_SECURE) ? NULL : env_find(name);
}

/* -- the time zone: libc's is the process's, and a request may have set TZ -- */

/* Evaluates `call` in the zone of whoever calls. */
#define IN_ZONE(call)                                                                                        \
    bool lent = local_time_begin(__builtin_return_address(0));                                               \
    __typeof__(call) result_ = call;                                                                         \
    local_time_end(lent);                                                                                    \
    return result_

struct tm *localtime_r(const time_t *when, struct tm *out)
{
    IN_ZONE(REAL(localtime_r)(when, out));
}

struct tm *localtime(const time_t *when)
{
    IN_ZONE(REAL(localtime_r)(when, local_time_result()));
}

time_t mktime(struct tm *when)
{
    IN_ZONE(REAL(mktime)(when));
}

/* -- the directory: PHP would put paths in order itself, and find other files than the kernel -- */

/* Evaluates `call` with `at` as the path for the kernel. */
#define PLACED(path, failure, call)                                                                          \
    char joined_[MAXPATHLEN];                                                                                \
    const char *at = paths_place(path, joined_);                                                             \
    return at ? call : failure

int virtual_stat(const char *path, zend_stat_t *out)
{
    PLACED(path, -1, stat(at, out));
}

int virtual_lstat(const char *path, zend_stat_t *out)
{
    PLACED(path, -1, lstat(at, out));
}

/* Where PHP's realpath() has just put what it found. A thread-safe PHP asks the kernel for it once more, also
 * where the cache of names has answered: a system call for each name, which php-fpm does without. */
static _Thread_local const char *canonical;

int virtual_access(const char *path, int mode)
{
    if (path == canonical && mode == F_OK && caller_argument("realpath", 1)) {
        return 0;
    }
    PLACED(path, -1, access(at, mode));
}

int virtual_open(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    char own[WORKER_OUTPUT_PATH]; /* error_log = /dev/stderr */

    PLACED(path, -1, open(php_thread ? worker_output_path(php_thread->worker, at, own) : at, flags, mode));
}

int virtual_creat(const char *path, mode_t mode)
{
    PLACED(path, -1, creat(at, mode));
}

FILE *virtual_fopen(const char *path, const char *mode)
{
    PLACED(path, NULL, fopen(at, mode));
}

DIR *virtual_opendir(const char *path)
{
    PLACED(path, NULL, opendir(at));
}

int virtual_unlink(const char *path)
{
    PLACED(path, -1, unlink(at));
}

int virtual_mkdir(const char *path, mode_t mode)
{
    PLACED(path, -1, mkdir(at, mode));
}

int virtual_rmdir(const char *path)
{
    PLACED(path, -1, rmdir(at));
}

int virtual_utime(const char *path, struct utimbuf *when)
{
    PLACED(path, -1, utime(at, when));
}

int virtual_chmod(const char *path, mode_t mode)
{
    PLACED(path, -1, chmod(at, mode));
}

int virtual_chown(const char *path, uid_t owner, gid_t group, int of_link)
{
    PLACED(path, -1, of_link ? lchown(at, owner, group) : chown(at, owner, group));
}

int virtual_rename(const char *from, const char *to)
{
    char joined_from[MAXPATHLEN];
    const char *placed_from = paths_place(from, joined_from);

    PLACED(to, -1, placed_from ? rename(placed_from, at) : -1);
}

/* ext/gd only asks whether there is a result, for what may be a name to look for in GDFONTPATH; without
 * threads it does not ask. */
char *virtual_realpath(const char *path, char *out)
{
    char *found = paths_canonical(path, out);

    canonical = found;
    return found || !caller_is_of("gd") ? found : (char *)(uintptr_t)path;
}

char *tsrm_realpath(const char *path, char *out)
{
    return paths_canonical(path, out);
}

int virtual_chdir(const char *path)
{
    return paths_change(path);
}

char *virtual_getcwd(char *out, size_t size)
{
    return paths_current(out, size);
}

/* PHP's link() follows links first, where threads share a directory. */
int link(const char *from, const char *to)
{
    return REAL(link)(paths_as_said("link", 1, from), paths_as_said("link", 2, to));
}

/* There it also puts the directory in front of a pattern, special characters and all. */
int glob(const char *pattern, int flags, int (*on_error)(const char *path, int error), glob_t *out)
{
    char escaped[2 * MAXPATHLEN];

    return REAL(glob)(paths_pattern(pattern, flags, escaped), flags, on_error, out);
}

/* PHP's puts "cd DIRECTORY ;" in front of the command. */
FILE *virtual_popen(const char *command, const char *mode)
{
    return program_popen(command, mode);
}

/* -- characters: PHP with threads would begin in the middle of the one that another text broke off -- */

size_t mbrtowc(wchar_t *out, const char *text, size_t n, mbstate_t *state)
{
    hygiene_begin_character(state);
    return REAL(mbrtowc)(out, text, n, state);
}

/* -- time limits: PHP would arm a timer of the process for one request (timeout.c) -- */

void zend_set_timeout(zend_long seconds, bool reset_signals)
{
    (void)reset_signals;
    (void)seconds;
    zend_atomic_bool_store_ex(&EG(timed_out), false);
}

void zend_unset_timeout(void)
{
    zend_atomic_bool_store_ex(&EG(timed_out), false);
}

/* -- the tables of a new thread: PHP would copy what is the same in all -- */

void zend_hash_copy(HashTable *target, HashTable *source, copy_ctor_func_t copied)
{
    shared_tables_copy(target, source, copied, REAL(zend_hash_copy));
}

/* -- messages to the system's log: libc has one name and facility for the process -- */

void openlog(const char *name, int options, int facility)
{
    system_messages_open(name, options, facility);
}

void closelog(void)
{
    system_messages_close();
}

void vsyslog(int priority, const char *format, va_list arguments)
{
    system_messages_write(priority, format, arguments);
}

void syslog(int priority, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    system_messages_write(priority, format, arguments);
    va_end(arguments);
}

/* -- translations: libintl has one domain, and one folder for each, in the process -- */

#undef gettext
#undef dgettext
#undef ngettext
#undef dngettext

char *textdomain(const char *domain)
{
    return translations_are_scripts() ? translations_domain(domain) : REAL(textdomain)(domain);
}

char *bindtextdomain(const char *domain, const char *folder)
{
    return translations_are_scripts() ? translations_folder(domain, folder)
                                      : REAL(bindtextdomain)(domain, folder);
}

char *bind_textdomain_codeset(const char *domain, const char *encoding)
{
    return translations_are_scripts() ? translations_encoding(domain, encoding)
                                      : REAL(bind_textdomain_codeset)(domain, encoding);
}

char *dcgettext(const char *domain, const char *text, int category)
{
    return REAL(dcgettext)(translations_are_scripts() ? translations_known_as(domain) : domain, text,
                           category);
}

char *dcngettext(const char *domain, const char *one, const char *many, unsigned long n, int category)
{
    return REAL(dcngettext)(translations_are_scripts() ? translations_known_as(domain) : domain, one, many, n,
                            category);
}

/* What a compiler makes of these depends on its options. */
char *gettext(const char *text)
{
    return dcgettext(NULL, text, LC_MESSAGES);
}

char *dgettext(const char *domain, const char *text)
{
    return dcgettext(domain, text, LC_MESSAGES);
}

char *ngettext(const char *one, const char *many, unsigned long n)
{
    return dcngettext(NULL, one, many, n, LC_MESSAGES);
}

char *dngettext(const char *domain, const char *one, const char *many, unsigned long n)
{
    return dcngettext(domain, one, many, n, LC_MESSAGES);
}

/* -- PHP asks at the end of each request -- */

pid_t getpid(void)
{
    return process_id();
}

/* -- processor time: a script asks for its own -- */

int getrusage(__rusage_who_t who, struct rusage *out)
{
    return REAL(getrusage)(usage_whose(who), out);
}

clock_t times(struct tms *out)
{
    clock_t ticks = REAL(times)(out);

    usage_of_thread(out);
    return ticks;
}

/* -- locks of records: OPcache's lock of a user, taken and given back by each request, and everybody's -- */

int fcntl(int fd, int command, ...)
{
    va_list arguments;

    va_start(arguments, command);
    void *argument = va_arg(arguments, void *); /* an int argument arrives in the same register */
    va_end(arguments);
    return opcache_lock_answers(fd, command, argument)
               ? 0
               : record_locks_fcntl(fd, command, argument, REAL(fcntl));
}

/* What is compiled for large files calls it so: SQLite. */
int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

int close(int fd)
{
    return record_locks_close(fd, REAL(close));
}

int fclose(FILE *stream)
{
    return record_locks_fclose(stream, REAL(fclose));
}
