/* What processes of tasks leave to each other. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/work/task_notes.h"

static void test_names(void **state)
{
    (void)state;
    int fd = task_notes_file();
    struct task_notes *one = task_notes_open(fd), *other = task_notes_open(fd);
    struct task_note *note = task_note_find(one, "task", "mails", 0);

    assert_non_null(note);
    atomic_store(&note->short_runs, 5);
    assert_int_equal(atomic_load(&task_note_find(other, "task", "mails", 0)->short_runs), 5);
    assert_int_equal(atomic_load(&task_note_find(other, "task", "mails", 1)->short_runs), 0);
    assert_int_equal(atomic_load(&task_note_find(other, "cron", "mails", 0)->short_runs), 0);
    assert_null(task_note_find(NULL, "task", "mails", 0));
    assert_null(task_notes_open(-1));
    for (unsigned i = 0; i < 2000; i++) { /* more than there is room for */
        task_note_find(one, "many", "x", i);
    }
    assert_null(task_note_find(one, "many", "x", 1999));
    assert_ptr_equal(task_note_find(one, "task", "mails", 0), note);
    close(fd);
}

static void test_its_size_stays(void **state)
{
    (void)state;
    int fd = task_notes_file();

    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, 1 << 24), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_non_null(task_notes_open(fd));
    close(fd);
}

static void test_a_run_is_taken_once(void **state)
{
    (void)state;
    int fd = task_notes_file();
    struct task_note *note = task_note_find(task_notes_open(fd), "a", "b", 0);

    assert_true(task_note_take(note, 600, 600));
    assert_false(task_note_take(note, 600, 601));
    assert_true(task_note_take(note, 660, 661));
    assert_false(task_note_take(note, 600, 662)); /* by a process that was long in starting */
    assert_true(task_note_take(note, 600, 601));  /* the clock was set back */
    assert_true(task_note_take(NULL, 600, 600));
    assert_true(task_note_take(NULL, 600, 600));
    close(fd);
}

static pid_t start(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        pause();
        _exit(0);
    }
    setpgid(pid, pid);
    return pid;
}

static void test_what_runs(void **state)
{
    (void)state;
    int fd = task_notes_file();
    struct task_note *note = task_note_find(task_notes_open(fd), "a", "b", 0);
    pid_t pid = start();

    assert_int_equal(task_note_running(note), 0);
    task_note_runs(note, pid);
    assert_int_not_equal(atomic_load(&note->began), 0);
    assert_int_equal(task_note_running(note), pid);
    atomic_fetch_sub(&note->began, 1); /* another process of this number */
    assert_int_equal(task_note_running(note), 0);
    atomic_fetch_add(&note->began, 1);
    task_note_ended(note, pid + 1);
    assert_int_equal(task_note_running(note), pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(task_note_running(note), 0);
    task_note_ended(note, pid);
    assert_int_equal(atomic_load(&note->pid), 0);
    assert_int_equal(task_note_running(NULL), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_its_size_stays),
        cmocka_unit_test(test_a_run_is_taken_once),
        cmocka_unit_test(test_what_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
