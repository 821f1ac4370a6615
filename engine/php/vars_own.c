/* See vars_own.h. */
#include "engine/php/vars_own.h"

#include <stdio.h>

static void add(struct vars_own *own, enum name name, const char *value, size_t n)
{
    own->list[own->count++] = (struct own_variable){name, value, n};
}

static void add_text(struct vars_own *own, enum name name, const char *value)
{
    size_t n = strlen(value);

    if (n) {
        add(own, name, value, n);
    }
}

void vars_own(struct request *r, struct vars_own *own)
{
    const struct request_trace *trace = &r->trace;

    request_identify_once(r);
    own->count = 0;
    add_text(own, NAME_TOKIO_REQUEST_ID, trace->id);
    add_text(own, NAME_TRACE_ID, trace->trace_id);
    add_text(own, NAME_SPAN_ID, trace->span_id);
    add_text(own, NAME_PARENT_SPAN_ID, trace->parent_id);
    add(own, NAME_TOKIO_SERVER_BUILD_VERSION, TOKIOPHP_VERSION, sizeof TOKIOPHP_VERSION - 1);
    char *end = zend_print_ulong_to_buf(own->worker_id + sizeof own->worker_id - 1,
                                        (zend_ulong)php_thread->worker->id);

    add(own, NAME_TOKIO_WORKER_ID, end, strlen(end));

    /* What a script may pass on: the tracestate as it came, if it is valid and its trace is continued. */
    const struct param *state = trace->state.n ? request_param_find(r, STR("HTTP_TRACESTATE")) : NULL;

    if (state) {
        add(own, NAME_TRACE_STATE, state->value, state->value_len);
    }
}

void vars_self(const struct request *r, struct vars_self *self)
{
    static const char name[] = "PHP_SELF";
    const struct param *info = cgi_rules.fix_pathinfo ? request_param_find(r, STR("PATH_INFO")) : NULL;

    self->both = NULL;
    self->param =
        (struct param){name, r->uri ? r->uri : "", sizeof name - 1, r->uri ? (uint32_t)strlen(r->uri) : 0};
    if (info && info->value_len) {
        self->both =
            zend_string_concat2(self->param.value, self->param.value_len, info->value, info->value_len);
        self->param.value = ZSTR_VAL(self->both);
        self->param.value_len = (uint32_t)ZSTR_LEN(self->both);
    }
}

void vars_self_free(struct vars_self *self)
{
    if (self->both) {
        zend_string_release(self->both);
    }
}
