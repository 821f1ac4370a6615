/* Which step a request is in: read from what the loop may read. See the header. */
#include "http/answer/steps.h"

#include "http/answer/exchange.h"

enum exchange_step exchange_step(const struct exchange *x)
{
    const struct delivery *d = &x->delivery;
    if (d->out_end) {
        return STEP_SENDING;
    }
    if (d->answer) {
        return STEP_ANSWER;
    }
    if (d->upstream) {
        return STEP_UPSTREAM;
    }
    if (x->http.password == PASSWORD_ASKED) {
        return STEP_ASKED;
    }
    return d->submitted ? STEP_RUN : STEP_BODY;
}

const char *exchange_step_name(enum exchange_step step)
{
    static const char *const names[STEP_COUNT] = {[STEP_ASKED] = "the hands of who looks at its password",
                                                  [STEP_BODY] = "its body",
                                                  [STEP_RUN] = "the workers' hands",
                                                  [STEP_UPSTREAM] = "another process",
                                                  [STEP_ANSWER] = "its answer",
                                                  [STEP_SENDING] = "what is left to send"};
    return names[step];
}
