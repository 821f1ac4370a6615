/* The way of a request, in one place: its steps, whose it is in each, and which functions move it on.
 *
 * HEAD, the loop's: the head lies in loop->head. intake_head() decides, once: a script's head goes on to
 * BODY, all else to ANSWER, by answer_new(); or to ASKED.
 *
 * ASKED, the loop's: a helper holds its password against a hash (site/basic_auth.c). intake_again() decides.
 *
 * BODY, the loop's: the body comes in. When it is complete intake_submit() hands the request to RUN or, if
 * another process runs it, to UPSTREAM. Too large, too slow, no room in the queue: answer_error(), ANSWER.
 *
 * RUN, the worker's: in the pool's queue or with PHP; reply.state says how much of its answer has left. To
 * SENDING by reply_finish(); by reply_abandon() if the worker was lost; by reply_expired() if none came.
 *
 * UPSTREAM, the loop's: with another process. To SENDING by relay_finish() or relay_abandon().
 *
 * ANSWER, the loop's: an answer of our own. To SENDING by h1_answer_send() or h2_stream_answer().
 *
 * SENDING, the loop's: all that will come is here. The last byte is followed by next_request() (HTTP/1) or
 * h2_stream_finish(), and by OVER.
 *
 * OVER, nobody's: the last exchange_drop() has it counted and logged by accounting_over(), and gives the
 * memory back to the loop for another HEAD.
 *
 * The client may leave in every step: delivery_leave(). Then nothing is sent any more, but RUN and UPSTREAM
 * come to their end as always, and only then is it OVER. */
#ifndef HTTP_ANSWER_STEPS_H
#define HTTP_ANSWER_STEPS_H

struct exchange;

enum exchange_step { STEP_ASKED, STEP_BODY, STEP_RUN, STEP_UPSTREAM, STEP_ANSWER, STEP_SENDING, STEP_COUNT };

/* Loop thread, between intake_head() and the last reference. */
enum exchange_step exchange_step(const struct exchange *x);
const char *exchange_step_name(enum exchange_step step);

#endif
