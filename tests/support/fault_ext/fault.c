/* A PHP extension that breaks things, for tests/e2e/faults: every function is a bug that some real extension
 * has had. Runs on workers' threads; owns nothing, and leaks what it is told to leak. Built by
 * tests/support/fault_ext/build, loaded by the tests' own configuration, never installed. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "php.h"

/* -- signals that a CPU or the C library raises -- */

PHP_FUNCTION(fault_null)
{
    ZEND_PARSE_PARAMETERS_NONE();
    *(volatile int *)(uintptr_t)16 = 1;
}

/* Each frame is used after the call, so that no compiler makes a loop of it. */
static __attribute__((noinline)) int descend(volatile char *above, int depth)
{
    volatile char frame[1024];

    frame[0] = (char)(above[0] + depth);
    int below = descend(frame, depth + 1);

    return below + frame[0];
}

PHP_FUNCTION(fault_overflow)
{
    volatile char start[1] = {0};

    ZEND_PARSE_PARAMETERS_NONE();
    RETURN_LONG(descend(start, 0));
}

PHP_FUNCTION(fault_abort)
{
    ZEND_PARSE_PARAMETERS_NONE();
    abort();
}

PHP_FUNCTION(fault_fpe)
{
    volatile int many = 1000, zero = 0;

    ZEND_PARSE_PARAMETERS_NONE();
#if defined(__x86_64__) || defined(__i386__)
    RETURN_LONG(many / zero);
#else
    raise(many ? SIGFPE : zero); /* where a division by zero does not trap */
#endif
}

/* A page of a file that is not there any more. */
PHP_FUNCTION(fault_bus)
{
    ZEND_PARSE_PARAMETERS_NONE();
    int fd = memfd_create("bus", MFD_CLOEXEC);
    volatile char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    p[0] = 1;
}

PHP_FUNCTION(fault_ill)
{
    ZEND_PARSE_PARAMETERS_NONE();
    __builtin_trap();
}

/* -- the heap -- */

/* A free chunk that is overwritten: the next large malloc of this arena finds it, and ends in abort() with
 * the arena's lock held. */
PHP_FUNCTION(fault_heap)
{
    ZEND_PARSE_PARAMETERS_NONE();
    for (int i = 0; i < 16; i++) {
        char *volatile chunk = malloc(3000);
        void *volatile fence = malloc(3000); /* not merged with the top of the heap */

        free(chunk);
        memset(chunk, 0x41, 64);
        free(malloc(100000));
        (void)fence;
    }
}

/* free() of what was never allocated. */
PHP_FUNCTION(fault_free)
{
    char *volatile inside = (char *)malloc(256) + 8;

    ZEND_PARSE_PARAMETERS_NONE();
    free(inside);
}

/* Dies inside of OPcache's locked section; false where its lock cannot be reached from here. */
PHP_FUNCTION(fault_opcache_lock)
{
    ZEND_PARSE_PARAMETERS_NONE();
    void (*lock)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "zend_shared_alloc_lock");

    if (!lock) {
        RETURN_FALSE;
    }
    lock();
    *(volatile int *)(uintptr_t)16 = 1;
}

static pthread_mutex_t everybody = PTHREAD_MUTEX_INITIALIZER;

/* A library's lock that everybody takes: fault_lock(true) dies with it. */
PHP_FUNCTION(fault_lock)
{
    bool dies = false;

    ZEND_PARSE_PARAMETERS_START(0, 1)
    Z_PARAM_OPTIONAL
    Z_PARAM_BOOL(dies)
    ZEND_PARSE_PARAMETERS_END();
    pthread_mutex_lock(&everybody);
    if (dies) {
        *(volatile int *)(uintptr_t)16 = 1;
    }
    pthread_mutex_unlock(&everybody);
    RETURN_TRUE;
}

/* The same lock, kept until this thread dies. */
PHP_FUNCTION(fault_take)
{
    ZEND_PARSE_PARAMETERS_NONE();
    pthread_mutex_lock(&everybody);
}

PHP_FUNCTION(fault_leak)
{
    zend_long bytes;

    ZEND_PARSE_PARAMETERS_START(1, 1)
    Z_PARAM_LONG(bytes)
    ZEND_PARSE_PARAMETERS_END();
    char *lost = malloc((size_t)bytes);

    if (lost) {
        memset(lost, 1, (size_t)bytes);
        RETURN_LONG((zend_long)lost[bytes - 1]);
    }
}

