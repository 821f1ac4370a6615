/* The request: variables, and the order in which the answer's functions reach the front end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/work/request.h"
#include "tests/support/memory_frontend.h"

static struct memory_call *new_call(const char *body)
{
    return memory_call_new(NULL, "POST", "/x", "", body);
}

static void defaults(void **state)
{
    struct request r;

    (void)state;
    request_init(&r, NULL, &memory_io, NULL, NULL);
    assert_string_equal(r.query, "");
    assert_int_equal(r.content_length, -1);
    assert_int_equal(r.status, 200);
    assert_null(r.script);
    request_release(&r);
}

static void later_variables_win(void **state)
{
    struct memory_call *call = new_call(NULL);
    struct request *r = &call->request;
    char name[32];

    (void)state;
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "N%d", i % 250);
        assert_int_equal(request_param(r, str_of(name), str_of(i < 250 ? "old" : "new")), 0);
    }
    assert_int_equal(r->param_count, 500);
    for (int i = 0; i < 250; i++) {
        snprintf(name, sizeof(name), "N%d", i);
        assert_string_equal(request_param_find(r, str_of(name))->value, "new");
    }
    assert_null(request_param_find(r, STR("N")));
    assert_null(request_param_find(r, STR("N2500")));
    assert_int_equal(request_param(r, STR("EMPTY"), STR_NONE), 0);
    assert_string_equal(request_param_find(r, STR("EMPTY"))->value, "");
    memory_call_free(call);
}

static void variables_have_a_limit(void **state)
{
    struct memory_call *call = new_call(NULL);
    static char big[300000];
    int refused = 0;

    (void)state;
    memset(big, 'x', sizeof(big));
    for (int i = 0; i < 10; i++) {
        refused += request_param(&call->request, STR("BIG"), (struct str){big, sizeof(big)}) != 0;
    }
    assert_true(refused > 0 && refused < 10);
    memory_call_free(call);
}

static void answer_in_order(void **state)
{
    struct memory_call *call = new_call("body");
    struct request *r = &call->request;
    const struct response_head early = {.status = 103}, head = {.status = 404}, second = {.status = 500};
    char buf[16];

    (void)state;
    assert_int_equal(request_read_body(r, buf, sizeof(buf)), 4);
    assert_int_equal(request_read_body(r, buf, sizeof(buf)), 0);
    assert_int_equal(request_send_interim(r, &early), 0);
    assert_int_equal(request_send_head(r, &head), 0);
    assert_int_equal(request_send_head(r, &second), 0); /* once is enough */
    assert_int_equal(request_write(r, "abc", 3), 0);
    assert_int_equal(request_flush(r), 0);
    request_message(r, "oops", 4);
    request_finish(r);
    assert_int_equal(call->interim, 103);
    assert_int_equal(call->status, 404);
    assert_int_equal(r->status, 404);
    assert_int_equal(r->body_read, 4);
    assert_int_equal(r->body_sent, 3);
    assert_string_equal(call->messages.p, "oops");
    assert_int_equal(call->flushes, 1);
    memory_call_free(call);
}

static void nothing_after_finish(void **state)
{
    struct memory_call *call = new_call("body");
    struct request *r = &call->request;
    const struct response_head head = {.status = 200};
    char buf[16];

    (void)state;
    request_send_head(r, &head);
    request_finish(r);
    request_finish(r);
    assert_int_equal(call->finishes, 1);
    /* Dropped, and not taken for a client that went away. */
    assert_int_equal(request_write(r, "late", 4), 0);
    assert_int_equal(request_flush(r), 0);
    assert_int_equal(request_read_body(r, buf, sizeof(buf)), 0);
    request_message(r, "late", 4);
    assert_null(call->answer.p);
    assert_null(call->messages.p);
    assert_int_equal(r->body_sent, 0);
    memory_call_free(call);
}

static void gone_stays_gone(void **state)
{
    struct memory_call *call = new_call(NULL);
    struct request *r = &call->request;
    const struct response_head head = {.status = 200};

    (void)state;
    call->client_gone = true;
    assert_int_equal(request_send_head(r, &head), -1);
    assert_true(r->gone);
    assert_int_equal(request_write(r, "x", 1), -1);
    assert_null(call->answer.p); /* not even tried */
    request_finish(r);
    assert_int_equal(call->finishes, 1); /* the front end must let go of it all the same */
    memory_call_free(call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(later_variables_win),
        cmocka_unit_test(variables_have_a_limit),
        cmocka_unit_test(answer_in_order),
        cmocka_unit_test(nothing_after_finish),
        cmocka_unit_test(gone_stays_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