/* -- calls that do not come back -- */

/* As libraries do that begin again after EINTR. */
PHP_FUNCTION(fault_stubborn)
{
    double seconds;

    ZEND_PARSE_PARAMETERS_START(1, 1)
    Z_PARAM_DOUBLE(seconds)
    ZEND_PARSE_PARAMETERS_END();
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* A loop in C that looks at nothing. */
PHP_FUNCTION(fault_spin)
{
    double seconds;
    struct timespec now, end;

    ZEND_PARSE_PARAMETERS_START(1, 1)
    Z_PARAM_DOUBLE(seconds)
    ZEND_PARSE_PARAMETERS_END();
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += (time_t)seconds;
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec);
}

/* -- programs, started in every way that a C library may choose -- */

static void run_shell(const char *command)
{
    execl("/bin/sh", "sh", "-c", command, NULL);
    _exit(127);
}

static pid_t start_shell(const char *way, const char *command, int out)
{
    char *const argv[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;

    if (strcmp(way, "fork") == 0 || strcmp(way, "vfork") == 0) {
        pid = *way == 'f' ? fork() : vfork();
        if (pid == 0) {
            dup2(out, 1);
            run_shell(command);
        }
        return pid;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    if (strcmp(way, "posix_spawnp") == 0) {
        posix_spawnp(&pid, "sh", &actions, NULL, argv, environ);
    } else {
        posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ);
    }
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

/* What the command says on its standard output. */
PHP_FUNCTION(fault_program)
{
    char *way, *command, text[8192];
    size_t way_n, command_n, n = 0, more;
    int ends[2] = {-1, -1};

    ZEND_PARSE_PARAMETERS_START(2, 2)
    Z_PARAM_STRING(way, way_n)
    Z_PARAM_STRING(command, command_n)
    ZEND_PARSE_PARAMETERS_END();
    if (strcmp(way, "system") == 0) {
        RETURN_LONG(system(command));
    }
    bool piped = strcmp(way, "popen") == 0;
    pid_t pid = -1;

    if (!piped) {
        pipe(ends);
        pid = start_shell(way, command, ends[1]);
        close(ends[1]);
    }
    FILE *in = piped ? popen(command, "r") : fdopen(ends[0], "r");

    while (in && n < sizeof text && (more = fread(text + n, 1, sizeof text - n, in)) > 0) {
        n += more;
    }
    if (piped) {
        pclose(in);
    } else {
        fclose(in);
        waitpid(pid, NULL, 0);
    }
    RETURN_STRINGL(text, n);
}

/* -- module -- */

/* Where the file named by fault.start_file exists, PHP does not even start. */
static PHP_MINIT_FUNCTION(fault)
{
    char *file = NULL;

    (void)type;
    (void)module_number;
    if (cfg_get_string("fault.start_file", &file) == SUCCESS && access(file, F_OK) == 0) {
        abort();
    }
    return SUCCESS;
}

ZEND_BEGIN_ARG_INFO_EX(arginfo_any, 0, 0, 0)
ZEND_ARG_VARIADIC_INFO(0, arguments)
ZEND_END_ARG_INFO()

static const zend_function_entry functions[] = {
    PHP_FE(fault_null, arginfo_any) PHP_FE(fault_overflow, arginfo_any) PHP_FE(fault_abort, arginfo_any)
        PHP_FE(fault_fpe, arginfo_any) PHP_FE(fault_bus, arginfo_any) PHP_FE(fault_ill, arginfo_any)
            PHP_FE(fault_heap, arginfo_any) PHP_FE(fault_free, arginfo_any)
                PHP_FE(fault_opcache_lock, arginfo_any) PHP_FE(fault_lock, arginfo_any)
                    PHP_FE(fault_take, arginfo_any) PHP_FE(fault_leak, arginfo_any)
                        PHP_FE(fault_stubborn, arginfo_any) PHP_FE(fault_spin, arginfo_any)
                            PHP_FE(fault_program, arginfo_any) PHP_FE_END};

zend_module_entry fault_module_entry = {
    STANDARD_MODULE_HEADER,    "fault", functions, PHP_MINIT(fault), NULL, NULL, NULL, NULL, "1",
    STANDARD_MODULE_PROPERTIES};

ZEND_GET_MODULE(fault)
